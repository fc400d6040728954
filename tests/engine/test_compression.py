"""Compression of a whole archive or of some sections: which entries, the same bytes, and read by others."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trxlib
from tests.cli.test_cli import run
from tests.helpers import assert_trx_equal, make_trx_arrays, write_plain_zip
from trxlib import convert, merge
from trxlib.container.entries import list_archive
from trxlib.errors import InputError

TRX = pytest.importorskip("trx.trx_file_memmap")
SOME = {"dpv": "deflated", "groups": zipfile.ZIP_DEFLATED, "positions": "stored", "dpg": "bzip2"}


@pytest.fixture
def trx(tmp_path: Path) -> Path:
    arrays = make_trx_arrays(300, groups={"arqué": np.arange(200), "b": [1]}, dpg={"b": {"x": [1]}})
    return write_plain_zip(arrays, tmp_path / "a.trx")


def methods_in(path: Path) -> dict[str, int]:
    """Method of each section, and of the header."""
    found: dict[str, set[int]] = {}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            parts = info.filename.split("/")
            found.setdefault(parts[0] if len(parts) > 1 else parts[0].split(".")[0], set()).add(info.compress_type)
    assert all(len(methods) == 1 for methods in found.values())
    return {section: methods.pop() for section, methods in found.items()}


def write_by(road: str, path: Path, output: Path, **options: Any) -> None:
    if road == "convert":
        convert(path, output, **options)
    elif road == "merge":
        merge([path], output, workers=2, **options)
    else:
        trxlib.save(trxlib.load(path), output, options.pop("compression", 0), **options)


@pytest.mark.parametrize("road", ["convert", "merge", "save"])
def test_the_sections_that_are_named_are_compressed(trx, tmp_path, road):
    write_by(road, trx, tmp_path / "out.trx", compression=SOME, level=9)
    assert methods_in(tmp_path / "out.trx") == {
        "header": 0, "notes": 0, "positions": 0, "offsets": 0, "dps": 0, "dpv": 8, "groups": 8, "dpg": 12,
    }  # fmt: skip
    assert_trx_equal(tmp_path / "out.trx", trx)
    write_by(road, trx, tmp_path / "again.trx", compression=SOME, level=9)
    assert (tmp_path / "out.trx").read_bytes() == (tmp_path / "again.trx").read_bytes()
    # What stays stored can be mapped as in any other archive.
    stored = [member for member in list_archive(tmp_path / "out.trx") if member.is_stored]
    assert len(stored) == 6
    assert {member.start % 64 for member in stored} == {0}
    assert_trx_equal(trxlib.load(tmp_path / "out.trx"), trx)
    read = TRX.load(str(tmp_path / "out.trx"))
    assert len(read.streamlines) == 300
    assert len(read.groups["arqué"]) == 200
    read.close()


def test_entries_whose_sizes_take_64_bits_are_aligned_as_well(trx, tmp_path, monkeypatch):
    monkeypatch.setattr("trxlib.engine.compression._BIG", 100)
    convert(trx, tmp_path / "out.trx", compression=SOME)
    members = list_archive(tmp_path / "out.trx")
    assert max(member.nbytes for member in members if member.is_stored) > 100
    assert {member.start % 64 for member in members if member.is_stored} == {0}
    assert_trx_equal(tmp_path / "out.trx", trx)
    assert_trx_equal(trxlib.load(tmp_path / "out.trx"), trx)


@pytest.mark.parametrize("name", ["stored", "deflated", "bzip2", "lzma"])
def test_a_method_has_a_name_and_a_number(trx, tmp_path, name):
    method = {"stored": 0, "deflated": 8, "bzip2": 12, "lzma": 14}[name]
    convert(trx, tmp_path / "name.trx", compression=name)
    convert(trx, tmp_path / "number.trx", compression=method)
    assert set(methods_in(tmp_path / "name.trx").values()) == {method}
    assert (tmp_path / "name.trx").read_bytes() == (tmp_path / "number.trx").read_bytes()


def test_sections_that_are_all_stored_are_a_stored_archive(trx, tmp_path):
    convert(trx, tmp_path / "plain.trx")
    convert(trx, tmp_path / "out.trx", compression={"dpv": "stored"})
    assert (tmp_path / "out.trx").read_bytes() == (tmp_path / "plain.trx").read_bytes()
    convert(trx, tmp_path / "folder", compression={"dpv": "stored"})
    with pytest.raises(InputError, match="a folder cannot be compressed"):
        convert(trx, tmp_path / "no", compression={"dpv": "deflated"})


@pytest.mark.parametrize("road", ["convert", "merge", "save"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 3}, "level is 3, and nothing is compressed"),
        ({"level": 3, "compression": "lzma"}, "level is 3, and nothing is compressed by a method that has levels"),
        ({"level": 3, "compression": {"dpv": "stored"}}, "level is 3, and nothing is compressed"),
        ({"level": 0, "compression": {"dps": 8, "dpv": "bzip2"}}, "level is 0, expected a whole number from 1 to 9"),
        ({"level": "fast", "compression": 8}, "level is 'fast', expected a whole number from -1 to 9"),
        ({"compression": "zip"}, "compression is 'zip', expected a method of zipfile: .* or stored, deflated"),
        ({"compression": True}, "compression is True"),
        ({"compression": None}, "compression is None"),
        ({"compression": {"dpv": 99}}, "compression is 99"),
        (
            {"compression": {"dpv/fa": 8, "x": 8}},
            "compression names 'dpv/fa', 'x'; the sections are",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_read(trx, tmp_path, road, options, message):
    with pytest.raises(InputError, match=message):
        write_by(road, trx, tmp_path / "out.trx", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.trx"]


def test_the_command_line_names_sections(trx, tmp_path):
    for command in ("convert", "merge"):
        output = tmp_path / f"{command}.trx"
        result = run(command, trx, output, "--compress-sections", "dpv,dps", "--level", 9)
        assert result.exit_code == 0, result.output
        compressed = {section for section, method in methods_in(output).items() if method}
        assert compressed == {"dpv", "dps"}
        assert run(command, trx, tmp_path / "no.trx", "--compress", "--compress-sections", "dpv").exit_code == 2
        assert run(command, trx, tmp_path / "no.trx", "--level", 3).exit_code == 2
        result = run(command, trx, tmp_path / "no.trx", "--compress-sections", "dpv,foo")
        assert (result.exit_code, "compression names 'foo'" in result.stderr) == (1, True)
    result = run("convert", trx, tmp_path / "no.trk", "--compress-sections", "dpv")
    assert (result.exit_code, "--compress-sections has no meaning" in result.stderr) == (1, True)
    assert not (tmp_path / "no.trx").exists()
