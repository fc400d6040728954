"""How the lines of a text are to be read: what separates columns, what the decimal sign is, whether columns have names.

Each way is tried on the first lines. One that fits alone is taken; where two fit and mean other numbers, nobody knows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trxlib.errors import FormatError
from trxlib.formats.table.cells import is_missing, is_name, is_number, parse_cell, split_cells

__all__ = ["Line", "Reading", "find_reading", "fit_width"]

#: Number of a line, from 1, and its text, or as much of it as has to be seen.
Line = tuple[int, str]
_NAMES = {";": "semicolons", "\t": "tabs", ",": "commas", " ": "blanks"}
#: What only a decimal fraction has: zeros in front, as in 0,05, or a zero with a sign.
_FRACTION = re.compile(r"[+-]?\d+,0\d+|[+-]0,\d+", re.ASCII)


@dataclass(frozen=True)
class Reading:
    """A way to read lines of text.

    Parameters
    ----------
    separator : str
        One sign; a blank stands for any number of blanks and tabs.
    decimal : str
        ``.`` or ``,``.
    width : int
        Cells of each line.
    names : tuple of str
        Of the columns, if the first line has them; one less than `width` where R has given the rows names, too.
    header_line : int
        Number of that line; 0 for none.
    """

    separator: str
    decimal: str
    width: int
    names: tuple[str, ...] = ()
    header_line: int = 0


@dataclass(frozen=True)
class _Misfit:
    """Why a way to read does not fit, and behind how many lines that is seen."""

    lines: int
    text: str


def find_reading(lines: Sequence[Line], path: str | Path) -> Reading | None:
    """Return how lines are to be read; None for no lines.

    Parameters
    ----------
    lines : sequence of (int, str)
        The first ones of a text, without comments and without those that are blank.
    path : str or Path
        For messages.

    Raises
    ------
    FormatError
        If no way fits, or two that mean other numbers.
    """
    if not lines:
        return None
    tried = [_try(lines, *way) for way in _ways("\n".join(text for _, text in lines))]
    fitting = [item for item in tried if isinstance(item, Reading)]
    if not fitting:
        misfit = max((item for item in tried if isinstance(item, _Misfit)), key=lambda item: item.lines)
        raise FormatError(f"{path}: {misfit.text}; expected numbers, with one kind of sign between columns")
    points = [item for item in fitting if item.decimal == "."]
    commas = [item for item in fitting if item.decimal == ","]
    if points and commas and points[0].separator == ",":
        return _one_or_two(lines, points[0], commas[0], path)
    return (points or commas)[0]


def _ways(text: str) -> Iterable[tuple[str, str]]:
    """Return pairs of separator and decimal sign that are worth a try, the likelier ones first."""
    separators = [sign for sign in ";\t," if sign in text] + [" "]
    for separator in separators:
        yield separator, "."
    if "," in text:
        for separator in separators:
            if separator != "," or '"' in text:
                yield separator, ","


def _try(lines: Sequence[Line], separator: str, decimal: str) -> Reading | _Misfit:
    """Return the way if it fits all lines."""
    rows = [split_cells(text, separator) for _, text in lines]
    names: tuple[str, ...] = ()
    if any(map(is_name, rows[0])) or _are_column_numbers(rows):
        names = tuple(rows[0][:-1] if rows[0][-1] == "" and len(rows[0]) > 1 else rows[0])
    body = rows[1:] if names else rows
    width = _width_of(body, names)
    if decimal == "," and names and "," in lines[0][1] and '"' not in lines[0][1]:
        return _Misfit(0, f"line {lines[0][0]}, {lines[0][1][:60]!r}: commas separate names, but not the rows")
    for done, ((number, text), row) in enumerate(zip(lines[1 if names else 0 :], body, strict=True), 1):
        if fit_width(row, width) is None:
            return _Misfit(done, ragged(number, text, len(row), width))
        for cell in row:
            if not (is_missing(cell) or is_number(cell, decimal)):
                try:
                    parse_cell(cell, decimal)
                except ValueError as error:
                    return _Misfit(done, f"line {number}: {error} in {text[:60]!r}")
    if separator == " " and width == 1:
        names = (" ".join(names),) if names else ()
    if names and body and len(names) != width and not _has_row_names(lines[1:], names, width, separator):
        return _Misfit(
            1, f"line {lines[0][0]} names {len(names)} columns, {lines[0][1][:60]!r}, and the rows have {width}"
        )
    if separator == "\t" and any(all(row[at] == "" for row in body) for at in range(width)) and body:
        return _Misfit(len(body), f"line {lines[-1][0]}: nothing between two tabs")
    return Reading(separator, decimal, width, names, lines[0][0] if names else 0)


def _width_of(rows: Sequence[list[str]], names: Sequence[str]) -> int:
    """Return how many cells the lines have: the most of any if that fits all, else as many as most of them have."""
    widths = [len(row) - (row[-1] == "" and len(row) > 1) for row in rows] or [len(names)]
    # A column of which all cells are empty counts if it has a name.
    widest = max(widths) + (bool(names) and max(widths) == len(names) - 1 and all(row[-1] == "" for row in rows))
    if all(fit_width(row, widest) for row in rows):
        return widest
    return Counter(widths).most_common(1)[0][0]


def fit_width(row: list[str], width: int) -> list[str] | None:
    """Return a row of so many cells, without one behind a separator at its end; None if it has others."""
    if len(row) == width + 1 and row[-1] == "":
        return row[:-1]
    return row if len(row) == width else None


def ragged(number: int, text: str, found: int, width: int) -> str:
    """Say that a line has other cells than the others."""
    return f"line {number} has {found} numbers, expected {width} as in the other lines: {text[:60]!r}"


def _are_column_numbers(rows: Sequence[list[str]]) -> bool:
    """Tell whether the first line is what pandas writes over columns without names: nothing, then 0, 1, 2."""
    first = rows[0]
    if len(first) < 2 or len(rows) < 2:
        return False
    return first == ["", *map(str, range(len(first) - 1))] and rows[1][0] in ("0", "1")


def _has_row_names(lines: Sequence[Line], names: Sequence[str], width: int, separator: str) -> bool:
    """Tell whether R has given the rows names, above which nothing stands: their numbers."""
    quoted = all(text.lstrip().startswith('"') for _, text in lines)
    if len(names) != width - 1 or not (quoted or separator in " \t"):
        return False
    return all(split_cells(text, separator)[0] == str(at) for at, (_, text) in enumerate(lines, 1))


def _one_or_two(lines: Sequence[Line], columns: Reading, commas: Reading, path: str | Path) -> Reading:
    """Decide whether pairs like 0,917155 are one number with a decimal comma, or two columns."""
    if columns.header_line:
        return columns if "," in lines[0][1] else commas
    if any(_FRACTION.fullmatch(text.strip()) for _, text in lines):
        return commas
    number, text = lines[0]
    raise FormatError(
        f"{path}: line {number}, {text.strip()[:60]!r}, is one number with a decimal comma, or two columns; write "
        "decimal points, or separate columns by semicolons, or name the columns in the first line"
    )
