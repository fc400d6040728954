"""Transforms that ITK writes: text, Matlab 4, and HDF5 with fields.

A composite lists its transforms from the last to the first that a point passes: ITK applies the last of the file first.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, UnsupportedFormatError
from trxlib.spaces.transforms.files import read_small
from trxlib.spaces.transforms.itk_classes import FIELD_CLASSES, linear_from_itk, split_class
from trxlib.spaces.transforms.linear import Linear

__all__ = ["ITK_MARK", "Part", "linear_steps", "looks_like_matlab", "order_parts", "read_itk_matlab", "read_itk_text"]

ITK_MARK = "#Insight Transform File"
Numbers = npt.NDArray[np.float64]
_HEADER = struct.Struct("<5i")
_TYPES = {0: "<f8", 10: "<f4"}


class Part(NamedTuple):
    """One transform of a file, with its number there."""

    name: str
    parameters: Numbers
    fixed: Numbers


def order_parts(kinds: list[str], what: str) -> list[int]:
    """Return the numbers of a file's transforms in the order in which points pass them.

    Raises
    ------
    HeaderError
        If the file holds several transforms and does not say that they are a composite, or none.
    """
    if not kinds:
        raise HeaderError(f"{what} holds no transform")
    if kinds[0] == "CompositeTransform":
        if len(kinds) == 1 or "CompositeTransform" in kinds[1:]:
            raise HeaderError(
                f"{what} is a composite of {len(kinds) - 1} transforms, expected at least one, and no other"
            )
        return list(range(len(kinds) - 1, 0, -1))
    if len(kinds) > 1:
        raise HeaderError(
            f"{what} holds {len(kinds)} transforms ({', '.join(kinds)}) and does not say that they are a composite, so "
            "their order is not known; write each into a file of its own and list these"
        )
    return [0]


def linear_steps(parts: list[Part], what: str) -> list[Linear]:
    """Return the steps of a file with linear transforms, in the order of points."""
    kinds = [split_class(part.name, what) for part in parts]
    for kind in kinds:
        if kind in FIELD_CLASSES:
            raise UnsupportedFormatError(f"{what} holds a {kind}, which is read from .h5 and from NIfTI images")
    order = order_parts(kinds, what)
    return [linear_from_itk(kinds[k], parts[k].parameters, parts[k].fixed, what) for k in order]


def read_itk_text(text: str, path: str | Path) -> list[Linear]:
    """Read a text file of ITK (``.txt``, ``.tfm``).

    Raises
    ------
    HeaderError
        If a line cannot be read, or numbers are missing.
    UnsupportedFormatError
        If it holds a transform that is not linear.
    """
    fields: list[dict[str, str]] = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        key, colon, value = line.partition(":")
        key = key.strip()
        if key == "ComponentTransformFile":
            raise UnsupportedFormatError(f"{path} names other files; list these instead, the last of them first")
        if not colon or (key != "Transform" and not fields):
            raise HeaderError(f"{path}: {line[:60]!r} is no line of an ITK transform, such as 'Transform: name'")
        if key == "Transform":
            fields.append({})
        fields[-1][key] = value
    parts = [
        Part(
            field["Transform"],
            _numbers_from(field, "Parameters", path),
            _numbers_from(field, "FixedParameters", path),
        )
        for field in fields
    ]
    return linear_steps(parts, str(path))


def _numbers_from(field: dict[str, str], key: str, path: str | Path) -> Numbers:
    may_lack = any(name in field["Transform"] for name in ("Composite", "Identity", "Translation"))
    if key not in field and not may_lack:
        raise HeaderError(f"{path}: {field['Transform'].strip()} has no {key}; the file is damaged")
    try:
        # ITK writes brackets around them in some versions.
        return np.array(field.get(key, "").strip().strip("[]").replace(",", " ").split(), dtype=np.float64)
    except ValueError:
        raise HeaderError(f"{path}: {key} of {field['Transform'].strip()} are not all numbers") from None


def looks_like_matlab(head: bytes) -> bool:
    """Tell whether a file starts like a Matlab 4 file with a named column of numbers."""
    if len(head) < _HEADER.size:
        return False
    kind, _, columns, imaginary, length = _HEADER.unpack_from(head)
    return kind in _TYPES and columns == 1 and imaginary == 0 and 1 < length <= 256


def read_itk_matlab(path: str | Path) -> list[Linear]:
    """Read a Matlab 4 file as ANTs writes it (``0GenericAffine.mat``).

    Raises
    ------
    HeaderError
        If it is damaged, or no transform.
    UnsupportedFormatError
        If it holds a transform that is not linear.
    """
    data = read_small(path)
    arrays: list[tuple[str, Numbers]] = []
    start = 0
    while start < len(data):
        name, numbers, start = _read_array(data, start, path)
        arrays.append((name, numbers))
    names = [name for name, _ in arrays]
    if not arrays or len(arrays) % 2 or any(name != "fixed" for name in names[1::2]):
        raise HeaderError(f"{path} holds the arrays {names}; expected those of ITK, each transform followed by 'fixed'")
    parts = [Part(arrays[k][0], arrays[k][1], arrays[k + 1][1]) for k in range(0, len(arrays), 2)]
    return linear_steps(parts, str(path))


def _read_array(data: bytes, start: int, path: Any) -> tuple[str, Numbers, int]:
    """Read one array of a Matlab 4 file: five integers, its name, its numbers."""
    end = start + _HEADER.size
    if end > len(data):
        raise HeaderError(f"{path} ends inside the header of an array; the file is damaged")
    kind, rows, columns, imaginary, length = _HEADER.unpack_from(data, start)
    dtype = _TYPES.get(kind)
    if dtype is None or imaginary or columns not in (0, 1) or rows < 0 or not 0 < length <= 256:
        raise HeaderError(
            f"{path}: an array of type {kind} and shape ({rows}, {columns}); expected a column of numbers"
        )
    name = data[end : end + length].split(b"\0")[0].decode("latin1")
    end += length
    count = rows * columns
    size = count * np.dtype(dtype).itemsize
    if end + size > len(data):
        raise HeaderError(f"{path} ends inside the array {name}; the file is damaged")
    return name, np.frombuffer(data, dtype, count, end).astype(np.float64), end + size
