"""Numbers written as text, as VTK files hold them: as many as are stated, or an error that says where."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, FormatError

__all__ = ["CUT", "Buffer", "count_tokens", "read_numbers"]

Array = npt.NDArray[Any]
#: The bytes of a file: mapped, or in memory.
Buffer = Any
#: How a file that ends too soon is mended.
CUT = "the file is truncated or damaged: fetch or write it anew"
_BLOCK = 1 << 22
_TOKEN = re.compile(rb"[^\x00-\x20]+")
_LIMIT = 400  # a number in text is shorter


def read_numbers(
    data: Buffer, start: int, stop: int, count: int, dtype: np.dtype[Any], where: str
) -> tuple[Array, int]:
    """Return the next `count` numbers between two bytes, and where the last of them ends.

    Parameters
    ----------
    data : buffer
        The file.
    start, stop : int
        Where to look.
    count : int
        How many numbers there must be.
    dtype : dtype
        Their type; bool takes 0 and 1.
    where : str
        File and array, for messages.

    Returns
    -------
    ndarray of shape (count,)
        In the machine's byte order.
    int
        The byte behind the last number.

    Raises
    ------
    FormatError
        If there are fewer, or something else stands among them; file, array and number are named.
    DtypeError
        If one does not fit the type.
    """
    # A number takes a digit and a blank: what cannot be there is not allocated.
    if count > (stop - start + 1) // 2:
        raise FormatError(
            f"{where}: {count} numbers are stated, and there are {max(0, stop - start)} bytes left; {CUT}"
        )
    values = np.empty(count, dtype=dtype.newbyteorder("="))
    done, position = 0, start
    while done < count:
        text, found, position = _next_block(data, position, stop, count - done, where)
        if not found:
            raise FormatError(f"{where}: {count} numbers are stated, {done} are there; {CUT}")
        values[done : done + found] = _parse(text, found, dtype, done, where)
        done += found
    return values, position


def count_tokens(data: Buffer, start: int, stop: int) -> int:
    """Return how many words stand between two bytes."""
    count = 0
    while start < stop:
        end = _block_end(data, start, stop)
        count += len(_starts(np.frombuffer(data, np.uint8, end - start, start)))
        start = end
    return count


def _next_block(data: Buffer, start: int, stop: int, wanted: int, where: str) -> tuple[bytes, int, int]:
    """Return some text of whole words, at most the wanted number of them, their number, and where it ends."""
    end = _block_end(data, start, stop)
    starts = _starts(np.frombuffer(data, np.uint8, end - start, start))
    found = len(starts)
    if found >= wanted:
        found = wanted
        last = _TOKEN.match(data, start + int(starts[wanted - 1]), end)
        assert last is not None
        end = last.end()
    elif end - start >= _BLOCK and not found:
        end = start + _BLOCK
    return bytes(data[start:end]), found, end


def _block_end(data: Buffer, start: int, stop: int) -> int:
    """Return where a block ends that cuts no word in two, unless one is longer than any number."""
    end = min(start + _BLOCK, stop)
    while end < stop and data[end] > 32 and end - start < _BLOCK + _LIMIT:
        end += 1
    return end


def _starts(text: Array) -> Array:
    """Return where words begin."""
    is_word = text > 32
    is_word[1:] &= ~is_word[:-1]
    return np.flatnonzero(is_word)


def _parse(text: bytes, count: int, dtype: np.dtype[Any], first: int, where: str) -> Array:
    """Return the numbers in a text, one for each of its `count` words."""
    wide: Any = np.float64 if dtype.kind == "f" else np.int64
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy before 2.3 warns and stops
            values = np.fromstring(text, dtype=wide, sep=" ")
    except (ValueError, DeprecationWarning):
        values = np.empty(0, dtype=wide)
    # One word cannot be two numbers (1-2): as many numbers as words, and each word was one.
    if len(values) != count:
        number, word = _find_odd(text, wide)
        expected = "a number" if wide is np.float64 else "an integer"
        raise FormatError(
            f"{where}: number {first + number} is {word!r}, expected {expected}; the file is damaged, or counts "
            "other numbers than it holds"
        )
    return _fit(values, text, dtype, first, where)


def _find_odd(text: bytes, wide: Any) -> tuple[int, str]:
    """Return the first word that is no number, and which it is."""
    kind = float if wide is np.float64 else int
    for number, word in enumerate(text.split()):
        try:
            kind(word)
            if b"_" in word:  # Python takes 1_000
                raise ValueError
        except ValueError:
            return number, word[:40].decode("latin1")
    return 0, text[:40].decode("latin1")


def _fit(values: Array, text: bytes, dtype: np.dtype[Any], first: int, where: str) -> Array:
    """Return numbers in the type of the array; what does not fit it is an error."""
    if dtype.kind == "f":
        if np.isinf(values).any():
            words = text.split()
            for number in np.flatnonzero(np.isinf(values)).tolist():
                if b"inf" not in words[number].lower():
                    raise _beyond(words[number].decode("latin1"), np.dtype("f8"), first + number, where)
        with np.errstate(over="ignore", invalid="ignore"):
            result = values.astype(dtype)
        lost = np.isinf(result) & np.isfinite(values)
    else:
        limits = np.iinfo(np.int64)
        if len(values) and (values.max() == limits.max or values.min() == limits.min):  # what strtol gives for more
            words = text.split()
            for number, word in enumerate(words):
                if len(word) > _LIMIT:  # Python refuses to read integers of thousands of digits
                    raise _beyond(word.decode("latin1"), dtype, first + number, where)
            values = np.array([int(word) for word in words], dtype=object)
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        lost = np.asarray((values < low) | (values > high), dtype=np.bool_)
        result = values if lost.any() else values.astype(dtype)
    if lost.any():
        number = int(np.argmax(lost))
        raise _beyond(str(values[number]), dtype, first + number, where)
    return result


def _beyond(value: str, dtype: np.dtype[Any], number: int, where: str) -> DtypeError:
    return DtypeError(f"{where}: number {number} is {value[:40]}, which does not fit {dtype.name}; the file is damaged")
