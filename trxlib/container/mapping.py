"""Map a file once and hand out arrays inside it.

One mapping per file, however many arrays. An array holds the mapping alive, so what was handed out stays readable
after everything else is closed.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from trxlib.errors import ShapeError, StaleError, open_error
from trxlib.files import open_regular

__all__ = ["FileStamp", "MappedFile", "Mode", "files_open_for_change", "is_open_for_change", "open_stamped"]

Mode = Literal["r", "c", "r+"]
# Without it Linux refuses a copy-on-write mapping larger than memory, although nothing is ever written to it.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if hasattr(os, "sched_getaffinity") else 0)
# A mapping needs no descriptor once it is made, but Python keeps one, unless it is told not to (3.13 and later).
_NO_DESCRIPTOR: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
#: Device and inode of each file that this process has mapped "r+", as long as an array of it is held.
_CHANGEABLE: dict[int, tuple[int, int]] = {}
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class FileStamp:
    """Which file it is, and its state: these differ if another file took its name, and if it was changed in place."""

    device: int
    inode: int
    nbytes: int
    mtime_ns: int

    @classmethod
    def of(cls, file: str | os.PathLike[str]) -> FileStamp | None:
        """Return the stamp of a path; None if there is no such file."""
        try:
            return cls.of_status(os.stat(file))  # noqa: PTH116 (a str)
        except OSError:
            return None

    @classmethod
    def of_status(cls, status: os.stat_result) -> FileStamp:
        """Return the stamp of a file by its status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def is_open_for_change(stamp: FileStamp | None) -> bool:
    """Tell whether arrays of this process write into a file: what it states of its content may be out of date."""
    return stamp is not None and (stamp.device, stamp.inode) in files_open_for_change()


def files_open_for_change() -> set[tuple[int, int]]:
    """Return device and inode of each file that arrays of this process write into."""
    files = list(_CHANGEABLE.values())  # in one step: other threads may release a file
    return set(files)


def open_stamped(path: str | os.PathLike[str], stamp: FileStamp) -> IO[bytes]:
    """Open a file for reading that was looked at before.

    Raises
    ------
    StaleError
        If it is not, or not any more, the one that has this stamp; other errors as `trxlib.files.open_regular`.
    """
    file = open_regular(path)
    if FileStamp.of_status(os.fstat(file.fileno())) != stamp:
        file.close()
        raise StaleError(f"{path}: was changed or replaced while it was read; run it again")
    return file


class MappedFile:
    """A file that is mapped into memory.

    Parameters
    ----------
    path : path
        The file.
    mode : {"c", "r", "r+"}
        "c": arrays can be written to, in memory only (copy-on-write). "r": read-only. "r+": writes change the file.
    file : binary file, optional
        The same file, if it is open already (for "r+": for writing). It is not closed.

    Raises
    ------
    InputNotFoundError
        If the file cannot be read.
    InputError
        If it is no file, but a folder, a device or a pipe.
    ReadOnlyError
        If it may not be written and `mode` is "r+".
    CapacityError
        If too many files are open.
    """

    def __init__(self, path: str | os.PathLike[str], mode: Mode = "c", file: IO[bytes] | None = None) -> None:
        self.path = os.fspath(path)
        self.mode = mode
        with nullcontext(file) if file is not None else open_regular(path, for_change=mode == "r+") as opened:
            self.stamp = FileStamp.of_status(os.fstat(opened.fileno()))
            self.nbytes = self.stamp.nbytes
            try:
                self._map = _map(opened.fileno(), self.nbytes, mode) if self.nbytes else None
            except OSError as error:
                raise open_error(path, error) from None
        if mode == "r+" and self._map is not None:
            number = next(_NUMBERS)
            _CHANGEABLE[number] = (self.stamp.device, self.stamp.inode)
            self.when_released(_CHANGEABLE.pop, number)

    def array(self, dtype: np.dtype[Any], shape: tuple[int, ...], start: int) -> npt.NDArray[Any]:
        """Return a C-ordered array whose data begin at byte `start`; nothing is copied.

        Raises
        ------
        ShapeError
            If it would pass the end of the file.
        """
        count = 1
        for length in shape:
            count *= length
        if start < 0 or start + count * dtype.itemsize > self.nbytes:
            needed = count * dtype.itemsize
            raise ShapeError(f"{self.path}: {needed} bytes from byte {start} on are expected, there are {self.nbytes}")
        if count == 0 or self._map is None:
            return np.zeros(shape, dtype=dtype)
        return np.frombuffer(self._map, dtype=dtype, count=count, offset=start).reshape(shape)

    def when_released(self, call: Callable[..., Any], *args: Any) -> None:
        """Call something when the last array of the file is gone, or at exit."""
        if self._map is not None:
            weakref.finalize(self._map, call, *args)

    def flush(self) -> None:
        """Write changes of an "r+" mapping to the file."""
        if self._map is not None and self.mode == "r+":
            self._map.flush()


def _map(fd: int, nbytes: int, mode: Mode) -> mmap.mmap:
    if mode == "r":
        return mmap.mmap(fd, nbytes, access=mmap.ACCESS_READ, **_NO_DESCRIPTOR)
    if mode == "r+":
        return mmap.mmap(fd, nbytes, access=mmap.ACCESS_WRITE, **_NO_DESCRIPTOR)
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(fd, nbytes, access=mmap.ACCESS_COPY, **_NO_DESCRIPTOR)
    prot = mmap.PROT_READ | mmap.PROT_WRITE
    return mmap.mmap(fd, nbytes, flags=mmap.MAP_PRIVATE | _NORESERVE, prot=prot, **_NO_DESCRIPTOR)
