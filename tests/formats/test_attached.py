"""Files with values beside a tractogram: text, CSV, TSF and npy; counts are checked with file and row."""

from __future__ import annotations

import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.made import (
    ANYWHERE,
    GRID,
    SIZES,
    open_source,
    read_all,
    some_streamlines,
    tck_bytes,
    trk_bytes,
    write,
)
from tests.helpers import make_trx_arrays, read_plain, write_plain_zip
from trxlib.commands.convert import ConvertInput, convert
from trxlib.errors import (
    ArrayNameError,
    DataLossWarning,
    DtypeError,
    FormatError,
    HeaderError,
    HeaderWarning,
    InputError,
    InputNotFoundError,
    ShapeError,
)
from trxlib.formats.rows import read_rows
from trxlib.model.space import Space

SPACE = Space(np.diag([*SIZES, 1.0]), GRID)
LENGTHS = (3, 0, 4, 40)
#: Of the tracks, and of all that belongs to them.
STAMP = ("timestamp: 1580289707.4327952862",)


@pytest.fixture
def tck(tmp_path: Path) -> Path:
    """Four streamlines, the second one empty."""
    return write(tmp_path / "a.tck", tck_bytes(some_streamlines(LENGTHS), fields=STAMP))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n2.5\n-3e2\n0\n", [[1], [2.5], [-300], [0]]),
        ("# command_history: tcksift2\n1 2.5 -3e2 0\n", [[1], [2.5], [-300], [0]]),
        ("a,b\n1,2\n3,4 # last\n\n5,6\n7,8", [[1, 2], [3, 4], [5, 6], [7, 8]]),
        ("1;2\r\n3;4\r\n5;6\r\n7;nan\r\n", [[1, 2], [3, 4], [5, 6], [7, np.nan]]),
        ("\ufeff1\n2\n3\n4", [[1], [2], [3], [4]]),
        (
            "a,,c\n1, 2,3\n4 ,5,6,\n7,8\t, 9\n-inf,NaN,Infinity\n",
            [[1, 2, 3], [4, 5, 6], [7, 8, 9], [-np.inf, np.nan, np.inf]],
        ),
    ],
)
def test_text_beside_a_tractogram(tmp_path: Path, slicing: str, tck: Path, text: str, expected: Any) -> None:
    path = write(tmp_path / "w.txt", text.encode())
    source = open_source(tck, reference=SPACE, dps={"w": path})
    assert source.info.dps["w"].dtype == np.float32
    np.testing.assert_array_equal(read_all(source)["dps"]["w"], expected)


@pytest.mark.parametrize("datatype", ["Float32LE", "Float32BE", "Float64LE"])
@pytest.mark.parametrize("marker", [True, False])
def test_tsf_beside_a_tractogram(tmp_path: Path, slicing: str, tck: Path, datatype: str, marker: bool) -> None:
    values = [np.arange(length, dtype=np.float64) + length for length in LENGTHS]
    data = tck_bytes(values, magic="mrtrix track scalars", ncols=1, datatype=datatype, marker=marker, fields=STAMP)
    source = open_source(tck, reference=SPACE, dpv={"fa": write(tmp_path / "fa.tsf", data)})
    assert source.info.dpv["fa"].dtype == ("f8" if "64" in datatype else "f4")
    np.testing.assert_array_equal(read_all(source)["dpv"]["fa"][:, 0], np.concatenate(values))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((3, 0, 5, 40), r"fa\.tsf: streamline 2 has 5 values, in .*a\.tck it has 4 vertices"),
        ((3, 0, 4), r"fa\.tsf: streamline 3 has no values"),
        ((3, 0, 4, 40, 1), r"fa\.tsf: more streamlines than the 4 of .*a\.tck"),
        ((), r"fa\.tsf: streamline 0 has no values"),
    ],
)
def test_a_tsf_of_another_tractogram(
    tmp_path: Path, slicing: str, tck: Path, lengths: tuple[int, ...], message: str
) -> None:
    values = [np.zeros(length) for length in lengths]
    path = write(tmp_path / "fa.tsf", tck_bytes(values, magic="mrtrix track scalars", ncols=1, fields=STAMP))
    with pytest.raises(ShapeError, match=message):
        read_all(open_source(tck, reference=SPACE, dpv={"fa": path}))


def test_npy_beside_a_tractogram(tmp_path: Path, slicing: str, tck: Path) -> None:
    label, vector = np.arange(4, dtype=np.int16), np.random.default_rng(0).random((47, 3)).astype(">f8")
    np.save(tmp_path / "label.npy", label)
    np.save(tmp_path / "vector.npy", vector)
    source = open_source(
        tck, reference=SPACE, dps={"label": tmp_path / "label.npy"}, dpv={"vector": tmp_path / "vector.npy"}
    )
    found = read_all(source)
    assert source.info.dps["label"].dtype == np.int16
    assert found["dpv"]["vector"].dtype == np.dtype("<f8")
    np.testing.assert_array_equal(found["dps"]["label"][:, 0], label)
    np.testing.assert_array_equal(found["dpv"]["vector"], vector)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2"])
def test_npy_in_fortran_order(tmp_path: Path, slicing: str, tck: Path, dtype: str) -> None:
    label = np.asfortranarray(np.arange(8).reshape(4, 2).astype(dtype))
    vector = np.arange(141).reshape(3, 47).astype(dtype).T
    np.save(tmp_path / "label.npy", label)
    np.save(tmp_path / "vector.npy", vector)
    np.save(tmp_path / "row.npy", np.arange(4, dtype=dtype).reshape(1, 4))
    paths = {key: tmp_path / f"{key}.npy" for key in ("label", "row")}
    found = read_all(open_source(tck, reference=SPACE, dps=paths, dpv={"vector": tmp_path / "vector.npy"}))
    np.testing.assert_array_equal(found["dps"]["label"], label)
    np.testing.assert_array_equal(found["dps"]["row"][:, 0], np.arange(4))
    np.testing.assert_array_equal(found["dpv"]["vector"], vector)
    bundle = write_plain_zip(make_trx_arrays(lengths=LENGTHS, groups={}), tmp_path / "in.trx")
    for source in (tck, bundle):
        item = ConvertInput(source, dps=paths, dpv={"vec": tmp_path / "vector.npy"}, reference=SPACE)
        with nullcontext() if source == tck else pytest.warns(HeaderWarning, match="the reference's go"):
            convert(item, tmp_path / "out.trx", **ANYWHERE)
        result = read_plain(tmp_path / "out.trx")
        np.testing.assert_array_equal(result.dps["label"], label)
        np.testing.assert_array_equal(result.dpv["vec"], vector)


def npy(header: bytes, *, version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2 if version == 1 else 4, "little") + header


@pytest.mark.parametrize(
    "data",
    [
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3), }\n"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 3), }\n"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }\n"),  # no data
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': 4, }\n"),
        npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (4,), }\n"),
        npy(b"{'descr': 'zz', 'fortran_order': False, 'shape': (4,), }\n"),
        npy(b"(" * 9000),
        npy(b"[" * 500 + b"]" * 500),
        npy(b'"""'),
        npy(b"\xff\0", version=3),
        npy(b"{}", version=9),
        npy(b"x" * 20_000),
        *(b"", b"PK\x03\x04", b"\x93NUMPY", b"1\n2\n"),
    ],
)
def test_damaged_npy(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FormatError, match=r"w\.npy is no \.npy file of numbers"):
        read_rows(write(tmp_path / "w.npy", data))


def test_what_does_not_fit(tmp_path: Path, tck: Path) -> None:
    def attach(name: str, data: bytes, section: str = "dps", key: str = "w") -> None:
        read_all(open_source(tck, reference=SPACE, **{section: {key: write(tmp_path / name, data)}}))

    with pytest.raises(ShapeError, match=r"w\.txt: 3 rows, but .*a\.tck has 4 streamlines; row 3 is the first"):
        attach("w.txt", b"1\n2\n3\n")
    with pytest.raises(ShapeError, match="0 rows"):
        attach("w.txt", b"# nothing\n")
    with pytest.raises(ShapeError, match="has 47 vertices"):
        attach("w.txt", b"1\n2\n3\n4\n", "dpv")
    with pytest.raises(FormatError, match=r"w\.txt: line 3: could not convert string to float: 'x'"):
        attach("w.txt", b"1\n2\nx\n4\n")
    with pytest.raises(FormatError, match=r"w\.txt: line 2 has 2 numbers, expected 1"):
        attach("w.txt", b"1\n2 3\n4\n5\n")
    with pytest.raises(InputNotFoundError, match=r"gone\.txt does not exist"):
        open_source(tck, reference=SPACE, dps={"w": tmp_path / "gone.txt"})
    with pytest.raises(ArrayNameError, match=r"dps key 'a\.b'"):
        attach("w.txt", b"1\n2\n3\n4\n", key="a.b")
    with pytest.raises(HeaderError, match="a line 'mrtrix track scalars'"):
        attach("fa.tsf", b"mrtrix track scalars but not quite\nEND\n", "dpv")
    with pytest.raises(FormatError, match=r"w\.npy is no \.npy file"):
        attach("w.npy", b"\x93NUMPY broken")
    np.save(tmp_path / "c.npy", np.zeros(4, complex))
    with pytest.raises(DtypeError, match=r"c\.npy: .*complex128"):
        open_source(tck, reference=SPACE, dps={"w": tmp_path / "c.npy"})
    np.save(tmp_path / "c.npy", np.zeros((4, 2, 2)))
    with pytest.raises(ShapeError, match=r"c\.npy has shape \(4, 2, 2\)"):
        open_source(tck, reference=SPACE, dps={"w": tmp_path / "c.npy"})


def test_a_key_that_is_taken(tmp_path: Path) -> None:
    data = trk_bytes(some_streamlines((2,)), properties=np.ones((1, 1), np.float32), property_names=(b"w",))
    with pytest.raises(InputError, match=r"dps/w of .* is in the tractogram already"):
        open_source(write(tmp_path / "a.trk", data), dps={"w": write(tmp_path / "w.txt", b"1\n")})


def test_rows_stay_with_their_streamlines_when_some_are_dropped(tmp_path: Path, slicing: str, tck: Path) -> None:
    weights = write(tmp_path / "w.txt", b"1\n2\n3\n4\n")
    values = write(tmp_path / "fa.npy", b"")
    np.save(values, np.arange(47, dtype=np.float32))
    with pytest.warns(DataLossWarning):
        source = open_source(tck, reference=SPACE, dps={"w": weights}, dpv={"fa": values}, drop_empty=True)
    found = read_all(source)
    assert found["dps"]["w"].ravel().tolist() == [1, 3, 4]
    assert found["dpv"]["fa"].ravel().tolist() == list(range(47))


def test_the_fingerprint_covers_all_files(tmp_path: Path, tck: Path) -> None:
    path = write(tmp_path / "w.txt", b"1\n2\n3\n4\n")
    content = tck.read_bytes() + path.read_bytes()
    source = open_source(tck, reference=SPACE, dps={"w": path})
    assert source.fingerprint() == f"crc32:{zlib.crc32(content):08x}:{len(content)}"
