"""``provenance.tsv``: where every streamline of an archive came from; ``ranges.tsv``: CRCs of each input's bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trxlib.cohort.records import RECORD_COLUMNS, record_cells
from trxlib.cohort.sheet import Row
from trxlib.cohort.tables import write_table
from trxlib.engine.plan import InputPlan, Plan
from trxlib.engine.receipt import Receipt

__all__ = ["write_provenance", "write_ranges"]

Paths = Iterable[str | Path]
_PROVENANCE_COLUMNS = (
    "subject",
    "session",
    "bundle",
    "source",
    "format",
    "first_streamline",
    "last_streamline",
    "first_vertex",
    "last_vertex",
    "fingerprint",
    *RECORD_COLUMNS,
)


#: As `trxlib.commands.verify` reads them.
_RANGE_COLUMNS = ("input", "first_streamline", "streamlines", "entry", "first_byte", "bytes", "crc")


def write_provenance(
    plan: Plan, receipts: Sequence[Receipt], output: str | Path, records: Paths, rows: Sequence[Row]
) -> None:
    lines: list[list[Any]] = []
    if rows:
        read = [item for receipt in sorted(receipts, key=lambda one: one.shard) for item in receipt.inputs]
        for place, row, source in zip(plan.inputs, rows, read, strict=True):
            names = [row["subject"], row["session"], row["bundle"], row["tractogram"], source.format]
            lines.append([*names, *_spans(place), source.fingerprint, *record_cells(row, source.record)])
    else:
        for place, path in zip(plan.inputs, records, strict=True):
            lines += _lines_of_record(place, Path(path))
    write_table(output, _PROVENANCE_COLUMNS, lines)


def write_ranges(plan: Plan, receipts: Sequence[Receipt], output: str | Path) -> None:
    """Write which bytes of each entry an input filled, and their CRC-32, so that damage can be told from whose it is.

    Parameters
    ----------
    plan : Plan
    receipts : sequence of Receipt
        Of all shards.
    output : path
        A line for each input and entry.
    """
    parts = [part for receipt in sorted(receipts, key=lambda one: one.shard) for part in receipt.parts]
    lines = (
        [
            place.name,
            place.first_streamline,
            place.nb_streamlines,
            item.path,
            item.start,
            item.nbytes,
            f"{item.crc:08x}",
        ]
        for place, part in zip(plan.inputs, parts, strict=True)
        for item in part
        if item.nbytes
    )
    write_table(output, _RANGE_COLUMNS, lines)


def _lines_of_record(place: InputPlan, path: Path) -> list[list[Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    lines = []
    for source in content["inputs"]:
        streamlines = _span(place.first_streamline + source["first_streamline"], source["nb_streamlines"])
        vertices = _span(place.first_vertex + source["first_vertex"], source["nb_vertices"])
        names = [content["subject"], content["session"], source["bundle"], source["tractogram"], source["format"]]
        lines.append([*names, *streamlines, *vertices, source["fingerprint"], *record_cells(source, source)])
    return lines


def _spans(place: InputPlan) -> tuple[int | str, ...]:
    return (*_span(place.first_streamline, place.nb_streamlines), *_span(place.first_vertex, place.nb_vertices))


def _span(first: int, count: int) -> tuple[int | str, int | str]:
    """Return first and last; an input without streamlines has neither."""
    return (first, first + count - 1) if count else ("", "")
