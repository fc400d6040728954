"""Subjects that lie elsewhere come into one space by transforms of every program, in one run of the workflow."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import trxlib
from tests.workflow.moved_cohort import make_moved_cohort
from tests.workflow.workflow_helpers import Workflow

RESULT = "results/back"


def read_rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture(scope="module")
def moved(cohort_folder, tmp_path_factory):
    """A finished run, and the rows of its sheet."""
    workflow = Workflow.new(tmp_path_factory.mktemp("moved"))
    rows = make_moved_cohort(workflow.folder, cohort_folder)
    workflow.output = workflow.run("--cores", "2", "--config", "extract_groups=false", "subjects_per_job=6")
    return workflow, rows


def test_every_transform_leads_back(moved):
    workflow, rows = moved
    archive = trxlib.load(workflow.folder / RESULT / "back.trx")
    positions, offsets = np.asarray(archive.streamlines._data), np.asarray(archive.streamlines._offsets)
    written = read_rows(workflow.folder / RESULT / "provenance.tsv")
    assert len(written) == len(rows)
    first = 0
    for row, said in zip(rows, written, strict=True):
        expected = np.concatenate(row.expected)
        assert int(said["first_vertex"]) == first
        found = positions[first : first + len(expected)]
        distance = np.linalg.norm(found - expected, axis=1).max()
        assert distance < row.tolerance, (row.cells, distance)
        first += len(expected)
    assert first == len(positions)
    assert len(offsets) == sum(len(row.expected) for row in rows)


def test_straight_into_the_archive_gives_the_same_bytes(moved):
    workflow, _ = moved
    workflow.run("--cores", "2", "archives", "--config", "keep_subjects=false", "results=direct")
    for name in ("back.trx", "provenance.tsv", "preflight.tsv"):
        paths = [workflow.folder / folder / "back" / name for folder in ("results", "direct")]
        assert paths[0].read_bytes() == paths[1].read_bytes(), name
