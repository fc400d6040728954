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
from trxlib.model.chunk import Place
from trxlib.model.dtypes import all_finite, cast, check_float_dtype, check_overflow

__all__ = ["PositionsCast", "PositionsMap", "PositionsMove", "check_positions_dtype", "working_dtype"]

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
_TILE = 4096  # vertices of a long row: 48 kB of float32, so that all passes but the first find it in the cache
_BLOCK = 16_000  # vertices whose columns are worked on at a time: 0.6 MB, in the cache, and few calls
_LARGEST = 1e30  # of an affine that float32 can apply


def check_positions_dtype(dtype: npt.DTypeLike | None, default: str) -> np.dtype[Any]:
    """Return the type of positions: float16, float32 or float64, little-endian.

    Raises
    ------
    InputError
        For any other type.
    """
    return check_float_dtype(default if dtype is None else dtype, "positions_dtype")


def working_dtype(wanted: npt.DTypeLike | None, given: npt.DTypeLike) -> np.dtype[Any]:
    """Return the type in which positions are moved and judged before they become `wanted`: float32 or float64.

    No narrower than either, so that a rule never sees what the last rounding did to a vertex.

    Parameters
    ----------
    wanted : dtype, optional
        Float type of the result; by default that of the file.
    given : dtype
        That of the file.
    """
    least = np.result_type(given, np.float32)
    return least if wanted is None else np.result_type(least, check_positions_dtype(wanted, "float32"))


class PositionsMap:
    """Applies an affine to vertices.

    Parameters
    ----------
    matrix : ndarray, float64 of shape (4, 4)
        File coordinates to RASMM.
    dtype : numpy.dtype
        Of the result: float32 or float64.
    path : str
        For messages.
    """

    def __init__(
        self,
        matrix: npt.NDArray[np.float64],
        dtype: np.dtype[Any],
        path: str = "",
    ) -> None:
        self.dtype = dtype
        self._path = path
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
        self._scale_row = np.tile(self._scale, _TILE).astype(dtype)
        self._shift_row = np.tile(shift, _TILE).astype(dtype)

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
        """
        # What overflows becomes infinite, and the rule on such vertices names the streamline.
        with np.errstate(over="ignore", invalid="ignore"):
            if not self.is_diagonal:
                points = self._general_map(rows)
            else:
                points = np.ascontiguousarray(rows, dtype=self.dtype) if rows.shape[1] == 3 else self._columns(rows)
                if not self.is_identity:
                    # Arrays without items share nothing, and may be read-only all the same.
                    in_place = not keep or bool(len(points) and not np.may_share_memory(points, rows))
                    points = self._diagonal_map(points, points if in_place else np.empty_like(points))
            return points

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

    def _columns(self, rows: Array) -> Array:
        if rows.dtype == self.dtype:
            # One item per vertex: numpy copies these faster than columns.
            size = rows.itemsize
            item = np.dtype([("vertex", f"V{3 * size}"), ("rest", f"V{(rows.shape[1] - 3) * size}")])
            return rows.view(item)["vertex"][:, 0].copy().view(self.dtype).reshape(-1, 3)
        points = np.empty((len(rows), 3), dtype=self.dtype)
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
        result = np.empty((len(rows), 3), dtype=self.dtype)
        factors, shift = self._linear.T[:, :, None].astype(self.dtype), self._shift[:, None].astype(self.dtype)
        buffers = np.empty((3, 3, min(_BLOCK, len(rows))), dtype=self.dtype)
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


class PositionsMove:
    """The step that moves positions which the reader has not moved already.

    Parameters
    ----------
    mapping : PositionsMap
        RASMM to RASMM.
    """

    def __init__(self, mapping: PositionsMap) -> None:
        self._map = mapping

    def apply(self, positions: Array, place: Place) -> Array:
        """Return the moved positions, in the type of the map."""
        return self._map.apply(positions, keep=True)

    def end(self) -> None:
        """Say nothing."""


class PositionsCast:
    """The last step: gives positions their type, behind all that looks at them.

    Parameters
    ----------
    dtype : numpy.dtype
        float16, float32 or float64.
    path : str
        For messages.
    """

    def __init__(self, dtype: np.dtype[Any], path: str) -> None:
        self._dtype, self._path = dtype, path
        #: The largest error that float16 made so far, in mm.
        self.largest_error = 0.0
        self._lock = threading.Lock()

    def apply(self, positions: Array, place: Place) -> Array:
        """Return positions in the type: as they are if they have it, else in an array of their own.

        Raises
        ------
        DtypeError
            Naming the streamline of the first vertex that would become infinite.
        """
        try:
            return self._narrow(positions) if self._dtype.itemsize == 2 else cast(positions, self._dtype, "positions")
        except DtypeError:
            with np.errstate(over="ignore"):
                lost = np.isinf(positions.astype(self._dtype)) & np.isfinite(positions)
            row = int(np.argmax(lost.any(axis=1)))
            raise DtypeError(
                f"{self._path}: streamline {place.locate(row)[0]} has the vertex {positions[row].tolist()}, which does "
                f"not fit {self._dtype.name} (at most {float(np.finfo(self._dtype).max):.6g}); choose a wider "
                "positions_dtype, or repair the file"
            ) from None

    def end(self) -> None:
        """Log what float16 has cost."""
        if self._dtype.itemsize == 2:
            logger.info("%s: float16 moved vertices by at most %.4g mm along an axis", self._path, self.largest_error)

    def _narrow(self, positions: Array) -> Array:
        """Return float16 and note the largest error: `cast`, with the error as the sieve for what became infinite."""
        if positions.dtype == self._dtype:
            return positions
        with np.errstate(over="ignore", invalid="ignore"):
            result = positions.astype(self._dtype)
            error = np.abs(result - positions)
        if not all_finite(error):
            check_overflow(positions, result, "positions")
            error = error[np.isfinite(error)]
        with self._lock:
            self.largest_error = max(self.largest_error, float(error.max(initial=0.0)))
        return result
