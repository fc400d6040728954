"""nibabel LazyTractograms to TRX arrays, a chunk of streamlines at a time.

What comes later may need a wider type: the arrays are widened then, so that the result is the same for every size of
chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, MetadataMismatchError, ShapeError, SpaceWarning, warn
from trxlib.model.arrays import TrxArrays
from trxlib.model.dtypes import DTYPES, cast, extension_of_dtype, little_endian, widest_dtype
from trxlib.model.header import Header
from trxlib.model.offsets import offsets_of
from trxlib.model.select import runs_of
from trxlib.model.source import ArraySpec
from trxlib.model.space import Space
from trxlib.spaces.grid import Grid
from trxlib.spaces.outside import thin_out
from trxlib.trxfile.preallocated import Preallocated, check_count
from trxlib.trxfile.tractograms import PositionsMap, map_by, wanted_types

__all__ = ["copy_lazy", "is_lazy"]

Array = npt.NDArray[Any]
_GROWTH = 2
#: Name of a column: section and key.
_Name = tuple[str, str]
_POSITIONS: _Name = ("positions", "")


def is_lazy(thing: Any) -> bool:
    """Tell whether something is a nibabel LazyTractogram."""
    from nibabel.streamlines.tractogram import LazyTractogram

    return isinstance(thing, LazyTractogram)


def copy_lazy(
    obj: Any, space: Space, extra_buffer: int, chunk_size: int, dtypes: Mapping[str, Any]
) -> tuple[Header, Preallocated]:
    """Copy a LazyTractogram into arrays of its own, chunk by chunk.

    Parameters
    ----------
    obj : LazyTractogram
        What it has still to apply, and its `affine_to_rasmm`, are applied.
    space : Space
        Of the result.
    extra_buffer : int
        Room for at least so many streamlines is made at a time.
    chunk_size : int
        Streamlines held in memory at a time.
    dtypes : mapping
        As for `copy_tractogram`.

    Raises
    ------
    ShapeError, MetadataMismatchError, DtypeError
        Name the streamline that does not fit those before it.

    Warns
    -----
    SpaceWarning
        If the first streamlines lie inside the grid as they are, and outside of it with the affine applied.
    """
    chunk_size = check_count(chunk_size, "chunk_size", least=1)
    affine = _affine_of(obj)
    growing = _Growing(
        Header(space.voxel_to_rasmm, space.dimensions, 0, 0),
        dtypes,
        map_by(affine),
        check_count(extra_buffer, "extra_buffer"),
    )
    for items in _chunks(obj, chunk_size):
        if affine is not None and not growing.count:
            _warn_of_affine([item.streamline for item in items], np.asarray(affine), space)
        growing.add(items)
    preallocated = growing.finished()
    return growing.header.with_counts(preallocated.nb_streamlines, preallocated.nb_vertices), preallocated


def _warn_of_affine(streamlines: Sequence[Any], affine: Array, space: Space) -> None:
    """Warn of an affine that seems to have been applied already: it leads out of the grid what lies inside."""
    grid = Grid(space)
    if not grid.has_grid or np.array_equal(affine, np.eye(4)):
        return
    points = thin_out(np.concatenate([np.zeros((0, 3)), *streamlines]))
    inside = len(points) - len(grid.find_outside(points))
    moved = len(points) - len(grid.find_outside(points @ affine[:3, :3].T + affine[:3, 3]))
    if inside > 0.9 * len(points) and moved < 0.5 * len(points):
        warn(
            f"the LazyTractogram's affine is applied, as nibabel defines it, and {len(points) - moved} of its first "
            f"{len(points)} vertices lie outside the reference's grid then; without it {inside} lie inside: are they "
            "in RASMM already? Then leave affine_to_rasmm out (np.eye(4))",
            SpaceWarning,
        )


def _affine_of(obj: Any) -> Any:
    """Return the affine from what iterating over a LazyTractogram gives to RASMM."""
    affine, pending = getattr(obj, "affine_to_rasmm", None), getattr(obj, "_affine_to_apply", None)
    # Of what a function of items yields (nibabel's readers: TRK), `obj.streamlines` applies the affine that is
    # pending, and iterating over `obj` does not.
    if pending is None or getattr(obj, "_data", None) is None:
        return affine
    return pending if affine is None else np.asarray(affine) @ pending


def _chunks(obj: Any, size: int) -> Iterator[list[Any]]:
    items: list[Any] = []
    for item in obj:
        items.append(item)
        if len(items) == size:
            yield items
            items = []
    if items:
        yield items


@dataclass
class _Column:
    """Width and type of what came so far under one name; None before the first row."""

    what: str
    wanted: np.dtype[Any] | None
    ncols: int | None = None
    dtype: np.dtype[Any] | None = None
    #: What the first array without rows says, which counts if no row ever comes.
    empty: ArraySpec | None = None
    seen: set[np.dtype[Any]] = field(default_factory=set)

    @property
    def spec(self) -> ArraySpec:
        """Width and type of the result, as far as is known."""
        empty = self.empty or ArraySpec(1, np.dtype("<f4"))
        dtype = self.wanted or self.dtype or empty.dtype
        return ArraySpec(empty.ncols if self.ncols is None else self.ncols, dtype)

    def meet_all(self, arrays: list[Array], first: int) -> None:
        """Take note of the rows of a chunk, whose first streamline has this number."""
        if self.dtype is not None and {(array.dtype, array.shape[1]) for array in arrays} == {(self.dtype, self.ncols)}:
            return  # as nearly always
        for number, array in enumerate(arrays, first):
            self.meet(array, number)

    def meet(self, array: Array, number: int) -> None:
        """Take note of the rows that streamline `number` has."""
        if not len(array):
            self.empty = self.empty or ArraySpec(array.shape[1], widest_dtype([array.dtype], self.what))
            return
        if self.ncols is None:
            self.ncols = array.shape[1]
        elif array.shape[1] != self.ncols:
            raise MetadataMismatchError(
                f"streamline {number} has {array.shape[1]} columns of {self.what}, expected {self.ncols}"
            )
        if array.dtype not in self.seen:
            self.dtype = _joint_dtype(self.dtype, array.dtype, f"streamline {number}: {self.what}")
            self.seen.add(array.dtype)

    def joined(self, arrays: list[Array]) -> Array:
        """Join what the streamlines of a chunk have, in the type that the result has so far.

        Positions, and what shall have another type, get it when they are written.
        """
        found = [array for array in arrays if len(array)]
        spec = self.spec
        if not found:
            return np.zeros((0, spec.ncols), spec.dtype)
        convert = _exactly if self.wanted is None else cast
        if self.what != "positions" and len({array.dtype for array in found}) > 1:
            found = [convert(array, spec.dtype, self.what) for array in found]
        whole = np.concatenate(found)
        return little_endian(whole if self.wanted is not None else _exactly(whole, spec.dtype, self.what))


@dataclass
class _Growing:
    """Preallocated arrays that are made larger, and get wider types, as streamlines come."""

    header: Header
    dtypes: Mapping[str, Any]
    positions_map: PositionsMap | None
    extra_buffer: int
    columns: dict[_Name, _Column] = field(default_factory=dict)
    preallocated: Preallocated | None = None
    count: int = 0

    def add(self, items: list[Any]) -> None:
        """Write a chunk behind what is there."""
        part = self._joined(items)
        n, v = part.header.nb_streamlines, part.header.nb_vertices
        self.preallocated = preallocated = self._grown_for(n, v)
        preallocated.write(
            part,
            runs_of(part),
            (preallocated.nb_streamlines, preallocated.nb_vertices),
            positions_map=self.positions_map,
        )
        self.count += n

    def finished(self) -> Preallocated:
        """Return the arrays, also if nothing came."""
        return self._grown_for(0, 0)

    def _joined(self, items: list[Any]) -> TrxArrays:
        """Return a chunk as plain arrays."""
        first = self.count
        if not self.columns:
            names = [("dps", key) for key in items[0].data_for_streamline]
            names += [("dpv", key) for key in items[0].data_for_points]
            self.columns = {name: self._column(name) for name in (_POSITIONS, *names)}
        self._check_keys(items)
        positions = [_vertices(item.streamline, number) for number, item in enumerate(items, first)]
        lengths = np.fromiter(map(len, positions), np.int64, len(items))
        joined = {}
        for name, column in self.columns.items():
            arrays = positions if name == _POSITIONS else _arrays_of(items, name, positions, first)
            column.meet_all(arrays, first)
            joined[name] = column.joined(arrays)
        return TrxArrays(
            self.header.with_counts(len(items), int(lengths.sum())),
            joined.pop(_POSITIONS),
            offsets_of(lengths),
            {key: array for (section, key), array in joined.items() if section == "dps"},
            {key: array for (section, key), array in joined.items() if section == "dpv"},
        )

    def _column(self, name: _Name) -> _Column:
        section, key = name
        positions, _, wanted = wanted_types(self.dtypes)
        if name == _POSITIONS:
            return _Column("positions", positions, ncols=3)
        return _Column(f"{section}/{key}", wanted[section].get(key))

    def _check_keys(self, items: list[Any]) -> None:
        dps, dpv = ({key for name, key in self.columns if name == section} for section in ("dps", "dpv"))
        for number, item in enumerate(items, self.count):
            tables = (("dps", item.data_for_streamline, dps), ("dpv", item.data_for_points, dpv))
            for section, table, expected in tables:
                if table.keys() != expected:
                    raise MetadataMismatchError(
                        f"streamline {number} has the {section} keys {sorted(table)}, expected {sorted(expected)}"
                    )

    def _grown_for(self, n: int, v: int) -> Preallocated:
        """Return room for so many streamlines and vertices more, with the columns that there are now."""
        specs = self._specs()
        if self.preallocated is None:
            return self._allocate(n + self.extra_buffer * bool(n), v + self.extra_buffer * -(-v // max(1, n)), specs)
        needed = (self.preallocated.nb_streamlines + n, self.preallocated.nb_vertices + v)
        capacity = self.preallocated.capacity
        if needed[0] > capacity[0] or needed[1] > capacity[1]:
            # Twice as much each time: all copies together are no more than the result.
            capacity = (max(_GROWTH * needed[0], needed[0] + self.extra_buffer), _GROWTH * needed[1])
        elif specs == _specs_of(self.preallocated):
            return self.preallocated
        preallocated = self._allocate(*capacity, specs)
        _copy_rows(self.preallocated, preallocated)
        return preallocated

    def _specs(self) -> dict[_Name, ArraySpec]:
        columns = self.columns or {_POSITIONS: self._column(_POSITIONS)}
        return {name: column.spec for name, column in columns.items()}

    def _allocate(self, nb_streamlines: int, nb_vertices: int, specs: Mapping[_Name, ArraySpec]) -> Preallocated:
        dps, dpv = ({key: spec for (name, key), spec in specs.items() if name == each} for each in ("dps", "dpv"))
        wide = wanted_types(self.dtypes)[1] == np.uint64
        return Preallocated.allocate(nb_streamlines, nb_vertices, specs[_POSITIONS].dtype, dps, dpv, wide_offsets=wide)


def _arrays_of(items: list[Any], name: _Name, positions: list[Array], first: int) -> list[Array]:
    """Return what each streamline of a chunk has under a dps or dpv key."""
    section, key = name
    what = "/".join(name)
    if section == "dps":
        return [_row(item.data_for_streamline[key], what, number) for number, item in enumerate(items, first)]
    return [
        _rows(item.data_for_points[key], len(vertices), what, number)
        for number, (item, vertices) in enumerate(zip(items, positions, strict=True), first)
    ]


def _vertices(values: Any, number: int) -> Array:
    array = _array(values, "positions", number)
    if array.size == 0:
        array = np.zeros((0, 3), array.dtype if array.ndim == 2 and array.dtype.kind == "f" else "<f4")
    if array.ndim != 2 or array.shape[1] != 3:
        raise ShapeError(f"streamline {number} has positions of shape {array.shape}, expected (vertices, 3)")
    if array.dtype.kind in "iu":  # voxels: exactly the same numbers
        array = array.astype(np.result_type(array.dtype, np.float32))
    if array.dtype.kind != "f":
        raise DtypeError(f"streamline {number} has positions of {array.dtype}, expected float16, 32 or 64")
    return array


def _row(values: Any, what: str, number: int) -> Array:
    array = _array(values, what, number)
    if array.ndim > 1 and array.shape[:-1] != (1,):
        raise ShapeError(f"streamline {number} has {what} of shape {array.shape}, expected one row")
    return array.reshape(1, -1)


def _rows(values: Any, count: int, what: str, number: int) -> Array:
    array = _array(values, what, number)
    if not 1 <= array.ndim <= 2 or len(array) != count:
        raise MetadataMismatchError(f"streamline {number} has {what} of shape {array.shape}, expected {count} rows")
    return array if array.ndim == 2 else array.reshape(-1, 1)


def _array(values: Any, what: str, number: int) -> Array:
    if type(values) is np.ndarray:
        return values
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ShapeError(f"streamline {number} has {what} that are no array: {error}") from None


def _joint_dtype(one: np.dtype[Any] | None, other: np.dtype[Any], what: str) -> np.dtype[Any]:
    """Return the type for values of both types; integers beside floats must be exact, see `_exactly`."""
    try:
        extension_of_dtype(other)
    except DtypeError as error:
        raise DtypeError(f"{what}: {error}") from None
    if one is not None and {one.kind, other.kind} in ({"i", "f"}, {"u", "f"}):
        return DTYPES[extension_of_dtype(np.result_type(one, other))]
    return widest_dtype([other] if one is None else [one, other], what)


_exactly = partial(cast, integers="exact")


def _specs_of(preallocated: Preallocated) -> dict[_Name, ArraySpec]:
    return {name: ArraySpec(array.shape[1], array.dtype) for name, array in _columns_of(preallocated).items()}


def _columns_of(preallocated: Preallocated) -> dict[_Name, Array]:
    dps = {("dps", key): array for key, array in preallocated.dps.items()}
    return {
        _POSITIONS: preallocated.positions,
        **dps,
        **{("dpv", key): array for key, array in preallocated.dpv.items()},
    }


def _copy_rows(old: Preallocated, new: Preallocated) -> None:
    """Copy what is filled into arrays that are larger, or have wider types."""
    n, v = old.nb_streamlines, old.nb_vertices
    columns = _columns_of(old)
    for name, target in _columns_of(new).items():
        rows = n if name[0] == "dps" else v
        if rows:  # without rows the width was a guess
            target[:rows] = _exactly(columns[name][:rows], target.dtype, "/".join(name))
    new.starts[:n], new.lengths[:n] = old.starts[:n], old.lengths[:n]
    new.nb_streamlines, new.nb_vertices = n, v
