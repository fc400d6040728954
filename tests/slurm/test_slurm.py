"""The workflow on a real SLURM: the bytes of a local run, also after what clusters do to jobs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.slurm.slurm_helpers import NB_SHARDS, REPOSITORY, Cluster, Study, wait_for


@pytest.mark.parametrize("keep_subjects", ["true", "false"])
def test_from_nothing(local: Study, cluster: Cluster, tmp_path: Path, keep_subjects: str) -> None:
    study = Study.new(tmp_path, keep_subjects=keep_subjects)
    study.cluster = cluster
    try:
        log = study.finish(study.start("archives"))
    finally:
        study.end()
    assert study.digest() == local.digest()
    assert study.provenance() == local.provenance()
    assert log.count("has been submitted with SLURM jobid") == 3 + NB_SHARDS + (keep_subjects == "true")
    assert study.nb_fills() == NB_SHARDS


def test_the_generic_profile(local: Study, study: Study) -> None:
    if importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is None:
        pytest.skip("needs snakemake-executor-plugin-cluster-generic: pip install .[cluster-generic]")
    submit = "sbatch --parsable -o /dev/null -c {threads} --mem {resources.mem_mb} -t {resources.runtime}"
    profile = ["--workflow-profile", str(REPOSITORY / "workflow/profiles/cluster-generic"), "--latency-wait", "10"]
    profile += ["--cluster-generic-submit-cmd", submit, "--cluster-generic-cancel-cmd", "scancel"]
    study.finish(study.start("archives", profile=profile))
    assert study.digest() == local.digest()


def test_a_fill_is_cancelled(local: Study, study: Study, cluster: Cluster) -> None:
    study.hold()
    run = study.start("archives")
    study.wait_for_fills(NB_SHARDS)
    job, _ = cluster.running("fill_cohort")[0]
    cluster.run("scancel", job)
    wait_for(lambda: job not in dict(cluster.running("fill_cohort")), 60, f"job {job} still runs")
    study.release()
    study.finish(run)
    assert study.digest() == local.digest()
    assert study.nb_fills() == NB_SHARDS + 1


def test_a_node_crashes(local: Study, study: Study, cluster: Cluster) -> None:
    study.hold()
    run = study.start("archives")
    study.wait_for_fills(NB_SHARDS)
    jobs = cluster.running("fill_cohort")
    node = jobs[0][1]
    cluster.crash_node(node)
    study.release()
    cluster.boot_node(node)
    # SLURM waits until it misses the node's answer, then as long as old credentials hold: 3 minutes in all.
    study.finish(run)
    assert study.digest() == local.digest()
    assert study.nb_fills() == NB_SHARDS + sum(where == node for _, where in jobs)


def test_the_controller_is_restarted(local: Study, study: Study, cluster: Cluster) -> None:
    study.hold()
    run = study.start("archives")
    study.wait_for_fills(NB_SHARDS)
    cluster.restart_controller(10)
    study.release()
    study.finish(run)
    assert study.digest() == local.digest()
    assert study.nb_fills() == NB_SHARDS


def test_snakemake_is_killed_and_started_again_beside_its_old_jobs(
    local: Study, study: Study, cluster: Cluster
) -> None:
    study.hold()
    run = study.start("archives")
    study.wait_for_fills(NB_SHARDS)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(30)
    assert len(cluster.running("fill_cohort")) == NB_SHARDS
    study.run_locally("archives", "--unlock")
    second = study.start("archives")
    study.wait_for_fills(NB_SHARDS + 1)  # a twin of a job that still runs
    study.release()
    study.finish(second)
    assert study.digest() == local.digest()
    assert study.nb_fills() == 2 * NB_SHARDS
    wait_for(lambda: not cluster.running("fill_cohort"), 60, "old jobs are left")
    assert study.digest() == local.digest()
    assert not list((study.folder / "results/small").glob(".*.partial"))


def test_snakemake_is_killed_and_its_old_jobs_cancelled(local: Study, study: Study, cluster: Cluster) -> None:
    study.hold()
    run = study.start("archives")
    study.wait_for_fills(NB_SHARDS)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(30)
    cluster.cancel_all()
    study.release()
    study.run_locally("archives", "--unlock")
    shutil.copytree(study.folder / "results/small/subjects", study.folder / "before")
    study.finish(study.start("archives"))
    assert study.digest() == local.digest()
    assert study.nb_fills() == 2 * NB_SHARDS
    for path in (study.folder / "before").iterdir():  # not converted again
        assert path.stat().st_mtime_ns == (study.folder / "results/small/subjects" / path.name).stat().st_mtime_ns
