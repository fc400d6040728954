"""Have the disk itself hold what was written before its name says that it is complete.

A file that was renamed may be empty after a loss of power, on some file systems: the name was on the disk, the bytes
were not. So the bytes go to the disk first, then the name, then the folder that holds the name.
``TRXLIB_DURABLE=0`` leaves this out.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from trxlib.container.full_disk import naming_full_disk
from trxlib.errors import InputError

__all__ = ["is_durable", "rename_durably", "sync_fd", "sync_folder", "sync_tree"]

#: What file systems say that cannot do this, for folders above all.
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES, errno.EISDIR, errno.EPERM}


def is_durable() -> bool:
    """Tell whether files are to be on the disk itself when their names appear: unless ``TRXLIB_DURABLE`` is 0.

    Raises
    ------
    InputError
        If the variable is neither 0 nor 1.
    """
    value = os.environ.get("TRXLIB_DURABLE", "1")
    if value not in ("", "0", "1"):
        raise InputError(f"TRXLIB_DURABLE is {value!r}, expected 0 (do not wait for the disk) or 1")
    return value != "0"


def sync_fd(fd: int, path: str | os.PathLike[str]) -> None:
    """Wait until the disk holds the bytes of an open file.

    Raises
    ------
    OSError
        Names the file: a disk over the network may be full only now.
    """
    if not is_durable():
        return
    with naming_full_disk(path):
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise


def sync_tree(path: Path) -> None:
    """Wait until the disk holds a file, or a folder and all that is below it."""
    if not is_durable():
        return
    if path.is_dir():
        for inside in path.iterdir():
            sync_tree(inside)
    with contextlib.suppress(PermissionError):
        fd = os.open(path, os.O_RDONLY if os.name != "nt" or path.is_dir() else os.O_RDWR)
        try:
            sync_fd(fd, path)
        finally:
            os.close(fd)


def rename_durably(partial: Path, final: Path, *, is_synced: bool = False) -> None:
    """Give a complete file or folder its final name, in the place of a file of that name.

    Parameters
    ----------
    partial, final : Path
        In one folder.
    is_synced : bool
        Whether the disk holds the bytes already.
    """
    if not is_synced:
        sync_tree(partial)
    partial.replace(final)
    sync_folder(final.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk holds the names in a folder; systems that cannot do this for folders are not asked."""
    if not is_durable() or os.name == "nt":
        return
    with contextlib.suppress(PermissionError):  # a folder that may be written to, but not be read
        fd = os.open(folder, os.O_RDONLY)
        try:
            sync_fd(fd, folder)
        finally:
            os.close(fd)
