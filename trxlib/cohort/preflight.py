"""Before any streamline is read: what the headers of a cohort's inputs say, and whether they fit together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trxlib.cohort.sheet import Row
from trxlib.cohort.subjects import options_of, paths_of_rows
from trxlib.cohort.tables import write_table
from trxlib.container.outputs import check_outputs
from trxlib.engine.columns import MissingPolicy
from trxlib.engine.planning import plan_merge
from trxlib.errors import InputError, MismatchError, TrxError
from trxlib.formats.open import read_headers
from trxlib.model.source import SourceHeaders, SourceInfo
from trxlib.model.space import check_same_space

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
    "dimensions",
    "voxel_sizes",
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


def preflight(rows: Sequence[Row], table: str | Path, *, missing_metadata: MissingPolicy) -> None:
    """Read the headers of a cohort's inputs and check that they fit together.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the sample sheet, see `trxlib.cohort.sheet.Sample.to_params`.
    table : path
        What the headers say, one line per input.
    missing_metadata : {"error", "drop", "fill"}
        Whether dps and dpv keys that some inputs lack are a mistake.

    Raises
    ------
    InputError
        Lists every input that cannot be read or does not fit.
    """
    check_outputs([table], paths_of_rows(rows))
    problems: list[str] = []
    found: dict[str, SourceHeaders] = {}
    for row in rows:
        name = _name_of(row)
        try:
            found[name] = read_headers(row["tractogram"], options_of(row))
        except (TrxError, OSError) as error:
            problems.append(f"{name}: {error}")
        except Exception as error:  # whatever another library says of a broken file
            logger.debug("%s", name, exc_info=True)
            problems.append(f"{name}: {row['tractogram']}: {type(error).__name__}: {error}")
    problems += _misfits(found, missing_metadata)
    if problems:
        raise InputError("\n".join(["the inputs of the cohort cannot become one archive:", *problems]))
    write_table(
        table,
        _PREFLIGHT_COLUMNS,
        (_preflight_row(row, item.info) for row, item in zip(rows, found.values(), strict=True)),
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


def _misfits(found: Mapping[str, SourceHeaders], missing_metadata: MissingPolicy) -> list[str]:
    """Return what keeps inputs from one archive: other spaces, and dps and dpv that differ."""
    problems: list[str] = []
    if not found:
        return problems
    try:
        check_same_space(
            {f"{name} ({item.info.path})": item.info.space for name, item in found.items() if item.info.has_space}
        )
    except MismatchError as error:
        problems.append(str(error))
    try:
        plan_merge(list(found.values()), names=list(found), missing=missing_metadata, check_space=False)
    except TrxError as error:
        problems.append(str(error))
    return problems


def _preflight_row(row: Row, info: SourceInfo) -> list[Any]:
    sizes = " ".join(f"{size:.4g}" for size in info.space.voxel_sizes)
    dimensions = " ".join(map(str, info.space.dimensions))
    names = [row["subject"], row["session"], row["bundle"], row["tractogram"], info.format]
    counts = [info.nb_streamlines, info.nb_vertices, info.nbytes]
    return [*names, *counts, dimensions, sizes, " ".join(sorted(info.dps)), " ".join(sorted(info.dpv))]
