"""One bit of an input is wrong: whatever is read is compared with its CRC, whatever is copied keeps the stated one."""

from __future__ import annotations

import errno
import os
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.engine.planning import plan_merge
from trxlib.engine.trx_source import TrxSource
from trxlib.engine.write import write_container
from trxlib.errors import ArchiveError, StaleError, TrxError
from trxlib.model.arrays import TrxArrays

ENTRIES = {
    "positions": "positions.3.float32",
    "offsets": "offsets.uint32",
    "groups": "groups/CC.uint32",
    "dpg": "dpg/CC/volume.float32",
    "dps": "dps/weight.float32",
    "dpv": "dpv/fa.float16",
}
ROADS = {
    "convert": lambda path, out: trxlib.convert(path, out / "o.trx"),
    "convert to float64": lambda path, out: trxlib.convert(path, out / "o.trx", positions_dtype="float64"),
    "convert and move": lambda path, out: trxlib.convert(path, out / "o.trx", transform=np.diag([2.0, 2, 2, 1])),
    "merge": lambda path, out: trxlib.merge([path, path], out / "o.trx"),
    "merge as float64": lambda path, out: trxlib.merge([path], out / "o.trx", positions_dtype="float64"),
}


def write_arrays(arrays: TrxArrays, path: Path) -> None:
    source = TrxSource(arrays)
    write_container(plan_merge([source]), [source], path)


def flip(path: Path, entry: str) -> None:
    """Turn the lowest bit of the middle byte of an entry's data."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(entry)
    data = bytearray(path.read_bytes())
    start = info.header_offset
    start += 30 + int.from_bytes(data[start + 26 : start + 28], "little")
    start += int.from_bytes(data[info.header_offset + 28 : info.header_offset + 30], "little")
    data[start + info.file_size // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    arrays = make_trx_arrays(lengths=[3, 0, 5, 1, 4, 2], groups={"CC": [0, 2, 5, 1]})
    return write_plain_zip(arrays, tmp_path / "in.trx")


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("road", ROADS)
def test_damage_never_gets_a_matching_crc(whole: Path, tmp_path: Path, road: str, entry: str) -> None:
    flip(whole, ENTRIES[entry])
    with suppress(TrxError):
        ROADS[road](whole, tmp_path)
    if (tmp_path / "o.trx").exists():
        with pytest.raises(ArchiveError, match=entry):
            trxlib.validate(tmp_path / "o.trx")


@pytest.mark.parametrize("road", ROADS)
def test_a_good_input_gives_a_good_result(whole: Path, tmp_path: Path, road: str) -> None:
    ROADS[road](whole, tmp_path)
    trxlib.validate(tmp_path / "o.trx")


@pytest.mark.parametrize("entry", ["positions", "offsets", "groups", "dpg"])
def test_what_a_conversion_reads_is_an_error_that_names_file_and_entry(whole: Path, tmp_path: Path, entry: str) -> None:
    flip(whole, ENTRIES[entry])
    with pytest.raises(TrxError, match=rf"in\.trx(?s:.)*{entry}"):
        trxlib.convert(whole, tmp_path / "o.trx")
    assert [path.name for path in tmp_path.iterdir()] == ["in.trx"]


@pytest.mark.parametrize("entry", ["offsets", "groups"])
def test_extract_and_export_look_at_what_they_select_by(whole: Path, tmp_path: Path, entry: str) -> None:
    flip(whole, ENTRIES[entry])
    with pytest.raises(TrxError, match=rf"in\.trx(?s:.)*{entry}"):
        trxlib.extract_groups(whole, tmp_path / "groups")
    assert not (tmp_path / "groups").exists()
    with pytest.raises(TrxError, match=rf"in\.trx(?s:.)*{entry}"):
        trxlib.export(whole, tmp_path / "o.trk", group="CC")
    assert not (tmp_path / "o.trk").exists()


@pytest.mark.parametrize("kernel", ["copies", "refuses"])
def test_what_is_copied_keeps_the_stated_crc_on_every_system(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    flip(whole, ENTRIES["positions"])
    if kernel == "refuses":
        monkeypatch.setattr(os, "copy_file_range", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "other disk")))
    trxlib.merge([whole], tmp_path / "o.trx")
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(tmp_path / "o.trx") as after:
        assert after.getinfo(ENTRIES["positions"]).CRC == before.getinfo(ENTRIES["positions"]).CRC
    with pytest.raises(ArchiveError, match="positions"):
        trxlib.validate(tmp_path / "o.trx")


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_a_file_that_was_replaced_after_it_was_opened_is_an_error(tmp_path: Path, kind: str) -> None:
    # More than a mebibyte: what is smaller is in memory as soon as a folder is open.
    arrays = make_trx_arrays(lengths=[100_000, 5])
    path, file = (tmp_path / "in.trx",) * 2
    if kind == "folder":
        path = tmp_path / "in"
        file = path / "positions.3.float32"
    write_arrays(arrays, path)
    with TrxSource.open(path) as source:
        plan = plan_merge([source])
        other = tmp_path / "other"
        other.write_bytes(file.read_bytes())
        other.replace(file)
        with pytest.raises(StaleError, match="changed or replaced"):
            write_container(plan, [source], tmp_path / "o.trx")
    assert not (tmp_path / "o.trx").exists()


def test_folders_give_the_bytes_that_archives_give(tmp_path: Path) -> None:
    for number, lengths in enumerate(([100_000, 5], [3, 0, 4], [])):
        for name in (f"{number}.trx", f"{number}"):
            write_arrays(make_trx_arrays(lengths=lengths), tmp_path / name)
    for output in ("{}.trx", "{}"):
        trxlib.merge([tmp_path / f"{number}.trx" for number in range(3)], tmp_path / output.format("archives"))
        trxlib.merge([tmp_path / f"{number}" for number in range(3)], tmp_path / output.format("folders"))
    assert (tmp_path / "archives.trx").read_bytes() == (tmp_path / "folders.trx").read_bytes()
    trxlib.validate(tmp_path / "folders.trx")
    for file in (path for path in (tmp_path / "archives").rglob("*") if path.is_file()):
        assert file.read_bytes() == (tmp_path / "folders" / file.relative_to(tmp_path / "archives")).read_bytes()
