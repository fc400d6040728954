"""Faults of a run on one machine: after each, a second `snakemake` ends with the bytes of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from slurm.slurm_helpers import NB_SHARDS, SNAKEMAKE, Study, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study.new(tmp_path_factory.mktemp("local"))
    study.run_locally("archives")
    return study


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """All shards are filled, the archive is not sealed."""
    study = Study.new(tmp_path_factory.mktemp("filled"))
    receipts = [f"results/small/receipts/{shard}.json" for shard in range(NB_SHARDS)]
    study.run_locally(*receipts, "--notemp")
    return study


@pytest.fixture
def study(filled: Study, tmp_path: Path) -> Study:
    return Study(Path(shutil.copytree(filled.folder, tmp_path / "study", symlinks=True)))


def test_one_core_and_batches_give_the_same(local: Study, tmp_path: Path) -> None:
    study = Study.new(tmp_path, subjects_per_job=4)
    study.run_locally("archives", "--cores", "1")
    assert study.digest() == local.digest()
    assert study.provenance() == local.provenance()


def test_snakemake_is_killed_during_the_fill(local: Study, tmp_path: Path) -> None:
    study = Study.new(tmp_path)
    study.hold()
    run = subprocess.Popen(
        [*SNAKEMAKE, "archives", "--cores", "1"], cwd=study.folder, env=study.environment(), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        study.wait_for_fills(1)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait(30)
    study.release()
    before = {path: path.stat().st_mtime_ns for path in (study.folder / "results/small/subjects").iterdir()}
    study.run_locally("archives", "--unlock")
    study.run_locally("archives")
    assert study.digest() == local.digest()
    assert study.nb_fills() == 1 + NB_SHARDS
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_one_shard_is_killed_and_the_others_stay(local: Study, study: Study) -> None:
    """As when a run ends while one shard is not done: its receipt is missing."""
    (study.folder / "results/small/receipts/1.json").unlink()
    study.run_locally("archives")
    assert study.digest() == local.digest()
    assert study.nb_fills() == NB_SHARDS + 1


def test_a_shard_is_damaged_before_the_seal(local: Study, study: Study) -> None:
    [partial] = (study.folder / "results/small").glob(".*.partial")
    receipt = json.loads((study.folder / "results/small/receipts/1.json").read_text())
    assert receipt["shard"] == 1
    size = partial.stat().st_size
    with partial.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"damage")
    study.run_locally("archives")
    assert study.digest() == local.digest()
    assert study.nb_fills() == NB_SHARDS
    log = (study.folder / "logs/small/seal_cohort.log").read_text()
    assert log.count("is damaged on disk in positions.3.float32: filled again") == 1


def test_the_archive_under_construction_is_deleted(local: Study, study: Study) -> None:
    [partial] = (study.folder / "results/small").glob(".*.partial")
    partial.unlink()
    log = study.run_locally("archives", fails=True)
    assert "the archive under construction is gone; run the workflow again" in log
    study.run_locally("archives")
    assert study.digest() == local.digest()
    assert study.nb_fills() == 2 * NB_SHARDS


def test_an_input_is_replaced_between_plan_and_fill(local: Study, study: Study) -> None:
    for path in (study.folder / "results/small/receipts").iterdir():
        path.unlink()
    subject = study.folder / "results/small/subjects/sub-04.trx"
    plan = study.folder / "results/small/plan.json"
    shutil.copy(subject, study.folder / "copy")
    (study.folder / "copy").replace(subject)
    os.utime(plan)  # newer than the input, so that only the fill can notice
    log = study.run_locally("archives", "--keep-going", "--rerun-triggers", "input", fails=True)
    assert "sub-04.trx: was changed since the plan was made" in log
    os.utime(subject)
    study.run_locally("archives")
    assert study.digest() == local.digest()


def test_the_disk_is_full_during_the_fill(local: Study, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root, to mount a small disk")
    study = Study.new(tmp_path)
    study.run_locally("results/small/plan.json")
    results = study.folder / "results"
    results.rename(study.folder / "kept")
    results.mkdir()
    used = sum(path.stat().st_size for path in (study.folder / "kept").rglob("*") if path.is_file()) // 1024 + 400
    mount = ["mount", "-t", "tmpfs", "-o", f"size={used}k", "tmpfs", str(results)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    try:
        subprocess.run(["cp", "-a", f"{study.folder}/kept/.", str(results)], check=True)
        log = study.run_locally("archives", "--keep-going", fails=True)
        assert "No space left on device; the complete archive takes" in log
        assert not study.archive.exists()
        subprocess.run(["mount", "-o", "remount,size=20m", str(results)], check=True)
        before = {path: path.stat().st_mtime_ns for path in (results / "small/subjects").iterdir()}
        study.run_locally("archives")
        assert study.digest() == local.digest()
        assert before == {path: path.stat().st_mtime_ns for path in before}
    finally:
        wait_for(lambda: subprocess.run(["umount", str(results)], check=False).returncode == 0, 30, "still mounted")
