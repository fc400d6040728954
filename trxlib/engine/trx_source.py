"""TRX as a source: from a file, from arrays in memory, or a selection of either.

Bytes that lie unchanged in a stored archive or folder are copied from there inside the kernel; everything else is
streamed in chunks. Of a file that `TrxSource.open` has opened, arrays are read, not mapped: see
`trxlib.container.rows`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from trxlib.container.entries import Member
from trxlib.container.mapping import FileStamp, is_open_for_change
from trxlib.container.reader import Container, check_crc, open_container
from trxlib.container.rows import OpenFile, StoredRows
from trxlib.engine.attach import attach_columns
from trxlib.engine.stored import StoredMember, fingerprint_of, fit_members
from trxlib.engine.trx_headers import headers_of, info_of
from trxlib.errors import ShapeError
from trxlib.model.arrays import TrxArrays
from trxlib.model.chunk import Chunk, DeferredChunks, Place, PositionsStep
from trxlib.model.names import ArrayName
from trxlib.model.offsets import Rows, iter_gathered, iter_gathers, resolve_indices
from trxlib.model.select import Runs, select_runs
from trxlib.model.source import ArrayBlocks, Columns, Progress, Source, SourceHeaders
from trxlib.model.space import Space

__all__ = ["TrxSource"]

Array = npt.NDArray[Any]
_CHUNK_BYTES = 1 << 19  # stays in a core's cache between its CRC and its copy
# Rows of a selection joined at a time. Python joins more than a mebibyte without its lock: two threads save half of a
# file of 1 GB in 0.33 s instead of 0.57 s.
_GATHER_BYTES = 3 << 19
#: The arrays of a pass, by section and key.
_Tables = Mapping[str, Mapping[str, Any]]
_STREAM_BYTES = 1_920_000  # of positions that writers of other formats get at a time, as readers give them


class TrxSource(Source):
    """A TRX file, or arrays in memory.

    Parameters
    ----------
    arrays : TrxArrays
        Header, groups, dps and dpg of the result; `positions` and `dpv` may hold more rows when `runs` is given.
    members : mapping of ArrayName to Member, optional
        Files that hold the same bytes as the arrays of those names, and will not change.
    stamps : mapping of str to FileStamp, optional
        What those files were when the arrays were mapped.
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
        stamps: Mapping[str, FileStamp] | None = None,
        runs: tuple[Array, Array] | None = None,
        path: str = "",
    ) -> None:
        self.arrays = arrays
        self.members = dict(members or {})
        self._stamps = dict(stamps or {})
        self._member_by_key = {
            (name.section, name.name): member
            for name, member in self.members.items()
            if name.section in ("positions", "dps", "dpv")
        }
        self.runs = runs
        self.path = path
        self.info = info_of(arrays, path)
        # Positions pass through these on their way, block by block, in any thread and order.
        self._steps: tuple[PositionsStep, ...] = ()
        # The file's numbers of the streamlines of a selection, for messages.
        self._numbers: Array | None = None
        # Makes the fingerprint of all that went into this of that of the TRX file.
        self._combine: Callable[[str], str] = str
        # What a selection was selected from, or something was left out of: the file's fingerprint is that of all of it.
        self._whole: TrxSource | None = None
        self._container: Container | None = None
        # Arrays that are read from where they lie, although they are mapped; only of files that this opened.
        self._places: dict[tuple[str, str], Member] = {}
        self._open_files: WeakValueDictionary[str, OpenFile] = WeakValueDictionary()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> TrxSource:
        """Open a TRX archive or folder; `close` releases it.

        Names that cannot be written (with a dot, say, which is legal to read) are changed, with a HeaderWarning.
        """
        container = open_container(path, mode="r")
        members = fit_members(container.arrays, container.members, str(path))
        stamps = {file: mapped.stamp for file, mapped in container.files.items()}
        source = cls(container.arrays, members=members, stamps=stamps, path=str(path))
        source._container = container
        source._places = {
            (name.section, name.name): member
            for name, member in members.items()
            if name.section in ("positions", "dps", "dpv", "groups") and member.file in stamps
        }
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
        return headers_of(self.arrays, self.info)

    def facts_of(self, format_name: str) -> Any:
        """Return what a header key of the format's name (``TRK``) has kept; anybody may have written it."""
        return self.arrays.header.extra.get(format_name.upper(), {})

    @property
    def default_dtype(self) -> np.dtype[Any]:
        """Type of the file, also where positions are moved in a wider one."""
        return self.arrays.positions.dtype

    @property
    def groups(self) -> Mapping[str, Array]:
        """Members of each group, read when they are asked for."""
        return _Groups(self) if self._places else self.arrays.groups

    # What happens on the way

    def labels(self) -> list[str]:
        """Return the label of every array but positions and offsets; groups and dpg are among them."""
        return [label for label in self.arrays.by_label() if label not in ("positions", "offsets")]

    def without(self, labels: Sequence[str]) -> TrxSource:
        """Return a source that lacks some dps, dpv, groups and dpg, of which nothing is looked at then."""
        if not labels:
            return self
        found = self._changed(self.arrays.without(labels))
        found.info = replace(found.info, left_out=(*self.info.left_out, *labels))
        gone = set(labels)
        found.members = {name: member for name, member in self.members.items() if name.label not in gone}
        found._combine, found._whole = str, self
        return found

    def with_columns(self, columns: Columns) -> TrxSource:
        """Return a source with further dps and dpv, which are copied into a temporary file."""
        dps, dpv = attach_columns(self.arrays, columns, lambda part: self._runs_of(part)[1])
        before = self._combine

        def combine(own: str) -> str:
            return columns.fingerprint(before(own))

        return self._changed(replace(self.arrays, dps=dps, dpv=dpv), combine=combine)

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
            selection = select_runs(self.held(groups=keep_groups), rows, runs=self.runs, keep_groups=keep_groups)
        except ShapeError as error:  # of a group, which says nothing of the file
            raise ShapeError(f"{self.path}: {error}") from None
        numbers = resolve_indices(rows, self.info.nb_streamlines)
        selected = self.part(*selection)
        selected._numbers = numbers if self._numbers is None else self._numbers[numbers]
        return selected

    def part(self, arrays: TrxArrays, runs: Runs | None) -> TrxSource:
        """Return a source of streamlines that were selected from this one's; their vertices lie where they are.

        Parameters
        ----------
        arrays, runs
            As a `trxlib.model.select.Selection` of `held` has them.
        """
        part = self._changed(arrays)
        part.members, part._member_by_key, part.runs = {}, {}, runs
        part._places = {key: member for key, member in self._places.items() if key[0] in ("positions", "dpv")}
        part._combine = str
        part._whole = self._whole or self
        return part

    def held(self, *, groups: bool = True) -> TrxArrays:
        """Return the arrays with dps, and groups, in memory: what is looked at in no order is read once before."""
        if not self._places:
            return self.arrays
        dps = {key: self._whole_array("dps", key) for key in self.arrays.dps}
        members = dict(self.groups) if groups else self.arrays.groups
        return replace(self.arrays, dps=dps, groups=members)

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
            info_of(arrays, self.path),
            positions_dtype=dtype or self.info.positions_dtype,
            own_space=self.info.own_space,
            transforms=self.info.transforms,
            left_out=self.info.left_out,
            chosen_from=self.info.chosen_from,
        )
        found._steps = self._steps if steps is None else steps
        found._combine = combine or self._combine
        return found

    # What can be had without reading from front to back

    def stored(self, section: str, key: str) -> StoredMember | None:
        """Return the place on disk that holds exactly the bytes of an array of the result, or None."""
        member = self._member(section, key)
        if member is None or (section == "positions" and self._steps):
            return None
        stamp = self._stamps.get(member.file)
        # Without a CRC, only a file that was mapped is known to be the one that the array is from. What this process
        # may write into at the same time is read where it is mapped.
        if member.crc is None and (stamp is None or is_open_for_change(stamp)):
            return None
        return StoredMember(member, stamp)

    def _member(self, section: str, key: str) -> Member | None:
        """Return the place on disk of a whole array, or None."""
        if self.runs is not None and section in ("positions", "dpv"):
            return None
        return self._member_by_key.get((section, key))

    def _stated(self, section: str, key: str) -> StoredMember | None:
        """Return the place on disk of a whole array whose CRC is stated there, or None."""
        member = self._member(section, key)
        return None if member is None or member.crc is None else StoredMember(member, self._stamps.get(member.file))

    def blocks(self, section: str, key: str) -> ArrayBlocks | None:
        """Return the rows of an array, half a megabyte at a time."""
        array = self.rows(section, key)
        if array is None:
            return None
        parts, stated = self._iter_rows(array, section), self._stated(section, key)

        def end() -> None:
            if section == "positions":
                self._end_steps()
            _check_unchanged(array)

        return ArrayBlocks(parts, self._pass if section == "positions" else lambda block, _: block, end, stated)

    def rows(self, section: str, key: str) -> Array | Rows | None:
        """Return an array of the container, to be read from front to back; None if there is none of this name.

        Raises
        ------
        StaleError
            If its file was changed since it was opened.
        """
        arrays = self.arrays
        array: Array | None = arrays.positions if section == "positions" else getattr(arrays, section).get(key)
        member = self._places.get((section, key))
        if array is None or member is None:
            return array
        stamp = self._stamps[member.file]
        if is_open_for_change(stamp):  # what this process may write into at the same time is read where it is mapped
            return array
        file = self._open_files.get(member.file)
        if file is None:
            file = self._open_files[member.file] = OpenFile(member.file, stamp)
        return StoredRows(file, member.start, array.dtype, array.shape)

    def _whole_array(self, section: str, key: str) -> Array:
        rows = self.rows(section, key)
        assert rows is not None
        array = rows[:]
        _check_unchanged(rows)
        return array

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

    def _iter_rows(self, array: Array | Rows, section: str) -> Iterator[tuple[int, Callable[[], Array]]]:
        if self.runs is not None and section in ("positions", "dpv"):
            return iter_gathers(array, *self.runs, chunk_bytes=_GATHER_BYTES)
        whole = np.array([0]), np.array([len(array)])
        return iter_gathers(array, *whole, chunk_bytes=_CHUNK_BYTES)

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
        total = len(self.arrays.offsets) - 1
        step = max(1, int(_STREAM_BYTES * max(1, total) // max(1, 12 * self.arrays.header.nb_vertices)))
        deferred, vertex = DeferredChunks(), 0
        keys = {"positions": ["positions"], "dps": self.arrays.dps, "dpv": self.arrays.dpv}
        tables = {section: {key: self.rows(section, key) for key in keys[section]} for section in keys}
        for low in range(0, total, step):
            part = slice(low, min(low + step, total))
            starts, lengths = self._runs_of(part)
            chunk = deferred.add(lengths, partial(self._make_chunk, tables, part, starts, lengths, vertex))
            vertex += chunk.nb_vertices
            yield chunk
            if progress is not None:
                progress(self.info.nbytes * part.stop // total, self.info.nbytes)
        deferred.settle()
        self._end_steps()
        for table in tables.values():
            for rows in table.values():
                _check_unchanged(rows)

    def _make_chunk(self, tables: _Tables, part: slice, starts: Array, lengths: Array, vertex: int) -> Chunk:
        def rows_of(array: Array | Rows) -> Array:
            if self.runs is None:
                return array[int(starts[0]) : int(self.arrays.offsets[part.stop])]
            return _rows_of(array, starts, lengths)

        return Chunk(
            lengths=lengths,
            positions=self._pass(rows_of(tables["positions"]["positions"]), vertex),
            dps={key: array[part] for key, array in tables["dps"].items()},
            dpv={key: rows_of(array) for key, array in tables["dpv"].items()},
        )

    def _runs_of(self, part: slice) -> Runs:
        """Return first vertex and number of vertices of some streamlines."""
        if self.runs is not None:
            return self.runs[0][part], self.runs[1][part]
        return self.arrays.offsets[part], np.diff(self.arrays.offsets[part.start : part.stop + 1])

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the arrays' stated CRCs; the container itself does not count."""
        if self._whole is not None:
            return self._combine(self._whole.fingerprint())
        return self._combine(fingerprint_of(self.members.values()))


class _Groups(Mapping[str, Array]):
    """Members of each group of an opened file, each read when it is asked for."""

    def __init__(self, source: TrxSource) -> None:
        self._source = source

    def __getitem__(self, name: str) -> Array:
        if name not in self._source.arrays.groups:
            raise KeyError(name)
        return self._source._whole_array("groups", name)

    def __contains__(self, name: object) -> bool:
        return name in self._source.arrays.groups

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.arrays.groups)

    def __len__(self) -> int:
        return len(self._source.arrays.groups)


def _check_unchanged(rows: Array | Rows | None) -> None:
    """Raise a StaleError if rows were read from a file that was changed meanwhile: they may be of two states."""
    if isinstance(rows, StoredRows):
        rows.file.check()


def _rows_of(array: Array | Rows, starts: Array, lengths: Array) -> Array:
    parts = list(iter_gathered(array, starts, lengths, chunk_bytes=1 << 62))
    if not parts:
        return np.zeros((0, array.shape[1]), dtype=array.dtype)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
