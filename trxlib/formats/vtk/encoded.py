"""Arrays of XML VTK files: numbers as text, or bytes in base64 or as they are, perhaps compressed in blocks."""

from __future__ import annotations

import binascii
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError, UnsupportedFormatError
from trxlib.formats.vtk.text import CUT, Buffer, count_tokens, read_numbers

__all__ = ["XML_TYPES", "Encoding", "decompressor"]

Array = npt.NDArray[Any]
XML_TYPES: dict[str, np.dtype[Any]] = {
    **{f"{sign}Int{8 * size}": np.dtype(f"{sign.lower() or 'i'}{size}") for sign in ("", "U") for size in (1, 2, 4, 8)},
    "Float32": np.dtype("f4"),
    "Float64": np.dtype("f8"),
}
_BLANKS = b" \t\r\n"


def decompressor(name: str, path: str) -> Callable[[bytes, int, str], bytes] | None:
    """Return what unpacks a block, called with its bytes, its size, and what to call it.

    Parameters
    ----------
    name : str
        The attribute ``compressor``; empty for none.
    path : str
        For messages.

    Raises
    ------
    UnsupportedFormatError
        For any other than zlib and LZMA.
    """
    if not name:
        return None
    known = {"vtkZLibDataCompressor": _unpack_zlib, "vtkLZMADataCompressor": _unpack_lzma}
    if name not in known:
        raise UnsupportedFormatError(
            f"{path}: compressed by {name[:60]!r}, known are {' and '.join(known)}; save it again with one of them, or "
            "without compression (in ParaView: Compressor Type)"
        )
    return known[name]


def _unpack_zlib(data: bytes, size: int, what: str) -> bytes:
    # One byte more than there should be: more is not unpacked, whatever the block holds.
    unpacker = zlib.decompressobj()
    try:
        return _ended(unpacker.decompress(data, size + 1), unpacker, size, what)
    except zlib.error as error:
        raise FormatError(f"{what} cannot be unpacked ({error}); {CUT}") from None


def _unpack_lzma(data: bytes, size: int, what: str) -> bytes:
    unpacker = lzma.LZMADecompressor(memlimit=1 << 28)
    try:
        return _ended(unpacker.decompress(data, size + 1), unpacker, size, what)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"{what} cannot be unpacked ({error}); {CUT}") from None


def _ended(found: bytes, unpacker: Any, size: int, what: str) -> bytes:
    """Return what was unpacked, if the block came to its end, where the sum of its bytes is compared."""
    if len(found) == size and not unpacker.eof:
        raise FormatError(f"{what} is not complete; {CUT}")
    return found


@dataclass
class Encoding:
    """How a file writes its arrays.

    Parameters
    ----------
    data : buffer
        The whole file.
    path : str
        For messages.
    order : {"<", ">"}
        Of bytes in a number.
    header : dtype
        Of the sizes before an array.
    unpack : callable, optional
        See `decompressor`.
    appended : tuple of int
        First byte of the appended data, and the end of the file.
    appended_is_raw : bool
        Whether these are bytes as they are, not base64.
    """

    data: Buffer
    path: str
    order: Literal["<", ">"]
    header: np.dtype[Any]
    unpack: Callable[[bytes, int, str], bytes] | None
    appended: tuple[int, int] = (0, 0)
    appended_is_raw: bool = True

    def text(self, start: int, stop: int, dtype: np.dtype[Any], count: int | None, what: str) -> Array:
        """Return the numbers that stand as text between two bytes of the file: `count`, or as many as there are.

        Raises
        ------
        FormatError
            If there are more or fewer.
        """
        found = count_tokens(self.data, start, stop)
        if count is not None and found > count:
            raise FormatError(f"{what}: {count} numbers are stated, {found} are there; the file is damaged")
        return read_numbers(self.data, start, stop, found if count is None else count, dtype, what)[0]

    def inline(self, start: int, stop: int, dtype: np.dtype[Any], what: str) -> Array:
        """Return the array that stands in base64 between two bytes of the file.

        Raises
        ------
        FormatError
            If it is cut, or more than one array.
        """
        text = bytes(self.data[start:stop]).translate(None, _BLANKS)
        reader = _Base64(text, 0, len(text), what)
        values = self._read(reader, dtype, what)
        if reader.position != len(text):
            raise FormatError(
                f"{what}: {len(text) - reader.position} letters follow the array that is stated; the file is damaged"
            )
        return values

    def at(self, offset: int, dtype: np.dtype[Any], what: str) -> Array:
        """Return the array at some place of the appended data.

        Raises
        ------
        FormatError
            If the file ends before it does.
        """
        first, end = self.appended
        if not first or not 0 <= offset <= end - first:
            raise FormatError(f"{what} begins at byte {offset} of the appended data, which have {end - first}; {CUT}")
        kind = _Raw if self.appended_is_raw else _Base64
        return self._read(kind(self.data, first + offset, end, what), dtype, what)

    def _read(self, reader: _Raw | _Base64, dtype: np.dtype[Any], what: str) -> Array:
        size = self.header.itemsize
        if self.unpack is None:
            nbytes = self._sizes(reader.peek(size))[0]
            data: Any = reader.take_behind(size, nbytes)
        else:
            data = self._read_blocks(reader, what)
        if len(data) % dtype.itemsize:
            raise FormatError(f"{what} has {len(data)} bytes, which are no whole numbers of type {dtype.name}; {CUT}")
        return np.frombuffer(data, dtype.newbyteorder(self.order))

    def _read_blocks(self, reader: _Raw | _Base64, what: str) -> bytes:
        """Return an array of compressed blocks: their number, their size, that of the last, and their packed sizes."""
        assert self.unpack is not None
        size = self.header.itemsize
        # The first words tell how many there are; only then all of them can be taken.
        count = self._sizes(reader.peek(size))[0]
        if count > reader.left // size:
            raise FormatError(f"{what}: {count} compressed blocks are stated, and {reader.left} bytes follow; {CUT}")
        head = self._sizes(reader.take((3 + count) * size))
        whole, last, packed = head[1], head[2], head[3:]
        data = reader.take(sum(packed))
        parts, position = [], 0
        for number, nbytes in enumerate(packed):
            expected = last if number == count - 1 and last else whole
            block = f"{what}: block {number}"
            part = self.unpack(data[position : position + nbytes], expected, block)
            if len(part) != expected:
                raise FormatError(f"{block} unpacks to {len(part)} bytes or more, {expected} are stated; {CUT}")
            parts.append(part)
            position += nbytes
        return b"".join(parts)

    def _sizes(self, data: bytes) -> list[int]:
        return [int(value) for value in np.frombuffer(data, self.header.newbyteorder(self.order))]


class _Raw:
    """Bytes as they are."""

    def __init__(self, data: Buffer, start: int, end: int, what: str) -> None:
        self._data, self.position, self._end, self._what = data, start, end, what

    @property
    def left(self) -> int:
        """Bytes that may follow."""
        return self._end - self.position

    def peek(self, nbytes: int) -> bytes:
        """Return the next bytes and stay."""
        self._check(nbytes)
        return bytes(self._data[self.position : self.position + nbytes])

    def take(self, nbytes: int) -> bytes:
        """Return the next bytes."""
        found = self.peek(nbytes)
        self.position += nbytes
        return found

    def take_behind(self, head: int, nbytes: int) -> memoryview:
        """Return the bytes that follow the next ones, as they lie in the file."""
        self._check(head + nbytes)
        start = self.position + head
        self.position = start + nbytes
        return memoryview(self._data)[start : self.position]

    def _check(self, nbytes: int) -> None:
        if nbytes > self.left:
            raise FormatError(f"{self._what} takes {nbytes} bytes, and {self.left} follow; {CUT}")


class _Base64:
    """Bytes in base64, which come in parts that were encoded each for itself."""

    def __init__(self, data: Buffer, start: int, end: int, what: str) -> None:
        self._data, self.position, self._end, self._what = data, start, end, what

    @property
    def left(self) -> int:
        """Bytes that may follow."""
        return (self._end - self.position) // 4 * 3

    def peek(self, nbytes: int) -> bytes:
        """Return the next bytes and stay."""
        return self._decode(nbytes)[0][:nbytes]

    def take(self, nbytes: int) -> bytes:
        """Return the next part, which has so many bytes."""
        found, letters = self._decode(nbytes)
        if len(found) != nbytes:
            raise FormatError(f"{self._what}: {len(found)} bytes are there, {nbytes} are stated; {CUT}")
        self.position += letters
        return found

    def take_behind(self, head: int, nbytes: int) -> bytes:
        """Return the bytes behind some, which are a part of their own or begin the same part."""
        if len(self._decode(head)[0]) == head and head % 3:
            self.take(head)
            return self.take(nbytes)
        return self.take(head + nbytes)[head:]

    def _decode(self, nbytes: int) -> tuple[bytes, int]:
        """Return the bytes of so many letters as the bytes asked for take, and the number of letters."""
        letters = (nbytes + 2) // 3 * 4
        if letters > self._end - self.position:
            raise FormatError(
                f"{self._what} takes {letters} letters of base64, and {self._end - self.position} follow; {CUT}"
            )
        text = bytes(self._data[self.position : self.position + letters])
        try:
            return binascii.a2b_base64(text, strict_mode=True), letters
        except binascii.Error as error:
            raise FormatError(f"{self._what}: no base64 ({error}); {CUT}") from None
