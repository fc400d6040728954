"""The trouble of `tests.reliability`, a test for each kind with each work; the module itself tries more often."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability import trouble
from tests.reliability.__main__ import Row, rows_of
from tests.reliability.work import make_inputs

pytestmark = pytest.mark.slow
_TRIES, _STREAMLINES, _LOADS = 2, 5000, 300
_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def place() -> Iterator[trouble.Place]:
    with tempfile.TemporaryDirectory(prefix="reliability_", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        root = Path(folder)
        make_inputs(root / "inputs", _STREAMLINES)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRX_TMPDIR", "")
            patch.setenv("RELIABILITY_LOG", "")
            yield trouble.Place(root, root / "inputs", random.Random(0))


@pytest.fixture(scope="module")
def may_mount() -> bool:
    return trouble.can_mount()


@pytest.mark.parametrize("row", rows_of(_LOADS), ids=lambda row: row.what)
def test_trouble_leaves_nothing_wrong(
    row: Row, place: trouble.Place, may_mount: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if row.what.startswith("full disk") and not may_mount:
        pytest.skip("needs the right to mount a small disk")
    for name, value in place.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TRXLIB_DURABLE")
    assert list(row.run(place, _TRIES)) == []
