"""select, [] and get_group: any index, groups renumbered, results as good as any file."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.helpers import assert_trx_equal, make_trx_arrays, read_plain, write_plain_zip
from trxlib.errors import DataLossWarning, DtypeError, GroupNotFoundError, ShapeError
from trxlib.model.select import Selection, renumber_groups, select_runs
from trxlib.trx_file_memmap import concatenate, load, save

N = 12
INDICES = {
    "int": 3,
    "negative int": -2,
    "numpy int": np.int32(5),
    "list": [1, 4, 2],
    "empty list": [],
    "tuple": (0, 11),
    "unsigned": np.array([7, 3], "u8"),
    "negative": [-1, -12],
    "repeats": [3, 3, 0, 3],
    "mask": np.arange(N) % 3 == 0,
    "mask as list": [True, False] * 6,
    "no mask": np.zeros(N, bool),
    "slice": slice(2, 8),
    "steps": slice(1, None, 4),
    "backwards": slice(None, None, -1),
    "range": range(4, 9),
    "everything": slice(None),
}


def expected_selection(arrays, index):
    """The plain loop that the fast code must agree with."""
    rows = [int(row) for row in np.atleast_1d(np.arange(N)[list(index) if isinstance(index, range | tuple) else index])]
    pieces = [slice(int(arrays.offsets[row]), int(arrays.offsets[row + 1])) for row in rows]
    groups = {}
    for name, members in arrays.groups.items():
        found = [new for member in members.tolist() for new, row in enumerate(rows) if row == member]
        if found or not len(members):
            groups[name] = np.array(found, "<u4")
    return rows, pieces, groups


def check_selection(trx, arrays, index):
    rows, pieces, groups = expected_selection(arrays, index)
    assert len(trx) == trx.header["NB_STREAMLINES"] == len(rows)
    assert trx.header["NB_VERTICES"] == sum(piece.stop - piece.start for piece in pieces)
    assert trx.header["MADE_BY"] == "a test"
    for number, (row, piece) in enumerate(zip(rows, pieces, strict=True)):
        np.testing.assert_array_equal(trx.streamlines[number], arrays.positions[piece])
        for key, values in arrays.dpv.items():
            np.testing.assert_array_equal(trx.data_per_vertex[key][number], values[piece])
        for key, values in arrays.dps.items():
            np.testing.assert_array_equal(trx.data_per_streamline[key][number], values[row])
    assert sorted(trx.groups) == sorted(groups)
    for name, members in groups.items():
        np.testing.assert_array_equal(trx.groups[name], members)
        assert trx.groups[name].dtype == np.uint32
    assert sorted(trx.data_per_group) == [name for name in sorted(arrays.dpg) if name in groups]


@pytest.fixture
def trx(arrays, tmp_path):
    """The bundle of `arrays`, loaded."""
    return load(write_plain_zip(arrays, tmp_path / "a.trx"))


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_every_kind_of_index(trx, arrays, tmp_path, index):
    part = trx.select(index)
    check_selection(part, arrays, index)
    check_selection(trx[index], arrays, index)
    check_selection(trx.select(index, copy_safe=True), arrays, index)
    save(part, tmp_path / "part.trx")
    assert_trx_equal(tmp_path / "part.trx", part)
    check_selection(load(tmp_path / "part.trx"), arrays, index)
    check_selection(copy.deepcopy(part), arrays, index)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_selecting_shares_vertices_unless_asked(trx, index):
    base = trx.streamlines._data
    assert trx.select(index).streamlines._data is base
    assert np.shares_memory(trx.select(index).streamlines._data, base)
    assert not np.shares_memory(trx.select(index, copy_safe=True).streamlines._data, base)


@pytest.mark.parametrize("first", [slice(1, 10, 2), [5, 5, 2, 9], slice(None, None, -1)])
@pytest.mark.parametrize("second", [slice(0, 2), [-1, 0], [True, False] * 8])
def test_selections_of_selections(trx, arrays, first, second):
    rows = np.arange(N)[first]
    second = second if not isinstance(second, list) or second[0] is not True else second[: len(rows)]
    inner = rows[np.asarray(second) if isinstance(second, list) else second]
    part = trx[first][second]
    assert [streamline.tolist() for streamline in part.streamlines] == [
        arrays.positions[arrays.offsets[row] : arrays.offsets[row + 1]].tolist() for row in inner
    ]


def test_keep_group_false_leaves_groups_out(trx):
    part = trx.select([1, 2], keep_group=False)
    assert part.groups == {}
    assert part.data_per_group == {}


@pytest.mark.parametrize("bad", [12, -13, [0, 99], np.array([-13])])
def test_indices_outside_the_file(trx, bad):
    with pytest.raises(IndexError, match="out of range for 12 streamlines"):
        trx.select(bad)


def test_masks_of_another_length_and_floats_are_refused(trx):
    with pytest.raises(IndexError, match=r"mask has shape \(3,\), expected \(12,\)"):
        trx.select(np.array([True, False, True]))
    with pytest.raises(DtypeError, match="indices are float64"):
        trx.select([0.5])


def test_iterating_ends(trx):
    assert len([part for part in trx]) == N  # noqa: C416 (the old protocol of __getitem__)


def test_get_group_has_the_order_of_the_group(trx, arrays):
    part = trx.get_group("CC")
    check_selection(part, arrays, arrays.groups["CC"])
    assert part.groups["CC"].tolist() == list(range(N))
    assert part.data_per_group["CC"]["box"].tolist() == [[1, 2, 3]]


def test_get_group_options(trx):
    assert trx.get_group("CST_L", keep_group=False).groups == {}
    assert not np.shares_memory(trx.get_group("CST_L", copy_safe=True).streamlines._data, trx.streamlines._data)
    empty = trx.get_group("none")
    assert len(empty) == 0
    assert empty.groups["none"].tolist() == []


def test_unknown_group(trx):
    with pytest.raises(GroupNotFoundError, match="no group 'AF'; there are 'CC', 'CST_L', 'none'"):
        trx.get_group("AF")
    with pytest.raises(KeyError):
        trx.get_group("AF")


def test_a_selection_can_be_appended_to_and_concatenated(trx, tmp_path):
    part, other = trx[::2], trx[1::3]
    joined = concatenate([part, other])
    part.append(other)
    assert_trx_equal(part, joined)
    save(joined, tmp_path / "joined.trx")
    assert_trx_equal(tmp_path / "joined.trx", joined)


def test_writing_into_a_selection_writes_into_its_parent_only(trx, tmp_path):
    part = trx[3:5]
    part.streamlines[0][:] = 5
    np.testing.assert_array_equal(trx.streamlines[3], part.streamlines[0])
    assert (read_plain(tmp_path / "a.trx").positions != 5).all()


def test_saving_a_selection_over_the_file_it_is_mapped_from(trx, arrays, tmp_path):
    save(trx[[3, 1]], tmp_path / "a.trx")
    check_selection(load(tmp_path / "a.trx"), arrays, [3, 1])
    check_selection(trx[[3, 1]], arrays, [3, 1])


def test_group_members_beyond_the_file_are_named(tmp_path):
    arrays = make_trx_arrays(groups={"bad": [3, 12]}, dpg={})
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    with pytest.raises(ShapeError, match="groups/bad row 1 is streamline 12"):
        len(trx.select([0]).groups)


@pytest.mark.parametrize("seed", range(5))
def test_renumbering_agrees_with_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    groups = {str(k): rng.integers(0, 50, rng.integers(0, 80)).astype("u4") for k in range(4)}
    rows = rng.permutation(50)[:30] if seed == 0 else rng.integers(0, 50, rng.integers(0, 60))
    found = renumber_groups(groups, rows, 50)
    for name, members in groups.items():
        # Where a streamline is selected twice, a group names each of the selection once.
        once = dict.fromkeys(members.tolist()) if len(set(rows.tolist())) < len(rows) else members
        expected = [new for member in once for new in np.flatnonzero(rows == member)]
        assert found.get(name, np.zeros(0)).tolist() == expected


def test_repeated_members_do_not_multiply(tmp_path):
    arrays = make_trx_arrays(lengths=[1, 2, 3], groups={"g": np.zeros(3000), "h": [2, 1, 2]}, dpg={})
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    group = trx.get_group("g")
    assert (len(group), group.groups["g"].tolist()) == (3000, list(range(3000)))
    again = trx.get_group("h")
    assert again.data_per_streamline["weight"].ravel().tolist() == arrays.dps["weight"][[2, 1, 2], 0].tolist()
    assert again.groups["h"].tolist() == [0, 2, 1]
    assert trx[:].groups["h"].tolist() == [2, 1, 2]  # nothing is selected twice: the group as it was


def test_dpg_of_no_group_stays_until_it_is_saved(tmp_path):
    arrays = make_trx_arrays(dpg={"ghost": {"x": [1.0]}, "CST_L": {"x": [2.0]}})
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"), check_dpg=False)
    part = trx[:3]
    assert sorted(part.data_per_group) == ["CST_L", "ghost"]
    assert part.select([0], keep_group=False).data_per_group == {}
    with pytest.warns(DataLossWarning, match="left out, since there are no such groups: dpg/ghost"):
        save(part, tmp_path / "b.trx")
    assert sorted(load(tmp_path / "b.trx").data_per_group) == ["CST_L"]


def test_a_selection_knows_where_its_streamlines_lie():
    arrays = make_trx_arrays(lengths=[2, 0, 3])
    starts, lengths = Selection(arrays, None).known_runs()
    assert (starts.tolist(), lengths.tolist()) == ([0, 2, 2], [2, 0, 3])
    starts, lengths = Selection(*select_runs(arrays, [2, 0])).known_runs()
    assert (starts.tolist(), lengths.tolist()) == ([2, 0], [3, 2])


def test_groups_of_a_selection_are_made_when_asked_for(tmp_path):
    arrays = make_trx_arrays()
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    part = trx[[4, 2]]
    again = part[:1]
    assert part.groups["CST_L"].tolist() == [1, 0]
    assert again.groups["CC"].tolist() == [0]
    assert list(again.data_per_group["CC"]) == ["volume", "box"]
    assert trx.select([4], keep_group=False).groups == {}
    assert [len(one) for one in trx] == [1] * 12
    with pytest.raises(TypeError, match=r"to ask for a group: 'CC' in trx.groups"):
        "CC" in trx  # noqa: B015
