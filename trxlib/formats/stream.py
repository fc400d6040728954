"""Tractograms that are read from front to back, and what may be put around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import UnsupportedFormatError
from trxlib.model.chunk import Chunk, DeferredChunk, DeferredChunks, Place, PositionsStep
from trxlib.model.offsets import resolve_indices
from trxlib.model.source import Columns, Progress, Source, SourceHeaders, SourceInfo
from trxlib.model.space import Space

__all__ = ["Stream"]

Array = npt.NDArray[Any]


class Stream(Source):
    """A source that can do nothing but be read from front to back, as often as is asked for.

    A reader of a format defines `info`, `chunks` and `fingerprint`.
    """

    def without(self, labels: Sequence[str]) -> Source:
        """Return a stream whose chunks lack some arrays."""
        return _Without(self, labels) if labels else self

    def with_columns(self, columns: Columns) -> Source:
        """Return a stream with further dps and dpv, which are read beside it."""
        return _WithColumns(self, columns)

    def through(
        self, step: PositionsStep | None, *, dtype: np.dtype[Any] | None = None, space: Space | None = None
    ) -> Source:
        """Return a stream whose positions pass through a further step, in the thread that uses them."""
        return _Passed(self, () if step is None else (step,), _changed(self.info, dtype, space))

    def select(self, rows: Array, *, nb_vertices: int | None = None, keep_groups: bool = True) -> Source:
        """Return a stream without the other streamlines.

        Raises
        ------
        UnsupportedFormatError
            If `rows` do not increase.
        """
        return _Selected(self, rows, nb_vertices, keep_groups)


def _changed(info: SourceInfo, dtype: np.dtype[Any] | None, space: Space | None) -> SourceInfo:
    return replace(info, positions_dtype=dtype or info.positions_dtype, space=space or info.space)


class _Wrapped(Stream):
    """A stream around another source."""

    def __init__(self, source: Source, info: SourceInfo) -> None:
        self._source, self.info = source, info
        self.trusts_count, self.findings = source.trusts_count, source.findings

    def headers(self) -> SourceHeaders:
        """Return those of the other, with the counts and keys of the result."""
        return replace(self._source.headers(), info=self.info)

    def facts_of(self, format_name: str) -> Any:
        """Return those of the other."""
        return self._source.facts_of(format_name)

    @property
    def groups(self) -> Mapping[str, Array]:
        """Those of the other."""
        return self._source.groups

    def fingerprint(self) -> str:
        """Return that of the other."""
        return self._source.fingerprint()

    def file_rows(self, rows: Any) -> Any:
        """Return those of the other."""
        return self._source.file_rows(rows)

    def close(self) -> None:
        """Close the other."""
        self._source.close()


class _Passed(_Wrapped):
    """A stream whose positions pass through steps, in the thread that uses them."""

    def __init__(self, source: Source, steps: tuple[PositionsStep, ...], info: SourceInfo) -> None:
        super().__init__(source, info)
        self._steps = steps

    def through(
        self, step: PositionsStep | None, *, dtype: np.dtype[Any] | None = None, space: Space | None = None
    ) -> Source:
        """Return the same with one step more."""
        steps = self._steps if step is None else (*self._steps, step)
        passed = _Passed(self._source, steps, _changed(self.info, dtype, space))
        passed.findings = self.findings
        return passed

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield the streamlines with positions that have passed."""
        deferred, first = DeferredChunks(), 0
        for chunk in self._source.chunks(progress):
            lengths = chunk.lengths
            made = deferred.add(lengths, partial(self._pass, chunk, first))
            del chunk  # what it holds is free as soon as its arrays are made
            first += len(lengths)
            yield made
            del made
        deferred.settle()
        for step in self._steps:
            step.end()

    def _pass(self, chunk: Chunk, first: int) -> Chunk:
        def locate(vertices: Any) -> tuple[Any, Any]:
            rows, places = chunk.locate(vertices)
            return self._source.file_rows(rows + first), places

        positions = chunk.positions
        # What a source has seen holds for the space that it was opened with.
        place = Place(locate, chunk.is_inside and self.info.space is self._source.info.space)
        for step in self._steps:
            passed = step.apply(positions, place)
            if passed is not positions:  # and so not what was looked at
                positions, place = passed, Place(locate)
        return Chunk(chunk.lengths, positions, chunk.dps, chunk.dpv, place.is_inside)


class _Selected(_Wrapped):
    """A stream without some of its streamlines."""

    def __init__(self, source: Source, rows: Array, nb_vertices: int | None, keep_groups: bool) -> None:
        total = source.info.nb_streamlines
        numbers = resolve_indices(rows, total)
        if not bool(np.all(numbers[1:] > numbers[:-1])):
            raise UnsupportedFormatError(
                f"{source.info.path}: is read from front to back, so its streamlines come in their own order; convert "
                "it to .trx and select from that"
            )
        self._kept = np.zeros(total, dtype=np.bool_)
        self._kept[numbers] = True
        if nb_vertices is None:
            nb_vertices, first = 0, 0
            for chunk in source.chunks():
                kept = self._kept[first : first + len(chunk.lengths)]
                nb_vertices += int(chunk.lengths[kept].sum(dtype=np.int64))
                first += len(kept)
        super().__init__(source, replace(source.info, nb_streamlines=len(numbers), nb_vertices=nb_vertices))
        places = np.cumsum(self._kept) - 1
        self._groups = {
            name: places[members[self._kept[members]]] for name, members in source.groups.items() if keep_groups
        }

    @property
    def groups(self) -> Mapping[str, Array]:
        """Members of each group that stay, by their new numbers."""
        return self._groups

    def headers(self) -> SourceHeaders:
        """Return those of the other, with the sizes that the groups have now."""
        headers = super().headers()
        dpg = {name: values for name, values in headers.dpg.items() if name in self._groups}
        return replace(headers, groups={name: len(members) for name, members in self._groups.items()}, dpg=dpg)

    def file_rows(self, rows: Any) -> Any:
        """Return the numbers of streamlines before others were left out."""
        return self._source.file_rows(np.flatnonzero(self._kept)[rows])

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield the streamlines that stay."""
        deferred, first = DeferredChunks(), 0
        for chunk in self._source.chunks(progress):
            kept = self._kept[first : first + len(chunk.lengths)]
            first += len(kept)
            if kept.all():
                yield chunk
            elif kept.any():
                yield deferred.add(chunk.lengths[kept], partial(chunk.take, kept))
            del chunk
        deferred.settle()


class _Without(_Wrapped):
    """A stream without some of its arrays and groups."""

    def __init__(self, source: Source, labels: Sequence[str]) -> None:
        info, gone = source.info, set(labels)
        dps = {key: spec for key, spec in info.dps.items() if f"dps/{key}" not in gone}
        dpv = {key: spec for key, spec in info.dpv.items() if f"dpv/{key}" not in gone}
        super().__init__(source, replace(info, dps=dps, dpv=dpv, left_out=(*info.left_out, *labels)))
        self._gone = gone

    @property
    def groups(self) -> Mapping[str, Array]:
        """Members of each group that stays."""
        return {name: members for name, members in self._source.groups.items() if f"groups/{name}" not in self._gone}

    def headers(self) -> SourceHeaders:
        """Return those of the other, without what is gone."""
        headers = super().headers()
        sizes = {name: size for name, size in headers.groups.items() if f"groups/{name}" not in self._gone}
        kept = {
            group: {key: array for key, array in values.items() if f"dpg/{group}/{key}" not in self._gone}
            for group, values in headers.dpg.items()
        }
        return replace(headers, groups=sizes, dpg={group: values for group, values in kept.items() if values})

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield the chunks without these arrays."""
        for chunk in self._source.chunks(progress):
            yield DeferredChunk(chunk.lengths, partial(self._strip, chunk))
            del chunk

    def _strip(self, chunk: Chunk) -> Chunk:
        dps, dpv = {key: chunk.dps[key] for key in self.info.dps}, {key: chunk.dpv[key] for key in self.info.dpv}
        return Chunk(chunk.lengths, chunk.positions, dps, dpv, chunk.is_inside)


class _WithColumns(_Wrapped):
    """A stream with dps and dpv of other files."""

    def __init__(self, source: Source, columns: Columns) -> None:
        info = source.info
        info = replace(info, dps={**info.dps, **columns.dps}, dpv={**info.dpv, **columns.dpv})
        super().__init__(source, info)
        self._columns = columns

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield the chunks with all values.

        Raises
        ------
        ShapeError
            If a file has other streamlines than the tractogram.
        """
        reader = self._columns.reader()
        for chunk in self._source.chunks(progress):
            yield DeferredChunk(chunk.lengths, partial(_with_values, chunk, *reader.take(chunk.lengths)))
            del chunk
        reader.check_end()

    def fingerprint(self) -> str:
        """Return that of all files."""
        return self._columns.fingerprint(self._source.fingerprint())


def _with_values(chunk: Chunk, dps: dict[str, Array], dpv: dict[str, Array]) -> Chunk:
    return Chunk(chunk.lengths, chunk.positions, {**chunk.dps, **dps}, {**chunk.dpv, **dpv}, chunk.is_inside)
