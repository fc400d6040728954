"""One function per rule of the workflow: paths in, files out. The scripts call these and nothing else."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

import trxlib.commands.extract
from trxlib.cohort.archive import (
    convert_inputs,
    fill_cohort,
    paths_of_rows,
    plan_cohort,
    plan_cohort_directly,
    seal_cohort,
)
from trxlib.commands.convert import ConvertedInput, convert
from trxlib.commands.progress import log_progress, read_table, write_table
from trxlib.container.atomic import private_name, writing
from trxlib.container.outputs import check_outputs
from trxlib.engine.plan import MissingPolicy, plan_merge
from trxlib.engine.trx_source import BundleSource
from trxlib.errors import InputError, MismatchError, TrxError
from trxlib.formats.open import NonFinite, OutOfVolume, read_headers
from trxlib.model.source import Headers, SourceInfo
from trxlib.model.space import check_same_space

__all__ = [
    "convert_subject",
    "convert_subjects",
    "draw_cohort",
    "extract_groups",
    "fill_cohort",
    "make_demo_data",
    "plan_cohort",
    "plan_cohort_directly",
    "preflight",
    "refuse_cohort",
    "seal_cohort",
    "start_logging",
    "summarise_cohort",
]

logger = logging.getLogger(__name__)
Paths = Iterable[str | Path]
Row = Mapping[str, Any]
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


# What every script needs


def start_logging() -> None:
    """Send the library's messages and warnings to stderr, and end on a user's mistake with one message."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s", datefmt="%H:%M:%S")
    warnings.showwarning = _log_warning
    sys.excepthook = _log_error


def _log_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    logger.warning("%s", message)


def _log_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, (TrxError, OSError)):
        logger.error("%s", "\n".join([str(error), *getattr(error, "__notes__", [])]))
    else:
        sys.__excepthook__(kind, error, trace)


# Stages


def make_demo_data(trk: Paths, tck: Paths, reference: str | Path) -> None:
    """Unpack the bundles of five people that come with DIPY.

    Parameters
    ----------
    trk, tck : iterable of path
        Files to write, ``<folder>/sub-0<number>/<bundle>.<format>``.
    reference : path
        Image to write, in the space of all bundles.
    """
    import dipy
    import nibabel as nib
    import numpy as np

    # Their headers say 1 x 1 x 1 voxels, and so does this image: it is their affine that counts.
    nib.save(nib.Nifti1Image(np.zeros((1, 1, 1), dtype=np.uint8), np.eye(4)), reference)
    with zipfile.ZipFile(Path(dipy.__file__).parent / "data" / "files" / "minimal_bundles.zip") as bundles:
        for target in map(Path, [*trk, *tck]):
            target.parent.mkdir(parents=True, exist_ok=True)
            number = int(target.parent.name.removeprefix("sub-"))
            data = bundles.read(f"sub_{number}/{target.stem}.trk")
            with writing(target) as partial:
                partial.write_bytes(data)
                if target.suffix == ".tck":
                    tractogram = nib.streamlines.TrkFile.load(partial).tractogram
                    nib.streamlines.TckFile(tractogram).save(partial)


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
    found: dict[str, Headers] = {}
    for row in rows:
        name = _name_of(row)
        try:
            found[name] = _read_headers(row)
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


def _read_headers(row: Row) -> Headers:
    return read_headers(
        row["tractogram"],
        reference=row["reference"] or None,
        transform=row["transform"] or None,
        dps=row["dps"],
        dpv=row["dpv"],
    )


def _misfits(found: Mapping[str, Headers], missing_metadata: MissingPolicy) -> list[str]:
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
        groups = trxlib.commands.extract.extract_groups(archive, partial, workers=workers)
        partial.rename(folder)
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
    with closing(BundleSource.open(archive)) as source:
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
    with closing(BundleSource.open(archive)) as source, writing(picture) as partial:
        draw_mosaic(source.arrays, partial, title=cohort, subtitle=" \u00b7 ".join(words), groups=groups)
    with writing(page) as partial:
        partial.write_text(render_page(cohort, rows, len(inputs), subjects), encoding="utf-8")
    logger.info("%s and %s", picture, page)
