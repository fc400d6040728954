"""A place in a legacy VTK file: words, lines and arrays are taken from there on, whether it is text or binary."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError
from trxlib.formats.vtk.text import CUT, Buffer, read_numbers

__all__ = ["LEGACY_TYPES", "Cursor"]

Array = npt.NDArray[Any]
_BLANKS = re.compile(rb"[ \t\r\n\v\f]*")
_WORD = re.compile(rb"[^ \t\r\n\v\f]{1,1024}")
_LINE_BYTES = 1 << 16
#: Names of number types in a legacy file; ``vtkIdType`` is 4 bytes there, and ``bit`` eight values a byte.
LEGACY_TYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for code, names in {
        "i1": ("char", "signed_char", "vtktypeint8"),
        "u1": ("unsigned_char", "vtktypeuint8"),
        "i2": ("short", "vtktypeint16"),
        "u2": ("unsigned_short", "vtktypeuint16"),
        "i4": ("int", "vtkidtype", "vtktypeint32"),
        "u4": ("unsigned_int", "vtktypeuint32"),
        "i8": ("long", "long_long", "__int64", "vtktypeint64"),
        "u8": ("unsigned_long", "unsigned_long_long", "unsigned___int64", "vtktypeuint64"),
        "f4": ("float", "vtktypefloat32"),
        "f8": ("double", "vtktypefloat64"),
        "?": ("bit",),
    }.items()
    for name in names
}
#: Length of a string in a binary file: the two upper bits of its first byte say how many bytes state it.
_STRING_HEADS = {3: 1, 2: 2, 1: 4, 0: 8}


class Cursor:
    """A place in a file.

    Parameters
    ----------
    data : buffer
        The whole file.
    path : str
        For messages.
    """

    def __init__(self, data: Buffer, path: str) -> None:
        self.data, self.path = data, path
        self.position = 0
        self.is_binary = False
        #: The array whose last number ends where the file ends, so that nobody knows whether it was longer.
        self.open_end = ""

    @property
    def left(self) -> int:
        """Bytes that follow."""
        return len(self.data) - self.position

    def where(self, what: str) -> str:
        """Return file and section, for a message."""
        return f"{self.path}: {what}"

    def line(self) -> str:
        """Return the rest of the line, without its end."""
        end = self.data.find(b"\n", self.position, self.position + _LINE_BYTES)
        end = min(len(self.data), self.position + _LINE_BYTES) if end < 0 else end
        text = bytes(self.data[self.position : end])
        self.position = min(end + 1, len(self.data))
        return text.decode("utf-8", "replace").strip()

    def peek(self) -> str:
        """Return the next word and stay; empty at the end of the file."""
        match = _WORD.match(self.data, _BLANKS.match(self.data, self.position).end())  # type: ignore[union-attr]
        return match.group().decode("latin1") if match else ""

    def word(self, what: str) -> str:
        """Return the next word.

        Raises
        ------
        FormatError
            At the end of the file.
        """
        self.position = _BLANKS.match(self.data, self.position).end()  # type: ignore[union-attr]
        match = _WORD.match(self.data, self.position)
        if match is None:
            raise FormatError(f"{self.path}: the file ends at byte {len(self.data)}, expected {what}; {CUT}")
        self.position = match.end()
        return match.group().decode("latin1")

    def name(self, what: str) -> str:
        """Return the next word as a name, in which VTK writes blanks as ``%20``."""
        return urllib.parse.unquote(self.word(what).encode("latin1").decode("utf-8", "replace"))

    def count(self, what: str) -> int:
        """Return the next word as a count.

        Raises
        ------
        FormatError
            If it is none.
        """
        word = self.word(what)
        if not word.isascii() or not word.isdigit() or len(word) > 18:
            raise FormatError(f"{self.path}: {what} is {word[:40]!r}, expected a count; the file is damaged")
        return int(word)

    def dtype(self, what: str) -> str:
        """Return the next word as the name of a type, lower case."""
        word = self.word(f"the type of {what}")
        if word.lower() not in LEGACY_TYPES and word.lower() not in ("string", "utf8_string"):
            raise FormatError(
                f"{self.path}: the type of {what} is {word[:40]!r}; known are {', '.join(LEGACY_TYPES)} and string"
            )
        return word.lower()

    def numbers(self, count: int, type_name: str, what: str) -> Array:
        """Return the array that begins in the next line.

        Parameters
        ----------
        count : int
            How many numbers.
        type_name : str
            Key of `LEGACY_TYPES`.
        what : str
            For messages.

        Returns
        -------
        ndarray of shape (count,)
            Big-endian and mapped, if the file is binary.

        Raises
        ------
        FormatError
            If the file does not hold as many.
        """
        if type_name not in LEGACY_TYPES:
            raise FormatError(f"{self.path}: {what} is of type {type_name}, expected numbers")
        dtype = LEGACY_TYPES[type_name]
        if not self.is_binary:
            values, self.position = read_numbers(
                self.data, self.position, len(self.data), count, dtype, self.where(what)
            )
            self.open_end = what if count and self.position == len(self.data) else ""
            return values
        self._end_line()
        nbytes = (count + 7) // 8 if type_name == "bit" else count * dtype.itemsize
        self._check_left(nbytes, what)
        start, self.position = self.position, self.position + nbytes
        if type_name == "bit":
            packed = np.frombuffer(self.data, np.uint8, nbytes, start)
            return np.unpackbits(packed, count=count).view(np.bool_)
        return np.frombuffer(self.data, dtype.newbyteorder(">"), count, start)

    def strings(self, count: int, what: str) -> list[str]:
        """Return the texts that begin in the next line."""
        self._end_line()
        self._check_left(count, what)
        if not self.is_binary:
            found = [urllib.parse.unquote(self.line()) for _ in range(count) if self.left]
            if len(found) < count:
                raise FormatError(f"{self.path}: {what}: {count} texts are stated, {len(found)} are there; {CUT}")
            return found
        return [self._string(what) for _ in range(count)]

    def _string(self, what: str) -> str:
        self._check_left(1, what)
        size = _STRING_HEADS[self.data[self.position] >> 6]
        self._check_left(size, what)
        head = int.from_bytes(self.data[self.position : self.position + size], "big") & ((1 << (8 * size - 2)) - 1)
        self.position += size
        self._check_left(head, what)
        self.position += head
        return bytes(self.data[self.position - head : self.position]).decode("utf-8", "replace")

    def _check_left(self, nbytes: int, what: str) -> None:
        if nbytes > self.left:
            raise FormatError(
                f"{self.path}: {what} takes {nbytes} bytes from byte {self.position} on, and the file has "
                f"{self.left} more; {CUT}"
            )

    def _end_line(self) -> None:
        """Pass over the end of the line that states the array."""
        match = re.compile(rb"[ \t]*\r?\n").match(self.data, self.position)
        if match is None and self.left:
            raise FormatError(
                f"{self.path}: the line before byte {self.position} does not end where the data should begin; the file "
                "is damaged"
            )
        self.position = match.end() if match else self.position
