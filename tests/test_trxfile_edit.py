"""Preallocation, resize, append: a file knows how full it is, and nothing is guessed from zeros."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_trx_equal, make_trx_arrays, read_plain, write_plain_zip

from trxlib.errors import (
    CapacityError,
    DataLossWarning,
    DtypeError,
    InputError,
    MetadataMismatchError,
    SpaceMismatchError,
)
from trxlib.ops.resize import Room, cast_values
from trxlib.storage.scratch import scratch_arrays
from trxlib.trx_file_memmap import TrxFile, concatenate, load, save

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
    assert "room for: 20 streamlines, 100 vertices" in str(trx)


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
    with pytest.raises(InputError, match="give 0 or more"):
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
    np.testing.assert_array_equal(trx.streamlines._data[:end], arrays.positions[:end])
    assert trx.groups["CST_L"].tolist() == [0, 2, 4]
    assert trx.groups["CC"].tolist() == [4, 3, 2, 1, 0]
    assert trx.groups["none"].tolist() == []
    save(trx, tmp_path / "b.trx")
    assert_trx_equal(tmp_path / "b.trx", trx)


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
    with pytest.raises(InputError, match="cannot resize to -1"):
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
        cast_values(values, np.dtype(dtype), "x")


def test_values_that_fit_are_converted():
    assert cast_values(np.array([3], "i8"), np.dtype("u1"), "x").tolist() == [3]
    assert cast_values(np.array([0.5], "f8"), np.dtype("<f2"), "x").dtype == np.float16


def test_room_maps_positions_before_they_get_their_type():
    arrays = make_trx_arrays(dps={}, dpv={})
    room = Room.allocate(12, 26, "<f2")
    room.write(arrays, (arrays.offsets[:-1], np.diff(arrays.offsets)), (0, 0), positions_map=lambda part: part / 1e3)
    np.testing.assert_array_equal(room.positions, (arrays.positions / 1e3).astype("<f2"))
