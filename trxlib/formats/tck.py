"""TCK files of MRtrix as a source. Vertices are RASMM; a NaN triplet ends a streamline, an infinite one the file.

The data are delimited, so the counts of the header are a hint: the delimiters are counted before anything is
converted, in one pass that costs little more than reading.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError, HeaderWarning, InputError
from trxlib.formats.positions import PositionsMap, check_positions_dtype
from trxlib.formats.reference import place_result
from trxlib.formats.slices import InputFile, Slices
from trxlib.formats.tck_header import TckHeader, read_tck_header
from trxlib.source import Chunk, Progress, SourceInfo
from trxlib.space import Space

__all__ = ["DelimitedRows", "TckSource"]

Array = npt.NDArray[Any]


class TckSource:
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
        float16, float32 or float64; by default that of the file.

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
    ) -> None:
        self._file = InputFile(path)
        self.header = read_tck_header(self._file)
        if reference is None:
            raise InputError(
                f"{self._file.path}: a TCK file has no affine and no dimensions; give a reference (the image that it "
                "was made from, or a TRK or TRX file in the same space)"
            )
        self._rows = DelimitedRows(self._file, self.header, 3)
        nb_streamlines, nb_vertices = self._rows.count()
        space, matrix = place_result(self._file.path, reference, reference, transform)
        default = "float64" if self.header.dtype.itemsize == 8 else "float32"
        self._map = PositionsMap(matrix, check_positions_dtype(positions_dtype, default))
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
        FormatError
            If the file has changed since it was opened.
        """
        streamlines = vertices = 0
        for lengths, rows, done in self._rows.iterate():
            streamlines += len(lengths)
            vertices += len(rows)
            if streamlines > self.info.nb_streamlines or vertices > self.info.nb_vertices:
                break
            if len(lengths):
                yield Chunk(lengths, self._map.apply(rows))
            if progress is not None:
                progress(done, self._file.nbytes)
        if (streamlines, vertices) != (self.info.nb_streamlines, self.info.nb_vertices):
            raise FormatError(
                f"{self._file.path}: {streamlines} streamlines with {vertices} vertices where "
                f"{self.info.nb_streamlines} with {self.info.nb_vertices} were counted; the file is being written to"
            )
        self._map.log_error(self._file.path)

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the file; free after `chunks` has ended."""
        return self._file.fingerprint()


@dataclass
class _Scan:
    """What was met so far."""

    streamlines: int = 0
    vertices: int = 0
    ended: bool = False
    rows: int = 0


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

    def count(self) -> tuple[int, int]:
        """Return the numbers of streamlines and rows, and warn where the header counts others.

        Raises
        ------
        FormatError
            If the data are truncated, or something follows their end.
        """
        scan = _Scan()
        last = 0
        for rows, ends, _ in self._slices(scan):
            scan.streamlines += len(ends)
            scan.vertices += len(rows) - len(ends)
            last = len(rows) - 1 - int(ends[-1]) if len(ends) else last + len(rows)
        self._check_end(scan, last)
        count = self._header.count
        if count != scan.streamlines:
            said = "has no count" if count is None else f"counts {count} streamlines"
            warnings.warn(
                f"{self._file.path}: the header {said}, the data hold {scan.streamlines}; the data are followed",
                HeaderWarning,
                stacklevel=3,
            )
        return scan.streamlines, scan.vertices

    def iterate(self) -> Iterator[tuple[Array, Array, int]]:
        """Yield lengths and rows (without delimiters, in an array of their own) and the bytes of the file read."""
        pieces: list[Array] = []
        item = np.dtype((np.void, self._row_bytes))
        for rows, ends, done in self._slices(_Scan(), keep_tail=True):
            if not len(ends):
                # A streamline longer than a slice is put together from pieces.
                pieces.append(rows.copy())
                continue
            lengths = np.diff(ends, prepend=-1) - 1
            mask = np.ones(len(rows), dtype=np.bool_)
            mask[ends] = False
            kept = rows.view(item)[:, 0][mask].view(self._native).reshape(-1, self._ncols)
            if pieces:
                lengths[0] += sum(map(len, pieces))
                kept = np.concatenate([*pieces, kept])
                pieces = []
            yield lengths, kept, done

    def _slices(self, scan: _Scan, *, keep_tail: bool = False) -> Iterator[tuple[Array, Array, int]]:
        """Yield the rows of each slice up to the infinite row, and which of them are delimiters.

        With `keep_tail` rows behind the last delimiter come again at the head of the next slice.
        """
        swap = None if self._header.dtype.str[0] == "<" else self._native
        start = self._header.data_start
        carry = np.empty(0, dtype=np.uint8)
        with Slices(self._file, swap_dtype=swap) as slices:
            slices.take(start)
            while not slices.ended:
                part = slices.next(carry)
                whole = len(part) // self._row_bytes * self._row_bytes
                carry = part[whole:]
                rows = part[:whole].view(self._native).reshape(-1, self._ncols)
                if scan.ended and len(part):
                    raise self._after_end(start + scan.rows * self._row_bytes)
                odd = np.flatnonzero(~np.isfinite(rows[:, 0]))
                kind = rows[odd]
                infinite = odd[np.isinf(kind).all(axis=1)]
                ends = odd[np.isnan(kind).all(axis=1)]
                if len(infinite):
                    rows, scan.ended = rows[: infinite[0]], True
                    ends = ends[ends < infinite[0]]
                    if start + (scan.rows + len(rows) + 1) * self._row_bytes != slices.position:
                        raise self._after_end(start + (scan.rows + len(rows) + 1) * self._row_bytes)
                if keep_tail and len(ends) and not scan.ended:
                    rows = rows[: ends[-1] + 1]
                    carry = part[len(rows) * self._row_bytes :]
                scan.rows += len(rows)
                yield rows, ends, slices.file_done
            if len(carry):
                byte = start + scan.rows * self._row_bytes
                raise FormatError(
                    f"{self._file.path}: streamline {scan.streamlines} at byte {byte}: the file ends "
                    f" after {len(carry)} of the {self._row_bytes} bytes of a vertex; it is truncated"
                )

    def _after_end(self, byte: int) -> FormatError:
        return FormatError(
            f"{self._file.path}: bytes follow the end marker at byte {byte}; they are no part of the tracks, cut them "
            "off"
        )

    def _check_end(self, scan: _Scan, last: int) -> None:
        if scan.ended and not last:
            return
        byte = self._header.data_start + scan.rows * self._row_bytes
        if last:
            raise FormatError(
                f"{self._file.path}: streamline {scan.streamlines} has {last} vertices and no end at byte {byte}; the "
                "file is truncated"
            )
        warnings.warn(
            f"{self._file.path}: the end marker is missing at byte {byte}; the {scan.streamlines} streamlines before "
            "it are whole and taken",
            HeaderWarning,
            stacklevel=4,
        )
