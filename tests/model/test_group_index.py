"""The index of memberships gives what renumbering every group gives."""

from __future__ import annotations

import numpy as np
import pytest

from trxlib.model import select
from trxlib.model.select import GroupIndex, renumber_groups

NB_STREAMLINES = 60
GROUPS = {
    "ascending": [0, 3, 4, 17, 59],
    "none": [],
    "descending": [59, 30, 3, 0],
    "repeated": [5, 5, 3, 5, 0, 3],
    "one": [7],
    "all": list(range(NB_STREAMLINES)),
    "none either": [],
}
SELECTIONS = {
    "some": [0, 3, 5, 59],
    "in no order": [59, 5, 0, 3, 7],
    "no member but of all": [8, 9],
    "nothing": [],
    "everything": list(range(NB_STREAMLINES)),
}


def groups_of(dtype: str) -> dict[str, np.ndarray]:
    return {name: np.array(members, dtype=dtype) for name, members in GROUPS.items()}


@pytest.mark.parametrize("block", [2, 1 << 17])
@pytest.mark.parametrize("dtype", ["<u4", "<i8"])
@pytest.mark.parametrize("rows", SELECTIONS.values(), ids=SELECTIONS)
def test_it_renumbers_as_without_an_index(
    rows: list[int], dtype: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "_BLOCK", block)
    groups, selected = groups_of(dtype), np.array(rows, dtype=np.int64)
    found = GroupIndex(groups, NB_STREAMLINES).renumber(selected)
    expected = renumber_groups(groups, selected, NB_STREAMLINES)
    assert list(found) == [name for name, members in expected.items() if len(members)]
    for name, members in found.items():
        assert members.dtype == np.dtype("<u4")
        assert members.tolist() == expected[name].tolist()


def test_random_groups_with_repeats() -> None:
    rng = np.random.default_rng(3)
    groups = {f"g{n}": rng.integers(0, 500, rng.integers(0, 90)).astype("<u4") for n in range(40)}
    index = GroupIndex(groups, 500)
    for size in (1, 20, 400):
        rows = rng.permutation(500)[:size]
        expected = renumber_groups(groups, rows, 500)
        found = index.renumber(rows)
        assert {name: members.tolist() for name, members in found.items()} == {
            name: members.tolist() for name, members in expected.items() if len(members)
        }


def test_without_groups_or_streamlines_nothing_is_found() -> None:
    assert GroupIndex({}, 5).renumber(np.arange(5)) == {}
    assert GroupIndex({"none": np.zeros(0, "<u4")}, 0).renumber(np.zeros(0, np.int64)) == {}
