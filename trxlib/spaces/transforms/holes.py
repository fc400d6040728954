"""Voxels of a deformation field that hold no position."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from trxlib.errors import HeaderWarning
from trxlib.spaces.transforms.field import Values

__all__ = ["mark_holes"]


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
    zero = ~values.any(axis=1)
    count = int(np.count_nonzero(zero))
    if count > 1:
        warnings.warn(
            f"{path} holds the position 0 0 0 in {count} of {len(values)} voxels, which cannot all lead there: they "
            "are taken to hold none",
            HeaderWarning,
            stacklevel=2,
        )
        values[zero, :3] = np.nan
    return count > 1 or not np.isfinite(values).all()
