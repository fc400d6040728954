"""save and zip_from_folder: one pass, atomic, the same bytes each time."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.helpers import assert_trx_equal, make_trx_arrays, read_entries, write_plain_folder, write_plain_zip
from trxlib.errors import (
    ArrayNameError,
    DtypeError,
    HeaderError,
    HeaderWarning,
    InputError,
    InputNotFoundError,
    ShapeError,
    StateError,
    UnsupportedFormatError,
)
from trxlib.trx_file_memmap import concatenate, load, save, zip_from_folder


@pytest.fixture
def trx(arrays, tmp_path):
    """The bundle of `arrays`, loaded."""
    return load(write_plain_zip(arrays, tmp_path / "a.trx"))


def test_saved_twice_gives_the_same_bytes(trx, tmp_path):
    for name in ("b.trx", "c.zip"):
        save(trx, tmp_path / name)
    assert (tmp_path / "b.trx").read_bytes() == (tmp_path / "c.zip").read_bytes()


def test_saved_by_any_road_gives_the_same_bytes(trx, arrays, tmp_path):
    save(trx, tmp_path / "b.trx")
    save(trx, tmp_path / "folder")
    zip_from_folder(tmp_path / "folder", tmp_path / "zipped.trx")
    save(load(tmp_path / "folder"), tmp_path / "loaded.trx")
    save(trx.to_memory(), tmp_path / "memory.trx")
    save(load(write_plain_zip(arrays, tmp_path / "d.trx", 8)), tmp_path / "unpacked.trx")
    save(trx, tmp_path / "threads.trx", workers=3, verify=True)
    expected = (tmp_path / "b.trx").read_bytes()
    for name in ("zipped", "loaded", "memory", "unpacked", "threads"):
        assert (tmp_path / f"{name}.trx").read_bytes() == expected, name
    with zipfile.ZipFile(tmp_path / "b.trx") as archive:
        assert archive.testzip() is None


def test_folder(trx, arrays, tmp_path):
    save(trx, tmp_path / "folder")
    assert_trx_equal(tmp_path / "folder", arrays)
    save(trx[:3], tmp_path / "folder")
    assert len(load(tmp_path / "folder")) == 3


@pytest.mark.parametrize("suffix", [".trk", ".trx.gz", ".txt"])
def test_other_suffixes_are_refused(trx, tmp_path, suffix):
    with pytest.raises(UnsupportedFormatError, match=r"expected \.trx, \.zip or none"):
        save(trx, tmp_path / f"a{suffix}")


@pytest.mark.parametrize("level", [None, 1, 9])
def test_deflated(trx, arrays, tmp_path, level):
    for name in ("b.trx", "c.trx"):
        save(trx, tmp_path / name, zipfile.ZIP_DEFLATED, level=level)
    assert (tmp_path / "b.trx").read_bytes() == (tmp_path / "c.trx").read_bytes()
    with zipfile.ZipFile(tmp_path / "b.trx") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    assert_trx_equal(load(tmp_path / "b.trx"), arrays)


def test_level_matters(tmp_path):
    trx = load(write_plain_zip(make_trx_arrays(lengths=[30_000], groups={}), tmp_path / "a.trx"))
    trx.streamlines._data[:] = np.round(trx.streamlines._data)
    for level in (1, 9):
        save(trx, tmp_path / f"{level}.trx", zipfile.ZIP_DEFLATED, level=level)
    assert (tmp_path / "9.trx").stat().st_size < (tmp_path / "1.trx").stat().st_size


def test_folder_cannot_be_compressed(trx, tmp_path):
    with pytest.raises(InputError, match="a folder cannot be compressed"):
        save(trx, tmp_path / "folder", zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("kind", ["archive", "folder", "deflated"])
def test_saving_over_the_file_it_is_mapped_from(arrays, tmp_path, kind):
    if kind == "folder":
        path = write_plain_folder(arrays, tmp_path / "a")
    else:
        path = write_plain_zip(arrays, tmp_path / "a.trx", 8 if kind == "deflated" else 0)
    trx = load(path)
    save(trx, path)
    assert_trx_equal(path, arrays)
    assert_trx_equal(trx, arrays)
    save(trx[2:4], path)
    assert_trx_equal(load(path), trx[2:4])
    assert_trx_equal(trx, arrays)


def test_other_folders_are_never_removed(trx, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(StateError, match="other content"):
        save(trx, folder)
    assert (folder / "cat.jpg").read_bytes() == b"meow"
    (tmp_path / "plain").write_bytes(b"x")
    with pytest.raises(StateError, match="is a file"):
        save(trx, tmp_path / "plain")
    (tmp_path / "c.trx").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        save(trx, tmp_path / "c.trx")
    with pytest.raises(InputNotFoundError, match="does not exist"):
        save(trx, tmp_path / "missing" / "a.trx")


@pytest.mark.parametrize("target", ["old.trx", "old"])
@pytest.mark.parametrize("compression", [0, 8])
def test_full_disk_leaves_the_old_file(trx, arrays, tmp_path, monkeypatch, target, compression):
    if compression and target == "old":
        pytest.skip("a folder cannot be compressed")
    path = tmp_path / target
    save(trx[:1], path)
    before = read_entries(path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        save(trx, path, compression)
    monkeypatch.undo()
    assert read_entries(path) == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.trx", target]


def test_file_size_limit_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")
    assert resource.RLIMIT_FSIZE >= 0
    write_plain_zip(make_trx_arrays(lengths=[400_000], groups={}), tmp_path / "big.trx")
    save(load(write_plain_zip(make_trx_arrays(3), tmp_path / "small.trx")), tmp_path / "out.trx")
    before = (tmp_path / "out.trx").read_bytes()
    code = (
        "import resource, signal, sys, trxlib; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20));"
        "trxlib.save(trxlib.load(sys.argv[1]), sys.argv[2])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(trxlib.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(tmp_path / "big.trx"), str(tmp_path / "out.trx")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert (tmp_path / "out.trx").read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["big.trx", "out.trx", "small.trx"]


def test_progress_ends_at_the_total(trx, tmp_path):
    seen = []
    save(trx, tmp_path / "b.trx", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (26 * 12, 26 * 12)


def test_links_are_followed(trx, arrays, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "link.trx").symlink_to(tmp_path / "store" / "real.trx")
    save(trx, tmp_path / "link.trx")
    assert (tmp_path / "link.trx").is_symlink()
    assert_trx_equal(tmp_path / "store" / "real.trx", arrays)


@pytest.mark.parametrize("directory", ["folder", "folder/", "./folder", "../{here}/folder/"])
def test_zip_from_folder_takes_any_spelling(arrays, tmp_path, monkeypatch, directory):
    monkeypatch.chdir(tmp_path)
    write_plain_folder(arrays, tmp_path / "folder")
    zip_from_folder(directory.format(here=tmp_path.name), "out.trx")
    assert_trx_equal("out.trx", arrays)


def test_zip_from_folder_compresses_and_refuses(arrays, tmp_path):
    folder = write_plain_folder(arrays, tmp_path / "folder")
    zip_from_folder(folder, tmp_path / "out.zip", zipfile.ZIP_DEFLATED, level=9)
    assert_trx_equal(tmp_path / "out.zip", arrays)
    with pytest.raises(UnsupportedFormatError, match=r"expected the suffix \.trx"):
        zip_from_folder(folder, tmp_path / "out")
    (folder / "offsets.uint32").write_bytes(b"12")
    with pytest.raises(ValueError, match="a multiple of 4"):
        zip_from_folder(folder, tmp_path / "bad.trx")
    assert not (tmp_path / "bad.trx").exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_changes_in_memory_are_saved_whatever_lies_on_disk(tmp_path, replaced):
    arrays = make_trx_arrays(lengths=[9000, 9000], dpv={"fa": (2, "<f4")}, groups={})
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    trx = load(path)
    trx.data_per_vertex["fa"]._data[17] = 4
    arrays.dpv["fa"] = arrays.dpv["fa"].copy()
    arrays.dpv["fa"][17] = 4
    if replaced:
        write_plain_zip(make_trx_arrays(2), tmp_path / "new").replace(path)
    save(trx, tmp_path / "b.trx")
    assert_trx_equal(tmp_path / "b.trx", arrays)


@pytest.mark.parametrize(
    ("compression", "level"),
    [(zipfile.ZIP_DEFLATED, 10), (zipfile.ZIP_DEFLATED, "x"), (zipfile.ZIP_BZIP2, 0), (zipfile.ZIP_DEFLATED, 2.5)],
)
def test_level_out_of_range(trx, arrays, tmp_path, compression, level):
    with pytest.raises(InputError, match=rf"out.trx: level is {level!r}, expected a whole number from"):
        save(trx, tmp_path / "out.trx", compression, level=level)
    folder = write_plain_folder(arrays, tmp_path / "folder")
    with pytest.raises(InputError, match="level is"):
        zip_from_folder(folder, tmp_path / "out.trx", compression, level=level)
    assert not (tmp_path / "out.trx").exists()


@pytest.mark.parametrize("table", ["groups", "data_per_streamline", "data_per_vertex"])
@pytest.mark.parametrize("keys", [["\ud800"], [5], [5, "a"], ["g\udce9"]])
def test_keys_that_are_no_names(trx, tmp_path, table, keys):
    values = dict(getattr(trx, table))
    value = next(iter(values.values()))
    setattr(trx, table, {**values, **dict.fromkeys(keys, value)})
    with pytest.raises(ArrayNameError, match=f"{re.escape(repr(keys[0]))} cannot be a file name.* rename it"):
        save(trx, tmp_path / "out.trx")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_file_names_that_are_no_utf8(arrays, tmp_path):
    folder = write_plain_folder(arrays, tmp_path / "folder")
    name = os.fsdecode(b"g\xe9")
    (folder / "groups" / f"{name}.uint32").write_bytes(b"")
    with pytest.raises(ArrayNameError, match=r"'g\\udce9' cannot be a file name"):
        save(load(folder), tmp_path / "out.trx")
    with pytest.warns(HeaderWarning, match="g_"):
        trxlib.merge([folder], tmp_path / "out.trx")
    assert "g_" in load(tmp_path / "out.trx").groups
    (folder / "groups" / f"{name}.uint32").unlink()
    (folder / f"{name}.json").write_bytes(b"{}")
    with pytest.raises(ArrayNameError, match=r"sidecar 'g\\udce9.json' has a name that is no UTF-8"):
        save(load(folder), tmp_path / "out.trx")


def test_singular_affine_is_read_and_refused_on_writing(tmp_path):
    trx = load(write_plain_zip(make_trx_arrays(affine=np.diag([2.0, 0, 2, 1])), tmp_path / "a.trx"))
    for refused in (lambda: save(trx, tmp_path / "b.trx"), lambda: concatenate([trx])):
        with pytest.raises(HeaderError, match="VOXEL_TO_RASMM is singular"):
            refused()
    assert not (tmp_path / "b.trx").exists()
    trx.header["VOXEL_TO_RASMM"] = np.eye(4)
    save(trx, tmp_path / "b.trx")


def test_messages_about_objects_in_memory_do_not_begin_with_a_number(tmp_path):
    trx = load(write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")).to_memory()
    trx.groups["CC"][0] = 99
    with pytest.raises(ShapeError, match="^this TrxFile: groups/CC"):
        save(trx, tmp_path / "b.trx")
    with pytest.raises(ShapeError, match="^input 1: groups/CC"):
        save(concatenate([trx]), tmp_path / "b.trx")


@pytest.mark.parametrize("where", ["dps/label", "dpv/label", "dpg/CC/label"])
def test_a_type_that_cannot_be_written_names_its_array(tmp_path, where):
    trx = load(write_plain_zip(make_trx_arrays(), tmp_path / "a.trx"))
    section = where.split("/")[0]
    if section == "dpg":
        trx.data_per_group["CC"]["label"] = np.array(["x"])
    elif section == "dps":
        trx.data_per_streamline["label"] = np.array(["x"] * len(trx))
    else:
        trx.data_per_vertex["label"] = np.array(["x"] * len(trx.streamlines._data))
    with pytest.raises(DtypeError, match=f"{where}: the TRX format cannot hold <U1"):
        save(trx, tmp_path / "b.trx")
    assert not (tmp_path / "b.trx").exists()
