"""One function per rule of the workflow: paths in, files out. The scripts call these and nothing else."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

import trxlib.extraction
from trxlib.conversion import ConvertedInput, ConvertInput, convert
from trxlib.errors import InputError, MismatchError, StaleError, TrxError
from trxlib.inputs import NonFinite, OutOfVolume, read_headers
from trxlib.ops.bundle import BundleSource
from trxlib.ops.fill import Receipt, fill_inputs
from trxlib.ops.plan import InputPlan, MissingPolicy, Plan, plan_merge
from trxlib.ops.seal import check_receipts, seal_container
from trxlib.source import Headers, Progress, SourceInfo
from trxlib.space import check_same_space
from trxlib.storage.partial import PartialArchive
from trxlib.storage.workspace import private_name, writing

__all__ = [
    "convert_subject",
    "extract_groups",
    "fill_cohort",
    "make_demo_data",
    "plan_cohort",
    "preflight",
    "seal_cohort",
    "start_logging",
    "summarise_cohort",
]

logger = logging.getLogger(__name__)
Paths = Iterable[str | Path]
Row = Mapping[str, Any]
_TICK = 5.0  # seconds between two lines of progress
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


def _log_progress(what: str) -> Progress:
    """Return a progress callback that writes a line every few seconds."""
    last = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _TICK:
            last = time.monotonic()
            logger.info("%s: %.0f of %.0f MB (%.0f %%)", what, done / 1e6, total / 1e6, 100 * done / max(total, 1))

    return tick


def _write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with tabs; the name appears when it is complete."""
    with writing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        for row in (columns, *rows):
            stream.write("\t".join("n/a" if cell in ("", None) else str(cell) for cell in row) + "\n")


def _read_table(path: str | Path) -> list[dict[str, str]]:
    columns, *rows = (line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [dict(zip(columns, row, strict=True)) for row in rows]


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


def preflight(rows: Sequence[Row], table: str | Path, *, missing_metadata: MissingPolicy) -> None:
    """Read the headers of a cohort's inputs and check that they fit together.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the sample sheet, see `trxlib.sheet.Sample.to_params`.
    table : path
        What the headers say, one line per input.
    missing_metadata : {"error", "drop", "fill"}
        Whether dps and dpv keys that some inputs lack are a mistake.

    Raises
    ------
    InputError
        Lists every input that cannot be read or does not fit.
    """
    problems: list[str] = []
    found: dict[str, Headers] = {}
    for row in rows:
        name = _name_of(row)
        try:
            found[name] = _read_headers(row)
        except (TrxError, OSError) as error:
            problems.append(f"{name}: {error}")
    if not problems:
        problems = _misfits(found, missing_metadata)
    if problems:
        raise InputError("\n".join([f"{len(problems)} of the cohort's inputs cannot be used:", *problems]))
    _write_table(
        table,
        _PREFLIGHT_COLUMNS,
        (_preflight_row(row, item.info) for row, item in zip(rows, found.values(), strict=True)),
    )
    total = sum(item.info.nb_streamlines for item in found.values())
    logger.info("%d inputs, %d streamlines: all headers fit together", len(rows), total)


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
    problems = []
    try:
        check_same_space({f"{name} ({item.info.path})": item.info.space for name, item in found.items()})
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
        Rows of the sample sheet, see `trxlib.sheet.Sample.to_params`.
    output : path
        The ``.trx``.
    record : path
        JSON: where each input's streamlines are in it, its fingerprint, and what its header said.
    bundles : bool
        Whether bundles become groups.
    positions_dtype, missing_metadata, out_of_volume, nonfinite, empty_streamlines : str
        See ``workflow/schemas/config.schema.yaml``.
    """
    inputs = [
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
    converted = convert(
        inputs,
        output,
        positions_dtype=None if positions_dtype == "keep" else positions_dtype,
        missing=missing_metadata,
        out_of_volume=out_of_volume,
        nonfinite=nonfinite,
        drop_empty=empty_streamlines == "drop",
        progress=_log_progress(str(output)),
    )
    content = {
        "subject": rows[0]["subject"],
        "session": rows[0]["session"],
        "inputs": [_describe(row, item) for row, item in zip(rows, converted, strict=True)],
    }
    with writing(record) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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


def plan_cohort(
    subjects: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    output: str | Path,
    *,
    missing_metadata: MissingPolicy,
    nb_shards: int,
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
    missing_metadata : {"error", "drop", "fill"}
        What to do with dps and dpv keys that some subjects lack.
    nb_shards : int
        Jobs to divide the filling between.
    """
    plan = plan_merge(
        [read_headers(path) for path in subjects],
        names=list(groups),
        whole_groups=list(groups.values()),
        options=[{}] * len(subjects),
        missing=missing_metadata,
        nb_shards=nb_shards,
    )
    plan.save(output)
    logger.info(
        "%d subjects, %d streamlines, %d vertices, %.1f MB in %d shards",
        len(subjects),
        plan.header.nb_streamlines,
        plan.header.nb_vertices,
        plan.nbytes / 1e6,
        len(plan.shards),
    )


def fill_cohort(plan: str | Path, archive: str | Path, receipt: str | Path, *, shard: int, workers: int) -> None:
    """Copy one shard's subjects into the archive under construction.

    Parameters
    ----------
    plan : path
        From `plan_cohort`.
    archive : path
        The name that the archive will have; it is filled beside it, under a name that holds the plan's id.
    receipt : path
        What was written, for `seal_cohort`.
    shard : int
        Which part of the plan.
    workers : int
        Threads.
    """
    loaded = Plan.load(plan)
    target = PartialArchive(archive, loaded.layout, _partial_path(loaded, archive))
    ranges = fill_inputs(
        loaded, target, _open_subject, shard=shard, workers=workers, progress=_log_progress(f"shard {shard}")
    )
    Receipt(loaded.id, shard, tuple(ranges)).save(receipt)
    logger.info("shard %d of %s: %.1f MB", shard, archive, sum(piece.nbytes for piece in ranges) / 1e6)


def seal_cohort(plan: str | Path, receipts: Paths, records: Paths, archive: str | Path, provenance: str | Path) -> None:
    """Check that every byte was filled, close the archive, name it, and say where its streamlines are from.

    Parameters
    ----------
    plan : path
        From `plan_cohort`.
    receipts : iterable of path
        From `fill_cohort`, one per shard.
    records : iterable of path
        From `convert_subject`, in the order of the archive.
    archive, provenance : path
        Outputs.
    """
    loaded = Plan.load(plan)
    ranges = check_receipts(loaded, [Receipt.load(path) for path in receipts])
    partial = _partial_path(loaded, archive)
    if not partial.exists():
        raise StaleError(f"{partial}: the archive under construction is gone; fill it again")
    seal_container(loaded, PartialArchive(archive, loaded.layout, partial), ranges)
    for older in partial.parent.glob(f".{Path(archive).name}.*.partial"):
        older.unlink(missing_ok=True)  # of plans that were never sealed
    rows = (row for item, path in zip(loaded.inputs, records, strict=True) for row in _provenance_rows(item, path))
    _write_table(provenance, _PROVENANCE_COLUMNS, rows)
    logger.info("%s: %d streamlines of %d subjects", archive, loaded.header.nb_streamlines, len(loaded.inputs))


def _partial_path(plan: Plan, archive: str | Path) -> Path:
    return Path(archive).with_name(f".{Path(archive).name}.{plan.id}.partial")


def _open_subject(_: int, item: InputPlan) -> BundleSource:
    return BundleSource.open(item.path)


def _provenance_rows(item: InputPlan, record: str | Path) -> list[list[Any]]:
    content = json.loads(Path(record).read_text(encoding="utf-8"))
    rows = []
    for source in content["inputs"]:
        streamlines = _span(item.first_streamline + source["first_streamline"], source["nb_streamlines"])
        vertices = _span(item.first_vertex + source["first_vertex"], source["nb_vertices"])
        names = [content["subject"], content["session"], source["bundle"], source["tractogram"], source["format"]]
        rows.append([*names, *streamlines, *vertices, source["fingerprint"]])
    return rows


def _span(first: int, count: int) -> tuple[int | str, int | str]:
    """Return first and last; an input without streamlines has neither."""
    return (first, first + count - 1) if count else ("", "")


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
    partial = private_name(Path(folder))
    try:
        groups = trxlib.extraction.extract_groups(archive, partial, workers=workers)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    rows = [[group.name, f"{group.name}.trx", group.nb_streamlines, group.nb_vertices] for group in groups]
    _write_table(table, ("group", "file", "streamlines", "vertices"), rows)
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
    from trxlib.summary import SUMMARY_COLUMNS, summarise

    parts: dict[str, tuple[int, int]] = {}
    subjects = set()
    for row in _read_table(provenance):
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
    _write_table(table, SUMMARY_COLUMNS, (row.to_cells() for row in rows))
    logger.info("%s: %d rows", table, len(rows))
