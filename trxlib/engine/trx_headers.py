"""What a plan needs to know of a TRX file: counts, names, types, and the small entries themselves."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from trxlib.errors import DataLossWarning, warn
from trxlib.model.arrays import TrxArrays
from trxlib.model.dtypes import little_endian
from trxlib.model.header import copy_values
from trxlib.model.names import check_key
from trxlib.model.source import ArraySpec, SourceHeaders, SourceInfo

__all__ = ["headers_of", "info_of"]

Array = npt.NDArray[Any]


def info_of(arrays: TrxArrays, path: str) -> SourceInfo:
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


def headers_of(arrays: TrxArrays, info: SourceInfo) -> SourceHeaders:
    """Return what a plan needs to know; it holds nothing open.

    Warns
    -----
    DataLossWarning
        Names dpg without a group.
    """
    for section in ("groups", "dps", "dpv", "dpg"):
        for key in getattr(arrays, section):
            if not isinstance(key, str):
                check_key(key, f"{section} key")  # which says so: keys of two types cannot even be sorted
    orphans = sorted(set(arrays.dpg) - set(arrays.groups))
    if orphans:
        warn(
            f"{info.path or 'dpg'}: left out, since there are no such groups: dpg/{', dpg/'.join(orphans)}",
            DataLossWarning,
        )
    return SourceHeaders(
        info=info,
        groups={group: len(members) for group, members in arrays.groups.items()},
        dpg={
            group: {key: little_endian(array).reshape(1, -1).copy() for key, array in values.items()}
            for group, values in arrays.dpg.items()
            if group in arrays.groups
        },
        extra=copy_values(arrays.header.extra),
        sidecars=dict(arrays.sidecars),
    )


def _spec(array: Array) -> ArraySpec:
    return ArraySpec(array.shape[1], array.dtype)
