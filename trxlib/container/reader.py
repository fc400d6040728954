"""Open a TRX archive or folder: header and offsets are read, every other array is mapped where it lies.

Deflated entries are unpacked to a temporary file first, their CRC checked on the way.
"""

from __future__ import annotations

import logging
import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.container.atomic import TemporaryFolder, temporary_error
from trxlib.container.entries import Member, list_archive, list_folder
from trxlib.container.in_place import ChangesInPlace
from trxlib.container.mapping import FileStamp, MappedFile, Mode, is_open_for_change, open_error
from trxlib.errors import (
    ArchiveError,
    HeaderError,
    InputError,
    InputNotFoundError,
    ReadOnlyError,
    ShapeError,
    TrxError,
)
from trxlib.model.arrays import TrxArrays
from trxlib.model.dtypes import cast_integers
from trxlib.model.header import Header
from trxlib.model.names import HEADER_NAME, ArrayName, is_sidecar, parse_name
from trxlib.model.offsets import check_offsets, complete_offsets
from trxlib.model.rules import check_unique, shape_of_entry

__all__ = ["Container", "check_crc", "check_crcs", "open_container"]

logger = logging.getLogger(__name__)
_SMALL = 1 << 20  # files of a folder up to this are read, not mapped: each mapping may hold a file descriptor
_ALIGNMENT = 64
_BLOCK = 4 << 20


@dataclass
class Container:
    """An opened TRX file.

    Parameters
    ----------
    path : str
        The archive or folder.
    arrays : TrxArrays
        Mapped arrays; they stay readable as long as they are referenced.
    members : mapping of ArrayName to Member
        Where the bytes of each array lie on disk.
    mode : {"c", "r", "r+"}
        As opened.
    """

    path: str
    arrays: TrxArrays
    members: Mapping[ArrayName, Member]
    mode: Mode
    files: dict[str, MappedFile] = field(default_factory=dict)
    folder: TemporaryFolder | None = None
    #: Files and folders that the content is from; of a temporary file, those that it was made of.
    origins: tuple[str, ...] = ()
    #: Of an archive opened "r+": states its CRCs anew, here and when the last array that was handed out is gone.
    changes: ChangesInPlace | None = None

    def close(self) -> None:
        """Write "r+" changes and remove the temporary folder, if there is one; arrays stay readable."""
        while self.files:  # no name holds the mapping any longer than its flush
            self.files.popitem()[1].flush()
        if self.changes is not None:
            # If nobody else has an array of the file, its mapping ends here, and that states the CRCs.
            self.arrays = TrxArrays.empty(self.arrays.header)
            if self.changes.is_mapped:
                self.changes.refresh()
        if self.folder is not None:
            self.folder.close()


def open_container(path: str | os.PathLike[str], mode: Mode = "c") -> Container:
    """Open a TRX archive or folder.

    Parameters
    ----------
    path : path
        ``.trx`` archive (stored or deflated, of any zip program) or folder.
    mode : {"c", "r", "r+"}
        "c": writes stay in memory. "r": arrays are read-only. "r+": writes change the file; an archive is read once
        now, so that damage it has already is told from changes.

    Returns
    -------
    Container

    Raises
    ------
    FormatError
        If a rule of the format is broken; the message names file and array. Values of groups are not read here.
    InputNotFoundError
        If there is no such file.
    """
    if mode not in ("r", "c", "r+"):
        raise InputError(f"{path}: mode is {mode!r}, expected 'c', 'r' or 'r+'")
    members = _list(path)
    try:
        header = _header_of(members, path)
        opener = _Opener(path, mode, members)
        container = opener.open(header)
    except TrxError as error:
        if not str(error).startswith(str(path)):
            error.args = (f"{path}: {error}",)
        raise
    if mode != "r+":
        if not Path(path).is_dir() and is_open_for_change(FileStamp.of(path)):
            # What the archive states is out of date as soon as somebody writes: CRCs are those of the bytes read.
            container.members = {name: replace(member, crc=None) for name, member in container.members.items()}
    elif not Path(path).is_dir() and container.files:
        container.changes = ChangesInPlace(path)
        for file in container.files.values():
            file.when_released(container.changes.end)
    return container


def check_crcs(path: str | os.PathLike[str]) -> None:
    """Read every entry of an archive and compare its CRC-32 with the stated one; a folder has none.

    Raises
    ------
    ArchiveError
        Names the entry.
    """
    if Path(path).is_dir():
        return
    with zipfile.ZipFile(path) as archive:
        for member in list_archive(path):
            if member.is_stored:
                check_crc(path, member)
            else:
                for _ in _iter_unpacked(archive, path, member):
                    pass


def check_crc(path: str | os.PathLike[str], member: Member) -> None:
    """Read a stored entry and compare its CRC-32 with the stated one, if there is one.

    Raises
    ------
    ArchiveError
        Names the entry.
    """
    found = member.crc if member.crc is None else _crc_of_file(member)
    if found != member.crc:
        raise _crc_error(path, member, found)


def _list(path: str | os.PathLike[str]) -> list[Member]:
    if Path(path).is_dir():
        return list_folder(path)
    if not Path(path).exists():
        raise InputNotFoundError(f"{path}: no such file or folder")
    return list_archive(path)


def _header_of(members: list[Member], path: str | os.PathLike[str]) -> Header:
    for member in members:
        if member.path == HEADER_NAME:
            return Header.from_json(_read_small(path, member))
    nested = [member.path for member in members if member.path.endswith("/" + HEADER_NAME)]
    hint = f"; found {nested[0]!r}: pack the content of that folder, not the folder" if nested else ""
    raise HeaderError(f"{path}: no {HEADER_NAME}, so this is no TRX file{hint}")


def _read_small(path: str | os.PathLike[str], member: Member) -> bytes:
    """Read a whole JSON entry; a header of more than 64 MB is none."""
    if member.nbytes > 64 << 20:
        raise ShapeError(f"{member.path} has {member.nbytes} bytes, expected a small JSON file")
    if member.crc is None:
        try:
            return Path(member.file).read_bytes()
        except OSError as error:
            raise open_error(member.file, error) from None
    if not member.is_stored:
        with zipfile.ZipFile(path) as archive:
            return b"".join(_iter_unpacked(archive, path, member))
    with Path(member.file).open("rb") as file:
        file.seek(member.start)
        data = file.read(member.nbytes)
    if isal_zlib.crc32(data) != member.crc:
        raise _crc_error(path, member, isal_zlib.crc32(data))
    return data


class _Opener:
    """One call of `open_container`: turns members into checked arrays."""

    def __init__(self, path: str | os.PathLike[str], mode: Mode, members: list[Member]) -> None:
        self.path = os.fspath(path)
        self.mode = mode
        self.members = members
        self.files: dict[str, MappedFile] = {}
        self.folder: TemporaryFolder | None = None

    def open(self, header: Header) -> Container:
        names: dict[ArrayName, Member] = {}
        sidecars: dict[str, bytes] = {}
        shapes: dict[ArrayName, tuple[int, ...]] = {}
        for member in self.members:
            if is_sidecar(member.path):
                sidecars[member.path] = _read_small(self.path, member)
            elif member.path != HEADER_NAME:
                name = parse_name(member.path)
                names[name] = member
                shapes[name] = shape_of_entry(name, member.nbytes, header)
        check_unique(list(names))
        missing = {"positions", "offsets"} - {name.section for name in names}
        if missing and header.nb_streamlines + header.nb_vertices > 0:
            raise ShapeError(f"{' and '.join(sorted(missing))} missing, but the header states streamlines")
        try:
            names = self._unpack(names)
            bundle = self._bundle(header, names, shapes)
        except BaseException:
            if self.folder is not None:
                self.folder.close()
            raise
        bundle.sidecars = sidecars
        return Container(self.path, bundle, names, self.mode, self.files, self.folder)

    def _bundle(
        self, header: Header, names: dict[ArrayName, Member], shapes: dict[ArrayName, tuple[int, ...]]
    ) -> TrxArrays:
        bundle = TrxArrays.empty(header)
        bundle.header = header
        for name, member in names.items():
            array = self._array(name, member, shapes[name])
            match name.section:
                case "positions":
                    bundle.positions = array
                case "offsets":
                    bundle.offsets = self._checked_offsets(array, header)
                case "dpg":
                    bundle.dpg.setdefault(name.group, {})[name.name] = array
                case section:
                    getattr(bundle, section)[name.name] = array
        return bundle

    def _checked_offsets(self, offsets: npt.NDArray[Any], header: Header) -> npt.NDArray[Any]:
        check_offsets(offsets, header.nb_vertices)
        if len(offsets) == header.nb_streamlines + 1 and int(offsets[-1]) != header.nb_vertices:
            raise ShapeError(f"offsets ends at {int(offsets[-1])}, but NB_VERTICES is {header.nb_vertices}")
        if offsets.dtype.kind == "i":  # some programs write int64; checked above to be 0 or more
            offsets = cast_integers(offsets, f"u{offsets.dtype.itemsize}", "offsets")
        if offsets.dtype.itemsize < 4:
            offsets = offsets.astype("<u4")
        return complete_offsets(offsets, header.nb_streamlines, header.nb_vertices)

    def _array(self, name: ArrayName, member: Member, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        small = member.nbytes <= _SMALL and self.mode != "r+"
        if small and member.crc is None:
            try:
                array = np.fromfile(member.file, dtype=name.dtype).reshape(shape)
            except OSError as error:
                raise open_error(member.file, error) from None
            array.setflags(write=self.mode != "r")
            return array
        file = self.files.get(member.file)
        if file is None:
            file = self.files[member.file] = MappedFile(member.file, self.mode)
        return file.array(name.dtype, shape, member.start)

    def _unpack(self, names: dict[ArrayName, Member]) -> dict[ArrayName, Member]:
        """Unpack compressed entries and return where all arrays lie then."""
        needed = sum(member.nbytes + _ALIGNMENT for member in names.values() if not member.is_stored)
        if all(member.is_stored for member in names.values()):
            return names
        if self.mode == "r+":
            raise ReadOnlyError(f"{self.path}: is compressed and cannot be changed in place; save it stored first")
        self.folder = TemporaryFolder()
        free = shutil.disk_usage(self.folder.path).free
        if needed > free:
            raise ArchiveError(
                f"{self.path}: unpacking needs {needed} bytes, {self.folder.path.parent} has {free} free; "
                "set TRX_TMPDIR to a larger disk"
            )
        logger.debug("unpacking %d bytes of %s", needed, self.path)
        # One file for all, hence one mapping.
        target = str(self.folder.file)
        places = {}
        try:
            with zipfile.ZipFile(self.path) as archive, Path(target).open("wb") as out:
                for name, member in names.items():
                    places[name] = member
                    if not member.is_stored:
                        start = out.seek(-out.tell() % _ALIGNMENT, os.SEEK_CUR)
                        places[name] = replace(member, file=target, start=start, method=zipfile.ZIP_STORED)
                        out.writelines(_iter_unpacked(archive, self.path, member))
                out.truncate()
        except OSError as error:
            raise temporary_error(self.folder.path.parent, error, f"unpacking {self.path}") from None
        return places


def _iter_unpacked(archive: zipfile.ZipFile, path: str | os.PathLike[str], member: Member) -> Iterator[bytes]:
    """Yield the data of a compressed entry in blocks; zipfile checks the CRC at the end."""
    done = 0
    try:
        with archive.open(member.entry_name) as stream:
            while block := stream.read(_BLOCK):
                done += len(block)
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, lzma.LZMAError) as error:
        raise ArchiveError(f"{path}: entry {member.path!r} cannot be unpacked ({error})") from None
    if done != member.nbytes:
        raise ArchiveError(f"{path}: entry {member.path!r} unpacks to {done} bytes, {member.nbytes} are stated")


def _crc_of_file(member: Member) -> int:
    crc, done = 0, 0
    buffer = bytearray(min(_BLOCK, max(1, member.nbytes)))
    with Path(member.file).open("rb", buffering=0) as file:
        file.seek(member.start)
        while done < member.nbytes:
            count = file.readinto(memoryview(buffer)[: member.nbytes - done])
            if not count:
                break
            crc = isal_zlib.crc32(memoryview(buffer)[:count], crc)
            done += count
    return crc


def _crc_error(path: str | os.PathLike[str], member: Member, found: int | None) -> ArchiveError:
    return ArchiveError(
        f"{path}: entry {member.path!r} has CRC {found:08x}, {member.crc:08x} is stated; the file is damaged"
    )
