"""mode="r+": an archive states the CRCs of what was written, however and whenever the writing ended."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.helpers import make_trx_arrays, read_plain, write_plain_folder, write_plain_zip
from trxlib.container import in_place
from trxlib.container.mapping import FileStamp, is_open_for_change
from trxlib.errors import StaleError
from trxlib.trx_file_memmap import TrxFile, concatenate, load, save

LONG = {"lengths": [9000, 0, 9000, 1], "dps": {"w": (1, "<f4")}, "dpv": {"fa": (2, "<f4")}, "groups": {"g": [0, 2]}}


@pytest.fixture
def path(tmp_path):
    """An archive whose larger arrays are kept as ranges of their file."""
    return write_plain_zip(make_trx_arrays(**LONG), tmp_path / "a.trx")


def wrong_entry(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def close_a_selection_first(path: Path) -> None:
    trx = load(path, mode="r+")
    with trx.get_group("g"):
        pass
    trx.streamlines._data[:] = 2
    trx.close()


def hold_only_an_array(path: Path) -> None:
    positions = load(path, mode="r+").streamlines._data
    positions[:] = 2


def write_after_close(path: Path) -> None:
    trx = load(path, mode="r+")
    streamlines = trx.streamlines
    trx.close()
    streamlines._data[:] = 2


def write_twice(path: Path) -> None:
    trx = load(path, mode="r+")
    copy = trx.__copy__()
    trx.streamlines._data[:] = 1
    trx.close()
    copy.streamlines._data[:] = 2
    copy.close()


@pytest.mark.parametrize(
    "write",
    [close_a_selection_first, hold_only_an_array, write_after_close, write_twice],
    ids=lambda call: call.__name__,
)
def test_crcs_are_true_when_the_last_array_is_gone(path, write):
    write(path)
    assert wrong_entry(path) is None
    assert (read_plain(path).positions == 2).all()
    assert not is_open_for_change(FileStamp.of(path))


def test_crcs_are_true_after_exit(path):
    code = (
        "import sys; from trxlib import load; t = load(sys.argv[1], mode='r+'); s = t.streamlines; t.close(); "
        "s._data[:] = 2"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert wrong_entry(path) is None
    assert (read_plain(path).positions == 2).all()


def test_damage_that_was_there_stays_visible(path):
    data = bytearray(path.read_bytes())
    place = data.find(read_plain(path).positions.tobytes())
    data[place + 5] ^= 0xFF
    path.write_bytes(data)
    load(path, mode="r+").close()
    assert path.read_bytes() == data
    with load(path, mode="r+") as trx:
        trx.groups["g"][0] = 1
    assert wrong_entry(path) == "positions.3.float32"  # and the group is right
    with load(path, mode="r+") as trx:
        trx.streamlines._data[:] = 2
    assert wrong_entry(path) is None


def test_a_file_that_took_the_name_is_left_alone(path, tmp_path):
    trx = load(path, mode="r+")
    trx.streamlines._data[:] = 2
    other = bytearray(write_plain_zip(make_trx_arrays(3), tmp_path / "b.trx").read_bytes())
    other[other.find(b"dps/weight") + 40] ^= 0xFF  # damaged
    (tmp_path / "b.trx").write_bytes(other)
    (tmp_path / "b.trx").replace(path)
    trx.close()
    assert path.read_bytes() == other


def opened(path: Path) -> TrxFile:
    return load(path)


def joined(path: Path) -> TrxFile:
    return concatenate([load(path)])


def early(path: Path) -> TrxFile:
    return EARLY.pop()


EARLY: list[TrxFile] = []


@pytest.mark.parametrize("read", [opened, joined, early], ids=lambda call: call.__name__)
def test_what_is_read_beside_an_open_handle_has_true_crcs(path, tmp_path, read):
    EARLY[:] = [load(path)]
    with load(path, mode="r+") as trx:
        trx.streamlines._data[0] = 7
        save(read(path), tmp_path / "b.trx")
        trxlib.merge([path], tmp_path / "c.trx")
    EARLY.clear()
    for name in ("a.trx", "b.trx", "c.trx"):
        assert wrong_entry(tmp_path / name) is None
        assert (read_plain(tmp_path / name).positions[0] == 7).all()


def test_a_concatenation_whose_input_is_changed_in_place_is_refused(path, tmp_path):
    result = concatenate([load(path)])
    status = path.stat()
    with load(path, mode="r+") as trx:
        save(result, tmp_path / "b.trx")  # nothing was written yet
        trx.streamlines._data[0] = 7
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))  # as the system does, at the latest on closing
        with pytest.raises(StaleError, match="was overwritten in place"):
            save(result, tmp_path / "c.trx")
    assert wrong_entry(tmp_path / "b.trx") is None


def test_later_writes_do_not_change_what_was_concatenated(path, tmp_path):
    with load(path, mode="r+") as trx:
        trx.streamlines._data[0] = 7
        result = concatenate([load(path)])
        trx.streamlines._data[0] = 8
        save(result, tmp_path / "b.trx")
    assert (read_plain(tmp_path / "b.trx").positions[0] == 7).all()
    assert wrong_entry(tmp_path / "b.trx") is None


def test_folders_and_empty_archives(tmp_path):
    folder = write_plain_folder(make_trx_arrays(), tmp_path / "folder")
    with load(folder, mode="r+") as trx:
        trx.streamlines._data[:] = 2
    assert (read_plain(folder).positions == 2).all()
    empty = write_plain_zip(make_trx_arrays(0, groups={}), tmp_path / "empty.trx")
    content = empty.read_bytes()
    load(empty, mode="r+").close()
    assert empty.read_bytes() == content
    np.testing.assert_array_equal(load(empty).streamlines._data, np.zeros((0, 3)))


def test_closing_reads_the_archive_once(path, monkeypatch):
    read = []
    real = in_place.crc_of_range
    monkeypatch.setattr(in_place, "crc_of_range", lambda fd, start, count: read.append(count) or real(fd, start, count))
    trx = load(path, mode="r+")
    assert read == []  # to open it reads the mapping
    trx.close()
    with zipfile.ZipFile(path) as archive:
        assert read == [info.file_size for info in archive.infolist()]
