"""List what is inside a container: entries of a zip archive with the place of their data, or files of a folder.

The directory of an archive is read by Python's zipfile; the start of the data is taken from the entry's *local*
record, whose extra field may be longer than the central one (ZIP application note, 4.3.7).
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, NamedTuple

from trxlib.errors import (
    ArchiveError,
    ArrayNameError,
    InputError,
    InputNotFoundError,
    StaleError,
    TrxError,
    open_error,
)
from trxlib.files import open_regular
from trxlib.kinds import describe_kind, kind_of, refusal
from trxlib.model.paths import check_paths
from trxlib.text import shown

__all__ = ["Member", "iter_files", "list_archive", "list_folder", "open_member"]

#: What zipfile raises for damaged directories; NotImplementedError is a RuntimeError.
_UNREADABLE = (zipfile.BadZipFile, EOFError, struct.error, ValueError, RuntimeError, OverflowError)
_LOCAL_SIZE = 30
_READ_WHOLE = 64  # bytes read beyond the fixed part: enough for most names


class Member(NamedTuple):
    """One entry of a container.

    Parameters
    ----------
    path : str
        Name inside the container, with forward slashes.
    file : str
        The file on disk that holds the bytes.
    start : int
        Where its (possibly compressed) data start in `file`.
    nbytes : int
        Size of the data, uncompressed.
    crc : int or None
        CRC-32 that the archive states; None in a folder.
    is_stored : bool
        Whether the bytes lie there as they are, and can be mapped.
    entry : str
        What the archive calls it, where that is another name (``./dps/weight.float32``).
    packed : int
        Bytes that it takes in the archive.
    method : int
        How it is packed, by the number that zip has for it.
    node : tuple of 2 int, optional
        Device and inode of a file of a folder: another may have its name when it is opened.
    """

    path: str
    file: str
    start: int
    nbytes: int
    crc: int | None = None
    is_stored: bool = True
    entry: str = ""
    packed: int = 0
    method: int = zipfile.ZIP_STORED
    node: tuple[int, int] | None = None

    @property
    def entry_name(self) -> str:
        """The name in the archive's directory."""
        return self.entry or self.path


def open_member(member: Member, *, for_change: bool = False) -> IO[bytes]:
    """Open a file of a folder, as `open_regular` does.

    Raises
    ------
    StaleError
        If another file has its name by now.
    """
    file = open_regular(member.file, for_change=for_change)
    status = os.fstat(file.fileno())
    if member.node not in (None, (status.st_dev, status.st_ino)):
        file.close()
        raise StaleError(f"{member.file}: was replaced while it was read; run it again")
    return file


def is_junk(path: str) -> bool:
    """Tell whether an entry is a leftover of an operating system's file manager."""
    name = path.rsplit("/", 1)[-1]
    return path.startswith("__MACOSX/") or name in (".DS_Store", "Thumbs.db", "desktop.ini") or name.startswith("._")


def list_archive(path: str | os.PathLike[str], file: IO[bytes] | None = None) -> list[Member]:
    """Return the entries of a zip archive; folders and junk of file managers are left out.

    Parameters
    ----------
    path : path
        The archive. Only its directory and local records are read.
    file : binary file, optional
        The same file, if it is open already. It is not closed.

    Raises
    ------
    ArchiveError
        If the archive is truncated or encrypted, has an entry twice, or states data outside of itself.
    ArrayNameError
        If an entry's name would leave the folder it is unpacked to.
    """
    with nullcontext(file) if file is not None else open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
                end = archive.start_dir
        except _UNREADABLE as error:
            raise _no_archive(path, file, size, error) from None
        # Not info.is_dir(), which fails for an empty name.
        named = [(_without_dot(info.filename), info) for info in infos if not info.filename.endswith("/")]
        named = [(inside, info) for inside, info in named if not is_junk(inside)]
        try:
            check_paths([inside for inside, _ in named])
        except ArrayNameError as error:
            raise ArrayNameError(f"{path}: {error}") from None
        members = []
        for inside, info in named:
            if info.flag_bits & 0x1:
                raise ArchiveError(f"{path}: entry {info.filename!r} is encrypted; unpack it with its password first")
            start, is_stored = _data_start(file.fileno(), info, path), info.compress_type == zipfile.ZIP_STORED
            if start + info.compress_size > end or (is_stored and info.compress_size != info.file_size):
                raise ArchiveError(
                    f"{path}: entry {info.filename!r} states {info.compress_size} bytes from byte {start} on, "
                    f"but the directory begins at byte {end}"
                )
            entry = info.filename if inside != info.filename else ""
            packed = (is_stored, entry, info.compress_size, info.compress_type)
            members.append(Member(inside, os.fspath(path), start, info.file_size, info.CRC, *packed))
    _check_unique(members, path)
    _check_apart(members, infos, path)
    return members


def list_folder(path: str | os.PathLike[str]) -> list[Member]:
    """Return the files below a folder, sorted by name; junk of file managers is left out.

    Raises
    ------
    InputNotFoundError
        If something in it cannot be read, or is a link to nothing: left out, it would be lost in the next save.
    InputError
        If something is neither file nor folder, or a link to a folder around it.
    """
    root = os.fspath(path)
    members = []
    for file, status in iter_files(root):
        inside = Path(file).relative_to(root).as_posix()
        members.append(Member(inside, file, 0, status.st_size, node=(status.st_dev, status.st_ino)))
    return sorted(members, key=lambda member: member.path)


def iter_files(folder: str, around: tuple[tuple[int, int], ...] = ()) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every file below a folder with its status; links are followed, junk of file managers is left out.

    Parameters
    ----------
    folder : str
        Where to look.
    around : tuple of (int, int)
        Device and inode of the folders on the way to it, into which no link may lead back.

    Raises
    ------
    InputNotFoundError, InputError
        As `list_folder` does.
    """
    status = _status_of(folder)
    here = (status.st_dev, status.st_ino)
    if here in around:
        raise InputError(f"{folder}: is a link to a folder that it lies in; remove the link")
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError as error:
        raise open_error(folder, error) from None
    for name in names:
        file = os.path.join(folder, name)  # noqa: PTH118 (ten thousand times in a large cohort)
        if is_junk(name):
            continue
        status = _status_of(file)
        if stat.S_ISDIR(status.st_mode):
            if around or name != "__MACOSX":
                yield from iter_files(file, (*around, here))
        elif stat.S_ISREG(status.st_mode):
            yield file, status
        else:
            raise InputError(f"{file}: is neither a file nor a folder; remove it")


def _status_of(file: str) -> os.stat_result:
    try:
        return os.stat(file)  # noqa: PTH116
    except OSError as error:
        if os.path.islink(file):  # noqa: PTH114
            target = os.readlink(file)  # noqa: PTH115
            raise InputNotFoundError(
                f"{file}: is a link to {target}, which cannot be read ({error.strerror}); mend or remove it"
            ) from None
        raise open_error(file, error) from None


def _no_archive(path: str | os.PathLike[str], file: IO[bytes], size: int, error: Exception) -> TrxError:
    """Return what to raise for a file that zipfile cannot read: what it is, if it is of another kind."""
    head = os.pread(file.fileno(), 4096, 0)
    kind = kind_of(path, head) if head[:2] != b"PK" else None
    if kind is not None and kind.use == "absent":
        return refusal(path, "trx", kind=kind)
    if kind is not None and (kind.use != "unknown" or kind.what == "a text"):
        return ArchiveError(describe_kind(path, kind, "trx"))
    return ArchiveError(
        f"{path}: no complete zip archive ({shown(error)}); the file of {size} bytes is of another format, was cut, or "
        "is still being written"
    )


def _without_dot(name: str) -> str:
    """Return an entry's name without a leading ``./``, which some programs write."""
    while name.startswith("./"):
        name = name[2:]
    return name


def _data_start(fd: int, info: zipfile.ZipInfo, path: str | os.PathLike[str]) -> int:
    if info.header_offset < 0:
        raise ArchiveError(f"{path}: the local record of {info.filename!r} would lie before the file's start")
    record = os.pread(fd, _LOCAL_SIZE + _READ_WHOLE, info.header_offset)
    if len(record) < _LOCAL_SIZE or record[:4] != b"PK\3\4":
        raise ArchiveError(f"{path}: no local record of {info.filename!r} at byte {info.header_offset}")
    name_size, extra_size = struct.unpack_from("<2H", record, 26)
    name = record[_LOCAL_SIZE : _LOCAL_SIZE + name_size]
    central = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "replace")
    if not central.startswith(name[: len(central)]) or name_size != len(central):
        raise ArchiveError(f"{path}: the local record at byte {info.header_offset} is not that of {info.filename!r}")
    return int(info.header_offset + _LOCAL_SIZE + name_size + extra_size)


def _check_unique(members: list[Member], path: str | os.PathLike[str]) -> None:
    seen: set[str] = set()
    for member in members:
        if member.path in seen:
            raise ArchiveError(f"{path}: entry {member.path!r} is there twice; repack the file with one of them")
        seen.add(member.path)


def _check_apart(members: list[Member], infos: list[zipfile.ZipInfo], path: str | os.PathLike[str]) -> None:
    """Refuse entries that share bytes, as in archives made to unpack to more than the disk holds."""
    packed = {info.filename: info.compress_size for info in infos}
    end, before = 0, ""
    for member in sorted(members, key=lambda member: member.start):
        if member.start < end:
            raise ArchiveError(f"{path}: entries {before!r} and {member.path!r} overlap")
        end, before = member.start + packed[member.entry_name], member.path
