"""The folder that the examples in docstrings run in: ``pytest tests/test_examples.py``.

``pytest --doctest-modules trxlib`` runs them, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trxlib
from tests.examples import write_example_files


@pytest.fixture
def example_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the examples, and in which the test runs."""
    write_example_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def example_names() -> dict[str, Any]:
    """Names that every example may use."""
    return {"np": np, "trxlib": trxlib}


@pytest.fixture(autouse=True)
def _place_of_doctests(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("example_folder")
        request.node.dtest.globs.update(request.getfixturevalue("example_names"))
