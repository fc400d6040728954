"""What different users ask for, as dry runs; and the linters."""

import subprocess
import sys

import pytest

from tests.workflow.workflow_helpers import REPOSITORY, Workflow

COHORT = dict.fromkeys(
    ["watch_cohort", "plan_cohort", "fill_cohort", "seal_cohort", "summarise_cohort", "draw_cohort"], 1
)


@pytest.fixture
def study(workflow: Workflow) -> Workflow:
    for name in ("a.trk", "b.trk", "c.tck", "d.trx", "ref.nii.gz", "weights.txt"):
        (workflow.folder / name).write_bytes(b"not looked at in a dry run")
    return workflow


def test_the_demonstration(workflow):
    assert workflow.jobs() == {
        "make_demo_data": 1,
        "preflight": 1,
        "pass_preflight": 1,
        "watch_subject": 5,
        "convert_subject": 5,
        **COHORT,
        "extract_groups": 1,
        "all": 1,
    }


def test_two_cohorts_with_sessions_and_companions(study):
    study.write_sheet(
        """
        cohort subject session bundle tractogram reference dps_weight
        one sub-01 ses-1 CC a.trk n/a n/a
        one sub-01 ses-2 CC b.trk n/a n/a
        two sub-01 n/a n/a c.tck ref.nii.gz weights.txt
        two sub-02 n/a n/a d.trx n/a n/a
        """
    )
    jobs = study.jobs()
    assert (jobs["preflight"], jobs["convert_subject"], jobs["seal_cohort"]) == (2, 4, 2)
    assert "results/one/subjects/sub-01_ses-2.trx" in study.run("-n")


def test_another_study_by_configfile(study):
    study.write_sheet("cohort subject tractogram\nmine 01 a.trk", "mine.tsv")
    (study.folder / "mine.yaml").write_text("samples: mine.tsv\nresults: elsewhere\nextract_groups: false\n")
    jobs = study.jobs("--configfile", "mine.yaml")
    convert = {"preflight": 1, "pass_preflight": 1, "watch_subject": 1, "convert_subject": 1}
    assert jobs == {**convert, **COHORT, "all": 1}
    assert "elsewhere/mine/mine.trx" in study.run("-n", "--configfile", "mine.yaml")


def test_stages_are_targets(study):
    study.write_sheet("cohort subject tractogram\nmine 01 a.trk\nmine 02 b.trk")
    assert study.jobs("checks") == {"preflight": 1, "checks": 1}
    assert "summarise_cohort" not in study.jobs("archives")
    assert "extract_groups" not in study.jobs("summaries")


def test_large_cohorts_are_filled_by_several_jobs(study):
    study.write_sheet("cohort subject tractogram\nmine 01 a.trk\nmine 02 b.trk\nmine 03 d.trx")
    assert study.jobs("--config", "shard_gb=0.00000004")["fill_cohort"] == 2


@pytest.mark.parametrize("profile", ["default", "slurm", "cluster-generic"])
def test_profiles_are_found_by_name(study, profile):
    plugin = {
        "slurm": "snakemake_executor_plugin_slurm",
        "cluster-generic": "snakemake_executor_plugin_cluster_generic",
    }
    if profile in plugin:
        pytest.importorskip(plugin[profile])
    study.write_sheet("cohort subject tractogram\nmine 01 a.trk")
    assert f"profiles/{profile}" in study.run("-n", "--workflow-profile", profile)


def test_linters_find_nothing():
    lint = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
    pytest.importorskip("snakefmt")
    done = subprocess.run([sys.executable, "-m", "snakefmt", "--check", "."], cwd=REPOSITORY, check=False)
    assert done.returncode == 0
