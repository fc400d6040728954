"""Files of other formats than TRX that lie: each gives the right error, which names the file and what was found.

Counts, sizes and places that are not those of the data, giant numbers, hostile names, and the wrong byte order.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.formats.made import some_streamlines, tck_bytes, trk_bytes
from tests.fuzz import seeds
from tests.fuzz.targets import as_values, read_reference, read_tractogram, read_transform
from trxlib.cohort.sheet import find_mistakes
from trxlib.errors import (
    CountError,
    FormatError,
    HeaderError,
    HeaderWarning,
    MetadataMismatchError,
    ShapeError,
    TrxError,
    UnsupportedFormatError,
)

LINES = some_streamlines(seeds.LENGTHS)
TRK, TCK, TSF = trk_bytes(LINES), tck_bytes(LINES, offset=200), seeds.tsf()["sub_fa.tsf"]
NPY, REFERENCES, TRANSFORMS = seeds.npy()["w0.npy"], seeds.references(), seeds.transforms()
SCHEMA = yaml.safe_load((Path(__file__).parents[2] / "workflow" / "schemas" / "samples.schema.yaml").read_text())


def put(data: bytes, place: int, code: str, *values: float) -> bytes:
    """Put numbers over those at a place."""
    piece = struct.pack(code, *values)
    return data[:place] + piece + data[place + len(piece) :]


def values_of(lengths: tuple[int, ...], stamp: str = seeds.STAMP[0]) -> bytes:
    rows = [np.ones(length) for length in lengths]
    return tck_bytes(rows, magic="mrtrix track scalars", ncols=1, fields=(stamp,), offset=150)


SPOILT = {
    "a.trk": {
        "one more": (trk_bytes(LINES, count=5), CountError, "counts 5 streamlines, the file holds fewer"),
        "one less": (trk_bytes(LINES, count=3), CountError, "counts 3 streamlines, the file holds more"),
        "giant count": (trk_bytes(LINES, count=2**31 - 1), CountError, "counts 2147483647 streamlines"),
        "negative count": (trk_bytes(LINES, count=-1), HeaderError, "n_count is -1, expected 0 or more"),
        "giant record": (put(TRK, 1000, "<i", 2**31 - 1), FormatError, "record 0 at byte 1000 says 2147483647"),
        "negative record": (put(TRK, 1000, "<i", -3), FormatError, "record 0 at byte 1000 says -3 vertices"),
        "other order": (put(TRK, 1000, ">i", 3), FormatError, "says 50331648 vertices, .* 136 bytes are left"),
        "cut": (TRK[:-5], FormatError, "record 3 at byte 1120 says 1 vertices, 16 bytes, and 11 bytes are left"),
        "giant width": (put(TRK, 36, "<h", 32767), FormatError, r"n_scalars \(32767\)"),
        "negative width": (put(TRK, 36, "<h", -1), HeaderError, "n_scalars is -1"),
        "size of header": (trk_bytes(LINES, hdr_size=999), HeaderError, "hdr_size is 999, expected 1000"),
        "singular": (trk_bytes(LINES, affine=np.diag([1, 0, 1, 1])), HeaderError, "vox_to_ras is singular"),
        "NaN": (trk_bytes(LINES, affine=np.full((4, 4), np.nan)), HeaderError, "vox_to_ras holds values that are not"),
        "negative grid": (trk_bytes(LINES, dim=(-1, 6, 5)), HeaderError, r"dim is \[-1, 6, 5\]"),
        "axis twice": (trk_bytes(LINES, order=b"RRS"), HeaderError, "voxel_order is 'RRS'"),
    },
    "a.tck": {
        "behind the end": (TCK.replace(b". 200", b". 999"), HeaderError, "'file: . 999' lies outside the data"),
        "in the header": (TCK.replace(b". 200", b". 4  "), HeaderError, "'file: . 4' lies outside the data"),
        "negative": (TCK.replace(b". 200", b". -20"), HeaderError, "'file: . -20' in the header"),
        "other file": (TCK.replace(b". 200", b"/etc/x 200"), HeaderError, "'file: /etc/x 200' in the header"),
        "integers": (TCK.replace(b"Float32LE", b"Int32LE"), HeaderError, "datatype is 'Int32LE'"),
        "other order": (TCK.replace(b"LE", b"BE"), FormatError, "streamline 0 at byte 200 has 15 vertices and no end"),
        "no end": (TCK.replace(b"END", b"EMD"), HeaderError, "no line END in the first"),
        "cut": (TCK[:-5], FormatError, "streamline 4 at byte 368 has 0 vertices and 7 of 12 bytes and no end"),
    },
    "sub_fa.tsf": {
        "longer": (values_of((3, 2, 5, 1)), ShapeError, "streamline 2 has 5 values, in .*sub.tck it has 4 vertices"),
        "other tracks": (values_of(seeds.LENGTHS, "timestamp: 1"), MetadataMismatchError, "has the timestamp '1'"),
        "other order": (TSF.replace(b"LE", b"BE"), FormatError, "streamline 0 at byte 150 has 15 vertices and no end"),
    },
    "w.npy": {
        "giant": (NPY.replace(b"(4,), }", b"(9999999999999,), }"), FormatError, r"no \.npy file of numbers"),
        "negative": (NPY.replace(b"(4,)", b"(-4,)"), FormatError, "negative dimensions"),
        "objects": (NPY.replace(b"'<f8'", b"'|O' "), FormatError, "objects"),
        "rows": (NPY.replace(b"(4,)", b"(3,)"), ShapeError, "3 rows, but .*sub.tck has 4 streamlines"),
    },
    "w.txt": {
        "rows": (b"1\n2\n3\n", ShapeError, "3 rows, but .*sub.tck has 4 streamlines"),
        "giant": (b"1\n2\n1e400\n4\n", FormatError, "line 3: 1e400 is beyond float32"),
        "word": (b"1\n2\nx\n4\n", FormatError, "line 3: .*'x'"),
    },
    "w.json": {
        "rows": (b"[1, 2, 3]", ShapeError, "3 rows, but .*sub.tck has 4 streamlines"),
        "nested": (b"[" * 5000, FormatError, "begins like JSON, and is none"),
        "giant": (b"[1, 2, 3, %s]" % (b"9" * 4000), FormatError, "row 3: 9+ is beyond float32"),
    },
    "image.nii": {
        "negative": (put(REFERENCES["image.nii"], 42, "<h", -5), HeaderError, r"dimensions is \[-5, 6, 7\]"),
        "axes": (put(REFERENCES["image.nii"], 40, "<h", 77), HeaderError, "its header cannot be read"),
        "NaN": (put(REFERENCES["image.nii"], 280, "<f", np.nan), HeaderError, "affine holds values that are not"),
    },
    "image.mgh": {
        "negative": (put(REFERENCES["image.mgh"], 4, ">i", -5), HeaderError, r"dimensions is \[-5, 6, 7\]"),
        "cut": (REFERENCES["image.mgh"][:40], HeaderError, "its header cannot be read"),
    },
    "image.mif": {
        "giant": (REFERENCES["image.mif"].replace(b"5,6,7", b"99999999999,6,7"), HeaderError, r"\[99999999999, 6, 7\]"),
        "infinite": (REFERENCES["image.mif"].replace(b"vox: 1.5", b"vox: inf"), HeaderError, r"vox is \[inf, 2.0"),
    },
    "image.nrrd": {
        "giant": (REFERENCES["image.nrrd"].replace(b"s: 5 6", b"s: %s 6" % (b"9" * 20)), HeaderError, r"\[9{20}, 6"),
        "axes": (REFERENCES["image.nrrd"].replace(b"5 6 7", b"5 6"), HeaderError, "has 3 axes and sizes 2"),
    },
    "grid.txt": {
        "NaN": (REFERENCES["grid.txt"].replace(b"0 1 0", b"0 nan 0"), HeaderError, "affine holds values that are not"),
        "singular": (REFERENCES["grid.txt"].replace(b"0 1 0", b"0 0 0"), HeaderError, "affine is singular"),
        "giant": (REFERENCES["grid.txt"].replace(b"7", b"1e30"), HeaderError, "expected 3 whole numbers from 1"),
    },
    "a.tfm": {
        "one more": (
            TRANSFORMS["a.tfm"].replace(b"Parameters: ", b"Parameters: 1 ", 1), HeaderError,
            "AffineTransform with 13 Parameters and 3 FixedParameters, expected 12 and 3",
        ),
        "class": (TRANSFORMS["a.tfm"].replace(b"Affine", b"Spiral"), UnsupportedFormatError, "holds a SpiralTransform"),
    },
    "a.mat": {
        "giant": (put(TRANSFORMS["a.mat"], 4, "<i", 2**31 - 1), HeaderError, "ends inside the array AffineTransform"),
        "other order": (put(TRANSFORMS["a.mat"], 4, ">i", 12), HeaderError, "ends inside the array AffineTransform"),
    },
    "a.lta": {
        "type": (TRANSFORMS["a.lta"].replace(b"= 0 #", b"= 14 #"), UnsupportedFormatError, "has type 14"),
        "cut": (TRANSFORMS["a.lta"][:200], HeaderError, "has no matrix after a line '1 4 4'"),
    },
    "a.mif": {
        "cut": (TRANSFORMS["a.mif"][:-9], HeaderError, "bytes, too few for the [0-9]+ that its header tells"),
        "axis twice": (TRANSFORMS["a.mif"].replace(b"+1,+2", b"+1,+1"), HeaderError, r"layout is '\+1,\+1,\+3,\+0'"),
    },
    "itk.nii": {
        "giant": (put(TRANSFORMS["itk.nii"], 42, "<3h", *[32767] * 3), HeaderError, "too few for the 422173811540308"),
        "cut": (TRANSFORMS["itk.nii"][:-9], HeaderError, "too few for the 1120 that its header tells"),
    },
    "ras.txt": {
        "singular": (b"1 0 0 0\n0 0 0 0\n0 0 1 0\n0 0 0 1\n", HeaderError, "is singular"),
    },
    "a.h5": {
        "cut": (TRANSFORMS["a.h5"][:-500], HeaderError, "cannot be read as HDF5"),
    },
}  # fmt: skip
READERS = {"a.trk": read_tractogram, "a.tck": read_tractogram, "sub_fa.tsf": as_values("dpv")}
READERS |= {name: as_values("dps") for name in ("w.npy", "w.txt", "w.json")}
CASES = [(name, what) for name, cases in SPOILT.items() for what in cases]


@pytest.mark.filterwarnings("ignore::trxlib.errors.TrxWarning")
@pytest.mark.parametrize(("name", "what"), CASES)
def test_what_a_file_states_is_compared_with_what_it_holds(tmp_path: Path, name: str, what: str) -> None:
    data, error, message = SPOILT[name][what]
    good = {**REFERENCES, **TRANSFORMS}.get(name)
    assert data != good
    path = tmp_path / name
    path.write_bytes(data)
    read = READERS.get(name) or (read_reference if name in REFERENCES else read_transform)
    with pytest.raises(TrxError, match=message) as caught:
        read(path)
    assert caught.type is error
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("names", "becomes"), [((b"../x",), "___x"), ((b"fa", b"fa"), "fa_2"), ((b"a\x1b[2K",), r"a_\[2K")]
)
def test_hostile_names_in_a_trk_become_others_with_a_warning(
    tmp_path: Path, names: tuple[bytes, ...], becomes: str
) -> None:
    path = tmp_path / "a.trk"
    path.write_bytes(trk_bytes(LINES, scalars=np.ones((10, len(names)), "f4"), scalar_names=names))
    with pytest.warns(HeaderWarning, match=rf"a\.trk: scalar .*; it becomes '{becomes}'") as said:
        read_tractogram(path)
    assert "\x1b" not in str(said[0].message)


@pytest.mark.parametrize("count", ["5", "-7", "many", "9" * 400])
def test_a_count_in_a_whole_tck_that_lies_is_warned_of(tmp_path: Path, count: str) -> None:
    path = tmp_path / "a.tck"
    path.write_bytes(tck_bytes(LINES, count=count))
    with pytest.warns(HeaderWarning, match=rf"a\.tck: the header counts {count[:30]}\d* streamlines, the data hold 4"):
        read_tractogram(path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"sub-01", b"sub\0-01", r"line 2, column subject: 'sub\\x00-01' is not a fit name"),
        (b"sub-01", b"../../x", r"line 2, column subject: '\.\./\.\./x' is not a fit name"),
        (b"sub-01", b"s" * 300, "line 2, column subject: 's+'... is longer than 200 bytes"),
        (b"one\t", b"o\x1b[2Kne\t", r"line 2, column cohort: 'o\\x1b\[2Kne' is not a fit name"),
        (b"plain.trk", b"a\0.trk", r"line 2, column tractogram: 'a\\x00\.trk' does not exist"),
        (b"dps_weight", b"dps_../w", r"line 1, column 'dps_\.\./w': dps key '\.\./w' cannot be a file name"),
        (b"bundle", b"session", "line 1: column 'session' stands there 2 times"),
        (b"cohort", b"\xff", r"the sample sheet cannot be read \(not UTF-8 text\)"),
    ],
)
def test_hostile_cells_of_a_sheet_are_named_by_line_and_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes, after: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("plain.trk", "sub.tck"):
        Path(name).write_bytes(b"x")
    path = Path("samples.tsv")
    good = seeds.sheets()["samples.tsv"]
    path.write_bytes(good)
    assert find_mistakes(path, SCHEMA, ())[1] == []
    path.write_bytes(good.replace(before, after, 1))
    (mistake,) = find_mistakes(path, SCHEMA, ())[1]
    assert mistake.text.startswith("samples.tsv")
    assert re.search(message, mistake.text), mistake.text
