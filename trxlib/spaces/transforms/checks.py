"""Whether a field's numbers are what its format says: displacements, or positions.

Nothing in a file tells one from the other, and one taken for the other sends streamlines anywhere. Their numbers do:
positions grow by a millimetre where a millimetre is passed, displacements hardly grow at all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trxlib.errors import InputError
from trxlib.spaces.transforms.field import Field

__all__ = ["check_displacements", "check_positions", "sample_grid"]

#: mm for a mm. Between them lie registrations that turn by half a right angle, or double a brain's length.
_GROWTH = 0.5
_FARTHEST = 1e6  # mm; a NaN is not less, either
_SAMPLES = 12  # along each axis


def check_displacements(field: Field) -> None:
    """Check that a field looks like displacements.

    Raises
    ------
    InputError
        If its numbers grow along every direction as positions do.
    """
    growth = _measure_growth(field)
    if growth is not None and growth.min() > _GROWTH:
        raise InputError(
            f"{field.name} should hold displacements, and holds positions: its numbers grow by {growth.min():.2f} to "
            f"{growth.max():.2f} mm for each mm; name a displacement field of ITK (a deformation of SPM or NiftyReg is "
            "none; of MRtrix, give format mrtrix)"
        )


def check_positions(field: Field) -> None:
    """Check that a field looks like positions.

    Raises
    ------
    InputError
        If its numbers grow along no direction as positions do.
    """
    growth = _measure_growth(field)
    if growth is not None and growth.max() < _GROWTH:
        raise InputError(
            f"{field.name} should hold positions, and holds displacements: its numbers grow by {growth.max():.2f} mm "
            "for each mm; make a deformation field of it: warpconvert in displacement2deformation out"
        )


def sample_grid(dimensions: tuple[int, int, int]) -> npt.NDArray[np.intp]:
    """Return voxels spread over a grid, edges included, shape (n, 3)."""
    axes = [np.unique(np.linspace(0, size - 1, _SAMPLES).astype(np.intp)) for size in dimensions]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _measure_growth(field: Field) -> npt.NDArray[np.float64] | None:
    """Fit the field by a linear map of the voxels' positions; return by how much it stretches, from most to least."""
    voxels = sample_grid(field.space.dimensions)
    nx, ny, _ = field.space.dimensions
    values = field.values[voxels @ np.array([1, nx, nx * ny])][:, :3].astype(np.float64)
    affine = field.space.voxel_to_rasmm
    positions = voxels @ affine[:3, :3].T + affine[:3, 3]
    known = (np.abs(values) < _FARTHEST).all(axis=1)
    if np.count_nonzero(known) < 16 or min(field.space.dimensions) < 2:
        return None  # too few to tell
    x, y = positions[known], values[known]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    slopes, *_ = np.linalg.lstsq(x, y, rcond=None)
    return np.asarray(np.linalg.svd(slopes, compute_uv=False))
