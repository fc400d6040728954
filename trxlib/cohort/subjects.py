"""One subject: all its files become one ``.trx``, and a record says where its streamlines are from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from trxlib.cohort.sheet import Row
from trxlib.commands.convert import ConvertedInput, ConvertInput, convert_all
from trxlib.commands.progress import log_progress
from trxlib.container.atomic import writing
from trxlib.container.outputs import check_outputs
from trxlib.engine.columns import MissingPolicy
from trxlib.errors import InputError, TrxError
from trxlib.model.options import NonFinite, OutOfField, OutOfVolume, ReadOptions, SpacePolicy

__all__ = ["common_options", "convert_inputs", "convert_subject", "convert_subjects", "options_of", "paths_of_rows"]


def options_of(row: Row, common: ReadOptions | None = None) -> ReadOptions:
    """Return how the tractogram of a row of the sample sheet is read.

    Parameters
    ----------
    row : mapping
        See `trxlib.cohort.sheet.Sample.to_params`.
    common : ReadOptions, optional
        What the configuration says of all rows.
    """
    own = {"reference": row["reference"] or None, "dps": row["dps"], "dpv": row["dpv"], **_moves(row)}
    return replace(common or ReadOptions(), **own)


def _moves(row: Row) -> dict[str, Any]:
    """Return what a row says of transforms; lists of the sheet become what Python and JSON have."""
    return {
        "transform": list(row["transform"]) or None,
        "transform_format": [name or None for name in row["transform_format"]] or None,
        "transform_inverse": list(row["transform_inverse"]) or False,
        "transform_source": [path or None for path in row["transform_source"]] or None,
    }


def common_options(
    *,
    positions_dtype: str = "keep",
    out_of_volume: OutOfVolume = "keep",
    nonfinite: NonFinite = "fail",
    empty_streamlines: str = "keep",
    out_of_field: OutOfField = "fail",
    warn_outside: float = 0.05,
    max_outside: float = 0.5,
    vtk_space: Literal["stated", "RAS", "LPS"] = "stated",
) -> ReadOptions:
    """Return what the configuration says of all tractograms; see ``workflow/schemas/config.schema.yaml``."""
    return ReadOptions(
        positions_dtype=None if positions_dtype == "keep" else positions_dtype,
        out_of_volume=out_of_volume,
        nonfinite=nonfinite,
        drop_empty=empty_streamlines == "drop",
        out_of_field=out_of_field,
        warn_outside=warn_outside,
        max_outside=max_outside,
        vtk_space=None if vtk_space == "stated" else vtk_space,
    )


def convert_inputs(rows: Sequence[Row], *, bundles: bool) -> list[ConvertInput]:
    """Return what `trxlib.convert` needs to know of rows of the sample sheet; bundles become groups if wanted."""
    return [
        ConvertInput(
            row["tractogram"],
            group=row["bundle"] if bundles and row["bundle"] else None,
            reference=row["reference"] or None,
            dps=row["dps"],
            dpv=row["dpv"],
            **_moves(row),
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
    missing_metadata: MissingPolicy,
    space: SpacePolicy = "same",
    **options: Any,
) -> None:
    """Convert all files of a subject (and session) into one ``.trx``.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the sample sheet, see `trxlib.cohort.sheet.Sample.to_params`.
    output : path
        The ``.trx``.
    record : path
        JSON: where each input's streamlines are in it, its fingerprint, what its header said, and what moved it.
    bundles : bool
        Whether bundles become groups.
    missing_metadata, space : str
        See ``workflow/schemas/config.schema.yaml``.
    **options
        See `common_options`.

    Raises
    ------
    InputError
        If an output would replace an input or lie in one.
    """
    check_outputs([output, record], paths_of_rows(rows))
    converted = convert_all(
        convert_inputs(rows, bundles=bundles),
        output,
        common_options(**options),
        missing=missing_metadata,
        space=space,
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
        **{key: row[key] for key in ("bundle", "tractogram", "reference", "dps", "dpv")},
        "format": item.info.format,
        **item.record,
        "first_streamline": item.place.first_streamline,
        "nb_streamlines": item.place.nb_streamlines,
        "first_vertex": item.place.first_vertex,
        "nb_vertices": item.place.nb_vertices,
        "fingerprint": item.fingerprint,
        "facts": dict(item.info.facts),
    }
