"""The first bytes of a file, plain or gzip: what tells its format, and its header. Starts without numpy."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from trxlib.errors import FormatError, InputNotFoundError
from trxlib.files import check_regular
from trxlib.kinds import missing

__all__ = ["bad_gzip_errors", "is_gzip", "read_head"]

_GZIP = b"\x1f\x8b"


def is_gzip(path: str | Path) -> bool:
    """Tell whether a file starts like gzip."""
    check_regular(path)
    with Path(path).open("rb") as stream:
        return stream.read(2) == _GZIP


def bad_gzip_errors() -> tuple[Any, ...]:
    """Return what is raised for damaged gzip."""
    from isal import isal_zlib

    return (EOFError, OSError, zlib.error, isal_zlib.error)


def read_head(path: str | Path, count: int) -> bytes:
    """Return the first `count` bytes of a file's content, or fewer at its end; gzip is looked through.

    Raises
    ------
    InputNotFoundError
        If the file cannot be read.
    FormatError
        If it is gzip and damaged.
    """
    check_regular(path)
    try:
        if Path(path).is_dir():
            raise InputNotFoundError(f"{path} is a folder, expected a file")
        with Path(path).open("rb") as stream:
            head = stream.read(count)
    except OSError as error:
        if isinstance(error, InputNotFoundError):
            raise
        raise missing(path, f"{path} cannot be read: {error.strerror}; check the path") from None
    return _unpacked_head(path, count) if head.startswith(_GZIP) else head


def _unpacked_head(path: str | Path, count: int) -> bytes:
    from isal import igzip

    parts: list[bytes] = []
    with Path(path).open("rb") as raw:
        try:
            with igzip.IGzipFile(fileobj=raw, mode="rb") as stream:
                while count > 0 and (part := stream.read(count)):
                    parts.append(part)
                    count -= len(part)
        except bad_gzip_errors() as error:
            raise FormatError(
                f"{path}: reading stops after byte {raw.tell()}: {error}; the file is truncated or damaged"
            ) from None
    return b"".join(parts)
