"""What changes a TrxFile: make room, cut, append, copy. The class has one thin method for each of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trxlib.api_views import Views
from trxlib.arrays import TrxArrays
from trxlib.dtypes import cast_integers
from trxlib.errors import CapacityError, MetadataMismatchError, ShapeError
from trxlib.header import Header
from trxlib.names import ArrayName, is_sidecar, parse_name
from trxlib.ops.bundle import BundleSource
from trxlib.ops.plan import Plan, plan_merge
from trxlib.ops.resize import Room, check_count
from trxlib.ops.select import Runs, runs_of
from trxlib.ragged import check_offsets, complete_offsets, offsets_dtype
from trxlib.rules import check_members, check_unique, shape_of_entry
from trxlib.source import ArraySpec
from trxlib.space import Space, same_space
from trxlib.storage.mapping import MappedFile

if TYPE_CHECKING:
    from trxlib.trxfile import TrxFile

__all__ = ["allocate_as", "append", "as_room", "copy_bundle", "copy_views", "describe", "fill_preallocated"]
__all__ += ["map_pointers", "resize"]

Array = npt.NDArray[Any]
#: Vertices for which room is made with each streamline of an extra buffer, at least.
_BUFFER_VERTICES = 100
_COLUMNS = ("dps", "dpv")
_BLANK = Space(np.eye(4), (1, 1, 1))


def allocate_as(nb_streamlines: int, nb_vertices: int, init_as: TrxFile | None) -> Room:
    """Return room with the dtypes, dps and dpv keys of another file."""
    if init_as is None:
        return Room.allocate(nb_streamlines, nb_vertices)
    arrays = init_as._bundle()[0]
    return _room_like(arrays, nb_streamlines, nb_vertices)


def _room_like(arrays: TrxArrays, nb_streamlines: int, nb_vertices: int, *, in_memory: bool = False) -> Room:
    return Room.allocate(
        nb_streamlines,
        nb_vertices,
        arrays.positions.dtype,
        _specs_of(arrays.dps),
        _specs_of(arrays.dpv),
        wide_offsets=arrays.offsets.dtype.itemsize == 8,
        in_memory=in_memory,
    )


def copy_views(views: Views) -> Views:
    """Return views of the same arrays, with dicts of their own."""
    return replace(
        views,
        data_per_vertex=dict(views.data_per_vertex),
        data_per_streamline=dict(views.data_per_streamline),
        groups=dict(views.groups),
        data_per_group={group: dict(values) for group, values in views.data_per_group.items()},
        sidecars=dict(views.sidecars),
        room=None,
    )


def copy_bundle(
    arrays: TrxArrays, runs: Runs | None, capacity: tuple[int, int], *, in_memory: bool = False
) -> tuple[Room, TrxArrays]:
    """Copy a bundle into arrays of its own.

    Parameters
    ----------
    arrays : TrxArrays
        Not modified.
    runs : tuple of two ndarray, optional
        Where its streamlines lie, if not as its offsets say.
    capacity : tuple of 2 int
        Streamlines and vertices to make room for.
    in_memory : bool
        Whether the copy lies in memory, else in a temporary file.

    Returns
    -------
    Room
        The large arrays.
    TrxArrays
        With copies of groups, dpg and sidecars.
    """
    room = _room_like(arrays, *capacity, in_memory=in_memory)
    room.write(arrays, runs_of(arrays) if runs is None else runs, (0, 0))
    small = replace(
        arrays,
        groups={name: np.array(members) for name, members in arrays.groups.items()},
        dpg={group: {key: np.array(value) for key, value in values.items()} for group, values in arrays.dpg.items()},
    )
    return room, small


def as_room(trx: TrxFile) -> Room:
    """Return the arrays of a file as room to write into; a file that was not preallocated gets arrays of its own."""
    arrays, runs = trx._bundle()
    own = trx._own_room() if runs is None else None
    if own is None:
        counts = (arrays.header.nb_streamlines, arrays.header.nb_vertices)
        room, arrays = copy_bundle(arrays, runs, trx._capacity() or counts)
    else:
        room = own.with_columns(arrays, _specs_of(arrays.dps), _specs_of(arrays.dpv))
    trx._hold(room, arrays)
    return room


def _specs_of(table: Mapping[str, Array]) -> dict[str, ArraySpec]:
    return {key: ArraySpec(array.shape[1], array.dtype) for key, array in table.items()}


def resize(trx: TrxFile, nb_streamlines: int | None, nb_vertices: int | None) -> None:
    """Cut a file or make room in it, see `TrxFile.resize`."""
    arrays, runs = trx._bundle()
    there = arrays.header.nb_streamlines
    nb_streamlines = None if nb_streamlines is None else check_count(nb_streamlines, "nb_streamlines")
    nb_vertices = None if nb_vertices is None else check_count(nb_vertices, "nb_vertices")
    if nb_streamlines is not None and nb_streamlines < there:
        arrays, runs = _cut(arrays, runs_of(arrays) if runs is None else runs, nb_streamlines)
    kept, vertices = arrays.header.nb_streamlines, arrays.header.nb_vertices
    size = (
        kept if nb_streamlines is None else nb_streamlines,
        vertices if nb_vertices is None else nb_vertices,
    )
    if size[1] < vertices:
        raise CapacityError(f"{kept} streamlines have {vertices} vertices, which do not fit {size[1]}")
    if size == (kept, vertices):
        # Nothing to make room for: the front of the arrays, as it lies.
        trx._hold((arrays, runs))
    else:
        room = _room_like(arrays, *size)
        room.write(arrays, runs_of(arrays) if runs is None else runs, (0, 0))
        trx._hold(room, arrays)
        trx._copy_safe = True
    trx.header.update(NB_STREAMLINES=size[0], NB_VERTICES=size[1])


def _cut(arrays: TrxArrays, runs: Runs, count: int) -> tuple[TrxArrays, Runs]:
    """Return the first streamlines; groups keep their names and lose the members cut off."""
    starts, lengths = runs[0][:count], runs[1][:count]
    nb_vertices = int(lengths.sum(dtype=np.int64))
    cut = replace(
        arrays,
        header=arrays.header.with_counts(count, nb_vertices),
        dps={key: array[:count] for key, array in arrays.dps.items()},
        groups={name: members[members < count] for name, members in arrays.groups.items()},
    )
    return cut, (starts, lengths)


def append(trx: TrxFile, other: TrxFile, extra_buffer: int) -> None:
    """Add the streamlines of another file, see `TrxFile.append`."""
    arrays, runs = trx._bundle()
    added, added_runs = other._bundle()
    arrays = _placed_as(arrays, added)
    sources = [BundleSource(arrays, runs=runs, path="this file"), BundleSource(added, runs=added_runs, path="appended")]
    plan = plan_merge(sources)
    groups = _joined_groups(arrays, added)
    count, vertices = arrays.header.nb_streamlines, arrays.header.nb_vertices
    own = trx._own_room() if runs is None else None
    if own is not None and _takes(own, plan):
        room = own.with_columns(_with_keys(arrays, plan), plan.dps, plan.dpv)
    else:
        room = _grown(trx._capacity() or (0, 0), arrays, added, plan, extra_buffer)
        room.write(_with_keys(arrays, plan), runs_of(arrays) if runs is None else runs, (0, 0))
    room.write(_with_keys(added, plan), runs_of(added) if added_runs is None else added_runs, (count, vertices))
    trx._hold(room, replace(arrays, groups=groups, **_small_of(plan)))
    trx.header = plan.header.with_counts(*room.capacity).to_dict()
    trx._copy_safe = True


def _placed_as(arrays: TrxArrays, other: TrxArrays) -> TrxArrays:
    """Return a bundle in the space of another, if it has no streamlines and nobody gave it a space."""
    if arrays.header.nb_streamlines or not same_space(arrays.space, _BLANK):
        return arrays
    space = other.space
    header = replace(arrays.header, voxel_to_rasmm=space.voxel_to_rasmm, dimensions=space.dimensions)
    return replace(arrays, header=header)


def fill_preallocated(target: TrxFile, bundles: Sequence[tuple[TrxArrays, Runs | None]], check_space: bool) -> None:
    """Write all bundles but the first behind what is in `target`, whose bundle is the first.

    Parameters
    ----------
    target : TrxFile
        Preallocated. Keys that its bundle has not (any more) are removed.
    bundles : sequence of (TrxArrays, runs)
        As they are to be joined.
    check_space : bool
        Whether all must be in one space.

    Raises
    ------
    CapacityError, SpaceMismatchError, MetadataMismatchError, DtypeError
        If they do not fit; the file is as full as before then.
    """
    first = bundles[0][0] if len(bundles) == 1 else _placed_as(bundles[0][0], bundles[1][0])
    bundles = [(first, bundles[0][1]), *bundles[1:]]
    # Only the first is called by a number that a plain concatenation has not: renamed keys are the same then.
    plan = plan_merge(
        [BundleSource(arrays, runs=runs) for arrays, runs in bundles],
        names=[str(number) for number in range(len(bundles))],
        keep_groups=False,
        check_space=check_space,
    )
    room = as_room(target)
    kept = replace(
        room,
        dps={key: array for key, array in room.dps.items() if key in first.dps},
        dpv={key: array for key, array in room.dpv.items() if key in first.dpv},
    )
    at = (first.header.nb_streamlines, first.header.nb_vertices)
    nb_streamlines, nb_vertices = plan.header.nb_streamlines - at[0], plan.header.nb_vertices - at[1]
    for arrays, _ in bundles[1:]:
        for section in _COLUMNS:
            extra = sorted(set(getattr(arrays, section)) - set(getattr(kept, section)))
            if extra and arrays.header.nb_streamlines:
                raise MetadataMismatchError(
                    f"the preallocated file has no {section}/{extra[0]}, which an input has; preallocate with "
                    f"init_as=, or give delete_{section}=True"
                )
        if arrays.header.nb_streamlines:
            kept.check_fits(arrays, nb_streamlines, nb_vertices, at)
    try:
        end = at
        for arrays, runs in bundles[1:]:
            if arrays.header.nb_streamlines:
                end = kept.write(arrays, runs_of(arrays) if runs is None else runs, end)
    except BaseException:
        kept.erase(at, (plan.header.nb_streamlines, plan.header.nb_vertices))
        raise
    target._hold(kept, replace(first, groups={}, **_small_of(plan)))
    target.header = plan.header.with_counts(*kept.capacity).to_dict()


def _takes(room: Room, plan: Plan) -> bool:
    """Tell whether the result of a plan can be written behind what is in a room, without loss."""
    if plan.header.nb_streamlines > room.capacity[0] or plan.header.nb_vertices > room.capacity[1]:
        return False
    for section in ("dps", "dpv"):
        arrays, specs = getattr(room, section), getattr(plan, section)
        if not all(
            key in specs and specs[key].ncols == array.shape[1] and np.can_cast(specs[key].dtype, array.dtype, "safe")
            for key, array in arrays.items()
        ):
            return False
    return np.can_cast(plan.positions_dtype, room.positions.dtype, "safe")


def _grown(before: tuple[int, int], arrays: TrxArrays, added: TrxArrays, plan: Plan, extra_buffer: int) -> Room:
    """Return empty room for the result of a plan, and a buffer if more is needed than there was."""
    n, v = plan.header.nb_streamlines, plan.header.nb_vertices
    if n > before[0] or v > before[1]:
        mean = -(-v // n) if n else 0
        n, v = n + extra_buffer, v + extra_buffer * max(_BUFFER_VERTICES, mean)
    wide = max(arrays.offsets.dtype.itemsize, added.offsets.dtype.itemsize) == 8
    return Room.allocate(
        max(n, before[0]), max(v, before[1]), plan.positions_dtype, plan.dps, plan.dpv, wide_offsets=wide
    )


def _with_keys(arrays: TrxArrays, plan: Plan) -> TrxArrays:
    """Return a bundle that has every key of the plan: one without streamlines may lack some."""
    n, v = arrays.header.nb_streamlines, len(arrays.positions)
    dps = {key: np.zeros((n, spec.ncols), spec.dtype) for key, spec in plan.dps.items() if key not in arrays.dps}
    dpv = {key: np.zeros((v, spec.ncols), spec.dtype) for key, spec in plan.dpv.items() if key not in arrays.dpv}
    return replace(arrays, dps={**dps, **arrays.dps}, dpv={**dpv, **arrays.dpv}) if dps or dpv else arrays


def _joined_groups(arrays: TrxArrays, added: TrxArrays) -> dict[str, Array]:
    count = arrays.header.nb_streamlines
    for bundle in (arrays, added):
        for name, members in bundle.groups.items():
            check_members(members, bundle.header.nb_streamlines, f"groups/{name}")
    groups = dict(arrays.groups)
    for name, members in added.groups.items():
        moved = cast_integers(members.astype(np.int64) + count, "<u4", f"groups/{name}")
        groups[name] = np.concatenate([groups[name], moved]) if name in groups else moved
    return groups


def _small_of(plan: Plan) -> dict[str, Any]:
    """Return dpg and sidecars as a plan unites them."""
    dpg: dict[str, dict[str, Array]] = {}
    sidecars = {path: data for path, data in plan.small.items() if is_sidecar(path)}
    for path, data in plan.small.items():
        if path.startswith("dpg/"):
            name = parse_name(path)
            dpg.setdefault(name.group, {})[name.name] = np.frombuffer(bytearray(data), name.dtype).reshape(1, -1)
    return {"dpg": dpg, "sidecars": sidecars}


def map_pointers(
    header: Header, pointers: Mapping[str, tuple[int, int]], root_zip: str | None, root: str | None
) -> TrxArrays:
    """Map arrays whose places are known, see `TrxFile._create_trx_from_pointer`."""
    arrays = TrxArrays.empty(header)
    arrays.header = header
    files: dict[str, MappedFile] = {}
    names: list[ArrayName] = []
    for path, (start, count) in pointers.items():
        inside = Path(path).relative_to(root).as_posix() if root is not None and Path(path).is_absolute() else path
        name = parse_name(inside)
        names.append(name)
        file = root_zip if root_zip is not None else str(Path(root or "", path))
        if file not in files:
            files[file] = MappedFile(file, "c")
        shape = shape_of_entry(name, count * name.dtype.itemsize, header)
        array = files[file].array(name.dtype, shape, start)
        if name.section in ("positions", "offsets"):
            setattr(arrays, name.section, array)
        elif name.group:
            arrays.dpg.setdefault(name.group, {})[name.name] = array
        else:
            getattr(arrays, name.section)[name.name] = array
    check_unique(names)
    missing = {"positions", "offsets"} - {name.section for name in names}
    if missing and header.nb_streamlines + header.nb_vertices:
        raise ShapeError(f"{' and '.join(sorted(missing))} missing, but the header states streamlines")
    check_offsets(arrays.offsets, header.nb_vertices)
    arrays.offsets = complete_offsets(arrays.offsets, header.nb_streamlines, header.nb_vertices)
    if arrays.offsets.dtype.kind != "u":
        arrays.offsets = arrays.offsets.astype(offsets_dtype(header.nb_vertices))
    return arrays


def describe(trx: TrxFile) -> str:
    """Return the text that `print` shows."""
    header = Header.from_dict(trx.header)
    space = Space(header.voxel_to_rasmm, header.dimensions)
    count, vertices = trx._get_real_len()
    affine = np.array2string(header.voxel_to_rasmm, formatter={"float_kind": lambda value: f"{value:.6f}"})
    sizes = ", ".join(f"{size:.2f}" for size in space.voxel_sizes)
    lines = [f"VOXEL_TO_RASMM:\n{affine}", f"DIMENSIONS: {list(header.dimensions)}", f"voxel sizes: {sizes} mm"]
    if (header.nb_streamlines, header.nb_vertices) != (count, vertices):
        lines.append(f"room for: {header.nb_streamlines} streamlines, {header.nb_vertices} vertices")
    lines += [f"streamlines: {count}", f"vertices: {vertices}"]
    if trx._joined is not None:
        plan = trx._joined.plan
        keys: dict[str, Any] = {"dpv": plan.dpv, "dps": plan.dps, "groups": plan.groups}
    else:
        arrays = TrxArrays.empty(header) if trx._closed else trx._bundle()[0]
        keys = {"dpv": arrays.dpv, "dps": arrays.dps, "groups": arrays.groups}
        keys |= {f"dpg of {group}": values for group, values in arrays.dpg.items()}
    lines += [f"{what}: {', '.join(sorted(names)) or 'none'}" for what, names in keys.items()]
    return "\n".join(lines)
