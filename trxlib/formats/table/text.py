"""Numbers of a text, block by block: a quick parser for what is plain, another one for what is not."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError, HeaderWarning, warn
from trxlib.formats.table.blocks import read_blocks
from trxlib.formats.table.cells import is_missing, is_name, parse_cell, split_cells
from trxlib.formats.table.notes import Notes
from trxlib.formats.table.reading import Line, Reading, find_reading, fit_width, ragged

__all__ = ["MORE_ROWS", "count_rows", "read_text"]

Array = npt.NDArray[Any]
#: Reading stops when so many rows are left over.
MORE_ROWS = 100_000
#: How many lines are looked at to know how to read them, and how much of a line.
_SAMPLE_LINES, _SAMPLE_SIGNS = 1000, 1 << 14
#: ``#N/A`` is what spreadsheets write for a missing value.
_WHOLE_CELLS = re.compile(r"[;,\t ]+[^;,\t ]*$")
_COMMENT = re.compile(rb"#(?!N/A)[^\n]*", re.IGNORECASE)


def read_text(path: str | Path, expected: int | None = None) -> Array:
    """Read rows of numbers from text.

    Parameters
    ----------
    path : str or Path
        Plain or gzip.
    expected : int, optional
        How many rows it should have. Reading stops at `MORE_ROWS` more.

    Returns
    -------
    ndarray, float32 of shape (n, k)
        Missing values are NaN.

    Raises
    ------
    FormatError
        If lines are no rows of numbers, or may mean several; the line is named.

    Warns
    -----
    HeaderWarning
        If decimal commas are read, values are missing, or an index is left out.
    DataLossWarning
        If whole numbers are beyond those that float32 holds.
    """
    blocks = _with_content(read_blocks(path, expected))
    first, sample, is_cut = _look_ahead(blocks)
    reading = find_reading(sample, path)
    if reading is None:
        return np.zeros((0, 1), dtype=np.float32)
    header_line = reading.header_line
    notes, parts, rows = Notes(reading), [np.zeros((0, reading.width), dtype=np.float32)], 0
    if is_cut:
        reading, parts = Reading(reading.separator, reading.decimal, 0), []
    for block, line in chain(first, blocks):
        values = _parse(block, line, reading, notes, path)
        if is_cut and len(values):
            reading, is_cut = Reading(reading.separator, reading.decimal, values.shape[1]), False
        parts.append(notes.look(values, rows))
        rows += len(values)
        if expected is not None and rows > expected + MORE_ROWS:
            break
    if reading.decimal == ",":
        below = [item for item in sample if item[0] > header_line]
        number, text = next((item for item in below if "," in item[1]), sample[0])
        warn(f"{path}: line {number}, {text.strip()[:40]!r}: commas are read as decimal points", HeaderWarning)
    return notes.finish(np.concatenate(parts), path)


def count_rows(path: str | Path, expected: int) -> tuple[int, int]:
    """Return how many rows of numbers a text seems to have, without reading them, and the cells of the first.

    Parameters
    ----------
    path : str or Path
        Plain or gzip.
    expected : int
        How many rows it should have at most. Counting stops soon behind them.

    Returns
    -------
    int
        Lines that are not blank, but for one that names columns.
    int
        Numbers in the first of them, separated by whatever separates numbers.

    Raises
    ------
    FormatError
        If it is no text.
    ShapeError
        If it is far too long.
    """
    rows, columns, is_first = 0, 0, True
    for block, _ in _with_content(read_blocks(path, expected)):
        lines = [line for line in block.split(b"\n") if line and not line.isspace()]
        rows += len(lines)
        if is_first:
            cells = re.split(r"[;,\s]+", lines[0].decode("utf-8", "replace").strip())
            rows, columns, is_first = rows - any(map(is_name, cells)), len(cells), False
        if rows > expected + 1:
            break
    return rows, columns


def _with_content(blocks: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    """Yield blocks without comments, but those that hold nothing else."""
    for block, line in blocks:
        rest = _COMMENT.sub(b"", block) if b"#" in block else block
        if not rest.isspace():
            yield rest, line


def _look_ahead(blocks: Iterator[tuple[bytes, int]]) -> tuple[list[tuple[bytes, int]], list[Line], bool]:
    """Take some blocks and return them, with the first lines of theirs that are not blank.

    Where a line is long, a part of it is returned, and True: how many cells it has is not known then.
    """
    taken, found = list[tuple[bytes, int]](), list[Line]()
    for block, line in blocks:
        taken.append((block, line))
        at = 0
        while len(found) < _SAMPLE_LINES and at < len(block):
            end = block.find(b"\n", at)
            end = len(block) if end < 0 else end
            text = block[at : min(end, at + _SAMPLE_SIGNS)].decode("utf-8", "replace")
            if end - at > _SAMPLE_SIGNS:
                # The last cell is cut in two.
                return taken, [*found[:1], (line, _WHOLE_CELLS.sub("", text))], True
            if text.strip():
                found.append((line, text))
            line, at = line + 1, end + 1
        if len(found) >= _SAMPLE_LINES:
            break
    return taken, found, False


def _parse(block: bytes, line: int, reading: Reading, notes: Notes, path: str | Path) -> Array:
    """Return the rows of a block as float64 of shape (n, k)."""
    skipped = reading.header_line - line + 1
    if skipped > 0:
        block, line = b"\n".join(block.split(b"\n", skipped)[skipped:]), reading.header_line + 1
    if not block or block.isspace():
        return np.zeros((0, reading.width))
    values = _parse_plain(block, reading) if block.isascii() else None
    return _parse_lines(block, line, reading, notes, path) if values is None else values


def _parse_plain(block: bytes, reading: Reading) -> Array | None:
    """Return the rows of a block that has nothing but plain numbers; None if it may hold something else.

    numpy's parser is quick, but knows no missing values, and does not say which line is wrong.
    """
    plain = block.replace(b",", b".") if reading.decimal == "," else block
    delimiter = None if reading.separator == " " else reading.separator
    try:
        values: Array = np.loadtxt(io.BytesIO(plain), comments=None, delimiter=delimiter, ndmin=2, encoding="latin1")
    except ValueError:
        return None
    # Infinity may be a number that is too large.
    fits = reading.width in (0, values.shape[1]) and not (np.abs(values) > np.finfo(np.float32).max).any()
    return values if fits else None


def _parse_lines(block: bytes, first: int, reading: Reading, notes: Notes, path: str | Path) -> Array:
    rows = list[list[float]]()
    width = reading.width
    for number, text in enumerate(block.decode("utf-8", "replace").split("\n"), first):
        if not text.strip():
            continue
        cells = split_cells(text, reading.separator)
        width = width or len(cells) - (cells[-1] == "")
        fitted = fit_width(cells, width)
        if fitted is None:
            raise FormatError(f"{path}: {ragged(number, text, len(cells), width)}")
        try:
            rows.append([parse_cell(cell, reading.decimal) for cell in fitted])
        except ValueError as error:
            raise FormatError(f"{path}: line {number}: {error} in {text[:60]!r}; expected numbers") from None
        notes.look_at_cells(fitted, number, sum(map(is_missing, islice(fitted, notes.first_column, None))))
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)
