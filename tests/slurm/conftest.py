"""A real SLURM with two nodes on this machine, and a small cohort to run on it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import SHARED
from tests.slurm.slurm_helpers import Cluster, Study

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    missing = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge")
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("needs snakemake-executor-plugin-slurm: pip install .[slurm]")
    scripts = SHARED / "slurm"
    if not (scripts / "start_slurm.sh").exists():
        pytest.skip(f"needs the scripts of the folder {scripts.name} beside the repository")
    folder = Path(tempfile.mkdtemp(prefix="slurm_"))
    one = Cluster(folder, scripts)
    try:
        one.start()
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def healthy(cluster: Cluster) -> Iterator[None]:
    """Both nodes are up before each test, and no job is left behind it."""
    cluster.start()
    yield
    cluster.cancel_all()


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The cohort, finished on this machine without SLURM."""
    study = Study.new(tmp_path_factory.mktemp("local"))
    study.run_locally("archives")
    return study


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The cohort, converted and planned on this machine: what is left is to fill three shards and to seal."""
    study = Study.new(tmp_path_factory.mktemp("planned"))
    study.run_locally("results/small/plan.json")
    return study


@pytest.fixture
def study(planned: Study, cluster: Cluster, tmp_path: Path) -> Iterator[Study]:
    """A copy of the planned cohort, whose runs are over when the test is."""
    copy = Study(Path(shutil.copytree(planned.folder, tmp_path / "study", symlinks=True)), cluster)
    yield copy
    copy.end()


def pytest_report_header() -> str:
    found = shutil.which("sbatch")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout if found else ""
    return f"SLURM: {version.strip() or 'not installed'}"
