"""The text header of MRtrix files: tracks (TCK) and track scalars (TSF).

MRtrix documentation, "Tracks file format". Keys may stand more than once (``command_history``); ``file`` says where
the data begin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trxlib.errors import HeaderError, HeaderWarning, warn
from trxlib.formats.input_file import InputFile

__all__ = ["TCK_MAGIC", "TSF_MAGIC", "TckHeader", "read_tck_header", "timestamp_of"]

TCK_MAGIC = b"mrtrix tracks"
TSF_MAGIC = b"mrtrix track scalars"
_MAX_HEADER = 1 << 24  # a header beyond 16 MB is none
_MAX_DIGITS = 19
_DTYPES: dict[str, np.dtype[Any]] = {
    "float32le": np.dtype("<f4"),
    "float32be": np.dtype(">f4"),
    "float64le": np.dtype("<f8"),
    "float64be": np.dtype(">f8"),
}
#: Keys that describe the bytes, which a writer states anew.
_STRUCTURE = ("datatype", "file", "count")


@dataclass(frozen=True)
class TckHeader:
    """What the header says.

    Parameters
    ----------
    path : str
        For messages.
    fields : tuple of (key, value)
        All lines in order, repeated keys included.
    dtype : numpy.dtype
        float32 or float64, in the file's byte order.
    data_start : int
        The byte at which the data begin.
    count : int or None
        Streamlines, where the header says it; a count that is no number says nothing.
    """

    path: str
    fields: tuple[tuple[str, str], ...]
    dtype: np.dtype[Any]
    data_start: int
    count: int | None

    @property
    def timestamp(self) -> str | None:
        """The time stamp as MRtrix compares it: text, without what stands behind a '#'; None if there is none."""
        return timestamp_of([value for key, value in self.fields if key == "timestamp"])

    def check_start(self, nbytes: int) -> None:
        """Check that the data begin within the content, of which there are `nbytes` up to `data_start`."""
        if nbytes < self.data_start:
            raise HeaderError(
                f"{self.path}: 'file: . {self.data_start}' in the header, and the content ends at byte {nbytes}; the "
                "header is wrong, or the file is truncated"
            )

    def facts(self) -> dict[str, Any]:
        """Return MRtrix's properties as JSON values: key to string, or to a list where the key is repeated."""
        facts: dict[str, Any] = {}
        for key, value in self.fields:
            if key in _STRUCTURE:
                continue
            if key in facts:
                before = facts[key]
                facts[key] = [*before, value] if isinstance(before, list) else [before, value]
            else:
                facts[key] = value
        return facts


def timestamp_of(value: Any) -> str | None:
    """Return the time stamp that a header states, as MRtrix compares it.

    Parameters
    ----------
    value : object
        Of the key ``timestamp`` in `TckHeader.facts`: text, or a list of texts where it is repeated, or None.
    """
    lines = value if isinstance(value, list) else [] if value is None else [str(value)]
    # MRtrix joins repeated keys, and reads nothing behind a '#'.
    return "\n".join(filter(None, (line.partition("#")[0].strip() for line in lines))) or None


def read_tck_header(file: InputFile, magic: bytes = TCK_MAGIC) -> TckHeader:
    """Read and check a header.

    Raises
    ------
    HeaderError
        If the file is none of MRtrix's, lacks ``END``, or a field has an impossible value.
    """
    text, end = _read_text(file, magic)
    fields = tuple(_split_lines(text, file.path))
    # Also in structure, MRtrix reads nothing behind a '#'.
    values = {key: value.partition("#")[0].strip() for key, value in fields if key in _STRUCTURE}
    return TckHeader(
        file.path,
        fields,
        _read_dtype(values, file.path),
        _read_start(values, end, file),
        _whole_number(values.get("count", "")),
    )


def _read_text(file: InputFile, magic: bytes) -> tuple[str, int]:
    """Return the lines between magic number and END, and the byte behind them."""
    size = 1 << 14
    while True:
        data = file.head(size)
        first, _, rest = data.partition(b"\n")
        if first.strip() != magic:
            raise HeaderError(
                f"{file.path} does not start with a line {magic.decode()!r}; it is damaged or another file"
            )
        end = re.search(rb"(?:^|\n)END[ \t]*\r?\n", rest)
        if end is not None:
            return _decode(rest[: end.start()]), len(first) + 1 + end.end()
        if len(data) < size or size >= _MAX_HEADER:
            raise HeaderError(f"{file.path}: no line END in the first {len(data)} bytes; the header is truncated")
        size *= 8


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin1")


def _split_lines(text: str, path: str) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    odd: list[str] = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        key, colon, value = line.partition(":")
        if colon:
            fields.append((key.strip(), value.strip()))
        else:
            odd.append(repr(line[:60]))
    if odd:
        more = f" and {len(odd) - 4} more" if len(odd) > 4 else ""
        warn(
            f"{path}: header lines that are no 'key: value' are left out: {', '.join(odd[:4])}{more}",
            HeaderWarning,
        )
    return fields


def _read_dtype(values: Mapping[str, str], path: str) -> np.dtype[Any]:
    text = values.get("datatype")
    if text is None:
        warn(f"{path}: the header has no datatype; Float32LE is assumed", HeaderWarning)
        text = "Float32LE"
    try:
        return _DTYPES[text.lower()]
    except KeyError:
        raise HeaderError(
            f"{path}: datatype is {text[:60]!r}, expected Float32LE, Float32BE, Float64LE or Float64BE"
        ) from None


def _read_start(values: Mapping[str, str], end: int, file: InputFile) -> int:
    text = values.get("file")
    if text is None:
        warn(
            f"{file.path}: the header has no line 'file: . <offset>'; the data are assumed to follow END",
            HeaderWarning,
        )
        return end
    parts = text.split()
    start = _whole_number(parts[1]) if parts[:1] == ["."] and len(parts) == 2 else None
    if start is None:
        raise HeaderError(
            f"{file.path}: 'file: {text[:60]}' in the header, expected '. <offset>'; split files are not read"
        )
    if start < end or (file.content_nbytes is not None and start > file.content_nbytes):
        raise HeaderError(
            f"{file.path}: 'file: {text[:60]}' lies outside the data, which begin at byte {end} at the earliest; "
            f"the file has {file.nbytes} bytes"
        )
    return start


def _whole_number(text: str) -> int | None:
    """Return a number that a file can have of anything, or None if the text is none."""
    digits = text.lstrip("0") or text[:1]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < _MAX_DIGITS else None
