"""Fields: images of displacements or of positions, between whose voxels points are interpolated.

Most of the time goes into fetching the eight voxels around a point. So a voxel's three numbers lie side by side, with a
fourth that fills them up to 16 bytes, which numpy fetches in one move; points go in blocks that stay in cache; and the
eight are folded by sums over whole blocks, in one order on every machine. This takes a fifth of the time of
``scipy.ndimage.map_coordinates``, called for each component.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError
from trxlib.model.space import Space
from trxlib.spaces.transforms.linear import Affine, invert, move_columns

__all__ = ["BLOCK", "Field", "Workspace", "allocate_values"]

#: Points of a block. With 2,048, 147 ns go into a point, with 16,384, 104: fewer calls, and all stays in cache.
BLOCK = 1 << 14
_LARGEST_FIELD = 1 << 31  # voxels
Values = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Columns = npt.NDArray[np.float64]


def allocate_values(dimensions: tuple[int, ...], what: str) -> Values:
    """Return the memory of a field, float32 of shape (voxels, 4); x runs fastest, and the fourth number is 0.

    Raises
    ------
    HeaderError
        If no field has these dimensions.
    """
    if len(dimensions) != 3 or min(dimensions) < 1 or np.prod(dimensions, dtype=float) > _LARGEST_FIELD:
        raise HeaderError(f"{what} has the dimensions {list(dimensions)}; expected three, each at least 1")
    values = np.empty((int(np.prod(dimensions, dtype=np.int64)), 4), dtype=np.float32)
    values[:, 3] = 0
    return values


class Workspace(threading.local):
    """Memory for one block, 4 MB for each thread, kept from call to call: to get it anew would cost much time."""

    def __init__(self) -> None:
        self.columns = np.empty((3, BLOCK))
        self.spare = np.empty((3, BLOCK))
        self.term = np.empty(BLOCK)
        self.voxels = np.empty((3, BLOCK))
        self.cells = np.empty((3, BLOCK), dtype=np.intp)
        self.first = np.empty(BLOCK, dtype=np.intp)
        self.corner = np.empty(BLOCK, dtype=np.intp)
        self.weights = np.empty((3, BLOCK, 4), dtype=np.float32)
        self.corners = np.empty((8, BLOCK, 4), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Field:
    """A field and its grid.

    Parameters
    ----------
    values : ndarray, float32 of shape (voxels, 4)
        mm in RAS, x fastest; not finite where the field has none.
    space : Space
        The grid.
    is_displacement : bool
        Whether values are added to a point, or are where it goes.
    has_holes : bool
        Whether some values are not finite.
    name : str
        Of the file, for messages.
    """

    values: Values
    space: Space
    is_displacement: bool
    has_holes: bool
    name: str

    @cached_property
    def rasmm_to_voxel(self) -> Affine:
        """The inverse affine of the grid."""
        return invert(self.space.voxel_to_rasmm, self.name)

    def to_json(self) -> dict[str, Any]:
        """Return what a record keeps."""
        return {
            "kind": "displacements" if self.is_displacement else "positions",
            "dimensions": list(self.space.dimensions),
            "voxel_to_rasmm": self.space.voxel_to_rasmm.tolist(),
        }

    def move(self, points: Columns, work: Workspace) -> Mask | None:
        """Move the points of one block in place, trilinearly.

        A point is inside if its voxel index lies between -0.5 and *n* - 0.5 along each axis, as for ITK and MRtrix; in
        the outer half voxel the value of the edge holds. Points outside become NaN.

        Parameters
        ----------
        points : ndarray, float64 of shape (3, n)
            x, y and z; at most `BLOCK` points.
        work : Workspace
            Memory, one for each thread.

        Returns
        -------
        ndarray, bool of shape (n,), or None
            Which points are outside the field, or in a hole of it; None if all are inside.
        """
        outside = self._locate(points, work)
        moved = self._interpolate(points.shape[1], work)
        for column, values in zip(points, moved.T, strict=False):  # without the fourth number
            if self.is_displacement:
                np.add(column, values, out=column)
            else:
                np.copyto(column, values)
        if self.has_holes:
            holes: Mask = np.asarray(~np.isfinite(moved[:, :3]).all(axis=1))
            if holes.any():
                outside = holes if outside is None else outside | holes
        if outside is not None:
            points[:, outside] = np.nan
        return outside

    def _locate(self, points: Columns, work: Workspace) -> Mask | None:
        """Find the first voxel of each point's cell, and how far it lies along each axis of it."""
        count = points.shape[1]
        voxels, cells, first = work.voxels[:, :count], work.cells[:, :count], work.first[:count]
        move_columns(self.rasmm_to_voxel, points, voxels, work.term[:count])
        outside = None
        stride = 1
        first.fill(0)
        for axis, size in enumerate(self.space.dimensions):
            row, cell = voxels[axis], cells[axis]
            low, high = float(row.min()), float(row.max())
            if not (low >= -0.5 and high <= size - 0.5):  # a NaN is outside, too
                beyond = ~((row >= -0.5) & (row <= size - 0.5))
                outside = beyond if outside is None else outside | beyond
                row[beyond] = 0
                high = size
            if low < 0 or high >= size - 1:
                row.clip(0, size - 1, out=row)
            np.copyto(cell, row, casting="unsafe")
            if high >= size - 1:
                np.minimum(cell, max(size - 2, 0), out=cell)
            np.subtract(row, cell, out=row)
            self._spread(row, work.weights[axis, :count])
            np.multiply(cell, stride, out=cell)
            np.add(first, cell, out=first)
            stride *= size
        return outside

    @staticmethod
    def _spread(row: Columns, weights: Values) -> None:
        """Put each weight down four times; one column after the other takes half the time of all at once."""
        weights[:, 0] = row
        for column in (1, 2, 3):
            weights[:, column] = weights[:, 0]

    def _interpolate(self, count: int, work: Workspace) -> Values:
        """Return the value of each point, shape (n, 4)."""
        first, corner = work.first[:count], work.corner[:count]
        for number, step in enumerate(self._steps()):
            np.add(first, step, out=corner)
            # With mode="raise", numpy would copy the output once more.
            self.values.take(corner, axis=0, out=work.corners[number, :count], mode="clip")
        corners = work.corners.reshape(8, -1)[:, : 4 * count]
        for axis, half in ((2, 4), (1, 2), (0, 1)):
            near, far = corners[:half], corners[half : 2 * half]
            np.subtract(far, near, out=far)
            np.multiply(far, work.weights[axis, :count].reshape(-1), out=far)
            np.add(near, far, out=near)
        return work.corners[0, :count]

    def _steps(self) -> list[int]:
        """Rows from a cell's first voxel to its eight; z is the highest bit. One slice is its own neighbour."""
        sizes = self.space.dimensions
        x, y, z = (
            stride if size > 1 else 0 for stride, size in zip((1, sizes[0], sizes[0] * sizes[1]), sizes, strict=True)
        )
        return [c * z + b * y + a * x for c in (0, 1) for b in (0, 1) for a in (0, 1)]
