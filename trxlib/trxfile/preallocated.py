"""Arrays that are made larger than what is in them yet, to be filled from the front.

How much is filled is stated, never guessed from zeros: a vertex at the origin and an empty streamline are ordinary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.temporary import scratch_arrays
from trxlib.errors import CapacityError, InputError, MetadataMismatchError
from trxlib.model.arrays import TrxArrays
from trxlib.model.dtypes import cast
from trxlib.model.offsets import iter_gathered, offsets_dtype
from trxlib.model.select import Runs
from trxlib.model.source import ArraySpec

__all__ = ["Preallocated", "check_count"]

Array = npt.NDArray[Any]
_CHUNK_BYTES = 1 << 18


@dataclass
class Preallocated:
    """Arrays with a capacity, filled from the front.

    Parameters
    ----------
    positions : ndarray (vertices, 3)
        Zero where nothing is yet.
    starts, lengths : ndarray (streamlines,)
        First vertex and number of vertices of each streamline.
    dps, dpv : dict of str to ndarray
        Shapes (streamlines, k) and (vertices, k).
    nb_streamlines, nb_vertices : int
        How many are filled.
    """

    positions: Array
    starts: Array
    lengths: Array
    dps: dict[str, Array] = field(default_factory=dict)
    dpv: dict[str, Array] = field(default_factory=dict)
    nb_streamlines: int = 0
    nb_vertices: int = 0

    @classmethod
    def allocate(
        cls,
        nb_streamlines: int,
        nb_vertices: int,
        positions_dtype: npt.DTypeLike = "<f4",
        dps: Mapping[str, ArraySpec] | None = None,
        dpv: Mapping[str, ArraySpec] | None = None,
        wide_offsets: bool = False,
        in_memory: bool = False,
    ) -> Preallocated:
        """Return arrays of zeros, nothing filled; they lie in a temporary file (see `scratch_arrays`) or in memory.

        Raises
        ------
        CapacityError
            If the disk has no room, or a count is negative.
        """
        if nb_streamlines < 0 or nb_vertices < 0:
            raise CapacityError(f"cannot hold {nb_streamlines} streamlines and {nb_vertices} vertices; give 0 or more")
        counts = np.dtype("<u8") if wide_offsets else offsets_dtype(nb_vertices)
        dps, dpv = dict(dps or {}), dict(dpv or {})
        wanted: list[tuple[Any, tuple[int, ...]]] = [
            (positions_dtype, (nb_vertices, 3)),
            (counts, (nb_streamlines,)),
            (counts, (nb_streamlines,)),
            *((spec.dtype, (nb_streamlines, spec.ncols)) for spec in dps.values()),
            *((spec.dtype, (nb_vertices, spec.ncols)) for spec in dpv.values()),
        ]
        arrays = [np.zeros(shape, dtype) for dtype, shape in wanted] if in_memory else scratch_arrays(wanted)
        positions, starts, lengths, *rest = arrays
        columns = iter(rest)
        return cls(positions, starts, lengths, {key: next(columns) for key in dps}, {key: next(columns) for key in dpv})

    @property
    def capacity(self) -> tuple[int, int]:
        """Streamlines and vertices that there is room for."""
        return len(self.starts), len(self.positions)

    def check_fits(self, source: TrxArrays, nb_streamlines: int, nb_vertices: int, at: tuple[int, int]) -> None:
        """Check that streamlines of `source` can be written from `at` (streamline, vertex) on, before any is.

        Raises
        ------
        CapacityError
            If there is not room for so many.
        MetadataMismatchError
            If `source` lacks a key, or has another width there.
        """
        needed = (at[0] + nb_streamlines, at[1] + nb_vertices)
        if needed[0] > self.capacity[0] or needed[1] > self.capacity[1] or min(at) < 0:
            raise CapacityError(
                f"{nb_streamlines} streamlines and {nb_vertices} vertices from {at[0]} and {at[1]} on do not fit a "
                f"capacity of {self.capacity[0]} and {self.capacity[1]}; resize it or preallocate more"
            )
        for section in ("dps", "dpv"):
            found = getattr(source, section)
            for key, array in getattr(self, section).items():
                if key not in found:
                    raise MetadataMismatchError(f"the input has no {section}/{key}, which the result has")
                if found[key].shape[1] != array.shape[1]:
                    raise MetadataMismatchError(
                        f"{section}/{key} has {found[key].shape[1]} columns, expected {array.shape[1]}"
                    )

    def with_columns(
        self, source: TrxArrays, dps: Mapping[str, ArraySpec], dpv: Mapping[str, ArraySpec]
    ) -> Preallocated:
        """Return the same with just these dps and dpv keys; arrays that are there are shared.

        Parameters
        ----------
        source : TrxArrays
            What is filled: the front of keys that are not there is copied from it.
        dps, dpv : mapping of str to ArraySpec
            The keys.
        """
        if self.dps.keys() == dps.keys() and self.dpv.keys() == dpv.keys():
            return self
        new = [("dps", key, spec, 0) for key, spec in dps.items() if key not in self.dps]
        new += [("dpv", key, spec, 1) for key, spec in dpv.items() if key not in self.dpv]
        arrays = scratch_arrays([(spec.dtype, (self.capacity[axis], spec.ncols)) for _, _, spec, axis in new])
        tables: dict[str, dict[str, Array]] = {
            "dps": {key: array for key, array in self.dps.items() if key in dps},
            "dpv": {key: array for key, array in self.dpv.items() if key in dpv},
        }
        for (section, key, _, _), array in zip(new, arrays, strict=True):
            values = getattr(source, section)[key]
            array[: len(values)] = cast(values, array.dtype, f"{section}/{key}")
            tables[section][key] = array
        return replace(self, dps=tables["dps"], dpv=tables["dpv"])

    def erase(self, at: tuple[int, int], end: tuple[int, int]) -> None:
        """Forget what was written from one (streamline, vertex) to another, behind what was filled before."""
        for array in (self.starts, self.lengths, *self.dps.values()):
            array[at[0] : end[0]] = 0
        for array in (self.positions, *self.dpv.values()):
            array[at[1] : end[1]] = 0
        self.nb_streamlines, self.nb_vertices = at

    def write(
        self,
        source: TrxArrays,
        runs: Runs,
        at: tuple[int, int],
        nb_streamlines: int | None = None,
        positions_map: Callable[[Array], Array] | None = None,
    ) -> tuple[int, int]:
        """Copy streamlines of `source` from `at` (streamline, vertex) on and return where they end.

        Parameters
        ----------
        source : TrxArrays
            Not modified. May be the filled front of these very arrays.
        runs : tuple of two ndarray
            Where the streamlines of `source` lie.
        at : tuple of 2 int
            First streamline and first vertex to write to.
        nb_streamlines : int, optional
            How many to copy, from the first; by default all.
        positions_map : callable, optional
            Applied to positions on their way, chunk by chunk, before they get their type.

        Raises
        ------
        CapacityError, MetadataMismatchError
            As `check_fits`; nothing is written then.
        DtypeError
            If a value does not fit the type that it is written as.
        """
        starts, lengths = (array[:nb_streamlines] for array in runs)
        count, total = len(lengths), int(lengths.sum(dtype=np.int64))
        self.check_fits(source, count, total, at)
        ends = (at[0] + count, at[1] + total)
        copied = np.cumsum(lengths, dtype=np.int64) - lengths + at[1]
        # First: what does not fit is found before anything is written.
        rows = {key: cast(source.dps[key][:count], array.dtype, f"dps/{key}") for key, array in self.dps.items()}
        for target, array, what in self._vertex_arrays(source):
            row = at[1]
            for part in iter_gathered(array, starts, lengths, chunk_bytes=_CHUNK_BYTES):
                values = part if positions_map is None or target is not self.positions else positions_map(part)
                target[row : row + len(part)] = cast(values, target.dtype, what)
                row += len(part)
        for key, target in self.dps.items():
            target[at[0] : ends[0]] = rows[key]
        self.starts[at[0] : ends[0]] = copied
        self.lengths[at[0] : ends[0]] = lengths
        self.nb_streamlines = max(self.nb_streamlines, ends[0])
        self.nb_vertices = max(self.nb_vertices, ends[1])
        return ends

    def _vertex_arrays(self, source: TrxArrays) -> list[tuple[Array, Array, str]]:
        pairs = [(self.positions, source.positions, "positions")]
        return pairs + [(target, source.dpv[key], f"dpv/{key}") for key, target in self.dpv.items()]


def check_count(value: Any, what: str, least: int = 0) -> int:
    """Return a number of streamlines or vertices as int; a float that is whole will do.

    Raises
    ------
    InputError
        If it is no whole number, or less than `least`.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if not isinstance(value, (int, float, np.integer, np.floating)) or value != value // 1 or value < least:
        raise InputError(f"{what} is {value!r}, expected a whole number, {least} or more")
    return int(value)
