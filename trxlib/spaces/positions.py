"""From the coordinates of a file to positions: one affine, a type, and nothing where neither changes anything.

numpy is slow on rows of 3, so that a diagonal affine goes over long rows with tiled factors, and a general one over
one column after the other. Products and sums are numpy's own, in a fixed order: a matrix product of BLAS would be a
little quicker, but rounds differently from machine to machine.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, HeaderError
from trxlib.model.dtypes import check_float_dtype

__all__ = ["PositionsMap", "all_finite", "check_positions_dtype"]

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
_TILE = 4096  # vertices of a long row: 48 kB of float32, so that all passes but the first find it in the cache
_BLOCK = 16_000  # vertices whose columns are worked on at a time: 0.6 MB, in the cache, and few calls
_FLOAT16_MAX = 65504.0
_LARGEST = 1e30  # of an affine that float32 can apply


def check_positions_dtype(dtype: npt.DTypeLike | None, default: str) -> np.dtype[Any]:
    """Return the type of positions: float16, float32 or float64, little-endian.

    Raises
    ------
    InputError
        For any other type.
    """
    return check_float_dtype(default if dtype is None else dtype, "positions_dtype")


def all_finite(values: Array) -> bool:
    """Tell whether no value is NaN or infinite; a contiguous array is not copied."""
    flat = values.reshape(-1)
    if flat.dtype == np.float16:
        return bool(np.isfinite(flat).all())
    # A sum of squares is finite unless a value is not, or is enormous: then look again.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(flat, flat))) or bool(np.isfinite(flat).all())


class PositionsMap:
    """Applies an affine to vertices and gives them their type.

    Parameters
    ----------
    matrix : ndarray, float64 of shape (4, 4)
        File coordinates to RASMM.
    dtype : numpy.dtype
        Of the result.
    path : str
        For messages.
    given : dtype
        Of the vertices: float64 ones are moved as such, and rounded once.
    """

    def __init__(
        self,
        matrix: npt.NDArray[np.float64],
        dtype: np.dtype[Any],
        path: str = "",
        given: npt.DTypeLike = np.float32,
    ) -> None:
        self.dtype = dtype
        self._path = path
        #: The largest error that float16 made so far, in mm.
        self.largest_error = 0.0
        self._lock = threading.Lock()  # chunks are worked on side by side
        linear, shift = matrix[:3, :3], matrix[:3, 3]
        if not np.abs(matrix).max() < _LARGEST:
            raise HeaderError(
                f"{path}: the affine from the file's coordinates to RASMM is {matrix.tolist()}; it is absurd"
            )
        self._scale = np.diag(linear).copy()
        self._linear, self._shift = linear, shift
        #: Whether each axis goes to itself: rounding keeps the order of coordinates then.
        self.is_diagonal = not np.any(linear - np.diag(self._scale))
        self._has_scale, self._has_shift = bool((self._scale != 1).any()), bool(shift.any())
        self.is_identity = self.is_diagonal and not self._has_scale and not self._has_shift
        self._work = np.dtype(np.float64 if 8 in (dtype.itemsize, np.dtype(given).itemsize) else np.float32)
        self._scale_row = np.tile(self._scale, _TILE).astype(self._work)
        self._shift_row = np.tile(shift, _TILE).astype(self._work)

    def apply(self, rows: Array, *, keep: bool = False) -> Array:
        """Return the positions of some vertices.

        Parameters
        ----------
        rows : ndarray of floats, shape (v, 3 + k), C order, native byte order
            Coordinates in the first three columns.
        keep : bool
            Leave `rows` as they are; by default they may be overwritten.

        Returns
        -------
        ndarray of shape (v, 3)
            In `dtype`, C order; `rows` itself where that is possible.

        Raises
        ------
        DtypeError
            If a coordinate does not fit float16.
        """
        # What overflows becomes infinite, and the rule on such vertices names the streamline.
        with np.errstate(over="ignore", invalid="ignore"):
            if not self.is_diagonal:
                points = self._general_map(rows)
            else:
                points = np.ascontiguousarray(rows, dtype=self._work) if rows.shape[1] == 3 else self._columns(rows)
                if not self.is_identity:
                    # Arrays without items share nothing, and may be read-only all the same.
                    in_place = not keep or bool(len(points) and not np.may_share_memory(points, rows))
                    points = self._diagonal_map(points, points if in_place else np.empty_like(points))
            if self.dtype.itemsize == 2:
                return self.narrow(points)
            return points if points.dtype == self.dtype else points.astype(self.dtype)

    def largest_rounding(self, reach: npt.ArrayLike) -> float:
        """Return how far from its exact place a vertex may come to lie, in mm.

        Parameters
        ----------
        reach : sequence of 3 float
            The largest coordinates that are given.

        Returns
        -------
        float
            An upper bound.
        """
        largest = (np.abs(self._linear) @ np.abs(np.asarray(reach, dtype=np.float64)) + np.abs(self._shift)).max()
        return float(4 * largest * np.finfo(self.dtype).eps)

    def log_error(self) -> None:
        """Log what float16 has cost."""
        if self.dtype.itemsize == 2:
            logger.info("%s: float16 moved vertices by at most %.4g mm along an axis", self._path, self.largest_error)

    def _columns(self, rows: Array) -> Array:
        if rows.dtype == self._work:
            # One item per vertex: numpy copies these faster than columns.
            size = rows.itemsize
            item = np.dtype([("vertex", f"V{3 * size}"), ("rest", f"V{(rows.shape[1] - 3) * size}")])
            return rows.view(item)["vertex"][:, 0].copy().view(self._work).reshape(-1, 3)
        points = np.empty((len(rows), 3), dtype=self._work)
        for axis in range(3):
            points[:, axis] = rows[:, axis]
        return points

    def _diagonal_map(self, points: Array, out: Array) -> Array:
        whole = len(points) // _TILE * _TILE
        # One call for all long rows: each call gives up and takes back the interpreter's lock.
        for part, shape in (
            (slice(whole), (whole // _TILE, 3 * _TILE)),
            (slice(whole, None), (1, 3 * (len(points) - whole))),
        ):
            values, result = points[part].reshape(shape), out[part].reshape(shape)
            columns = values.shape[1]
            if self._has_scale:
                values = np.multiply(values, self._scale_row[:columns], out=result)
            if self._has_shift:
                np.add(values, self._shift_row[:columns], out=result)
        return out

    def _general_map(self, rows: Array) -> Array:
        result = np.empty((len(rows), 3), dtype=self._work)
        factors, shift = self._linear.T[:, :, None].astype(self._work), self._shift[:, None].astype(self._work)
        buffers = np.empty((3, 3, min(_BLOCK, len(rows))), dtype=self._work)
        for start in range(0, len(rows), _BLOCK):
            part, out = rows[start : start + _BLOCK], result[start : start + _BLOCK]
            columns, sums, products = buffers[:, :, : len(part)]
            for axis in range(3):
                columns[axis] = part[:, axis]
            np.multiply(columns[0], factors[0], out=sums)
            for axis in (1, 2):
                np.multiply(columns[axis], factors[axis], out=products)
                np.add(sums, products, out=sums)
            for axis in range(3):
                np.add(sums[axis], shift[axis], out=out[:, axis])
        return result

    def narrow(self, points: Array) -> Array:
        """Return positions as float16, in an array of their own, and note the largest error.

        Raises
        ------
        DtypeError
            If a coordinate does not fit.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            result = points.astype(self.dtype)
            error = np.abs(result - points)
        if not all_finite(error):
            finite = np.isfinite(points)
            largest = float(np.abs(points[finite]).max(initial=0.0))
            if not np.isfinite(result[finite]).all():
                raise DtypeError(
                    f"{self._path}: a coordinate of {largest:.6g} mm does not fit float16 (at most {_FLOAT16_MAX:g}); "
                    "use float32"
                )
            error = error[finite]
        with self._lock:
            self.largest_error = max(self.largest_error, float(error.max(initial=0.0)))
        return result
