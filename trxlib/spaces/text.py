"""Text: files of numbers (an affine with dimensions, as a reference, or a matrix), and headers of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trxlib.errors import HeaderError, InputError, InputNotFoundError
from trxlib.model.space import Space

__all__ = ["is_space_text", "read_numbers", "read_text", "read_text_header", "space_of_text"]

_MAX_TEXT = 1 << 14  # bytes of a text file with an affine, comments included
#: Of a header in text: thousands of gradient directions need less. Most headers end within the first of these.
_HEADER_BYTES = (1 << 14, 1 << 20)


def is_space_text(path: str | Path, nbytes: int) -> bool:
    """Tell whether a file is short and the first line that says something has numbers only, as no image's has."""
    return nbytes <= _MAX_TEXT and _starts_with_numbers(read_text(path))


def space_of_text(path: str | Path, dimensions: Any = None) -> Space:
    """Read an affine, four rows of four numbers, and dimensions, a row of three, unless they are given.

    Parameters
    ----------
    path : path
        ``#`` starts a comment; commas may separate the numbers.
    dimensions : sequence of 3 int, optional
        Come before those of the file.

    Raises
    ------
    HeaderError
        If the file has other rows of numbers.
    InputError
        If dimensions are given and the file holds no numbers.
    """
    if dimensions is not None and not is_space_text(path, _size_of(path)):
        raise InputError(
            f"{path}: dimensions are given beside it, so it has to be a text file with an affine, four rows of four "
            "numbers; an image, a TRK or a TRX file has dimensions of its own"
        )
    rows = read_numbers(read_text(path), path, "affine")
    widths = [len(row) for row in rows]
    if dimensions is None and widths == [4, 4, 4, 4]:
        raise HeaderError(
            f"{path} has an affine and no dimensions, which a reference needs; add a line with three whole numbers, "
            "the voxels along each axis, or give them beside it ((path, dimensions), --dimensions)"
        )
    # Dimensions given beside the file come before its own.
    if widths not in ([4, 4, 4, 4], [4, 4, 4, 4, 3]):
        raise HeaderError(
            f"{path} has rows of {widths} numbers, expected four rows of four, the affine, and one of three, the "
            "dimensions"
        )
    return Space.create(rows[:4], rows[4] if dimensions is None else dimensions, str(path))


def read_text(path: str | Path) -> str:
    """Return the text of a short file; bytes of any encoding are taken as they are.

    Raises
    ------
    HeaderError
        If it is longer than an affine with its comments is.
    InputNotFoundError
        If the file cannot be read.
    """
    try:
        with Path(path).open(encoding="latin1") as file:
            text = file.read(_MAX_TEXT + 1)
    except OSError as error:
        raise InputNotFoundError(f"{path} cannot be read: {error.strerror}; check the path") from None
    if len(text) > _MAX_TEXT:
        raise HeaderError(f"{path} has more than {_MAX_TEXT} bytes; a text file with an affine has some hundred")
    return text


def read_numbers(text: str, path: str | Path, what: str) -> list[list[float]]:
    """Return the numbers of each line that has some.

    Raises
    ------
    HeaderError
        If something is no number; `what` says what was expected of the file.
    """
    try:
        return [[float(item) for item in row] for row in _split_rows(text) if row]
    except ValueError as error:
        raise HeaderError(f"{path} is no {what}: {error}; expected four rows of four numbers") from None


def _size_of(path: str | Path) -> int:
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise InputNotFoundError(f"{path} cannot be read: {error.strerror}; check the path") from None


def _starts_with_numbers(text: str) -> bool:
    """Tell whether the first line that says something has numbers only, as no image's header in text has."""
    items = next(filter(None, _split_rows(text)), [])
    try:
        return bool([float(item) for item in items])
    except ValueError:
        return False


def _split_rows(text: str) -> list[list[str]]:
    return [line.split("#")[0].replace(",", " ").split() for line in text.removeprefix("\xef\xbb\xbf").splitlines()]


def read_text_header(path: str | Path, read: Callable[[int], bytes], is_whole: Callable[[bytes], bool]) -> bytes:
    """Return the start of a file that holds its header, or the whole file if that is short.

    Parameters
    ----------
    path : path
        For messages.
    read : callable
        Returns the first so many bytes of the file, unpacked.
    is_whole : callable
        Tells whether some bytes hold the whole header.

    Raises
    ------
    HeaderError
        If the header does not end where every header does.
    """
    for count in _HEADER_BYTES:
        data = read(count)
        if is_whole(data) or len(data) < count:
            return data
    raise HeaderError(
        f"{path}: its header does not end within {_HEADER_BYTES[-1]} bytes, as every header in text does; it is "
        "damaged, take another file"
    )
