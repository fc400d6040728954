"""The archive straight from the tractograms has the bytes and the provenance of the one made of subjects."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from formats.made import GRID, some_streamlines, tck_bytes, trk_bytes

from tests.helpers import make_row, make_trx_arrays, write_plain_zip
from trxlib.cohort import steps
from trxlib.engine.plan import Plan
from trxlib.errors import DataLossWarning, MetadataMismatchError, StaleError

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
OPTIONS: dict[str, Any] = {
    "bundles": True,
    "positions_dtype": "keep",
    "missing_metadata": "fill",
    "out_of_volume": "keep",
    "warn_outside": 1,
    "max_outside": 1,
    "nonfinite": "fail",
    "empty_streamlines": "keep",
}


def trk(path: Path, lengths: tuple[int, ...], seed: int, name: bytes = b"", creator: bytes = b"") -> None:
    nb_vertices = sum(lengths)
    scalars = np.random.default_rng(seed).random((nb_vertices, 1)) if name else None
    names = {"scalar_names": (name,), "scalars": scalars} if name else {}
    data = trk_bytes(some_streamlines(lengths, seed), affine=AFFINE, sizes=(2, 2, 2), reserved=creator, **names)
    path.write_bytes(data)


def trx(path: Path, seed: int, **changes: Any) -> None:
    values = {"dps": {"weight": (1, "<f4")}, "dpv": {"fa": (1, "<f2")}, **changes}
    dpg = {"CC": {"volume": [[float(seed)]], "box": [[1, 2, 3]]}}
    arrays = make_trx_arrays(20, seed=seed, affine=AFFINE, dimensions=GRID, dpg=dpg, extra={"SEED": seed}, **values)
    # From 50 mm around the origin to the grid and a little beyond: some streamlines leave it.
    voxels = (arrays.positions / 100 * 1.004 + 0.5) * np.array(GRID) - 0.5
    arrays.positions[:] = voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    write_plain_zip(arrays, path)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Files of three formats, with everything in which they may differ."""
    trk(tmp_path / "1_cc.trk", (3, 0, 5), 1, b"fa", b"one")
    trk(tmp_path / "1_af.trk", (2, 4), 2, creator=b"two")
    (tmp_path / "2.tck").write_bytes(tck_bytes(some_streamlines((4, 1, 0), 3), fields=("method: prob",)))
    trx(tmp_path / "2.trx", 4)
    trx(tmp_path / "3_1.trx", 5, positions_dtype="<f8", dpv={"fa": (1, "<f4")}, sidecars={"notes.json": b"{}"})
    trk(tmp_path / "3_2.trk", (), 6)
    trx(tmp_path / "4.trx", 7, groups={"sub-04": [1, 2], "CC": [3], "AF": []})

    def row(subject: str, file: str, session: str = "", bundle: str = "", reference: str = "") -> dict[str, Any]:
        path = str(tmp_path / file)
        reference = reference and str(tmp_path / reference)
        return make_row(path, subject, session=session, bundle=bundle, reference=reference)

    return [
        row("sub-01", "1_cc.trk", bundle="CC"),
        row("sub-01", "1_af.trk", bundle="AF"),
        row("sub-02", "2.tck", bundle="CC", reference="1_cc.trk"),
        row("sub-02", "2.trx"),
        row("sub-03", "3_1.trx", session="ses-1"),
        row("sub-03", "3_2.trk", session="ses-2", bundle="AF"),
        row("sub-04", "4.trx"),
    ]


def groups_of(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for row in rows:
        entity = f"{row['subject']}_{row['session']}" if row["session"] else row["subject"]
        groups[entity] = list(dict.fromkeys([row["subject"], entity]))
    return groups


def by_subjects(rows: list[dict[str, Any]], folder: Path, options: dict[str, Any]) -> Path:
    folder.mkdir()
    groups = groups_of(rows)
    for entity in groups:
        own = [row for row in rows if "_".join(filter(None, (row["subject"], row["session"]))) == entity]
        steps.convert_subject(own, folder / f"{entity}.trx", folder / f"{entity}.json", **options)
    missing = options["missing_metadata"]
    paths = [str(folder / f"{entity}.trx") for entity in groups]
    archive = folder / "all.trx"
    steps.plan_cohort(paths, groups, folder / "plan.json", archive, missing_metadata=missing, nb_shards=1)
    return finish(folder, records=[folder / f"{entity}.json" for entity in groups])


def directly(rows: list[dict[str, Any]], folder: Path, options: dict[str, Any], nb_shards: int = 1) -> Path:
    folder.mkdir()
    archive = folder / "all.trx"
    steps.plan_cohort_directly(rows, groups_of(rows), folder / "plan.json", archive, nb_shards=nb_shards, **options)
    return finish(folder, rows=rows)


def finish(folder: Path, **source: Any) -> Path:
    archive = folder / "all.trx"
    receipts = []
    for shard in range(len(Plan.load(folder / "plan.json").shards)):
        receipts.append(folder / f"receipt{shard}.json")
        steps.fill_cohort(folder / "plan.json", archive, receipts[-1], shard=shard, workers=2)
    steps.seal_cohort(
        folder / "plan.json", receipts, archive, folder / "provenance.tsv", ranges=folder / "ranges.tsv", **source
    )
    assert not list(folder.glob(".*"))
    return archive


@pytest.mark.parametrize(
    ("changes", "nb_shards"),
    [
        ({}, 1),
        ({}, 3),
        ({"missing_metadata": "drop"}, 1),
        ({"positions_dtype": "float16"}, 2),
        ({"positions_dtype": "float64", "bundles": False}, 7),
        ({"empty_streamlines": "drop"}, 2),
        ({"out_of_volume": "drop"}, 2),
    ],
)
def test_two_roads_one_result(rows, tmp_path, changes, nb_shards):
    options = OPTIONS | changes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataLossWarning)
        expected = by_subjects(rows, tmp_path / "by_subjects", options)
        found = directly(rows, tmp_path / "directly", options, nb_shards)
    assert found.read_bytes() == expected.read_bytes()
    table = "provenance.tsv"
    assert (tmp_path / "directly" / table).read_text() == (tmp_path / "by_subjects" / table).read_text()


def test_what_does_not_fit_is_refused_on_both_roads(rows, tmp_path):
    options = OPTIONS | {"missing_metadata": "error"}
    for number, road in enumerate((by_subjects, directly)):
        with pytest.raises(MetadataMismatchError, match="fa is lacking in 1_af"):
            road(rows, tmp_path / str(number), options)


def test_a_companion_replaced_after_the_plan_is_noticed(rows, tmp_path):
    values = tmp_path / "values.txt"
    values.write_text("1\n2\n")
    rows = [{**rows[1], "dps": {"weight": str(values)}}]
    steps.plan_cohort_directly(rows, {"sub-01": []}, tmp_path / "plan.json", tmp_path / "a.trx", nb_shards=1, **OPTIONS)
    values.write_text("1\n3\n\n")
    with pytest.raises(StaleError, match=r"1_af\.trk: was changed since the plan"):
        steps.fill_cohort(tmp_path / "plan.json", tmp_path / "a.trx", tmp_path / "0.json", shard=0, workers=1)
