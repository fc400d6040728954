"""What is made of a finished archive: its groups as files, tables, a picture and a page."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from trxlib.cohort.tables import read_table, write_table
from trxlib.commands import extract
from trxlib.container.atomic import private_name, writing
from trxlib.container.durable import rename_durably
from trxlib.container.outputs import check_outputs
from trxlib.engine.trx_source import TrxSource

__all__ = ["draw_cohort", "extract_groups", "summarise_cohort"]

logger = logging.getLogger(__name__)


def extract_groups(archive: str | Path, folder: str | Path, table: str | Path, *, workers: int) -> None:
    """Copy each group of an archive into a ``.trx`` of its own.

    Parameters
    ----------
    archive : path
        From `seal_cohort`.
    folder : path
        Gets ``<group>.trx``; appears when all are complete.
    table : path
        One line per group.
    workers : int
        Groups written side by side.
    """
    check_outputs([folder, table], [archive])
    partial = private_name(Path(folder))
    try:
        groups = extract.extract_groups(archive, partial, workers=workers)
        rename_durably(partial, Path(folder))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    rows = [[group.name, f"{group.name}.trx", group.nb_streamlines, group.nb_vertices] for group in groups]
    write_table(table, ("group", "file", "streamlines", "vertices"), rows)
    logger.info("%s: %d groups", archive, len(groups))


def summarise_cohort(archive: str | Path, provenance: str | Path, table: str | Path) -> None:
    """Count streamlines and vertices and measure lengths and volumes, per subject and group.

    Parameters
    ----------
    archive, provenance : path
        From `seal_cohort`.
    table : path
        Output.
    """
    from trxlib.measures.summary import SUMMARY_COLUMNS, summarise

    check_outputs([table], [archive, provenance])
    parts: dict[str, tuple[int, int]] = {}
    subjects = set()
    for row in read_table(provenance):
        session = row["session"]
        entity = row["subject"] + (f"_{session}" if session != "n/a" else "")
        subjects |= {row["subject"], entity}
        if row["first_streamline"] != "n/a":
            first, stop = int(row["first_streamline"]), int(row["last_streamline"]) + 1
            start = parts[entity][0] if entity in parts and parts[entity] != (0, 0) else first
            parts[entity] = (start, stop)
        else:
            parts.setdefault(entity, (0, 0))
    with TrxSource.open(archive) as source:
        # A subject's own group says nothing that its row of all streamlines does not.
        groups = sorted(set(source.arrays.groups) - subjects)
        rows = summarise(source.arrays, parts, groups)
    write_table(table, SUMMARY_COLUMNS, (row.to_cells() for row in rows))
    logger.info("%s: %d rows", table, len(rows))


def draw_cohort(
    cohort: str,
    archive: str | Path,
    provenance: str | Path,
    summary: str | Path,
    picture: str | Path,
    page: str | Path,
) -> None:
    """Draw the streamlines of an archive, and write a page that shows picture and numbers.

    Parameters
    ----------
    cohort : str
        Its name.
    archive, provenance : path
        From `seal_cohort`.
    summary : path
        From `summarise_cohort`.
    picture, page : path
        PNG and HTML, side by side.
    """
    from trxlib.measures.summary import ALL, group_of_label
    from trxlib.pages.page import render_page
    from trxlib.pages.picture import draw_mosaic

    check_outputs([picture, page], [archive, provenance, summary])
    rows = read_table(summary)
    inputs = read_table(provenance)
    groups = [group_of_label(row["group"]) for row in rows if row["subject"] == ALL and row["group"] != ALL]
    whole = next(row for row in rows if row["subject"] == row["group"] == ALL)
    subjects = len({row["subject"] for row in inputs})
    words = [f"{subjects:,} subjects", f"{int(whole['streamlines']):,} streamlines"]
    if whole["length_sd_mm"] != "n/a":
        words.append(f"length {float(whole['length_mean_mm']):.0f} \u00b1 {float(whole['length_sd_mm']):.0f} mm")
    with TrxSource.open(archive) as source, writing(picture) as partial:
        draw_mosaic(source.arrays, partial, title=cohort, subtitle=" \u00b7 ".join(words), groups=groups)
    with writing(page) as partial:
        partial.write_text(render_page(cohort, rows, len(inputs), subjects, inputs), encoding="utf-8")
    logger.info("%s and %s", picture, page)
