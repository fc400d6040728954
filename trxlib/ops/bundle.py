"""A TRX bundle as an input of the engine: from a file, from memory, or a selection of either.

Bytes that lie unchanged in a stored archive or folder are copied from there inside the kernel; everything else is
streamed in chunks.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.arrays import TrxArrays
from trxlib.dtypes import little_endian
from trxlib.errors import DataLossWarning, HeaderWarning
from trxlib.header import copy_values
from trxlib.names import ArrayName, check_key, make_key
from trxlib.ragged import iter_gathered
from trxlib.source import ArraySpec, Chunk, DeferredChunks, Headers, Progress, Source, SourceInfo
from trxlib.storage.container import Container, check_crc, open_container
from trxlib.storage.crc import crc_of_file
from trxlib.storage.members import Member
from trxlib.storage.vectored import Runs

__all__ = ["BundleSource", "PositionsPass", "headers_of"]

Array = npt.NDArray[Any]
_CHUNK_BYTES = 1 << 19  # stays in a core's cache between its CRC and its copy
_STREAM_BYTES = 1_920_000  # of positions that writers of other formats get at a time, as readers give them


class PositionsPass(Protocol):
    """Something that positions pass through: checked, moved or given their type, not modified in place."""

    def __call__(self, block: Array, vertex: int, source: BundleSource) -> Array:
        """Return the block that goes on; its first vertex in `source` is given. Safe in any thread."""

    def end(self) -> None:
        """Log what was counted."""


class BundleSource:
    """A TRX file, or arrays in memory, as the engine reads them.

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
        Where the bundle is from, for messages.
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
        self.runs = runs
        self.path = path
        #: Positions pass through these on their way, block by block, in any thread and order.
        self.passes: list[PositionsPass] = []
        #: Their type behind all passes.
        self.positions_dtype: np.dtype[Any] = arrays.positions.dtype
        #: The file's numbers of the streamlines of a selection, for messages.
        self.numbers: Array | None = None
        #: What is asked for the fingerprint instead, where more than the TRX file went into this bundle.
        self.origin: Source | None = None
        self._container: Container | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> BundleSource:
        """Open a TRX archive or folder; `close` releases it.

        Names that cannot be written (with a dot, say, which is legal to read) are changed, with a HeaderWarning.
        """
        container = open_container(path, mode="r")
        members = _fit_names(container.arrays, container.members, str(path))
        source = cls(container.arrays, members=members, path=str(path))
        source._container = container
        return source

    def with_selection(self, arrays: TrxArrays, runs: tuple[Array, Array], rows: Array) -> BundleSource:
        """Return a source of a selection of this one, as made by `trxlib.ops.select.select_runs` of `rows`."""
        selected = BundleSource(arrays, runs=runs, path=self.path)
        selected.numbers = rows if self.numbers is None else self.numbers[rows]
        selected.passes, selected.positions_dtype = self.passes, self.positions_dtype
        selected.origin = self.origin or self
        selected._container = self._container
        return selected

    def close(self) -> None:
        """Release what `open` opened."""
        if self._container is not None:
            self._container.close()

    @cached_property
    def info(self) -> SourceInfo:
        """What the header and the entry names say."""
        arrays = self.arrays
        return SourceInfo(
            path=self.path,
            format="trx",
            space=arrays.space,
            nb_streamlines=arrays.header.nb_streamlines,
            nb_vertices=arrays.header.nb_vertices,
            positions_dtype=self.positions_dtype,
            dps={key: _spec(array) for key, array in arrays.dps.items()},
            dpv={key: _spec(array) for key, array in arrays.dpv.items()},
            nbytes=arrays.positions.itemsize * 3 * arrays.header.nb_vertices,
        )

    def rows(self, section: str, key: str) -> Array | None:
        """Return the array of a section and key (shape (rows, k)), or None if there is none."""
        if section == "positions":
            return self.arrays.positions
        return getattr(self.arrays, section).get(key)  # type: ignore[no-any-return]

    def member(self, section: str, key: str) -> Member | None:
        """Return the place on disk that holds exactly the bytes the engine needs, or None."""
        if self.runs is not None and section in ("positions", "dpv"):
            return None
        if section == "positions" and self.passes:
            return None
        return self._member_by_key.get((section, key))

    @cached_property
    def _member_by_key(self) -> dict[tuple[str, str], Member]:
        return {(name.section, name.name): member for name, member in self.members.items() if not name.group}

    def stated(self, section: str, key: str) -> Member | None:
        """Return the place on disk of a whole array whose CRC is stated there, or None."""
        member = self._member_by_key.get((section, key)) if self.runs is None else None
        return member if member is not None and member.crc is not None else None

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

    def plain_runs(self, section: str, key: str) -> Runs | None:
        """Return runs of rows in memory that only need to be copied, or None."""
        array = self.rows(section, key)
        is_plain = section == "dpv" or (section == "positions" and not self.passes)
        if self.runs is None or not is_plain or array is None or not array.flags.c_contiguous:
            return None
        return Runs(array, *self.runs)

    def iter_rows(self, section: str, key: str) -> Iterator[Array]:
        """Yield the rows of an array in order, half a megabyte at a time, as they are before `pass_positions`."""
        array = self.rows(section, key)
        assert array is not None
        if self.runs is not None and section in ("positions", "dpv"):
            yield from iter_gathered(array, *self.runs, chunk_bytes=_CHUNK_BYTES)
            return
        step = max(1, _CHUNK_BYTES // max(1, array.dtype.itemsize * array.shape[1]))
        for start in range(0, len(array), step):
            yield array[start : start + step]

    def pass_positions(self, block: Array, vertex: int) -> Array:
        """Return the positions of the result, for a block of which the first vertex is given; safe in any thread.

        Raises
        ------
        FormatError
            Naming the streamline that breaks a rule.
        """
        for step in self.passes:
            block = step(block, vertex, self)
        return block

    def streamlines_at(self, vertices: Any) -> Any:
        """Return the streamlines that some vertices belong to, by their numbers in the file."""
        rows = np.searchsorted(self.arrays.offsets, vertices, side="right") - 1
        return rows if self.numbers is None else self.numbers[rows]

    def end_passes(self) -> None:
        """Log what was counted, now that all positions have passed."""
        for step in self.passes:
            step.end()

    def iter_starts(self) -> Iterator[Array]:
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
        self.end_passes()

    def _make_chunk(self, part: slice, starts: Array, lengths: Array, vertex: int) -> Chunk:
        arrays = self.arrays

        def rows_of(array: Array) -> Array:
            if self.runs is None:
                return array[int(starts[0]) : int(arrays.offsets[part.stop])]
            return _rows_of(array, starts, lengths)

        return Chunk(
            lengths=lengths,
            positions=self.pass_positions(rows_of(arrays.positions), vertex),
            dps={key: array[part] for key, array in arrays.dps.items()},
            dpv={key: rows_of(array) for key, array in arrays.dpv.items()},
        )

    def _runs(self) -> tuple[Array, Array]:
        if self.runs is not None:
            return self.runs
        return self.arrays.offsets[:-1], np.diff(self.arrays.offsets)

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the arrays' stated CRCs; the container itself does not count."""
        if self.origin is not None:
            return self.origin.fingerprint()
        members = sorted(self.members.values(), key=lambda member: member.path)
        crc = 0
        for member in members:
            stated = member.crc
            own = crc_of_file(member.file, member.start, member.nbytes) if stated is None else stated
            text = f"{member.path}:{member.nbytes}:{own:08x};"
            crc = isal_zlib.crc32(text.encode(errors="surrogateescape"), crc)
        return f"crc32:{crc:08x}:{sum(member.nbytes for member in members)}"


def headers_of(source: Source) -> Headers:
    """Return what a plan needs to know of a source, which may be closed afterwards.

    Header facts of inputs that are no TRX files become a header key of the format's name (``TRK``).
    """
    if not isinstance(source, BundleSource):
        facts = dict(source.info.facts)
        return Headers(source.info, extra={source.info.format.upper(): facts} if facts else {})
    arrays = source.arrays
    for section in ("groups", "dps", "dpv", "dpg"):
        for key in getattr(arrays, section):
            if not isinstance(key, str):
                check_key(key, f"{section} key")  # which says so: keys of two types cannot even be sorted
    orphans = sorted(set(arrays.dpg) - set(arrays.groups))
    if orphans:
        warnings.warn(
            f"{source.path or 'dpg'}: left out, since there are no such groups: dpg/{', dpg/'.join(orphans)}",
            DataLossWarning,
            stacklevel=3,
        )
    return Headers(
        info=source.info,
        groups={group: len(members) for group, members in arrays.groups.items()},
        dpg={
            group: {key: little_endian(array).reshape(1, -1).copy() for key, array in values.items()}
            for group, values in arrays.dpg.items()
            if group in arrays.groups
        },
        extra=copy_values(arrays.header.extra),
        sidecars=dict(arrays.sidecars),
    )


def _fit_names(arrays: TrxArrays, members: Mapping[ArrayName, Member], path: str) -> dict[ArrayName, Member]:
    """Rename, in `arrays`, the keys and groups that cannot be written; return the members under the new names."""
    renamed: dict[str, dict[str, str]] = {section: _fit_keys(getattr(arrays, section)) for section in ("dps", "dpv")}
    renamed["groups"] = _fit_keys(arrays.groups, also_taken=arrays.dpg)
    arrays.dpg = {renamed["groups"].get(group, group): dict(table) for group, table in arrays.dpg.items()}
    small = {f"dpg/{group}": _fit_keys(table) for group, table in arrays.dpg.items()}
    changes = [
        f"{section}/{old} becomes {new}" for section, table in (renamed | small).items() for old, new in table.items()
    ]
    if not changes:
        return dict(members)
    warnings.warn(
        f"{path}: names that other programs cut are changed: {', '.join(changes)}", HeaderWarning, stacklevel=3
    )
    return {
        name if name.group else replace(name, name=renamed.get(name.section, {}).get(name.name, name.name)): member
        for name, member in members.items()
    }


def _fit_keys(table: dict[str, Array], also_taken: Collection[str] = ()) -> dict[str, str]:
    """Rename the keys of a table that cannot be written; return the new ones by the old ones."""
    renamed = {}
    for key in [key for key in table if make_key(key) != key]:
        new = make_key(key)
        while new in table or new in also_taken:
            new += "_"
        table[new] = table.pop(key)
        renamed[key] = new
    return renamed


def _rows_of(array: Array, starts: Array, lengths: Array) -> Array:
    parts = list(iter_gathered(array, starts, lengths, chunk_bytes=1 << 62))
    if not parts:
        return np.zeros((0, array.shape[1]), dtype=array.dtype)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _spec(array: Array) -> ArraySpec:
    return ArraySpec(array.shape[1], array.dtype)
