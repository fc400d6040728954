"""The demonstration cohort from nothing, and what a second run does."""

import csv
import itertools
import json
import time
import zipfile

import nibabel as nib
import numpy as np
import pytest
import yaml

import trxlib
from tests.workflow.workflow_helpers import REPOSITORY, Workflow
from trxlib.cohort.demo import register_demo
from trxlib.cohort.logs import find_warnings

BUNDLES = ("AF_L", "CC_ForcepsMajor", "CST_R")
SUBJECTS = tuple(f"sub-0{number}" for number in range(1, 6))
LATER = {"plan_cohort", "fill_cohort", "seal_cohort", "extract_groups", "summarise_cohort", "draw_cohort", "all"}


def read_table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def read_transforms(folder):
    """Return the transform of each subject, read from the files that the sheet names."""
    rows = read_table(folder / "config/samples.tsv")
    return {row["subject"]: np.loadtxt(folder / row["transform"]) for row in rows}


def move(transform, positions):
    return positions @ transform[:3, :3].T + transform[:3, 3]


def mean_streamline(streamlines):
    """Return the mean of streamlines with the same number of vertices, all turned the way of the first."""
    first = np.asarray(streamlines[0], dtype=np.float64)
    turned = []
    for streamline in streamlines:
        ways = [np.asarray(streamline, dtype=np.float64), np.asarray(streamline, dtype=np.float64)[::-1]]
        turned.append(min(ways, key=lambda way: np.linalg.norm(way - first, axis=1).mean()))
    return np.mean(turned, axis=0)


def largest_distance(means):
    """Return the largest mean distance, in mm, between the vertices of two of several streamlines."""
    pairs = itertools.combinations(means, 2)
    return max(min(np.linalg.norm(a - b[::way], axis=1).mean() for way in (1, -1)) for a, b in pairs)


def touch(path):
    """Give a file a time that is later than any output's."""
    time.sleep(0.05)
    path.touch()


def test_every_result_is_there(demo):
    expected = ["demo.trx", "groups.tsv", "plan.json", "preflight.tsv", "provenance.tsv", "summary.tsv"]
    expected += ["index.html", "mosaic.png", "ranges.tsv"]
    expected += [f"groups/{name}.trx" for name in (*BUNDLES, *SUBJECTS)]
    expected += [f"subjects/{name}.{suffix}" for name in SUBJECTS for suffix in ("json", "trx")]
    assert set(expected) <= {path.removeprefix("demo/") for path in demo.results()}
    assert not list((demo.folder / "results").rglob("*.partial"))
    assert not (demo.folder / "results/demo/receipts/0.json").exists()


def test_archive_has_the_streamlines_of_the_inputs(demo):
    archive = demo.folder / "results/demo/demo.trx"
    with zipfile.ZipFile(archive) as content:
        assert content.testzip() is None
        offsets = np.frombuffer(content.read("offsets.uint32"), "<u4")
        positions = np.frombuffer(content.read("positions.3.float32"), "<f4").reshape(-1, 3)
        groups = {name: np.frombuffer(content.read(f"groups/{name}.uint32"), "<u4") for name in (*BUNDLES, *SUBJECTS)}
    rows = read_table(demo.folder / "results/demo/provenance.tsv")
    transforms = read_transforms(demo.folder)
    assert len(rows) == 15
    next_streamline = next_vertex = 0
    for row in rows:
        expected = nib.streamlines.load(demo.folder / row["source"]).streamlines
        first, last = int(row["first_streamline"]), int(row["last_streamline"])
        low, high = int(row["first_vertex"]), int(row["last_vertex"]) + 1
        assert (first, low) == (next_streamline, next_vertex)
        assert last - first + 1 == len(expected)
        moved = move(transforms[row["subject"]], np.concatenate(list(expected)).astype(np.float64))
        np.testing.assert_allclose(positions[low:high], moved, atol=1e-4)
        np.testing.assert_array_equal(np.diff(offsets[first : last + 2].astype(int)), [len(s) for s in expected])
        ids = set(range(first, last + 1))
        assert ids <= set(groups[row["bundle"]].tolist())
        assert ids <= set(groups[row["subject"]].tolist())
        assert row["fingerprint"].endswith(f":{(demo.folder / row['source']).stat().st_size}")
        next_streamline, next_vertex = last + 1, high
    assert (next_streamline, next_vertex) == (750, len(positions))
    assert {row["format"] for row in rows} == {"trk", "tck"}


def test_other_programs_read_the_archive(demo):
    archive = str(demo.folder / "results/demo/demo.trx")
    tmm = pytest.importorskip("trx.trx_file_memmap")
    trx = tmm.load(archive)
    assert (len(trx.streamlines), set(trx.groups)) == (750, {*BUNDLES, *SUBJECTS})
    trx.close()
    io = pytest.importorskip("dipy.io.streamline")
    # With its checks: every vertex lies in the grid of the archive.
    sft = io.load_tractogram(archive, "same")
    assert len(sft) == 750
    assert sft.dimensions.tolist() == [81, 101, 91]
    assert sft.voxel_sizes.tolist() == [2, 2, 2]
    trxlib.validate(archive)


def test_no_job_warns(demo):
    assert find_warnings(demo.folder / "logs") == []
    assert "WARNING" not in "".join(path.read_text() for path in (demo.folder / "logs").rglob("*.log"))


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_lies_in_the_same_place_in_all_subjects(demo, bundle):
    own = []
    for row in read_table(demo.folder / "config/samples.tsv"):
        if row["bundle"] == bundle:
            own.append(mean_streamline(nib.streamlines.load(demo.folder / row["tractogram"]).streamlines))
    with trxlib.load(str(demo.folder / "results/demo/demo.trx")) as cohort:
        streamlines, members = cohort.streamlines, set(cohort.groups[bundle].reshape(-1).tolist())
        shared = []
        for subject in SUBJECTS:
            rows = sorted(members & set(cohort.groups[subject].reshape(-1).tolist()))
            assert len(rows) == 50
            shared.append(mean_streamline([streamlines[row] for row in rows]))
    assert largest_distance(own) > 45
    assert largest_distance(shared) < 12


def test_transforms_only_turn_and_shift():
    transforms = read_transforms(REPOSITORY)
    assert sorted(transforms) == list(SUBJECTS)
    for transform in transforms.values():
        rotation = transform[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=2e-6)
        assert np.linalg.det(rotation) > 0
        np.testing.assert_array_equal(transform[3], [0, 0, 0, 1])
    # No subject's place is preferred: on average, nobody is moved.
    np.testing.assert_allclose(np.mean(list(transforms.values()), axis=0)[:3, :3], np.eye(3), atol=0.02)


@pytest.mark.slow
def test_the_transforms_can_be_made_anew(demo, tmp_path):
    register_demo(tmp_path)
    kept = read_transforms(REPOSITORY)
    inputs = {row["subject"]: row["tractogram"] for row in read_table(REPOSITORY / "config/samples.tsv")}
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}_to_cohort.txt" for name in SUBJECTS]
    for subject in SUBJECTS:
        made = np.loadtxt(tmp_path / f"{subject}_to_cohort.txt")
        positions = nib.streamlines.load(demo.folder / inputs[subject]).streamlines.get_data().astype(np.float64)
        # A quarter of a voxel: an optimiser of another version ends elsewhere in the last digits.
        assert np.linalg.norm(move(made, positions) - move(kept[subject], positions), axis=1).max() < 0.5


def test_group_files_hold_their_group(demo):
    table = {row["group"]: row for row in read_table(demo.folder / "results/demo/groups.tsv")}
    assert set(table) == {*BUNDLES, *SUBJECTS}
    for name, row in table.items():
        with zipfile.ZipFile(demo.folder / f"results/demo/groups/{name}.trx") as content:
            header = json.loads(content.read("header.json"))
        assert header["NB_STREAMLINES"] == int(row["streamlines"]) == (250 if name in BUNDLES else 150)


def test_summary_has_a_row_per_subject_and_bundle(demo):
    rows = read_table(demo.folder / "results/demo/summary.tsv")
    assert [(row["subject"], row["group"]) for row in rows] == [
        (subject, group) for subject in (*SUBJECTS, "all") for group in ("all", *BUNDLES)
    ]
    assert rows[-4]["streamlines"] == "750"
    assert rows[0]["vertices"] == "3000"


def test_a_second_run_does_nothing(demo):
    assert "Nothing to be done" in demo.run("--cores", "2")


def test_a_touched_input_redoes_its_subject_and_what_follows(changed_demo):
    # Small files too: the default profile turns Snakemake's comparison of checksums off.
    touch(changed_demo.folder / "resources/demo/sub-02/CST_R.trk")
    later = dict.fromkeys(LATER, 1)
    again = {"preflight": 1, "pass_preflight": 1, "watch_subject": 1, "convert_subject": 1, **later}
    assert changed_demo.jobs() == again
    assert "sub-02" in changed_demo.run("-n", "--until", "convert_subject")


def test_a_changed_subject_is_seen_while_the_sheet_changes_too(changed_demo):
    touch(changed_demo.folder / "resources/demo/sub-02/CST_R.trk")
    sheet = changed_demo.folder / "config/samples.tsv"
    sheet.write_text("".join(line for line in sheet.read_text().splitlines(keepends=True) if "sub-05" not in line))
    jobs = changed_demo.jobs()
    assert (jobs["preflight"], jobs["convert_subject"], jobs["seal_cohort"]) == (1, 1, 1)


def test_a_subject_that_left_the_sheet_leaves_the_archive(changed_demo):
    sheet = changed_demo.folder / "config/samples.tsv"
    sheet.write_text("".join(line for line in sheet.read_text().splitlines(keepends=True) if "sub-05" not in line))
    jobs = changed_demo.jobs()
    assert "convert_subject" not in jobs
    assert [jobs.get(name) for name in LATER] == [1] * len(LATER)
    changed_demo.run("--cores", "2")
    rows = read_table(changed_demo.folder / "results/demo/provenance.tsv")
    assert sorted({row["subject"] for row in rows}) == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert "Nothing to be done" in changed_demo.run("--cores", "2")


def test_an_option_of_the_conversion_redoes_all_subjects(changed_demo):
    jobs = changed_demo.jobs("--config", "positions_dtype=float16")
    assert jobs["convert_subject"] == 5


def test_a_lost_subject_file_is_made_again_alone(changed_demo):
    (changed_demo.folder / "results/demo/subjects/sub-03.trx").unlink()
    (changed_demo.folder / "results/demo/demo.trx").unlink()
    assert changed_demo.jobs()["convert_subject"] == 1


@pytest.mark.slow
def test_groups_can_be_switched_off(changed_demo):
    config = changed_demo.folder / "config/config.yaml"
    settings = yaml.safe_load(config.read_text()) | {"groups": {"bundles": False, "subjects": False}}
    config.write_text(yaml.safe_dump(settings))
    changed_demo.run("--cores", "2")
    with zipfile.ZipFile(changed_demo.folder / "results/demo/demo.trx") as content:
        assert not [name for name in content.namelist() if name.startswith("groups/")]
    assert read_table(changed_demo.folder / "results/demo/groups.tsv") == []


@pytest.mark.slow
def test_any_number_of_cores_gives_the_same_bytes(demo, tmp_path):
    expected = (demo.folder / "results/demo/demo.trx").read_bytes()
    for cores in ("1", "8"):
        folder = tmp_path / cores
        other = Workflow.new(folder)
        other.run("--cores", cores)
        assert (folder / "results/demo/demo.trx").read_bytes() == expected
        for table in ("summary.tsv", "provenance.tsv", "preflight.tsv", "groups.tsv"):
            assert (folder / "results/demo" / table).read_text() == (demo.folder / "results/demo" / table).read_text()


@pytest.mark.slow
def test_shards_give_the_same_bytes(changed_demo):
    expected = (changed_demo.folder / "results/demo/demo.trx").read_bytes()
    jobs = changed_demo.jobs("--config", "shard_gb=0.00005")
    assert jobs["fill_cohort"] == 4
    changed_demo.run("--cores", "2", "--config", "shard_gb=0.00005")
    assert (changed_demo.folder / "results/demo/demo.trx").read_bytes() == expected
