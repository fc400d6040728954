"""Fill the rows of one input, array by array, each in the way that costs least.

What lies on disk as it is to be written is copied; an array that can be had apart from the others is converted block
by block; what only comes with all others is read from front to back, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.container.crc import crc_of_bytes
from trxlib.container.partial import Target
from trxlib.engine.cursor import Cursor, Ticker
from trxlib.engine.plan import InputPlan, Plan
from trxlib.engine.receipt import Range
from trxlib.errors import ArchiveError, ShapeError
from trxlib.model.chunk import Chunk, placed
from trxlib.model.names import ArrayName
from trxlib.model.rules import check_members
from trxlib.model.source import ArrayBlocks, Source, StoredBytes
from trxlib.parallel import run_each, threads_for

__all__ = ["InputFiller"]

Array = npt.NDArray[Any]
#: Bytes and CRC of what was written, bytes and CRC of what was read for it.
_Written = tuple[int, int, int, int]
_STEP = 1 << 17  # rows of offsets, members or NaN written at a time


class InputFiller:
    """Fills the rows of one input; `share` others are at work at the same time."""

    def __init__(self, plan: Plan, item: InputPlan, target: Target, tick: Ticker, share: int) -> None:
        self.plan = plan
        self.item = item
        self.target = target
        self.tick = tick
        self.share = share

    def fill(self, source: Source) -> list[Range]:
        """Copy everything of `source` and return the ranges written."""
        source.check_entries()
        left = {}
        ranges = []
        for key, name in self.plan.names.items():
            if name.section != "groups":
                written = self._fill_array(source, name)
                if written is None:
                    left[key] = self._cursor(name)
                else:
                    ranges.append(written)
        if left:
            ranges += self._fill_chunks(source, left)
        for group in self.item.groups:
            ranges.append(self._fill_group(source, group))
        return [piece for piece in ranges if piece.nbytes]

    def _cursor(self, name: ArrayName) -> Cursor:
        item = self.item
        match name.section:
            case "groups":
                first, count = item.groups[name.name]
            case "positions" | "dpv":
                first, count = item.first_vertex, item.nb_vertices
            case _:  # the closing offset is written by the seal
                first, count = item.first_streamline, item.nb_streamlines
        return Cursor(self.target, name, first, count)

    def _fill_array(self, source: Source, name: ArrayName) -> Range | None:
        """Write an array apart from the others and in the way that costs least, or return None if there is none."""
        cursor = self._cursor(name)
        if name.section == "offsets":
            return self._fill_offsets(source, cursor)
        columns = {"dps": source.info.dps, "dpv": source.info.dpv}.get(name.section)
        if columns is not None and name.name not in columns:
            return self._fill_nan(cursor)
        is_same = columns is None and source.info.positions_dtype == name.dtype
        if columns is not None:
            is_same = (columns[name.name].ncols, columns[name.name].dtype) == (name.ncols, name.dtype)
        stored = source.stored(name.section, name.name) if is_same else None
        if stored is not None:
            return self._copy(stored, cursor)
        blocks = source.blocks(name.section, name.name)
        return None if blocks is None else self._fill_blocks(blocks, cursor)

    def _fill_offsets(self, source: Source, cursor: Cursor) -> Range | None:
        parts = source.starts()
        if parts is None:
            return None
        for starts in parts:
            cursor.write(self._shifted(starts, self.item.first_vertex, cursor.name))
        return cursor.end()

    def _shifted(self, numbers: Array, first: int, name: ArrayName) -> Array:
        """Return numbers of the input as those of the result, whose type the plan has chosen to hold them all."""
        return (numbers.astype(np.int64, copy=False) + first).astype(name.dtype)

    def _fill_blocks(self, blocks: ArrayBlocks, cursor: Cursor) -> Range:
        stated, dtype = blocks.stated, cursor.name.dtype
        read = 0

        def put(item: tuple[int, Callable[[], Array]]) -> _Written:
            row, make = item
            block = make()
            rows = blocks.convert(block, row)
            nbytes, crc = cursor.put(row, rows)
            if stated is None or (rows is block and block.dtype == dtype):
                return nbytes, crc, nbytes, crc
            return nbytes, crc, block.nbytes, crc_of_bytes(block)

        def add(written: _Written) -> None:
            nonlocal read
            cursor.add(*written[:2])
            read = isal_zlib.crc32_combine(read, written[3], written[2])
            self._tick(cursor.name, written[0])

        run_each(_numbered(blocks.parts), put, add, threads=threads_for(cursor.nbytes, self.share))
        if stated is not None and read != stated.crc:
            raise _damaged(stated, read)
        blocks.end()
        return cursor.end()

    def _copy(self, stored: StoredBytes, cursor: Cursor) -> Range:
        """Copy an array's bytes as they lie on disk."""
        if stored.nbytes != cursor.left:
            raise ShapeError(f"{cursor.name.label} has {stored.nbytes} bytes, {cursor.left} were planned")
        place = cursor.path, cursor.start
        with stored.open() as file:
            if stored.crc is None:
                crc = self.target.copy_counted(*place, file.fileno(), stored.start, stored.nbytes)
            else:
                # What nobody has looked at has the CRC it should have, so that damage stays visible.
                self.target.copy(*place, file.fileno(), stored.start, stored.nbytes)
                crc = stored.crc
        self._tick(cursor.name, stored.nbytes)
        return Range(*place, stored.nbytes, crc)

    def _fill_nan(self, cursor: Cursor) -> Range:
        nb_rows = cursor.left // cursor.name.row_nbytes
        for start in range(0, nb_rows, _STEP):
            cursor.write(np.full((min(_STEP, nb_rows - start), cursor.name.ncols), np.nan, dtype=cursor.name.dtype))
        return cursor.end()

    def _fill_group(self, source: Source, group: str) -> Range:
        cursor = self._cursor(self.plan.names["groups", group])
        first, nb_streamlines = self.item.first_streamline, self.item.nb_streamlines
        if group in self.item.whole:
            for start in range(0, nb_streamlines, _STEP):
                stop = min(start + _STEP, nb_streamlines)
                cursor.write(np.arange(first + start, first + stop, dtype=np.uint32))
            return cursor.end()
        members = source.groups[group]
        for start in range(0, len(members), _STEP):
            part = members[start : start + _STEP]
            check_members(part, nb_streamlines, f"groups/{group}")
            cursor.write(self._shifted(part, first, cursor.name))
        return cursor.end()

    def _fill_chunks(self, source: Source, cursors: dict[tuple[str, str], Cursor]) -> list[Range]:
        """Read the source from front to back and write all arrays that are left side by side."""

        def put(item: tuple[Chunk, int, int]) -> list[tuple[Cursor, int, int]]:
            return self._put_chunk(*item, cursors)

        def add(written: list[tuple[Cursor, int, int]]) -> None:
            for cursor, nbytes, crc in written:
                cursor.add(nbytes, crc)
                self._tick(cursor.name, nbytes)

        run_each(placed(source.chunks()), put, add, threads=threads_for(source.info.nbytes, self.share))
        return [cursor.end() for cursor in cursors.values()]

    def _put_chunk(
        self, chunk: Chunk, streamline: int, vertex: int, cursors: dict[tuple[str, str], Cursor]
    ) -> list[tuple[Cursor, int, int]]:
        """Write one chunk, whose first streamline and vertex in the input are given; return what `put` returns."""
        written = []
        for (section, key), cursor in cursors.items():
            row = streamline
            match section:
                case "positions":
                    row, rows = vertex, chunk.positions
                case "offsets":
                    starts = np.cumsum(chunk.lengths, dtype=np.int64) - chunk.lengths
                    rows = self._shifted(starts, self.item.first_vertex + vertex, cursor.name)
                case "dpv":
                    row, rows = vertex, chunk.dpv[key]
                case _:
                    rows = chunk.dps[key]
            written.append((cursor, *cursor.put(row, rows)))
        return written

    def _tick(self, name: ArrayName, nbytes: int) -> None:
        if name.section == "positions":
            self.tick.add(nbytes)


def _damaged(stored: StoredBytes, found: int) -> ArchiveError:
    return ArchiveError(f"{stored.path} has CRC {found:08x}, {stored.crc:08x} is stated; the file is damaged")


def _numbered(parts: Iterator[tuple[int, Callable[[], Array]]]) -> Iterator[tuple[int, Callable[[], Array]]]:
    """Yield what makes each part, with the number of its first row."""
    row = 0
    for nb_rows, make in parts:
        yield row, make
        row += nb_rows
