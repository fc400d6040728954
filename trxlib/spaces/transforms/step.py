"""A transform with a field as a step on the way of positions; linear ones are applied by the readers themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import SpaceMismatchError
from trxlib.model.chunk import Place
from trxlib.spaces.transforms.transform import Transform

__all__ = ["TransformStep"]

Array = npt.NDArray[Any]


class TransformStep:
    """Moves positions through a transform. Where a field has no value, a vertex becomes NaN, or an error.

    Parameters
    ----------
    transform : Transform
        May be shared by threads.
    dtype : numpy.dtype
        float32 or float64: the type of the moved positions.
    path : str
        The tractogram, for messages.
    fails : bool
        Whether a vertex outside a field is an error; else the streamlines that have NaN are to be left out later.
    """

    def __init__(self, transform: Transform, dtype: np.dtype[Any], path: str, *, fails: bool) -> None:
        self._transform, self._dtype, self._path, self._fails = transform, dtype, path, fails

    def apply(self, positions: Array, place: Place) -> Array:
        """Return the moved positions.

        Raises
        ------
        SpaceMismatchError
            Naming the streamline that has a vertex outside a field.
        """
        points, outside = self._transform.apply(positions, out=np.empty(positions.shape, dtype=self._dtype))
        if outside is not None and self._fails:
            # What was NaN before is no matter of the field.
            lost = np.flatnonzero(outside & np.isfinite(positions).all(axis=1))
            if len(lost):
                raise self._is_outside(positions, int(lost[0]), place)
        return points

    def end(self) -> None:
        """Say nothing: streamlines are counted where they are left out."""

    def _is_outside(self, positions: Array, vertex: int, place: Place) -> SpaceMismatchError:
        streamline, number = place.locate(vertex)
        names = ", ".join(dict.fromkeys(field.name for field in self._transform.fields))
        return SpaceMismatchError(
            f"{self._path}: streamline {streamline} has the vertex {np.round(positions[vertex], 3).tolist()} (vertex "
            f"{number}), where the field {names} has no value, so nobody knows where it goes; take a field that covers "
            "the tractogram (is it the one of this subject, and of this direction?), or leave such streamlines out "
            "(out_of_field='drop')"
        )
