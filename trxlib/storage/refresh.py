"""Bring the CRCs of an archive up to date after its arrays were changed in place (``mode="r+"``).

ZIP application note, 4.3.7 (local header), 4.3.9 (data descriptor), 4.3.12 (central directory).
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from trxlib.storage.crc import crc_of_file
from trxlib.storage.mapping import FileStamp
from trxlib.storage.members import list_archive

__all__ = ["ChangesInPlace", "refresh_crcs"]

_CENTRAL_SIZE, _LOCAL_CRC, _CENTRAL_CRC = 46, 14, 16
_HAS_DESCRIPTOR = 0x8


class ChangesInPlace:
    """Keeps the CRCs of an archive true whose arrays are written to.

    Parameters
    ----------
    path : path
        The archive, just mapped. It is read: an entry that is damaged already keeps the CRC that tells so.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(Path(path).absolute())
        self.is_mapped = True
        self._stamp = FileStamp.of(self.path)
        self._damaged = find_damaged(self.path)

    def refresh(self) -> None:
        """Write the CRCs of what was changed; a file that took the archive's name meanwhile is left alone."""
        now, then = FileStamp.of(self.path), self._stamp
        if now is not None and then is not None and (now.device, now.inode) == (then.device, then.inode):
            refresh_crcs(self.path, self._damaged)

    def end(self) -> None:
        """Do so for the last time: the mapping is gone, nobody can write any more."""
        self.is_mapped = False
        self.refresh()


def find_damaged(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return the stored entries whose CRC is not the one stated, with the one they have."""
    members = [member for member in list_archive(path) if member.is_stored]
    crcs = {member: crc_of_file(member.file, member.start, member.nbytes) for member in members}
    return {member.entry_name: found for member, found in crcs.items() if found != member.crc}


def refresh_crcs(path: str | os.PathLike[str], damaged: Mapping[str, int] | None = None) -> int:
    """Write the CRC-32 of each stored entry anew, wherever an archive states it.

    Parameters
    ----------
    path : path
        The archive, changed in place. One that cannot be read any more is left alone.
    damaged : mapping of str to int, optional
        Entries that are left alone as long as they have this CRC: they were damaged, not changed.

    Returns
    -------
    int
        How many entries had another CRC.
    """
    try:
        starts = {member.entry_name: member.start for member in list_archive(path) if member.is_stored}
        with zipfile.ZipFile(path) as archive:
            infos, place = archive.infolist(), archive.start_dir
        fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError):
        return 0
    changed = 0
    try:
        for info in infos:
            sizes = struct.unpack("<3H", os.pread(fd, 6, place + 28))
            if info.filename in starts:
                start = starts[info.filename]
                crc = crc_of_file(os.fspath(path), start, info.file_size)
                if crc != info.CRC and (damaged or {}).get(info.filename) != crc:
                    changed += 1
                    os.pwrite(fd, struct.pack("<L", crc), place + _CENTRAL_CRC)
                    _write_local(fd, info, start + info.file_size, crc)
            place += _CENTRAL_SIZE + sum(sizes)
    finally:
        os.close(fd)
    return changed


def _write_local(fd: int, info: zipfile.ZipInfo, end: int, crc: int) -> None:
    new = struct.pack("<L", crc)
    if not info.flag_bits & _HAS_DESCRIPTOR:
        os.pwrite(fd, new, info.header_offset + _LOCAL_CRC)
        return
    # The descriptor behind the data may begin with a signature, or with the CRC itself.
    signed = os.pread(fd, 4, end) == b"PK\7\x08"
    os.pwrite(fd, new, end + 4 if signed else end)
