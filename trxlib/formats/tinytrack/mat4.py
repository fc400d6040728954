"""Matrices of a MATLAB 4 file, one after the other: what TinyTrack files are made of.

MATLAB documentation, "MAT-File Format", level 4: a matrix is five 32-bit words (type, rows, columns, whether it is
complex, length of the name), its name with a NUL, and its numbers column by column. DSI Studio has 64-bit ones, too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, FormatError
from trxlib.formats.input_file import InputFile, Slices

__all__ = ["MATRIX_WORDS", "Matrices", "Matrix"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
#: Type, rows, columns, complex or not, length of the name.
MATRIX_WORDS = struct.Struct("<5I")
_TYPES = ("<f8", "<f4", "<i4", "<i2", "<u2", "u1", "<i8")
_MOST_NAME = 255
_MOST_DEFLATED = 1032  # bytes that one of deflate can hold
#: What the first digit of a type's four says, apart from 0, little-endian.
_MACHINES = {1: "big-endian", 2: "of a VAX", 3: "of a VAX", 4: "of a Cray"}


class Matrix(NamedTuple):
    """A matrix of which the header was read.

    Parameters
    ----------
    name : str
        Without the NUL.
    dtype : numpy.dtype
        Of its numbers; uint8 also for text.
    rows, cols : int
        Its shape.
    start : int
        Byte of the content where its header begins.
    """

    name: str
    dtype: np.dtype[Any]
    rows: int
    cols: int
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return self.rows * self.cols * self.dtype.itemsize


class Matrices:
    """The matrices of a file, read from front to back; nothing beyond what the file can hold is allocated.

    Parameters
    ----------
    file : InputFile
        Plain or gzip.
    """

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._slices = Slices(file)
        self._left = 0  # bytes of the current matrix that have not been read

    def __enter__(self) -> Matrices:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._slices.__exit__()

    @property
    def file_done(self) -> int:
        """Bytes of the file read so far, for progress."""
        return self._slices.file_done

    def __iter__(self) -> Iterator[Matrix]:
        """Yield each matrix; what the caller leaves of it is passed over.

        Raises
        ------
        FormatError
            If a header is impossible, or the file ends within a matrix.
        """
        number = 0
        while (matrix := self._read_header(number)) is not None:
            self._left = matrix.nbytes
            yield matrix
            self._skip(matrix)
            number += 1
        # The end of the stream is looked at, so that the file's CRC is complete.
        self._slices.next(np.empty(0, dtype=np.uint8))

    def read(self, matrix: Matrix, most: int) -> Array:
        """Return all numbers of the current matrix, in the order of the file.

        Raises
        ------
        FormatError
            If there are more than `most`, or the file ends within them.
        """
        count = matrix.rows * matrix.cols
        if count > most:
            raise FormatError(f"{self._place(matrix)} has {count} numbers, expected at most {most}; it is damaged")
        return self.take(matrix, matrix.nbytes).view(matrix.dtype)

    def take(self, matrix: Matrix, count: int) -> Bytes:
        """Return the next bytes of the current matrix.

        Raises
        ------
        FormatError
            If the file ends within them.
        """
        part = self._slices.take(count)
        self._left -= len(part)
        if len(part) < count:
            raise self._cut(matrix)
        return part

    def _skip(self, matrix: Matrix) -> None:
        before = self._slices.position
        self._slices.skip(self._left)
        self._left -= self._slices.position - before
        if self._left:
            raise self._cut(matrix)

    def _read_header(self, number: int) -> Matrix | None:
        start = self._slices.position
        words = self._slices.take(MATRIX_WORDS.size)
        if not len(words) and number:
            return None
        where = f"{self._file.path}: matrix {number} at byte {start}"
        if len(words) < MATRIX_WORDS.size:
            raise FormatError(f"{where} has {len(words)} of the {MATRIX_WORDS.size} bytes of a header; the file is cut")
        code, rows, cols, is_complex, name_bytes = MATRIX_WORDS.unpack(words.tobytes())
        dtype = _dtype_of(code, where)
        if is_complex or not 0 < name_bytes <= _MOST_NAME:
            raise FormatError(f"{where}: its header {words.tobytes().hex()} is that of no matrix; the file is damaged")
        raw = self._slices.take(name_bytes)
        if len(raw) < name_bytes:
            raise FormatError(f"{where}: the file ends within its name; it is cut")
        name = raw.tobytes().partition(b"\0")[0].decode("latin1")
        matrix = Matrix(name, dtype, rows, cols, start)
        self._check_room(matrix)
        return matrix

    def _check_room(self, matrix: Matrix) -> None:
        """Check that the file can hold the numbers of a matrix, before memory is taken for them."""
        content = self._file.content_nbytes
        limit = self._file.nbytes * _MOST_DEFLATED if content is None else content
        left = limit - self._slices.position
        if matrix.nbytes > left:
            raise FormatError(
                f"{self._place(matrix)} has {matrix.rows} x {matrix.cols} numbers, {matrix.nbytes} bytes, and "
                f"{'at most ' if content is None else ''}{max(left, 0)} bytes are left; the file is cut or damaged"
            )

    def _cut(self, matrix: Matrix) -> FormatError:
        return FormatError(
            f"{self._place(matrix)} has {matrix.nbytes} bytes, and the file ends after {matrix.nbytes - self._left} of "
            "them; it is cut"
        )

    def _place(self, matrix: Matrix) -> str:
        return f"{self._file.path}: matrix {matrix.name!a} at byte {matrix.start}"


def _dtype_of(code: int, where: str) -> np.dtype[Any]:
    machine, rest = divmod(code, 1000)
    swapped = int.from_bytes(code.to_bytes(4, "little"), "big")
    if machine not in _MACHINES and swapped < 5000:  # the words themselves are big-endian
        machine, rest = divmod(swapped, 1000)
    if machine in _MACHINES:
        raise DtypeError(
            f"{where} is {_MACHINES[machine]}, and TinyTrack files are little-endian; load it with the program that "
            "wrote it, and save it again"
        )
    kind, shape = rest // 10, rest % 10
    if machine or kind >= len(_TYPES) or shape > 1:
        raise FormatError(
            f"{where}: its type is {code}, which no full matrix of a MATLAB 4 file has; it is no TinyTrack file, or "
            "damaged"
        )
    return np.dtype(_TYPES[kind])
