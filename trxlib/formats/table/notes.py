"""What is to be said of a table when it has been read: values missing or rounded, and a column that only counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DataLossWarning, FormatError, HeaderWarning, warn
from trxlib.formats.table.reading import Reading

__all__ = ["Notes", "warn_of_lost_integers"]

Array = npt.NDArray[Any]
_INDEX_NAMES = ("", "index", "id", "unnamed: 0")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
#: Up to here float32 and float64 hold every whole number.
_FLOAT32_WHOLE, _FLOAT64_WHOLE = 2**24, 2**53
#: From so many rows on it is no chance that a column counts them.
_FEW = 3


class Notes:
    """Looks at the numbers of a table while they pass.

    Parameters
    ----------
    reading : Reading
        How the table is read.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        has_row_names = bool(reading.names) and len(reading.names) < reading.width
        self._name = "" if has_row_names else reading.names[0].lower() if reading.names else None
        self._is_index = reading.width > 1 and self._name in _INDEX_NAMES
        #: Where values begin: behind what is called an index.
        self.first_column = int(self._is_index)
        self._counts = [reading.width > 1, reading.width > 1]
        self._index: list[Array] = []
        self._missing, self._first_missing = 0, 0
        self._lost, self._first_lost = 0, ""

    def look_at_cells(self, cells: Sequence[str], line: int, missing: int) -> None:
        """Look at the cells of a line, of which some are missing."""
        if missing:
            self._first_missing = self._first_missing or line
            self._missing += missing
        for cell in cells[self.first_column :]:
            # What is larger has been rounded to float64 already.
            if len(cell) > 15 and _INTEGER.fullmatch(cell) and abs(int(cell)) > _FLOAT64_WHOLE:
                self._lose(int(cell) != int(np.float32(int(cell))), f"{cell} in line {line}")

    def look(self, values: Array, row: int) -> Array:
        """Look at rows, float64 of shape (n, k), of which the first has the number `row`; return them as float32."""
        result = np.ascontiguousarray(values, dtype=np.float32)
        own, cast = values[:, self.first_column :], result[:, self.first_column :]
        if own.size and np.nanmax(np.abs(own), initial=0) > _FLOAT32_WHOLE:
            with np.errstate(invalid="ignore"):
                size = np.abs(own)
                lost = (own != cast) & (own == np.floor(own)) & (size <= _FLOAT64_WHOLE)
            if lost.any():
                at = int(np.argmax(lost.any(axis=1)))
                value = own[at][lost[at]][0]
                self._lose(int(lost.sum()), f"{value:.0f} in row {row + at}")
        if self._counts[0] or self._counts[1]:
            numbers = np.arange(row, row + len(values))
            for start in (0, 1):
                self._counts[start] &= bool((values[:, 0] == numbers + start).all())
        if self._is_index:
            self._index.append(values[:, 0].copy())
        return result

    def finish(self, values: Array, path: str | Path) -> Array:
        """Say what was found, and return the values without an index.

        Raises
        ------
        FormatError
            If an index says that the rows stand in another order.
        """
        if self._missing:
            warn(
                f"{path}: {self._missing} values are missing, the first in line {self._first_missing}; they become NaN",
                HeaderWarning,
            )
        warn_of_lost_integers(path, self._lost, self._first_lost)
        if len(values) and (self._counts[0] or self._counts[1]):
            start = 0 if self._counts[0] else 1
            numbers = f"the first column counts the rows from {start}"
            if self._is_index:
                warn(f"{path}: {numbers}, as an index does; it is left out", HeaderWarning)
                return np.ascontiguousarray(values[:, 1:])
            if len(values) >= _FEW:
                warn(
                    f"{path}: {numbers}, and is kept as a value; if it is an index, take it out, or call it 'index' in "
                    "the first line",
                    HeaderWarning,
                )
        elif self._is_index and len(values):
            self._check_index(path)
        return values

    def _check_index(self, path: str | Path) -> None:
        """Refuse an index that counts in another order; warn of a column that has the name and does not count."""
        index = np.concatenate(self._index)
        ordered = np.sort(index)
        name = f"the first column, {self._name!r}," if self._name else "the first column, which has no name,"
        if any(np.array_equal(ordered, np.arange(start, start + len(index))) for start in (0, 1)):
            raise FormatError(
                f"{path}: {name} counts the rows in another order ({index[0]:.0f} first); bring them into the order of "
                "the streamlines, or take it out"
            )
        warn(f"{path}: {name} does not count the rows, and is kept as a value", HeaderWarning)

    def _lose(self, count: int, first: str) -> None:
        if count:
            self._first_lost = self._first_lost or first
            self._lost += count


def warn_of_lost_integers(path: str | Path, count: int, first: str) -> None:
    """Warn of whole numbers that float32 does not hold; `first` says which is the first, and where."""
    if count:
        warn(
            f"{path}: text becomes float32, which rounds {count} whole numbers, the first {first}; write them as .npy "
            "of an integer type",
            DataLossWarning,
        )
