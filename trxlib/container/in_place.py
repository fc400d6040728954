"""Bring the CRCs of an archive up to date after its arrays were changed in place (``mode="r+"``).

ZIP application note, 4.3.7 (local header), 4.3.9 (data descriptor), 4.3.12 (central directory).
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trxlib.container.crc import crc_of_bytes, crc_of_range
from trxlib.container.entries import Member, list_archive
from trxlib.container.mapping import FileStamp, MappedFile
from trxlib.errors import TrxError
from trxlib.files import open_regular

__all__ = ["ChangesInPlace"]

_CENTRAL_SIZE, _LOCAL_CRC, _CENTRAL_CRC = 46, 14, 16
_HAS_DESCRIPTOR = 0x8


class ChangesInPlace:
    """Keeps the CRCs that an archive states true while somebody writes into its arrays.

    Parameters
    ----------
    file : MappedFile
        The archive, just mapped. It is read: an entry that is damaged already keeps the CRC that tells so.
    members : sequence of Member
        Its entries.
    """

    def __init__(self, file: MappedFile, members: Sequence[Member]) -> None:
        self.path = str(Path(file.path).absolute())
        self.is_mapped = True
        self._stamp = file.stamp
        self._damaged = find_damaged(file, members)

    def refresh(self) -> None:
        """Write the CRCs of what was changed; a file that took the archive's name meanwhile is left alone."""
        refresh_crcs(self.path, self._damaged, only=self._stamp)

    def end(self) -> None:
        """Write them for the last time: nobody has an array of the file any more, so nobody can change it."""
        self.is_mapped = False
        self.refresh()


def find_damaged(file: MappedFile, members: Sequence[Member]) -> dict[str, int]:
    """Return the stored entries whose CRC is not the one stated, with the one they have."""
    crcs = {
        member: crc_of_bytes(file.array(np.dtype(np.uint8), (member.nbytes,), member.start))
        for member in members
        if member.is_stored
    }
    return {member.entry_name: found for member, found in crcs.items() if found != member.crc}


def refresh_crcs(
    path: str | os.PathLike[str], damaged: Mapping[str, int] | None = None, only: FileStamp | None = None
) -> int:
    """Write the CRC-32 of each stored entry anew, wherever an archive states it.

    Parameters
    ----------
    path : path
        The archive, changed in place. One that cannot be read any more is left alone.
    damaged : mapping of str to int, optional
        Entries that are left alone as long as they have this CRC: they were damaged, not changed.
    only : FileStamp, optional
        The file that was changed. Another that took its name is left alone.

    Returns
    -------
    int
        How many entries had another CRC.
    """
    try:
        with open_regular(path, for_change=True) as file:
            now = FileStamp.of_status(os.fstat(file.fileno()))
            if only is not None and (now.device, now.inode) != (only.device, only.inode):
                return 0
            starts = {member.entry_name: member.start for member in list_archive(path, file) if member.is_stored}
            with zipfile.ZipFile(file) as archive:
                infos, place = archive.infolist(), archive.start_dir
            return _refresh(file.fileno(), infos, place, starts, damaged or {})
    except (OSError, ValueError, TrxError):
        return 0


def _refresh(
    fd: int, infos: list[zipfile.ZipInfo], place: int, starts: Mapping[str, int], damaged: Mapping[str, int]
) -> int:
    """Write the CRCs of the entries that begin at `starts`; the directory begins at `place`."""
    changed = 0
    for info in infos:
        sizes = struct.unpack("<3H", os.pread(fd, 6, place + 28))
        if info.filename in starts:
            start = starts[info.filename]
            crc = crc_of_range(fd, start, info.file_size)
            if crc not in (info.CRC, damaged.get(info.filename)):
                changed += 1
                os.pwrite(fd, struct.pack("<L", crc), place + _CENTRAL_CRC)
                _write_local(fd, info, start + info.file_size, crc)
        place += _CENTRAL_SIZE + sum(sizes)
    return changed


def _write_local(fd: int, info: zipfile.ZipInfo, end: int, crc: int) -> None:
    new = struct.pack("<L", crc)
    if not info.flag_bits & _HAS_DESCRIPTOR:
        os.pwrite(fd, new, info.header_offset + _LOCAL_CRC)
        return
    # The descriptor behind the data may begin with a signature, or with the CRC itself.
    signed = os.pread(fd, 4, end) == b"PK\7\x08"
    os.pwrite(fd, new, end + 4 if signed else end)
