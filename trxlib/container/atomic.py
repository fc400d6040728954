"""Files and folders that get their names only when they are complete, and folders for temporary data."""

from __future__ import annotations

import errno
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trxlib.errors import CapacityError, InputError, InputNotFoundError, ReadOnlyError, StateError, TrxError
from trxlib.model.names import HEADER_NAME

__all__ = [
    "TemporaryFolder",
    "final_path",
    "full_disk_error",
    "naming_full_disk",
    "private_name",
    "replace_folder",
    "temporary_error",
    "temporary_root",
    "writing",
]

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def temporary_root() -> Path:
    """Return the folder for temporary data: ``TRX_TMPDIR``, else the system's.

    ``TRX_TMPDIR=use_working_dir`` means the working directory, as in the reference package.

    Raises
    ------
    InputNotFoundError
        If ``TRX_TMPDIR`` names no folder.
    """
    value = os.environ.get("TRX_TMPDIR")
    if not value:
        import tempfile  # with what it needs, a tenth of the start of a process

        return Path(tempfile.gettempdir())
    if value == "use_working_dir":
        return Path.cwd()
    if not Path(value).is_dir():
        raise InputNotFoundError(f"TRX_TMPDIR is {value!r}, which is no folder; create it or unset the variable")
    return Path(value)


def temporary_error(root: Path, error: OSError, needed: str = "temporary data") -> TrxError:
    """Return what to raise where temporary data cannot be written."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        kind: type[TrxError] = ReadOnlyError
        text = f"may not be written to by {needed} ({error.strerror}); set TRX_TMPDIR to another folder"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        kind = CapacityError
        text = f"cannot be used: too many files are open for {needed} ({error.strerror}); close() some"
    else:
        kind = CapacityError
        text = f"has no room for {needed} ({error}); set TRX_TMPDIR to a larger disk"
    return kind(f"{root} {text}")


class TemporaryFolder:
    """A folder under `temporary_root` that is removed by `close`, by garbage collection, and at exit.

    Attributes
    ----------
    path : Path
        The folder.
    file : Path
        Where its one file may be written.
    """

    def __init__(self) -> None:
        import tempfile

        root = temporary_root()
        try:
            self.path = Path(tempfile.mkdtemp(prefix="trxlib_", dir=root))
        except OSError as error:
            raise temporary_error(root, error) from None
        self.file = self.path / "data.trx"
        self._finalizer = weakref.finalize(self, _remove, self.file)

    @property
    def name(self) -> str:
        """The path as text, as that of Python's TemporaryDirectory."""
        return str(self.path)

    def close(self) -> None:
        """Remove the folder, with all that somebody put there; a second call does nothing."""
        self._finalizer()

    cleanup = close


def _remove(file: Path) -> None:
    """Remove a temporary folder, also where there is no file descriptor left to list it with."""
    try:
        file.unlink(missing_ok=True)
        file.parent.rmdir()
    except OSError:
        shutil.rmtree(file.parent, ignore_errors=True)


def final_path(path: str | os.PathLike[str]) -> Path:
    """Return where an output will stand: links are followed, and its folder must exist.

    Raises
    ------
    InputNotFoundError
        If the folder does not exist.
    """
    final = Path(os.path.realpath(path))
    if not final.parent.is_dir():
        raise InputNotFoundError(f"{path}: the folder {final.parent} does not exist; create it first")
    return final


def private_name(final: Path) -> Path:
    """Return a name beside `final` that nobody else uses, for content that is not complete."""
    return final.with_name(f".{final.name[:200]}.{os.urandom(4).hex()}.partial")


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
    if error.errno not in _NO_SPACE or error.filename is not None:
        return error
    text = f"{error.strerror}{needed and '; ' + needed}: make room, then start again"
    return OSError(error.errno, text, os.fspath(path))


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a private name to write a file to; at the end it replaces `path`, after an error it is removed.

    Parameters
    ----------
    path : path
        The final name. What stands there is untouched until the new content is complete.

    Yields
    ------
    Path
        The name to write to.
    """
    final = final_path(path)
    if final.is_dir():
        raise InputError(f"{path}: is a folder, expected the name of a file; remove it or choose another name")
    partial = private_name(final)
    try:
        yield partial
        partial.replace(final)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def replace_folder(partial: Path, path: str | os.PathLike[str]) -> None:
    """Move a complete folder to its final name; an older TRX folder there goes away, any other folder stays.

    Raises
    ------
    StateError
        If `path` is a file, or a folder that is neither empty nor a TRX folder.
    """
    final = final_path(path)
    check_replaceable(final)
    if not final.exists():
        partial.rename(final)
        return
    aside = private_name(final)
    final.rename(aside)
    try:
        partial.rename(final)
    except BaseException:
        aside.rename(final)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def check_replaceable(final: Path) -> None:
    """Check that an output folder may take this name.

    Raises
    ------
    StateError
        If `final` is a file, or a folder that is neither empty nor a TRX folder.
    """
    if final.is_dir():
        if any(final.iterdir()) and not (final / HEADER_NAME).is_file():
            raise StateError(f"{final}: is a folder with other content, not a TRX folder; choose another name")
    elif final.exists():
        raise StateError(f"{final}: is a file, not a TRX folder; choose another name")
