"""One subject: all its files become one ``.trx``, and a record says where its streamlines are from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trxlib.cohort.sheet import Row
from trxlib.commands.convert import ConvertedInput, ConvertInput, convert
from trxlib.commands.progress import log_progress
from trxlib.container.atomic import writing
from trxlib.container.outputs import check_outputs
from trxlib.engine.columns import MissingPolicy
from trxlib.errors import InputError, TrxError
from trxlib.model.options import NonFinite, OutOfVolume, ReadOptions

__all__ = ["convert_inputs", "convert_subject", "convert_subjects", "options_of", "paths_of_rows"]


def options_of(row: Row) -> ReadOptions:
    """Return how the tractogram of a row of the sample sheet is read; the configuration adds what all rows share."""
    return ReadOptions(
        reference=row["reference"] or None,
        transform=row["transform"] or None,
        dps=row["dps"],
        dpv=row["dpv"],
    )


def convert_inputs(rows: Sequence[Row], *, bundles: bool) -> list[ConvertInput]:
    """Return what `trxlib.convert` needs to know of rows of the sample sheet; bundles become groups if wanted."""
    return [
        ConvertInput(
            row["tractogram"],
            group=row["bundle"] if bundles and row["bundle"] else None,
            reference=row["reference"] or None,
            transform=row["transform"] or None,
            dps=row["dps"],
            dpv=row["dpv"],
        )
        for row in rows
    ]


def paths_of_rows(rows: Iterable[Row]) -> list[str]:
    """Return every file that rows of the sample sheet name."""
    return [path for row in rows for path in (row["tractogram"], *options_of(row).files())]


def convert_subject(
    rows: Sequence[Row],
    output: str | Path,
    record: str | Path,
    *,
    bundles: bool,
    positions_dtype: str,
    missing_metadata: MissingPolicy,
    out_of_volume: OutOfVolume,
    nonfinite: NonFinite,
    empty_streamlines: str,
) -> None:
    """Convert all files of a subject (and session) into one ``.trx``.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the sample sheet, see `trxlib.cohort.sheet.Sample.to_params`.
    output : path
        The ``.trx``.
    record : path
        JSON: where each input's streamlines are in it, its fingerprint, and what its header said.
    bundles : bool
        Whether bundles become groups.
    positions_dtype, missing_metadata, out_of_volume, nonfinite, empty_streamlines : str
        See ``workflow/schemas/config.schema.yaml``.

    Raises
    ------
    InputError
        If an output would replace an input or lie in one.
    """
    check_outputs([output, record], paths_of_rows(rows))
    converted = convert(
        convert_inputs(rows, bundles=bundles),
        output,
        positions_dtype=None if positions_dtype == "keep" else positions_dtype,
        missing=missing_metadata,
        out_of_volume=out_of_volume,
        nonfinite=nonfinite,
        drop_empty=empty_streamlines == "drop",
        progress=log_progress(str(output)),
    )
    content = {
        "subject": rows[0]["subject"],
        "session": rows[0]["session"],
        "inputs": [_describe(row, item) for row, item in zip(rows, converted, strict=True)],
    }
    with writing(record) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def convert_subjects(
    rows: Mapping[str, Sequence[Row]], outputs: Sequence[str | Path], records: Sequence[str | Path], **options: Any
) -> None:
    """Convert several subjects, one after the other, as `convert_subject` does.

    Parameters
    ----------
    rows : mapping of str to sequence of mapping
        For each subject (and session), its rows.
    outputs, records : sequence of path
        In the same order.
    **options
        See `convert_subject`.

    Raises
    ------
    InputError
        If an output would replace an input, of whichever subject. Otherwise lists every subject that cannot be
        converted; the others were tried.
    """
    check_outputs([*outputs, *records], [path for part in rows.values() for path in paths_of_rows(part)])
    problems = []
    for entity, output, record in zip(rows, outputs, records, strict=True):
        try:
            convert_subject(rows[entity], output, record, **options)
        except TrxError as error:
            problems.append(f"{entity}: {error}")
    if problems:
        raise InputError("\n".join([f"{len(problems)} of {len(rows)} subjects cannot be converted:", *problems]))


def _describe(row: Row, item: ConvertedInput) -> dict[str, Any]:
    return {
        **{key: row[key] for key in ("bundle", "tractogram", "reference", "transform", "dps", "dpv")},
        "format": item.info.format,
        "first_streamline": item.place.first_streamline,
        "nb_streamlines": item.place.nb_streamlines,
        "first_vertex": item.place.first_vertex,
        "nb_vertices": item.place.nb_vertices,
        "fingerprint": item.fingerprint,
        "facts": dict(item.info.facts),
    }
