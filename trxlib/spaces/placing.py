"""The space of a result: that of the file, that of a reference, or that to which a transform leads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderWarning, warn
from trxlib.model.space import Space, same_space

__all__ = ["place_result"]

Affine = npt.NDArray[np.float64]


def place_result(path: str, space: Space, reference: Space | None, transform: Affine | None) -> tuple[Space, Affine]:
    """Return the space of the result, and the transform (identity without one).

    Parameters
    ----------
    path : str
        For the warning.
    space : Space
        What the file says of itself.
    reference : Space, optional
        Space of the result: that of the file, or that to which `transform` leads.
    transform : ndarray, optional
        RASMM to RASMM.
    """
    if transform is None:
        if reference is not None and not same_space(space, reference):
            warn(
                f"{path}: its header has dimensions {list(space.dimensions)} and affine {_short(space)}, the reference "
                f"{list(reference.dimensions)} and {_short(reference)}; the reference's go into the result",
                HeaderWarning,
            )
        return reference or space, np.eye(4)
    if reference is not None:
        return reference, transform
    return Space(transform @ space.voxel_to_rasmm, space.dimensions), transform


def _short(space: Space) -> str:
    return str(np.round(space.voxel_to_rasmm[:3], 4).tolist())
