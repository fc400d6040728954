"""The archive of a cohort, made by many jobs: plan it, fill its shards, seal it.

Every job may be killed and run again, and may run beside its own twin. What a job says it did is a receipt; the seal
believes none that it has not checked.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trxlib.cohort.provenance import write_provenance, write_ranges
from trxlib.cohort.sheet import Row
from trxlib.cohort.subjects import common_options, convert_inputs, paths_of_rows
from trxlib.commands.convert import plan_conversion
from trxlib.commands.progress import log_progress
from trxlib.commands.validate import find_problems
from trxlib.container.outputs import check_outputs
from trxlib.container.owners import PRIVATE, is_abandoned
from trxlib.container.partial import PartialArchive
from trxlib.engine.columns import MissingPolicy
from trxlib.engine.fill import fill_shard
from trxlib.engine.nested import plan_nested
from trxlib.engine.plan import InputPlan, Plan
from trxlib.engine.planning import plan_merge
from trxlib.engine.receipt import Receipt
from trxlib.engine.seal import check_receipts, find_damage, find_unfit, is_sealed, seal_container
from trxlib.engine.trx_source import TrxSource
from trxlib.errors import FormatError, StaleError
from trxlib.formats.open import open_input
from trxlib.formats.reference import find_grid
from trxlib.model.options import SpacePolicy
from trxlib.model.source import Source, SourceHeaders, SourceInfo
from trxlib.model.space import Space

__all__ = ["fill_cohort", "plan_cohort", "plan_cohort_directly", "seal_cohort"]

logger = logging.getLogger(__name__)
Paths = Iterable[str | Path]


# Plan


def plan_cohort(
    subjects: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    output: str | Path,
    archive: str | Path,
    *,
    missing_metadata: MissingPolicy,
    nb_shards: int,
    space: SpacePolicy = "same",
    grid: str | None = None,
) -> None:
    """Give each subject its byte ranges in the cohort's archive; only headers are read.

    Parameters
    ----------
    subjects : sequence of path
        The ``.trx`` of each subject, in the order of the archive.
    groups : mapping of str to sequence of str
        For each subject (and session), in the same order, the groups of all its streamlines.
    output : path
        The plan, JSON.
    archive : path
        The name that the archive will have. What jobs of older plans left beside it is removed.
    missing_metadata : {"error", "drop", "fill"}
        What to do with dps and dpv keys that some subjects lack.
    nb_shards : int
        Jobs to divide the filling between.
    space : {"same", "world"}
        Whether all subjects have one grid, or only lie in one world space.
    grid : path, optional
        Reference with the grid of the archive, for "world".

    Raises
    ------
    InputError
        If the plan or the archive would replace a subject's file.
    """
    check_outputs([output, archive], [*subjects, *([grid] if grid else [])])
    headers = [_headers_of_subject(path) for path in subjects]
    plan = plan_merge(
        headers,
        names=list(groups),
        whole_groups=list(groups.values()),
        options=[None] * len(subjects),
        missing=missing_metadata,
        grid=find_grid([item.info for item in headers], space, grid),
        nb_shards=nb_shards,
    )
    _save_plan(plan, output, archive)


def _headers_of_subject(path: str) -> SourceHeaders:
    with TrxSource.open(path) as source:
        return source.headers()


def plan_cohort_directly(
    rows: Sequence[Row],
    groups: Mapping[str, Sequence[str]],
    output: str | Path,
    archive: str | Path,
    *,
    nb_shards: int,
    bundles: bool,
    missing_metadata: MissingPolicy,
    space: SpacePolicy = "same",
    grid: str | None = None,
    **options: Any,
) -> None:
    """Give each input its byte ranges in the cohort's archive, without a ``.trx`` of each subject in between.

    The archive will have the same bytes as by `convert_subject` and `plan_cohort`.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the sample sheet, those of one subject (and session) together, in the order of `groups`.
    groups, output, archive, nb_shards
        See `plan_cohort`.
    bundles, missing_metadata, space, grid
        See `convert_subject` and `plan_cohort`.
    **options
        See `trxlib.cohort.subjects.common_options`. Streamlines can only be left out once all have been looked at, so
        inputs are read twice then.

    Raises
    ------
    InputError
        If the plan or the archive would replace an input or lie in one.
    """
    check_outputs([output, archive], [*paths_of_rows(rows), *([grid] if grid else [])])
    by_entity: dict[str, list[Row]] = {}
    for row in rows:
        entity = f"{row['subject']}_{row['session']}" if row["session"] else row["subject"]
        by_entity.setdefault(entity, []).append(row)
    common = common_options(**options)
    parts = {
        entity: plan_conversion(
            convert_inputs(by_entity[entity], bundles=bundles), common, missing=missing_metadata, space=space
        )
        for entity in groups
    }

    def choose(infos: Sequence[SourceInfo]) -> Space | None:
        return find_grid(infos, space, grid)

    plan = plan_nested(
        parts, whole_groups=list(groups.values()), missing=missing_metadata, find_grid=choose, nb_shards=nb_shards
    )
    _save_plan(plan, output, archive)


def _save_plan(plan: Plan, output: str | Path, archive: str | Path) -> None:
    plan.save(output)
    _remove_partials(archive, keep=_partial_path(plan, archive))
    free = shutil.disk_usage(Path(archive).parent).free
    if plan.nbytes > free:
        logger.warning("%s takes %.1f GB and %.1f GB are free there", archive, plan.nbytes / 1e9, free / 1e9)
    logger.info(
        "%d inputs, %d streamlines, %d vertices, %.1f MB in %d shards; plan %s",
        len(plan.inputs),
        plan.header.nb_streamlines,
        plan.header.nb_vertices,
        plan.nbytes / 1e6,
        len(plan.shards),
        plan.id,
    )


# Fill


def fill_cohort(plan: str | Path, archive: str | Path, receipt: str | Path, *, shard: int, workers: int) -> None:
    """Copy one shard's inputs into the archive under construction.

    Parameters
    ----------
    plan : path
        From `plan_cohort`.
    archive : path
        The name that the archive will have; it is filled beside it, under a name that holds the plan's id.
    receipt : path
        What was read and written, for `seal_cohort`.
    shard : int
        Which part of the plan.
    workers : int
        Threads.

    Raises
    ------
    InputError
        If the archive or the receipt would replace one of these inputs.
    StaleError
        If an input is not as it was planned with.
    """
    loaded = Plan.load(plan)
    low, high = loaded.shards[shard] if shard in range(len(loaded.shards)) else (0, 0)
    check_outputs([archive, receipt], [plan, *_inputs_of(loaded.inputs[low:high])])
    target = PartialArchive(archive, loaded.layout, _partial_path(loaded, archive))
    try:
        filled = fill_shard(
            loaded, target, _open_planned, shard, workers=workers, progress=log_progress(f"shard {shard}")
        )
        target.sync()  # a receipt is believed when the data are read back, also after a loss of power
    finally:
        target.close()  # over NFS, others see the bytes from now on
    if Plan.load(plan).id != loaded.id:
        # An old job that went on after its run was killed: its receipt must not stand in the place of a new one.
        raise StaleError(f"{plan}: was made anew while shard {shard} was filled; this fill counts for nothing")
    filled.save(receipt)
    logger.info("shard %d of %s: %.1f MB", shard, archive, sum(piece.nbytes for piece in filled.ranges) / 1e6)


def _inputs_of(items: Iterable[InputPlan]) -> list[str]:
    return [path for item in items for path in (item.path, *(item.options.files() if item.options else ()))]


def _open_planned(_: int, item: InputPlan) -> Source:
    # A subject's .trx was checked when it was written, and is copied as it is.
    return TrxSource.open(item.path) if item.options is None else open_input(item.path, item.options)


# Seal


def seal_cohort(
    plan: str | Path,
    receipts: Paths,
    archive: str | Path,
    provenance: str | Path,
    *,
    records: Paths = (),
    rows: Sequence[Row] = (),
    ranges: str | Path | None = None,
    workers: int = 1,
) -> None:
    """Check that every byte was filled, close the archive, name it, and say where its streamlines are from.

    The data are read back. A shard that is damaged is filled again here, once. A receipt that does not fit the plan is
    removed, so that the next run fills that shard and no other.

    Parameters
    ----------
    plan : path
        From `plan_cohort`.
    receipts : iterable of path
        From `fill_cohort`, one per shard.
    archive, provenance : path
        Outputs.
    records : iterable of path
        From `convert_subject`, in the order of the archive; or give `rows`.
    rows : sequence of mapping
        As given to `plan_cohort_directly`.
    ranges : path, optional
        Output: the CRC-32 of each input's bytes, by which `trxlib.verify` says whose data are damaged.
    workers : int
        Threads, to fill a damaged shard.

    Raises
    ------
    InputError
        If an output would replace an input.
    StaleError
        If not all shards were filled, with the inputs that were planned with.
    """
    loaded = Plan.load(plan)
    paths, records = [Path(path) for path in receipts], list(records)
    outputs = [archive, provenance, *([] if ranges is None else [ranges])]
    check_outputs(outputs, [plan, *paths, *records, *_inputs_of(loaded.inputs)])
    found = _load_receipts(loaded, paths)
    filled = check_receipts(loaded, found)
    partial = _partial_path(loaded, archive)
    if partial.exists():
        target = PartialArchive(archive, loaded.layout, partial, create=False)
        try:
            found = _repair(loaded, target, found, paths, workers)
            _write_tables(loaded, found, provenance, records, rows, ranges)
            seal_container(loaded, target, check_receipts(loaded, found))
        finally:
            target.close()
    elif is_sealed(loaded, filled, archive):
        logger.info("%s: was sealed already, by another job of the same plan", archive)
        _write_tables(loaded, found, provenance, records, rows, ranges)
    else:
        for path in paths:
            path.unlink(missing_ok=True)
        raise StaleError(f"{partial}: the archive under construction is gone; run the workflow again to fill it again")
    _remove_partials(archive)
    logger.info("%s: %d streamlines of %d inputs", archive, loaded.header.nb_streamlines, len(loaded.inputs))


def _write_tables(
    plan: Plan,
    receipts: Sequence[Receipt],
    provenance: str | Path,
    records: Paths,
    rows: Sequence[Row],
    ranges: str | Path | None,
) -> None:
    write_provenance(plan, receipts, provenance, records, rows)
    if ranges is not None:
        write_ranges(plan, receipts, ranges)


def _load_receipts(plan: Plan, paths: Sequence[Path]) -> list[Receipt]:
    """Return the receipts; after an error those that are wrong are gone, so that their shards are filled again."""
    found: dict[Path, Receipt] = {}
    problems: list[str] = []
    for path in paths:
        try:
            found[path] = Receipt.load(path)
        except FileNotFoundError:
            continue
        except FormatError as error:
            problems.append(str(error))
            path.unlink()
    unfit = find_unfit(plan, found.values())
    for path, receipt in found.items():
        if receipt.shard in unfit:
            path.unlink(missing_ok=True)
    if unfit:
        problems += [f"{text} ({_inputs_of_shard(plan, shard)})" for shard, text in sorted(unfit.items())]
        raise StaleError("; ".join(problems) + "; run the workflow again, and only those shards are filled again")
    return list(found.values())


def _repair(
    plan: Plan, target: PartialArchive, receipts: Sequence[Receipt], paths: Sequence[Path], workers: int
) -> list[Receipt]:
    """Read all back; fill what is damaged again, once."""
    damage = find_damage(plan, target, receipts)
    repaired = {receipt.shard: receipt for receipt in receipts}
    for shard, entries in damage.items():
        logger.warning(
            "shard %d (%s) is damaged on disk in %s: filled again",
            shard,
            _inputs_of_shard(plan, shard),
            ", ".join(entries),
        )
        repaired[shard] = fill_shard(plan, target, _open_planned, shard, workers=workers)
    again = find_damage(plan, target, [repaired[shard] for shard in damage])
    if again:
        texts = [f"shard {shard} in {', '.join(entries)}" for shard, entries in sorted(again.items())]
        for path in paths:
            if path.exists() and Receipt.load(path).shard in again:
                path.unlink()
        raise StaleError(
            f"{target.partial}: {'; '.join(texts)} is damaged on disk, also after it was filled again; "
            + _blame(plan, again)
        )
    return [repaired[shard] for shard in sorted(repaired)]


def _blame(plan: Plan, shards: Iterable[int]) -> str:
    """Say which inputs of shards do not hold what their own checksums say."""
    items = [item for shard in shards for item in plan.inputs[slice(*plan.shards[shard])]]
    bad = [item.path for item in items if item.path.endswith(".trx") and find_problems(item.path)]
    if bad:
        return f"the cause is in the inputs: {', '.join(bad)}; make them again"
    return "the inputs are good, so suspect the file system"


def _inputs_of_shard(plan: Plan, shard: int) -> str:
    if shard not in range(len(plan.shards)):
        return "no inputs"
    names = [item.name for item in plan.inputs[slice(*plan.shards[shard])]]
    return f"{names[0]} to {names[-1]}" if len(names) > 1 else "".join(names) or "no inputs"


def _partial_path(plan: Plan, archive: str | Path) -> Path:
    return Path(archive).with_name(f".{Path(archive).name}.{plan.id}.partial")


def _remove_partials(archive: str | Path, keep: Path | None = None) -> None:
    """Remove what plans that were never sealed left, and jobs that came late."""
    for path in Path(archive).parent.glob(f".{Path(archive).name}.*.partial"):
        # What somebody writes with `merge` or `convert` under the same name is not of a plan.
        if path != keep and (not PRIVATE.fullmatch(path.name) or is_abandoned(path)):
            path.unlink(missing_ok=True)
