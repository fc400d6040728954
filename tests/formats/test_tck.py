"""TCK: every kind of header and data, in any slicing; and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
import warnings
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest

from tests.formats.made import GRID, SIZES, open_source, read_all, some_streamlines, tck_bytes, write
from trxlib.errors import CountError, FormatError, HeaderError, HeaderWarning, InputError, TrxError
from trxlib.formats.tck import reader
from trxlib.formats.tck.reader import TckSource
from trxlib.model.space import Space

SPACE = Space(np.diag([*SIZES, 1.0]), GRID)
DATATYPES = ["Float32LE", "Float32BE", "Float64LE", "Float64BE"]


@pytest.mark.parametrize(("gz", "trust"), [(False, True), (False, False), (True, True)])
@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("lengths", [(), (0,), (3,), (0, 3, 0, 5, 0), (1, 40, 2, 0, 0, 7)])
def test_coordinates_and_counts(
    tmp_path: Path, slicing: str, lengths: Any, datatype: str, gz: bool, trust: bool
) -> None:
    lines = some_streamlines(lengths)
    path = write(tmp_path / "a.tck", tck_bytes(lines, datatype=datatype), gz=gz)
    source = TckSource(path, reference=SPACE, trust_count=trust)
    assert source.info.positions_dtype == (np.float64 if "64" in datatype else np.float32)
    found = read_all(source)
    assert found["lengths"].tolist() == list(lengths)
    np.testing.assert_array_equal(found["positions"], np.concatenate([np.zeros((0, 3)), *lines]))
    assert source.info.space is SPACE


def test_a_streamline_longer_than_all_slices(tmp_path: Path, slicing: str) -> None:
    lines = some_streamlines((2, 20_000, 0, 3))
    source = TckSource(write(tmp_path / "a.tck", tck_bytes(lines)), reference=SPACE)
    found = read_all(source)
    assert found["lengths"].tolist() == [2, 20_000, 0, 3]
    np.testing.assert_array_equal(found["positions"], np.concatenate(lines))


def test_fingerprint_and_progress(tmp_path: Path, slicing: str) -> None:
    for gz in (False, True):
        path = write(tmp_path / "a.tck", tck_bytes(some_streamlines((30, 2))), gz=gz)
        source = TckSource(path, reference=SPACE)
        progress = Mock()
        list(source.chunks(progress))
        content = path.read_bytes()
        assert progress.call_args == call(len(content), len(content))
        path.unlink()
        assert source.fingerprint() == f"crc32:{zlib.crc32(content):08x}:{len(content)}"


def test_without_a_reference(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tck", tck_bytes(some_streamlines((2,))))
    with pytest.raises(InputError, match=r"a\.tck: a TCK file has no affine .* give a reference"):
        TckSource(path)


@pytest.mark.parametrize("count", [None, 0, 1, 10, "0000000002"])
def test_missing_and_wrong_counts(tmp_path: Path, slicing: str, count: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = some_streamlines((4, 0, 2))
    path = write(tmp_path / "a.tck", tck_bytes(lines, count=count))
    said = "has no count" if count is None else f"counts {int(count)} streamlines"
    if count is None or int(count) > 9:  # no such number of delimiters fits the size
        with pytest.warns(HeaderWarning, match=f"{said}, the data hold 3"):
            source = TckSource(path, reference=SPACE)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(reader, "_COUNT_BYTES", 0)  # as in a large file
            with pytest.raises(CountError, match=r"a\.tck.*accept_count_mismatch"):
                read_all(TckSource(path, reference=SPACE))
            with pytest.warns(HeaderWarning, match=f"{said}, the data hold 3"):
                counted = TckSource(path, reference=SPACE, accept_count_mismatch=True)
        assert read_all(counted)["lengths"].tolist() == [4, 0, 2]
        with pytest.warns(HeaderWarning, match=f"{said}, the data hold 3"):
            source = TckSource(path, reference=SPACE)
    assert read_all(source)["lengths"].tolist() == [4, 0, 2]


def test_a_missing_end_marker_is_warned_of_once(tmp_path: Path, slicing: str) -> None:
    lines = some_streamlines((4, 0, 2))
    path = write(tmp_path / "a.tck", tck_bytes(lines, marker=False))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_all(TckSource(path, reference=SPACE))
    assert found["lengths"].tolist() == [4, 0, 2]
    assert [str(item.message).partition(": ")[2] for item in caught] == [
        "the end marker is missing at byte 4204; the 3 streamlines before it are whole and taken"
    ]
    with pytest.warns(HeaderWarning, match="end marker is missing"):
        assert read_all(TckSource(write(path, tck_bytes([], marker=False)), reference=SPACE))["lengths"].size == 0


def test_headers_as_other_programs_write_them(tmp_path: Path) -> None:
    lines = some_streamlines((2, 1))
    fields = ("roi: seed a.mif", "roi: mask b.mif", "  step_size :  0.5 ", "", "note: a: b")
    source = TckSource(write(tmp_path / "a.tck", tck_bytes(lines, fields=fields)), reference=SPACE)
    assert source.info.facts == {"roi": ["seed a.mif", "mask b.mif"], "step_size": "0.5", "note": "a: b"}
    data = tck_bytes(lines)
    head, body = data[:4096], data[4096:]
    path = write(tmp_path / "a.tck", head.replace(b"datatype: Float32LE\n", b"") + b"\0" * 20 + body)
    with pytest.warns(HeaderWarning, match="no datatype"):
        assert read_all(TckSource(path, reference=SPACE))["lengths"].tolist() == [2, 1]
    path = write(tmp_path / "a.tck", head.rstrip(b"\0").replace(b"file: . 4096\n", b"") + body)
    with pytest.warns(HeaderWarning, match="data are assumed to follow END"):
        assert read_all(TckSource(path, reference=SPACE))["lengths"].tolist() == [2, 1]
    long = tck_bytes(lines, fields=("command_history: " + "x" * 40_000,), offset=50_000)
    source = TckSource(write(tmp_path / "a.tck", long), reference=SPACE)
    assert read_all(source)["lengths"].tolist() == [2, 1]
    crlf = head.rstrip(b"\0").replace(b"\n", b"\r\n").ljust(4096, b"\0") + body
    assert read_all(TckSource(write(tmp_path / "a.tck", crlf), reference=SPACE))["lengths"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"mrtrix tracks", b"mrtrix trucks", "a line 'mrtrix tracks'"),
        (b"\nEND\n", b"\nEDN\n", "no 'key: value'|no line END"),
        (b"Float32LE", b"Float16LE", "datatype is 'Float16LE', expected Float32LE"),
        (b"file: . 4096", b"file: a.dat 0", "expected '. <offset>'"),
        (b"file: . 4096", b"file: . -5", "expected '. <offset>'"),
        (b"file: . 4096", b"file: . 3", "lies outside the data"),
        (b"file: . 4096", b"file: . 99999999", "lies outside the data"),
        (b"file: . 4096", b"file: . \xc2\xb2", "expected '. <offset>'"),
        (b"file: . 4096", b"file: . 40 96", "expected '. <offset>'"),
        (b"file: . 4096", b"file: ", "expected '. <offset>'"),
        (b"file: . 4096", b"file: . " + b"9" * 5000, "expected '. <offset>'"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*no 'key. value':trxlib.errors.HeaderWarning")
def test_broken_headers(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    data = tck_bytes(some_streamlines((2, 1)))
    assert data.count(old) == 1
    with pytest.raises(HeaderError, match=message) as caught:
        TckSource(write(tmp_path / "bad.tck", data.replace(old, new)), reference=SPACE)
    assert "bad.tck" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"count: 2", b"count: -2", "counts -2 streamlines, the data hold 2"),
        (b"count: 2", b"count: two", "counts two streamlines, the data hold 2"),
        (b"count: 2", b"count: \xc2\xb2", "the data hold 2"),
        (b"count: 2", b"count: " + b"9" * 5000, "counts 9999.* streamlines, the data hold 2"),
        (b"count: 2", b"count: ", "has no count, the data hold 2"),
        (b"count: 2", b"count: 2\njust words\n# a comment", "left out: 'just words', '# a comment'$"),
        (b"count: 2", b"count: 2\na\nb\nc\nd\ne\nf", "'d' and 2 more$"),
        (b"file: . ", b"file: .\t", None),
        (b"file: . ", b"file: . " + b"0" * 5000, None),
        (b"datatype: Float32LE", b"datatype: Float32LE # as ever", None),
        (b"count: 2", b"count: 2 # streamlines\n# made: by hand", None),
    ],
)
def test_headers_that_mrtrix_reads_all_the_same(tmp_path: Path, old: bytes, new: bytes, message: str | None) -> None:
    lines = some_streamlines((2, 1))
    data = tck_bytes(lines, offset=10_000)
    head, body = data[:10_000].rstrip(b"\0"), data[10_000:]
    assert head.count(old) == 1
    path = write(tmp_path / "a.tck", head.replace(old, new).ljust(10_000, b"\0") + body)
    with pytest.warns(HeaderWarning, match=message) if message else nullcontext():
        found = read_all(TckSource(path, reference=SPACE))
    np.testing.assert_array_equal(found["positions"], np.concatenate(lines))
    if shutil.which("tckinfo") and new != b"count: ":  # on an empty value MRtrix ends with a segmentation fault
        told = subprocess.run(["tckinfo", "-count", path], capture_output=True, text=True, check=True).stdout
        assert "actual count in file: 2" in told


@pytest.mark.parametrize("start", [10_000, 3_000_000_000, 99_999_999_999_999, 10**18 - 1])
def test_an_offset_beyond_compressed_data_allocates_nothing(tmp_path: Path, start: int) -> None:
    data = tck_bytes(some_streamlines((2, 1)), offset=200).replace(b". 200", f". {start}".encode())
    path = write(tmp_path / "a.tck.gz", data, gz=True)
    tracemalloc.start()
    try:
        with pytest.raises(
            HeaderError, match=rf"a\.tck\.gz: 'file: \. {start}' .* the content ends at byte {len(data)}"
        ):
            TckSource(path, reference=SPACE)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_every_truncation_is_refused_or_warned_of(tmp_path: Path, slicing: str) -> None:
    data = tck_bytes(some_streamlines((2, 0, 1)))
    whole = len(data) - 12
    for size in [0, 5, 13, 14, 40, 60, *range(4090, len(data))]:
        path = write(tmp_path / "cut.tck", data[:size])
        if size == whole:
            with pytest.warns(HeaderWarning, match="end marker is missing"):
                assert read_all(TckSource(path, reference=SPACE))["lengths"].tolist() == [2, 0, 1]
        else:
            with pytest.raises(FormatError, match=r"cut\.tck"):
                read_all(TckSource(path, reference=SPACE))


@pytest.mark.filterwarnings("ignore:.*end marker is missing")
def test_a_file_cut_behind_a_streamline_is_accepted_on_request(tmp_path: Path, slicing: str) -> None:
    path = write(tmp_path / "cut.tck", tck_bytes(some_streamlines((2, 0, 1)), marker=False, count=5))
    with pytest.raises(CountError, match=r"cut\.tck: .* counts 5 .* hold 3 .* byte 4168"):
        TckSource(path, reference=SPACE)
    with pytest.warns(HeaderWarning, match="counts 5 streamlines, the data hold 3"):
        source = TckSource(path, reference=SPACE, accept_count_mismatch=True)
    assert read_all(source)["lengths"].tolist() == [2, 0, 1]


@pytest.mark.filterwarnings("ignore::trxlib.errors.HeaderWarning")
@pytest.mark.parametrize("extra", [b"\0", b"\0" * 12, b"garbage! garbage! 123456", b"\xff" * 600])
@pytest.mark.parametrize("trust", [True, False])
def test_bytes_after_the_end_are_refused(tmp_path: Path, slicing: str, extra: bytes, trust: bool) -> None:
    path = write(tmp_path / "bad.tck", tck_bytes(some_streamlines((2, 1))) + extra)
    with pytest.raises(FormatError, match=r"bad\.tck: bytes follow the end marker at byte 4168"):
        read_all(TckSource(path, reference=SPACE, trust_count=trust))


@pytest.mark.parametrize("trust", [True, False])
def test_a_streamline_without_end_is_refused(tmp_path: Path, slicing: str, trust: bool) -> None:
    data = bytearray(tck_bytes(some_streamlines((2, 3))))
    data[-24:-12] = np.ones(3, np.float32).tobytes()  # instead of the last delimiter
    path = write(tmp_path / "bad.tck", bytes(data))
    with pytest.raises(FormatError, match=r"bad\.tck: streamline 1 at byte \d+ has 4 vertices and no end"):
        read_all(TckSource(path, reference=SPACE, trust_count=trust))


def test_only_whole_rows_delimit(tmp_path: Path, slicing: str) -> None:
    """A NaN or infinity in a part of a row is a vertex; the rule for such vertices names its streamline."""
    lines = some_streamlines((3, 4))
    lines[0][1] = (np.nan, 1, 1)
    lines[1][0] = (1, np.nan, 1)
    lines[1][2] = (np.inf, 1, np.inf)
    found = read_all(TckSource(write(tmp_path / "a.tck", tck_bytes(lines)), reference=SPACE))
    np.testing.assert_array_equal(found["positions"], np.concatenate(lines))


def test_transform_and_dtype(tmp_path: Path) -> None:
    lines = some_streamlines((30, 2))
    path = write(tmp_path / "a.tck", tck_bytes(lines))
    move = np.array([[0.9, -0.1, 0, 5], [0.1, 1.0, 0, -6], [0, 0.2, 1, 7], [0, 0, 0, 1]])
    points = np.concatenate(lines).astype(float) @ move[:3, :3].T + move[:3, 3]
    for dtype, tolerance in (("float16", 0.01), ("float32", 1e-5), ("float64", 1e-12)):
        source = open_source(path, reference=SPACE, transform=move, positions_dtype=dtype)
        found = read_all(source)["positions"]
        assert found.dtype == dtype
        np.testing.assert_allclose(found, points, atol=tolerance)
        assert source.info.space is SPACE
    with pytest.raises(InputError, match="positions_dtype is int32"):
        TckSource(path, reference=SPACE, positions_dtype="int32")


def test_one_wrong_byte_never_does_more_than_raise(tmp_path: Path) -> None:
    data = tck_bytes(some_streamlines((2, 1)), offset=80)
    path = tmp_path / "a.tck"
    messages = []
    tracemalloc.start()
    try:
        for position in range(len(data)):
            for value in (10, 0x39, 0xFF):
                path.write_bytes(data[:position] + bytes([value]) + data[position + 1 :])
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", HeaderWarning)
                    try:
                        read_all(TckSource(path, reference=SPACE))
                    except TrxError as error:
                        messages.append(str(error))
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    assert len(messages) > 100
    assert [message for message in messages if "a.tck" not in message] == []
