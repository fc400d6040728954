"""TRK files as a source: counts from header and size, then streamlines in slices that stay in the cache.

A record is a count word, its vertices with their scalars, its properties.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import CountError, FormatError, HeaderWarning, InputError, warn
from trxlib.formats.input_file import InputFile, Slices, counted_chunks
from trxlib.formats.stream import Stream
from trxlib.formats.trk.header import HEADER_BYTES, TrkHeader, read_trk_header
from trxlib.model.chunk import Chunk
from trxlib.model.source import ArraySpec, Progress, SourceInfo
from trxlib.model.space import Space
from trxlib.spaces.grid import Grid, VoxmmBox
from trxlib.spaces.placing import place_result
from trxlib.spaces.positions import PositionsMap, working_dtype

__all__ = ["TrkSource"]

Array = npt.NDArray[Any]
_FLOAT32 = np.dtype("<f4")
_INT32 = np.dtype("<i4")
#: Words below this may be counts: as float32 they are below 1.5e-39, which no coordinate is but 0.
_COUNT_LIMIT = np.uint32(1 << 20)
#: So many slices in a row with other small words, and they are not searched any more.
_MAX_FAILURES = 4


class TrkSource(Stream):
    """A TRK file, version 1 or 2, either byte order, plain or gzip.

    Parameters
    ----------
    path : str or Path
        The file.
    reference : Space, optional
        Space of the result; complements a header without an affine.
    transform : ndarray, float64 of shape (4, 4), optional
        RASMM to RASMM, applied in the same pass.
    positions_dtype : dtype, optional
        float16, float32 (default) or float64: what the positions will become. They are yielded as float32, or as
        float64 if that is wanted.
    accept_count_mismatch : bool
        Take the records that are there, with a warning, where the header counts others.

    Raises
    ------
    FormatError
        If header or size are impossible; nothing beyond the file's size is allocated.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        reference: Space | None = None,
        transform: npt.NDArray[np.float64] | None = None,
        native: Space | None = None,
        positions_dtype: npt.DTypeLike | None = None,
        accept_count_mismatch: bool = False,
    ) -> None:
        self._file = InputFile(path)
        self.header = read_trk_header(self._file.head(HEADER_BYTES), self._file.path, native or reference)
        if transform is not None and native is None and not self.header.has_affine:
            raise InputError(
                f"{self._file.path}: the header has no affine, and with a transform the reference is that of the "
                "result; name the image that the transform leads from (transform_source), or write the affine into the "
                "file first"
            )
        self._records = _Records(self._file, self.header)
        nb_streamlines, nb_vertices = self._count(accept_count_mismatch)
        space, matrix = place_result(self._file.path, self.header.space, reference, transform)
        self._map = PositionsMap(
            matrix @ self.header.voxmm_to_rasmm, working_dtype(positions_dtype, _FLOAT32), self._file.path
        )
        self._grid = Grid(space, self._file.path)
        # The grid of the result is that of the file, unless a reference says otherwise.
        has_box = reference is None and all(self.header.edges) and not self.header.fields.from_centre
        self._box = self._box_of_file() if has_box else None
        self.info = SourceInfo(
            path=self._file.path,
            format="trk",
            space=space,
            nb_streamlines=nb_streamlines,
            nb_vertices=nb_vertices,
            positions_dtype=self._map.dtype,
            dps={column.key: ArraySpec(column.ncols, _FLOAT32) for column in self.header.properties},
            dpv={column.key: ArraySpec(column.ncols, _FLOAT32) for column in self.header.scalars},
            nbytes=self._file.nbytes,
            facts=self.header.facts(),
            own_space=self.header.space if self.header.has_affine else None,
        )

    def _box_of_file(self) -> VoxmmBox:
        """Return the grid in the file's coordinates, so small that no rounding on the way to RASMM leads out of it."""
        edges = np.array(self.header.edges)
        if self._map.is_diagonal:
            corners = self._map.apply(np.array([np.zeros(3), edges], dtype=np.float32))
            if not len(self._grid.find_outside(corners)):
                return VoxmmBox(edges)
        return VoxmmBox(edges, self._map.largest_rounding(edges))

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield all streamlines in order.

        Raises
        ------
        FormatError
            If a record is impossible or truncated, or there are more or fewer than `info` says; file, byte and
            record are named.
        """
        streamlines, vertices = yield from counted_chunks(self._parts(), self._file, self.info, progress)
        if (streamlines, vertices) != (self.info.nb_streamlines, self.info.nb_vertices):
            raise self._mismatch(streamlines)

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the file; free after `chunks` has ended."""
        return self._file.fingerprint()

    def _parts(self) -> Generator[tuple[Array, Callable[[], Chunk], int], None, None]:
        for found, done in self._records.iterate():
            yield found.lengths, partial(self._make_chunk, found), done

    def _make_chunk(self, found: _Found) -> Chunk:
        records = self._records
        words, starts, lengths = found.words, found.starts, found.lengths
        mask = np.ones(len(words), dtype=np.bool_)
        mask[starts] = False
        dps = {}
        if records.nb_properties:
            where = (starts + 1 + lengths * np.int64(records.width))[:, None] + np.arange(records.nb_properties)
            mask[where] = False
            values = words[where].view(_FLOAT32)
            dps = _split(values, self.header.properties, 0)
        rows = words[mask].view(_FLOAT32).reshape(-1, records.width)
        dpv = _split(rows, self.header.scalars, 3)
        inside = self._box is not None and self._box.contains(rows)
        positions = self._map.apply(rows)
        if self._box is None:
            inside = self._grid.contains(positions)
        return Chunk(lengths, positions, dps, dpv, inside)

    def _count(self, accept: bool) -> tuple[int, int]:
        """Return the numbers of streamlines and vertices: by arithmetic where header and size allow it."""
        stored = self.header.nb_streamlines
        content = self._file.content_nbytes
        if content is not None and (content == HEADER_BYTES or not accept):
            expected = self.header.fields.expected_counts(content)
            if expected is not None:
                return expected
        streamlines, vertices = self._records.count()
        if stored and streamlines != stored:
            if not accept:
                raise self._mismatch(streamlines)
            warn(
                f"{self._file.path}: the header counts {stored} streamlines, the file holds {streamlines}; all of "
                "these are taken",
                HeaderWarning,
            )
        return streamlines, vertices

    def _mismatch(self, found: int) -> CountError:
        counted = self.header.nb_streamlines
        # Where a slice already has too many, what follows it has not been looked at.
        holds = "more" if found > counted else "fewer" if found < counted else "others"
        return CountError(
            f"{self._file.path}: the header counts {counted} streamlines, the file holds {holds} ({found} records up "
            f"to byte {self._records.offset}); it may have been cut or not closed: write it again, or accept the "
            "records that are there (accept_count_mismatch)"
        )


@dataclass
class _Found:
    """Whole records.

    Parameters
    ----------
    words : ndarray of int32
        All of their words.
    starts, lengths : ndarray of integers, shape (n,)
        Where the count of each stands, and the count.
    """

    words: Array
    starts: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.starts)


class _Records:
    """Where the records of a TRK file lie."""

    def __init__(self, file: InputFile, header: TrkHeader) -> None:
        self._file = file
        self._big_endian = header.big_endian
        self._stored = header.nb_streamlines
        self.width = 3 + header.nb_scalars
        self.nb_properties = header.nb_properties
        #: Byte of the content up to which records were found.
        self.offset = HEADER_BYTES
        self._failures = 0

    def _open(self) -> Slices:
        slices = Slices(self._file, swap_dtype=_INT32 if self._big_endian else None)
        slices.take(HEADER_BYTES)
        self.offset = HEADER_BYTES
        return slices

    def iterate(self) -> Iterator[tuple[_Found, int]]:
        """Yield the records of each slice, and the bytes of the file read so far."""
        record, needed = 0, 0
        carry = np.empty(0, dtype=np.uint8)
        with self._open() as slices:
            while not slices.ended:
                part = slices.next(carry, needed)
                words = part[: len(part) // 4 * 4].view(_INT32)
                found = self._find(words)
                end = len(found.words)
                record += len(found)
                self.offset += 4 * end
                needed = self._check_next(words[end:], record, self._file.content_nbytes)
                carry = part[4 * end :]
                yield found, slices.file_done
            self._check_end(len(carry), needed, record)

    def count(self) -> tuple[int, int]:
        """Return the numbers of records and vertices, holding one slice whatever the records say."""
        record = vertices = 0
        passed = length = skip = 0  # of a record whose rest is passed over, not kept
        carry = np.empty(0, dtype=np.uint8)
        with self._open() as slices:
            while not slices.ended:
                part = slices.next(carry)
                jump = min(skip, len(part))
                skip -= jump
                carry = part[:0]
                if skip:
                    continue
                record, vertices, self.offset = record + bool(passed), vertices + length, self.offset + passed
                words = part[jump : jump + (len(part) - jump) // 4 * 4].view(_INT32)
                found = self._find(words)
                end = len(found.words)
                record += len(found)
                vertices += int(found.lengths.sum(dtype=np.int64))
                self.offset += 4 * end
                passed = self._check_next(words[end:], record, self._file.content_nbytes)
                length = int(words[end]) if passed else 0
                rest = part[jump + 4 * end :]
                carry, skip = (part[:0], passed - len(rest)) if passed else (rest, 0)
        self._check_end(passed - skip if passed else len(carry), passed, record)
        return record, vertices

    def _find(self, words: Array) -> _Found:
        """Return the whole records in `words`."""
        # Scalars and properties may be 0, as small as a count; coordinates hardly ever are.
        found = self._find_at_once(words) if self._failures < _MAX_FAILURES else None
        if found is not None:
            self._failures = 0
            return found
        self._failures += 1
        # Unsigned, a negative count is beyond any end. A plain loop touches one word per record.
        view = words.view(np.uint32).data
        width, extra, total = self.width, 1 + self.nb_properties, len(view)
        counts: list[int] = []
        append = counts.append
        position = 0
        while position < total:
            length = view[position]
            append(length)
            position += extra + length * width
        if position > total:
            position -= extra + counts.pop() * width
        lengths = np.array(counts, dtype=np.int32)
        sizes = lengths * np.int64(width) + extra
        return _Found(words[:position], np.cumsum(sizes) - sizes, lengths)

    def _find_at_once(self, words: Array) -> _Found | None:
        """Do the same by a search for words too small for a coordinate; None if these do not form a chain."""
        starts = np.flatnonzero(np.less(words.view(np.uint32), _COUNT_LIMIT))
        if not len(starts) or starts[0]:
            return None
        lengths = words[starts]
        ends = starts + (1 + self.nb_properties) + lengths * np.int64(self.width)
        if not np.array_equal(ends[:-1], starts[1:]) or ends[-1] < len(words):
            return None
        last = len(starts) - (ends[-1] > len(words))
        end = int(ends[last - 1]) if last else 0
        return _Found(words[:end], starts[:last], lengths[:last])

    def _check_next(self, words: Array, record: int, content: int | None) -> int:
        """Return the bytes of the record that begins at `words`, 0 if its count is not there yet."""
        if not len(words):
            return 0
        length = int(words[0])
        needed = 4 * (1 + self.nb_properties + length * self.width)
        where = f"{self._file.path}: record {record} at byte {self.offset}"
        if length < 0 or (content is not None and self.offset + needed > content):
            if self._stored and record >= self._stored:
                raise FormatError(
                    f"{where}: more bytes follow the {self._stored} records that the header counts, and they are no "
                    "record; cut them off"
                )
            found = f"{length} vertices"
            if length >= 0:
                found += f", {needed} bytes, and {(content or 0) - self.offset} bytes are left"
            raise FormatError(
                f"{where} says {found}; the file is truncated or damaged, or n_scalars ({self.width - 3}) or "
                f"n_properties ({self.nb_properties}) is wrong"
            )
        return needed

    def _check_end(self, left: int, needed: int, record: int) -> None:
        if left:
            raise FormatError(
                f"{self._file.path}: record {record} at byte {self.offset} needs {needed or 4} bytes, and the file "
                f"ends after {left} of them; it is truncated, or bytes were added"
            )


def _split(rows: Array, columns: tuple[Any, ...], first: int) -> dict[str, Array]:
    """Copy each named group of columns."""
    return {
        column.key: np.ascontiguousarray(rows[:, first + column.start : first + column.start + column.ncols])
        for column in columns
    }
