"""A file of MRtrix under construction: tracks (TCK) or track scalars (TSF)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.scattered import RunsOfRows
from trxlib.errors import HeaderWarning, warn
from trxlib.formats.output_file import Output
from trxlib.model.chunk import Chunk

__all__ = ["MrtrixFile", "header_lines"]

Array = npt.NDArray[Any]
_COUNT_DIGITS = 10
#: Keys that tell of the bytes that are written, not of those that were read.
_OWN = ("datatype", "file", "count", "timestamp")


class MrtrixFile:
    """A TCK or TSF under construction.

    Its header is written twice, first to know where the data begin: what stands in `fields` may be another value at the
    end, of as many characters.
    """

    def __init__(self, output: Output, magic: bytes, fields: list[tuple[str, object]], dtype: Any, ncols: int) -> None:
        self._output, self._magic, self._fields = output, magic, fields
        self._dtype, self._ncols = np.dtype(dtype), ncols
        #: Streamlines written, for the header.
        self.count = 0
        self._row_bytes = ncols * self._dtype.itemsize
        self._start = output.put(0, self._header())

    def put(self, rows: Array, chunk: Chunk, streamline: int, vertex: int) -> None:
        """Write the rows of a chunk's streamlines, a NaN row behind each, to their place."""
        values = np.ascontiguousarray(rows, dtype=self._dtype)
        lengths = chunk.lengths.astype(np.int64)
        none, one = np.zeros(len(lengths), dtype=np.int64), np.ones(len(lengths), dtype=np.int64)
        delimiter = np.full((1, self._ncols), np.nan, dtype=self._dtype)
        parts = [RunsOfRows(values, np.cumsum(lengths) - lengths, lengths), RunsOfRows(delimiter, none, one)]
        self._output.put_runs(self._start + (streamline + vertex) * self._row_bytes, parts)

    def finish(self, vertices: int) -> None:
        """Write the end marker of tracks (scalars have none), and the count into the header."""
        if self._ncols > 1:
            end = np.full(self._ncols, np.inf, dtype=self._dtype)
            self._output.put(self._start + (self.count + vertices) * self._row_bytes, end)
        self._output.put(0, self._header())

    def _header(self) -> bytes:
        datatype = "Float64LE" if self._dtype.itemsize == 8 else "Float32LE"
        lines = [self._magic.decode(), *(f"{key}: {value}" for key, value in self._fields), f"datatype: {datatype}"]
        lines.append(f"count: {self.count:0{_COUNT_DIGITS}d}")
        text = "\n".join(lines).encode() + b"\nfile: . "
        # The offset counts its own digits.
        offset = len(text) + len(b"\nEND\n")
        while offset != (total := len(text) + len(str(offset)) + len(b"\nEND\n")):
            offset = total
        return text + f"{offset}\nEND\n".encode()


def header_lines(facts: Mapping[str, Any], path: str) -> list[tuple[str, object]]:
    """Return header lines: a list gives a repeated key, and so does a value of several lines.

    MRtrix crashes on a key without a value: such lines are left out, with a warning.
    """
    lines: list[tuple[str, object]] = []
    empty: list[str] = []
    for key, value in facts.items():
        if key in _OWN or ":" in key or "\n" in key:
            continue
        for item in value if isinstance(value, list) else [value]:
            for part in str(item).split("\n"):
                if part.strip():
                    lines.append((key, part))
                elif key not in empty:
                    empty.append(key)
    if empty:
        warn(
            f"{path}: header lines without a value are left out, since MRtrix cannot read them: {', '.join(empty)}",
            HeaderWarning,
        )
    return lines
