"""nibabel Tractograms and dipy StatefulTractograms to TRX bundles and back. Arguments are never modified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.api_views import Views, make_sequence
from trxlib.arrays import TrxArrays
from trxlib.dtypes import little_endian
from trxlib.errors import DtypeError, InputError, MetadataMismatchError
from trxlib.header import Header
from trxlib.ops.bundle import BundleSource
from trxlib.ops.resize import Room
from trxlib.ops.select import Runs, runs_of
from trxlib.ragged import gather_rows, offsets_of
from trxlib.source import ArraySpec
from trxlib.space import Space

__all__ = ["dipy_available", "is_lazy", "is_sft", "is_tractogram", "room_of_lazy", "room_of_sft"]
__all__ += ["room_of_tractogram", "to_sft", "to_tractogram"]

Array = npt.NDArray[Any]
PositionsMap = Callable[[Array], Array]
_IDENTITY = np.eye(4)
_GROWTH = 2


def dipy_available() -> bool:
    """Tell whether dipy can be imported; it is not imported."""
    from importlib.util import find_spec

    return find_spec("dipy") is not None


def is_tractogram(thing: Any) -> bool:
    """Tell whether something is a nibabel Tractogram (lazy or not)."""
    from nibabel.streamlines.tractogram import Tractogram

    return isinstance(thing, Tractogram)


def is_lazy(thing: Any) -> bool:
    """Tell whether something is a nibabel LazyTractogram."""
    from nibabel.streamlines.tractogram import LazyTractogram

    return isinstance(thing, LazyTractogram)


def is_sft(thing: Any) -> bool:
    """Tell whether something is a StatefulTractogram, without importing dipy."""
    return any(kind.__name__ == "StatefulTractogram" for kind in type(thing).__mro__)


def room_of_tractogram(tractogram: Any, space: Space, dtypes: Mapping[str, Any]) -> tuple[Header, Room]:
    """Copy a nibabel Tractogram into arrays of its own, in RASMM.

    Parameters
    ----------
    tractogram : Tractogram
        Its `affine_to_rasmm` is applied; None means that it is in RASMM.
    space : Space
        Of the result.
    dtypes : mapping
        dtypes wanted: ``positions``, ``offsets``, ``dpv`` and ``dps`` by key; the rest keep theirs.
    """
    views = Views(tractogram.streamlines, dict(tractogram.data_per_point), dict(tractogram.data_per_streamline))
    return _room_of(views, space, dtypes, _map_by(tractogram.affine_to_rasmm))


def room_of_sft(sft: Any, dtypes: Mapping[str, Any]) -> tuple[Header, Room]:
    """Copy a StatefulTractogram into arrays of its own, in RASMM with the origin at the voxel's centre.

    Parameters
    ----------
    sft : StatefulTractogram
        In any space and origin.
    dtypes : mapping
        As for `room_of_tractogram`.
    """
    space = Space.create(sft.affine, sft.dimensions, "StatefulTractogram")
    views = Views(sft.streamlines, dict(sft.data_per_point), dict(sft.data_per_streamline))
    return _room_of(views, space, dtypes, _map_by(_sft_to_rasmm(sft, space)))


def _sft_to_rasmm(sft: Any, space: Space) -> Array:
    """Return the 4 x 4 matrix from the state of a StatefulTractogram to RASMM at the voxel's centre."""
    affine = space.voxel_to_rasmm
    state = str(sft.space.value)
    if state == "rasmm":
        to_rasmm = _IDENTITY
    elif state == "lpsmm":
        to_rasmm = np.diag([-1.0, -1.0, 1.0, 1.0])
    elif state == "vox":
        to_rasmm = affine
    elif state == "voxmm":
        to_rasmm = affine @ np.diag([*(1 / np.asarray(sft.voxel_sizes, dtype=np.float64)), 1.0])
    else:
        raise InputError(f"the StatefulTractogram is in {sft.space}, expected vox, voxmm, rasmm or lpsmm")
    if sft.origin.name != "TRACKVIS":
        return to_rasmm
    shift = np.eye(4)
    shift[:3, 3] = affine[:3, :3] @ [-0.5, -0.5, -0.5]
    return np.asarray(shift @ to_rasmm)


def _map_by(affine: Any) -> PositionsMap | None:
    """Return a function that applies an affine in float64; None if it changes nothing."""
    if affine is None or np.array_equal(affine, _IDENTITY):
        return None
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise InputError(f"affine_to_rasmm has shape {matrix.shape}, expected (4, 4)")
    return lambda positions: positions @ matrix[:3, :3].T + matrix[:3, 3]


def _room_of(
    views: Views, space: Space, dtypes: Mapping[str, Any], positions_map: PositionsMap | None
) -> tuple[Header, Room]:
    header = Header(space.voxel_to_rasmm, space.dimensions, 0, 0)
    arrays, runs = views.bundle(header.to_dict())
    room = _wanted_room(arrays, dtypes, arrays.header.nb_streamlines, arrays.header.nb_vertices)
    room.write(arrays, runs_of(arrays) if runs is None else runs, (0, 0), positions_map=positions_map)
    return arrays.header, room


def _wanted_room(arrays: TrxArrays, dtypes: Mapping[str, Any], nb_streamlines: int, nb_vertices: int) -> Room:
    """Return empty room with the keys of a bundle, in the dtypes wanted."""
    positions = np.dtype(dtypes.get("positions", arrays.positions.dtype))
    offsets = np.dtype(dtypes.get("offsets", np.uint32))
    if positions.kind != "f":
        raise DtypeError(f"positions are wanted as {positions}, expected float16, float32 or float64")
    if offsets.kind not in "iu":
        raise DtypeError(f"offsets are wanted as {offsets}, expected uint32 or uint64")
    specs: dict[str, dict[str, ArraySpec]] = {}
    for section, names in (("dps", ("dps",)), ("dpv", ("dpv", "dpp"))):
        wanted = {key: dtype for name in names for key, dtype in dtypes.get(name, {}).items()}
        specs[section] = {
            key: ArraySpec(array.shape[1], np.dtype(wanted.get(key, array.dtype)))
            for key, array in getattr(arrays, section).items()
        }
    return Room.allocate(
        nb_streamlines,
        nb_vertices,
        positions,
        specs["dps"],
        specs["dpv"],
        # nibabel's own int64 is no wish for uint64.
        wide_offsets=offsets == np.uint64,
    )


def room_of_lazy(
    obj: Any, space: Space, extra_buffer: int, chunk_size: int, dtypes: Mapping[str, Any]
) -> tuple[Header, Room]:
    """Copy a LazyTractogram into arrays of its own, chunk by chunk.

    Parameters
    ----------
    obj : LazyTractogram
        Its `affine_to_rasmm` is applied.
    space : Space
        Of the result.
    extra_buffer : int
        Room for at least so many streamlines is made at a time.
    chunk_size : int
        Streamlines held in memory at a time.
    dtypes : mapping
        As for `room_of_tractogram`.
    """
    if chunk_size < 1:
        raise InputError(f"chunk_size is {chunk_size}, expected 1 or more")
    positions_map = _map_by(getattr(obj, "affine_to_rasmm", None))
    header = Header(space.voxel_to_rasmm, space.dimensions, 0, 0)
    room: Room | None = None
    items: list[Any] = []
    for item in obj:
        items.append(item)
        if len(items) == chunk_size:
            room = _add_items(room, items, header, extra_buffer, dtypes, positions_map)
            items = []
    if items or room is None:
        room = _add_items(room, items, header, 0, dtypes, positions_map)
    return header.with_counts(room.nb_streamlines, room.nb_vertices), room


def _add_items(
    room: Room | None,
    items: list[Any],
    header: Header,
    extra_buffer: int,
    dtypes: Mapping[str, Any],
    positions_map: PositionsMap | None,
) -> Room:
    """Write a chunk behind what is there, in a larger room if it does not fit."""
    part = _bundle_of_items(items, header, room.nb_streamlines if room is not None else 0)
    n, v = part.header.nb_streamlines, part.header.nb_vertices
    if room is None:
        buffer = (extra_buffer, extra_buffer * -(-v // max(1, n)))
        room = _wanted_room(part, dtypes, n + buffer[0], v + buffer[1])
    _check_keys(room, part)
    needed = (room.nb_streamlines + n, room.nb_vertices + v)
    if needed[0] > len(room.starts) or needed[1] > len(room.positions):
        # Twice as much each time: all copies together are no more than the result.
        room = _larger(room, max(_GROWTH * needed[0], needed[0] + extra_buffer), _GROWTH * needed[1])
    room.write(part, runs_of(part), (room.nb_streamlines, room.nb_vertices), positions_map=positions_map)
    return room


def _larger(room: Room, nb_streamlines: int, nb_vertices: int) -> Room:
    old = TrxArrays(
        Header(_IDENTITY, (1, 1, 1), room.nb_streamlines, room.nb_vertices),
        room.positions,
        np.zeros(1, "<u4"),
        room.dps,
        room.dpv,
    )
    grown = Room.allocate(
        nb_streamlines,
        nb_vertices,
        room.positions.dtype,
        {key: ArraySpec(array.shape[1], array.dtype) for key, array in room.dps.items()},
        {key: ArraySpec(array.shape[1], array.dtype) for key, array in room.dpv.items()},
        wide_offsets=room.starts.dtype.itemsize == 8,
    )
    grown.write(old, (room.starts, room.lengths), (0, 0), room.nb_streamlines)
    return grown


def _check_keys(room: Room, part: TrxArrays) -> None:
    for section in ("dps", "dpv"):
        found, expected = sorted(getattr(part, section)), sorted(getattr(room, section))
        if found != expected and part.header.nb_streamlines:
            raise MetadataMismatchError(
                f"from streamline {room.nb_streamlines} on, {section} has the keys {found}, expected {expected}"
            )


def _bundle_of_items(items: list[Any], header: Header, first: int) -> TrxArrays:
    """Return a bundle of TractogramItems."""
    streamlines = [np.asarray(item.streamline).reshape(-1, 3) for item in items]
    lengths = np.array([len(streamline) for streamline in streamlines], dtype=np.int64)
    arrays = TrxArrays.empty(header)
    arrays.header = header.with_counts(len(items), int(lengths.sum()))
    arrays.offsets = offsets_of(lengths)
    if items:
        arrays.positions = np.concatenate(streamlines)
        arrays.dps = _joined_items([item.data_for_streamline for item in items], None, "dps", first)
        arrays.dpv = _joined_items([item.data_for_points for item in items], lengths, "dpv", first)
    return arrays


def _joined_items(
    tables: Iterable[Mapping[str, Any]], lengths: Array | None, section: str, first: int
) -> dict[str, Array]:
    """Join the data of streamlines, all with the same keys; `lengths` are the rows of each, None for one row."""
    parts: dict[str, list[Array]] = {}
    for number, table in enumerate(tables):
        if number and table.keys() != parts.keys():
            raise MetadataMismatchError(
                f"streamline {first + number} has the {section} keys {sorted(table)}, expected {sorted(parts)}"
            )
        rows = 1 if lengths is None else int(lengths[number])
        for key, values in table.items():
            array = np.asarray(values)
            if lengths is not None and len(array) != rows:
                raise MetadataMismatchError(
                    f"streamline {first + number} has {len(array)} rows of {section}/{key}, expected {rows}"
                )
            if lengths is None:
                array = array.reshape(1, -1)
            parts.setdefault(key, []).append(array if array.ndim == 2 else array.reshape(rows, -1 if rows else 1))
    return {key: little_endian(_concatenated(arrays)) for key, arrays in parts.items()}


def _concatenated(arrays: list[Array]) -> Array:
    # Arrays without rows may have lost their number of columns.
    return np.concatenate([array for array in arrays if array.size] or arrays[:1])


def to_tractogram(source: BundleSource) -> Any:
    """Copy a bundle into a nibabel Tractogram in memory, in RASMM."""
    from nibabel.streamlines.tractogram import Tractogram

    arrays = _compact(source)
    starts, lengths = _nibabel_runs(arrays)
    return Tractogram(
        make_sequence(arrays.positions, starts, lengths),
        arrays.dps,
        {key: make_sequence(array, starts, lengths) for key, array in arrays.dpv.items()},
        np.eye(4),
    )


def to_sft(source: BundleSource) -> Any:
    """Copy a bundle into a dipy StatefulTractogram in memory, in RASMM with the origin at the voxel's centre."""
    try:
        from dipy.io.stateful_tractogram import Space as SftSpace
        from dipy.io.stateful_tractogram import StatefulTractogram
    except ImportError as error:
        raise ImportError(f"to_sft needs the package dipy, which cannot be imported ({error}); install it") from error
    from nibabel.orientations import aff2axcodes

    arrays = _compact(source)
    space = arrays.space
    starts, lengths = _nibabel_runs(arrays)
    affine = np.array(space.voxel_to_rasmm, dtype=np.float32)
    attributes = (
        affine,
        np.array(space.dimensions, dtype=np.uint16),
        space.voxel_sizes.astype(np.float32),
        "".join(aff2axcodes(affine)),
    )
    return StatefulTractogram(
        make_sequence(arrays.positions, starts, lengths),
        attributes,
        SftSpace.RASMM,
        data_per_point={key: make_sequence(array, starts, lengths) for key, array in arrays.dpv.items()},
        data_per_streamline=arrays.dps,
    )


def _compact(source: BundleSource) -> TrxArrays:
    """Copy a bundle into memory, streamlines one behind the other."""
    arrays = source.arrays
    runs: Runs = runs_of(arrays) if source.runs is None else source.runs
    return replace(
        arrays,
        positions=gather_rows(arrays.positions, *runs),
        dpv={key: gather_rows(array, *runs) for key, array in arrays.dpv.items()},
        dps={key: np.array(array) for key, array in arrays.dps.items()},
    )


def _nibabel_runs(arrays: TrxArrays) -> Runs:
    """Return starts and lengths in the type that nibabel itself uses: its sums do not wrap then."""
    offsets = arrays.offsets.astype(np.int64)
    return offsets[:-1], np.diff(offsets)
