"""The disk holds the bytes before the name appears, and the name before the call returns."""

from __future__ import annotations

import os

import numpy as np
import pytest

import trxlib
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.container.atomic import writing
from trxlib.container.durable import is_durable
from trxlib.engine.receipt import Receipt
from trxlib.errors import InputError

RENAMES = ("replace", "rename")


@pytest.fixture
def calls(monkeypatch):
    """What was asked of the system, in order: ("fsync", name) and ("rename", old, new)."""
    monkeypatch.setenv("TRXLIB_DURABLE", "1")
    found = []
    sync, rename = os.fsync, os.replace

    def fsync(fd):
        found.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))))  # noqa: PTH115, PTH119
        sync(fd)

    def replace(old, new):
        found.append(("rename", os.path.basename(old), os.path.basename(new)))  # noqa: PTH119
        rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return found


def check_order(calls, folder, name):
    """The file named last was synced before it got its name, and its folder after that."""
    (place,) = [row for row, call in enumerate(calls) if call[0] == "rename" and call[2] == name]
    assert ("fsync", calls[place][1]) in calls[:place]
    assert calls[place + 1] == ("fsync", folder.name)


@pytest.mark.parametrize("name", ["out.trx", "deflated.trx", "out.trk", "out.tck"])
def test_convert(tmp_path, calls, name):
    source = write_plain_zip(make_trx_arrays(dpv={}, dps={}, groups={}), tmp_path / "in.trx")
    compression = {"compression": 8} if name == "deflated.trx" else {}
    trxlib.convert(source, tmp_path / name, warn_outside=1, max_outside=1, **compression)
    check_order(calls, tmp_path, name)


def test_merge_and_groups(tmp_path, calls):
    source = write_plain_zip(make_trx_arrays(), tmp_path / "in.trx")
    trxlib.merge([source, source], tmp_path / "out.trx", warn_outside=1, max_outside=1)
    check_order(calls, tmp_path, "out.trx")
    trxlib.extract_groups(source, tmp_path / "groups")
    check_order(calls, tmp_path / "groups", "CC.trx")


def test_save_as_archive_and_folder(tmp_path, calls):
    trx = trxlib.load(write_plain_zip(make_trx_arrays(), tmp_path / "in.trx"))
    trxlib.save(trx, tmp_path / "out.trx")
    check_order(calls, tmp_path, "out.trx")
    trxlib.save(trx, tmp_path / "folder")
    synced = [call[1] for call in calls if call[0] == "fsync"]
    check_order(calls, tmp_path, "folder")
    assert {"header.json", "positions.3.float32", "weight.float32", "dps"} <= set(synced)


def test_receipts(tmp_path, calls):
    Receipt("plan", 0, ()).save(tmp_path / "receipt.json")
    check_order(calls, tmp_path, "receipt.json")


def test_temporary_data_are_not_waited_for(tmp_path, calls):
    trx = trxlib.load(write_plain_zip(make_trx_arrays(), tmp_path / "in.trx"))
    joined = trxlib.concatenate([trx, trx])
    assert len(joined.streamlines) == 2 * len(trx.streamlines)
    assert not [call for call in calls if call[0] == "fsync"]


def test_it_can_be_switched_off(tmp_path, calls, monkeypatch):
    monkeypatch.setenv("TRXLIB_DURABLE", "0")
    with writing(tmp_path / "a") as partial:
        partial.write_bytes(b"a")
    assert [call[0] for call in calls] == ["rename"]
    monkeypatch.setenv("TRXLIB_DURABLE", "yes")
    with pytest.raises(InputError, match="TRXLIB_DURABLE is 'yes', expected 0 .* or 1"):
        is_durable()


def test_a_disk_that_is_full_when_it_is_waited_for_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TRXLIB_DURABLE", "1")

    def fail(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    source = write_plain_zip(make_trx_arrays(), tmp_path / "in.trx")
    with pytest.raises(OSError, match=r"No space left on device: make room.*out\.trx"):
        trxlib.merge([source], tmp_path / "out.trx", warn_outside=1, max_outside=1)
    assert [path.name for path in tmp_path.iterdir()] == ["in.trx"]


def test_file_systems_that_cannot_are_not_asked_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TRXLIB_DURABLE", "1")

    def fail(fd):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fail)
    with writing(tmp_path / "a") as partial:
        partial.write_bytes(np.arange(3, dtype="u1").tobytes())
    assert (tmp_path / "a").read_bytes() == b"\0\1\2"
