"""A chain of linear transforms and fields, applied to points in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trxlib.errors import SpaceMismatchError
from trxlib.spaces.transforms.field import BLOCK, Field, Mask, Workspace
from trxlib.spaces.transforms.linear import Affine, Linear, move_columns

__all__ = ["Moved", "Step", "Transform", "find_streamlines_outside", "fold"]

Step = Linear | Field
_WORK = Workspace()


class Moved(NamedTuple):
    """What `Transform.apply` returns.

    Parameters
    ----------
    points : ndarray, float32 or float64 of shape (n, 3)
        RASMM of the cohort; NaN where a point was outside a field.
    outside : ndarray, bool of shape (n,), or None
        Which points were outside a field, and so went nowhere. None: all points were moved.
    """

    points: npt.NDArray[np.floating[Any]]
    outside: Mask | None


class Transform:
    """The way of points from one space to another, in RASMM.

    It does not change once made, so threads may share one. Memory: its fields, 16 bytes for each of their voxels.

    Parameters
    ----------
    steps : sequence of Linear and Field
        In the order in which points pass them; linear neighbours become one.
    records : sequence of dict
        What was read, as JSON holds it: path, format, inverse, size, crc32, steps.
    files : sequence of Path
        Everything that was read.
    """

    def __init__(self, steps: Any = (), *, records: Any = (), files: Any = ()) -> None:
        self.steps: tuple[Step, ...] = tuple(fold(steps))
        self.records: list[dict[str, Any]] = list(records)
        self.files: tuple[Path, ...] = tuple(dict.fromkeys(files))

    @property
    def matrix(self) -> Affine | None:
        """RASMM to RASMM, float64 of shape (4, 4), a copy; None if there is a field on the way."""
        if not self.steps:
            return np.eye(4)
        first = self.steps[0]
        return first.matrix.copy() if isinstance(first, Linear) and len(self.steps) == 1 else None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields on the way, which cover only a part of space."""
        return tuple(step for step in self.steps if isinstance(step, Field))

    def apply(self, points: npt.ArrayLike, *, out: npt.NDArray[np.floating[Any]] | None = None) -> Moved:
        """Move points.

        Coordinates are computed in float64, fields are interpolated in float32 (to 1e-5 mm), and rounded once.

        Parameters
        ----------
        points : array of shape (n, 3)
            RASMM, mm. Not changed, unless `out` shares its memory.
        out : ndarray, float32 or float64 of shape (n, 3), optional
            Where to put the result; may be `points` itself. A new array of the type of `points` (float64 for integers,
            float32 for float16) without it.

        Returns
        -------
        Moved
            `points`, and `outside`. A point outside a field is never kept where it was: it is NaN, and the caller
            fails (`Transform.check_inside`) or leaves its streamline out (`find_streamlines_outside`).

        Raises
        ------
        ValueError
            If `points` or `out` has another shape or type.
        """
        rows = np.asarray(points)
        if rows.ndim != 2 or rows.shape[1] != 3:
            raise ValueError(f"points have the shape {rows.shape}, expected (n, 3)")
        if out is None:
            out = np.empty(rows.shape, dtype=np.result_type(rows.dtype, np.float32))
        if out.shape != rows.shape or out.dtype not in (np.float32, np.float64):
            raise ValueError(f"out is {out.dtype} of shape {out.shape}, expected float32 or float64 of {rows.shape}")
        with np.errstate(invalid="ignore", over="ignore"):  # who gives NaN or infinity, gets it back
            outside = self._apply_blocks(rows, out)
        return Moved(out, outside)

    def _apply_blocks(self, rows: npt.NDArray[Any], out: npt.NDArray[Any]) -> Mask | None:
        outside: Mask | None = None
        work, columns, spare = _WORK, _WORK.columns, _WORK.spare
        for start in range(0, len(rows), BLOCK):
            stop = min(start + BLOCK, len(rows))
            block = columns[:, : stop - start]
            np.copyto(block, rows[start:stop].T)
            lost: Mask | None = None
            for step in self.steps:
                if isinstance(step, Linear):
                    target = spare[:, : stop - start]
                    move_columns(step.matrix, block, target, work.term[: stop - start])
                    columns, spare, block = spare, columns, target
                elif (missed := step.move(block, work)) is not None:
                    lost = missed  # NaNs are outside of every later field, so nothing gets lost here
            if lost is not None:
                outside = np.zeros(len(rows), dtype=bool) if outside is None else outside
                outside[start:stop] = lost
            np.copyto(out[start:stop].T, block, casting="same_kind")
        return outside

    def check_inside(self, outside: Mask | None, what: str) -> None:
        """Check that no point was outside the fields.

        Parameters
        ----------
        outside : ndarray, bool of shape (n,), or None
            From `apply`.
        what : str
            Whose points, for the message.

        Raises
        ------
        SpaceMismatchError
            If one was.
        """
        if outside is None or not outside.any():
            return
        names = ", ".join(dict.fromkeys(field.name for field in self.fields))
        raise SpaceMismatchError(
            f"{what}: {np.count_nonzero(outside)} of {len(outside)} points, the first of them number "
            f"{int(np.argmax(outside))}, lie where {names} has no values, so nobody knows where they go; take a field "
            "that covers the tractogram, or leave such streamlines out"
        )


def fold(steps: Any) -> list[Step]:
    """Return the steps with linear neighbours made one."""
    folded: list[Step] = []
    for step in steps:
        if folded and isinstance(step, Linear) and isinstance(folded[-1], Linear):
            folded[-1] = folded[-1].then(step)
        else:
            folded.append(step)
    return folded


def find_streamlines_outside(outside: Mask, offsets: npt.NDArray[np.integer[Any]]) -> Mask:
    """Return which streamlines have a point outside the fields.

    Parameters
    ----------
    outside : ndarray, bool of shape (nb_vertices,)
        From `Transform.apply`.
    offsets : ndarray, int of shape (nb_streamlines + 1,)
        First 0, last nb_vertices.

    Returns
    -------
    ndarray, bool of shape (nb_streamlines,)
    """
    counts = np.concatenate([[0], np.cumsum(outside)])[offsets]
    return np.asarray(counts[1:] != counts[:-1])
