"""Numbers in text beside a tractogram: what is sure is read, what may mean two things is refused with its line."""

from __future__ import annotations

import codecs
import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.made import GRID, SIZES, open_source, some_streamlines, tck_bytes, write
from trxlib.errors import DataLossWarning, FormatError, HeaderWarning, ShapeError, UnsupportedFormatError
from trxlib.formats.rows import read_rows
from trxlib.formats.table import blocks
from trxlib.model.space import Space

NAN = np.nan


def rows_of(tmp_path: Path, text: str | bytes, name: str = "w.txt", **options: Any) -> list[list[float]]:
    """Read a text that nothing is to be said of; warnings are errors here."""
    data = text if isinstance(text, bytes) else text.encode()
    found = read_rows(write(tmp_path / name, data), **options)
    assert found.dtype == np.float32
    return found.astype(float).round(6).tolist()


@pytest.fixture(params=[1 << 20, 7])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bytes are read at a time; the result may not depend on it."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", request.param)
    return int(request.param)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# only a comment\n\n", []),
        ("1", [[1]]),
        ("1\n2.5\n-3e2\n.5\n5.\n+1E-1\n", [[1], [2.5], [-300], [0.5], [5], [0.1]]),
        ("1 2\n3 4\n", [[1, 2], [3, 4]]),
        ("1\t2\n3 4\n", [[1, 2], [3, 4]]),  # blanks of any kind
        ("  1   2\n 30\t\t4 \n", [[1, 2], [30, 4]]),  # columns that are aligned
        ("1\t2\n3\t4\n", [[1, 2], [3, 4]]),
        ("1;2\n3;4\n", [[1, 2], [3, 4]]),
        ("1,2,3\n4,5,6", [[1, 2, 3], [4, 5, 6]]),
        ("1, 2\n3, 4\n", [[1, 2], [3, 4]]),
        ("0.5,1\n1,2\n", [[0.5, 1], [1, 2]]),
        ("1,-2\n3,4\n", [[1, -2], [3, 4]]),
        ("1,2,\n3,4,\n", [[1, 2], [3, 4]]),
        ("1;\n2;\n", [[1], [2]]),
        ("weight\n1\n2\n", [[1], [2]]),
        ("a,b\n1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("mean FA\n0.5\n0.25\n", [[0.5], [0.25]]),
        ('"a","b"\n1,2\n3,4\n', [[1, 2], [3, 4]]),
        ("'a','b'\n'1','2'\n3,4\n", [[1, 2], [3, 4]]),
        ('"1"\n"2"\n', [[1], [2]]),
        ('"a;b";c\n1;2\n', [[1, 2]]),
        ('"mean FA" "mean MD"\n0.5 1\n', [[0.5, 1]]),
        ("nan\n-inf\nInfinity\nNaN", [[NAN], [-np.inf], [np.inf], [NAN]]),
        ("1 # first\n# between\n2\n", [[1], [2]]),
        ("# command_history: tcksift2 a.tck\n1 2 3 4\n", [[1, 2, 3, 4]]),  # as MRtrix writes weights
        ("\n\n1\n\n2\n\n\n", [[1], [2]]),
    ],
)
def test_text_that_can_mean_only_one_thing(tmp_path: Path, text: str, expected: Any) -> None:
    np.testing.assert_array_equal(rows_of(tmp_path, text), expected)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_line_end_and_byte_order_mark(tmp_path: Path, end: str, mark: str) -> None:
    text = end.join(("größe;b", "1;2", "3;4", ""))
    assert rows_of(tmp_path, text.encode(mark)) == [[1, 2], [3, 4]]
    big = codecs.BOM_UTF16_BE + text.encode("utf-16-be")
    assert rows_of(tmp_path, big) == [[1, 2], [3, 4]]


@pytest.mark.usefixtures("block_bytes")
def test_lines_are_counted_whatever_ends_them(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        with pytest.raises(FormatError, match=r"w\.txt: line 5: could not convert string to float: 'x' in 'x'"):
            rows_of(tmp_path, end.join(("# c", "a", "1", "", "x", "2")))


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weight\n0,917155\n0,5\n", [[0.917155], [0.5]]),
        ("1,5;2,5\n3;4,25\n", [[1.5, 2.5], [3, 4.25]]),
        ("a;b\n1,5;2\n", [[1.5, 2]]),
        ("1,5\t2,5\n3\t4\n", [[1.5, 2.5], [3, 4]]),
        ("0,5 0,6 0,75\n", [[0.5, 0.6, 0.75]]),
        ("0,5\n1\n2,5\n", [[0.5], [1], [2.5]]),  # one line has no second column
        ("12,05\n3,7\n", [[12.05], [3.7]]),  # no whole number begins with 0
        ("-0,5\n-0,7\n", [[-0.5], [-0.7]]),
        ('"0,5","1,5"\n"2,5","3"\n', [[0.5, 1.5], [2.5, 3]]),
        ("1,5e3;2\n", [[1500, 2]]),
        ("1;2\n3;4,5\n", [[1, 2], [3, 4.5]]),
    ],
)
def test_decimal_commas_that_are_sure_are_read_with_a_warning(tmp_path: Path, text: str, expected: Any) -> None:
    with pytest.warns(HeaderWarning, match=r"w\.txt: line \d, '.*\d,\d.*': commas are read as decimal points"):
        assert rows_of(tmp_path, text) == expected


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("text", ["0,917155\n0,5\n", "12,7\n3,4\n", "1,2", "# w\n0,5\n1,5\n"])
def test_a_decimal_comma_that_may_be_a_second_column_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError, match=r"w\.csv: line \d, '\d+,\d+', is one number with a decimal comma, or two"):
        rows_of(tmp_path, text, "w.csv")


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(
    ("text", "expected", "message"),
    [
        ("NA\n1\n2\n", [[NAN], [1], [2]], "1 values are missing, the first in line 1;"),
        ("w\n1\nN/A\n#N/A\n", [[1], [NAN], [NAN]], "2 values are missing, the first in line 3;"),
        ("1,,3\n4,5,6\n", [[1, NAN, 3], [4, 5, 6]], "1 values are missing, the first in line 1;"),
        ("4,5,6\n,2,3\n", [[4, 5, 6], [NAN, 2, 3]], "first in line 2;"),
        ("a,b,c\n1,2,\n4,5,6\n", [[1, 2, NAN], [4, 5, 6]], "first in line 2;"),
        ("a,b\n1,\n2,\n", [[1, NAN], [2, NAN]], "2 values are missing"),
        ("1; ;3\n4;5;6\n", [[1, NAN, 3], [4, 5, 6]], "first in line 1;"),
        ("1\t\t3\n4\t5\t6\n", [[1, NAN, 3], [4, 5, 6]], "first in line 1;"),
        ('"x","y"\n1,""\n2,null\n', [[1, NAN], [2, NAN]], "2 values are missing"),
        ("1,NA,None\n2,3,<NA>\n", [[1, NAN, NAN], [2, 3, NAN]], "3 values are missing"),
    ],
)
def test_missing_values_become_nan_with_a_warning(tmp_path: Path, text: str, expected: Any, message: str) -> None:
    with pytest.warns(HeaderWarning, match=rf"w\.txt: .*{message}.*NaN"):
        np.testing.assert_array_equal(rows_of(tmp_path, text), expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,1e400", "1e400 is beyond float32"),
        ("1,-3.5e38,2", "-3.5e38 is beyond float32"),
        ("1_0,2,3", "could not convert string to float: '1_0'"),
        ("1,\u0663,3", "could not convert string to float"),
        ("1,0x1F,3", "could not convert string to float: '0x1F'"),
        ("1,2 3,4", "could not convert string to float: '2 3'"),
        ("1,1.2.3,4", "could not convert string to float: '1.2.3'"),
        ("1,1\u00a0000,4", "could not convert string to float: '1"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 200_000])
def test_numbers_that_nobody_meant(tmp_path: Path, line: str, message: str, before: int) -> None:
    """Also in the first line, which may name columns, and far behind, where numpy reads."""
    if before == 0 and ("0x" in line or "2 3" in line):
        before = 1  # with a letter in it, that is a name; with blanks alone, a decimal comma
    with pytest.raises(FormatError, match=rf"w\.csv: line {before + 1}: {message}"):
        rows_of(tmp_path, "1,2,3\n" * before + line + "\n4,5,6\n", "w.csv")


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\n3\n", r"line 2 has 1 numbers, expected 2 as in the other lines: '3'"),
        ("1\n2 3\n4\n", r"line 2 has 2 numbers, expected 1"),
        ("1,2,3\n4,5\n", r"line 2 has 2 numbers, expected 3"),
        ("1 2;3 4\n5 6;7 8\n", "expected numbers, with one kind of sign between columns"),
        ("1,2;3.5\n", "could not convert"),
        ("a,b,c\n1,2\n3,4\n", r"line 1 names 3 columns, 'a,b,c', and the rows have 2"),
        ("a\nb\n1\n", r"line 2: could not convert string to float: 'b'"),
        ("[1 2; 3 4]", r"w\.txt: begins like JSON, and is none"),
    ],
)
def test_lines_that_fit_no_reading(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        rows_of(tmp_path, text)


def test_a_bad_line_far_behind_is_named(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(200_000).astype(np.float32)
    text = "\n".join(f"{value:.9g}" for value in values)
    path = write(tmp_path / "w.txt", text.encode())
    np.testing.assert_array_equal(read_rows(path)[:, 0], values)
    for line, message in (("bad", "could not convert"), ("1 2", "has 2 numbers, expected 1"), ("1,5", "could not")):
        with pytest.raises(FormatError, match=rf"w\.txt: line 200001.* {message}"):
            read_rows(write(path, f"{text}\n{line}\n".encode()))


def test_all_weights_in_one_long_line(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(100_000).astype(np.float32)
    for separator in (" ", ",", ";", "\t"):
        text = "# command_history: x\n" + separator.join(f"{value:.9g}" for value in values) + "\n"
        found = read_rows(write(tmp_path / "w.txt", text.encode()))
        assert found.shape == (1, 100_000)
        np.testing.assert_array_equal(found[0], values)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(
    "text",
    [
        ",w\n0,0.5\n1,0.7\n2,0.9\n",  # pandas, a frame with names
        ",0\n0,0.5\n1,0.7\n2,0.9\n",  # pandas, without
        "Unnamed: 0,w\n0,0.5\n1,0.7\n2,0.9\n",
        "index;w\n1;0.5\n2;0.7\n3;0.9\n",
        "ID\tw\n1\t0.5\n2\t0.7\n3\t0.9\n",
        '"","w"\n"1",0.5\n"2",0.7\n"3",0.9\n',  # write.csv of R
        '"w"\n"1" 0.5\n"2" 0.7\n"3" 0.9\n',  # write.table of R: nothing above the names of rows
    ],
)
def test_an_index_is_left_out_with_a_warning(tmp_path: Path, text: str) -> None:
    with pytest.warns(HeaderWarning, match=r"w\.csv: the first column counts the rows from [01].*left out"):
        assert rows_of(tmp_path, text, "w.csv") == [[0.5], [0.7], [0.9]]


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("text", ["0 0.5\n1 0.7\n2 0.9\n", "number,w\n1,0.5\n2,0.7\n3,0.9\n"])
def test_what_may_be_an_index_is_kept_with_a_warning(tmp_path: Path, text: str) -> None:
    with pytest.warns(HeaderWarning, match="counts the rows from [01], and is kept as a value"):
        assert [row[1:] for row in rows_of(tmp_path, text)] == [[0.5], [0.7], [0.9]]


@pytest.mark.usefixtures("block_bytes")
def test_an_index_that_says_something_else(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"the first column, 'id', counts the rows in another order \(2 first\)"):
        rows_of(tmp_path, "id,w\n2,0.5\n0,0.7\n1,0.9\n")
    with pytest.warns(HeaderWarning, match="'id', does not count the rows, and is kept as a value"):
        assert rows_of(tmp_path, "id,w\n7,0.5\n9,0.7\n8,0.9\n") == [[7, 0.5], [9, 0.7], [8, 0.9]]
    # A column that is alone is no index, whatever it counts, and of two rows nobody can tell.
    assert rows_of(tmp_path, "0\n1\n2\n3\n") == [[0], [1], [2], [3]]
    assert rows_of(tmp_path, "0 5\n1 6\n") == [[0, 5], [1, 6]]


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n16777217\n3\n", "rounds 1 whole numbers, the first 16777217 in row 1;"),
        ("1 2\n3 -123456789\n", "the first -123456789 in row 1;"),
        ("9007199254740993\nNA\n", "the first 9007199254740993 in line 1;"),
    ],
)
@pytest.mark.filterwarnings("ignore::trxlib.errors.HeaderWarning")
def test_whole_numbers_beyond_float32_are_warned_of(tmp_path: Path, text: str, message: str) -> None:
    with pytest.warns(DataLossWarning, match=rf"w\.txt: .*{message}.*\.npy"):
        rows_of(tmp_path, text)


def test_what_float32_holds_is_not_warned_of(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "16777216\n16777218\n1e30\n20000000.5\n") == [
        [16777216], [16777218], [float(np.float32(1e30))], [20000000],
    ]  # fmt: skip


def test_the_largest_numbers(tmp_path: Path) -> None:
    for lines in (1, 20_000):
        found = read_rows(write(tmp_path / "w.txt", b"3.4028235e38 -1e-400 inf\n" * lines))
        assert found.tolist() == [[np.finfo(np.float32).max, 0, np.inf]] * lines


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2.5, -3e2], [[1], [2.5], [-300]]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ({"weights": [1, 2], "unit": "mm"}, [[1], [2]]),
        ([], []),
        ({"w": []}, []),
        ([float("nan"), float("inf")], [[NAN], [np.inf]]),
    ],
)
def test_json(tmp_path: Path, content: Any, expected: Any) -> None:
    for text in (json.dumps(content), json.dumps(content, indent=1), "\ufeff" + json.dumps(content)):
        found = rows_of(tmp_path, text, "w.json")
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": [1], "b": [2]}, r"a JSON object with 2 lists, expected one; its keys are 'a', 'b'"),
        ({"a": 1}, r"a JSON object with 0 lists, expected one; its keys are 'a'"),
        ([[1, 2], [3]], r"row 1 has 1 numbers, expected 2 as in row 0"),
        ([1, [2]], r"row 1 holds a list, expected numbers"),
        ([1, {"a": 1}], r"row 1 holds an object, expected numbers"),
        ([True], r"row 0 holds true or false, expected numbers"),
        (["x"], r"row 0: could not convert string to float: 'x'"),
    ],
)
def test_json_that_is_no_table(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(FormatError, match=rf"w\.json: {message}"):
        rows_of(tmp_path, json.dumps(content), "w.json")


def test_what_json_loses_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(HeaderWarning, match="1 values are null; they become NaN"):
        np.testing.assert_array_equal(rows_of(tmp_path, "[1, null]", "w.json"), [[1], [NAN]])
    with pytest.warns(DataLossWarning, match="rounds 1 whole numbers, the first 16777217 in row 1"):
        rows_of(tmp_path, "[1, 16777217]", "w.json")
    with pytest.raises(FormatError, match="begins like JSON, and is none"):
        rows_of(tmp_path, "[1, 2", "w.json")


def test_packed_text_is_read(tmp_path: Path) -> None:
    text = b"# c\n" + b"0.5\n" * 1000
    assert rows_of(tmp_path, gzip.compress(text), "w.txt.gz") == [[0.5]] * 1000
    with pytest.raises(FormatError, match=r"w\.txt\.gz: reading stops after byte"):
        rows_of(tmp_path, gzip.compress(text)[:-9], "w.txt.gz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG picture"),
        (b"PK\x03\x04" + bytes(50), "a zip archive"),
        (gzip.compress(gzip.compress(b"1\n", mtime=0)), "packed by gzip twice"),
        (b"BZh91AY", "packed by bzip2"),
        (b"\x28\xb5\x2f\xfd", "packed by zstd"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"<!DOCTYPE html>", "an HTML page"),
        (b"mrtrix track scalars    \nEND\n", "a .tsf, which has a value per vertex; name it for dpv"),
        (b"mrtrix tracks    \nEND\n", "a TCK file"),
        (gzip.compress(b"\x93NUMPY\x01\0", mtime=0), "a .npy that is packed"),
        ("1\n2\n".encode("utf-16-le"), r"no text: it holds the byte 0 \(a text in UTF-16"),
        ("1\n2\n".encode("utf-32"), "text in UTF-32"),
        (b"1\n2\n\x07\n", "no text: it holds the byte 7"),
    ],
)
def test_what_is_no_text_is_refused_by_its_name(tmp_path: Path, data: bytes, message: str) -> None:
    said = r"w\.txt(: expected numbers in text, and this| is no file of values: it) is "
    with pytest.raises((FormatError, UnsupportedFormatError), match=f"{said}.*{message}"):
        rows_of(tmp_path, data)


def test_npy_is_known_by_its_content(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.array([1, 2], np.int16))
    (tmp_path / "w.npy").rename(tmp_path / "w.dat")
    found = read_rows(tmp_path / "w.dat")
    assert found.dtype == np.int16
    assert found.tolist() == [[1], [2]]


def test_a_text_far_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_FREE_BYTES", 1000)
    monkeypatch.setattr(blocks, "_ROW_BYTES", 10)
    for name, data in (("w.txt", b"1\n" * 600), ("w.txt.gz", gzip.compress(b"1\n" * 600))):
        with pytest.raises(ShapeError, match=rf"{name}: 1200 bytes of text or more, for 10 rows; .*another file"):
            read_rows(write(tmp_path / name, data), 10)
        assert len(read_rows(tmp_path / name, 100)) == 600


def test_reading_stops_where_rows_are_left_over(tmp_path: Path) -> None:
    """A line that is no number, far behind, is not reached."""
    path = write(tmp_path / "w.txt", b"0.123456\n" * 400_000 + b"bad\n")
    assert 100_000 < len(read_rows(path, 4)) < 400_000
    with pytest.raises(FormatError, match="line 400001"):
        read_rows(path)
    tck = write(tmp_path / "a.tck", tck_bytes(some_streamlines((2, 1))))
    with pytest.raises(ShapeError, match=r"w\.txt: \d+ rows or more, but .*a\.tck has 2 streamlines; row 2 is"):
        open_source(tck, reference=Space(np.diag([*SIZES, 1.0]), GRID), dps={"w": path})


def test_what_numpy_and_we_write_comes_back(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    values[3, 1] = np.nan
    for delimiter in (" ", ",", ";", "\t"):
        np.savetxt(tmp_path / "w.txt", values, delimiter=delimiter, header="a b c", fmt="%.9g")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(read_rows(tmp_path / "w.txt"), values)


def test_an_npy_of_python_2_is_read_without_a_word_of_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.array([[1, 2], [3, 4]], np.int16))
    data = (tmp_path / "w.npy").read_bytes().replace(b"(2, 2), }  ", b"(2L, 2L), }")
    assert b"2L" in data
    found = read_rows(write(tmp_path / "w.npy", data))
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[1, 2], [3, 4]]
