"""Files of groups: the same bytes however many are written at once, by however many threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.helpers import make_trx_arrays, write_plain_zip

GROUPS = {
    "all": [*range(9)],
    "back": [7, 5, 0],
    "empty": [],
    "one": [4],
    "other": [5, 6],
    "overlap": [1, 4, 5, 8],
    "repeated": [5, 2, 5, 5],
}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    arrays = make_trx_arrays(lengths=[3, 0, 5, 1, 4, 2, 1, 1, 6], groups=GROUPS)
    arrays.dpg = {group: {"number": np.array([[n]], "<f4")} for n, group in enumerate(GROUPS) if group != "one"}
    return write_plain_zip(arrays, tmp_path / "in.trx")


@pytest.mark.parametrize("workers", [1, 3])
def test_all_at_once_gives_what_one_at_a_time_gives(many: Path, tmp_path: Path, workers: int) -> None:
    trxlib.extract_groups(many, tmp_path / "all", workers=workers)
    for group in GROUPS:
        trxlib.extract_groups(many, tmp_path / "each", [group])
        name = f"{group}.trx"
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "each" / name).read_bytes()


def test_a_file_has_the_groups_with_members_among_its_streamlines(many: Path, tmp_path: Path) -> None:
    trxlib.extract_groups(many, tmp_path / "groups")
    with trxlib.load(tmp_path / "groups" / "repeated.trx") as trx:
        # Streamlines 2 and 5 of the file, which are 0 and 1 of this one.
        assert {group: members.tolist() for group, members in trx.groups.items()} == {
            "all": [0, 1],
            "back": [1],
            "other": [1],
            "overlap": [1],
            "repeated": [1, 0, 1, 1],
        }
        assert sorted(trx.data_per_group) == ["all", "back", "other", "overlap", "repeated"]
    with trxlib.load(tmp_path / "groups" / "empty.trx") as trx:
        assert [*trx.groups] == ["empty"]
        assert len(trx.streamlines) == 0
