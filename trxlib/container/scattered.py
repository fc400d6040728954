"""Write rows that lie scattered in memory one behind the other, without copying them together first.

One call of the system takes a table of a thousand addresses and lengths, which numpy makes. Where there is no such
call, the rows are joined by Python.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trxlib.errors import StaleError

__all__ = ["RunsOfRows", "write_at", "write_each_at", "write_runs"]

Array = npt.NDArray[Any]
_MAX_PIECES = 1024  # of one call, on every system


class RunsOfRows(NamedTuple):
    """Runs of rows of an array, and the array.

    Parameters
    ----------
    data : ndarray, C order
        Rows along the first axis.
    starts, lengths : ndarray of int64, shape (n,)
        First row and number of rows of each run, all within `data`.
    """

    data: Array
    starts: Array
    lengths: Array

    @property
    def row_nbytes(self) -> int:
        """Bytes of a row."""
        return self.data.itemsize * math.prod(self.data.shape[1:])


def write_at(fd: int, view: memoryview, position: int) -> None:
    """Write all of `view` from byte `position` on; the system may take less than it is given."""
    while len(view):
        try:
            count = os.pwrite(fd, view, position)
        except OSError as error:
            if error.errno == errno.EFAULT:
                raise _cut() from None
            raise
        view = view[count:]
        position += count


def write_each_at(fd: int, pieces: Iterable[tuple[int, bytes]]) -> None:
    """Write bytes that belong to several places of a file, each given with its position."""
    for position, data in pieces:
        write_at(fd, memoryview(data), position)


def write_runs(fd: int, position: int, parts: Sequence[RunsOfRows]) -> int:
    """Write the first run of every part, then the second of every part, and so on.

    Parameters
    ----------
    fd : int
        An open file.
    position : int
        Where the first byte goes.
    parts : sequence of RunsOfRows
        All with the same number of runs.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    OSError
        As `os.pwrite`.
    StaleError
        If a mapped file was cut while it was read.
    ValueError
        If an array is not in C order: its bytes are taken as they lie.
    """
    if not all(part.data.flags.c_contiguous for part in parts):
        raise ValueError("rows in C order are expected")
    if _pwritev is None:
        return _write_joined(fd, position, parts)
    table = np.empty((len(parts[0].starts), len(parts), 2), dtype=np.uint64)
    for column, part in enumerate(parts):
        row_nbytes = part.row_nbytes
        table[:, column, 0] = part.data.ctypes.data + part.starts * row_nbytes
        table[:, column, 1] = part.lengths * row_nbytes
    pieces = table.reshape(-1, 2)
    done = 0
    for low in range(0, len(pieces), _MAX_PIECES):
        done += _write_pieces(fd, position + done, pieces[low : low + _MAX_PIECES])
    return done


def _cut() -> StaleError:
    return StaleError("a mapped file was cut while it was read; was it replaced? read it again")


def _find_pwritev() -> Callable[..., int] | None:
    if ctypes.sizeof(ctypes.c_void_p) != 8 or sys.platform not in ("linux", "darwin"):
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).pwritev
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_ssize_t
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong]
    return function


_pwritev = _find_pwritev()


def _write_pieces(fd: int, position: int, pieces: Array) -> int:
    """Write the pieces of a table of addresses and bytes; the system may take less than it is given."""
    assert _pwritev is not None
    total = int(pieces[:, 1].sum())
    done = 0
    while done < total:
        count = _pwritev(fd, pieces.ctypes.data, len(pieces), position + done)
        if count < 0:
            error = ctypes.get_errno()
            if error == errno.EINTR:
                continue
            if error == errno.EFAULT:
                raise _cut()
            raise OSError(error, os.strerror(error))
        if count == 0:
            raise OSError(errno.EIO, "the system takes no more bytes")
        done += count
        if done < total:
            pieces = _without(pieces, count)
    return total


def _without(pieces: Array, count: int) -> Array:
    """Return the pieces without the first `count` bytes."""
    ends = np.cumsum(pieces[:, 1])
    first = int(np.searchsorted(ends, count, side="right"))
    rest = pieces[first:].copy()
    cut = count - int(ends[first - 1] if first else 0)
    rest[0] += np.array([cut, 0], dtype=np.uint64)
    rest[0, 1] -= np.uint64(cut)
    return rest


def _write_joined(fd: int, position: int, parts: Sequence[RunsOfRows]) -> int:
    """Do the same with slices."""
    columns = []
    for part in parts:
        view = part.data.reshape(-1).view(np.uint8).data
        lows = part.starts * part.row_nbytes
        highs = lows + part.lengths * part.row_nbytes
        columns.append([view[low:high] for low, high in zip(lows.tolist(), highs.tolist(), strict=True)])
    joined = b"".join(piece for pieces in zip(*columns, strict=True) for piece in pieces)
    write_at(fd, memoryview(joined), position)
    return len(joined)
