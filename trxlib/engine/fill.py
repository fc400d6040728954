"""Fill: copy inputs into their own rows of a planned container, and say which bytes were written.

Nobody else's rows are touched, so threads, processes and cluster jobs fill side by side, and a job that died is
simply run again. Every range written is told with its CRC-32.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.container.crc import crc_of_bytes
from trxlib.container.partial import Target
from trxlib.container.scattered import RunsOfRows
from trxlib.engine.plan import InputPlan, Plan, stamp_of
from trxlib.engine.receipt import Range, ReadInput, Receipt, merge_ranges
from trxlib.errors import ArchiveError, FormatError, ShapeError, StaleError
from trxlib.model.chunk import Chunk, placed
from trxlib.model.dtypes import cast
from trxlib.model.names import ArrayName
from trxlib.model.offsets import join_neighbours
from trxlib.model.rules import check_members
from trxlib.model.source import ArrayBlocks, Progress, Source, StoredBytes
from trxlib.parallel import run_each, threads_for

__all__ = ["Opener", "fill_inputs", "fill_shard"]

T = TypeVar("T")
Array = npt.NDArray[Any]
#: Opens an input when its turn comes; called with its number and plan, in the worker's thread.
Opener = Callable[[int, InputPlan], Source]
#: Bytes and CRC of what was written, bytes and CRC of what was read for it.
_Written = tuple[int, int, int, int]
_STEP = 1 << 17  # rows of offsets, members or NaN written at a time
_BLOCK_BYTES, _BLOCK_RUNS = 1 << 21, 4096  # gathered at a time, so that they are still in the cache for their CRC


def fill_inputs(
    plan: Plan,
    target: Target,
    opener: Opener,
    *,
    shard: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Range]:
    """Copy inputs of a plan into the container under construction.

    Parameters
    ----------
    plan : Plan
        Says which rows each input owns.
    target : Target
        The container under construction.
    opener : callable
        Called with an input's number and plan, returns the opened source; called in the worker's thread.
    shard : int, optional
        Which part of the plan; by default all.
    workers : int
        Threads. The result does not depend on it.
    progress : callable, optional
        Called with vertex bytes done and in all.

    Returns
    -------
    list of Range
        What was written, neighbours joined.

    Raises
    ------
    StaleError
        If an input is not the one that was planned with.
    FormatError
        If an input is not what its header says.
    """
    filled = _fill_all(plan, target, opener, shard, workers, progress)
    return merge_ranges(piece for ranges in filled for piece in ranges)


def fill_shard(
    plan: Plan, target: Target, opener: Opener, shard: int, *, workers: int = 1, progress: Progress | None = None
) -> Receipt:
    """Fill one part of a plan whose inputs are files, and return the receipt for it.

    See `fill_inputs`. A shard may be filled again at any time, also beside another process that does the same: both
    write the same bytes.
    """
    read: dict[int, ReadInput] = {}

    def note(number: int, source: Source) -> None:
        stamp = plan.inputs[number].stamp
        if stamp is not None:
            read[number] = ReadInput(tuple(stamp), source.info.format, source.fingerprint())

    filled = _fill_all(plan, target, opener, shard, workers, progress, note)
    ranges = merge_ranges(piece for ranges in filled for piece in ranges)
    return Receipt(plan.id, shard, tuple(ranges), tuple(read[number] for number in sorted(read)))


def _fill_all(
    plan: Plan,
    target: Target,
    opener: Opener,
    shard: int | None,
    workers: int,
    progress: Progress | None,
    note: Callable[[int, Source], object] | None = None,
) -> list[list[Range]]:
    """Fill inputs side by side; `note` is called with the number of each, and the source that it was filled from."""
    if shard is not None and not 0 <= shard < len(plan.shards):
        raise StaleError(f"the plan has {len(plan.shards)} shards, there is no shard {shard}; run the workflow again")
    low, high = (0, len(plan.inputs)) if shard is None else plan.shards[shard]
    total = sum(item.nb_vertices for item in plan.inputs[low:high]) * 3 * plan.positions_dtype.itemsize
    tick = _Ticker(progress, total)
    share = max(1, min(workers, high - low))

    def fill_one(number: int) -> list[Range]:
        item = plan.inputs[number]
        _check_stamp(item)
        source = opener(number, item)
        try:
            with naming(item):
                _check_counts(item, source)
                ranges = _InputFiller(plan, item, target, tick, share).fill(source)
            _check_stamp(item)  # replaced while it was read
            if note is not None:
                note(number, source)
            return ranges
        finally:
            if item.stamp is not None:
                source.close()

    filled: list[list[Range]] = []
    run_each(iter(range(low, high)), fill_one, filled.append, threads=share)
    return filled


def _check_stamp(item: InputPlan) -> None:
    if item.stamp is not None and stamp_of(item.path, item.options) != tuple(item.stamp):
        raise StaleError(f"{item.path}: was changed since the plan was made; plan again (run the workflow again)")


@contextmanager
def naming(item: InputPlan) -> Iterator[None]:
    """Put the input's file in front of an error's message."""
    try:
        yield
    except (FormatError, StaleError) as error:
        what = item.path or (f"input {item.name}" if item.name.isdigit() else item.name)
        if not str(error).startswith(what):
            error.args = (f"{what}: {error}",)
        raise


def _check_counts(item: InputPlan, source: Source) -> None:
    info = source.info
    if (info.nb_streamlines, info.nb_vertices) != (item.nb_streamlines, item.nb_vertices):
        raise StaleError(
            f"has {info.nb_streamlines} streamlines and {info.nb_vertices} vertices, {item.nb_streamlines} and "
            f"{item.nb_vertices} were planned; plan again"
        )


class _Ticker:
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


class _Cursor:
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
        data = np.ascontiguousarray(cast(rows, self.name.dtype, self.name.label))
        place = self._place(row, data.nbytes)
        return data.nbytes, self.target.write(self.path, place, data)

    def put_runs(self, row: int, runs: RunsOfRows) -> tuple[int, int]:
        """Do the same with runs of rows, which have the entry's type."""
        nbytes = int(runs.lengths.sum()) * runs.row_nbytes
        return nbytes, self.target.gather(self.path, self._place(row, nbytes), runs)

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


class _InputFiller:
    """Fills the rows of one input; `share` others are at work at the same time."""

    def __init__(self, plan: Plan, item: InputPlan, target: Target, tick: _Ticker, share: int) -> None:
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

    def _cursor(self, name: ArrayName) -> _Cursor:
        item = self.item
        match name.section:
            case "groups":
                first, count = item.groups[name.name]
            case "positions" | "dpv":
                first, count = item.first_vertex, item.nb_vertices
            case _:  # the closing offset is written by the seal
                first, count = item.first_streamline, item.nb_streamlines
        return _Cursor(self.target, name, first, count)

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
        found = source.runs_in_memory(name.section, name.name) if is_same else None
        if found is not None:
            # Straight from where they lie.
            runs = _blocks(RunsOfRows(found[0], *found[1]))
            self._write_parts(cursor, runs, lambda item: (*cursor.put_runs(*item), 0, 0))
            return cursor.end()
        blocks = source.blocks(name.section, name.name)
        return None if blocks is None else self._fill_blocks(blocks, cursor)

    def _fill_offsets(self, source: Source, cursor: _Cursor) -> Range | None:
        parts = source.starts()
        if parts is None:
            return None
        for starts in parts:
            cursor.write(self._shifted(starts, self.item.first_vertex, cursor.name))
        return cursor.end()

    def _shifted(self, numbers: Array, first: int, name: ArrayName) -> Array:
        """Return numbers of the input as those of the result, whose type the plan has chosen to hold them all."""
        return (numbers.astype(np.int64, copy=False) + first).astype(name.dtype)

    def _fill_blocks(self, blocks: ArrayBlocks, cursor: _Cursor) -> Range:
        stated, dtype = blocks.stated, cursor.name.dtype

        def put(item: tuple[int, Array]) -> _Written:
            row, block = item
            rows = blocks.convert(block, row)
            nbytes, crc = cursor.put(row, rows)
            if stated is None or (rows is block and block.dtype == dtype):
                return nbytes, crc, nbytes, crc
            return nbytes, crc, block.nbytes, crc_of_bytes(block)

        read = self._write_parts(cursor, _numbered(blocks.parts), put)
        if stated is not None and read != stated.crc:
            raise _damaged(stated, read)
        blocks.end()
        return cursor.end()

    def _write_parts(self, cursor: _Cursor, parts: Iterator[T], put: Callable[[T], _Written]) -> int:
        """Write the parts of an array in several threads; return the CRC of what was read for it."""
        read = 0

        def add(written: _Written) -> None:
            nonlocal read
            cursor.add(*written[:2])
            read = isal_zlib.crc32_combine(read, written[3], written[2])
            self._tick(cursor.name, written[0])

        run_each(parts, put, add, threads=threads_for(cursor.nbytes, self.share))
        return read

    def _copy(self, stored: StoredBytes, cursor: _Cursor) -> Range:
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

    def _fill_nan(self, cursor: _Cursor) -> Range:
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

    def _fill_chunks(self, source: Source, cursors: dict[tuple[str, str], _Cursor]) -> list[Range]:
        """Read the source from front to back and write all arrays that are left side by side."""

        def put(item: tuple[Chunk, int, int]) -> list[tuple[_Cursor, int, int]]:
            return self._put_chunk(*item, cursors)

        def add(written: list[tuple[_Cursor, int, int]]) -> None:
            for cursor, nbytes, crc in written:
                cursor.add(nbytes, crc)
                self._tick(cursor.name, nbytes)

        run_each(placed(source.chunks()), put, add, threads=threads_for(source.info.nbytes, self.share))
        return [cursor.end() for cursor in cursors.values()]

    def _put_chunk(
        self, chunk: Chunk, streamline: int, vertex: int, cursors: dict[tuple[str, str], _Cursor]
    ) -> list[tuple[_Cursor, int, int]]:
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


def _numbered(parts: Iterator[Array]) -> Iterator[tuple[int, Array]]:
    """Yield each part with the number of its first row."""
    row = 0
    for part in parts:
        yield row, part
        row += len(part)


def _blocks(runs: RunsOfRows) -> Iterator[tuple[int, RunsOfRows]]:
    """Yield some runs at a time, with the row at which they are written; a long run comes in pieces."""
    most = max(1, _BLOCK_BYTES // runs.row_nbytes)
    row = 0
    for first in range(0, len(runs.starts), _STEP):
        starts, lengths = join_neighbours(runs.starts[first : first + _STEP], runs.lengths[first : first + _STEP])
        ends = np.cumsum(lengths)
        low = done = 0
        while low < len(ends):
            high = min(int(np.searchsorted(ends, done + most, side="right")), low + _BLOCK_RUNS)
            if high > low:
                yield row + done, RunsOfRows(runs.data, starts[low:high], lengths[low:high])
            else:
                high = low + 1
                for cut in range(0, int(lengths[low]), most):
                    piece = np.array([min(most, int(lengths[low]) - cut)], dtype=np.int64)
                    yield row + done + cut, RunsOfRows(runs.data, starts[low:high] + cut, piece)
            low, done = high, int(ends[high - 1])
        row += done
