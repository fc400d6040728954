"""What changes a TrxFile: make room, cut, copy; `trxlib.trxfile.append` adds streamlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.mapping import MappedFile
from trxlib.container.reader import checked_offsets
from trxlib.errors import CapacityError
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header
from trxlib.model.names import ArrayName
from trxlib.model.paths import arrays_of_entries, parse_name
from trxlib.model.select import Selection
from trxlib.model.source import ArraySpec
from trxlib.model.space import Space
from trxlib.trxfile.content import Content
from trxlib.trxfile.preallocated import Preallocated, check_count

__all__ = ["allocate_as", "as_preallocated", "copy_selection", "describe", "map_pointers", "resize"]

Array = npt.NDArray[Any]
_FOUND = ("data_per_vertex", "data_per_streamline", "groups")
_NONE = ("No data per vertex (dpv) keys", "No data per streamline (dps) keys", "No group keys")


def allocate_as(nb_streamlines: int, nb_vertices: int, init_as: Content | None) -> Preallocated:
    """Return preallocated arrays with the dtypes, dps and dpv keys of another file."""
    if init_as is None:
        return Preallocated.allocate(nb_streamlines, nb_vertices)
    arrays = init_as.selection().arrays
    return _allocate_like(arrays, nb_streamlines, nb_vertices)


def _allocate_like(
    arrays: TrxArrays, nb_streamlines: int, nb_vertices: int, *, in_memory: bool = False
) -> Preallocated:
    return Preallocated.allocate(
        nb_streamlines,
        nb_vertices,
        arrays.positions.dtype,
        _specs_of(arrays.dps),
        _specs_of(arrays.dpv),
        wide_offsets=arrays.offsets.dtype.itemsize == 8,
        in_memory=in_memory,
    )


def copy_selection(
    selection: Selection, capacity: tuple[int, int], *, in_memory: bool = False
) -> tuple[Preallocated, TrxArrays]:
    """Copy streamlines into arrays of their own.

    Parameters
    ----------
    selection : Selection
        Not modified.
    capacity : tuple of 2 int
        Streamlines and vertices to make room for.
    in_memory : bool
        Whether the copy lies in memory, else in a temporary file.

    Returns
    -------
    Preallocated
        The large arrays.
    TrxArrays
        With copies of groups, dpg and sidecars.
    """
    arrays = selection.arrays
    preallocated = _allocate_like(arrays, *capacity, in_memory=in_memory)
    preallocated.write(arrays, selection.known_runs(), (0, 0))
    small = replace(
        arrays,
        groups={name: np.array(members) for name, members in arrays.groups.items()},
        dpg={group: {key: np.array(value) for key, value in values.items()} for group, values in arrays.dpg.items()},
    )
    return preallocated, small


def as_preallocated(content: Content) -> Preallocated:
    """Return preallocated arrays that hold what a file holds; a file that has none gets some."""
    selection = content.selection()
    arrays = selection.arrays
    own = content.preallocated() if selection.runs is None else None
    if own is None:
        counts = (arrays.header.nb_streamlines, arrays.header.nb_vertices)
        preallocated, arrays = copy_selection(selection, content.capacity() or counts)
    else:
        preallocated = own.with_columns(arrays, _specs_of(arrays.dps), _specs_of(arrays.dpv))
    content.hold(preallocated, arrays)
    return preallocated


def _specs_of(table: Mapping[str, Array]) -> dict[str, ArraySpec]:
    return {key: ArraySpec(array.shape[1], array.dtype) for key, array in table.items()}


def resize(content: Content, nb_streamlines: int | None, nb_vertices: int | None) -> None:
    """Cut a file or make room in it, see `TrxFile.resize`."""
    selection = content.selection()
    nb_streamlines = None if nb_streamlines is None else check_count(nb_streamlines, "nb_streamlines")
    nb_vertices = None if nb_vertices is None else check_count(nb_vertices, "nb_vertices")
    if nb_streamlines is not None and nb_streamlines < selection.arrays.header.nb_streamlines:
        selection = _cut(selection, nb_streamlines)
    arrays = selection.arrays
    kept, vertices = arrays.header.nb_streamlines, arrays.header.nb_vertices
    size = (
        kept if nb_streamlines is None else nb_streamlines,
        vertices if nb_vertices is None else nb_vertices,
    )
    if size[1] < vertices:
        raise CapacityError(f"{kept} streamlines have {vertices} vertices, which do not fit {size[1]}")
    front = _front(selection) if size == (kept, vertices) else None
    if front is not None:
        # Nothing to make room for, and nothing to be moved: the arrays as they lie, without what is not used.
        content.hold(Selection(front, None))
    else:
        preallocated = _allocate_like(arrays, *size)
        preallocated.write(arrays, selection.known_runs(), (0, 0))
        content.hold(preallocated, arrays)
    content.header.update(NB_STREAMLINES=size[0], NB_VERTICES=size[1])


def _front(selection: Selection) -> TrxArrays | None:
    """Return arrays that end with the last vertex selected; None if the streamlines lie in another order."""
    arrays, runs = selection
    nb_vertices = arrays.header.nb_vertices
    offsets = arrays.offsets
    if runs is not None:
        starts, lengths = runs
        offsets = np.zeros(len(lengths) + 1, dtype=arrays.offsets.dtype)
        np.cumsum(lengths, out=offsets[1:], dtype=offsets.dtype)
        if ((starts != offsets[:-1]) & (lengths > 0)).any():
            return None
    return replace(
        arrays,
        positions=arrays.positions[:nb_vertices],
        offsets=offsets,
        dpv={key: array[:nb_vertices] for key, array in arrays.dpv.items()},
    )


def _cut(selection: Selection, count: int) -> Selection:
    """Return the first streamlines; groups keep their names and lose the members cut off."""
    arrays = selection.arrays
    starts, lengths = (array[:count] for array in selection.known_runs())
    nb_vertices = int(lengths.sum(dtype=np.int64))
    cut = replace(
        arrays,
        header=arrays.header.with_counts(count, nb_vertices),
        dps={key: array[:count] for key, array in arrays.dps.items()},
        groups={name: members[members < count] for name, members in arrays.groups.items()},
    )
    return Selection(cut, (starts, lengths))


def map_pointers(
    header: Header, pointers: Mapping[str, tuple[int, int]], root_zip: str | None, root: str | None
) -> TrxArrays:
    """Map arrays whose places are known, see `TrxFile._create_trx_from_pointer`."""
    sizes = []
    for path, (_, count) in pointers.items():
        inside = Path(path).relative_to(root).as_posix() if root is not None and Path(path).is_absolute() else path
        sizes.append((inside, count * parse_name(inside).type.itemsize))
    shapes = arrays_of_entries(sizes, header)
    files: dict[str, MappedFile] = {}
    arrays: dict[ArrayName, Array] = {}
    for (name, shape), (path, (start, _)) in zip(shapes.items(), pointers.items(), strict=True):
        file = root_zip if root_zip is not None else str(Path(root or "", path))
        if file not in files:
            files[file] = MappedFile(file, "c")
        array = files[file].array(name.dtype, shape, start)
        arrays[name] = checked_offsets(array, header) if name.section == "offsets" else array
    return TrxArrays.of_entries(header, arrays)


def describe(content: Content) -> str:
    """Return the text that `print` shows, with the labels of the reference package."""
    if content.is_closed:
        return "closed TrxFile"
    header = content.stated if isinstance(content.stated, Header) else Header.from_dict(content.stated)
    space = Space(header.voxel_to_rasmm, header.dimensions)
    count, vertices = content.filled()
    affine = np.array2string(header.voxel_to_rasmm, formatter={"float_kind": lambda value: f"{value:.6f}"})
    sizes = " ".join(f"{size:.2f}" for size in space.voxel_sizes)
    lines = [
        f"VOXEL_TO_RASMM: \n{affine}",
        f"DIMENSIONS: {np.array2string(np.array(header.dimensions))}",
        f"VOX_SIZES: [{sizes}]",
        f"VOX_ORDER: {space.voxel_order}",
    ]
    if (header.nb_streamlines, header.nb_vertices) != (count, vertices):
        lines += [f"streamline_size: {header.nb_streamlines}", f"vertex_size: {header.nb_vertices}"]
    lines += [f"streamline_count: {count}", f"vertex_count: {vertices}"]
    if content.joined is not None:
        plan = content.joined.plan
        keys: tuple[Mapping[str, Any], ...] = (plan.dpv, plan.dps, plan.groups)
        dpg: Mapping[str, Any] = {}
    else:
        arrays = content.selection().arrays
        keys, dpg = (arrays.dpv, arrays.dps, arrays.groups), arrays.dpg
    for names, found, none in zip(keys, _FOUND, _NONE, strict=True):
        lines.append(f"{found} keys: {list(names)}" if names else none)
    lines += [f"data_per_groups ({group}) keys: {list(values)}" for group, values in dpg.items()]
    return "\n".join(lines)
