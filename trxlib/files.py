"""Open a file once: whatever is read of it comes from one file, also if another takes its name meanwhile."""

from __future__ import annotations

import os
import stat
from typing import IO

from trxlib.errors import InputError, ReadOnlyError, open_error

__all__ = ["check_regular", "open_regular", "read_regular"]


def open_regular(path: str | os.PathLike[str], *, for_change: bool = False) -> IO[bytes]:
    """Open a file for reading, and for writing if it is to be changed in place.

    Parameters
    ----------
    path : path
        The file.
    for_change : bool
        Whether its bytes will be written to.

    Raises
    ------
    InputNotFoundError
        If it cannot be read.
    InputError
        If it is no file: a folder, a device, or a pipe, which is not waited for.
    ReadOnlyError
        If it may not be written to.
    CapacityError
        If too many files are open.
    """
    # Without O_NONBLOCK, a pipe is waited for until somebody writes to it.
    flags = (os.O_RDWR if for_change else os.O_RDONLY) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        fd = os.open(path, flags)
    except PermissionError as error:
        if for_change:
            raise ReadOnlyError(f"{path}: may not be written ({error.strerror}); open it without mode='r+'") from None
        raise open_error(path, error) from None
    except OSError as error:
        raise open_error(path, error) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InputError(f"{path}: is no file but a folder, a device or a pipe; expected a file on a disk")
    return os.fdopen(fd, "r+b" if for_change else "rb")


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise an InputError if a path is a device, a pipe or a socket; what does not exist is found by who opens it."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a device, a pipe or a socket; expected a file on a disk")


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a small file; raise as `open_regular` does."""
    with open_regular(path) as file:
        return file.read()
