"""Where each entry lies in a zip archive that does not exist yet. Arithmetic and bytes of records; no files.

ZIP application note (APPNOTE.TXT 6.3.10), sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14-16
(end records), 4.5.3 (Zip64 extra field). Entries are stored. Array data start at multiples of 64 bytes, by
padding in an extra field, so that any program can map them aligned.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

__all__ = ["LOCAL_NBYTES", "ZIP64_NBYTES", "Layout", "aligning_field", "plan_layout"]

ALIGNMENT = 64
_LOCAL = struct.Struct("<4s5H3L2H")
#: Of a local record without name and extra fields, and of its field with sizes of 64 bits.
LOCAL_NBYTES, ZIP64_NBYTES = _LOCAL.size, 20
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
#: Above this, Python's zipfile assumes a Zip64 field of 20 bytes in the local record (see `_extra_sizes`).
_PYTHON_ZIP64 = 2**31 - 1
#: The extra field that Android's zipalign defined for padding: id, size, alignment, zeros.
_PAD_ID, _PAD_MIN = 0xD935, 6
_DATE_1980 = (1 << 5) | 1  # 1980-01-01, the first day a zip knows: same inputs, same bytes
_UNIX_FILE = 0o100644 << 16
_UTF8 = 0x800


@dataclass(frozen=True)
class Entry:
    """One entry: its name and the place of its data.

    Parameters
    ----------
    path : str
        Name inside the archive.
    nbytes : int
        Size of the data.
    record_start, data_start : int
        Where the local record and the data begin, in bytes from the start of the archive.
    """

    path: str
    nbytes: int
    record_start: int
    data_start: int

    @property
    def is_big(self) -> bool:
        """Whether the size needs Zip64."""
        return self.nbytes >= _MAX32

    def local_record(self, crc: int) -> bytes:
        """Return the bytes from `record_start` to `data_start`."""
        name = self.path.encode()
        extra_size = self.data_start - self.record_start - _LOCAL.size - len(name)
        zip64 = struct.pack("<2H2Q", 1, 16, self.nbytes, self.nbytes) if self.is_big else b""
        size = _MAX32 if self.is_big else self.nbytes
        fields = _LOCAL.pack(
            b"PK\3\4", self._version(), self._flags(), 0, 0, _DATE_1980, crc, size, size, len(name), extra_size
        )
        return fields + name + zip64 + _padding(extra_size - len(zip64))

    def central_record(self, crc: int) -> bytes:
        """Return the entry's record in the central directory."""
        name = self.path.encode()
        far = self.record_start >= _MAX32
        numbers = ([self.nbytes, self.nbytes] if self.is_big else []) + ([self.record_start] if far else [])
        zip64 = struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
        local_extra = self.data_start - self.record_start - _LOCAL.size - len(name)
        extra = zip64 + _padding(local_extra - _hidden(self.nbytes) - len(zip64))
        size = _MAX32 if self.is_big else self.nbytes
        start = _MAX32 if far else self.record_start
        fields = _CENTRAL.pack(
            b"PK\1\2", (3 << 8) | 45, self._version(), self._flags(), 0, 0, _DATE_1980, crc, size, size,
            len(name), len(extra), 0, 0, 0, _UNIX_FILE, start,
        )  # fmt: skip
        return fields + name + extra

    def _version(self) -> int:
        return 45 if self.is_big or self.record_start >= _MAX32 else 20

    def _flags(self) -> int:
        return 0 if self.path.isascii() else _UTF8


@dataclass(frozen=True)
class Layout:
    """All entries of an archive, in order, and where its directory starts."""

    entries: tuple[Entry, ...]
    directory_start: int

    @cached_property
    def by_path(self) -> dict[str, Entry]:
        """Entries by name."""
        return {entry.path: entry for entry in self.entries}

    def local_records(self, crcs: Mapping[str, int]) -> list[tuple[int, bytes]]:
        """Return the position and bytes of each entry's local record."""
        return [(entry.record_start, entry.local_record(crcs[entry.path])) for entry in self.entries]

    def directory(self, crcs: Mapping[str, int]) -> bytes:
        """Return the central directory and the end records: all bytes from `directory_start` on."""
        records = b"".join(entry.central_record(crcs[entry.path]) for entry in self.entries)
        count, size, start = len(self.entries), len(records), self.directory_start
        end64 = b""
        if count >= _MAX16 or size >= _MAX32 or start >= _MAX32:
            end64 = _END64.pack(b"PK\6\6", 44, (3 << 8) | 45, 45, 0, 0, count, count, size, start)
            end64 += _LOCATOR64.pack(b"PK\6\7", 0, start + size, 1)
        short = min(count, _MAX16)
        end = _END.pack(b"PK\5\6", 0, 0, short, short, min(size, _MAX32), min(start, _MAX32), 0)
        return records + end64 + end


def plan_layout(sizes: Iterable[tuple[str, int]]) -> Layout:
    """Place entries one behind the other.

    Parameters
    ----------
    sizes : iterable of (str, int)
        Name and bytes of each entry, in the order wanted. Names are unique.

    Returns
    -------
    Layout
    """
    entries = []
    position = 0
    for path, nbytes in sizes:
        name_end = position + _LOCAL.size + len(path.encode())
        extra = _extra_sizes(name_end, position, nbytes)
        entries.append(Entry(path, nbytes, position, name_end + extra))
        position = name_end + extra + nbytes
    return Layout(tuple(entries), position)


def aligning_field(start: int) -> bytes:
    """Return an extra field that moves data, which would start at byte `start` without it, to a multiple of 64."""
    size = -start % ALIGNMENT
    return _padding(size if _legal(size) else size + ALIGNMENT)


def _hidden(nbytes: int) -> int:
    # The reference package finds data with zipfile's ZipInfo.FileHeader(), which rebuilds a local record from the
    # central one and adds 20 bytes of Zip64 above 2 GiB, whether they are there or not.
    return 20 if nbytes > _PYTHON_ZIP64 else 0


def _extra_sizes(name_end: int, record_start: int, nbytes: int) -> int:
    """Return the length of the local extra field.

    It aligns the data, and it leaves both records a padding field of a legal size such that a reader that rebuilds
    the local record from the central one arrives at the same place.
    """
    local_zip64 = 20 if nbytes >= _MAX32 else 0
    numbers = (2 if nbytes >= _MAX32 else 0) + (1 if record_start >= _MAX32 else 0)
    central_zip64 = 4 + 8 * numbers if numbers else 0
    extra = -name_end % ALIGNMENT
    while not (_legal(extra - local_zip64) and _legal(extra - _hidden(nbytes) - central_zip64)):
        extra += ALIGNMENT
    return extra


def _legal(padding: int) -> bool:
    return padding == 0 or padding >= _PAD_MIN


def _padding(size: int) -> bytes:
    if not size:
        return b""
    return struct.pack("<3H", _PAD_ID, size - 4, ALIGNMENT) + bytes(size - _PAD_MIN)
