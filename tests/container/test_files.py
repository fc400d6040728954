"""Mapping, listing, temporary names: the parts below a container."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import (
    assert_trx_equal,
    entries_of,
    make_trx_arrays,
    write_entries,
    write_plain_folder,
    write_plain_zip,
)
from trxlib.container import atomic, entries, outline, reader
from trxlib.container.atomic import TemporaryFolder, final_path, replace_folder, temporary_root, writing
from trxlib.container.entries import is_junk, list_archive, list_folder
from trxlib.container.in_place import refresh_crcs
from trxlib.container.mapping import FileStamp, MappedFile
from trxlib.container.reader import check_crcs, open_container
from trxlib.container.temporary import scratch_arrays
from trxlib.errors import CapacityError, InputError, InputNotFoundError, ReadOnlyError, ShapeError, StateError
from trxlib.trx_file_memmap import load

F4 = np.dtype("<f4")


@pytest.fixture
def numbers(tmp_path):
    """A file of 100 float32."""
    path = tmp_path / "numbers"
    np.arange(100, dtype=F4).tofile(path)
    return path


# ---- mapping


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_mapped_arrays(numbers, mode):
    file = MappedFile(numbers, mode)
    array = file.array(F4, (10, 3), 8)
    assert array[0].tolist() == [2, 3, 4]
    assert array.flags.writeable == (mode != "r")
    if mode != "r":
        array[0] = 9
    file.flush()
    assert np.fromfile(numbers, F4)[2] == (9 if mode == "r+" else 2)


def test_arrays_hold_their_mapping(numbers):
    file = MappedFile(numbers)
    array = file.array(F4, (100,), 0)
    gone = weakref.ref(file)
    del file
    gc.collect()
    assert gone() is None
    numbers.unlink()
    assert array.sum() == 4950


def test_beyond_the_end(numbers):
    file = MappedFile(numbers)
    for count, start in ((101, 0), (100, 1), (1, 400), (1 << 60, 0), (1, -4)):
        with pytest.raises(ShapeError, match="numbers: .* are expected, there are 400"):
            file.array(F4, (count,), start)
    assert file.array(F4, (0, 3), 400).shape == (0, 3)


def test_empty_and_missing_files(tmp_path):
    (tmp_path / "empty").touch()
    assert MappedFile(tmp_path / "empty").array(F4, (0,), 0).shape == (0,)
    with pytest.raises(InputNotFoundError, match="missing: cannot be read"):
        MappedFile(tmp_path / "missing")


def test_a_file_without_write_permission_cannot_be_changed(numbers, monkeypatch):
    real = os.open

    def refuse(path, flags, *rest):
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    assert MappedFile(numbers, "c").array(F4, (1,), 4)[0] == 1
    with pytest.raises(ReadOnlyError, match="may not be written .* open it without mode='r\\+'"):
        MappedFile(numbers, "r+")


def test_stamps(numbers):
    stamp = FileStamp.of(numbers)
    assert stamp == MappedFile(numbers).stamp
    os.utime(numbers, ns=(0, 12345))
    assert FileStamp.of(numbers) != stamp
    assert FileStamp.of(numbers.with_name("missing")) is None


# ---- listing


def test_lists_of_both_kinds_agree(tmp_path):
    arrays = make_trx_arrays()
    archive = list_archive(write_plain_zip(arrays, tmp_path / "a.trx"))
    folder = list_folder(write_plain_folder(arrays, tmp_path / "folder"))
    assert sorted((m.path, m.nbytes) for m in archive) == [(m.path, m.nbytes) for m in folder]
    for member in archive:
        data = Path(member.file).read_bytes()[member.start : member.start + member.nbytes]
        assert data == entries_of(arrays)[member.path]
    assert all(member.crc is None and member.start == 0 for member in folder)


def test_junk():
    for path in ("__MACOSX/._x", ".DS_Store", "dps/.DS_Store", "Thumbs.db", "dps/._weight.float32", "desktop.ini"):
        assert is_junk(path)
    assert not is_junk("dps/weight.float32")


def test_links_inside_a_folder_are_followed(tmp_path):
    arrays = make_trx_arrays()
    folder = write_plain_folder(arrays, tmp_path / "folder")
    (folder / "dps").rename(tmp_path / "elsewhere")
    (folder / "dps").symlink_to(tmp_path / "elsewhere")
    (folder / "header.json").rename(tmp_path / "h.json")
    (folder / "header.json").symlink_to(tmp_path / "h.json")
    assert_trx_equal(load(folder), arrays)


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("dpv", "..", "dpv: is a link to a folder that it lies in; remove the link"),
        ("dps/gone.float32", "nowhere", "gone.float32: is a link to nowhere, which cannot be read"),
        ("dps/gone.float32", "gone.float32", "gone.float32: is a link to gone.float32, which cannot be read"),
        ("dps/null.float32", "/dev/null", "null.float32: is neither a file nor a folder"),
    ],
)
def test_links_that_lead_nowhere(tmp_path, link, target, message):
    folder = write_plain_folder(make_trx_arrays(dpv={}), tmp_path / "folder")
    (folder / link).symlink_to(folder if target == ".." else target)
    with pytest.raises((InputError, InputNotFoundError), match=message):
        load(folder)


def refuse(path, *_args, **_kwargs):
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_what_cannot_be_read_in_a_folder_is_named(tmp_path, monkeypatch):
    folder = write_plain_folder(make_trx_arrays(), tmp_path / "folder")
    whole = os.listdir
    for name, function, where in (
        ("dps", "listdir", entries.os),
        ("weight.float32", "fromfile", reader.np),
        ("header.json", "open_member", outline),
    ):
        with monkeypatch.context() as patch:
            if function == "listdir":
                patch.setattr(where, function, lambda path: (refuse if path.endswith("dps") else whole)(path))
            else:
                patch.setattr(where, function, refuse)
            with pytest.raises(InputNotFoundError, match=r"cannot be read \(Permission denied\)") as caught:
                load(folder)
        assert str(folder) in str(caught.value)
        assert name in str(caught.value) or function == "fromfile"


# ---- containers


def test_small_files_of_a_folder_are_not_mapped(tmp_path):
    container = open_container(write_plain_folder(make_trx_arrays(), tmp_path / "folder"))
    assert container.files == {}
    container.arrays.positions[:] = 1
    assert not open_container(tmp_path / "folder", "r").arrays.positions.flags.writeable


def test_unpacking_wants_room(tmp_path, monkeypatch):
    path = write_plain_zip(make_trx_arrays(), tmp_path / "a.trx", 8)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 10})())
    with pytest.raises(ValueError, match="a.trx: unpacking needs .* bytes, .* has 10 free; set TRX_TMPDIR"):
        open_container(path)
    assert not list(temporary_root().iterdir())


def nb_descriptors():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
@pytest.mark.parametrize("method", [0, 8])
def test_an_archive_needs_one_descriptor(tmp_path, method):
    arrays = make_trx_arrays(lengths=np.zeros(300_000), groups={}, dps={f"k{n}": (1, "<f4") for n in range(5)})
    for key in arrays.dps:
        arrays.dps[key][:] = len(key)
    path = write_plain_zip(arrays, tmp_path / "a.trx", method)
    before = nb_descriptors()
    trx = load(path)
    assert nb_descriptors() - before <= 1
    assert_trx_equal(trx, arrays)
    trx.close()


@pytest.mark.parametrize("kind", ["folder", "stored", "deflated"])
def test_too_many_open_files(tmp_path, kind):
    if kind == "folder":
        path = write_plain_folder(make_trx_arrays(lengths=[90_000]), tmp_path / "folder")
    else:
        path = write_plain_zip(make_trx_arrays(), tmp_path / "a.trx", 8 if kind == "deflated" else 0)
    code = """
import os, resource, sys
import trxlib
from trxlib.errors import CapacityError
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held, kept = [], []
try:
    for _ in range(100):
        kept.append(trxlib.load(sys.argv[1]))
except CapacityError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert "too many files are open" in run.stdout
    assert run.stderr == ""
    assert not list(temporary_root().iterdir())


def test_crcs_of_a_good_file(tmp_path):
    arrays = make_trx_arrays()
    for path in (write_plain_zip(arrays, tmp_path / "a.trx"), write_plain_zip(arrays, tmp_path / "b.trx", 8)):
        check_crcs(path)
    check_crcs(write_plain_folder(arrays, tmp_path / "folder"))


def test_refreshing_crcs(tmp_path):
    path = write_entries(entries_of(make_trx_arrays()), tmp_path / "a.trx")
    before = path.read_bytes()
    assert refresh_crcs(path) == 0
    assert path.read_bytes() == before
    container = open_container(path, "r+")
    container.arrays.positions[:] = 4
    container.close()
    assert refresh_crcs(path) == 0
    check_crcs(path)
    assert refresh_crcs(tmp_path / "missing") == 0


# ---- temporary and final names


def test_temporary_root(tmp_path, monkeypatch):
    monkeypatch.setenv("TRX_TMPDIR", str(tmp_path))
    assert temporary_root() == tmp_path
    monkeypatch.setenv("TRX_TMPDIR", "use_working_dir")
    monkeypatch.chdir(tmp_path)
    assert temporary_root() == Path.cwd()
    monkeypatch.setenv("TRX_TMPDIR", str(tmp_path / "missing"))
    with pytest.raises(InputNotFoundError, match="TRX_TMPDIR is .*missing', which is no folder"):
        temporary_root()
    monkeypatch.delenv("TRX_TMPDIR")
    assert temporary_root().is_dir()


def test_temporary_folder_is_removed_once():
    folder = TemporaryFolder()
    (folder.path / "x").write_bytes(b"1")
    folder.close()
    folder.close()
    assert not folder.path.exists()


def test_temporary_folder_is_removed_without_descriptors(monkeypatch):
    folder = TemporaryFolder()
    folder.file.write_bytes(b"1")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_args, **_options: None)  # which would have to list it
        folder.close()
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.EACCES, ReadOnlyError, "may not be written to by .*; set TRX_TMPDIR to another folder"),
        (errno.EROFS, ReadOnlyError, "may not be written to"),
        (errno.EMFILE, CapacityError, "cannot be used: too many files are open for"),
        (errno.ENOSPC, CapacityError, "has no room for .*; set TRX_TMPDIR to a larger disk"),
    ],
)
def test_temporary_data_that_cannot_be_written(tmp_path, monkeypatch, number, kind, message):
    monkeypatch.setenv("TRX_TMPDIR", str(tmp_path))

    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.Path, "mkdir", fail)
    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    for use in (TemporaryFolder, lambda: scratch_arrays([("u1", (1 << 21,))])):
        with pytest.raises(kind, match=f"{tmp_path} {message}"):
            use()


def test_writing_appears_when_complete(tmp_path):
    target = tmp_path / "a"
    with writing(target) as partial:
        partial.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"

    def interrupted():
        with writing(target) as partial:
            partial.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(InputError, match="is a folder"), writing(tmp_path):
        pass


def test_final_path_needs_a_folder(tmp_path):
    with pytest.raises(InputNotFoundError, match="the folder .* does not exist; create it first"):
        final_path(tmp_path / "missing" / "a.trx")


def test_replacing_folders(tmp_path):
    def make(name, content):
        folder = tmp_path / name
        folder.mkdir()
        (folder / content).write_text(content)
        return folder

    replace_folder(make("new1", "header.json"), tmp_path / "final")
    replace_folder(make("new2", "header.json"), tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    photos = make("photos", "cat.jpg")
    with pytest.raises(StateError, match="other content"):
        replace_folder(make("new3", "header.json"), photos)
    assert (photos / "cat.jpg").exists()
    (tmp_path / "empty").mkdir()
    replace_folder(tmp_path / "new3", tmp_path / "empty")
    assert (tmp_path / "empty" / "header.json").exists()


def test_a_folder_that_cannot_be_put_in_place_brings_the_old_one_back(tmp_path, monkeypatch):
    for name in ("final", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "header.json").write_text(name)
    monkeypatch.setattr(atomic, "exchange", lambda one, other: False)  # as on other systems
    real = Path.replace

    def fail_for_new(self, target):
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(atomic.Path, "replace", fail_for_new)
    with pytest.raises(OSError, match="No space left"):
        replace_folder(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final" / "header.json").read_text() == "final"
