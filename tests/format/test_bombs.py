"""Small files that would fill memory or a disk: refused by what they state, or as soon as they hold more."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.helpers import entries_of, make_trx_arrays, write_entries
from trxlib.container.outline import read_outline
from trxlib.errors import ArchiveError, HeaderError, ShapeError
from trxlib.formats.reference import space_from

ENTRIES = entries_of(make_trx_arrays(lengths=[3, 0, 5], groups={"CC": [0]}, dpg={}))
METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}


def run_bounded(code: str, path: Path, megabytes: int = 900) -> str:
    """Run code in a child with so much address space; return what it prints."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({megabytes << 20}, {megabytes << 20}))\n"
    begin = "import sys, trxlib, trxlib.errors\nfrom pathlib import Path\npath = Path(sys.argv[1])\n"
    body = f"try:\n    {code}\nexcept trxlib.errors.TrxError as error:\n    print(type(error).__name__, error)\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(trxlib.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", begin + limit + body, str(path)],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def states_less(path: Path, name: str, nbytes: int) -> Path:
    """Make the records of an entry state other bytes than it unpacks to."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = data.find(name.encode(), archive.start_dir) - 46
    data[place + 24 : place + 28] = struct.pack("<L", nbytes)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "method",
    # A gigabyte takes bzip2 and LZMA seconds; each way to unpack is one for all uses.
    [pytest.param(method, marks=[pytest.mark.slow] * (name != "deflate")) for name, method in METHODS.items()],
    ids=METHODS,
)
@pytest.mark.parametrize("use", ["trxlib.load(path)", "trxlib.validate(path)", "trxlib.describe(path)"])
def test_a_header_that_unpacks_to_a_gigabyte_is_refused_in_little_memory(tmp_path, method, use):
    with zipfile.ZipFile(tmp_path / "a.trx", "w", method) as archive, archive.open("header.json", "w") as entry:
        for _ in range(256):
            entry.write(b" " * (1 << 20))
    printed = run_bounded(use, tmp_path / "a.trx")
    assert "ShapeError" in printed
    assert "a.trx: header.json has 268435456 bytes; JSON text of a tractogram has 16777216 at most" in printed


def test_a_reference_with_a_header_that_unpacks_to_gigabytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.trx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b" " * (32 << 20))
    with pytest.raises(ShapeError, match=r"a\.trx: header.json has 33554432 bytes"):
        space_from(tmp_path / "a.trx")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_entries_that_hold_more_than_they_state_are_refused_as_soon_as_they_do(tmp_path, method):
    whole = np.zeros(64 << 20, np.uint8).tobytes()
    entries = {**ENTRIES, "positions.3.float32": whole}
    path = states_less(write_entries(entries, tmp_path / "a.trx", method), "positions.3.float32", 96)
    for use in ("trxlib.load(path)", "trxlib.find_problems(path) and print(trxlib.find_problems(path)[0])"):
        printed = run_bounded(use, path)
        assert "a.trx: entry 'positions.3.float32' unpacks to more than the 96 bytes that it states" in printed


def test_a_group_larger_than_its_file_is_refused_before_it_is_unpacked(tmp_path):
    path = write_entries({**ENTRIES, "groups/CC.uint32": bytes(64 << 20)}, tmp_path / "a.trx", zipfile.ZIP_DEFLATED)
    with pytest.raises(ShapeError, match=r"a\.trx: groups/CC.uint32 has 16777216 members, NB_STREAMLINES is 3"):
        read_outline(path)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("nth", [1, 3])
def test_damaged_compressed_data_is_named_as_such(tmp_path, method, nth):
    path = write_entries(ENTRIES, tmp_path / "a.trx", method)
    member = next(item for item in read_outline(path).entries if item.path == "dpv/vector.3.float64")
    data = bytearray(path.read_bytes())
    for place in range(member.start + nth * member.packed // 5, member.start + (nth + 1) * member.packed // 5):
        data[place] ^= 0x5A
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"a\.trx: entry 'dpv/vector.3.float64' .*(damaged|stated)"):
        trxlib.load(path)


def test_lzma_that_asks_for_gigabytes_of_memory_is_refused(tmp_path):
    path = write_entries(ENTRIES, tmp_path / "a.trx", zipfile.ZIP_LZMA)
    member = next(item for item in read_outline(path).entries if item.path == "positions.3.float32")
    data = bytearray(path.read_bytes())
    data[member.start + 5 : member.start + 9] = struct.pack("<L", 2**32 - 1)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="asks for 4294967295 bytes of memory"):
        trxlib.load(path)


def test_a_packing_that_is_not_read_is_named(tmp_path):
    path = write_entries(ENTRIES, tmp_path / "a.trx", zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = data.find(b"positions", archive.start_dir) - 46
    data[place + 10 : place + 12] = struct.pack("<H", 9)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="packed by method 9 of zip, which is not read"):
        trxlib.load(path)


def test_a_text_of_any_size_is_read_to_where_an_affine_ends(tmp_path):
    (tmp_path / "affine.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n" + "# much\n" * (1 << 20))
    with pytest.raises(HeaderError, match=r"affine.txt has more than 16384 bytes"):
        space_from((tmp_path / "affine.txt", None))


def test_members_out_of_range_are_not_handed_out(tmp_path):
    path = write_entries({**ENTRIES, "groups/CC.uint32": np.array([7], "<u4").tobytes()}, tmp_path / "a.trx")
    trx = trxlib.load(path)
    for _ in range(2):
        with pytest.raises(ShapeError, match=r"a\.trx: groups/CC row 0 is streamline 7, but NB_STREAMLINES is 3"):
            assert trx.groups["CC"] is None
    assert len(trx.streamlines) == 3


def test_names_from_files_reach_no_terminal_with_control_characters(tmp_path):
    entries = {**ENTRIES, "groups/a\x1b[2K\n12:00:00 ERROR: forged.uint32": np.array([9], "<u4").tobytes()}
    trx = trxlib.load(write_entries(entries, tmp_path / "a.trx"))
    with pytest.raises(ShapeError) as caught:
        assert trx.groups is None
    assert "\x1b" not in str(caught.value)
    assert "\n  12:00:00 ERROR: forged" in str(caught.value)
    assert json.loads(ENTRIES["header.json"])["NB_STREAMLINES"] == 3
