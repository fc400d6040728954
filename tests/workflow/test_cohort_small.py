"""The small cohort of real data: TRK, TCK and TRX, whole brains and bundles, sessions, weights and scalars."""

import csv
import json
import zipfile

import nibabel as nib
import numpy as np
import pytest

import trxlib
from tests.workflow.workflow_helpers import REPOSITORY, Workflow

pytestmark = pytest.mark.slow
HERE = REPOSITORY / "tests" / "workflow" / "cohort_small"


@pytest.fixture(scope="module")
def finished(cohort_folder, tmp_path_factory):
    """The finished run; paths in its sheet start beside the repository."""
    root = tmp_path_factory.mktemp("cohort_small")
    (root / "shared").symlink_to(cohort_folder.parents[1])
    folder = root / "main"
    folder.mkdir()
    workflow = Workflow.new(folder)
    target = folder / "tests" / "workflow" / "cohort_small"
    target.mkdir(parents=True)
    for file in HERE.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    workflow.run("--cores", "2", "--configfile", "tests/workflow/cohort_small/config.yaml")
    return workflow


def read_archive(workflow, cohort):
    """Return header and arrays by entry name, read without trxlib."""
    arrays = {}
    with zipfile.ZipFile(workflow.folder / f"results/{cohort}/{cohort}.trx") as archive:
        assert archive.testzip() is None
        header = json.loads(archive.read("header.json"))
        for name in archive.namelist():
            stem, _, dtype = name.rpartition(".")
            if dtype != "json":
                base, _, columns = stem.rpartition(".")
                data = np.frombuffer(archive.read(name), np.dtype(dtype).newbyteorder("<"))
                arrays[base if columns.isdigit() else stem] = data.reshape(-1, int(columns) if columns.isdigit() else 1)
    return header, arrays


def provenance(workflow, cohort):
    with (workflow.folder / f"results/{cohort}/provenance.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.mark.parametrize("cohort", ["whole", "bundles", "sessions"])
def test_coordinates_are_those_of_nibabel(finished, cohort):
    header, arrays = read_archive(finished, cohort)
    nb_streamlines = 0
    for row in provenance(finished, cohort):
        if row["first_streamline"] == "n/a":
            assert "CGR" in row["source"]  # the one file without streamlines
            continue
        first, last = int(row["first_streamline"]), int(row["last_streamline"])
        low, high = int(row["first_vertex"]), int(row["last_vertex"]) + 1
        assert first == nb_streamlines
        nb_streamlines = last + 1
        if row["format"] == "trx":
            continue
        expected = nib.streamlines.load(finished.folder / row["source"]).streamlines
        assert len(expected) == last - first + 1
        tolerance = 1e-4 if row["format"] == "trk" else 0
        np.testing.assert_allclose(arrays["positions"][low:high], np.concatenate(list(expected)), atol=tolerance)
    assert header["NB_STREAMLINES"] == nb_streamlines
    trxlib.validate(finished.folder / f"results/{cohort}/{cohort}.trx")


def test_weights_and_scalars_beside_tck_are_attached(finished, cohort_folder):
    _, arrays = read_archive(finished, "whole")
    rows = {row["subject"]: row for row in provenance(finished, "whole")}
    for subject in ("sub-04", "sub-05", "sub-06"):
        (text,) = cohort_folder.glob(f"{subject}/dwi/*_meanFA.txt")
        first, last = int(rows[subject]["first_streamline"]), int(rows[subject]["last_streamline"])
        expected = np.loadtxt(text, ndmin=1).astype("f4").reshape(-1)
        np.testing.assert_allclose(arrays["dps/mean_fa"][first : last + 1, 0], expected, rtol=1e-6)
    low, high = int(rows["sub-04"]["first_vertex"]), int(rows["sub-04"]["last_vertex"]) + 1
    fa = arrays["dpv/fa"][:, 0]
    assert ((fa[low:high] >= 0) & (fa[low:high] <= 1.3)).all()
    # What an input lacks is filled: 05 and 06 have no scalars.
    low = int(rows["sub-05"]["first_vertex"])
    assert np.isnan(fa[low:]).all()
    assert not np.isnan(fa[:low]).any()


def test_trk_scalars_and_properties_survive(finished):
    _, arrays = read_archive(finished, "whole")
    row = provenance(finished, "whole")[1]
    expected = nib.streamlines.load(finished.folder / row["source"]).tractogram
    first, last = int(row["first_streamline"]), int(row["last_streamline"]) + 1
    low, high = int(row["first_vertex"]), int(row["last_vertex"]) + 1
    for key in ("length", "mean_fa", "seed"):
        np.testing.assert_array_equal(arrays[f"dps/{key}"][first:last], expected.data_per_streamline[key])
    for key in ("fa", "md"):
        values = np.concatenate(list(expected.data_per_point[key]))
        np.testing.assert_array_equal(arrays[f"dpv/{key}"][low:high], values)


def test_bundles_become_groups_across_subjects(finished, cohort_folder):
    _, arrays = read_archive(finished, "bundles")
    truth = json.loads((cohort_folder / "truth.json").read_text())
    expected: dict[str, int] = {}
    for row in provenance(finished, "bundles"):
        count = truth[row["source"].split("cohort_small/")[1]]["n_streamlines"]
        expected[row["bundle"]] = expected.get(row["bundle"], 0) + count
    found = {name.removeprefix("groups/"): len(ids) for name, ids in arrays.items() if name.startswith("groups/")}
    assert {name: n for name, n in found.items() if not name.startswith("sub-")} == expected


def test_groups_and_their_data_of_trx_inputs_are_kept(finished, cohort_folder):
    _, arrays = read_archive(finished, "sessions")
    (source,) = cohort_folder.glob("sub-01/dwi/*.trx")
    with zipfile.ZipFile(source) as archive:
        kept = [name for name in archive.namelist() if name.startswith(("groups/", "dpg/")) and not name.endswith("/")]
        for name in kept:
            stem, _, dtype = name.rpartition(".")
            base, _, columns = stem.rpartition(".")
            expected = np.frombuffer(archive.read(name), dtype)
            found = arrays[base if columns.isdigit() else stem]
            np.testing.assert_array_equal(found.reshape(-1), expected, err_msg=name)
    assert kept
    assert len(arrays["groups/sub-01"]) == 6400
    assert len(arrays["groups/sub-01_ses-2"]) == 3200
