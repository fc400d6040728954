"""Mistakes end before the long work, with a message that says where, and leave no file under a final name."""

import os

import nibabel as nib
import numpy as np
import pytest

from tests.workflow.workflow_helpers import Workflow


def write_trk(path, affine=None, dimensions=(10, 10, 10), scalars=(), lengths=(3, 5)):
    rng = np.random.default_rng(0)
    streamlines = [rng.uniform(1, 8, (n, 3)).astype("f4") for n in lengths]
    affine = np.eye(4) if affine is None else affine
    data = {name: [np.ones((len(s), 1), "f4") for s in streamlines] for name in scalars}
    tractogram = nib.streamlines.Tractogram(streamlines, data_per_point=data, affine_to_rasmm=np.eye(4))
    header = {"voxel_to_rasmm": affine, "dimensions": dimensions, "voxel_sizes": nib.affines.voxel_sizes(affine)}
    header["voxel_order"] = "".join(nib.aff2axcodes(affine))
    nib.streamlines.save(tractogram, path, header=header)


@pytest.fixture
def study(workflow: Workflow) -> Workflow:
    """Two cohorts: the first is for the test to spoil, the second is good."""
    for name in ("a", "b", "c", "good"):
        write_trk(workflow.folder / f"{name}.trk")
    workflow.write_sheet("cohort subject tractogram\nbad 01 a.trk\nbad 02 b.trk\nbad 03 c.trk\ngood 01 good.trk")
    return workflow


def check_good_cohort_alone(study):
    found = study.results()
    assert "good/good.trx" in found
    assert not [path for path in found if path.startswith("bad/")]


def test_all_mistakes_of_the_sheet_come_before_any_job(study):
    study.write_sheet("cohort subject tractogram\nbad 01 a.trk\nbad 02 missing.trk\ngo/od 01 good.trk\ngood 02 x.tck")
    text = study.run("--cores", "2", "--keep-going", "archives", fails=True)
    assert "config/samples.tsv, line 3, column tractogram: 'missing.trk' does not exist" in text
    assert "config/samples.tsv, line 4, column cohort: 'go/od' is not a fit name" in text
    assert "config/samples.tsv, line 5, column reference: 'x.tck' stores no affine" in text
    assert "Traceback" not in text
    assert not (study.folder / "results").exists()


def test_a_missing_file_stops_its_cohort_alone_with_keep_going(study):
    (study.folder / "b.trk").unlink()
    stopped = study.run("--cores", "2", fails=True)
    assert "line 3, column tractogram: 'b.trk' does not exist" in stopped
    assert not (study.folder / "results").exists()
    text = study.run("--cores", "2", "--keep-going", "archives", fails=True)
    assert "cohort bad is left out" in text
    assert "line 3, column tractogram: 'b.trk' does not exist" in text
    check_good_cohort_alone(study)


def test_a_wrong_key_of_the_configuration(study):
    text = study.run("--cores", "2", "--config", "positions_type=float16", fails=True)
    assert "unknown key 'positions_type' (did you mean 'positions_dtype'?)" in text
    assert "Traceback" not in text


def test_damaged_files_are_listed_and_other_cohorts_go_on(study):
    (study.folder / "a.trk").write_bytes(b"TRACK" + b"\0" * 200)
    (study.folder / "c.trk").write_bytes(b"no tractogram at all, but long enough to be looked at" * 100)
    text = study.run("--cores", "2", "--keep-going", "archives", fails=True)
    assert "sub-01: a.trk" in text
    assert "sub-03: c.trk" in text
    assert "Traceback (most recent call last)" not in text
    check_good_cohort_alone(study)


def test_warnings_of_good_runs_are_repeated_at_their_end(study):
    write_trk(study.folder / "b.trk", scalars=["fa"])
    text = study.run("--cores", "2", "archives", "--config", "missing_metadata=drop")
    assert "bad: left out, since not all inputs have them: dpv/fa" in text.split("steps (100%) done")[1]


def test_spaces_that_differ_are_listed_by_name(study):
    write_trk(study.folder / "b.trk", affine=np.diag([2.0, 2, 2, 1]))
    text = study.run("--cores", "2", "--keep-going", "archives", fails=True)
    assert "2 different spaces" in text
    rows = [line.split() for line in text.splitlines() if "10 x 10 x 10" in line]
    assert {(row[1], *row[-4:]) for row in rows} == {
        ("2", "sub-01", "(a.trk),", "sub-03", "(c.trk)"),
        ("1", "0", "0", "sub-02", "(b.trk)"),
    }
    check_good_cohort_alone(study)


def test_metadata_that_only_some_have(study):
    write_trk(study.folder / "b.trk", scalars=["fa"])
    text = study.run("--cores", "2", "--keep-going", "archives", fails=True)
    assert "dpv/fa is lacking in sub-01, sub-03" in text
    check_good_cohort_alone(study)
    study.run("--cores", "2", "checks", "--config", "missing_metadata=fill")
    assert "bad/preflight.tsv" in study.results()


def test_a_file_cut_short_is_found_by_the_conversion(study):
    data = (study.folder / "b.trk").read_bytes()
    (study.folder / "b.trk").write_bytes(data[:-10])
    text = study.run("--cores", "2", "--keep-going", "archives", fails=True)
    assert "b.trk" in text
    assert "Traceback (most recent call last)" not in text
    found = study.results()
    assert "bad/bad.trx" not in found
    assert "bad/subjects/sub-02.trx" not in found
    assert "good/good.trx" in found


@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["--config", "keep_subjects=false"], marks=pytest.mark.slow),
        pytest.param(["--config", "subjects_per_job=2"], marks=pytest.mark.slow),
    ],
)
def test_a_file_replaced_by_an_older_one_is_noticed_by_its_size(study, options):
    study.run("--cores", "2", "archives", *options)
    assert study.jobs("archives", *options) == {}
    before = (study.folder / "results/bad/provenance.tsv").read_text()
    write_trk(study.folder / "b.trk", lengths=(3, 5, 7))
    os.utime(study.folder / "b.trk", (1e9, 1e9))
    jobs = study.jobs("archives", *options)
    assert jobs["seal_cohort"] == jobs["preflight"] == 1
    study.run("--cores", "2", "archives", *options)
    after = (study.folder / "results/bad/provenance.tsv").read_text()
    assert before.count("\n") == after.count("\n")
    assert before != after
    assert study.jobs("archives", *options) == {}
