"""Files of transforms: regular ones, of bounded size, with a fingerprint for the record."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from isal import isal_zlib

from trxlib.errors import HeaderError, InputError, InputNotFoundError
from trxlib.files import open_regular
from trxlib.kinds import missing

__all__ = [
    "MAX_TEXT",
    "check_regular",
    "check_room",
    "fingerprint",
    "parse_rows",
    "read_head",
    "read_small",
    "stamp_of",
]

#: Bytes of a text file, and of a Matlab file, with matrices: the largest that programs write have some kilobytes.
MAX_TEXT = 1 << 20
_BLOCK = 1 << 20
_MOST_DEFLATED = 1032  # bytes that one of deflate can hold


def check_regular(path: str | Path) -> int:
    """Return the size of a file in bytes.

    Raises
    ------
    InputNotFoundError
        If it cannot be found.
    InputError
        If it is a folder, a pipe or a device.
    """
    try:
        found = Path(path).stat()
    except OSError as error:
        raise missing(path, f"{path} cannot be read: {error.strerror}; check the path") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is no regular file; a transform is read from one")
    return found.st_size


def check_room(path: str | Path, count: int) -> None:
    """Check that a file can hold so many bytes, before memory is taken for them.

    Raises
    ------
    HeaderError
        If it is too small, even if it is gzip.
    """
    size = check_regular(path)
    limit = size * _MOST_DEFLATED if read_head(path, 2) == b"\x1f\x8b" else size
    if count > limit:
        raise HeaderError(
            f"{path} has {size} bytes, too few for the {count} that its header tells; it is cut off or damaged"
        )


def read_head(path: str | Path, count: int = 1024) -> bytes:
    """Return the first bytes of a regular file."""
    check_regular(path)
    try:
        with Path(path).open("rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise InputNotFoundError(f"{path} cannot be read: {error.strerror}; check its permissions") from None


def read_small(path: str | Path) -> bytes:
    """Return a whole file with matrices.

    Raises
    ------
    HeaderError
        If it is larger than `MAX_TEXT`, or empty.
    """
    size = check_regular(path)
    if not 0 < size <= MAX_TEXT:
        raise HeaderError(f"{path} has {size} bytes; a linear transform has some, and less than {MAX_TEXT}")
    return read_head(path, MAX_TEXT)


def stamp_of(path: str | Path) -> tuple[int, ...] | None:
    """Return what tells a file, and its state, from others (stat numbers); None without a file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def fingerprint(path: str | Path) -> dict[str, Any]:
    """Return size and CRC-32 of a file, read in blocks."""
    crc, size = 0, 0
    with open_regular(path) as stream:
        while block := stream.read(_BLOCK):
            crc, size = isal_zlib.crc32(block, crc), size + len(block)
    return {"size": size, "crc32": f"{crc:08x}"}


def parse_rows(text: str) -> list[list[float]] | None:
    """Return the numbers of each line that has some; None if a line has something else.

    ``#`` and ``%`` start comments; commas and blanks part numbers.
    """
    lines = [line.replace("%", "#").split("#")[0].replace(",", " ").split() for line in text.splitlines()]
    try:
        return [[float(item) for item in line] for line in lines if line]
    except ValueError:
        return None
