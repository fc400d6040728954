"""Plan a cohort in two levels, subjects of files, and fill it in one: the bytes of both roads are the same.

On the long road the files of each subject become one TRX file, and these become the archive. On the short road the
same two plans are made, from the same headers and with the same rules for names, and then one is put into the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trxlib.engine.columns import MissingPolicy
from trxlib.engine.plan import InputPlan, Plan
from trxlib.engine.planning import divide, plan_merge
from trxlib.model.names import HEADER_NAME
from trxlib.model.paths import parse_name
from trxlib.model.source import SourceHeaders, SourceInfo
from trxlib.model.space import Space

__all__ = ["plan_nested"]


def plan_nested(
    parts: Mapping[str, Plan],
    *,
    whole_groups: Sequence[Sequence[str]] | None = None,
    missing: MissingPolicy = "error",
    find_grid: Callable[[Sequence[SourceInfo]], Space | None] = lambda _: None,
    nb_shards: int = 1,
) -> Plan:
    """Plan the container that merging the results of `parts` would give, filled from their inputs at once.

    Parameters
    ----------
    parts : mapping of str to Plan
        Name and plan of each part, none of which need exist; their inputs must be files.
    whole_groups : sequence of sequence of str, optional
        For each part, the groups that all its streamlines belong to.
    missing : {"error", "drop", "fill"}
        dps and dpv keys that some parts lack.
    find_grid : callable, optional
        Returns the grid of the result for what the headers of the parts say; by default all must have one.
    nb_shards : int
        Jobs to divide the filling between.

    Returns
    -------
    Plan

    Raises
    ------
    SpaceMismatchError, MetadataMismatchError
        List every part that does not fit.
    """
    headers = [_headers_of(name, part) for name, part in parts.items()]
    grid = find_grid([item.info for item in headers])
    outer = plan_merge(headers, names=list(parts), whole_groups=whole_groups, missing=missing, grid=grid)
    inputs = [
        _put_into(item, place, name)
        for (name, part), place in zip(parts.items(), outer.inputs, strict=True)
        for item in part.inputs
    ]
    return replace(outer, inputs=tuple(inputs), shards=divide(inputs, nb_shards))


def _headers_of(name: str, part: Plan) -> SourceHeaders:
    """Return what reading the headers of a part's result would say."""
    header = part.header
    info = SourceInfo(
        path=name,
        format="trx",
        space=Space(header.voxel_to_rasmm, header.dimensions),
        nb_streamlines=header.nb_streamlines,
        nb_vertices=header.nb_vertices,
        positions_dtype=part.positions_dtype,
        dps=part.dps,
        dpv=part.dpv,
    )
    dpg: dict[str, dict[str, Any]] = {}
    sidecars = {}
    for path, data in part.small.items():
        if path.startswith("dpg/"):
            array = parse_name(path)
            dpg.setdefault(array.group, {})[array.name] = np.frombuffer(data, array.dtype).reshape(1, array.ncols)
        elif path != HEADER_NAME:
            sidecars[path] = data
    return SourceHeaders(info, groups=part.groups, dpg=dpg, extra=header.extra, sidecars=sidecars)


def _put_into(item: InputPlan, place: InputPlan, part: str) -> InputPlan:
    """Return an input of a part with its rows in the whole."""
    groups = {}
    for group, (first, _) in place.groups.items():
        if group in place.whole:
            groups[group] = (first + item.first_streamline, item.nb_streamlines)
        elif group in item.groups:
            inner, count = item.groups[group]
            groups[group] = (first + inner, count)
    return replace(
        item,
        name=f"{part} {item.name}",
        first_streamline=place.first_streamline + item.first_streamline,
        first_vertex=place.first_vertex + item.first_vertex,
        groups=groups,
        whole=tuple(dict.fromkeys([*item.whole, *place.whole])),
    )
