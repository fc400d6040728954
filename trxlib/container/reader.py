"""Open a TRX archive or folder: header and offsets are read, every other array is mapped where it lies.

Deflated entries are unpacked to a temporary file first, their CRC checked on the way.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from trxlib.container.atomic import TemporaryFolder, temporary_error
from trxlib.container.crc import crc_of_file, crc_of_range
from trxlib.container.entries import Member, iter_files, list_archive, open_member
from trxlib.container.in_place import ChangesInPlace
from trxlib.container.mapping import FileStamp, MappedFile, Mode, files_open_for_change, is_open_for_change
from trxlib.container.outline import Outline, naming, opened, read_outline
from trxlib.container.rows import read_array
from trxlib.container.unpack import crc_error, iter_unpacked
from trxlib.errors import (
    ArchiveError,
    InputError,
    ReadOnlyError,
    ShapeError,
    StaleError,
    TrxError,
    open_error,
)
from trxlib.files import open_regular
from trxlib.model.arrays import TrxArrays
from trxlib.model.dtypes import cast_integers
from trxlib.model.header import Header
from trxlib.model.names import ArrayName
from trxlib.model.offsets import check_offsets, complete_offsets
from trxlib.model.paths import HasCounts

__all__ = ["SECTIONS", "Container", "check_crc", "check_crcs", "checked_offsets", "open_container"]

#: The sections of a TRX file that hold arrays.
SECTIONS = ("positions", "offsets", "dpv", "dps", "groups", "dpg")
logger = logging.getLogger(__name__)
#: Of an archive that is only read: what is looked at before anything else is done, and small beside the rest.
_READ = ("offsets", "dpg")
_SMALL = 1 << 20  # files of a folder up to this are read, not mapped: each mapping may hold a file descriptor
_ALIGNMENT = 64
_QUIET_NS = 20_000_000  # in which two exchanges, the second of which brings a folder back, may have one time
_TRIES = 20  # to read a folder that is replaced meanwhile
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
    files : dict of str to MappedFile
        The files that are mapped, by their paths.
    folder : TemporaryFolder, optional
        Where compressed entries were unpacked to.
    exposed : set of str
        Those of `SECTIONS` of which somebody was handed an array that can be written to. All others hold what the
        file holds.
    origins : tuple of str
        Files and folders that the content is from; of a temporary file, those that it was made of.
    changes : ChangesInPlace, optional
        Of an archive opened "r+": states its CRCs anew on `close`, and when the last array that was handed out is
        gone.
    """

    path: str
    arrays: TrxArrays
    members: Mapping[ArrayName, Member]
    mode: Mode
    files: dict[str, MappedFile] = field(default_factory=dict)
    folder: TemporaryFolder | None = None
    exposed: set[str] = field(default_factory=set)
    origins: tuple[str, ...] = ()
    changes: ChangesInPlace | None = None

    def expose(self, *sections: str) -> None:
        """Note that somebody is handed the arrays of these sections, and may write into them from now on."""
        if self.mode != "r":
            self.exposed.update(sections)

    def close(self) -> None:
        """Write "r+" changes and remove the temporary folder, if there is one; arrays stay readable."""
        while self.mode == "r+" and self.files:  # no name holds the mapping any longer than its flush
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
    StaleError
        If a folder is replaced or changed again and again while it is read.
    """
    if mode not in ("r", "c", "r+"):
        raise InputError(f"{path}: mode is {mode!r}, expected 'c', 'r' or 'r+'")
    if Path(path).is_dir():
        return _open_folder(os.fspath(path), mode)
    return _open_once(path, mode)[0]


def _open_folder(path: str, mode: Mode) -> Container:
    """Open a folder, anew if another took its name meanwhile: its files are opened one after the other."""
    for _ in range(_TRIES):
        before = _stamps_of(path)
        try:
            container, outline = _open_once(path, mode)
        except StaleError:
            continue
        except (TrxError, OSError, ValueError):
            if _stamps_of(path) == before and _is_quiet(path):
                raise
            time.sleep(_QUIET_NS / 1e10)
            continue
        nodes = {member.file: member.node for member in outline.entries}
        same = _stamps_of(path) == before is not None
        if same and nodes == {file: (stamp.device, stamp.inode) for file, stamp in (before or {}).items()}:
            return container
        container.close()
    raise StaleError(f"{path}: is changed or replaced again and again while it is read; read it when that has ended")


def _stamps_of(path: str) -> dict[str, FileStamp] | None:
    """Return what tells the files of a folder from others; None if they cannot be looked at."""
    changing = files_open_for_change()  # arrays of this process write into these: that is no other file
    try:
        stamps = {file: FileStamp.of_status(status) for file, status in iter_files(path)}
    except (TrxError, OSError):
        return None
    return {
        file: replace(stamp, mtime_ns=0) if (stamp.device, stamp.inode) in changing else stamp
        for file, stamp in stamps.items()
    }


def _is_quiet(path: str) -> bool:
    """Tell whether a folder got its name some time ago, so that what was found in it was not of two folders."""
    try:
        return abs(time.time_ns() - os.stat(path).st_ctime_ns) > _QUIET_NS  # noqa: PTH116 (a str)
    except OSError:
        return False


def _open_once(path: str | os.PathLike[str], mode: Mode) -> tuple[Container, Outline]:
    with opened(path, for_change=mode == "r+") as file:
        outline = read_outline(path, file)
        with naming(path):
            container = _Opener(path, mode, file).open(outline)
        if file is not None and mode != "r+" and is_open_for_change(FileStamp.of_status(os.fstat(file.fileno()))):
            # What the archive states is out of date as soon as somebody writes: CRCs are those of the bytes read.
            container.members = {name: member._replace(crc=None) for name, member in container.members.items()}
    if file is not None and mode == "r+":
        for mapped in container.files.values():
            container.changes = ChangesInPlace(mapped, outline.entries)
            mapped.when_released(container.changes.end)
    return container, outline


def check_crcs(path: str | os.PathLike[str]) -> None:
    """Read every entry of an archive and compare its CRC-32 with the stated one; a folder has none.

    Raises
    ------
    ArchiveError
        Names the entry.
    """
    if Path(path).is_dir():
        return
    with open_regular(path) as file:
        for member in list_archive(path, file):
            if not member.is_stored:
                for _ in iter_unpacked(file, path, member):
                    pass
            elif (found := crc_of_range(file.fileno(), member.start, member.nbytes, block=_BLOCK)) != member.crc:
                raise crc_error(path, member, found)


def check_crc(path: str | os.PathLike[str], member: Member) -> None:
    """Read a stored entry and compare its CRC-32 with the stated one, if there is one.

    Raises
    ------
    ArchiveError
        Names the entry.
    """
    found = member.crc if member.crc is None else crc_of_file(member.file, member.start, member.nbytes)
    if found != member.crc:
        raise crc_error(path, member, found)


def checked_offsets(offsets: npt.NDArray[Any], header: HasCounts) -> npt.NDArray[Any]:
    """Return n + 1 unsigned offsets of at least 32 bits, of those that a file has; see `trxlib.model.offsets`.

    Raises
    ------
    OffsetsError, ShapeError
        If they decrease, or do not end where the header says.
    """
    check_offsets(offsets, header.nb_vertices)
    if len(offsets) == header.nb_streamlines + 1 and int(offsets[-1]) != header.nb_vertices:
        raise ShapeError(f"offsets ends at {int(offsets[-1])}, but NB_VERTICES is {header.nb_vertices}")
    if offsets.dtype.kind == "i":  # some programs write int64; checked above to be 0 or more
        offsets = cast_integers(offsets, f"u{offsets.dtype.itemsize}", "offsets")
    if offsets.dtype.itemsize < 4:
        offsets = offsets.astype("<u4")
    return complete_offsets(offsets, header.nb_streamlines, header.nb_vertices)


class _Opener:
    """One call of `open_container`: turns what an outline names into checked arrays."""

    def __init__(self, path: str | os.PathLike[str], mode: Mode, file: IO[bytes] | None) -> None:
        self.path = os.fspath(path)
        self.file = file
        self.mode = mode
        self.files: dict[str, MappedFile] = {}
        self.folder: TemporaryFolder | None = None

    def open(self, outline: Outline) -> Container:
        try:
            members = self._unpack(outline.members)
            arrays = {name: self._array(name, member, outline.shapes[name]) for name, member in members.items()}
            for name in arrays:
                if name.section == "offsets":
                    arrays[name] = checked_offsets(arrays[name], outline.header)
        except BaseException:
            if self.folder is not None:
                self.folder.close()
            raise
        content = TrxArrays.of_entries(Header.from_fields(outline.header), arrays, outline.sidecars)
        return Container(self.path, content, members, self.mode, self.files, self.folder)

    def _array(self, name: ArrayName, member: Member, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        small = member.nbytes <= _SMALL and self.mode != "r+"
        if small and member.crc is None:
            try:
                with open_member(member) as small_file:
                    array = np.fromfile(small_file, dtype=name.dtype).reshape(shape)
            except OSError as error:
                raise open_error(member.file, error) from None
            array.setflags(write=self.mode != "r")
            return array
        if name.section in _READ and self.mode == "r" and self.file is not None and member.file == self.path:
            return read_array(self.file.fileno(), member.start, name.dtype, shape, self.path)
        file = self.files.get(member.file)
        if file is None:
            if member.file == self.path:
                file = MappedFile(member.file, self.mode, self.file)
            else:
                with open_member(member, for_change=self.mode == "r+") as opened:
                    file = MappedFile(member.file, self.mode, opened)
            self.files[member.file] = file
        return file.array(name.dtype, shape, member.start)

    def _unpack(self, names: dict[ArrayName, Member]) -> dict[ArrayName, Member]:
        """Unpack compressed entries and return where all arrays lie then."""
        packed = [member for member in names.values() if not member.is_stored]
        if self.file is None or not packed:
            return names
        if self.mode == "r+":
            raise ReadOnlyError(f"{self.path}: is compressed and cannot be changed in place; save it stored first")
        needed = sum(member.nbytes + _ALIGNMENT for member in packed)
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
            with Path(target).open("wb") as out:
                for name, member in names.items():
                    places[name] = member
                    if not member.is_stored:
                        start = out.seek(-out.tell() % _ALIGNMENT, os.SEEK_CUR)
                        places[name] = member._replace(file=target, start=start, is_stored=True)
                        out.writelines(iter_unpacked(self.file, self.path, member))
                out.truncate()
        except OSError as error:
            raise temporary_error(self.folder.path.parent, error, f"unpacking {self.path}") from None
        return places
