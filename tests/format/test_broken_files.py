"""Break each field of a good file: each gives the right error, which names file, array, found and expected.

The files are made without trxlib. Every change is tried on an archive and, where it makes sense, on a folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trxlib
from tests.helpers import entries_of, make_trx_arrays, write_entries, write_entries_folder
from trxlib.commands.validate import find_problems, validate
from trxlib.errors import (
    ArchiveError,
    ArrayNameError,
    DtypeError,
    FormatError,
    HeaderError,
    OffsetsError,
    ShapeError,
    TrxError,
)
from trxlib.trx_file_memmap import TrxFile, load, save

NB_STREAMLINES, NB_VERTICES = 6, 15
GOOD = {"lengths": [3, 0, 5, 1, 4, 2], "groups": {"CC": [0, 5]}, "dpg": {"CC": {"x": [1]}}}


def header(**changes):
    """Change header.json; a value of None removes the key."""

    def change(entries):
        content = {**json.loads(entries["header.json"]), **changes}
        kept = {key: value for key, value in content.items() if value is not None}
        entries["header.json"] = json.dumps(kept).encode()

    return change


def replaced(name, data):
    """Give an entry other bytes; None removes it."""

    def change(entries):
        entries.pop(name, None)
        if data is not None:
            entries[name] = data if isinstance(data, bytes) else data.tobytes()

    return change


def renamed(old, new):
    """Give an entry another name."""

    def change(entries):
        entries[new] = entries.pop(old)

    return change


def cut(name, nbytes):
    """Cut bytes off the end of an entry."""

    def change(entries):
        entries[name] = entries[name][:-nbytes]

    return change


SINGULAR = np.diag([1, 1, 0, 1]).tolist()
PROJECTIVE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 2]]
NOT_FINITE = [[1, 0, 0, float("nan")], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
GIANT = [[10**309, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
DEEP = b', "X": ' + b"[" * 200 + b"]" * 200
OFFSETS = "offsets.uint32"
POSITIONS = "positions.3.float32"

#: What is changed, the class of the error, and what its message says. Found by load.
BROKEN = {
    "no header": (replaced("header.json", None), HeaderError, "no header.json"),
    "empty header": (replaced("header.json", b""), HeaderError, "not valid JSON"),
    "header cut": (cut("header.json", 5), HeaderError, "not valid JSON"),
    "header not UTF-8": (replaced("header.json", b"\xff\xfe\x00"), HeaderError, "not valid JSON"),
    "header a list": (replaced("header.json", b"[]"), HeaderError, "holds a list, expected an object"),
    "no affine": (header(VOXEL_TO_RASMM=None), HeaderError, "lacks VOXEL_TO_RASMM"),
    "affine 3x3": (header(VOXEL_TO_RASMM=np.eye(3).tolist()), HeaderError, r"shape \(3, 3\), expected \(4, 4\)"),
    "affine text": (header(VOXEL_TO_RASMM="eye"), HeaderError, "'eye', expected 4 x 4 numbers"),
    "affine not finite": (header(VOXEL_TO_RASMM=NOT_FINITE), HeaderError, "not finite"),
    "affine's last row": (header(VOXEL_TO_RASMM=PROJECTIVE), HeaderError, r"last row \[0.0, 0.0, 0.0, 2.0\]"),
    "no dimensions": (header(DIMENSIONS=None), HeaderError, "lacks DIMENSIONS"),
    "two dimensions": (header(DIMENSIONS=[1, 2]), HeaderError, r"\[1, 2\], expected 3 whole numbers"),
    "negative dimension": (header(DIMENSIONS=[1, -2, 3]), HeaderError, "from 1 to 65535"),
    "huge dimension": (header(DIMENSIONS=[1, 2, 65536]), HeaderError, "from 1 to 65535"),
    "dimensions in a list": (header(DIMENSIONS=[[9, 9, 9]]), HeaderError, "expected 3 whole numbers"),
    "dimension true": (header(DIMENSIONS=[True, 9, 9]), HeaderError, "expected 3 whole numbers"),
    "dimension zero": (header(DIMENSIONS=[0, 9, 9]), HeaderError, "from 1 to 65535, or three zeros"),
    "affine of 309 digits": (header(VOXEL_TO_RASMM=GIANT), HeaderError, "expected 4 x 4 numbers"),
    "deep header": (
        lambda entries: entries.update({"header.json": entries["header.json"][:-1] + DEEP + b"}"}),
        HeaderError, "64 deep and more",
    ),
    "deeper header": (
        lambda entries: entries.update({"header.json": b"[" * 100_000}), HeaderError, "not valid JSON",
    ),
    "broken dimension": (header(DIMENSIONS=[1, 2, 2.5]), HeaderError, "whole numbers"),
    "no streamline count": (header(NB_STREAMLINES=None), HeaderError, "lacks NB_STREAMLINES"),
    "no vertex count": (header(NB_VERTICES=None), HeaderError, "lacks NB_VERTICES"),
    "negative count": (header(NB_STREAMLINES=-1), HeaderError, "NB_STREAMLINES is -1"),
    "count as text": (header(NB_VERTICES="15"), HeaderError, "NB_VERTICES is '15'|has 15 rows"),
    "count with a fraction": (header(NB_VERTICES=15.5), HeaderError, "NB_VERTICES is 15.5"),
    "count true": (header(NB_STREAMLINES=True), HeaderError, "NB_STREAMLINES is True"),
    "count null": (header(NB_STREAMLINES=[]), HeaderError, r"NB_STREAMLINES is \[\]"),
    "giant count": (header(NB_VERTICES=10**30), HeaderError, "NB_VERTICES is 10{30}"),
    "large count": (header(NB_VERTICES=10**15), ShapeError, "has 15 rows, NB_VERTICES is 10{15}"),
    "more vertices": (header(NB_VERTICES=16), ShapeError, "has 15 rows, NB_VERTICES is 16"),
    "fewer vertices": (header(NB_VERTICES=14), ShapeError, "has 15 rows, NB_VERTICES is 14"),
    "more streamlines": (header(NB_STREAMLINES=8), ShapeError, "NB_STREAMLINES is 8"),
    "fewer streamlines": (header(NB_STREAMLINES=5), ShapeError, "NB_STREAMLINES is 5"),
    "no positions": (replaced(POSITIONS, None), ShapeError, "positions missing"),
    "no offsets": (replaced(OFFSETS, None), ShapeError, "offsets missing"),
    "positions cut in a row": (cut(POSITIONS, 3), ShapeError, "has 177 bytes, expected a multiple of 12"),
    "positions cut": (cut(POSITIONS, 12), ShapeError, "has 14 rows, NB_VERTICES is 15"),
    "positions with 4 columns": (renamed(POSITIONS, "positions.4.float32"), ShapeError, "has 4 columns, expected 3"),
    "positions without columns": (renamed(POSITIONS, "positions.float32"), ShapeError, "has 1 columns, expected 3"),
    "positions of integers": (renamed(POSITIONS, "positions.3.int32"), DtypeError, "holds int32, expected float16"),
    "positions of objects": (renamed(POSITIONS, "positions.3.O"), DtypeError, "unknown data type 'O'"),
    "positions of complex": (renamed(POSITIONS, "positions.3.complex64"), DtypeError, "unknown data type 'complex64'"),
    "positions big-endian": (renamed(POSITIONS, "positions.3.>f4"), DtypeError, "unknown data type '>f4'"),
    "offsets of floats": (renamed(OFFSETS, "offsets.float32"), DtypeError, "holds float32, expected integers"),
    "offsets with columns": (renamed(OFFSETS, "offsets.7.uint32"), ShapeError, "offsets.7.uint32 has 7 columns"),
    "offsets start at 1": (
        replaced(OFFSETS, np.array([1, 3, 3, 8, 9, 13, 15], "<u4")), OffsetsError, "starts at 1, expected 0",
    ),
    "offsets decrease": (
        replaced(OFFSETS, np.array([0, 3, 3, 9, 8, 13, 15], "<u4")), OffsetsError, r"decreases from 9 \(row 3\) to 8",
    ),
    "offsets beyond the vertices": (
        replaced(OFFSETS, np.array([0, 3, 3, 8, 9, 13, 16], "<u4")), OffsetsError, "row 6 is 16, but there are only 15",
    ),
    "offsets end early": (
        replaced(OFFSETS, np.array([0, 3, 3, 8, 9, 13, 14], "<u4")), ShapeError, "offsets ends at 14",
    ),
    "offsets negative": (
        lambda entries: [
            entries.pop(OFFSETS), entries.update({"offsets.int32": np.array([0, -3, 3, 8, 9, 13, 15], "<i4").tobytes()})
        ],
        OffsetsError, "decreases from 0",
    ),
    "offsets wrap": (
        replaced(OFFSETS, np.array([0, 2**32 - 1, 3, 8, 9, 13, 15], "<u4")), OffsetsError, "decreases from 4294967295",
    ),
    "offsets cut": (cut(OFFSETS, 8), ShapeError, "offsets.uint32 has 5 rows, NB_STREAMLINES is 6, so 7 are expected"),
    "offsets cut in a row": (cut(OFFSETS, 1), ShapeError, "has 27 bytes, expected a multiple of 4"),
    "dps cut": (cut("dps/weight.float32", 4), ShapeError, "dps/weight.float32 has 5 rows, NB_STREAMLINES is 6"),
    "dps with other columns": (
        renamed("dps/color.3.uint8", "dps/color.2.uint8"), ShapeError, "color.2.uint8 has 9 rows, NB_STREAMLINES is 6",
    ),
    "dpv cut": (cut("dpv/vector.3.float64", 24), ShapeError, "dpv/vector.3.float64 has 14 rows, NB_VERTICES is 15"),
    "dpv cut in a row": (cut("dpv/vector.3.float64", 7), ShapeError, "has 353 bytes, expected a multiple of 24"),
    "dpv of unknown type": (renamed("dpv/fa.float16", "dpv/fa.float128"), DtypeError, "unknown data type 'float128'"),
    "dpv without a type": (renamed("dpv/fa.float16", "dpv/fa"), ArrayNameError, "'dpv/fa' has no data type"),
    "dps twice": (replaced("dps/weight.float64", bytes(48)), ArrayNameError, "dps/weight is there twice, as"),
    "positions twice": (
        replaced("positions.3.float64", bytes(15 * 24)), ArrayNameError, "positions is there twice",
    ),
    "offsets twice": (replaced("offsets.uint64", bytes(56)), ArrayNameError, "offsets is there twice"),
    "group with columns": (renamed("groups/CC.uint32", "groups/CC.2.uint32"), ShapeError, "has 2 columns, expected 1"),
    "group of floats": (renamed("groups/CC.uint32", "groups/CC.float32"), DtypeError, "holds float32, expected int"),
    "group cut": (cut("groups/CC.uint32", 1), ShapeError, "groups/CC.uint32 has 7 bytes"),
    "dpg of two rows": (replaced("dpg/CC/x.float32", bytes(8)), ShapeError, "has 2 rows"),
    "dpg without a group": (renamed("dpg/CC/x.float32", "dpg/x.float32"), ArrayNameError, "no part of a TRX file"),
    "dpg of a missing group": (renamed("dpg/CC/x.float32", "dpg/AF/x.float32"), FormatError, "not there: AF"),
    "unknown folder": (replaced("data/x.float32", bytes(4)), ArrayNameError, "'data/x.float32' is no part"),
    "unknown file": (replaced("readme.txt", b"hello"), DtypeError, "'readme.txt': unknown data type"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["archive", "deflated", "folder"])
@pytest.mark.parametrize(("change", "error", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_files(tmp_path, kind, change, error, message):
    entries = entries_of(make_trx_arrays(**GOOD))
    change(entries)
    if kind == "folder":
        path = write_entries_folder(entries, tmp_path / "broken")
    else:
        path = write_entries(entries, tmp_path / "broken.trx", 8 if kind == "deflated" else 0)
    with pytest.raises(error, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert find_problems(path)
    assert not list(Path(os.environ["TRX_TMPDIR"]).iterdir())


def test_the_unbroken_file_is_good(tmp_path):
    path = write_entries(entries_of(make_trx_arrays(**GOOD)), tmp_path / "good.trx")
    assert find_problems(path) == []
    assert load(path).header["NB_VERTICES"] == NB_VERTICES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            replaced("groups/CC.uint32", np.array([0, 6], "<u4")),
            "groups/CC row 1 is streamline 6, but NB_STREAMLINES is 6",
        ),
        (replaced("groups/CC.uint32", np.array([2**32 - 1], "<u4")), "groups/CC row 0 is streamline 4294967295"),
        (header(VOXEL_TO_RASMM=SINGULAR), "singular"),
    ],
)
def test_values_that_load_does_not_read_are_found_by_validate_and_save(tmp_path, change, message):
    entries = entries_of(make_trx_arrays(**GOOD))
    change(entries)
    path = write_entries(entries, tmp_path / "broken.trx")
    with pytest.raises(FormatError, match=message):
        validate(path)
    if "singular" not in message:
        trx = load(path)
        for use in (lambda: save(trx, tmp_path / "out.trx"), lambda: trx.get_group("CC"), lambda: trx.append(trx)):
            with pytest.raises(FormatError, match=message):
                use()
    assert not (tmp_path / "out.trx").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../evil.float32",
        "/etc/evil.float32",
        "dps/../../evil.float32",
        "C:evil.float32",
        "dps\\evil.float32",
        "dpg/CC/../../../x.bit",
    ],
)
@pytest.mark.parametrize("method", [0, 8])
def test_names_that_leave_the_folder(tmp_path, name, method):
    entries = {**entries_of(make_trx_arrays(**GOOD)), name.replace("\\", "/"): bytes(24)}
    path = write_entries(entries, tmp_path / "broken.trx", method)
    if "\\" in name:  # zipfile itself turns them round
        path.write_bytes(path.read_bytes().replace(name.replace("\\", "/").encode(), name.encode()))
    with pytest.raises(ArrayNameError, match=r"broken\.trx: entry .* would leave the container's folder"):
        load(path)
    assert not (tmp_path.parent / "evil.float32").exists()


def test_duplicate_entries(tmp_path):
    path = tmp_path / "broken.trx"
    write_entries(entries_of(make_trx_arrays(**GOOD)), path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("dps/weight.float32", bytes(24))
    with pytest.raises(ArchiveError, match=r"'dps/weight.float32' is there twice"):
        load(path)


def test_encrypted_archive(tmp_path):
    path = write_entries(entries_of(make_trx_arrays(**GOOD)), tmp_path / "broken.trx")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.start_dir
    data[place + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="'header.json' is encrypted"):
        load(path)


@pytest.mark.parametrize("method", [0, 8])
def test_truncated_anywhere(tmp_path, method):
    whole = write_entries(entries_of(make_trx_arrays(**GOOD)), tmp_path / "whole.trx", method).read_bytes()
    path = tmp_path / "cut.trx"
    for nbytes in range(0, len(whole), 37):
        path.write_bytes(whole[:nbytes])
        with pytest.raises(ArchiveError, match="cut.trx"):
            load(path)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"PK\3\4", b"TRACK" + bytes(995), b"\x1f\x8b" + bytes(100), bytes(5000)]
)
def test_other_files(tmp_path, content):
    (tmp_path / "a.trx").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"a\.trx(: no complete zip archive| is no TRX file: it is )"):
        load(tmp_path / "a.trx")


@pytest.mark.parametrize("method", [0, 8])
def test_wrong_crc(tmp_path, method):
    path = write_entries(entries_of(make_trx_arrays(**GOOD)), tmp_path / "a.trx", method)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("dpv/vector.3.float64")
        place = info.header_offset + 30 + len(info.filename) + 20
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    if method:
        with pytest.raises(ArchiveError, match="vector.3.float64"):
            load(path)
    else:
        load(path)
    with pytest.raises(ArchiveError, match="vector.3.float64"):
        validate(path)
    assert not list(Path(os.environ["TRX_TMPDIR"]).iterdir())


def test_data_that_a_record_states_beyond_the_file(tmp_path):
    path = write_entries(entries_of(make_trx_arrays(**GOOD)), tmp_path / "a.trx")
    data = bytearray(path.read_bytes())
    place = data.find(b"PK\1\2", data.find(b"PK\1\2") + 4)
    data[place + 20 : place + 28] = struct.pack("<2L", 2**31, 2**31)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="states 2147483648 bytes"):
        load(path)


def test_an_entry_without_a_name(tmp_path):
    path = write_entries({**entries_of(make_trx_arrays(**GOOD)), "x.bit": b""}, tmp_path / "a.trx")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"x.bit", b"\0.bit"))  # zipfile cuts names at a NUL
    with pytest.raises(FormatError, match="a.trx"):
        load(path)


def test_entries_that_overlap(tmp_path):
    path = write_entries(entries_of(make_trx_arrays(**GOOD)), tmp_path / "a.trx")
    with zipfile.ZipFile(path) as archive:
        first, second = archive.infolist()[1:3]
        name = second.filename
        place = archive.start_dir
    data = bytearray(path.read_bytes())
    place = data.find(name.encode(), place) - 46
    # The second entry's record is put inside the data of the first.
    record = data[second.header_offset : second.header_offset + 30 + len(name)]
    inside = first.header_offset + 30 + len(first.filename) + 8
    data[inside : inside + len(record)] = record
    data[place + 42 : place + 46] = struct.pack("<L", inside)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="overlap"):
        load(path)


def test_giant_claims_allocate_nothing(tmp_path):
    """A deflated entry that states 2^40 bytes, and a header that states as many vertices."""
    entries = entries_of(make_trx_arrays(**GOOD))
    header(NB_VERTICES=2**40)(entries)
    path = write_entries(entries, tmp_path / "a.trx")
    code = (
        "import resource, sys, trxlib; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30));"
        "\ntry:\n trxlib.load(sys.argv[1])\nexcept trxlib.errors.FormatError as error:\n print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(trxlib.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    assert "NB_VERTICES is 1099511627776" in done.stdout
    assert resource.getrlimit(resource.RLIMIT_AS)


def test_folder_that_is_no_trx_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(HeaderError, match=r"no header.json, so this is no TRX file"):
        load(tmp_path / "photos")
    write_entries_folder(entries_of(make_trx_arrays(**GOOD)), tmp_path / "outer" / "inner")
    with pytest.raises(
        HeaderError, match=r"found 'inner/header.json': name that folder instead, or pack the content of that"
    ):
        load(tmp_path / "outer")


WHOLE = entries_of(make_trx_arrays(**GOOD))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_crash(tmp_path, data):
    """Change some bytes anywhere: either an error of the tree, or a file that can be used."""
    method = data.draw(st.sampled_from([0, 8]))
    path = write_entries(WHOLE, tmp_path / "a.trx", method)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    with contextlib.suppress(TrxError), load(path) as trx:
        save(trx, tmp_path / "b.trx")
        assert isinstance(load(tmp_path / "b.trx"), TrxFile)
