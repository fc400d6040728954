"""A page about one cohort: its picture, its subjects and groups, links to its files. No scripts, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trxlib.measures.summary import ALL
from trxlib.pages.spaces import describe_spaces, find_differences

__all__ = ["render_page"]

_TEMPLATES = Path(__file__).parent / "templates"
Row = Mapping[str, str]


def render_page(
    cohort: str,
    summary: Sequence[Row],
    nb_inputs: int,
    nb_subjects: int | None = None,
    inputs: Sequence[Row] = (),
) -> str:
    """Return the page as HTML; equal arguments give equal text.

    Parameters
    ----------
    cohort : str
        Its name.
    summary : sequence of mapping
        Rows of ``summary.tsv``, by column name.
    nb_inputs : int
        Number of files that went into the archive.
    nb_subjects : int, optional
        Number of people, where some have several sessions, each with rows of its own.
    inputs : sequence of mapping
        Rows of ``provenance.tsv``, by column name, for the section on space.
    """
    from jinja2 import Environment, FileSystemLoader

    counts = {(row["subject"], row["group"]): int(row["streamlines"]) for row in summary}
    groups = [group for subject, group in counts if subject == ALL and group != ALL]
    subjects = [subject for subject, group in counts if group == ALL]
    whole = next(row for row in summary if row["subject"] == row["group"] == ALL)
    sessions = len(subjects) - 1
    facts = [
        ("subjects", f"{sessions if nb_subjects is None else nb_subjects:,}"),
        *([("sessions", f"{sessions:,}")] if nb_subjects not in (None, sessions) else []),
        ("input files", f"{nb_inputs:,}"),
        ("streamlines", _thousands(whole["streamlines"])),
        ("vertices", _thousands(whole["vertices"])),
        ("mean length", f"{_rounded(whole['length_mean_mm'])} mm"),
        ("volume", f"{_cm3(whole['volume_mm3'])} cm\N{SUPERSCRIPT THREE}"),
    ]
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, keep_trailing_newline=True)
    return environment.get_template("cohort.html.j2").render(
        cohort=cohort,
        facts=facts,
        subjects=[_readable(row) for row in summary if row["group"] == ALL],
        groups=groups,
        spaces=describe_spaces(inputs),
        differences=find_differences(inputs),
        matrix=[(subject, [_cell(counts, subject, group) for group in groups]) for subject in subjects],
    )


def _readable(row: Row) -> dict[str, str]:
    lengths = {name: _rounded(value) for name, value in row.items() if name.startswith("length_")}
    counts = {name: _thousands(row[name]) for name in ("streamlines", "vertices")}
    return {"subject": row["subject"], **counts, **lengths, "volume_cm3": _cm3(row["volume_mm3"])}


def _cell(counts: Mapping[tuple[str, str], int], subject: str, group: str) -> tuple[str, Any]:
    """Return a count, and how strongly it is coloured."""
    count, total = counts[subject, group], counts[ALL, group]
    strength = 0.0 if subject == ALL or not total else 0.9 * count / total
    return f"{count:,}", f"{strength:.2f}"


def _thousands(value: str) -> str:
    return f"{int(value):,}"


def _rounded(value: str) -> str:
    return value if value == "n/a" else f"{float(value):.1f}"


def _cm3(value: str) -> str:
    return f"{float(value) / 1000:,.1f}"
