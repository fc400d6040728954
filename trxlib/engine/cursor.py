"""Where the rows of one input go: its own range of an entry, written in parts by several threads, and counted."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.container.partial import Target
from trxlib.engine.receipt import Range
from trxlib.errors import FormatError
from trxlib.model.dtypes import cast
from trxlib.model.names import ArrayName
from trxlib.model.source import Progress

__all__ = ["Cursor", "Ticker"]

Array = npt.NDArray[Any]


class Ticker:
    """Adds up the progress of several threads."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress = progress
        self.total = total
        self.done = 0
        self.lock = threading.Lock()

    def add(self, nbytes: int) -> None:
        if self.progress is not None:
            with self.lock:
                self.done += nbytes
                self.progress(self.done, self.total)


class Cursor:
    """An input's rows of one entry, written one part after the other, or each part at its place."""

    def __init__(self, target: Target, name: ArrayName, first_row: int, nb_rows: int) -> None:
        self.target = target
        self.name = name
        self.path = name.path
        self.start = first_row * name.row_nbytes
        self.nbytes = nb_rows * name.row_nbytes
        self.done = 0
        self.crc = 0

    @property
    def left(self) -> int:
        """Bytes to come."""
        return self.nbytes - self.done

    def write(self, rows: Array) -> None:
        """Write the next rows, converted to the entry's type; refuses more than the input owns."""
        self.add(*self.put(self.done // self.name.row_nbytes, rows))

    def put(self, row: int, rows: Array) -> tuple[int, int]:
        """Write rows from the input's row `row` on, and return their bytes and CRC for `add`; safe in any thread."""
        if not rows.size:
            return 0, 0
        data = np.ascontiguousarray(cast(rows, self.name.dtype, self.name.label, integers="exact"))
        place = self._place(row, data.nbytes)
        return data.nbytes, self.target.write(self.path, place, data)

    def add(self, nbytes: int, crc: int) -> None:
        """Count what `put` has written; called in the order of the rows."""
        self.crc = isal_zlib.crc32_combine(self.crc, crc, nbytes) if self.done else crc
        self.done += nbytes

    def end(self) -> Range:
        """Return what was written; refuses less than the input owns."""
        if self.left:
            rows = self.left // self.name.row_nbytes
            raise FormatError(f"{self.name.label} ends {rows} rows before the end that the header states")
        return Range(self.path, self.start, self.done, self.crc)

    def _place(self, row: int, nbytes: int) -> int:
        first = row * self.name.row_nbytes
        if first + nbytes > self.nbytes:
            raise FormatError(f"{self.name.label} goes on after the last row that the header states")
        return self.start + first
