"""Streamlines left out or refused: NaN and infinite vertices, vertices outside the grid, no vertices at all.

A source that drops something is read twice: first to count what stays, since counts are stated before any
streamline is written.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.dtypes import all_finite
from trxlib.errors import DataLossWarning, FormatError, InputError
from trxlib.formats.grid import Grid
from trxlib.formats.positions import PositionsCast
from trxlib.source import Chunk, DeferredChunks, Progress, Source, SourceInfo

__all__ = ["FilteredSource", "filter_source", "log_kept"]

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Rules:
    nonfinite: str
    out_of_volume: str
    drop_empty: bool

    @property
    def drops(self) -> bool:
        return self.drop_empty or "drop" in (self.nonfinite, self.out_of_volume)


def filter_source(
    source: Source, *, nonfinite: str = "fail", out_of_volume: str = "keep", drop_empty: bool = False
) -> FilteredSource:
    """Wrap a source so that these rules hold for every streamline it yields.

    Parameters
    ----------
    source : Source
        Read twice if something is to be dropped.
    nonfinite : {"fail", "drop"}
        For streamlines with a NaN or infinite vertex.
    out_of_volume : {"keep", "drop", "fail"}
        For streamlines with a vertex outside the grid; those kept are counted and logged.
    drop_empty : bool
        Leave out streamlines without vertices.

    Raises
    ------
    InputError
        If a rule has another value.
    """
    for name, value, known in (
        ("nonfinite", nonfinite, ("fail", "drop")),
        ("out_of_volume", out_of_volume, ("keep", "drop", "fail")),
    ):
        if value not in known:
            raise InputError(f"{name} is {value!r}, expected {' or '.join(map(repr, known))}")
    return FilteredSource(source, _Rules(nonfinite, out_of_volume, drop_empty))


def cast_source(source: Source, dtype: np.dtype[Any]) -> Source:
    """Return a source whose positions have another type; each is rounded once, and none becomes infinite."""
    return source if source.info.positions_dtype == dtype else _CastSource(source, dtype)


class _CastSource:
    """A source with positions of another type."""

    def __init__(self, source: Source, dtype: np.dtype[Any]) -> None:
        self._source, self._cast = source, PositionsCast(dtype, source.info.path)
        self.info: SourceInfo = replace(source.info, positions_dtype=dtype)

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield the streamlines.

        Raises
        ------
        DtypeError
            Naming the streamline, if a coordinate does not fit.
        """
        deferred, first = DeferredChunks(), 0
        for chunk in self._source.chunks(progress):
            yield deferred.add(chunk.lengths, partial(self._make, chunk, first))
            first += len(chunk.lengths)
        deferred.settle()
        self._cast.log_error()

    def fingerprint(self) -> str:
        """Return that of the file."""
        return self._source.fingerprint()

    def _make(self, chunk: Chunk, first: int) -> Chunk:
        def streamline_of(row: int) -> int:
            return first + int(np.searchsorted(np.cumsum(chunk.lengths, dtype=np.int64), row, side="right"))

        return Chunk(chunk.lengths, self._cast.apply(chunk.positions, streamline_of), chunk.dps, chunk.dpv)


def log_kept(info: SourceInfo, outside: int) -> None:
    """Warn in the log of streamlines that leave the grid of their source and are kept, if there are any."""
    if outside:
        logger.warning(
            "%s: %d of %d streamlines have vertices outside the grid of %s; they are kept",
            info.path,
            outside,
            info.nb_streamlines,
            "x".join(map(str, info.space.dimensions)),
        )


class FilteredSource:
    """A source without the streamlines that its rules leave out; see `filter_source`."""

    def __init__(self, source: Source, rules: _Rules) -> None:
        self._source, self._rules = source, rules
        self._grid = Grid(source.info.space)
        self.info: SourceInfo = source.info
        if rules.drops:
            self._count()

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield the streamlines that stay.

        Raises
        ------
        FormatError
            Naming the streamline, if a rule says ``"fail"``.
        """
        deferred, first = DeferredChunks(), 0
        outside: list[int] = []
        for chunk in self._source.chunks(progress):
            if not self._rules.drops:
                yield deferred.add(chunk.lengths, partial(self._check, chunk, first, outside))
                first += len(chunk.lengths)
                continue
            dropped, count = self._judge(chunk, first)
            first += len(chunk.lengths)
            outside.append(count)
            if dropped is not None:
                chunk = _take(chunk, ~dropped)
            if len(chunk.lengths):
                yield chunk
        deferred.settle()
        log_kept(self.info, sum(outside))

    def _check(self, chunk: Chunk, first: int, outside: list[int]) -> Chunk:
        """Return a chunk of which nothing is dropped, or raise what is wrong with it."""
        _, count = self._judge(chunk, first)
        if count:
            outside.append(count)
        return chunk

    def fingerprint(self) -> str:
        """Return that of the file."""
        return self._source.fingerprint()

    def kept_rows(self) -> Array:
        """Read the source once and return the numbers of the streamlines that stay: int64, ascending."""
        kept, first, outside = [np.zeros(0, dtype=np.int64)], 0, 0
        for chunk in self._source.chunks():
            dropped, count = self._judge(chunk, first)
            outside += count
            stays = np.ones(len(chunk.lengths), dtype=np.bool_) if dropped is None else ~dropped
            kept.append(np.flatnonzero(stays) + first)
            first += len(chunk.lengths)
        log_kept(self.info, outside)
        return np.concatenate(kept)

    def _count(self) -> None:
        info = self._source.info
        streamlines = vertices = first = 0
        for chunk in self._source.chunks():
            dropped, _ = self._judge(chunk, first)
            first += len(chunk.lengths)
            kept = chunk.lengths if dropped is None else chunk.lengths[~dropped]
            streamlines += len(kept)
            vertices += int(kept.sum(dtype=np.int64))
        self.info = replace(info, nb_streamlines=streamlines, nb_vertices=vertices)
        if streamlines != info.nb_streamlines:
            warnings.warn(
                f"{info.path}: {info.nb_streamlines - streamlines} of {info.nb_streamlines} streamlines are left out "
                f"(nonfinite={self._rules.nonfinite}, out_of_volume={self._rules.out_of_volume}, "
                f"drop_empty={self._rules.drop_empty})",
                DataLossWarning,
                stacklevel=4,
            )

    def _judge(self, chunk: Chunk, first: int) -> tuple[Array | None, int]:
        """Return a mask of what to drop (None: nothing), and how many that stay have vertices outside."""
        dropped = np.zeros(len(chunk.lengths), dtype=np.bool_)
        if self._rules.drop_empty:
            dropped |= chunk.lengths == 0
        outside = 0
        # Sources that have looked already say so (CheckedChunk).
        if not getattr(chunk, "inside", False) and not self._grid.contains(chunk.positions):
            nonfinite = self._find_nonfinite(chunk)
            leaving = _streamlines_of(self._grid.find_outside(chunk.positions), chunk.lengths) & ~nonfinite
            self._refuse(chunk, first, nonfinite, leaving)
            dropped |= nonfinite
            if self._rules.out_of_volume == "drop":
                dropped |= leaving
            outside = int((leaving & ~dropped).sum())
        return (dropped if dropped.any() else None), outside

    def _find_nonfinite(self, chunk: Chunk) -> Array:
        if all_finite(chunk.positions):
            return np.zeros(len(chunk.lengths), dtype=np.bool_)
        return _streamlines_of(np.flatnonzero(~np.isfinite(chunk.positions).all(axis=1)), chunk.lengths)

    def _refuse(self, chunk: Chunk, first: int, nonfinite: Array, leaving: Array) -> None:
        """Name the first streamline that breaks a rule, if there is one."""
        rules = self._rules
        refused = nonfinite & (rules.nonfinite == "fail") | leaving & (rules.out_of_volume == "fail")
        if not refused.any():
            return
        row = int(np.argmax(refused))
        if nonfinite[row]:
            raise FormatError(self._first_bad(chunk, row, first))
        raise FormatError(
            f"{self.info.path}: streamline {first + row} leaves the grid of {list(self.info.space.dimensions)} voxels; "
            "keep or drop such streamlines (out_of_volume), or check the reference"
        )

    def _first_bad(self, chunk: Chunk, row: int, first: int) -> str:
        start = int(chunk.lengths[:row].sum(dtype=np.int64))
        vertices = chunk.positions[start : start + int(chunk.lengths[row])]
        vertex = int(np.argmin(np.isfinite(vertices).all(axis=1)))
        return (
            f"{self.info.path}: streamline {first + row} has the vertex {vertices[vertex].tolist()} (vertex {vertex}), "
            "expected finite numbers; repair the file, or drop such streamlines (nonfinite='drop')"
        )


def _streamlines_of(vertices: Array, lengths: Array) -> Array:
    """Return a mask of the streamlines that have one of these vertices."""
    found = np.zeros(len(lengths), dtype=np.bool_)
    if len(vertices):
        ends = np.cumsum(lengths, dtype=np.int64)
        found[np.searchsorted(ends, vertices, side="right")] = True
    return found


def _take(chunk: Chunk, kept: Array) -> Chunk:
    rows = np.repeat(kept, chunk.lengths)
    return Chunk(
        chunk.lengths[kept],
        chunk.positions[rows],
        {key: values[kept] for key, values in chunk.dps.items()},
        {key: values[rows] for key, values in chunk.dpv.items()},
    )
