"""Cells of a line of text, and the numbers in them."""

from __future__ import annotations

import csv
import re

__all__ = ["is_missing", "is_name", "is_number", "parse_cell", "split_cells"]

#: Half-way between the largest float32 and what would be the next: from here on a number becomes infinite.
_FLOAT32_END = 2.0**128 - 2.0**103
_WORD = r"[+-]?(?:inf(?:inity)?|nan)"
_NUMBERS = {
    ".": re.compile(rf"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|{_WORD}", re.IGNORECASE | re.ASCII),
    ",": re.compile(rf"[+-]?\d+(?:,\d+)?(?:e[+-]?\d+)?|{_WORD}", re.IGNORECASE | re.ASCII),
}
#: What programs write for a value that is not there, in lower case. ``nan`` is a number.
_MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "null", "none"))
_BLANKS = re.compile(r"\s+", re.ASCII)
_NUMBER_SIGNS = frozenset("0123456789+-.,;eE \t")
_QUOTED = re.compile(r'"([^"]*)"|(\S+)')


def split_cells(line: str, separator: str) -> list[str]:
    """Return the cells of a line, without the blanks around them and without quotation marks.

    Parameters
    ----------
    line : str
        Without its end.
    separator : str
        One sign; a blank stands for any number of blanks and tabs.
    """
    if '"' not in line:
        # Blanks that do not break stand inside a number: as thousands separators.
        blanks = line.split() if line.isascii() else [cell for cell in _BLANKS.split(line) if cell]
        cells = blanks if separator == " " else line.split(separator)
    elif separator == " ":
        cells = ["".join(pair) for pair in _QUOTED.findall(line)]
    else:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    cells = [cell.strip() for cell in cells]
    if "'" in line:
        cells = [cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == "'" else cell for cell in cells]
    return cells


def is_missing(cell: str) -> bool:
    """Tell whether a cell says that there is no value."""
    return cell.lower() in _MISSING


def is_number(cell: str, decimal: str) -> bool:
    """Tell whether a cell is a number with this decimal sign, perhaps NaN or infinity."""
    return _NUMBERS[decimal].fullmatch(cell) is not None


def is_name(cell: str) -> bool:
    """Tell whether a cell can be the name of a column: a word, and nothing that is meant as a number."""
    if is_missing(cell) or not any(sign.isalpha() for sign in cell) or set(cell) <= _NUMBER_SIGNS:
        return False
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return True
    return False


def parse_cell(cell: str, decimal: str) -> float:
    """Return the number in a cell; NaN for a missing one.

    Raises
    ------
    ValueError
        If it is none, or beyond float32, which text becomes.
    """
    if is_missing(cell):
        return float("nan")
    if not is_number(cell, decimal):
        raise ValueError(f"could not convert string to float: {cell[:40]!r}")
    value = float(cell.replace(",", "."))
    if abs(value) >= _FLOAT32_END and "n" not in cell.lower():
        raise ValueError(f"{cell[:40]} is beyond float32, the type that text becomes")
    return value
