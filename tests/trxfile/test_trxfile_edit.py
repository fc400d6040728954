"""Preallocation, resize, append: a file knows how full it is, and nothing is guessed from zeros."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from nibabel.streamlines import ArraySequence

import trxlib
from tests.helpers import assert_trx_equal, make_trx_arrays, read_plain, write_plain_zip
from trxlib.container.temporary import scratch_arrays
from trxlib.errors import (
    CapacityError,
    ClosedError,
    DataLossWarning,
    DtypeError,
    InputError,
    MetadataMismatchError,
    ShapeError,
    SpaceMismatchError,
)
from trxlib.model.dtypes import cast
from trxlib.trx_file_memmap import TrxFile, concatenate, load, save, zip_from_folder
from trxlib.trxfile.preallocated import Preallocated

FLAT = {"groups": {}, "dpg": {}, "sidecars": {}}


def loaded(tmp_path, name="a", **options):
    """Load a bundle and return it with its arrays."""
    arrays = make_trx_arrays(**options)
    return load(write_plain_zip(arrays, tmp_path / f"{name}.trx")), arrays


# ---- preallocation


def test_preallocated_file_is_empty_until_filled(tmp_path):
    other, _ = loaded(tmp_path)
    trx = TrxFile(nb_vertices=100, nb_streamlines=20, init_as=other)
    assert len(trx) == 20
    assert trx._get_real_len() == (0, 0)
    assert trx.streamlines._data.shape == (100, 3)
    assert trx.data_per_vertex["vector"]._data.dtype == np.float64
    assert trx.data_per_streamline["color"].shape == (20, 3)
    assert trx.groups == {}
    assert "streamline_size: 20\nvertex_size: 100" in str(trx)


def test_preallocated_without_a_model_has_float32_positions():
    trx = TrxFile(nb_vertices=4, nb_streamlines=2)
    assert trx.streamlines._data.dtype == np.float32
    assert trx.header["NB_VERTICES"] == 4


def test_filling_in_steps(tmp_path):
    other, arrays = loaded(tmp_path, **FLAT)
    trx = TrxFile(nb_vertices=60, nb_streamlines=30, init_as=other)
    end = trx._copy_fixed_arrays_from(other)
    assert end == trx._get_real_len() == (12, 26)
    end = trx._copy_fixed_arrays_from(other, *end, nb_strs_to_copy=5)
    assert end == trx._get_real_len() == (17, 26 + int(arrays.offsets[5]))
    trx.resize()
    assert_trx_equal(trx, concatenate([other, other[:5]]), header=False)


@pytest.mark.parametrize("lengths", [[0, 0], [3, 0, 0], [0, 3], [1], []])
def test_empty_streamlines_at_the_end_are_kept(tmp_path, lengths):
    other, arrays = loaded(tmp_path, lengths=lengths, **FLAT)
    arrays.positions[:] = 0  # a vertex at the origin is ordinary, too
    other.streamlines._data[:] = 0
    trx = TrxFile(nb_vertices=10, nb_streamlines=10, init_as=other)
    assert trx._copy_fixed_arrays_from(other) == (len(lengths), sum(lengths))
    save(trx, tmp_path / "before.trx")
    trx.resize()
    save(trx, tmp_path / "after.trx")
    for name in ("before", "after"):
        assert_trx_equal(tmp_path / f"{name}.trx", arrays, header=False)


def test_arrays_filled_by_hand_count(tmp_path):
    trx = TrxFile(nb_vertices=10, nb_streamlines=4)
    trx.streamlines._data[:5] = np.arange(15).reshape(5, 3)
    trx.streamlines._offsets[:2] = (0, 2)
    trx.streamlines._lengths[:2] = (2, 3)
    assert trx._get_real_len() == (2, 5)
    save(trx, tmp_path / "a.trx")
    assert read_plain(tmp_path / "a.trx").offsets.tolist() == [0, 2, 5]


def test_too_small_a_file_says_so_and_stays_as_it_is(tmp_path):
    other, _ = loaded(tmp_path)
    trx = TrxFile(nb_vertices=25, nb_streamlines=12, init_as=other)
    with pytest.raises(CapacityError, match="12 streamlines and 26 vertices .* do not fit a capacity of 12"):
        trx._copy_fixed_arrays_from(other)
    assert trx._get_real_len() == (0, 0)
    assert not trx.streamlines._data.any()


def test_filling_needs_the_keys(tmp_path):
    other, _ = loaded(tmp_path)
    poor, _ = loaded(tmp_path, "b", dps={})
    trx = TrxFile(nb_vertices=50, nb_streamlines=50, init_as=other)
    with pytest.raises(MetadataMismatchError, match="the input has no dps/weight"):
        trx._copy_fixed_arrays_from(poor)


def test_deepcopy_keeps_the_room(tmp_path):
    other, _ = loaded(tmp_path, **FLAT)
    trx = TrxFile(nb_vertices=60, nb_streamlines=30, init_as=other)
    trx._copy_fixed_arrays_from(other)
    twin = trx.deepcopy()
    assert len(twin) == 30
    assert twin._get_real_len() == (12, 26)
    assert_trx_equal(concatenate([twin]), other, header=False)


@pytest.mark.parametrize("size", [(-1, 5), (5, -1)])
def test_negative_sizes(size):
    with pytest.raises(InputError, match="expected a whole number, 0 or more"):
        TrxFile(nb_streamlines=size[0], nb_vertices=size[1])


# ---- concatenate into a preallocated file


def test_preallocated_and_plain_concatenation_give_the_same_bytes(tmp_path):
    first, _ = loaded(tmp_path, "a", extra={"ONLY": 1, "BOTH": 1})
    second, _ = loaded(tmp_path, "b", seed=5, nb_streamlines=7, extra={"BOTH": 2})
    room = TrxFile(nb_vertices=500, nb_streamlines=100, init_as=first)
    with pytest.warns(DataLossWarning, match="3 groups with their dpg: CC, CST_L, none"):
        result = concatenate([room, first, second], preallocation=True, delete_groups=True)
    assert result is room
    with pytest.warns(DataLossWarning):
        plain = concatenate([first, second], delete_groups=True)
    save(result, tmp_path / "room.trx")
    save(plain, tmp_path / "plain.trx")
    assert (tmp_path / "room.trx").read_bytes() == (tmp_path / "plain.trx").read_bytes()
    result.resize()
    save(result, tmp_path / "resized.trx")
    assert (tmp_path / "resized.trx").read_bytes() == (tmp_path / "plain.trx").read_bytes()


def test_preallocation_needs_delete_groups(tmp_path):
    trx, _ = loaded(tmp_path)
    with pytest.raises(InputError, match="delete_groups=True"):
        concatenate([trx, trx], preallocation=True)


def test_preallocated_file_that_does_not_fit_is_unchanged(tmp_path):
    other, _ = loaded(tmp_path, **FLAT)
    room = TrxFile(nb_vertices=40, nb_streamlines=40, init_as=other)
    with pytest.raises(CapacityError, match="24 streamlines and 52 vertices"):
        concatenate([room, other, other], preallocation=True, delete_groups=True)
    assert room._get_real_len() == (0, 0)
    more, _ = loaded(tmp_path, "b", dps={"weight": (1, "<f4"), "color": (3, "u1"), "x": (1, "<f4")}, **FLAT)
    with pytest.raises(MetadataMismatchError, match="dps/x"):
        concatenate([room, more], preallocation=True, delete_groups=True)
    with pytest.warns(DataLossWarning, match="dps/x"):
        concatenate([room, other, more[:1]], preallocation=True, delete_groups=True, delete_dps=True)
    assert sorted(room.data_per_streamline) == ["color", "weight"]


# ---- resize


def test_resize_down_cuts_and_keeps_groups_right(tmp_path):
    trx, arrays = loaded(tmp_path)
    trx.resize(nb_streamlines=5)
    end = int(arrays.offsets[5])
    assert len(trx) == trx.header["NB_STREAMLINES"] == 5
    assert trx.header["NB_VERTICES"] == end
    np.testing.assert_array_equal(trx.streamlines._data, arrays.positions[:end])
    for key, values in trx.data_per_vertex.items():
        np.testing.assert_array_equal(values._data, arrays.dpv[key][:end])
    assert trx.groups["CST_L"].tolist() == [0, 2, 4]
    assert trx.groups["CC"].tolist() == [4, 3, 2, 1, 0]
    assert trx.groups["none"].tolist() == []
    save(trx, tmp_path / "b.trx")
    assert_trx_equal(tmp_path / "b.trx", trx)


def test_resize_takes_away_what_is_not_used(tmp_path):
    trx, arrays = loaded(tmp_path, lengths=[2, 0, 3, 1, 4])
    backwards = trx.select([4, 2, 1, 0])
    backwards.resize(nb_streamlines=3)
    expected = np.concatenate([arrays.positions[6:10], arrays.positions[2:5]])
    np.testing.assert_array_equal(backwards.streamlines._data, expected)
    assert backwards.streamlines.total_nb_rows == backwards.header["NB_VERTICES"] == 7
    front = trx.select(slice(0, 3))
    front.resize()
    np.testing.assert_array_equal(front.streamlines._data, arrays.positions[:5])
    assert np.may_share_memory(front.streamlines._data, trx.streamlines._data)
    room = TrxFile(nb_vertices=100, nb_streamlines=50, init_as=trx)
    room.append(trx)
    room.resize(nb_streamlines=3)
    np.testing.assert_array_equal(room.streamlines._data, arrays.positions[:5])
    room.resize(nb_streamlines=2, nb_vertices=2)
    np.testing.assert_array_equal(room.streamlines._data, arrays.positions[:2])
    assert room.data_per_vertex["fa"]._data.shape == (2, 1)


def test_resize_up_makes_room(tmp_path):
    trx, arrays = loaded(tmp_path)
    trx.resize(nb_streamlines=100, nb_vertices=1000)
    assert len(trx) == 100
    assert trx._get_real_len() == (12, 26)
    save(trx, tmp_path / "b.trx")
    assert_trx_equal(tmp_path / "b.trx", arrays)
    trx.resize()
    assert_trx_equal(trx, arrays)


def test_resize_of_vertices_only_grows(tmp_path):
    trx, arrays = loaded(tmp_path)
    trx.resize(nb_vertices=50)
    assert trx.header["NB_VERTICES"] == 50
    with pytest.raises(CapacityError, match="12 streamlines have 26 vertices, which do not fit 3"):
        trx.resize(nb_vertices=3)
    trx.resize(nb_streamlines=0)
    assert len(trx) == trx.header["NB_VERTICES"] == 0
    with pytest.raises(InputError, match="nb_streamlines is -1"):
        trx.resize(nb_streamlines=-1)
    assert arrays.header.nb_streamlines == 12


def test_resize_delete_dpg(tmp_path):
    trx, _ = loaded(tmp_path)
    trx.resize(delete_dpg=True)
    assert trx.data_per_group == {}
    assert trx.groups


def test_resize_of_a_selection(tmp_path):
    trx, _ = loaded(tmp_path)
    part = trx[::-1]
    part.resize(nb_streamlines=4)
    assert_trx_equal(part, trx[::-1][:4], header=False, dtypes=False)
    assert len(trx) == 12


# ---- append


@pytest.mark.parametrize("extra_buffer", [0, 7])
def test_append_equals_concatenate(tmp_path, extra_buffer):
    trx, _ = loaded(tmp_path)
    other, _ = loaded(
        tmp_path, "b", seed=3, nb_streamlines=8, groups={"CC": [7, 0], "new": [1]}, dpg={"new": {"x": [1]}}
    )
    expected = concatenate([trx, other])
    trx.append(other, extra_buffer=extra_buffer)
    assert trx._get_real_len()[0] == 20
    assert len(trx) == 20 + extra_buffer
    save(trx, tmp_path / "appended.trx")
    save(expected, tmp_path / "joined.trx")
    assert (tmp_path / "appended.trx").read_bytes() == (tmp_path / "joined.trx").read_bytes()
    assert trx.groups["CC"][-2:].tolist() == [19, 12]
    assert trx.groups["new"].tolist() == [13]


def test_append_uses_the_buffer(tmp_path):
    trx, _ = loaded(tmp_path)
    other, _ = loaded(tmp_path, "b", seed=3)
    trx.append(other, extra_buffer=12)
    data = trx.streamlines._data
    trx.append(other)
    assert trx.streamlines._data is data
    assert trx._get_real_len()[0] == 36
    assert_trx_equal(concatenate([trx]), concatenate([load(tmp_path / "a.trx"), other, other]), header=False)


def test_append_to_nothing_takes_everything_over(tmp_path):
    other, arrays = loaded(tmp_path)
    trx = TrxFile()
    trx.append(other)
    assert_trx_equal(trx, arrays)


def test_append_of_a_file_to_itself_and_of_nothing(tmp_path):
    trx, arrays = loaded(tmp_path)
    trx.append(trx)
    assert_trx_equal(trx, concatenate([load(tmp_path / "a.trx")] * 2))
    before = concatenate([trx])
    trx.append(trx[:0])
    assert_trx_equal(trx, before)
    assert arrays.header.nb_streamlines == 12


def test_append_widens_types(tmp_path):
    trx, _ = loaded(tmp_path, positions_dtype="<f2", dps={"n": (1, "u1")}, **FLAT)
    other, _ = loaded(tmp_path, "b", positions_dtype="<f8", dps={"n": (1, "i2")}, **FLAT)
    trx.append(other)
    assert trx.streamlines._data.dtype == np.float64
    assert trx.data_per_streamline["n"].dtype == np.int16
    np.testing.assert_array_equal(trx.streamlines._data[-26:], other.streamlines._data)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dimensions": (1, 2, 3)}, SpaceMismatchError, "2 different spaces"),
        ({"affine": np.diag([2.0, 2, 2, 1])}, SpaceMismatchError, "2 different spaces"),
        ({"dps": {}}, MetadataMismatchError, "dps/color is lacking in 2"),
        ({"dpv": {"x": (1, "<f4")}}, MetadataMismatchError, "dpv/fa is lacking in 2"),
        ({"dps": {"weight": (2, "<f4"), "color": (3, "u1")}}, MetadataMismatchError, "different numbers of columns"),
        (
            {"dps": {"weight": (1, "<i8"), "color": (3, "u1")}},
            MetadataMismatchError,
            "no type of the format holds both",
        ),
    ],
)
def test_append_of_what_does_not_fit_changes_nothing(tmp_path, options, error, message):
    trx, arrays = loaded(tmp_path)
    other, _ = loaded(tmp_path, "b", **options)
    with pytest.raises(error, match=message):
        trx.append(other)
    assert_trx_equal(trx, arrays)


def test_append_refuses_other_things(tmp_path):
    trx, _ = loaded(tmp_path)
    with pytest.raises(TypeError, match="cannot append a list"):
        trx.append([1, 2])


# ---- what a user assigns to a preallocated file


def reassign_dps(trx):
    trx.data_per_streamline["weight"] = trx.data_per_streamline["weight"] * 10 + 1


def reassign_dps_wider(trx):
    trx.data_per_streamline["weight"] = np.arange(len(trx), dtype="f8")


def swap_dps(trx):
    dps = trx.data_per_streamline
    dps["other"], dps["weight"] = dps["weight"], dps["other"]


def reassign_dpv(trx):
    trx.data_per_vertex["fa"] = trx.data_per_vertex["fa"] + 1.0


def reassign_dpv_data(trx):
    trx.data_per_vertex["fa"]._data = trx.data_per_vertex["fa"]._data * 2 + 1


def replace_in_place(trx):
    trx.streamlines += 1.0


def replace_by_sum(trx):
    trx.streamlines = trx.streamlines + 1.0


def replace_by_copy(trx):
    trx.streamlines = trx.streamlines.copy()


def replace_data(trx):
    trx.streamlines._data = trx.streamlines._data.astype("f2")


def replace_lengths(trx):
    trx.streamlines._lengths = trx.streamlines._lengths.astype("i8")


def replace_offsets(trx):
    trx.streamlines._offsets = trx.streamlines._offsets.astype("i8")


def change_nothing(trx):
    del trx


CHANGES = [
    change_nothing, reassign_dps, reassign_dps_wider, swap_dps, reassign_dpv, reassign_dpv_data, replace_in_place,
    replace_by_sum, replace_by_copy, replace_data, replace_lengths, replace_offsets,
]  # fmt: skip
TWO_WEIGHTS = {**FLAT, "dps": {"weight": (1, "<f4"), "other": (1, "<f4")}}


@pytest.fixture(params=CHANGES)
def changed(request, tmp_path):
    """Return (preallocated file with one filling to which something was assigned, the same compact, the filling)."""
    filling, _ = loaded(tmp_path, **TWO_WEIGHTS)
    trx = TrxFile(nb_vertices=200, nb_streamlines=60, init_as=filling)
    trx.append(filling)
    compact = filling.deepcopy()
    request.param(trx)
    request.param(compact)
    return trx, concatenate([compact]), filling


def test_what_is_assigned_does_not_change_how_full_a_file_is(tmp_path, changed):
    trx, compact, _ = changed
    assert len(trx) == 60
    assert trx._get_real_len() == (12, 26)
    save(trx, tmp_path / "a.trx")
    assert_trx_equal(tmp_path / "a.trx", compact)
    for twin in (trx.deepcopy(), trx.to_memory(), copy.copy(trx), pickle.loads(pickle.dumps(trx))):
        assert twin._get_real_len() == (12, 26)
        assert_trx_equal(concatenate([twin]), compact)
    trx.resize()
    assert_trx_equal(trx, compact)


def test_append_keeps_what_is_assigned(changed):
    trx, compact, filling = changed
    expected = concatenate([compact, filling])
    trx.append(filling)
    assert len(trx) == 60
    assert trx._get_real_len() == (24, 52)
    assert_trx_equal(concatenate([trx]), expected)
    trx.append(filling[:0])
    trx.append(filling)
    assert_trx_equal(concatenate([trx]), concatenate([expected, filling]))


def test_append_to_a_copy_in_memory_keeps_what_is_assigned(changed):
    trx, compact, filling = changed
    twin = trx.to_memory()
    reassign_dps(twin)
    reassign_dps(compact)
    twin.append(filling[:0])
    assert_trx_equal(concatenate([twin]), compact)


def test_preallocated_concatenation_keeps_what_is_assigned(changed):
    trx, compact, filling = changed
    # A preallocated file keeps its type.
    filling.streamlines._data = filling.streamlines._data.astype(trx.streamlines._data.dtype)
    result = concatenate([trx, filling], delete_groups=True, preallocation=True)
    assert result is trx
    assert trx._get_real_len() == (24, 52)
    assert_trx_equal(concatenate([trx]), concatenate([compact, filling]), dtypes=False)


def test_filling_by_hand_keeps_what_is_assigned(changed):
    trx, compact, filling = changed
    filling.streamlines._data = filling.streamlines._data.astype(trx.streamlines._data.dtype)
    assert trx._copy_fixed_arrays_from(filling, 12, 26) == (24, 52)
    assert len(trx) == 60
    assert_trx_equal(concatenate([trx]), concatenate([compact, filling]), dtypes=False)


def test_a_key_that_is_removed_stays_removed(tmp_path):
    filling, _ = loaded(tmp_path, **TWO_WEIGHTS)
    trx = TrxFile(nb_vertices=200, nb_streamlines=60, init_as=filling)
    trx.append(filling)
    del trx.data_per_streamline["other"]
    del filling.data_per_streamline["other"]
    data = trx.streamlines._data
    trx.append(filling)
    assert trx.streamlines._data is data
    assert_trx_equal(concatenate([trx]), concatenate([filling, filling]))


def test_streamlines_out_of_order_by_hand_are_not_overwritten(tmp_path):
    filling, arrays = loaded(tmp_path, lengths=[2, 3], dps={}, dpv={}, **FLAT)
    trx = TrxFile(nb_vertices=20, nb_streamlines=10, init_as=filling)
    trx.streamlines._data[:2], trx.streamlines._data[5:8] = 1, 2
    trx.streamlines._offsets[:2], trx.streamlines._lengths[:2] = (0, 5), (2, 3)
    trx.append(filling)
    assert [streamline[0, 0] for streamline in trx.streamlines[:2]] == [1, 2]
    np.testing.assert_array_equal(trx.streamlines._data[5:10], arrays.positions)


def test_streamlines_that_are_assigned_anew_are_all_there(tmp_path):
    trx = TrxFile(nb_vertices=10, nb_streamlines=4)
    trx.streamlines = ArraySequence([np.ones((2, 3), "f4"), np.ones((1, 3), "f4")])
    trx.streamlines._lengths = np.array([2, 1, 0, 0])
    trx.streamlines._offsets = np.array([0, 2, 3, 3])
    assert trx._get_real_len() == (4, 3)


def test_lpsmm_by_dipy_keeps_how_full_a_file_is(tmp_path):
    streamline = pytest.importorskip("dipy.tracking.streamline")
    filling, arrays = loaded(tmp_path, **FLAT)
    trx = TrxFile(nb_vertices=200, nb_streamlines=60, init_as=filling)
    trx.append(filling)
    trx.streamlines = streamline.transform_streamlines(trx.streamlines, np.diag([-1.0, -1, 1, 1]))
    assert trx._get_real_len() == (12, 26)
    np.testing.assert_array_equal(trx.to_tractogram().streamlines._data, arrays.positions * [-1, -1, 1])


@pytest.mark.parametrize("fail_at", ["dps", "dpv"])
def test_a_concatenation_that_fails_leaves_the_preallocated_file_as_full_as_before(tmp_path, fail_at):
    small, _ = loaded(tmp_path, "a", **{**FLAT, "dps": {}, "dpv": {}, fail_at: {"n": (1, "i1")}})
    big, _ = loaded(tmp_path, "b", **{**FLAT, "dps": {}, "dpv": {}, fail_at: {"n": (1, "<i4")}})
    (big.data_per_streamline["n"] if fail_at == "dps" else big.data_per_vertex["n"]._data)[:] = 300
    trx = TrxFile(nb_vertices=200, nb_streamlines=60, init_as=small)
    trx.append(small)
    with pytest.raises(DtypeError, match=f"{fail_at}/n holds 300, which does not fit int8"):
        concatenate([trx, small, big], preallocation=True, delete_groups=True)
    assert trx._get_real_len() == (12, 26)
    assert not trx.streamlines._data[26:].any()
    concatenate([trx, small], preallocation=True, delete_groups=True)
    assert_trx_equal(concatenate([trx]), concatenate([small, small]))


def test_preallocated_without_a_space_takes_that_of_the_others(tmp_path):
    first, _ = loaded(tmp_path, **{**FLAT, "dps": {}, "dpv": {}})
    trx = TrxFile(nb_vertices=200, nb_streamlines=60)
    concatenate([trx, first, first], preallocation=True, delete_groups=True)
    assert_trx_equal(concatenate([trx]), concatenate([first, first]))
    other, _ = loaded(tmp_path, "b", affine=np.diag([2.0, 2, 2, 1]), **{**FLAT, "dps": {}, "dpv": {}})
    with pytest.raises(SpaceMismatchError, match="2 different spaces"):
        concatenate([TrxFile(nb_vertices=200, nb_streamlines=60), first, other], preallocation=True, delete_groups=True)


# ---- copies of a preallocated file


def test_a_shallow_copy_does_not_share_what_is_not_filled(tmp_path):
    filling, _ = loaded(tmp_path, **FLAT)
    trx = TrxFile(nb_vertices=200, nb_streamlines=60, init_as=filling)
    trx.append(filling)
    twin = copy.copy(trx)
    assert np.shares_memory(twin.streamlines._data, trx.streamlines._data)
    twin.append(filling)
    assert trx._get_real_len() == (12, 26)
    trx.append(filling[::-1])
    assert_trx_equal(concatenate([twin]), concatenate([filling, filling]))
    assert_trx_equal(concatenate([trx]), concatenate([filling, filling[::-1]]))


def test_a_shallow_copy_has_a_header_of_its_own_and_stays_closed(tmp_path):
    trx, _ = loaded(tmp_path)
    twin = copy.copy(trx)
    twin.header["VOXEL_TO_RASMM"][0, 3] = 77
    assert trx.header["VOXEL_TO_RASMM"][0, 3] != 77
    trx.close()
    with pytest.raises(ClosedError):
        save(copy.copy(trx), tmp_path / "b.trx")


def test_pickling_keeps_the_room(tmp_path):
    filling, _ = loaded(tmp_path)
    trx = TrxFile(nb_vertices=200, nb_streamlines=60, init_as=filling)
    trx.append(filling)
    twin = pickle.loads(pickle.dumps(trx))
    assert len(twin) == twin.header["NB_STREAMLINES"] == 60
    assert twin._get_real_len() == (12, 26)
    data = twin.streamlines._data
    twin.append(filling)
    assert twin.streamlines._data is data
    assert_trx_equal(concatenate([twin]), concatenate([filling, filling]))


# ---- arguments and attributes of the wrong kind


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: TrxFile(nb_vertices=10.7, nb_streamlines=2), "nb_vertices is 10.7, expected a whole number"),
        (lambda _: TrxFile(nb_vertices=10, nb_streamlines="2"), "nb_streamlines is '2'"),
        (lambda trx: trx.resize(2.5), "nb_streamlines is 2.5"),
        (lambda trx: trx.append(trx, extra_buffer=-1), "extra_buffer is -1"),
        (lambda trx: trx._copy_fixed_arrays_from(trx, 0, 0, -1), "nb_strs_to_copy is -1"),
        (lambda trx: trx._copy_fixed_arrays_from(trx, 0.5), "strs_start is 0.5"),
    ],
)
def test_counts_are_whole_numbers(tmp_path, call, message):
    trx, arrays = loaded(tmp_path)
    with pytest.raises(InputError, match=message):
        call(trx)
    assert_trx_equal(trx, arrays)


def test_counts_may_be_of_numpy():
    trx = TrxFile(nb_vertices=np.uint32(10), nb_streamlines=np.float64(2))
    assert trx.header["NB_STREAMLINES"] == len(trx) == 2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("streamlines", [np.zeros((2, 3))], "streamlines is a list, expected a nibabel ArraySequence"),
        ("groups", None, "groups is a NoneType, expected a dict"),
        ("header", None, "header is a NoneType, expected a dict"),
        ("data_per_streamline", [1], "data_per_streamline is a list"),
        ("data_per_vertex", None, "data_per_vertex is a NoneType"),
        ("data_per_group", 5, "data_per_group is a int"),
    ],
)
def test_attributes_of_another_kind_are_refused(tmp_path, name, value, message):
    trx, arrays = loaded(tmp_path)
    with pytest.raises(InputError, match=message):
        setattr(trx, name, value)
    assert_trx_equal(trx, arrays)


@pytest.mark.parametrize(
    ("table", "value", "message"),
    [
        ("data_per_vertex", [[1, 2], [3]], "dpv/x is no array"),
        ("data_per_streamline", [[1, 2], [3]], "dps/x is no array"),
        ("groups", [[1, 2], [3]], "groups/x is no array"),
        ("data_per_group", np.zeros(3), r"data_per_group\['x'\] is a ndarray, expected a dict"),
    ],
)
def test_data_of_another_kind_are_refused(tmp_path, table, value, message):
    trx, _ = loaded(tmp_path)
    getattr(trx, table)["x"] = value
    with pytest.raises(ValueError, match=message):
        save(trx, tmp_path / "b.trx")
    assert not (tmp_path / "b.trx").exists()


def test_dpg_and_header_keys_that_differ_are_all_kept(tmp_path):
    trx, _ = loaded(tmp_path, extra={"SITE": "A", "SAME": 1})
    other, _ = loaded(
        tmp_path, "b", extra={"SITE": "B", "SAME": 1}, dpg={"CC": {"volume": [[2.5]], "box": [[1, 2, 3]]}}
    )
    trx.append(other)
    assert {key: trx.header[key] for key in ("SITE_1", "SITE_2", "SAME")} == {"SITE_1": "A", "SITE_2": "B", "SAME": 1}
    assert sorted(trx.data_per_group["CC"]) == ["box", "volume_1", "volume_2"]
    trx.data_per_group["CC"]["box"][:] = 0  # and they can be written to


# ---- the arrays behind it


def test_scratch_arrays_are_zero_and_leave_no_file():
    big, empty = scratch_arrays([("<f4", (500_000, 3)), ("<u8", (0,))])
    assert not big.any()
    big[:] = 1
    assert empty.shape == (0,)
    assert not list(Path(os.environ["TRX_TMPDIR"]).iterdir())


def test_scratch_that_the_disk_cannot_hold_is_refused():
    with pytest.raises(CapacityError, match="no room for .* bytes of temporary data .* set TRX_TMPDIR"):
        scratch_arrays([("u1", (1 << 60,))])


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (np.array([300], "i2"), "u1", "x holds 300, which does not fit uint8"),
        (np.array([-1], "i2"), "u4", "x holds -1, which does not fit uint32"),
        (np.array([1e6], "f4"), "<f2", "x: 1e\\+06 does not fit float16"),
        (np.array([1.5], "f4"), "i2", "x holds float32, which int16 cannot hold"),
        (np.array([1], "i8"), "f4", "x holds int64, which float32 cannot hold"),
    ],
)
def test_values_never_wrap(values, dtype, message):
    with pytest.raises(DtypeError, match=message):
        cast(values, np.dtype(dtype), "x")


def test_values_that_fit_are_converted():
    assert cast(np.array([3], "i8"), np.dtype("u1"), "x").tolist() == [3]
    assert cast(np.array([0.5], "f8"), np.dtype("<f2"), "x").dtype == np.float16


def test_room_maps_positions_before_they_get_their_type():
    arrays = make_trx_arrays(dps={}, dpv={})
    room = Preallocated.allocate(12, 26, "<f2")
    room.write(arrays, (arrays.offsets[:-1], np.diff(arrays.offsets)), (0, 0), positions_map=lambda part: part / 1e3)
    np.testing.assert_array_equal(room.positions, (arrays.positions / 1e3).astype("<f2"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda _: load(""), InputError, "input_obj is '', expected a path"),
        (lambda _: load(5), TypeError, "input_obj is a int, expected a path"),
        (lambda trx: save(trx, "a\0.trx"), InputError, "filename is .*, expected a path"),
        (lambda _: save("a.trx", "b.trx"), TypeError, "trx is a str, expected a TrxFile"),
        (lambda _: concatenate(["a.trx"]), TypeError, r"trx_list\[0\] is a str, expected a TrxFile"),
        (lambda trx: concatenate([trx, None]), TypeError, r"trx_list\[1\] is a NoneType"),
        (concatenate, TypeError, "trx_list is one TrxFile, expected a list"),
        (lambda _: zip_from_folder("", "b.trx"), InputError, "directory is ''"),
        (lambda _: TrxFile(1, 1, init_as="a.trx"), TypeError, "init_as is a str, expected a TrxFile"),
    ],
)
def test_arguments_of_another_kind_are_refused(tmp_path, monkeypatch, call, error, message):
    trx, _ = loaded(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        call(trx)
    assert [path.name for path in tmp_path.iterdir()] == ["a.trx"]


def test_numbers_in_arrays_are_counts():
    assert TrxFile(nb_vertices=np.array(10), nb_streamlines=np.array(3)).streamlines._data.shape == (10, 3)


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_close_writes_new_keys_of_a_file_open_for_change(tmp_path, form):
    path = write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")
    if form == "folder":
        save(load(path), tmp_path / "folder")
        path = tmp_path / "folder"
    with load(path, mode="r+") as trx:
        trx.groups["new"] = np.array([1, 2], np.uint32)
        trx.data_per_streamline["new"] = np.arange(12, dtype=np.float32).reshape(-1, 1)
        trx.data_per_group["CC"]["new"] = np.array([[2.5]], np.float32)
        trx.header["MY_KEY"] = "kept"
        trx.streamlines._data[0] = 7
    again = load(path)
    assert again.groups["new"].tolist() == [1, 2]
    assert again.data_per_streamline["new"].ravel().tolist() == list(range(12))
    assert again.data_per_group["CC"]["new"].tolist() == [[2.5]]
    assert again.header["MY_KEY"] == "kept"
    assert again.streamlines._data[0].tolist() == [7, 7, 7]
    assert trxlib.find_problems(path) == []


def test_an_error_or_a_misfit_leaves_the_file_open_for_change_as_it_was(tmp_path):
    path = write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")
    before = path.read_bytes()
    with contextlib.suppress(KeyError), load(path, mode="r+") as trx:
        trx.groups["new"] = np.array([1], np.uint32)
        raise KeyError
    trx = load(path, mode="r+")
    trx.data_per_streamline["short"] = np.zeros((3, 1), np.float32)
    with pytest.raises(ShapeError, match="dps/short has 3 rows, expected 12"):
        trx.close()
    assert path.read_bytes() == before


def test_a_file_open_for_change_without_new_keys_stays_the_same_file(tmp_path):
    path = write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")
    inode = path.stat().st_ino
    with load(path, mode="r+") as trx:
        assert len(trx.groups["CC"]) == len(trx.data_per_streamline["weight"]) == 12
        trx.data_per_vertex["fa"]._data[:] = 0.5
    assert path.stat().st_ino == inode


def test_a_selection_or_copy_of_a_file_open_for_change_never_takes_its_place(tmp_path):
    path = write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")
    with load(path, mode="r+") as trx:
        for part in (trx[:3], copy.copy(trx), trx.deepcopy()):
            part.groups["new"] = np.array([1], np.uint32)
            part.close()
    assert_trx_equal(load(path), make_trx_arrays())
