"""What the system says of a full disk, a quota or a limit on the size of files, with the name of the file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["full_disk_error", "naming_full_disk"]

_WAYS_OUT = {
    errno.ENOSPC: "make room, then start again",
    errno.EDQUOT: "the quota of the user or folder is used up: make room or write elsewhere, then start again",
    errno.EFBIG: "files may not be so large (ulimit -f, or the file system's limit): raise it or write elsewhere",
}


@contextmanager
def naming_full_disk(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say which file does not fit, where the system says only that something does not."""
    try:
        yield
    except OSError as error:
        raise full_disk_error(path, error) from None


def full_disk_error(path: str | os.PathLike[str], error: OSError, needed: str = "") -> OSError:
    """Return what to raise for an error of the system while a file was written: itself, unless the disk is full.

    Parameters
    ----------
    path : path
        What was written.
    error : OSError
        What the system says.
    needed : str
        What is needed, for the message.
    """
    if error.errno not in _WAYS_OUT or error.filename is not None:
        return error
    text = f"{error.strerror}{needed and '; ' + needed}: {_WAYS_OUT[error.errno]}"
    return OSError(error.errno, text, os.fspath(path))
