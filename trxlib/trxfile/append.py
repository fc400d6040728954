"""Add streamlines to a TrxFile: behind its own, into preallocated arrays where there are some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.engine.plan import Plan
from trxlib.engine.planning import plan_merge
from trxlib.engine.trx_source import TrxSource
from trxlib.errors import MetadataMismatchError
from trxlib.model.arrays import TrxArrays
from trxlib.model.dtypes import cast_integers
from trxlib.model.paths import is_sidecar, parse_name
from trxlib.model.rules import check_members
from trxlib.model.select import Selection
from trxlib.model.space import is_blank
from trxlib.trxfile.content import Content
from trxlib.trxfile.edit import as_preallocated
from trxlib.trxfile.preallocated import Preallocated

__all__ = ["append", "fill_preallocated"]

Array = npt.NDArray[Any]
#: Vertices for which room is made with each streamline of an extra buffer, at least.
_BUFFER_VERTICES = 100
_COLUMNS = ("dps", "dpv")


def append(content: Content, other: Content, extra_buffer: int) -> None:
    """Add the streamlines of another file, see `TrxFile.append`."""
    (arrays, runs), (added, added_runs) = content.selection(), other.selection()
    arrays = _placed_as(arrays, added)
    sources = [TrxSource(arrays, runs=runs, path="this file"), TrxSource(added, runs=added_runs, path="appended")]
    plan = plan_merge(sources)
    groups = _joined_groups(arrays, added)
    count, vertices = arrays.header.nb_streamlines, arrays.header.nb_vertices
    own = content.preallocated() if runs is None else None
    if own is not None and _takes(own, plan):
        preallocated = own.with_columns(_with_keys(arrays, plan), plan.dps, plan.dpv)
    else:
        preallocated = _grown(content.capacity() or (0, 0), arrays, added, plan, extra_buffer)
        preallocated.write(_with_keys(arrays, plan), Selection(arrays, runs).known_runs(), (0, 0))
    preallocated.write(_with_keys(added, plan), Selection(added, added_runs).known_runs(), (count, vertices))
    small = replace(arrays, groups=groups, **_small_of(plan))
    content.hold(preallocated, small, plan.header.with_counts(*preallocated.capacity))


def _placed_as(arrays: TrxArrays, other: TrxArrays) -> TrxArrays:
    """Return arrays in the space of others, if they have no streamlines and nobody gave them a space."""
    if arrays.header.nb_streamlines or not is_blank(arrays.space):
        return arrays
    space = other.space
    header = replace(arrays.header, voxel_to_rasmm=space.voxel_to_rasmm, dimensions=space.dimensions)
    return replace(arrays, header=header)


def fill_preallocated(target: Content, selections: Sequence[Selection], check_space: bool) -> None:
    """Write all selections but the first behind what is in `target`, which is the first.

    Parameters
    ----------
    target : Content
        Preallocated. Its dps and dpv keys that the first selection lacks are removed.
    selections : sequence of Selection
        As they are to be joined.
    check_space : bool
        Whether all must be in one space.

    Raises
    ------
    CapacityError, SpaceMismatchError, MetadataMismatchError, DtypeError
        If they do not fit; the file is as full as before then.
    """
    first = selections[0][0] if len(selections) == 1 else _placed_as(selections[0][0], selections[1][0])
    selections = [Selection(first, selections[0].runs), *selections[1:]]
    # The preallocated file is input 0. So the others have the numbers that a plain concatenation of them gives them,
    # and header keys on which they differ get the same names (`<key>_<number>`).
    plan = plan_merge(
        [TrxSource(arrays, runs=runs) for arrays, runs in selections],
        names=[str(number) for number in range(len(selections))],
        keep_groups=False,
        check_space=check_space,
    )
    preallocated = as_preallocated(target)
    kept = replace(
        preallocated,
        dps={key: array for key, array in preallocated.dps.items() if key in first.dps},
        dpv={key: array for key, array in preallocated.dpv.items() if key in first.dpv},
    )
    at = (first.header.nb_streamlines, first.header.nb_vertices)
    _check_fits(kept, selections, plan, at)
    try:
        end = at
        for selection in selections[1:]:
            if selection.arrays.header.nb_streamlines:
                end = kept.write(selection.arrays, selection.known_runs(), end)
    except BaseException:
        kept.erase(at, (plan.header.nb_streamlines, plan.header.nb_vertices))
        raise
    small = replace(first, groups={}, **_small_of(plan))
    target.hold(kept, small, plan.header.with_counts(*kept.capacity))


def _check_fits(kept: Preallocated, selections: Sequence[Selection], plan: Plan, at: tuple[int, int]) -> None:
    """Check that all selections but the first can be written behind what is filled, before any is."""
    nb_streamlines, nb_vertices = plan.header.nb_streamlines - at[0], plan.header.nb_vertices - at[1]
    for arrays, _ in selections[1:]:
        for section in _COLUMNS:
            extra = sorted(set(getattr(arrays, section)) - set(getattr(kept, section)))
            if extra and arrays.header.nb_streamlines:
                raise MetadataMismatchError(
                    f"the preallocated file has no {section}/{extra[0]}, which an input has; preallocate with "
                    f"init_as=, or give delete_{section}=True"
                )
        if arrays.header.nb_streamlines:
            kept.check_fits(arrays, nb_streamlines, nb_vertices, at)


def _takes(preallocated: Preallocated, plan: Plan) -> bool:
    """Tell whether the result of a plan fits preallocated arrays, without loss."""
    if plan.header.nb_streamlines > preallocated.capacity[0] or plan.header.nb_vertices > preallocated.capacity[1]:
        return False
    for section in ("dps", "dpv"):
        arrays, specs = getattr(preallocated, section), getattr(plan, section)
        if not all(
            key in specs and specs[key].ncols == array.shape[1] and np.can_cast(specs[key].dtype, array.dtype, "safe")
            for key, array in arrays.items()
        ):
            return False
    return np.can_cast(plan.positions_dtype, preallocated.positions.dtype, "safe")


def _grown(before: tuple[int, int], arrays: TrxArrays, added: TrxArrays, plan: Plan, extra_buffer: int) -> Preallocated:
    """Return new arrays for the result of a plan, with a buffer if more is needed than there was."""
    n, v = plan.header.nb_streamlines, plan.header.nb_vertices
    if n > before[0] or v > before[1]:
        mean = -(-v // n) if n else 0
        n, v = n + extra_buffer, v + extra_buffer * max(_BUFFER_VERTICES, mean)
    wide = max(arrays.offsets.dtype.itemsize, added.offsets.dtype.itemsize) == 8
    return Preallocated.allocate(
        max(n, before[0]), max(v, before[1]), plan.positions_dtype, plan.dps, plan.dpv, wide_offsets=wide
    )


def _with_keys(arrays: TrxArrays, plan: Plan) -> TrxArrays:
    """Return arrays that have every key of the plan: those without streamlines may lack some."""
    n, v = arrays.header.nb_streamlines, len(arrays.positions)
    dps = {key: np.zeros((n, spec.ncols), spec.dtype) for key, spec in plan.dps.items() if key not in arrays.dps}
    dpv = {key: np.zeros((v, spec.ncols), spec.dtype) for key, spec in plan.dpv.items() if key not in arrays.dpv}
    return replace(arrays, dps={**dps, **arrays.dps}, dpv={**dpv, **arrays.dpv}) if dps or dpv else arrays


def _joined_groups(arrays: TrxArrays, added: TrxArrays) -> dict[str, Array]:
    count = arrays.header.nb_streamlines
    for one in (arrays, added):
        for name, members in one.groups.items():
            check_members(members, one.header.nb_streamlines, f"groups/{name}")
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
