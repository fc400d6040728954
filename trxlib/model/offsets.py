"""Offset arithmetic: streamlines as runs of rows in one long array. numpy only.

The invariant: n streamlines have n + 1 offsets; the first is 0, they never decrease, the last is the number of
vertices. Streamline i is the rows ``offsets[i]:offsets[i + 1]``; an empty streamline is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, InputError, OffsetsError

__all__ = [
    "UINT32_MAX",
    "OffsetsDtype",
    "Rows",
    "check_offsets",
    "complete_offsets",
    "gather_rows",
    "is_contiguous",
    "iter_gathered",
    "iter_gathers",
    "join_neighbours",
    "join_rows",
    "offsets_dtype",
    "offsets_of",
    "resolve_indices",
    "row_numbers",
]

Array = npt.NDArray[Any]
OffsetsDtype = Literal["auto", "uint32", "uint64"]


class Rows(Protocol):
    """An array that is read where it is wanted."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, rows first."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Array: ...

    def join(self, starts: Array, lengths: Array) -> Array:
        """Return the rows of some runs, one run behind the other."""


UINT32_MAX = 2**32 - 1
_CHECK_ROWS = 1 << 18  # offsets checked at a time: 2 MB of uint64, which stays in cache


def offsets_dtype(nb_vertices: int, wanted: Any = "auto") -> np.dtype[Any]:
    """Return the type of offsets.

    Parameters
    ----------
    nb_vertices : int
        The last offset.
    wanted : {"auto", "uint32", "uint64"}
        By default uint32, or uint64 when the vertices pass 2^32 - 1.

    Raises
    ------
    InputError
        If `wanted` is another type, or uint32 does not suffice.
    """
    found = np.dtype("<u4") if nb_vertices <= UINT32_MAX else np.dtype("<u8")
    if isinstance(wanted, str) and wanted == "auto":
        return found
    try:
        given: np.dtype[Any] = np.dtype(wanted).newbyteorder("<")
    except TypeError:
        given = np.dtype(np.object_)
    if given not in (np.dtype("<u4"), np.dtype("<u8")):
        raise InputError(f"offsets_dtype is {wanted!r}, expected 'auto', 'uint32' or 'uint64'")
    if given.itemsize < found.itemsize:
        raise InputError(
            f"offsets_dtype is uint32, which ends at {UINT32_MAX}, and there are {nb_vertices} vertices; take 'auto' "
            "or 'uint64'"
        )
    return given


def offsets_of(lengths: Array, dtype: npt.DTypeLike | None = None) -> Array:
    """Return the n + 1 offsets of streamlines with these lengths.

    Parameters
    ----------
    lengths : ndarray of integers, shape (n,)
        Vertices per streamline.
    dtype : dtype, optional
        By default uint32, or uint64 if the sum needs it.
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets.astype(offsets_dtype(int(offsets[-1])) if dtype is None else dtype)


def check_offsets(offsets: Array, nb_vertices: int, what: str = "offsets") -> None:
    """Check the invariant of this module, in chunks, so that mapped offsets stay mapped.

    Parameters
    ----------
    offsets : ndarray of integers, shape (n + 1,) or (n,)
        With n entries the last offset is not there to be checked.
    nb_vertices : int
        What the last may not pass.
    what : str
        The array's name for messages.

    Raises
    ------
    OffsetsError
        If the first is not 0, a later one is smaller than the one before, or one passes `nb_vertices`.
    """
    if len(offsets) == 0:
        return
    if int(offsets[0]) != 0:
        raise OffsetsError(f"{what} starts at {int(offsets[0])}, expected 0")
    for start in range(0, len(offsets), _CHECK_ROWS):
        part = offsets[start : start + _CHECK_ROWS + 1]
        # Compared, not subtracted: a difference of unsigned numbers wraps.
        falls = np.flatnonzero(part[1:] < part[:-1])
        if falls.size:
            row = start + int(falls[0])
            raise OffsetsError(
                f"{what} decreases from {int(offsets[row])} (row {row}) to {int(offsets[row + 1])}, "
                "expected a non-decreasing sequence"
            )
    if int(offsets[-1]) > nb_vertices:
        row = int(np.searchsorted(offsets, nb_vertices, side="right"))
        raise OffsetsError(f"{what} row {row} is {int(offsets[row])}, but there are only {nb_vertices} vertices")


def complete_offsets(offsets: Array, nb_streamlines: int, nb_vertices: int) -> Array:
    """Return n + 1 offsets: as they are, or a copy with the closing one added to the n of old files."""
    if len(offsets) == nb_streamlines + 1:
        return offsets
    dtype = offsets.dtype if nb_vertices <= np.iinfo(offsets.dtype).max else np.dtype("<u8")
    return np.append(offsets.astype(dtype, copy=False), np.array([nb_vertices], dtype=dtype))


def is_contiguous(starts: Array, lengths: Array, nb_rows: int) -> bool:
    """Tell whether the runs lie one behind the other and cover all `nb_rows` rows, so that nothing need be gathered."""
    if len(starts) == 0:
        return nb_rows == 0
    if int(starts[0]) != 0 or int(starts[-1]) + int(lengths[-1]) != nb_rows:
        return False
    step = _CHECK_ROWS
    for low in range(0, len(starts) - 1, step):
        part = starts[low : low + step + 1].astype(np.int64)
        if not np.array_equal(part[:-1] + lengths[low : low + len(part) - 1].astype(np.int64), part[1:]):
            return False
    return True


def row_numbers(starts: Array, lengths: Array) -> Array:
    """Return the rows of the runs, one behind the other: int64 of shape (sum(lengths),)."""
    lengths = np.asarray(lengths, dtype=np.int64)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    shifts = np.asarray(starts, dtype=np.int64) - (ends - lengths)
    return np.repeat(shifts, lengths) + np.arange(total, dtype=np.int64)


def gather_rows(data: Array, starts: Array, lengths: Array) -> Array:
    """Copy the rows of the runs into a new array of shape (sum(lengths), ...)."""
    out = np.empty((int(np.sum(lengths, dtype=np.int64)), *data.shape[1:]), dtype=data.dtype)
    filled = 0
    for part in iter_gathered(data, starts, lengths):
        out[filled : filled + len(part)] = part
        filled += len(part)
    return out


def iter_gathered(data: Array | Rows, starts: Array, lengths: Array, chunk_bytes: int = 1 << 20) -> Iterator[Array]:
    """Yield the rows of the runs in order, in arrays of about `chunk_bytes` (a longer run comes in pieces).

    Parameters
    ----------
    data : ndarray or Rows, shape (nb_rows, ...)
        Not modified; may be mapped.
    starts, lengths : ndarray of integers, shape (n,)
        The runs, in any order; they may overlap and repeat.
    chunk_bytes : int
        Bounds the memory, whatever the number of runs.

    Yields
    ------
    ndarray
        A view of `data` where runs follow each other, otherwise a copy.
    """
    for _, gather in iter_gathers(data, starts, lengths, chunk_bytes):
        yield gather()


def iter_gathers(
    data: Array | Rows, starts: Array, lengths: Array, chunk_bytes: int = 1 << 20
) -> Iterator[tuple[int, Callable[[], Array]]]:
    """Yield, for each array that `iter_gathered` yields, its number of rows and a function that makes it.

    So several threads can make arrays side by side, each the one that it uses next.
    """
    row_bytes = max(1, data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64)))
    max_rows = max(1, chunk_bytes // row_bytes)
    block = 1 << 16
    for low in range(0, len(starts), block):
        yield from _iter_runs(data, *join_neighbours(starts[low : low + block], lengths[low : low + block]), max_rows)


def join_neighbours(starts: Array, lengths: Array) -> tuple[Array, Array]:
    """Return the runs, int64, without empty ones and with those that follow each other as one."""
    s = np.asarray(starts, dtype=np.int64)
    n = np.asarray(lengths, dtype=np.int64)
    s, n = s[n > 0], n[n > 0]
    if not len(s):
        return s, n
    first = np.flatnonzero(np.concatenate(([True], s[1:] != s[:-1] + n[:-1])))
    return s[first], np.add.reduceat(n, first)


def _iter_runs(
    data: Array | Rows, starts: Array, lengths: Array, max_rows: int
) -> Iterator[tuple[int, Callable[[], Array]]]:
    ends = np.cumsum(lengths)
    low = 0
    while low < len(starts):
        done = int(ends[low - 1]) if low else 0
        high = int(np.searchsorted(ends, done + max_rows, side="right"))
        if high <= low + 1:  # one run, which may be longer than a chunk
            first, stop = int(starts[low]), int(starts[low] + lengths[low])
            for row in range(first, stop, max_rows):
                rows = slice(row, min(row + max_rows, stop))
                yield rows.stop - rows.start, partial(data.__getitem__, rows)
            low += 1
        else:
            yield int(ends[high - 1]) - done, partial(_join, data, starts[low:high], lengths[low:high])
            low = high


def _join(data: Array | Rows, starts: Array, lengths: Array) -> Array:
    return join_rows(data, starts, lengths) if isinstance(data, np.ndarray) else data.join(starts, lengths)


def join_rows(data: Array, starts: Array, lengths: Array) -> Array:
    """Copy several runs into one array: by slices where runs are long, by row numbers where they are short."""
    row_bytes = data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64))
    if not data.flags.c_contiguous or row_bytes * int(lengths.sum()) < 160 * len(lengths):
        return data[row_numbers(starts, lengths)]
    view = data.reshape(-1).view(np.uint8).data
    slices = map(slice, (starts * row_bytes).tolist(), ((starts + lengths) * row_bytes).tolist())
    joined = b"".join([*map(view.__getitem__, slices)])
    return np.frombuffer(joined, dtype=data.dtype).reshape(-1, *data.shape[1:])


def resolve_indices(key: Any, count: int) -> Array:
    """Turn any index of numpy or Python into row numbers.

    Parameters
    ----------
    key : int, slice, list, integer or bool ndarray
        As for numpy's first axis; negative values count from the end, repeats are kept.
    count : int
        The number of rows.

    Returns
    -------
    ndarray, int64 of shape (k,)
        All in 0 <= row < `count`; an int gives one row.

    Raises
    ------
    IndexError
        If a row is out of range, or a mask has another length than `count`.
    DtypeError
        If the indices are not whole numbers.
    """
    if isinstance(key, slice):
        return np.arange(*key.indices(count), dtype=np.int64)
    rows = np.asarray(key)
    if rows.size == 0 and rows.dtype.kind == "f":  # an empty list
        return np.zeros(0, dtype=np.int64)
    if rows.dtype.kind == "b":
        if rows.shape != (count,):
            raise IndexError(f"the mask has shape {rows.shape}, expected ({count},)")
        return np.flatnonzero(rows)
    if rows.dtype.kind not in "iu":
        raise DtypeError(f"indices are {rows.dtype}, expected integers, a mask of bool or a slice")
    rows = rows.reshape(-1)
    if rows.size and (int(rows.max()) >= count or int(rows.min()) < -count):
        bad = int(rows.max()) if int(rows.max()) >= count else int(rows.min())
        raise IndexError(f"index {bad} is out of range for {count} streamlines")
    rows = rows.astype(np.int64)
    return np.where(rows < 0, rows + count, rows)
