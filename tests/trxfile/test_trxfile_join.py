"""concatenate: nothing is copied before it must be, and nobody can change the result afterwards."""

from __future__ import annotations

import copy
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import trxlib
from tests.helpers import assert_trx_equal, make_trx_arrays, read_plain, write_plain_folder, write_plain_zip
from trxlib.errors import (
    DataLossWarning,
    HeaderError,
    HeaderWarning,
    MetadataMismatchError,
    SpaceMismatchError,
    StaleError,
)
from trxlib.trx_file_memmap import TrxFile, concatenate, load, save

#: Long enough that arrays are kept as ranges of their file, not copied.
LONG = {"lengths": [9000, 0, 9000, 1], "dps": {"w": (1, "<f4")}, "dpv": {"fa": (2, "<f4")}}


def expected_join(bundles):
    """The plain loop: what the result of joining bundles with the same keys is."""
    first = bundles[0]
    shifts = np.cumsum([0, *(bundle.header.nb_streamlines for bundle in bundles)])
    joined = make_trx_arrays(0, groups={}, extra=dict(first.header.extra))
    joined.positions = np.concatenate([bundle.positions for bundle in bundles])
    lengths = np.concatenate([np.diff(bundle.offsets) for bundle in bundles])
    joined.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("<u4")
    joined.header = first.header.with_counts(len(lengths), len(joined.positions))
    joined.dps = {key: np.concatenate([bundle.dps[key] for bundle in bundles]) for key in first.dps}
    joined.dpv = {key: np.concatenate([bundle.dpv[key] for bundle in bundles]) for key in first.dpv}
    names = {name for bundle in bundles for name in bundle.groups}
    for name in names:
        moved = [b.groups.get(name, np.zeros(0)) + shift for b, shift in zip(bundles, shifts, strict=False)]
        joined.groups[name] = np.concatenate(moved).astype("<u4")
    joined.dpg = {group: values for bundle in reversed(bundles) for group, values in bundle.dpg.items()}
    return joined


@pytest.fixture
def bundles():
    """Three bundles of different groups."""
    return [
        make_trx_arrays(seed=1),
        make_trx_arrays(5, seed=2, groups={"CC": [4, 0], "AF": [1]}, dpg={}),
        make_trx_arrays(0, groups={}),
    ]


def test_concatenate_agrees_with_a_plain_loop(bundles, tmp_path):
    files = [load(write_plain_zip(bundle, tmp_path / f"{n}.trx")) for n, bundle in enumerate(bundles)]
    result = concatenate(files)
    assert len(result) == 17
    assert "streamline_count: 17" in str(result)
    save(result, tmp_path / "before.trx")
    assert result._content.joined is not None, "saving must not need a copy"
    expected = expected_join(bundles)
    assert_trx_equal(tmp_path / "before.trx", expected)
    assert_trx_equal(result, expected)
    save(result, tmp_path / "after.trx")
    assert (tmp_path / "before.trx").read_bytes() == (tmp_path / "after.trx").read_bytes()
    for trx, bundle in zip(files, bundles, strict=True):
        assert_trx_equal(trx, bundle)


def test_file_level_merge_gives_the_same_bytes(bundles, tmp_path):
    paths = [write_plain_zip(bundle, tmp_path / f"{n}.trx") for n, bundle in enumerate(bundles)]
    trxlib.merge(paths, tmp_path / "merged.trx")
    save(concatenate([load(path) for path in paths]), tmp_path / "joined.trx")
    assert (tmp_path / "merged.trx").read_bytes() == (tmp_path / "joined.trx").read_bytes()


@pytest.mark.parametrize("kind", ["zip", "deflated", "folder", "memory", "selection"])
def test_later_changes_of_the_inputs_do_not_matter(tmp_path, kind):
    arrays = make_trx_arrays(**LONG)
    if kind == "folder":
        path = write_plain_folder(arrays, tmp_path / "a")
    else:
        path = write_plain_zip(arrays, tmp_path / "a.trx", 8 if kind == "deflated" else 0)
    trx = load(path)
    if kind == "memory":
        trx = trx.to_memory()
    if kind == "selection":
        trx = trx[[0, 1, 2, 3]]
    results = [concatenate([trx, trx]) for _ in range(2)]
    trx.streamlines._data[:] = 0
    trx.groups["CC"][:] = 0
    trx.data_per_vertex["fa"]._data[:] = 0
    trx.header["LATER"] = 1
    trx.close()
    if path.is_dir():
        shutil.rmtree(path)
    else:
        write_plain_zip(make_trx_arrays(3, seed=9), tmp_path / "new").replace(path)
    save(results[0], tmp_path / "out.trx")
    expected = expected_join([arrays, arrays])
    assert_trx_equal(tmp_path / "out.trx", expected)
    assert_trx_equal(results[1], expected)


def test_input_overwritten_in_place_is_an_error_not_a_crash(tmp_path):
    trx = load(write_plain_zip(make_trx_arrays(**LONG), tmp_path / "a.trx"))
    result = concatenate([trx])
    write_plain_zip(make_trx_arrays(3), tmp_path / "a.trx")
    with pytest.raises(StaleError, match="a.trx: was overwritten in place"):
        save(result, tmp_path / "b.trx")
    assert not (tmp_path / "b.trx").exists()


def test_changes_before_are_in_the_result(tmp_path):
    arrays = make_trx_arrays(**LONG)
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    trx.streamlines._data[:] += 1
    trx.data_per_vertex["fa"]._data[-1] = 5
    result = concatenate([trx])
    save(result, tmp_path / "b.trx")
    np.testing.assert_array_equal(read_plain(tmp_path / "b.trx").positions, arrays.positions + 1)
    assert read_plain(tmp_path / "b.trx").dpv["fa"][-1].tolist() == [5, 5]


def test_saving_over_an_input(tmp_path):
    arrays = make_trx_arrays(**LONG)
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    save(concatenate([trx, trx]), tmp_path / "a.trx")
    assert_trx_equal(tmp_path / "a.trx", expected_join([arrays, arrays]))


def test_r_plus_inputs_are_copied(tmp_path):
    arrays = make_trx_arrays(**LONG)
    with load(write_plain_zip(arrays, tmp_path / "a.trx"), mode="r+") as trx:
        result = concatenate([trx])
        trx.streamlines._data[:] = 1
    save(result, tmp_path / "b.trx")
    np.testing.assert_array_equal(read_plain(tmp_path / "b.trx").positions, arrays.positions)


def test_result_is_a_file_like_any_other(bundles, tmp_path):
    files = [load(write_plain_zip(bundle, tmp_path / f"{n}.trx")) for n, bundle in enumerate(bundles)]
    expected = expected_join(bundles)
    for change in (
        lambda trx: trx[:],
        lambda trx: trx.deepcopy(),
        lambda trx: trx.to_memory(),
        lambda trx: concatenate([trx]),
        lambda trx: trx.deepcopy()[:],
    ):
        assert_trx_equal(change(concatenate(files)), expected)
    twice = concatenate(files)
    twice.append(files[0])
    assert len(twice) == 29
    result = concatenate(files)
    result.header["ADDED"] = [1]
    result.groups["whole"] = np.arange(17)
    save(result, tmp_path / "out.trx")
    assert read_plain(tmp_path / "out.trx").groups["whole"].tolist() == list(range(17))
    assert read_plain(tmp_path / "out.trx").header.extra["ADDED"] == [1]


def test_header_changed_before_saving(bundles, tmp_path):
    result = concatenate([load(write_plain_zip(bundles[0], tmp_path / "a.trx"))])
    result.header["ADDED"] = {"a": 1}
    result.header["NB_VERTICES"] = 0  # not looked at
    save(result, tmp_path / "b.trx")
    found = read_plain(tmp_path / "b.trx").header
    assert found.extra == {"MADE_BY": "a test", "ADDED": {"a": 1}}
    assert found.nb_vertices == bundles[0].header.nb_vertices


def test_deletions_drop_only_what_is_not_shared(tmp_path):
    one = make_trx_arrays(dps={"a": (1, "<f4"), "both": (1, "<f4")}, dpv={"x": (1, "<f4"), "both": (1, "<f4")})
    two = make_trx_arrays(dps={"b": (1, "<f4"), "both": (1, "<f4")}, dpv={"both": (1, "<f4")}, seed=1)
    files = [load(write_plain_zip(bundle, tmp_path / f"{n}.trx")) for n, bundle in enumerate((one, two))]
    for flag, lacking in (("delete_dpv", "dps/a"), ("delete_dps", "dpv/x")):
        with pytest.warns(DataLossWarning), pytest.raises(MetadataMismatchError, match=f"{lacking} is lacking in 2"):
            concatenate(files, **{flag: True})
    with pytest.warns(DataLossWarning) as caught:
        result = concatenate(files, delete_dps=True, delete_dpv=True)
    messages = " ".join(str(item.message) for item in caught)
    assert "dps/a, dps/b" in messages
    assert "dpv/x" in messages
    assert sorted(result.data_per_streamline) == ["both"]
    assert sorted(result.data_per_vertex) == ["both"]
    assert sorted(files[0].data_per_streamline) == ["a", "both"]


def test_delete_groups(tmp_path, arrays):
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    with pytest.warns(DataLossWarning, match="3 groups with their dpg: CC, CST_L, none"):
        result = concatenate([trx, trx], delete_groups=True)
    assert result.groups == {}
    assert result.data_per_group == {}


def test_spaces(tmp_path, arrays):
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    moved = load(write_plain_zip(make_trx_arrays(dimensions=(9, 9, 9)), tmp_path / "b.trx"))
    with pytest.raises(SpaceMismatchError, match="b.trx"):
        concatenate([trx, trx, moved])
    assert concatenate([trx, moved], check_space_attributes=False).header["DIMENSIONS"].tolist() == [80, 96, 64]


def test_nothing_to_concatenate():
    with pytest.warns(HeaderWarning, match="nothing to concatenate"):
        assert len(concatenate([])) == 0


def test_inputs_without_streamlines_lack_nothing(tmp_path, arrays):
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    empty = TrxFile(reference=arrays.header)
    assert_trx_equal(concatenate([empty, trx]), arrays, header=False)
    assert_trx_equal(concatenate([empty, empty]), empty)
    no_rows = make_trx_arrays(0, groups={}, dps={"z": (2, "<f4")})
    with_key = load(write_plain_zip(no_rows, tmp_path / "z.trx"))
    for options in ({}, {"delete_dps": True}):
        assert sorted(concatenate([empty, with_key], **options).data_per_streamline) == ["z"]
    with pytest.raises(MetadataMismatchError, match="dps/z is lacking in 2(?s:.*)delete_dps=True"):
        concatenate([with_key, trx])
    with pytest.warns(DataLossWarning, match="left out.*dps/z"):
        assert sorted(concatenate([with_key, trx], delete_dps=True).data_per_streamline) == ["color", "weight"]


def test_a_new_file_has_no_space_to_disagree_with(tmp_path, arrays):
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    trx = load(path)
    save(TrxFile(), tmp_path / "blank.trx")
    for inputs in ([TrxFile(), trx], [trx, TrxFile()], [TrxFile(), TrxFile(), trx]):
        joined = concatenate(inputs)
        assert_trx_equal(joined, arrays, header=False)
        assert joined.header["DIMENSIONS"].tolist() == trx.header["DIMENSIONS"].tolist()
        np.testing.assert_array_equal(joined.header["VOXEL_TO_RASMM"], trx.header["VOXEL_TO_RASMM"])
    trxlib.merge([tmp_path / "blank.trx", path], tmp_path / "merged.trx")
    assert_trx_equal(tmp_path / "merged.trx", arrays, header=False)
    trx.append(TrxFile())
    assert_trx_equal(trx, arrays, header=False)
    # One with a space of its own still has to fit.
    with pytest.raises(SpaceMismatchError):
        concatenate([TrxFile(reference={"VOXEL_TO_RASMM": np.eye(4), "DIMENSIONS": (9, 9, 9)}), trx])


def test_header_keys_are_compared_by_what_is_written(tmp_path):
    table = np.arange(2000)
    values = [
        {"LUT": table, "N": np.int64(1), "LIST": (1, 2), "DICT": {"a": 1, "b": 2}, "NAN": float("nan")},
        {"LUT": table.copy(), "N": 1, "LIST": [1, 2], "DICT": {"b": 2, "a": 1}, "NAN": float("nan")},
    ]
    files = [load(write_plain_zip(make_trx_arrays(seed=n), tmp_path / f"{n}.trx")) for n in range(2)]
    for trx, extra in zip(files, values, strict=True):
        trx.header.update(extra)
    assert {"LUT", "N", "LIST", "DICT", "NAN"} <= concatenate(files).header.keys()
    files[1].header["LUT"][1000] = -1
    result = concatenate(files)
    assert "LUT" not in result.header
    assert (result.header["LUT_1"][1000], result.header["LUT_2"][1000]) == (1000, -1)
    files[0].header["X"] = {1, 2}
    files[1].header["X"] = {1}
    with pytest.raises(HeaderError, match="header key 'X' cannot be written"):
        concatenate(files)


def test_threads_that_look_at_once(tmp_path):
    arrays = make_trx_arrays(**LONG)
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    expected = expected_join([arrays] * 4)
    for _ in range(5):
        result = concatenate([load(path)] * 4)
        started = threading.Barrier(6)

        def look(number, result=result, started=started):
            started.wait()
            if number % 2:
                save(result, tmp_path / f"{number}.trx")
                return None
            return result.streamlines

        with ThreadPoolExecutor(6) as pool:
            seen = list(pool.map(look, range(6)))
        assert seen[0] is seen[2] is seen[4]
        for number in (1, 3, 5):
            assert_trx_equal(tmp_path / f"{number}.trx", expected)


def test_nested_header_values_are_not_shared(tmp_path, arrays):
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    trx.header["K"] = {"x": [1]}
    joined, part = concatenate([trx]), trx[:2]
    joined.header["K"]["x"][0] = 5
    part.header["K"]["x"][0] = 7
    assert trx.header["K"] == {"x": [1]}
    for result, value in ((joined, 5), (part, 7)):
        save(result, tmp_path / "out.trx")
        assert load(tmp_path / "out.trx").header["K"] == {"x": [value]}
    joined, part, again = concatenate([trx]), trx[:2], copy.copy(trx)
    trx.header["K"]["x"][0] = 9
    for result in (joined, part, again):
        save(result, tmp_path / "out.trx")
        assert load(tmp_path / "out.trx").header["K"] == {"x": [1]}


def test_types_become_the_widest(tmp_path):
    one = make_trx_arrays(positions_dtype="<f2", dps={"n": (1, "u1")}, dpv={})
    two = make_trx_arrays(positions_dtype="<f4", dps={"n": (1, "<i2")}, dpv={}, offsets_dtype="<u8")
    files = [load(write_plain_zip(bundle, tmp_path / f"{n}.trx")) for n, bundle in enumerate((one, two))]
    result = concatenate(files)
    assert result.get_dtype_dict()["positions"] == np.float32
    assert result.get_dtype_dict()["dps"] == {"n": np.dtype("<i2")}
    assert result.get_dtype_dict()["offsets"] == np.uint32
    np.testing.assert_array_equal(result.streamlines._data[: len(one.positions)], one.positions.astype("<f4"))
