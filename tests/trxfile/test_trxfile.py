"""TrxFile: loading, modes, attributes, closing, copying."""

from __future__ import annotations

import copy
import gc
import json
import operator
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nibabel.streamlines import ArraySequence

import trxlib
from tests.helpers import (
    assert_trx_equal,
    entries_of,
    make_trx_arrays,
    read_plain,
    write_entries,
    write_plain_folder,
    write_plain_zip,
)
from trxlib.errors import (
    CapacityError,
    ClosedError,
    DataLossWarning,
    FormatError,
    InputError,
    InputNotFoundError,
    ReadOnlyError,
    UnsupportedFormatError,
)
from trxlib.trx_file_memmap import (
    TrxFile,
    concatenate,
    load,
    load_from_directory,
    load_from_zip,
    save,
    zip_from_folder,
)


@pytest.fixture
def archive(arrays, tmp_path):
    """A stored archive made without trxlib."""
    return write_plain_zip(arrays, tmp_path / "a.trx")


@pytest.mark.parametrize("kind", ["stored", "deflated", "folder"])
def test_load_gives_every_array(arrays, tmp_path, kind):
    if kind == "folder":
        path = write_plain_folder(arrays, tmp_path / "a")
    else:
        path = write_plain_zip(arrays, tmp_path / "a.trx", {"stored": 0, "deflated": 8}[kind])
    with load(path) as trx:
        assert_trx_equal(trx, arrays)


def test_attributes_have_the_types_of_the_reference(arrays, archive):
    trx = load(archive)
    assert isinstance(trx.header, dict)
    assert trx.header["VOXEL_TO_RASMM"].shape == (4, 4)
    assert trx.header["DIMENSIONS"].dtype == np.uint16
    assert trx.header["MADE_BY"] == "a test"
    assert isinstance(trx.streamlines, ArraySequence)
    assert isinstance(trx.data_per_vertex["fa"], ArraySequence)
    assert trx.data_per_vertex["fa"]._offsets is trx.streamlines._offsets
    assert trx.data_per_streamline["color"].shape == (12, 3)
    assert trx.data_per_group["CC"]["volume"].shape == (1, 1)
    assert len(trx) == len(trx.streamlines) == 12
    for number in range(12):
        expected = arrays.positions[arrays.offsets[number] : arrays.offsets[number + 1]]
        np.testing.assert_array_equal(trx.streamlines[number], expected)


def test_positions_are_mapped_not_copied(tmp_path):
    arrays = make_trx_arrays(lengths=[200_000], dps={}, dpv={}, groups={})
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    base = trx.streamlines._data
    while getattr(base, "base", None) is not None:
        base = base.base
    assert type(base).__name__ in ("mmap", "memoryview")
    assert trx.streamlines._data is trx.streamlines._data


def test_writing_into_arrays_leaves_the_file_alone(archive):
    before = archive.read_bytes()
    trx = load(archive)
    trx.streamlines._data[:] = 7
    trx.groups["CC"][:] = 0
    trx.data_per_vertex["fa"]._data[:] = 1
    assert (load(archive).streamlines._data != 7).any()
    trx.close()
    assert archive.read_bytes() == before


def test_mode_r_plus_writes_into_the_file(archive):
    with load(archive, mode="r+") as trx:
        trx.streamlines._data[0] = (1, 2, 3)
        trx.data_per_streamline["weight"][1] = 9
    found = read_plain(archive)
    assert found.positions[0].tolist() == [1, 2, 3]
    assert found.dps["weight"][1, 0] == 9


def test_mode_r_gives_read_only_arrays(archive):
    trx = load(archive, mode="r")
    with pytest.raises(ValueError, match="read-only"):
        trx.streamlines._data[0] = 0


def test_mode_r_plus_refuses_what_cannot_be_changed_in_place(arrays, tmp_path):
    packed = write_plain_zip(arrays, tmp_path / "a.trx", zipfile.ZIP_DEFLATED)
    with pytest.raises(ReadOnlyError, match="compressed"):
        load(packed, mode="r+")
    with pytest.raises(InputError, match="expected 'c', 'r' or 'r\\+'"):
        load(packed, mode="w")


def test_missing_file(tmp_path):
    for kind in (InputNotFoundError, FileNotFoundError, ValueError):  # ValueError is what the reference raises
        with pytest.raises(kind, match="no such file"):
            load(tmp_path / "missing.trx")


def test_load_from_zip_and_directory_want_their_own_kind(arrays, archive, tmp_path):
    folder = write_plain_folder(arrays, tmp_path / "folder")
    assert_trx_equal(load_from_zip(archive), load_from_directory(f"{folder}/"))
    with pytest.raises(UnsupportedFormatError, match="load_from_directory"):
        load_from_zip(folder)
    with pytest.raises(UnsupportedFormatError, match="load_from_zip"):
        load_from_directory(archive)


def test_check_dpg_refuses_dpg_of_a_missing_group(arrays, tmp_path):
    arrays.dpg["ghost"] = {"x": np.ones((1, 2), "<f4")}
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    with pytest.raises(FormatError, match="a.trx: dpg describes groups that are not there: ghost"):
        load(path)
    assert "ghost" in load(path, check_dpg=False).data_per_group


def test_unwritable_file_loads(arrays, tmp_path):
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    path.chmod(0o444)
    folder = write_plain_folder(arrays, tmp_path / "folder")
    for file in [*folder.rglob("*"), folder]:
        file.chmod(0o555 if file.is_dir() else 0o444)
    try:
        assert_trx_equal(load(path), arrays)
        assert_trx_equal(load(folder), arrays)
    finally:
        for file in [folder, *folder.rglob("*")]:
            file.chmod(0o755)


def test_old_files_with_n_offsets(arrays, tmp_path):
    entries = entries_of(arrays)
    entries["offsets.uint32"] = entries["offsets.uint32"][:-4]
    trx = load(write_entries(entries, tmp_path / "old.trx"))
    assert_trx_equal(trx, arrays)
    save(trx, tmp_path / "new.trx")
    assert_trx_equal(tmp_path / "new.trx", arrays)


@pytest.mark.parametrize("positions", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("offsets", ["<u4", "<u8"])
def test_types_survive_a_round_trip(tmp_path, positions, offsets):
    arrays = make_trx_arrays(positions_dtype=positions, offsets_dtype=offsets)
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    assert_trx_equal(trx, arrays)
    save(trx, tmp_path / "b.trx")
    # Offsets are written as wide as needed; their values stay.
    assert_trx_equal(tmp_path / "b.trx", make_trx_arrays(positions_dtype=positions))


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0], [0, 3], [3, 0], [2, 0, 0, 1], [1]])
def test_empty_streamlines_are_ordinary(tmp_path, lengths):
    arrays = make_trx_arrays(lengths=lengths, groups={"all": np.arange(len(lengths))})
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    assert_trx_equal(trx, arrays)
    assert [len(streamline) for streamline in trx.streamlines] == list(lengths)
    save(trx, tmp_path / "b.trx")
    assert_trx_equal(tmp_path / "b.trx", arrays)
    assert_trx_equal(trx.deepcopy(), arrays)


def test_name_with_a_dot_loads_and_is_refused_on_writing(tmp_path):
    arrays = make_trx_arrays(dps={"v1.0": (1, "<f4")})
    entries = entries_of(arrays)
    trx = load(write_entries(entries, tmp_path / "a.trx"))
    np.testing.assert_array_equal(trx.data_per_streamline["v1.0"], arrays.dps["v1.0"])
    with pytest.raises(FormatError, match="rename it, for example to 'v1_0'"):
        save(trx, tmp_path / "b.trx")
    assert not (tmp_path / "b.trx").exists()


# ---- closing


def test_close_can_be_repeated_and_ends_all_use(archive):
    trx = load(archive)
    trx.close()
    trx.close()
    asked = [len, list, iter, TrxFile.deepcopy, TrxFile.get_dtype_dict]
    asked += [lambda trx: trx[0], lambda trx: trx.get_group("CC")]
    names = ("header", "streamlines", "groups", "data_per_streamline", "data_per_vertex", "data_per_group")
    for ask in [*asked, *(operator.attrgetter(name) for name in names)]:
        with pytest.raises(ClosedError, match="was closed; load it again"):
            ask(trx)
    with pytest.raises(ClosedError, match="was closed"):
        trx.groups = {}
    assert str(trx) == "closed TrxFile"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_arrays_and_selections_stay_readable_after_close(tmp_path, method):
    arrays = make_trx_arrays(lengths=[70_000, 5], dps={}, dpv={}, groups={})
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx", method))
    data, part = trx.streamlines._data, trx[1:]
    trx.close()
    (tmp_path / "a.trx").unlink()
    np.testing.assert_array_equal(data, arrays.positions)
    np.testing.assert_array_equal(part.streamlines[0], arrays.positions[-5:])
    save(part, tmp_path / "part.trx")
    np.testing.assert_array_equal(read_plain(tmp_path / "part.trx").positions, arrays.positions[-5:])


@pytest.mark.parametrize("way", ["close", "with", "garbage"])
def test_temporary_folder_of_a_compressed_file_is_removed(arrays, tmp_path, way):
    path = write_plain_zip(arrays, tmp_path / "a.trx", zipfile.ZIP_DEFLATED)
    root = Path(os.environ["TRX_TMPDIR"])
    trx = load(path)
    assert list(root.iterdir())
    if way == "close":
        trx.close()
    elif way == "with":
        with trx:
            pass
    else:
        del trx
        gc.collect()
    assert not list(root.iterdir())


def test_temporary_folder_is_removed_at_exit(arrays, tmp_path):
    path = write_plain_zip(arrays, tmp_path / "a.trx", zipfile.ZIP_DEFLATED)
    root = tmp_path / "temporary"
    root.mkdir()
    code = f"import trxlib, os; t = trxlib.load({str(path)!r}); print(len(os.listdir({str(root)!r})))"
    environment = {**os.environ, "TRX_TMPDIR": str(root), "PYTHONPATH": str(Path(trxlib.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert not list(root.iterdir())


# ---- the constructor and the attributes


def test_empty_trx_file():
    trx = TrxFile()
    assert len(trx) == 0
    assert trx.streamlines._data.shape == (0, 3)
    assert trx.header["VOXEL_TO_RASMM"].tolist() == np.eye(4).tolist()
    assert "streamline_count: 0" in str(trx)


def test_reference_gives_the_space(arrays, archive):
    for reference in (archive, str(archive), arrays.header.to_dict(), load(archive)):
        header = TrxFile(reference=reference).header
        np.testing.assert_array_equal(header["VOXEL_TO_RASMM"], arrays.header.voxel_to_rasmm)
        assert header["DIMENSIONS"].tolist() == list(arrays.header.dimensions)


def test_constructor_refuses_half_a_size(archive):
    with pytest.raises(InputError, match="both nb_vertices and nb_streamlines"):
        TrxFile(nb_vertices=3)
    with pytest.raises(InputError, match="init_as needs"):
        TrxFile(init_as=load(archive))


def test_what_is_assigned_is_saved(tmp_path):
    trx = TrxFile(reference=make_trx_arrays().header)
    trx.streamlines = ArraySequence([np.arange(6, dtype="f4").reshape(2, 3), np.ones((1, 3), "f4")])
    trx.data_per_streamline["n"] = [1, 2]
    trx.data_per_vertex["x"] = ArraySequence([np.array([[1], [2]], "i2"), np.array([[3]], "i2")])
    trx.groups["g"] = [1, 0]
    trx.data_per_group = {"g": {"mean": np.float32(4)}}
    trx.header["STUDY"] = {"year": 2024}
    save(trx, tmp_path / "a.trx")
    found = read_plain(tmp_path / "a.trx")
    assert found.header.nb_streamlines == 2
    assert found.header.nb_vertices == 3
    assert found.header.extra == {"STUDY": {"year": 2024}}
    assert found.offsets.tolist() == [0, 2, 3]
    assert found.dps["n"].tolist() == [[1], [2]]
    assert found.dpv["x"].tolist() == [[1], [2], [3]]
    assert found.groups["g"].tolist() == [1, 0]
    assert found.dpg["g"]["mean"].tolist() == [[4]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda trx: trx.data_per_streamline.update(x=np.zeros(5)), "dps/x has 5 rows, expected 12"),
        (lambda trx: trx.data_per_streamline.update(x=np.zeros((12, 2, 2))), "dps/x has 3 dimensions"),
        (lambda trx: trx.data_per_vertex.update(x=np.zeros(5)), "dpv/x has 5 rows, expected 26"),
        (lambda trx: trx.data_per_vertex.update(x=ArraySequence([np.zeros((1, 1))])), "dpv/x has 1 streamlines"),
        (lambda trx: trx.groups.update(x=[12]), "groups/x row 0 is streamline 12, but NB_STREAMLINES is 12"),
        (lambda trx: trx.groups.update(x=[-1]), "groups/x holds -1, which does not fit uint32"),
        (lambda trx: trx.groups.update(x=[0.5]), "groups/x holds float64, expected integers"),
        (lambda trx: trx.data_per_group.update(CC={"x": np.zeros((2, 2))}), "dpg/CC/x has shape"),
        (lambda trx: trx.data_per_streamline.update(x=np.zeros(12, complex)), "cannot hold complex128"),
        (lambda trx: trx.header.pop("DIMENSIONS"), "lacks DIMENSIONS"),
        (lambda trx: setattr(trx.streamlines, "_data", np.zeros((26, 2), "f4")), "positions has shape"),
        (lambda trx: setattr(trx.streamlines, "_data", np.zeros((26, 3), "i4")), "positions holds int32"),
        (lambda trx: setattr(trx.streamlines, "_lengths", trx.streamlines._lengths + 90), "outside of its 26 rows"),
        (lambda trx: trx.data_per_streamline.update({"a/b": np.zeros(12)}), "rename it, for example to 'a_b'"),
    ],
)
def test_what_cannot_be_saved_is_named(archive, tmp_path, change, message):
    trx = load(archive)
    change(trx)
    with pytest.raises(FormatError, match=message):
        save(trx, tmp_path / "b.trx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.trx"]


def test_dpv_that_lies_elsewhere_is_brought_into_order(arrays, archive, tmp_path):
    part = load(archive)[[5, 3, 1]]
    values = [np.full((len(streamline), 1), number, "f4") for number, streamline in enumerate(part.streamlines)]
    own = ArraySequence()
    own._data, own._lengths = np.concatenate(values), np.array([len(value) for value in values])
    own._offsets = np.cumsum(own._lengths) - own._lengths
    part.data_per_vertex["own"] = own
    save(part, tmp_path / "b.trx")
    found = read_plain(tmp_path / "b.trx")
    np.testing.assert_array_equal(found.dpv["own"], np.concatenate(values))
    expected = [arrays.dpv["vector"][arrays.offsets[n] : arrays.offsets[n + 1]] for n in (5, 3, 1)]
    np.testing.assert_array_equal(found.dpv["vector"], np.concatenate(expected))


def test_get_dtype_dict_names_every_array(archive):
    found = load(archive).get_dtype_dict()
    assert found["positions"] == np.float32
    assert found["offsets"] == np.uint32
    assert found["dpv"] == {"fa": np.dtype("<f2"), "flag": np.dtype(bool), "vector": np.dtype("<f8")}
    assert found["dps"] == {"weight": np.dtype("<f4"), "color": np.dtype("u1")}
    assert found["groups"] == dict.fromkeys(("CC", "CST_L", "none"), np.dtype("<u4"))
    assert found["dpg"] == {"CC": {"volume": np.dtype("<f4"), "box": np.dtype("<f4")}}


def test_str_tells_counts_and_keys(archive):
    text = str(load(archive))
    for part in (
        "streamline_count: 12",
        "vertex_count: 26",
        "VOX_ORDER: RAS",
        "keys: ['fa', 'flag', 'vector']",
    ):
        assert part in text


# ---- copies


@pytest.mark.parametrize("way", [lambda trx: trx.deepcopy(), copy.deepcopy, lambda trx: trx.to_memory()])
def test_copies_share_nothing(arrays, archive, way):
    trx = load(archive)
    twin = way(trx)
    assert_trx_equal(twin, arrays)
    twin.streamlines._data[:] = 0
    twin.groups["CC"][:] = 0
    twin.data_per_group["CC"]["box"][:] = 0
    twin.header["VOXEL_TO_RASMM"][0, 0] = 99
    twin.data_per_streamline["new"] = np.zeros((12, 1), "f4")
    assert_trx_equal(trx, arrays)
    trx.close()
    assert len(twin) == 12


@pytest.mark.parametrize("way", [lambda trx: trx.deepcopy(), copy.deepcopy, lambda trx: trx.to_memory()])
def test_copy_of_a_selection_holds_only_what_was_selected(archive, way):
    part = load(archive)[[4, 2, 2]]
    twin = way(part)
    assert_trx_equal(twin, part)
    assert len(twin.streamlines._data) == sum(len(streamline) for streamline in part.streamlines)


def test_shallow_copy_has_dicts_of_its_own(archive):
    trx = load(archive)
    twin = copy.copy(trx)
    twin.groups["new"] = np.zeros(1, "u4")
    twin.header["NEW"] = 1
    assert "new" not in trx.groups
    assert "NEW" not in trx.header
    trx.close()
    assert len(twin) == 12


def test_sidecars_survive_every_copy(arrays, archive, tmp_path):
    trx = load(archive)
    for number, twin in enumerate((trx, trx.deepcopy(), trx.to_memory(), trx[:], copy.copy(trx))):
        save(twin, tmp_path / f"{number}.trx")
        assert read_plain(tmp_path / f"{number}.trx").sidecars == arrays.sidecars


def test_one_descriptor_per_file(tmp_path):
    fds = Path("/proc/self/fd")
    if not fds.is_dir():
        pytest.skip("needs /proc to count file descriptors")
    groups = {f"bundle_{number}": [number % 12] for number in range(72)}
    path = write_plain_zip(make_trx_arrays(groups=groups), tmp_path / "a.trx")
    gc.collect()
    before = len(list(fds.iterdir()))
    files = [load(path) for _ in range(5)]
    assert len(list(fds.iterdir())) - before <= len(files)
    assert len(files[0].groups) == 72


def test_twenty_files_of_72_groups_open_under_a_limit_of_1024(tmp_path):
    resource = pytest.importorskip("resource")
    groups = {f"bundle_{number}": np.arange(12) for number in range(72)}
    arrays = make_trx_arrays(groups=groups, dpg={})
    for number in range(20):
        write_plain_zip(arrays, tmp_path / f"{number}.trx")
        write_plain_folder(arrays, tmp_path / f"folder_{number}")
    code = (
        "import resource, sys, trxlib; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024));"
        "files = [trxlib.load(path) for path in sys.argv[1:-1]];"
        "joined = trxlib.concatenate(files); trxlib.save(joined, sys.argv[-1]); print(len(joined), len(joined.groups))"
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 1024
    inputs = [str(tmp_path / f"{kind}{number}") for number in range(20) for kind in ("folder_",)]
    inputs += [str(tmp_path / f"{number}.trx") for number in range(20)]
    environment = {**os.environ, "PYTHONPATH": str(Path(trxlib.__file__).parents[1])}
    command = [sys.executable, "-c", code, *inputs, str(tmp_path / "out.trx")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["480", "72"]
    assert json.loads(zipfile.ZipFile(tmp_path / "out.trx").read("header.json"))["NB_STREAMLINES"] == 480


def test_a_closed_file_is_never_saved_over_the_real_one(archive):
    before = archive.read_bytes()
    with load(archive) as trx:
        pass
    for use in (lambda: save(trx, archive), lambda: trx[0], lambda: trx.append(trx), lambda: concatenate([trx])):
        with pytest.raises(ClosedError, match="was closed"):
            use()
    assert archive.read_bytes() == before


def test_pickle_carries_the_arrays(archive, arrays):
    trx = load(archive)
    for thing, count in ((trx, arrays.header.nb_streamlines), (trx[[3, 1]], 2)):
        again = pickle.loads(pickle.dumps(thing))
        assert len(again) == count
        assert_trx_equal(again, thing)


def test_dpg_of_a_group_that_is_not_there_is_left_out_with_a_warning(archive, tmp_path):
    trx = load(archive)
    trx.data_per_group["nope"] = {"v": np.ones((1, 1), "<f4")}
    with pytest.warns(DataLossWarning, match="dpg/nope"):
        save(trx, tmp_path / "d.trx")
    assert "nope" not in load(tmp_path / "d.trx").data_per_group


def test_numbers_that_json_has_not_are_written_as_texts(archive, tmp_path):
    trx = load(archive)
    trx.header["N"] = [float("nan"), 1.0, np.float32(-np.inf)]
    save(trx, tmp_path / "n.trx")
    assert load(tmp_path / "n.trx").header["N"] == ["nan", 1.0, "-inf"]


def test_wrong_calls_are_errors_of_the_tree(archive, tmp_path):
    trx = load(archive)
    with pytest.raises(InputError, match="extra_buffer is -5"):
        trx.append(trx, extra_buffer=-5)
    with pytest.raises(InputError, match="compression is 99"):
        save(trx, tmp_path / "x.trx", 99)
    with pytest.raises(CapacityError, match="has no room"):
        TrxFile(nb_vertices=10**18, nb_streamlines=10**9)
    save(trx, tmp_path / "folder")
    with pytest.raises(InputError, match="inside the input folder"):
        zip_from_folder(tmp_path / "folder", tmp_path / "folder" / "a.trx")


def test_a_closed_file_takes_other_streamlines(archive, arrays):
    trx = load(archive)
    streamlines = trx.streamlines.copy()
    trx.close()
    with pytest.raises(ClosedError):
        trx.append(load(archive))
    trx.streamlines = streamlines
    np.testing.assert_array_equal(trx[:2].streamlines.get_data(), arrays.positions[: arrays.offsets[2]])
    assert len(trx.to_memory()) == len(streamlines)
    assert len(copy.copy(trx)) == len(streamlines)
