"""The fields of ``header.json``, read and checked as plain numbers; `trxlib.model.header` has them as arrays.

TRX specification, "Header". What only looks at a header starts without numpy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from trxlib.errors import HeaderError

__all__ = ["HeaderFields", "Rows", "affine_rows", "check_dimensions", "check_invertible", "edges_of"]

Rows = list[list[float]]
#: The keys of the format.
_KEYS = ("VOXEL_TO_RASMM", "DIMENSIONS", "NB_STREAMLINES", "NB_VERTICES")
#: Objects and lists inside each other. No header needs as many, and every walk through one ends somewhere below 1000.
_DEEPEST = 64
#: No file has more rows; a larger number in a header is a lie, and its products would pass 64 bits.
_MAX_COUNT = 2**56


def affine_rows(value: Any, what: str) -> Rows:
    """Return `value` as 4 rows of 4 finite floats, the last one 0 0 0 1.

    Raises
    ------
    HeaderError
        If it is not one; `what` names it in the message.
    """
    try:
        plain = _plain(value)
        shape = _shape(plain)
        rows = [[float(item) for item in row] for row in plain] if shape == (4, 4) else []
        if not rows:
            _check_numbers(plain)
    except (TypeError, ValueError, OverflowError):
        raise HeaderError(f"{what} is {_short(value)}, expected 4 x 4 numbers") from None
    if shape != (4, 4):
        raise HeaderError(f"{what} has shape {shape}, expected (4, 4)")
    if not all(math.isfinite(item) for row in rows for item in row):
        raise HeaderError(f"{what} holds values that are not finite: {rows}")
    if rows[3] != [0, 0, 0, 1]:
        raise HeaderError(f"{what} has the last row {rows[3]}, expected [0, 0, 0, 1]")
    return rows


def check_dimensions(value: Any, what: str) -> tuple[int, int, int]:
    """Return `value` as three ints in the range of uint16.

    Raises
    ------
    HeaderError
        If it is not; `what` names it in the message.
    """
    try:
        plain = _plain(value)
        numbers = [_whole(item) for item in plain]
    except (TypeError, ValueError):
        raise HeaderError(f"{what} is {_short(value)}, expected 3 whole numbers") from None
    # Programs that know no image write 0 0 0.
    if len(numbers) != 3 or not (numbers == [0, 0, 0] or all(0 < number < 2**16 for number in numbers)):
        raise HeaderError(f"{what} is {_short(numbers)}, expected 3 whole numbers from 1 to 65535, or three zeros")
    return (numbers[0], numbers[1], numbers[2])


def edges_of(affine: Rows) -> list[float]:
    """Return the lengths of a voxel's edges in mm."""
    # Multiplied, not raised to a power: numbers that are too large become infinite, and are no error.
    return [math.sqrt(sum(affine[row][axis] * affine[row][axis] for row in range(3))) for axis in range(3)]


def check_invertible(affine: Rows, what: str) -> None:
    """Check that the voxels of an affine have a volume.

    Raises
    ------
    HeaderError
        If it is singular; `what` names it in the message.
    """
    edges = edges_of(affine)
    # Relative to the voxel's edges: a small voxel is no singular one.
    if not all(edges) or not abs(_determinant([[affine[r][c] / edges[c] for c in range(3)] for r in range(3)])) >= 1e-6:
        raise HeaderError(f"{what} is singular: {affine}; its voxels would have no volume")


def _determinant(rows: Rows) -> float:
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


class HeaderFields(NamedTuple):
    """What ``header.json`` says.

    Parameters
    ----------
    voxel_to_rasmm : list of 4 lists of 4 float
        Voxel indices (integer at the voxel's centre) to RASMM.
    dimensions : tuple of 3 int
        The grid of the reference image.
    nb_streamlines, nb_vertices : int
        Counts.
    extra : mapping
        Keys the format does not know, with their JSON values.
    """

    voxel_to_rasmm: Rows
    dimensions: tuple[int, int, int]
    nb_streamlines: int
    nb_vertices: int
    extra: Mapping[str, Any]

    @classmethod
    def from_json(cls, data: bytes) -> HeaderFields:
        """Read the bytes of ``header.json``.

        Raises
        ------
        HeaderError
            If they are not JSON, or a field is missing or impossible.
        """
        try:
            # NaN and Infinity, which are no JSON and which Python writes, are read; they are written as texts.
            content = json.loads(data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise HeaderError(f"header.json is not valid JSON: {error}") from None
        if not isinstance(content, dict):
            raise HeaderError(
                f"header.json holds a {type(content).__name__}, expected an object with {', '.join(_KEYS)}"
            )
        _check_depth(content)
        return cls.from_dict(content)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> HeaderFields:
        """Read a header from a dict with the keys of the format; values of other keys are shared.

        Raises
        ------
        HeaderError
            If a field is missing or impossible.
        """
        missing = [key for key in _KEYS if key not in content]
        if missing:
            raise HeaderError(
                f"header.json lacks {', '.join(missing)}; found {', '.join(map(str, content)) or 'nothing'}"
            )
        counts = {}
        for key in ("NB_STREAMLINES", "NB_VERTICES"):
            try:
                counts[key] = _whole(content[key])
            except (TypeError, ValueError):
                raise HeaderError(f"header.json: {key} is {_short(content[key])}, expected a whole number") from None
            if not 0 <= counts[key] <= _MAX_COUNT:
                raise HeaderError(
                    f"header.json: {key} is {_short(counts[key])}, expected 0 or more rows that a file can hold"
                )
        return cls(
            affine_rows(content["VOXEL_TO_RASMM"], "header.json: VOXEL_TO_RASMM"),
            check_dimensions(content["DIMENSIONS"], "header.json: DIMENSIONS"),
            counts["NB_STREAMLINES"],
            counts["NB_VERTICES"],
            {key: value for key, value in content.items() if key not in _KEYS},
        )


def _check_depth(content: Any) -> None:
    """Refuse values inside values without end, which later steps would follow until Python gives up."""
    level, depth = [content], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise HeaderError(f"header.json holds values inside values, {_DEEPEST} deep and more; it is no header")
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, (dict, list))
        ]


def _short(value: Any) -> str:
    """Return a value for a message; a file may hold a number of thousands of digits."""
    try:
        text = repr(value)
    except ValueError:  # of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:197]}..."


def _plain(value: Any) -> Any:
    """Return nested lists, of what may hold arrays of numpy."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "__array__"):
        import numpy as np

        return np.asarray(value).tolist()
    return value


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    shapes = {_shape(item) for item in value}
    if len(shapes) > 1:
        raise ValueError(value)
    return (len(value), *(shapes.pop() if shapes else ()))


def _flat(value: Any) -> list[Any]:
    _shape(value)
    return [part for item in value for part in _flat(item)] if isinstance(value, list) else [value]


def _check_numbers(value: Any) -> None:
    for item in _flat(value):
        float(item)


def _whole(value: Any) -> int:
    """Return a whole number; other programs write 1000.0 too."""
    try:
        number = int(value)
    except OverflowError:  # infinite
        raise ValueError(value) from None
    if isinstance(value, (bool, str)) or number != value:
        raise ValueError(value)
    return number
