"""Rows of numbers from a file: text, CSV or ``.npy``."""

from __future__ import annotations

import io
import re
import tokenize
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, FormatError, ShapeError
from trxlib.kinds import kind_of, missing, refusal
from trxlib.model.dtypes import extension_of_dtype

__all__ = ["read_rows"]

Array = npt.NDArray[Any]
_FLOAT32 = np.dtype("<f4")
_LONG_TEXT = 1 << 16
#: Half-way between the largest float32 and what would be the next: from here on a number becomes infinite.
_FLOAT32_END = 2.0**128 - 2.0**103
_INFINITY = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_SEPARATOR = re.compile(r"[,;]")
#: What numpy's reader of ``.npy`` raises for a damaged header.
_BAD_NPY = (
    *(ValueError, TypeError, EOFError, OSError, OverflowError, SyntaxError, MemoryError, RecursionError),
    tokenize.TokenError,
)


def read_rows(path: str | Path) -> Array:
    """Read a file with a row per streamline or vertex.

    Parameters
    ----------
    path : str or Path
        ``.npy`` in either order; else text: ``#`` starts a comment, commas, semicolons or blanks stand between
        numbers, the first line may name columns.

    Returns
    -------
    ndarray of shape (n, k)
        float32 from text; a mapped array from ``.npy``.

    Raises
    ------
    FormatError
        If a line is no row of numbers that float32 can hold; the line is named.
    """
    path = Path(path)
    if not path.is_file():
        raise missing(path, f"{path} does not exist; check the path")
    kind = kind_of(path)
    read_anyway = ("unknown", "values", "damaged") if path.suffix.lower() == ".npy" else ("unknown", "values")
    if kind.use not in read_anyway and path.stat().st_size:  # of no streamlines, a text is empty
        raise refusal(path, "values", kind=kind)
    values = _read_npy(path) if path.suffix.lower() == ".npy" else _read_text(path)
    return values.reshape(-1, 1) if values.ndim == 1 else values


def _read_npy(path: Path) -> Array:
    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except _BAD_NPY as error:
        raise FormatError(f"{path} is no .npy file of numbers: {type(error).__name__}: {error}") from None
    if values.ndim not in (1, 2):
        raise ShapeError(f"{path} has shape {values.shape}, expected (rows,) or (rows, columns)")
    try:
        extension_of_dtype(values.dtype)
    except DtypeError as error:
        raise DtypeError(f"{path}: {error}") from None
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _read_text(path: Path) -> Array:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    values: Array | None = None
    if len(text) > _LONG_TEXT and not _has_empty_cells(text):
        # numpy's parser is quick, but does not say which line is wrong.
        with suppress(ValueError):
            values = _as_float32(
                np.loadtxt(io.StringIO(text.replace(",", " ").replace(";", " ")), comments="#", ndmin=2)
            )
    if values is None or np.isinf(values).any():  # of numbers that are too large, or of "inf"
        values = _as_float32(_read_lines(text, path))
    return values


def _has_empty_cells(text: str) -> bool:
    """Tell whether nothing stands in front of a separator; behind the last one of a line that is ordinary."""
    if "," not in text and ";" not in text:
        return False
    bare = text.replace(" ", "").replace("\t", "").replace(";", ",")  # quicker than a regular expression
    return bare.startswith(",") or ",," in bare or "\n," in bare


def _as_float32(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=_FLOAT32)


def _read_lines(text: str, path: Path) -> Array:
    rows: list[list[float]] = []
    has_names = False
    for number, line in enumerate(text.splitlines(), 1):
        cells = _split_cells(line.partition("#")[0])
        if not cells:
            continue
        try:
            row = [_read_number(cell) for cell in cells]
        except ValueError as error:
            if rows or has_names or all(_is_odd_number(cell) for cell in cells):
                raise FormatError(f"{path}: line {number}: {error}; expected numbers") from None
            has_names = True  # the first line of a CSV may name its columns
            continue
        rows.append(row)
        if len(row) != len(rows[0]):
            raise FormatError(
                f"{path}: line {number} has {len(row)} numbers, expected {len(rows[0])} as in the lines before"
            )
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1) if rows else np.zeros((0, 1))


def _split_cells(line: str) -> list[str]:
    """Return what stands between separators; a cell between two commas may be empty."""
    parts = [part.split() for part in _SEPARATOR.split(line)]
    if not parts[-1]:
        del parts[-1]  # a separator may stand at the end of a line
    return [cell for part in parts for cell in part or [""]]


def _read_number(cell: str) -> float:
    if not cell:
        raise ValueError("a cell is empty")
    value = float(cell)
    if "_" in cell or not cell.isascii():  # Python's own ways to write a number
        raise ValueError(f"could not convert string to float: {cell!r}")
    if abs(value) >= _FLOAT32_END and not _INFINITY.fullmatch(cell):
        raise ValueError(f"{cell} is beyond float32, the type that text becomes")
    return value


def _is_odd_number(cell: str) -> bool:
    """Tell whether a cell that cannot be read is meant as a number, not as the name of a column."""
    try:
        float(cell or "0")
    except ValueError:
        return False
    return True
