"""Rows of an array that are read where they are wanted, and never mapped.

A mapped file that somebody cuts kills the process (SIGBUS) as soon as it looks behind the new end. Who reads is told:
then there is an error that names the file. Passes over whole files read, therefore; what a `TrxFile` hands out is
mapped.
"""

from __future__ import annotations

import math
import os
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.mapping import FileStamp
from trxlib.errors import StaleError, open_error
from trxlib.files import open_regular
from trxlib.model.offsets import join_rows

__all__ = ["OpenFile", "StoredRows", "keep_freed_memory", "read_array"]

Array = npt.NDArray[Any]
#: Runs with less than this between them are read in one piece: a call of the system takes as long as to copy so much.
_GAP_BYTES = 8 << 10
_KEPT_BYTES = 24 << 20
_BIG_BYTES = 4 << 20


class OpenFile:
    """A file that stays open for as long as somebody holds this.

    Parameters
    ----------
    path : str
        The file.
    stamp : FileStamp
        What it was when its arrays were found.

    Raises
    ------
    StaleError
        If it is not, or not any more, that file.
    """

    def __init__(self, path: str, stamp: FileStamp) -> None:
        self.path, self.stamp = path, stamp
        with open_regular(path) as file:
            self.fd = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.fd)
        self.check()

    def check(self) -> None:
        """Raise a StaleError if the file was changed since its arrays were found."""
        if FileStamp.of_status(os.fstat(self.fd)) != self.stamp:
            raise StaleError(f"{self.path}: was changed or replaced while it was read; run it again")

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill `view` with the bytes from `start` on; safe in any thread."""
        _read_into(self.fd, view, start, self.path)


class StoredRows:
    """An array of a file; slices of it are read, each into memory of its own.

    Parameters
    ----------
    file : OpenFile
        The file.
    start : int
        First byte of the array.
    dtype : numpy.dtype
        Its type.
    shape : tuple of int
        Rows first.
    """

    def __init__(self, file: OpenFile, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.file, self.start, self.dtype, self.shape = file, start, dtype, shape
        self._row_bytes = dtype.itemsize * math.prod(shape[1:])
        if shape[0] * self._row_bytes > _BIG_BYTES:
            keep_freed_memory()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        """Read some rows that lie one behind the other; safe in any thread."""
        first, stop, _ = rows.indices(self.shape[0])
        return self._read(first, max(0, stop - first))

    def _read(self, first: int, count: int) -> Array:
        out = np.empty((count, *self.shape[1:]), dtype=self.dtype)
        if out.size:
            self.file.read_into(_bytes_of(out), self.start + first * self._row_bytes)
        return out

    def join(self, starts: Array, lengths: Array) -> Array:
        """Read several runs into one array.

        Parameters
        ----------
        starts, lengths : ndarray of int64, shape (n,)
            First row and number of rows of each run, in any order, none of them empty.
        """
        apart = _GAP_BYTES // max(1, self._row_bytes)
        gaps = starts[1:] - (starts[:-1] + lengths[:-1])
        cuts = [0, *(np.flatnonzero((gaps < 0) | (gaps > apart)) + 1).tolist(), len(starts)]
        if len(cuts) == 2:
            return self._join_near(starts, lengths)
        out = np.empty((int(lengths.sum()), *self.shape[1:]), dtype=self.dtype)
        done = 0
        for low, high in pairwise(cuts):
            if high == low + 1:  # into its place at once
                stop = done + int(lengths[low])
                self.file.read_into(_bytes_of(out[done:stop]), self.start + int(starts[low]) * self._row_bytes)
            else:
                part = self._join_near(starts[low:high], lengths[low:high])
                stop = done + len(part)
                out[done:stop] = part
            done = stop
        return out

    def _join_near(self, starts: Array, lengths: Array) -> Array:
        """Read runs that ascend and lie near each other with all that is between them."""
        first, stop = int(starts[0]), int(starts[-1] + lengths[-1])
        return join_rows(self._read(first, stop - first), starts - first, lengths)


def keep_freed_memory() -> None:
    """Have the C library keep the memory of freed arrays of up to 24 MB for the next ones.

    glibc gives a large array back to the system as soon as it is freed, and the next one has to be mapped page by
    page again, until one of that size has been freed once. Such an array, never touched, costs nothing itself. It
    halves the time to read a TRK under a rotated affine (58 MB: 0.36 s, without it 0.73 s and 35,000 page faults), and
    takes a third from that to merge TRX files into another type (180 MB each: 0.37 s, without it 0.61 s).
    musl and macOS have other rules, and then nothing is gained and nothing lost.
    """
    np.empty(_KEPT_BYTES, dtype=np.uint8)


def read_array(fd: int, start: int, dtype: np.dtype[Any], shape: tuple[int, ...], path: str) -> Array:
    """Read a whole array of an open file.

    Raises
    ------
    StaleError
        If the file ends before the array does.
    """
    out = np.empty(shape, dtype=dtype)
    if out.size:
        _read_into(fd, _bytes_of(out), start, path)
    return out


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _read_into(fd: int, view: memoryview, start: int, path: str) -> None:
    done = 0
    while done < len(view):
        try:
            count = os.preadv(fd, [view[done:]], start + done)
        except OSError as error:
            raise open_error(path, error) from None
        if not count:
            raise StaleError(
                f"{path}: ends {len(view) - done} bytes before an array does; was it cut or replaced while it was "
                "read? run it again"
            )
        done += count
