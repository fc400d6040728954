"""One bit of an input is wrong: whatever is read is compared with its CRC, whatever is copied keeps the stated one."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.errors import ArchiveError, TrxError

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
