"""How the entries of an archive are compressed: all by one method, or each section by its own.

An archive is written stored, so that threads fill it side by side; where something is to be compressed, the complete
archive is copied, entry by entry. The bytes depend on the data, the methods and the level alone.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from trxlib.container.atomic import writing
from trxlib.container.layout import LOCAL_NBYTES, ZIP64_NBYTES, aligning_field
from trxlib.errors import InputError

__all__ = ["Compression", "Compressions", "compress_archive", "read_compression"]

#: A method of zipfile or its name here, or one for each section of the format.
Compressions = int | str | Mapping[str, int | str]

_BLOCK = 1 << 20
_BIG = 1 << 31  # bytes of an entry from which its size takes a field of 64 bits
_METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
#: Methods that have levels, with the lowest and the highest.
_LEVELS = {zipfile.ZIP_DEFLATED: (-1, 9), zipfile.ZIP_BZIP2: (1, 9)}
_SECTIONS = ("positions", "offsets", "dpv", "dps", "groups", "dpg")


class Compression(NamedTuple):
    """What was asked for, checked.

    Parameters
    ----------
    by_section : mapping of str to int
        Method of each section that has one of its own.
    other : int
        Method of all that is in none of these, the header among it.
    level : int, optional
        Of the methods that have levels.
    """

    by_section: Mapping[str, int]
    other: int
    level: int | None = None

    @property
    def is_stored(self) -> bool:
        """Whether nothing is compressed."""
        return {self.other, *self.by_section.values()} == {zipfile.ZIP_STORED}

    def method_of(self, path: str) -> int:
        """Return the method of an entry."""
        if path.endswith(".json"):  # the header, and what stands beside it
            return self.other
        return self.by_section.get(path.split("/" if "/" in path else ".")[0], self.other)


def read_compression(output: str | os.PathLike[str], compression: Any, level: Any = None) -> Compression:
    """Return a compression that is given in any of its forms.

    Parameters
    ----------
    output : path
        For messages.
    compression : int, str, or mapping of str to these
        See `Compressions`. Sections that a mapping does not name are stored, and so is the header.
    level : int, optional
        0 to 9 (-1: as None), of bzip2 1 to 9; stored and lzma have none.

    Raises
    ------
    InputError
        If there is no such method, section or level, or a level is given for what has none.
    """
    if isinstance(compression, Mapping):
        unknown = [section for section in compression if section not in _SECTIONS]
        if unknown:
            raise InputError(
                f"{output}: compression names {', '.join(map(repr, unknown))}; the sections are {', '.join(_SECTIONS)}"
            )
        methods = {section: _read_method(output, value) for section, value in compression.items()}
        found = Compression(methods, zipfile.ZIP_STORED, level)
    else:
        found = Compression({}, _read_method(output, compression), level)
    _check_level(output, found)
    return found


def _read_method(output: str | os.PathLike[str], value: Any) -> int:
    if isinstance(value, str) and value in _METHODS:
        return _METHODS[value]
    if isinstance(value, int) and not isinstance(value, bool) and value in _METHODS.values():
        return value
    raise InputError(
        f"{output}: compression is {value!r}, expected a method of zipfile: {list(_METHODS.values())}, or "
        f"{', '.join(_METHODS)}"
    )


def _check_level(output: str | os.PathLike[str], how: Compression) -> None:
    if how.level is None:
        return
    used = [method for method in (how.other, *how.by_section.values()) if method in _LEVELS]
    if not used:
        raise InputError(
            f"{output}: level is {how.level!r}, and nothing is compressed by a method that has levels; give "
            "compression='deflated' (--compress), too, or leave level out"
        )
    for low, high in (_LEVELS[method] for method in used):
        if not hasattr(how.level, "__index__") or not low <= how.level <= high:
            raise InputError(f"{output}: level is {how.level!r}, expected a whole number from {low} to {high}, or None")


def compress_archive(stored: str | os.PathLike[str], output: str | os.PathLike[str], how: Compression) -> None:
    """Write a compressed copy of an archive: same entries, same order, fixed dates.

    Entries that stay stored begin at multiples of 64 bytes, as in an archive of which all are, and can be mapped.
    """
    with writing(output) as partial, zipfile.ZipFile(stored) as source, zipfile.ZipFile(partial, "w") as target:
        for info in source.infolist():
            entry = zipfile.ZipInfo(info.filename)
            entry.compress_type = how.method_of(info.filename)
            entry.external_attr = info.external_attr
            entry.create_system = 3
            entry.file_size = info.file_size
            is_big = info.file_size > _BIG
            if entry.compress_type == zipfile.ZIP_STORED:
                start = target.start_dir + LOCAL_NBYTES + len(info.filename.encode()) + ZIP64_NBYTES * is_big
                entry.extra = aligning_field(start)
            elif entry.compress_type in _LEVELS:
                entry._compresslevel = how.level  # type: ignore[attr-defined]  # zipfile has no public way for an entry
            with source.open(info) as data, target.open(entry, "w", force_zip64=is_big) as out:
                while block := data.read(_BLOCK):
                    out.write(block)
