"""Whether vertices lie inside the grid of a reference image, decided for a whole chunk at once where possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, HeaderWarning, InputError, warn
from trxlib.model.space import Space
from trxlib.spaces.positions import PositionsMap

__all__ = ["Grid", "VoxmmBox", "check_grid"]

Array = npt.NDArray[Any]
_ROW = 512  # vertices of a long row: numpy is slow on rows of 3
_MARGIN = 1e-9  # voxels that float64 may be wrong: nearer to an edge than this, each vertex is looked at


class Grid:
    """The box of a reference image's voxels, edges included.

    Parameters
    ----------
    space : Space
        Affine and dimensions. Of a space without a grid nothing can be said: no vertex is found outside it, and
        `has_grid` is False, which the caller has to tell (`check_grid`).
    path : str
        Of the file, for messages.

    Raises
    ------
    HeaderError
        If the affine's inverse is too large to compute with.
    """

    def __init__(self, space: Space, path: str = "") -> None:
        inverse = space.rasmm_to_voxel
        self._is_aligned = not np.any(inverse[:3, :3] - np.diag(np.diag(inverse[:3, :3])))
        #: Whether there is a grid at all.
        self.has_grid = space.has_grid
        self._high = np.array(space.dimensions, dtype=np.float64) - 0.5
        self._low = np.full(3, -0.5)
        try:
            self._to_voxel = None if self._is_aligned else PositionsMap(inverse, np.dtype("<f8"))
        except HeaderError:
            affine = space.voxel_to_rasmm.tolist()
            raise HeaderError(f"{path}: the affine is {affine}; its inverse is absurd") from None
        self._matrix, self._reach = inverse, np.abs(inverse[:3, :3])
        if self._is_aligned:
            # The box in RASMM: no vertex need be moved to compare it.
            corners = [np.array(edge) @ space.voxel_to_rasmm[:3, :3].T for edge in (self._low, self._high)]
            corners = [corner + space.voxel_to_rasmm[:3, 3] for corner in corners]
            self._low, self._high = np.minimum(*corners), np.maximum(*corners)
            # A vertex on an edge as float32 rounds it is inside, also where it is held as float64.
            with np.errstate(over="ignore"):
                self._lowest = np.minimum(self._low, self._low.astype(np.float32))
                self._highest = np.maximum(self._high, self._high.astype(np.float32))
        else:
            self._lowest, self._highest = self._low, self._high

    def contains(self, positions: Array) -> bool:
        """Tell from the bounding box whether all vertices are finite and inside; False may still mean so.

        Without a grid: whether they are finite.
        """
        if not len(positions):
            return True
        with np.errstate(invalid="ignore"):
            low, high = _bounding_box(positions)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            return False
        if not self.has_grid:
            return True
        if not self._is_aligned:
            centre = self._matrix[:3, :3] @ ((low + high) / 2) + self._matrix[:3, 3]
            reach = self._reach @ ((high - low) / 2)
            low, high = centre - reach - _MARGIN, centre + reach + _MARGIN
        return bool((low >= self._low).all() and (high <= self._high).all())

    def find_outside(self, positions: Array) -> Array:
        """Return the rows of the vertices outside, increasing; NaN counts as inside; none without a grid."""
        if not self.has_grid or not len(positions):
            return np.zeros(0, dtype=np.int64)
        with np.errstate(invalid="ignore"):  # a signalling NaN counts as inside like any other
            if self._to_voxel is not None:
                points = self._to_voxel.apply(positions.astype(np.float64))
            else:
                points = positions if positions.dtype.itemsize > 2 else positions.astype(np.float32)
        flat = points.reshape(-1)
        whole = len(points) // _ROW * _ROW * 3
        found = [
            start + np.flatnonzero(self._outside(part))
            for start, part in ((0, flat[:whole].reshape(-1, 3 * _ROW)), (whole, flat[whole:].reshape(-1, 3)))
        ]
        return np.unique(np.concatenate(found) // 3)

    def _outside(self, rows: Array) -> Array:
        repeat = rows.shape[1] // 3
        low, high = (np.tile(edge, repeat).astype(rows.dtype) for edge in (self._lowest, self._highest))
        outside: Array = np.less(rows, low)
        outside |= rows > high
        return outside


class VoxmmBox:
    """The same box in the coordinates of a TRK file, which start at 0: one pass over the file's own numbers.

    Parameters
    ----------
    edges : sequence of 3 float
        Lengths of the box in mm.
    margin : float
        What lies nearer to an edge than this (mm) is not inside for certain.
    """

    def __init__(self, edges: npt.ArrayLike, margin: float = 0.0) -> None:
        # A box beyond float32 (in a damaged header) ends where float32 does.
        finite = np.minimum(np.asarray(edges, dtype=np.float64), np.finfo(np.float32).max)
        self._limits = np.maximum(finite - margin, 0).astype(np.float32).view(np.uint32)
        self._least = np.float32(min(margin, float(np.finfo(np.float32).max))).view(np.uint32)

    def contains(self, rows: Array) -> bool:
        """Tell whether all vertices are finite and inside; False may still mean so.

        Parameters
        ----------
        rows : ndarray, float32 of shape (v, 3 + k), C order
            Coordinates in the first three columns.
        """
        # As unsigned integers, floats from 0 up have the same order, and all others are larger.
        bits = rows.view(np.uint32)
        if not len(bits):
            return True
        if (_extremes(bits, np.maximum)[:3] > self._limits).any():
            return False
        return not self._least or bool((_extremes(bits, np.minimum)[:3] >= self._least).all())


def check_grid(space: Space, path: str, *, needed: bool) -> None:
    """Tell that nothing can be said of streamlines outside the image, if the result has no grid.

    Parameters
    ----------
    space : Space
        Of the result.
    path : str
        The file whose streamlines they are, for messages.
    needed : bool
        Whether streamlines that leave the grid are to be dropped, or to be an error.

    Raises
    ------
    InputError
        If a grid is needed and there is none.

    Warns
    -----
    HeaderWarning
        If there is none and nothing needs it.
    """
    if space.has_grid:
        return
    found = f"{path}: its header has dimensions {' '.join(map(str, space.dimensions))}, which is no grid"
    if needed:
        raise InputError(
            f"{found}, and out_of_volume has to know which streamlines leave it; name a reference, the image that they "
            "belong to, or keep such streamlines (out_of_volume: keep)"
        )
    warn(
        f"{found}, so nothing can be said of streamlines outside the image; name a reference, the image that they "
        "belong to",
        HeaderWarning,
    )


def _bounding_box(positions: Array) -> tuple[Array, Array]:
    """Return the lowest and the highest coordinates, NaN where one is NaN; at least one vertex is expected."""
    low, high = _extremes(positions, np.minimum), _extremes(positions, np.maximum)
    return low.astype(np.float64), high.astype(np.float64)


def _extremes(rows: Array, extreme: np.ufunc) -> Array:
    """Return the minimum or maximum of each column; at least one row is expected."""
    whole, columns = len(rows) // _ROW * _ROW, rows.shape[1]
    parts = [rows[whole:]]
    if whole:
        parts.append(extreme.reduce(rows[:whole].reshape(-1, columns * _ROW), axis=0).reshape(_ROW, columns))
    # Columns copied into rows, which numpy goes along several times as fast as across.
    result: Array = extreme.reduce(np.ascontiguousarray(np.concatenate(parts).T), axis=1)
    return result
