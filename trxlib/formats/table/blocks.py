"""A text as blocks of whole lines: plain or gzip, UTF-8 or UTF-16, any line ends; what is no text is refused."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from trxlib.errors import FormatError, ShapeError
from trxlib.formats.input_file import InputFile, Slices

__all__ = ["BLOCK_BYTES", "read_blocks", "refuse_other_kinds"]

BLOCK_BYTES = 1 << 20
#: So much may be in a text, and so much for each row that it should have: comments, and rows of thousands of columns.
_FREE_BYTES, _ROW_BYTES = 1 << 22, 1 << 16
#: Signs that no text has: all control characters but tab, line feed, form feed and carriage return.
_NO_TEXT = bytes(set(range(32)) - set(b"\t\n\f\r"))
#: First bytes -> what the file is, and what to do.
_KINDS = {
    b"\x89PNG": "a PNG image; name the file with the values",
    b"\xff\xd8\xff": "a JPEG image; name the file with the values",
    b"%PDF": "a PDF; name the file with the values",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet (.xlsx); unpack it, or save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet (.xls); save it as CSV",
    b"\x89HDF": "HDF5, perhaps of MATLAB; write its array as .npy or text",
    b"MATLAB 5.0": "a file of MATLAB; write its array as .npy or text",
    b"\x1f\x8b": "packed by gzip twice; unpack it",
    b"BZh": "packed by bzip2; unpack it",
    b"\xfd7zXZ": "packed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"\x93NUMPY": "a .npy that is packed; unpack it",
    b"mrtrix track scalars": "a .tsf, which has a value per vertex; name it for dpv, not for dps",
    b"mrtrix tracks": "a TCK tractogram; name the file with the values",
    b"TRACK\0": "a TRK tractogram; name the file with the values",
    codecs.BOM_UTF32_LE: "text in UTF-32; save it as UTF-8",
    b"<?xml": "XML; name the file with the values",
    b"<!DOCTYPE": "a web page; was it downloaded in place of the values?",
    b"<html": "a web page; was it downloaded in place of the values?",
}


def refuse_other_kinds(path: str | Path, head: bytes) -> None:
    """Raise FormatError for a file that is no text, by its first bytes."""
    for magic, text in _KINDS.items():
        if head.startswith(magic):
            raise FormatError(f"{path}: expected numbers in text, and this is {text}")


def read_blocks(path: str | Path, expected: int | None = None) -> Iterator[tuple[bytes, int]]:
    """Yield a text in blocks of whole lines, in UTF-8, each line ending with a line feed.

    Parameters
    ----------
    path : str or Path
        Plain or gzip; a byte order mark says whether it is UTF-16.
    expected : int, optional
        Rows that it should have. A text that is far too long for them is refused instead of read.

    Yields
    ------
    bytes
        Some lines; the last of all may lack its line feed.
    int
        Number of the first of them, from 1.

    Raises
    ------
    FormatError
        If it is no text.
    ShapeError
        If it is too long.
    """
    file = InputFile(path)
    head = file.head(256)
    refuse_other_kinds(path, head)
    limit = None if expected is None else _FREE_BYTES + expected * _ROW_BYTES
    _check_size(path, file.content_nbytes or 0, limit, expected)
    line, pieces = 1, list[bytes]()
    for part in _decoded(file, head, limit, expected):
        cut = part.rfind(b"\n") + 1
        if cut:
            block = b"".join([*pieces, part[:cut]])
            yield block, line
            line += block.count(b"\n")
            pieces = []
        pieces.append(part[cut:])
    if last := b"".join(pieces):
        yield last, line


def _check_size(path: str | Path, nbytes: int, limit: int | None, expected: int | None) -> None:
    if limit is not None and nbytes > limit:
        raise ShapeError(
            f"{path}: {nbytes} bytes of text or more, for {expected} rows; that is more than {_ROW_BYTES} for each, so "
            "it is probably another file: name the right one, or write the values as .npy"
        )


def _decoded(file: InputFile, head: bytes, limit: int | None, expected: int | None) -> Iterator[bytes]:
    """Yield the content as UTF-8 without a byte order mark, with line feeds alone."""
    decoder, mark = None, 0
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
    elif head.startswith(codecs.BOM_UTF8):
        mark = len(codecs.BOM_UTF8)
    held, done = b"", 0
    with Slices(file, slice_bytes=BLOCK_BYTES) as slices:
        for part in slices:
            data, mark = part[mark:].tobytes(), 0
            done += len(data)
            _check_size(file.path, done, limit, expected)
            if decoder is not None:
                data = decoder.decode(data).encode("utf-8", "replace")
            if data.translate(None, _NO_TEXT) != data:
                _refuse_bytes(file.path, data)
            data = held + data
            # The line feed that belongs to it may be in the next slice.
            held = b"\r" if data.endswith(b"\r") else b""
            yield (data[: len(data) - len(held)]).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if held:
        yield b"\n"


def _refuse_bytes(path: str, data: bytes) -> None:
    at = next(place for place, sign in enumerate(data) if sign in _NO_TEXT)
    zero = " (a text in UTF-16 has to begin with a byte order mark; save it as UTF-8)" if data[at] == 0 else ""
    raise FormatError(f"{path}: expected numbers in text, and this is no text: it holds the byte {data[at]}{zero}")
