"""Working directories for the workflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflow.workflow_helpers import Workflow


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    return Workflow.new(tmp_path)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The finished demonstration; tests that change something work on a copy."""
    finished = Workflow.new(tmp_path_factory.mktemp("demo"))
    finished.run("--cores", "2")
    return finished


@pytest.fixture
def changed_demo(demo: Workflow, tmp_path: Path) -> Workflow:
    """A copy of the finished demonstration."""
    return demo.copy(tmp_path / "copy")
