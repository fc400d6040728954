"""Voxels of a field that hold no number, or no position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderWarning, warn
from trxlib.spaces.transforms.field import Values

__all__ = ["has_holes", "mark_holes"]

_ROWS = 1 << 15  # voxels that stay in cache


def has_holes(values: Values) -> bool:
    """Tell whether some numbers are not finite."""
    return not all(np.isfinite(rows).all() for rows in _cut(values))


def mark_holes(values: Values, path: str | Path) -> bool:
    """Mark voxels without a position as NaN, in place, and return whether there are any.

    MRtrix writes NaN there. Others, such as ``antsApplyTransforms`` on the output of ``warpinit``, write 0 0 0, and a
    vertex beside such a voxel would be drawn to the origin. One voxel may really go to the origin, several cannot.

    Parameters
    ----------
    values : ndarray, float32 of shape (voxels, 4)
        Positions in RAS.
    path : str or Path
        For the warning.
    """
    count = sum(int(np.count_nonzero(_find_zeros(rows))) for rows in _cut(values))
    if count < 2:
        return has_holes(values)
    warn(
        f"{path} holds the position 0 0 0 in {count} of {len(values)} voxels, which cannot all lead there: they are "
        "taken to hold none",
        HeaderWarning,
    )
    for rows in _cut(values):
        rows[_find_zeros(rows), :3] = np.nan
    return True


def _cut(values: Values) -> Iterator[Values]:
    return (values[start : start + _ROWS] for start in range(0, len(values), _ROWS))


def _find_zeros(rows: Values) -> npt.NDArray[np.bool_]:
    zero: npt.NDArray[np.bool_] = rows[:, 0] == 0
    for axis in (1, 2):
        zero &= rows[:, axis] == 0
    return zero
