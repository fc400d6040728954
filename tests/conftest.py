"""Fixtures that several test modules use. Their names end with what they are; data are made, not kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers import SHARED, make_trx_arrays
from trxlib.model.arrays import TrxArrays

# No deadline: the machine may be busy. No database: a run depends on nothing before it.
settings.register_profile("trxlib", deadline=None, database=None, max_examples=30, derandomize=False)
settings.load_profile("trxlib")


def pytest_configure(config: pytest.Config) -> None:
    """Leave slow tests, and those of a real SLURM, out unless `-m` says otherwise."""
    if not config.option.markexpr:
        config.option.markexpr = "not slow and not slurm"


@pytest.fixture
def arrays() -> TrxArrays:
    """A bundle with every kind of array."""
    return make_trx_arrays()


@pytest.fixture(autouse=True)
def _temporary_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep temporary data of a test in its own folder."""
    monkeypatch.setenv("TRX_TMPDIR", str(tmp_path_factory.mktemp("trx_tmp")))


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what only a loss of power would tell; the tests of it switch it on."""
    monkeypatch.setenv("TRXLIB_DURABLE", "0")


@pytest.fixture(scope="session")
def cohort_folder() -> Path:
    """The small real cohort, or a skipped test."""
    folder = SHARED / "data" / "cohort_small"
    if not folder.is_dir():
        pytest.skip(f"needs the data folder {folder.name} beside the repository")
    return folder
