"""TCK files of MRtrix as a source. Vertices are RASMM; a NaN triplet ends a streamline, an infinite one the file.

The data are delimited, so that streamlines can be counted, and a small file's are. In a large file, the header's
count and the size of the file give the number of vertices without reading any; that a count is wrong is then found
on the way, and the file has to be opened again with its delimiters counted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.mapping import open_stamped
from trxlib.errors import CountError, FormatError, HeaderWarning, InputError, warn
from trxlib.formats.input_file import InputFile, Slices, counted_chunks
from trxlib.formats.stream import Stream
from trxlib.formats.tck.header import TckHeader, read_tck_header
from trxlib.model.chunk import Chunk
from trxlib.model.source import Progress, SourceInfo
from trxlib.model.space import Space
from trxlib.spaces.grid import Grid
from trxlib.spaces.placing import place_result
from trxlib.spaces.positions import PositionsMap, working_dtype

__all__ = ["DelimitedRows", "TckSource"]

Array = npt.NDArray[Any]
#: Smaller files are counted: that is done before anybody notices.
_COUNT_BYTES = 64 << 20


class TckSource(Stream):
    """A TCK file: float32 or float64, either byte order, plain or gzip.

    Parameters
    ----------
    path : str or Path
        The file.
    reference : Space
        Space of the result; the format has none of its own.
    transform : ndarray, float64 of shape (4, 4), optional
        RASMM to RASMM, applied in the same pass.
    positions_dtype : dtype, optional
        float16, float32 or float64: what the positions will become, by default that of the file. They are yielded in
        the wider one of both, at least as float32.
    accept_count_mismatch : bool
        Count the streamlines of large files, too, and take a file that lacks its end marker and streamlines that
        its header counts, with a warning.
    trust_count : bool, optional
        Take the header's count where the size of the file allows it; `chunks` raises CountError if it is wrong.
        With False the delimiters are counted first, which costs as much as copying the file. By default only
        files beyond 64 MB are trusted.

    Raises
    ------
    InputError
        Without a reference.
    FormatError
        If the header is impossible or the data are truncated.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        reference: Space | None = None,
        transform: npt.NDArray[np.float64] | None = None,
        positions_dtype: npt.DTypeLike | None = None,
        accept_count_mismatch: bool = False,
        trust_count: bool | None = None,
    ) -> None:
        self._file = InputFile(path)
        self.header = read_tck_header(self._file)
        if reference is None:
            raise InputError(
                f"{self._file.path}: a TCK file has no affine and no dimensions; give a reference (the image that it "
                "was made from, or a TRK or TRX file in the same space)"
            )
        self._rows = DelimitedRows(self._file, self.header, 3)
        is_big = self._file.nbytes > _COUNT_BYTES
        trusted = is_big and not accept_count_mismatch if trust_count is None else trust_count
        counts = self._rows.expected_counts() if trusted else None
        self.trusts_count = counts is not None
        nb_streamlines, nb_vertices = counts or self._rows.count(accept=accept_count_mismatch)
        space, matrix = place_result(self._file.path, reference, reference, transform)
        self._map = PositionsMap(matrix, working_dtype(positions_dtype, self.header.dtype), self._file.path)
        self._grid = Grid(space, self._file.path)
        self.info = SourceInfo(
            path=self._file.path,
            format="tck",
            space=space,
            nb_streamlines=nb_streamlines,
            nb_vertices=nb_vertices,
            positions_dtype=self._map.dtype,
            nbytes=self._file.nbytes,
            facts=self.header.facts(),
        )

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield all streamlines in order.

        Raises
        ------
        CountError
            If the header's count was trusted and is wrong; open the source again with ``trust_count=False``.
        FormatError
            If the data are truncated, or something follows their end.
        """
        streamlines, vertices = yield from counted_chunks(self._parts(), self._file, self.info, progress)
        if (streamlines, vertices) != (self.info.nb_streamlines, self.info.nb_vertices):
            raise CountError(
                f"{self._file.path}: the header counts {self.info.nb_streamlines} streamlines, the data hold others; "
                "have them counted first (accept_count_mismatch, or trust_count=False)"
            )

    def _parts(self) -> Generator[tuple[Array, Callable[[], Chunk], int], None, None]:
        for rows, ends, done in self._rows.iterate():
            lengths = np.diff(ends, prepend=-1) - 1
            yield lengths, partial(self._make_chunk, rows, ends, lengths), done

    def _make_chunk(self, rows: Array, ends: Array, lengths: Array) -> Chunk:
        positions = self._map.apply(self._rows.without_delimiters(rows, ends))
        return Chunk(lengths, positions, is_inside=self._grid.contains(positions))

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the file; free after `chunks` has ended."""
        return self._file.fingerprint()


@dataclass
class _Scan:
    """What was met so far: `pending` rows since the last delimiter have been yielded already."""

    byte: int
    streamlines: int = 0
    pending: int = 0
    ended: bool = False


class DelimitedRows:
    """The data of a TCK or TSF file: rows of numbers, an all-NaN row after each streamline, an infinite one at the end.

    Parameters
    ----------
    file : InputFile
        What to read.
    header : TckHeader
        Says type and place.
    ncols : int
        3 for vertices, 1 for scalars.
    """

    def __init__(self, file: InputFile, header: TckHeader, ncols: int) -> None:
        self._file, self._header, self._ncols = file, header, ncols
        self._native = header.dtype.newbyteorder("<")
        self._row_bytes = ncols * header.dtype.itemsize
        #: Where the end marker is missing; 0 if it is not.
        self._byte = 0

    def expected_counts(self) -> tuple[int, int] | None:
        """Return the numbers of streamlines and rows by the header's count and the size, or None without these."""
        content, count = self._file.content_nbytes, self._header.count
        if content is None or count is None:
            return None
        rows, odd = divmod(content - self._header.data_start, self._row_bytes)
        if odd or rows < count + 1 or not np.isinf(self._last_row()).all():
            return None
        return count, rows - count - 1

    def _last_row(self) -> Array:
        with open_stamped(self._file.path, self._file.stamp) as stream:
            stream.seek(self._file.nbytes - self._row_bytes)
            return np.frombuffer(stream.read(), dtype=self._header.dtype)

    def count(self, *, accept: bool = True) -> tuple[int, int]:
        """Return the numbers of streamlines and rows, and warn where the header counts others.

        With `accept` False, a file without end marker that lacks streamlines is refused: it has been cut.

        Raises
        ------
        FormatError
            If the data are truncated, or something follows their end.
        """
        streamlines = rows_seen = 0
        for rows, ends, _ in self._slices():
            streamlines += len(ends)
            rows_seen += len(rows)
        count = self._header.count
        if count != streamlines:
            if count is not None and self._byte and count > streamlines and not accept:
                raise CountError(
                    f"{self._file.path}: the header counts {count} streamlines, the data hold {streamlines} and no end "
                    f"marker at byte {self._byte}; the file has been cut: write it again, or accept the streamlines "
                    "that are there (accept_count_mismatch)"
                )
            stated = dict(self._header.fields).get("count") if count is None else str(count)
            said = f"counts {stated[:40]} streamlines" if stated else "has no count"
            self._warn(f"the header {said}, the data hold {streamlines}; the data are followed")
        # MRtrix itself gives track scalars no end marker.
        if self._byte and self._ncols > 1:
            self._warn(
                f"the end marker is missing at byte {self._byte}; the {streamlines} streamlines before it are "
                "whole and taken"
            )
        return streamlines, rows_seen - streamlines

    def _warn(self, text: str) -> None:
        warn(f"{self._file.path}: {text}", HeaderWarning)

    def iterate(self) -> Iterator[tuple[Array, Array, int]]:
        """Yield rows that end with a delimiter, which of them are delimiters, and the bytes of the file read."""
        pieces: list[Array] = []
        for rows, ends, done in self._slices():
            if not len(ends):
                # A streamline longer than a slice is put together from pieces.
                pieces.append(rows.copy())
                continue
            if pieces:
                ends = ends + sum(map(len, pieces))
                rows = np.concatenate([*pieces, rows])
                pieces = []
            yield rows, ends, done

    def split(self, rows: Array, ends: Array) -> tuple[Array, Array]:
        """Return lengths, and the rows without delimiters in an array of their own."""
        return np.diff(ends, prepend=-1) - 1, self.without_delimiters(rows, ends)

    def without_delimiters(self, rows: Array, ends: Array) -> Array:
        """Return the other rows in an array of their own."""
        mask = np.ones(len(rows), dtype=np.bool_)
        mask[ends] = False
        # One element per row: numpy copies these faster than rows.
        kept = rows.view(np.dtype((np.void, self._row_bytes)))[:, 0][mask]
        return kept.view(self._native).reshape(-1, self._ncols)

    def _slices(self) -> Iterator[tuple[Array, Array, int]]:
        """Yield rows, which of them are delimiters, and the bytes of the file read; check how the data end.

        The last row is a delimiter, and what follows it comes again at the head of the next slice; where a slice
        has no delimiter, all of it is yielded.
        """
        swap = None if self._header.dtype.str[0] == "<" else self._native
        state = _Scan(self._header.data_start)
        carry = np.empty(0, dtype=np.uint8)
        with Slices(self._file, swap_dtype=swap) as slices:
            slices.skip(self._header.data_start)
            self._header.check_start(slices.position)
            while not slices.ended:
                part = slices.next(carry)
                if state.ended and len(part):
                    raise self._after_end(state.byte)
                rows, ends = self._find(part, state)
                if state.ended and state.byte + (len(rows) + 1) * self._row_bytes != slices.position:
                    raise self._after_end(state.byte + (len(rows) + 1) * self._row_bytes)
                whole = len(rows)
                if len(ends):
                    whole, state.pending = int(ends[-1]) + 1, 0
                    if state.ended:
                        state.pending = len(rows) - whole
                else:
                    state.pending += whole
                carry = part[:0] if state.ended else part[whole * self._row_bytes :]
                state.byte += whole * self._row_bytes
                state.streamlines += len(ends)
                if whole:
                    yield rows[:whole], ends, slices.file_done
        self._check_end(state, len(carry))

    def _find(self, part: Array, state: _Scan) -> tuple[Array, Array]:
        """Return the whole rows of `part` before the infinite one, and which of them are delimiters."""
        rows = part[: len(part) // self._row_bytes * self._row_bytes].view(self._native).reshape(-1, self._ncols)
        odd = np.flatnonzero(~np.isfinite(rows[:, 0]))
        values = rows[odd]
        nan = np.isnan(values)
        if nan.all():  # so it is but at the end of the file, and quicker than row by row
            return rows, odd
        ends = odd[nan.all(axis=1)]
        infinite = odd[np.isinf(values).all(axis=1)]
        if len(infinite):
            state.ended = True
            return rows[: infinite[0]], ends[ends < infinite[0]]
        return rows, ends

    def _after_end(self, byte: int) -> FormatError:
        return FormatError(
            f"{self._file.path}: bytes follow the end marker at byte {byte}; they are no part of the tracks, cut them "
            "off"
        )

    def _check_end(self, state: _Scan, left: int) -> None:
        rows, odd = divmod(left, self._row_bytes)
        rows += state.pending
        if rows or odd:
            start = state.byte - state.pending * self._row_bytes
            found = f"{rows} vertices" + (f" and {odd} of {self._row_bytes} bytes" if odd else "")
            raise FormatError(
                f"{self._file.path}: streamline {state.streamlines} at byte {start} has {found} and no end; the "
                "file is truncated"
            )
        # MRtrix itself gives track scalars no end marker.
        if not state.ended:
            self._byte = state.byte
