"""nibabel Tractograms and dipy StatefulTractograms to arrays of a TRX file and back. Arguments are never modified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, InputError
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header
from trxlib.model.offsets import gather_rows
from trxlib.model.select import Runs, Selection
from trxlib.model.source import ArraySpec
from trxlib.model.space import Space, invert_affine
from trxlib.trxfile.preallocated import Preallocated
from trxlib.trxfile.views import Views, make_sequence

__all__ = ["PositionsMap", "copy_sft", "copy_tractogram", "dipy_available", "is_sft", "is_tractogram", "map_by"]
__all__ += ["to_sft", "to_tractogram", "wanted_types"]

Array = npt.NDArray[Any]
PositionsMap = Callable[[Array], Array]
_IDENTITY = np.eye(4)


def dipy_available() -> bool:
    """Tell whether dipy can be imported; it is not imported."""
    from importlib.util import find_spec

    return find_spec("dipy") is not None


def is_tractogram(thing: Any) -> bool:
    """Tell whether something is a nibabel Tractogram (lazy or not)."""
    from nibabel.streamlines.tractogram import Tractogram

    return isinstance(thing, Tractogram)


def is_sft(thing: Any) -> bool:
    """Tell whether something is a StatefulTractogram, without importing dipy."""
    return any(kind.__name__ == "StatefulTractogram" for kind in type(thing).__mro__)


def copy_tractogram(tractogram: Any, space: Space, dtypes: Mapping[str, Any]) -> tuple[Header, Preallocated]:
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
    return _copy_views(views, space, dtypes, map_by(tractogram.affine_to_rasmm))


def copy_sft(sft: Any, dtypes: Mapping[str, Any]) -> tuple[Header, Preallocated]:
    """Copy a StatefulTractogram into arrays of its own, in RASMM with the origin at the voxel's centre.

    Parameters
    ----------
    sft : StatefulTractogram
        In any space and origin.
    dtypes : mapping
        As for `copy_tractogram`.
    """
    space = Space.create(sft.affine, sft.dimensions, "StatefulTractogram")
    views = Views(sft.streamlines, dict(sft.data_per_point), dict(sft.data_per_streamline))
    return _copy_views(views, space, dtypes, map_by(_sft_to_rasmm(sft, space)))


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


def map_by(affine: Any) -> PositionsMap | None:
    """Return a function that applies an affine in float64; None if it changes nothing."""
    if affine is None or np.array_equal(affine, _IDENTITY):
        return None
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise InputError(f"affine_to_rasmm has shape {matrix.shape}, expected (4, 4)")
    return lambda positions: positions @ matrix[:3, :3].T + matrix[:3, 3]


def _copy_views(
    views: Views, space: Space, dtypes: Mapping[str, Any], positions_map: PositionsMap | None
) -> tuple[Header, Preallocated]:
    header = Header(space.voxel_to_rasmm, space.dimensions, 0, 0)
    selection = views.selection(header.to_dict())
    arrays = selection.arrays
    preallocated = _allocate_wanted(arrays, dtypes, arrays.header.nb_streamlines, arrays.header.nb_vertices)
    preallocated.write(arrays, selection.known_runs(), (0, 0), positions_map=positions_map)
    return arrays.header, preallocated


def wanted_types(
    dtypes: Mapping[str, Any] | None,
) -> tuple[np.dtype[Any] | None, np.dtype[Any], dict[str, dict[str, np.dtype[Any]]]]:
    """Return the types that somebody wants.

    Returns
    -------
    numpy.dtype or None
        Of positions; None if nothing is said.
    numpy.dtype
        Of offsets.
    dict
        "dps" and "dpv" -> key -> type.

    Raises
    ------
    InputError
        If `dtypes` is no mapping, with mappings for dps and dpv.
    DtypeError
        If positions are not to be floats, offsets not integers, or something that is no type is named.
    """
    dtypes = _mapping(dtypes, "dtype_dict")
    positions = _dtype(dtypes["positions"], "positions") if dtypes.get("positions") is not None else None
    offsets = _dtype(dtypes.get("offsets", np.uint32), "offsets")
    if positions is not None and positions.kind != "f":
        raise DtypeError(f"positions are wanted as {positions}, expected float16, float32 or float64")
    if offsets.kind not in "iu":
        raise DtypeError(f"offsets are wanted as {offsets}, expected uint32 or uint64")
    wanted = {
        section: {
            key: _dtype(dtype, f"{name}/{key}")
            for name in names
            for key, dtype in _mapping(dtypes.get(name), f"dtype_dict[{name!r}]").items()
        }
        for section, names in (("dps", ("dps",)), ("dpv", ("dpv", "dpp")))
    }
    return positions, offsets, wanted


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{what} is {value!r}, expected a dict of names and dtypes")
    return value


def _dtype(value: Any, what: str) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except TypeError:
        raise DtypeError(f"{what} are wanted as {value!r}, which is no dtype; name one, such as 'float32'") from None
    return dtype


def _allocate_wanted(
    arrays: TrxArrays, dtypes: Mapping[str, Any], nb_streamlines: int, nb_vertices: int
) -> Preallocated:
    """Return preallocated arrays with the keys of `arrays`, in the dtypes wanted."""
    positions, offsets, wanted = wanted_types(dtypes)
    dps, dpv = (
        {
            key: ArraySpec(array.shape[1], wanted[section].get(key, array.dtype))
            for key, array in getattr(arrays, section).items()
        }
        for section in ("dps", "dpv")
    )
    # nibabel's own int64 is no wish for uint64.
    wide = offsets == np.uint64
    return Preallocated.allocate(
        nb_streamlines, nb_vertices, positions or arrays.positions.dtype, dps, dpv, wide_offsets=wide
    )


def to_tractogram(selection: Selection) -> Any:
    """Copy streamlines into a nibabel Tractogram in memory, in RASMM."""
    from nibabel.streamlines.tractogram import Tractogram

    arrays = _compact(selection)
    starts, lengths = _nibabel_runs(arrays)
    return Tractogram(
        make_sequence(arrays.positions, starts, lengths),
        arrays.dps,
        {key: make_sequence(array, starts, lengths) for key, array in arrays.dpv.items()},
        np.eye(4),
    )


def to_sft(selection: Selection) -> Any:
    """Copy streamlines into a dipy StatefulTractogram in memory, in RASMM with the origin at the voxel's centre."""
    try:
        from dipy.io.stateful_tractogram import Space as SftSpace
        from dipy.io.stateful_tractogram import StatefulTractogram
    except ImportError as error:
        raise ImportError(f"to_sft needs the package dipy, which cannot be imported ({error}); install it") from error
    from nibabel.orientations import aff2axcodes

    arrays = _compact(selection)
    space = arrays.space
    starts, lengths = _nibabel_runs(arrays)
    invert_affine(space.voxel_to_rasmm, "VOXEL_TO_RASMM")
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


def _compact(selection: Selection) -> TrxArrays:
    """Copy streamlines into memory, one behind the other."""
    arrays, runs = selection.arrays, selection.known_runs()
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
