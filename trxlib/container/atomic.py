"""Files and folders that get their names only when they are complete, and folders for temporary data."""

from __future__ import annotations

import errno
import os
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trxlib.container.durable import rename_durably, sync_folder, sync_tree
from trxlib.container.exchange import exchange
from trxlib.container.full_disk import naming_full_disk
from trxlib.container.owners import hold, remove_abandoned, token
from trxlib.errors import CapacityError, InputError, InputNotFoundError, ReadOnlyError, StateError, TrxError
from trxlib.model.names import HEADER_NAME

__all__ = [
    "TemporaryFolder",
    "final_path",
    "private_name",
    "replace_folder",
    "temporary_error",
    "temporary_root",
    "writing",
]


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
    """A folder for temporary data that is removed by `close`, by garbage collection, and at exit.

    What a killed process leaves is removed when the next folder is made in the same place on the same machine.

    Parameters
    ----------
    root : Path, optional
        Where it is made, under a hidden name; by default under `temporary_root`.

    Attributes
    ----------
    path : Path
        The folder.
    file : Path
        Where its one file may be written.
    """

    def __init__(self, root: Path | None = None) -> None:
        is_given, root = root is not None, temporary_root() if root is None else root
        prefix = ".trxlib_" if is_given else "trxlib_"
        # Of another machine nothing is known: it may have mapped what it has not touched for days.
        remove_abandoned(root, prefix, elsewhere=False)
        self.path = root / f"{prefix}{token()}"
        try:
            self.path.mkdir(mode=0o700)
        except OSError as error:
            if is_given:
                raise
            raise temporary_error(root, error) from None
        self.file = self.path / "data.trx"
        self._finalizer = weakref.finalize(self, _remove, self.file, os.getpid())

    @property
    def name(self) -> str:
        """The path as text, as that of Python's TemporaryDirectory."""
        return str(self.path)

    def close(self) -> None:
        """Remove the folder, with all that somebody put there; a second call does nothing."""
        self._finalizer()

    cleanup = close


def _remove(file: Path, owner: int) -> None:
    """Remove a temporary folder, also where there is no file descriptor left to list it with."""
    if os.getpid() != owner:  # forked meanwhile: the other one uses it still
        return
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
    InputError
        If a device, a pipe or a socket stands there.
    """
    final = Path(os.path.realpath(path))
    if not final.parent.is_dir():
        raise InputNotFoundError(f"{path}: the folder {final.parent} does not exist; create it first")
    if final.exists() and not final.is_file() and not final.is_dir():
        raise InputError(f"{path}: is a device, a pipe or a socket, which is never replaced; name a file")
    return final


def private_name(final: Path) -> Path:
    """Return a name beside `final` that nobody else uses, for content that is not complete.

    What killed processes left of the same output is removed now; see `trxlib.container.owners`.
    """
    prefix = _private_prefix(final)
    remove_abandoned(final.parent, prefix, keep_replaced=not final.exists())
    return final.with_name(f"{prefix}{token()}.partial")


def _private_prefix(final: Path) -> str:
    # No name may be longer than 255 bytes.
    return f".{os.fsdecode(os.fsencode(final.name)[:180])}."


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
    fd = -1
    try:
        with naming_full_disk(path):
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            hold(fd)
            yield partial
            rename_durably(partial, final)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        if fd >= 0:
            os.close(fd)


def replace_folder(partial: Path, path: str | os.PathLike[str]) -> None:
    """Move a complete folder to its final name; an older TRX folder there goes away, any other folder stays.

    Raises
    ------
    StateError
        If `path` is a file, or a folder that is neither empty nor a TRX folder.
    """
    final = final_path(path)
    check_replaceable(final)
    sync_tree(partial)
    if not final.exists():
        rename_durably(partial, final, is_synced=True)
        return
    if exchange(partial, final):
        sync_folder(final.parent)
        shutil.rmtree(partial, ignore_errors=True)
        return
    aside = private_name(final).with_suffix(".replaced")
    final.rename(aside)
    try:
        rename_durably(partial, final, is_synced=True)
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
