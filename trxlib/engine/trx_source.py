"""TRX as a source: from a file, from arrays in memory, or a selection of either.

Bytes that lie unchanged in a stored archive or folder are copied from there inside the kernel; everything else is
streamed in chunks.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.container.crc import crc_of_file
from trxlib.container.entries import Member
from trxlib.container.reader import Container, check_crc, open_container
from trxlib.container.temporary import scratch_arrays
from trxlib.errors import DataLossWarning, ShapeError
from trxlib.model.arrays import TrxArrays
from trxlib.model.chunk import Chunk, DeferredChunks, Place, PositionsStep
from trxlib.model.dtypes import little_endian
from trxlib.model.header import copy_values
from trxlib.model.names import ArrayName, check_key, fit_names
from trxlib.model.offsets import iter_gathered, resolve_indices
from trxlib.model.select import Runs, select_runs
from trxlib.model.source import ArrayBlocks, ArraySpec, Columns, Progress, Source, SourceHeaders, SourceInfo
from trxlib.model.space import Space

__all__ = ["TrxSource"]

Array = npt.NDArray[Any]
_CHUNK_BYTES = 1 << 19  # stays in a core's cache between its CRC and its copy
_COLUMN_ROWS = 1 << 15  # streamlines whose values are read from other files at a time
_STREAM_BYTES = 1_920_000  # of positions that writers of other formats get at a time, as readers give them


class TrxSource(Source):
    """A TRX file, or arrays in memory.

    Parameters
    ----------
    arrays : TrxArrays
        Header, groups, dps and dpg of the result; `positions` and `dpv` may hold more rows when `runs` is given.
    members : mapping of ArrayName to Member, optional
        Files that hold the same bytes as the arrays of those names, and will not change.
    runs : tuple of two ndarray (n,), optional
        Start and length of each streamline in `positions` and `dpv`, for a selection. By default they lie one
        behind the other as `offsets` says.
    path : str
        Where the arrays are from, for messages.
    """

    def __init__(
        self,
        arrays: TrxArrays,
        *,
        members: Mapping[ArrayName, Member] | None = None,
        runs: tuple[Array, Array] | None = None,
        path: str = "",
    ) -> None:
        self.arrays = arrays
        self.members = dict(members or {})
        self._member_by_key = {
            (name.section, name.name): member
            for name, member in self.members.items()
            if name.section in ("positions", "dps", "dpv")
        }
        self.runs = runs
        self.path = path
        self.info = _info_of(arrays, path)
        # Positions pass through these on their way, block by block, in any thread and order.
        self._steps: tuple[PositionsStep, ...] = ()
        # The file's numbers of the streamlines of a selection, for messages.
        self._numbers: Array | None = None
        # Makes the fingerprint of all that went into this of that of the TRX file.
        self._combine: Callable[[str], str] = str
        # What a selection was selected from.
        self._whole: TrxSource | None = None
        self._container: Container | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> TrxSource:
        """Open a TRX archive or folder; `close` releases it.

        Names that cannot be written (with a dot, say, which is legal to read) are changed, with a HeaderWarning.
        """
        container = open_container(path, mode="r")
        members = _fit_names(container.arrays, container.members, str(path))
        source = cls(container.arrays, members=members, path=str(path))
        source._container = container
        return source

    def close(self) -> None:
        """Release what `open` opened."""
        if self._container is not None:
            self._container.close()

    def headers(self) -> SourceHeaders:
        """Return what a plan needs to know; it holds nothing open.

        Warns
        -----
        DataLossWarning
            Names dpg without a group.
        """
        arrays = self.arrays
        for section in ("groups", "dps", "dpv", "dpg"):
            for key in getattr(arrays, section):
                if not isinstance(key, str):
                    check_key(key, f"{section} key")  # which says so: keys of two types cannot even be sorted
        orphans = sorted(set(arrays.dpg) - set(arrays.groups))
        if orphans:
            warnings.warn(
                f"{self.path or 'dpg'}: left out, since there are no such groups: dpg/{', dpg/'.join(orphans)}",
                DataLossWarning,
                stacklevel=3,
            )
        return SourceHeaders(
            info=self.info,
            groups={group: len(members) for group, members in arrays.groups.items()},
            dpg={
                group: {key: little_endian(array).reshape(1, -1).copy() for key, array in values.items()}
                for group, values in arrays.dpg.items()
                if group in arrays.groups
            },
            extra=copy_values(arrays.header.extra),
            sidecars=dict(arrays.sidecars),
        )

    def facts_of(self, format_name: str) -> Any:
        """Return what a header key of the format's name (``TRK``) has kept; anybody may have written it."""
        return self.arrays.header.extra.get(format_name.upper(), {})

    @property
    def default_dtype(self) -> np.dtype[Any]:
        """Type of the file, also where positions are moved in a wider one."""
        return self.arrays.positions.dtype

    @property
    def groups(self) -> Mapping[str, Array]:
        """Members of each group."""
        return self.arrays.groups

    # What happens on the way

    def with_columns(self, columns: Columns) -> TrxSource:
        """Return a source with further dps and dpv, which are copied into a temporary file."""
        info = self.info
        specs = [("dps", key, spec, info.nb_streamlines) for key, spec in columns.dps.items()]
        specs += [("dpv", key, spec, info.nb_vertices) for key, spec in columns.dpv.items()]
        arrays = scratch_arrays([(spec.dtype, (rows, spec.ncols)) for _, _, spec, rows in specs])
        reader, lengths, vertex = columns.reader(), self._runs()[1], 0
        for low in range(0, len(lengths), _COLUMN_ROWS):
            part = lengths[low : low + _COLUMN_ROWS]
            values = dict(zip(("dps", "dpv"), reader.take(part), strict=True))
            stop = vertex + int(part.sum(dtype=np.int64))
            places = {"dps": slice(low, low + len(part)), "dpv": slice(vertex, stop)}
            for (section, key, _, _), array in zip(specs, arrays, strict=True):
                array[places[section]] = values[section][key]
            vertex = stop
        reader.check_end()
        tables = {"dps": dict(self.arrays.dps), "dpv": dict(self.arrays.dpv)}
        for (section, key, _, _), array in zip(specs, arrays, strict=True):
            tables[section][key] = array
        before = self._combine

        def combine(own: str) -> str:
            return columns.fingerprint(before(own))

        return self._changed(replace(self.arrays, dps=tables["dps"], dpv=tables["dpv"]), combine=combine)

    def through(
        self, step: PositionsStep | None, *, dtype: np.dtype[Any] | None = None, space: Space | None = None
    ) -> TrxSource:
        """Return a source of the same arrays whose positions pass through a further step on their way."""
        arrays = self.arrays
        if space is not None:
            header = replace(arrays.header, voxel_to_rasmm=space.voxel_to_rasmm, dimensions=space.dimensions)
            arrays = replace(arrays, header=header)
        return self._changed(arrays, steps=self._steps if step is None else (*self._steps, step), dtype=dtype)

    def select(self, rows: Array, *, nb_vertices: int | None = None, keep_groups: bool = True) -> TrxSource:
        """Return a source of some streamlines, in any order; no vertex is copied.

        Parameters
        ----------
        rows : ndarray, int of shape (n,) or bool of shape (nb_streamlines,)
            Which ones.
        nb_vertices : int, optional
            Not needed.
        keep_groups : bool
            Whether the groups come along, renumbered.

        Raises
        ------
        ShapeError
            If a group has a member that is no streamline.
        """
        try:
            selection = select_runs(self.arrays, rows, runs=self.runs, keep_groups=keep_groups)
        except ShapeError as error:  # of a group, which says nothing of the file
            raise ShapeError(f"{self.path}: {error}") from None
        numbers = resolve_indices(rows, self.info.nb_streamlines)
        selected = self._changed(selection.arrays)
        selected.members, selected._member_by_key, selected.runs = {}, {}, selection.runs
        selected._combine = str
        selected._numbers = numbers if self._numbers is None else self._numbers[numbers]
        selected._whole = self._whole or self
        return selected

    def _changed(
        self,
        arrays: TrxArrays,
        *,
        steps: tuple[PositionsStep, ...] | None = None,
        dtype: np.dtype[Any] | None = None,
        combine: Callable[[str], str] | None = None,
    ) -> TrxSource:
        """Return a copy with other arrays; the file stays that of both."""
        found = copy.copy(self)
        found.arrays = arrays
        found.info = replace(
            _info_of(arrays, self.path),
            positions_dtype=dtype or self.info.positions_dtype,
            own_space=self.info.own_space,
            transforms=self.info.transforms,
        )
        found._steps = self._steps if steps is None else steps
        found._combine = combine or self._combine
        return found

    # What can be had without reading from front to back

    def stored(self, section: str, key: str) -> Member | None:
        """Return the place on disk that holds exactly the bytes of an array of the result, and their CRC, or None."""
        if section == "positions" and self._steps:
            return None
        return self._stated(section, key)

    def _stated(self, section: str, key: str) -> Member | None:
        """Return the place on disk of a whole array whose CRC is stated there, or None."""
        if self.runs is not None and section in ("positions", "dpv"):
            return None
        member = self._member_by_key.get((section, key))
        return member if member is not None and member.crc is not None else None

    def runs_in_memory(self, section: str, key: str) -> tuple[Array, Runs] | None:
        """Return an array and the runs of its rows that only need to be copied, for a selection."""
        array = self._array(section, key)
        is_plain = section == "dpv" or (section == "positions" and not self._steps)
        if self.runs is None or not is_plain or array is None or not array.flags.c_contiguous:
            return None
        return array, self.runs

    def blocks(self, section: str, key: str) -> ArrayBlocks | None:
        """Return the rows of an array, half a megabyte at a time."""
        array = self._array(section, key)
        if array is None:
            return None
        parts, stated = self._iter_rows(array, section), self._stated(section, key)
        if section == "positions":
            return ArrayBlocks(parts, self._pass, self._end_steps, stated)
        return ArrayBlocks(parts, lambda block, _: block, lambda: None, stated)

    def _array(self, section: str, key: str) -> Array | None:
        if section == "positions":
            return self.arrays.positions
        return getattr(self.arrays, section).get(key)  # type: ignore[no-any-return]

    def check_entries(self) -> None:
        """Compare what is read only in part, or changed on its way, with the CRCs that the archive states.

        Raises
        ------
        ArchiveError
            If offsets, a group or dpg are damaged. Large arrays are looked at where they are read.
        """
        for name, member in self.members.items():
            if name.section == "offsets" or name.section == "groups" or name.group:
                check_crc(self.path, member)

    def _iter_rows(self, array: Array, section: str) -> Iterator[Array]:
        if self.runs is not None and section in ("positions", "dpv"):
            yield from iter_gathered(array, *self.runs, chunk_bytes=_CHUNK_BYTES)
            return
        step = max(1, _CHUNK_BYTES // max(1, array.dtype.itemsize * array.shape[1]))
        for start in range(0, len(array), step):
            yield array[start : start + step]

    def _pass(self, block: Array, vertex: int) -> Array:
        """Return the positions of the result, for a block of which the first vertex is given; safe in any thread."""
        if self._steps:
            place = Place(lambda rows: self._locate(rows + vertex))
            for step in self._steps:
                block = step.apply(block, place)
        return block

    def _locate(self, vertices: Any) -> tuple[Any, Any]:
        """Return the streamlines that some vertices belong to, by their numbers in the file, and their places there."""
        rows = np.searchsorted(self.arrays.offsets, vertices, side="right") - 1
        places = vertices - self.arrays.offsets[rows].astype(np.int64)
        return self.file_rows(rows), places

    def file_rows(self, rows: Any) -> Any:
        """Return the numbers of streamlines before any were selected."""
        return rows if self._numbers is None else self._numbers[rows]

    def _end_steps(self) -> None:
        for step in self._steps:
            step.end()

    def starts(self) -> Iterator[Array]:
        """Yield the first vertex of each streamline (int64), chunk by chunk, without the closing offset."""
        step = _CHUNK_BYTES // 8
        if self.runs is None:
            for low in range(0, len(self.arrays.offsets) - 1, step):
                high = min(low + step, len(self.arrays.offsets) - 1)
                yield self.arrays.offsets[low:high].astype(np.int64)
            return
        done = 0
        lengths = self.runs[1]
        for low in range(0, len(lengths), step):
            part = lengths[low : low + step].astype(np.int64)
            ends = np.cumsum(part) + done
            yield ends - part
            done = int(ends[-1])

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield the streamlines like any other source, for writers of other formats.

        Parameters
        ----------
        progress : callable, optional
            Called with bytes done and in all.
        """
        self.check_entries()
        starts, lengths = self._runs()
        total = len(lengths)
        step = max(1, int(_STREAM_BYTES * max(1, total) // max(1, 12 * self.arrays.header.nb_vertices)))
        deferred, vertex = DeferredChunks(), 0
        for low in range(0, total, step):
            part = slice(low, min(low + step, total))
            chunk = deferred.add(lengths[part], partial(self._make_chunk, part, starts[part], lengths[part], vertex))
            vertex += chunk.nb_vertices
            yield chunk
            if progress is not None:
                progress(self.info.nbytes * part.stop // total, self.info.nbytes)
        deferred.settle()
        self._end_steps()

    def _make_chunk(self, part: slice, starts: Array, lengths: Array, vertex: int) -> Chunk:
        arrays = self.arrays

        def rows_of(array: Array) -> Array:
            if self.runs is None:
                return array[int(starts[0]) : int(arrays.offsets[part.stop])]
            return _rows_of(array, starts, lengths)

        return Chunk(
            lengths=lengths,
            positions=self._pass(rows_of(arrays.positions), vertex),
            dps={key: array[part] for key, array in arrays.dps.items()},
            dpv={key: rows_of(array) for key, array in arrays.dpv.items()},
        )

    def _runs(self) -> tuple[Array, Array]:
        if self.runs is not None:
            return self.runs
        return self.arrays.offsets[:-1], np.diff(self.arrays.offsets)

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the arrays' stated CRCs; the container itself does not count."""
        if self._whole is not None:
            return self._combine(self._whole.fingerprint())
        members = sorted(self.members.values(), key=lambda member: member.path)
        crc = 0
        for member in members:
            stated = member.crc
            own = crc_of_file(member.file, member.start, member.nbytes) if stated is None else stated
            text = f"{member.path}:{member.nbytes}:{own:08x};"
            crc = isal_zlib.crc32(text.encode(errors="surrogateescape"), crc)
        return self._combine(f"crc32:{crc:08x}:{sum(member.nbytes for member in members)}")


def _info_of(arrays: TrxArrays, path: str) -> SourceInfo:
    """Return what the header and the names of the arrays say."""
    return SourceInfo(
        path=path,
        format="trx",
        space=arrays.space,
        nb_streamlines=arrays.header.nb_streamlines,
        nb_vertices=arrays.header.nb_vertices,
        positions_dtype=arrays.positions.dtype,
        dps={key: _spec(array) for key, array in arrays.dps.items()},
        dpv={key: _spec(array) for key, array in arrays.dpv.items()},
        nbytes=arrays.positions.itemsize * 3 * arrays.header.nb_vertices,
    )


def _fit_names(arrays: TrxArrays, members: Mapping[ArrayName, Member], path: str) -> dict[ArrayName, Member]:
    """Rename, in `arrays`, the keys and groups that cannot be written; return the members under the new names."""
    renamed = fit_names(arrays, path)
    return {
        name if name.group else name.renamed(renamed.get(name.section, {}).get(name.name, name.name)): member
        for name, member in members.items()
    }


def _rows_of(array: Array, starts: Array, lengths: Array) -> Array:
    parts = list(iter_gathered(array, starts, lengths, chunk_bytes=1 << 62))
    if not parts:
        return np.zeros((0, array.shape[1]), dtype=array.dtype)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _spec(array: Array) -> ArraySpec:
    return ArraySpec(array.shape[1], array.dtype)
