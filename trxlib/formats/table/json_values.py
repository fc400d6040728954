"""Numbers of a JSON text: a list of numbers, a list of rows, or an object with one such list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError, HeaderWarning, warn
from trxlib.formats.table.blocks import read_blocks
from trxlib.formats.table.cells import parse_cell
from trxlib.formats.table.notes import warn_of_lost_integers

__all__ = ["read_json"]


def read_json(path: str | Path, expected: int | None = None) -> npt.NDArray[Any]:
    """Read rows of numbers from JSON.

    Parameters
    ----------
    path : str or Path
        Plain or gzip.
    expected : int, optional
        How many rows it should have; one that is far too long for them is refused.

    Returns
    -------
    ndarray, float32 of shape (n, k)
        ``null`` becomes NaN.

    Raises
    ------
    FormatError
        If it holds something else; what it holds is named.
    """
    text = b"".join(block for block, _ in read_blocks(path, expected))
    try:
        # Numbers as they are written, so that large ones are not rounded unseen.
        content = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: begins like JSON, and is none: {error}") from None
    if isinstance(content, dict):
        content = _only_list(content, path)
    if not isinstance(content, list):
        raise FormatError(f"{path}: JSON of {_kind(content)}, expected a list of numbers")
    rows = content if content and all(isinstance(row, list) for row in content) else [[item] for item in content]
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise FormatError(f"{path}: row {number} has {len(row)} numbers, expected {len(rows[0])} as in row 0")
    missing = sum(cell is None for row in rows for cell in row)
    if missing:
        warn(f"{path}: {missing} values are null; they become NaN", HeaderWarning)
    values = np.array([[_number(cell, number, path) for cell in row] for number, row in enumerate(rows)], np.float64)
    _warn_of_integers(rows, path)
    return values.astype(np.float32).reshape(len(rows), -1 if rows else 1)


def _only_list(content: dict[str, Any], path: str | Path) -> list[Any]:
    lists = {key: value for key, value in content.items() if isinstance(value, list)}
    if len(lists) == 1:
        return next(iter(lists.values()))
    keys = ", ".join(map(repr, list(content)[:8])) or "none"
    raise FormatError(f"{path}: a JSON object with {len(lists)} lists, expected one; its keys are {keys}")


def _number(cell: Any, row: int, path: str | Path) -> float:
    if cell is None:
        return float("nan")
    if not isinstance(cell, str):
        raise FormatError(f"{path}: row {row} holds {_kind(cell)}, expected numbers")
    try:
        return parse_cell(cell, ".")
    except ValueError as error:
        raise FormatError(f"{path}: row {row}: {error}") from None


def _warn_of_integers(rows: list[list[Any]], path: str | Path) -> None:
    places = [
        (number, cell)
        for number, row in enumerate(rows)
        for cell in row
        if cell is not None and len(cell) > 7 and cell.lstrip("-").isdigit() and int(cell) != int(np.float32(int(cell)))
    ]
    if places:
        warn_of_lost_integers(path, len(places), f"{places[0][1]} in row {places[0][0]}")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", str: "a text", type(None): "null"}
    return names.get(type(value), type(value).__name__)
