"""Before the long work: what the headers of a cohort's inputs say, where their first streamlines lie, what fits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trxlib.cohort.records import RECORD_COLUMNS, record_cells
from trxlib.cohort.sheet import Row
from trxlib.cohort.subjects import common_options, options_of, paths_of_rows
from trxlib.cohort.tables import write_table
from trxlib.container.outputs import check_outputs
from trxlib.engine.columns import MissingPolicy
from trxlib.engine.planning import plan_merge
from trxlib.errors import InputError, MismatchError, TrxError
from trxlib.formats.open import look_into
from trxlib.formats.reference import find_grid
from trxlib.model.options import SpacePolicy
from trxlib.model.source import SourceHeaders, SourceInfo
from trxlib.model.space import Space, check_same_space

__all__ = ["preflight", "refuse_cohort"]

logger = logging.getLogger(__name__)
_PREFLIGHT_COLUMNS = (
    "subject",
    "session",
    "bundle",
    "source",
    "format",
    "streamlines",
    "vertices",
    "bytes",
    *RECORD_COLUMNS,
    "dps",
    "dpv",
)


def refuse_cohort(cohort: str, mistakes: Sequence[str]) -> None:
    """Fail for a cohort with mistakes in the sample sheet.

    Raises
    ------
    InputError
        Always; lists the mistakes.
    """
    lines = [f"cohort {cohort} is left out, its rows in the sample sheet have mistakes:", *mistakes]
    raise InputError("\n  ".join(lines))


def preflight(
    rows: Sequence[Row],
    table: str | Path,
    *,
    missing_metadata: MissingPolicy,
    space: SpacePolicy = "same",
    grid: str | None = None,
    **options: Any,
) -> None:
    """Read the headers of a cohort's inputs and the first streamlines of each, and check that they fit together.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the sample sheet, see `trxlib.cohort.sheet.Sample.to_params`.
    table : path
        What the headers say, one line per input.
    missing_metadata : {"error", "drop", "fill"}
        Whether dps and dpv keys that some inputs lack are a mistake.
    space : {"same", "world"}
        Whether all inputs must have one grid, or only lie in one world space.
    grid : path, optional
        Reference with the grid of the archive, for "world".
    **options
        See `trxlib.cohort.subjects.common_options`; what may be left out is not judged here.

    Raises
    ------
    InputError
        Lists every input that cannot be read or does not fit.
    """
    check_outputs([table], [*paths_of_rows(rows), *([grid] if grid else [])])
    # Cut off by the grid of the archive is what lies outside; the files' own hold in any other case.
    archive_grid, problems = _read_grid(space, grid)
    found: dict[str, SourceHeaders] = {}
    records: list[dict[str, Any]] = []
    # Nothing is left out of a sample, so what has to be counted for that is not.
    common = replace(common_options(**options), out_of_volume="keep", drop_empty=False)
    for row in rows:
        name = _name_of(row)
        try:
            found[name], record = look_into(row["tractogram"], options_of(row, common), grid=archive_grid)
            records.append(record)
        except (TrxError, OSError) as error:
            problems.append(f"{name}: {error}")
        except Exception as error:  # whatever another library says of a broken file
            logger.debug("%s", name, exc_info=True)
            problems.append(f"{name}: {row['tractogram']}: {type(error).__name__}: {error}")
    moved = [name for name, row in zip(map(_name_of, rows), rows, strict=True) if row["transform"]]
    problems += _misfits(found, missing_metadata, space, moved)
    if archive_grid is None and not problems:
        problems += _union_problems(found, space)
    if problems:
        raise InputError("\n".join(["the inputs of the cohort cannot become one archive:", *problems]))
    write_table(
        table,
        _PREFLIGHT_COLUMNS,
        (_preflight_row(*item) for item in zip(rows, [item.info for item in found.values()], records, strict=True)),
    )
    _warn_of_repeats(rows)
    total = sum(item.info.nb_streamlines for item in found.values())
    logger.info("%d inputs, %d streamlines: all headers fit together", len(rows), total)


def _warn_of_repeats(rows: Sequence[Row]) -> None:
    """Warn of a tractogram that two subjects have: most such rows were copied and not changed."""
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(row["tractogram"], row)
        if other is not row:
            logger.warning("%s: %s is the tractogram of %s too", _name_of(row), row["tractogram"], _name_of(other))


def _name_of(row: Row) -> str:
    """Return what messages call an input: ``sub-01 ses-1 CC``."""
    return " ".join(row[key] for key in ("subject", "session", "bundle") if row[key])


def _misfits(
    found: Mapping[str, SourceHeaders], missing_metadata: MissingPolicy, space: SpacePolicy, moved: Sequence[str]
) -> list[str]:
    """Return what keeps inputs from one archive: other spaces, and dps and dpv that differ."""
    problems: list[str] = []
    if not found:
        return problems
    if space == "same":
        labels = {name: f"{name} ({item.info.path})" for name, item in found.items() if item.info.has_space}
        spaces = {label: found[name].info.space for name, label in labels.items()}
        try:
            check_same_space(spaces, transformed=[labels[name] for name in moved if name in labels])
        except MismatchError as error:
            problems.append(str(error))
    try:
        plan_merge(list(found.values()), names=list(found), missing=missing_metadata, check_space=False)
    except TrxError as error:
        problems.append(str(error))
    return problems


def _read_grid(space: SpacePolicy, grid: str | None) -> tuple[Space | None, list[str]]:
    """Return the grid that the archive is to get, if one is named, and what is wrong with it."""
    try:
        return (None if grid is None else find_grid([], space, grid)), []
    except TrxError as error:
        return None, [f"configuration, grid: {error}"]


def _union_problems(found: Mapping[str, SourceHeaders], space: SpacePolicy) -> list[str]:
    """Return what keeps the grids of inputs from one that contains them all."""
    try:
        find_grid([item.info for item in found.values()], space) if found else None
    except TrxError as error:
        return [str(error)]
    return []


def _preflight_row(row: Row, info: SourceInfo, record: Mapping[str, Any]) -> list[Any]:
    names = [row["subject"], row["session"], row["bundle"], row["tractogram"], info.format]
    counts = [info.nb_streamlines, info.nb_vertices, info.nbytes]
    keys = [" ".join(sorted(info.dps)), " ".join(sorted(info.dpv))]
    return [*names, *counts, *record_cells(row, record), *keys]
