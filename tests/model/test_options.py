"""How an input is read, as one value: checked at once, and the same after a way through a plan."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from trxlib.errors import FormatError, InputError
from trxlib.model.options import FilterPolicy, ReadOptions

EVERY = ReadOptions(
    reference="b0.nii.gz",
    transform="affine.txt",
    positions_dtype=np.float16,
    dps={"w": "w.txt"},
    dpv={"fa": "fa.tsf"},
    companions="auto",
    out_of_volume="drop",
    nonfinite="drop",
    drop_empty=True,
    transform_format="ras",
    transform_inverse=True,
    transform_source="dwi.nii.gz",
    grid="grid.nii.gz",
    out_of_field="drop",
    warn_outside=0.1,
    max_outside=0.9,
    accept_count_mismatch=True,
    accept_timestamp_mismatch=True,
    trust_count=False,
    vtk_space="LPS",
    keep=["dps/w", "dpv/*"],
)


def test_options_come_back_from_json():
    content = json.loads(json.dumps(EVERY.to_json()))
    assert content.keys() == {field.name for field in fields(ReadOptions)} - {"leave_out"}
    assert ReadOptions.from_json(content) == EVERY
    other = ReadOptions(leave_out=["groups/*"])
    assert ReadOptions.from_json(json.loads(json.dumps(other.to_json()))) == other
    assert ReadOptions().to_json() == {}
    assert ReadOptions.from_json({}) == ReadOptions()


def test_paths_and_pairs_become_text_and_lists():
    options = ReadOptions(reference=(Path("affine.txt"), (8, 6, 5)), dps={"w": Path("w.txt")})
    assert options.to_json() == {"reference": ["affine.txt", [8, 6, 5]], "dps": {"w": "w.txt"}}
    assert options.files() == [Path("affine.txt"), Path("w.txt")]
    assert ReadOptions.from_json(options.to_json()).files() == ["affine.txt", "w.txt"]


def test_an_object_of_this_process_cannot_be_planned_with():
    with pytest.raises(InputError, match="transform is a ndarray, and whoever reads a plan needs a path"):
        ReadOptions(transform=np.eye(4)).to_json()


def test_options_of_another_version_are_named():
    with pytest.raises(FormatError, match="the options colour, size are not known"):
        ReadOptions.from_json({"size": 1, "colour": 2, "drop_empty": True})


@pytest.mark.parametrize("rule", ["nonfinite", "out_of_volume"])
def test_a_policy_of_another_value_is_refused(rule):
    with pytest.raises(InputError, match=f"{rule} is 'perhaps', expected '(fail|keep)' or 'drop'"):
        FilterPolicy(**{rule: "perhaps"})
    assert not FilterPolicy().drops
    assert FilterPolicy(drop_empty=True).drops


def test_every_file_that_is_read_is_known():
    assert EVERY.files() == ["b0.nii.gz", "grid.nii.gz", "dwi.nii.gz", "affine.txt", "w.txt", "fa.tsf"]
    assert ReadOptions(transform=np.eye(4), reference={"VOXEL_TO_RASMM": 1}).files() == []
