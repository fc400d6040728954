"""Open an input of any format for the engine: TRX as a bundle with its groups, everything else as a stream."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trxlib.container.temporary import scratch_arrays
from trxlib.engine.fill import convert_values
from trxlib.engine.trx_source import BundleSource, headers_of
from trxlib.formats.attached import attach_companions
from trxlib.formats.bundle_rules import apply_rules
from trxlib.formats.reference import space_from
from trxlib.formats.registry import detect_format, open_source
from trxlib.model.source import Headers, Source
from trxlib.spaces.positions import PositionsMap, check_positions_dtype
from trxlib.spaces.transform import place_result, transform_from

__all__ = ["NonFinite", "OutOfVolume", "cast_positions", "open_input", "read_headers"]

StrPath = str | os.PathLike[str]
Array = npt.NDArray[Any]
OutOfVolume = Literal["keep", "drop", "fail"]
NonFinite = Literal["fail", "drop"]


def open_input(
    path: StrPath,
    *,
    reference: Any = None,
    transform: Any = None,
    positions_dtype: npt.DTypeLike | None = None,
    dps: Mapping[str, StrPath] | None = None,
    dpv: Mapping[str, StrPath] | None = None,
    out_of_volume: OutOfVolume = "keep",
    nonfinite: NonFinite = "fail",
    drop_empty: bool = False,
    accept_count_mismatch: bool = False,
    trust_count: bool | None = None,
) -> Source:
    """Open a tractogram of any format; its counts are those of what will be written.

    Parameters
    ----------
    path : path
        The file, or a TRX folder.
    reference, transform, positions_dtype
        See `trxlib.convert`.
    dps, dpv : mapping of str to path, optional
        Files whose values are attached under these keys.
    out_of_volume, nonfinite, drop_empty, accept_count_mismatch
        See `trxlib.convert`.
    trust_count : bool, optional
        See `trxlib.formats.tck.reader.TckSource`. By default the count of a large TCK's header is trusted, and a
        wrong one is a CountError while it is read; False counts first.

    Returns
    -------
    Source
        A `BundleSource` for TRX.

    Raises
    ------
    TrxError
        One of its kinds, naming file and place.
    """
    if detect_format(os.fspath(path)) == "trx":
        source = BundleSource.open(path)
        try:
            _attach(source, dps or {}, dpv or {})
            dtype = check_positions_dtype(positions_dtype, source.arrays.positions.dtype.name)
            moved = _place(source, reference, transform, dtype)
            rules = apply_rules(source, nonfinite=nonfinite, out_of_volume=out_of_volume, drop_empty=drop_empty)
            # Last, since rules look at float16 slowly.
            cast_positions(rules, moved, dtype)
            return rules
        except BaseException:
            source.close()
            raise
    return open_source(
        os.fspath(path),
        reference=reference,
        transform=transform,
        positions_dtype=positions_dtype,
        accept_count_mismatch=accept_count_mismatch,
        trust_count=trust_count,
        nonfinite=nonfinite,
        out_of_volume=out_of_volume,
        drop_empty=drop_empty,
        dps={key: os.fspath(file) for key, file in (dps or {}).items()},
        dpv={key: os.fspath(file) for key, file in (dpv or {}).items()},
    )


def read_headers(path: StrPath, **options: Any) -> Headers:
    """Return what a plan needs to know of a tractogram, and close it again.

    Parameters
    ----------
    path : path
        The file, or a TRX folder.
    **options
        See `open_input`.
    """
    source = open_input(path, **options)
    try:
        return headers_of(source)
    finally:
        if isinstance(source, BundleSource):
            source.close()


def _attach(source: BundleSource, dps: Mapping[str, StrPath], dpv: Mapping[str, StrPath]) -> None:
    """Add the values of files beside a TRX file; they lie in a temporary file then."""
    if not dps and not dpv:
        return
    attached = attach_companions(
        copy.copy(source),
        {key: Path(path) for key, path in dps.items()},
        {key: Path(path) for key, path in dpv.items()},
    )
    info = attached.info
    specs = [("dps", key, info.dps[key], info.nb_streamlines) for key in dps]
    specs += [("dpv", key, info.dpv[key], info.nb_vertices) for key in dpv]
    arrays = scratch_arrays([(spec.dtype, (rows, spec.ncols)) for _, _, spec, rows in specs])
    done = {"dps": 0, "dpv": 0}
    for chunk in attached.chunks():
        for (section, key, _, _), array in zip(specs, arrays, strict=True):
            values = getattr(chunk, section)[key]
            array[done[section] : done[section] + len(values)] = values
        done["dps"] += len(chunk.lengths)
        done["dpv"] += chunk.nb_vertices
    for (section, key, _, _), array in zip(specs, arrays, strict=True):
        getattr(source.arrays, section)[key] = array
    source.origin = attached


def _place(source: BundleSource, reference: Any, transform: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Bring a bundle to the space of the result, and return the type that its positions have there."""
    source.positions_dtype = dtype
    own = source.arrays.positions.dtype
    matrix = transform_from(transform)
    if reference is None and matrix is None:
        return own
    arrays = source.arrays
    target = None if reference is None else space_from(reference)
    space, _ = place_result(source.path, arrays.space, target, matrix)
    arrays.header = replace(arrays.header, voxel_to_rasmm=space.voxel_to_rasmm, dimensions=space.dimensions)
    if matrix is None or np.array_equal(matrix, np.eye(4)):
        return own
    # Rounded once, at the end.
    work = np.result_type(dtype, own, np.float32)
    source.passes = [_Move(PositionsMap(matrix, work, source.path))]
    return work


def cast_positions(source: BundleSource, found: np.dtype[Any], dtype: np.dtype[Any]) -> None:
    """Have the positions of a bundle given their type, behind all that happens to them so far.

    Parameters
    ----------
    source : BundleSource
        Changed.
    found, dtype : numpy.dtype
        What they are by then, and what they become.
    """
    if found != dtype:
        source.passes = [*source.passes, _Cast(dtype, source.path)]


class _Move:
    """Applies a transform to the positions of a bundle."""

    def __init__(self, mapping: PositionsMap) -> None:
        self._map = mapping

    def __call__(self, block: Array, vertex: int, source: BundleSource) -> Array:
        """Return the moved positions; the file's rows stay as they are."""
        return self._map.apply(block, keep=True)

    def end(self) -> None:
        """Say nothing: their type comes later."""


class _Cast:
    """Gives the positions of a bundle their type."""

    def __init__(self, dtype: np.dtype[Any], path: str) -> None:
        self._dtype, self._path = dtype, path
        self._map = PositionsMap(np.eye(4), dtype, path)

    def __call__(self, block: Array, vertex: int, source: BundleSource) -> Array:
        """Return the positions in their type."""
        if self._dtype.itemsize > 2:
            return convert_values(block, self._dtype, f"{self._path}: positions")
        return self._map.narrow(block)

    def end(self) -> None:
        """Log what float16 has cost."""
        self._map.log_error()
