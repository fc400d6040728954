"""Plan one TRX container from many inputs, by their headers alone: counts, keys, types, and who owns which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.engine.columns import MissingPolicy, unite_columns, united_positions_dtype
from trxlib.engine.plan import InputPlan, Plan
from trxlib.engine.stamps import stamp_of
from trxlib.engine.unite import unite_small
from trxlib.errors import (
    CapacityError,
    DataLossWarning,
    InputError,
    warn,
)
from trxlib.model.header import Header
from trxlib.model.names import HEADER_NAME, check_writable, warn_of_forms
from trxlib.model.offsets import UINT32_MAX
from trxlib.model.offsets import offsets_dtype as find_offsets_dtype
from trxlib.model.options import ReadOptions
from trxlib.model.source import Source, SourceHeaders
from trxlib.model.space import Space, check_same_space, invert_affine
from trxlib.model.wanted_dtypes import find_dtypes, read_dtypes

__all__ = ["divide", "plan_merge"]


def plan_merge(
    sources: Sequence[Source | SourceHeaders],
    *,
    names: Sequence[str] | None = None,
    whole_groups: Sequence[Sequence[str]] | None = None,
    options: Sequence[ReadOptions | None] | None = None,
    positions_dtype: np.dtype[Any] | None = None,
    missing: MissingPolicy = "error",
    keep_groups: bool = True,
    check_space: bool = True,
    grid: Space | None = None,
    offsets_dtype: Any = "auto",
    dtypes: Mapping[str, npt.DTypeLike] | None = None,
    nb_shards: int = 1,
) -> Plan:
    """Plan the container that holds all streamlines of all sources, in their order.

    Parameters
    ----------
    sources : sequence of Source or SourceHeaders
        At least one. `SourceHeaders` of sources that are closed again spare open files where there are thousands.
    names : sequence of str, optional
        Name of each source; by default "1", "2", ...
    whole_groups : sequence of sequence of str, optional
        For each source, the groups that all its streamlines belong to.
    options : sequence of mapping, optional
        For each source, how to open it again (kept in the plan).
    positions_dtype : dtype, optional
        By default the widest of the sources'.
    missing : {"error", "drop", "fill"}
        dps and dpv keys that some sources lack: an error, left out with a warning, or NaN where they are missing.
        Sources without streamlines lack nothing.
    keep_groups : bool
        Whether the groups inside TRX sources, and their dpg, are kept.
    check_space : bool
        Whether all must have one affine and dimensions; else those of the first are taken. Sources without
        streamlines to which nobody gave a space do not count.
    grid : Space, optional
        Affine and dimensions of the result; the inputs may have others then, since all positions are RASMM.
    offsets_dtype : {"auto", "uint32", "uint64"}
        By default uint32, or uint64 where that does not suffice.
    dtypes : mapping of str to dtype, optional
        Types of dps and dpv, by names such as ``dps/weight`` or ``dpv/*``; by default the narrowest that holds all
        values of the sources.
    nb_shards : int
        Jobs to divide the filling between.

    Returns
    -------
    Plan

    Raises
    ------
    SpaceMismatchError, MetadataMismatchError
        List every source that does not fit.
    InputError
        If there is no source, uint32 does not suffice, or a name in `dtypes` matches nothing.
    """
    if not sources:
        raise InputError("nothing to merge: give at least one input")
    inputs = [source if isinstance(source, SourceHeaders) else source.headers() for source in sources]
    if not keep_groups:
        inputs = [replace(item, groups={}, dpg={}) for item in inputs]
    infos = [item.info for item in inputs]
    names = list(names) if names is not None else [str(number + 1) for number in range(len(infos))]
    whole = [tuple(groups) for groups in whole_groups] if whole_groups is not None else [()] * len(infos)
    # Numbered, since two inputs may be one file.
    spaces = {
        f"{info.path or name} (input {n + 1})": info.space
        for n, (name, info) in enumerate(zip(names, infos, strict=True))
        if info.has_space
    } or {infos[0].path or names[0]: infos[0].space}
    if check_space and grid is None:
        check_same_space(spaces)
    # Positions of any space can be written; what reads them needs the inverse.
    label, space = next(iter(spaces.items())) if grid is None else ("grid", grid)
    invert_affine(space.voxel_to_rasmm, f"{label}: VOXEL_TO_RASMM")
    nb_streamlines = sum(info.nb_streamlines for info in infos)
    nb_vertices = sum(info.nb_vertices for info in infos)
    labels = {f"{section}/{key}" for info in infos for section in ("dps", "dpv") for key in getattr(info, section)}
    wanted = find_dtypes(read_dtypes(dtypes), labels)
    small = unite_small(inputs, names)
    header = Header(space.voxel_to_rasmm, space.dimensions, nb_streamlines, nb_vertices, small.extra)
    places, group_sizes = _place(inputs, names, whole, options)
    warn_of_forms([*labels, *(f"groups/{name}" for name in group_sizes)], "the inputs")
    if group_sizes and nb_streamlines > UINT32_MAX:
        raise CapacityError(
            f"{nb_streamlines} streamlines cannot be members of groups, whose type is uint32; merge fewer inputs or "
            "leave the groups out"
        )
    plan = Plan(
        header=header,
        positions_dtype=np.dtype(positions_dtype).newbyteorder("<")
        if positions_dtype
        else united_positions_dtype(inputs),
        offsets_dtype=find_offsets_dtype(nb_vertices, offsets_dtype),
        dps=unite_columns(inputs, names, "dps", missing, wanted),
        dpv=unite_columns(inputs, names, "dpv", missing, wanted),
        groups=group_sizes,
        small={HEADER_NAME: header.to_json(), **small.entries},
        inputs=tuple(places),
        shards=divide(places, nb_shards),
    )
    check_writable(plan.names.values())
    return plan


def _place(
    sources: Sequence[SourceHeaders],
    names: Sequence[str],
    whole: Sequence[tuple[str, ...]],
    options: Sequence[ReadOptions | None] | None,
) -> tuple[list[InputPlan], dict[str, int]]:
    """Give each input its rows; return the inputs and the size of each group."""
    inputs = []
    sizes: dict[str, int] = {}
    streamline = vertex = 0
    for number, source in enumerate(sources):
        info = source.info
        counts = dict(source.groups)
        for group in whole[number]:
            if counts.get(group, info.nb_streamlines) != info.nb_streamlines:
                warn(
                    f"{names[number]}: all streamlines are put into group {group!r}, which had {counts[group]} of "
                    f"{info.nb_streamlines} before",
                    DataLossWarning,
                )
            counts[group] = info.nb_streamlines
        places = {}
        for group, count in counts.items():
            places[group] = (sizes.get(group, 0), count)
            sizes[group] = sizes.get(group, 0) + count
        inputs.append(
            InputPlan(
                name=names[number],
                path=info.path,
                options=options[number] if options is not None else None,
                stamp=stamp_of(info.path, options[number]) if options is not None else None,
                first_streamline=streamline,
                nb_streamlines=info.nb_streamlines,
                first_vertex=vertex,
                nb_vertices=info.nb_vertices,
                groups=places,
                whole=whole[number],
            )
        )
        streamline += info.nb_streamlines
        vertex += info.nb_vertices
    return inputs, sizes


def divide(inputs: Sequence[InputPlan], nb_shards: int) -> tuple[tuple[int, int], ...]:
    """Divide inputs into ranges of about equal weight; none is empty unless there are too few inputs."""
    weights = [12 * item.nb_vertices + 4 * item.nb_streamlines + 1 for item in inputs]
    ends = np.cumsum([0, *weights], dtype=np.float64)
    cuts = [0]
    for number in range(1, nb_shards):
        nearest = int(np.abs(ends - ends[-1] * number / nb_shards).argmin())
        most = len(inputs) - (nb_shards - number)  # leaves one input for each shard to come
        cuts.append(min(max(nearest, cuts[-1] + 1), max(most, cuts[-1])))
    return tuple(pairwise([*cuts, len(inputs)]))
