"""VTK files: as VTK writes them, as they should not be, and ours as VTK reads them."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.made import ANYWHERE, open_source, read_all, write
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib import convert, export
from trxlib.errors import (
    CountError,
    DataLossWarning,
    FormatError,
    HeaderError,
    HeaderWarning,
    InputError,
    TrxError,
    UnsupportedFormatError,
)  # fmt: skip
from trxlib.formats.vtk.source import VtkSource
from trxlib.formats.vtk.writer import write_vtk
from trxlib.model.space import Space

vtk = pytest.importorskip("vtk")
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy  # noqa: E402

SPACE = Space(np.eye(4), (64, 64, 64))
POINTS = np.array([[0.5, 1, 2], [1, 2, 3.25], [2, 3, 4], [3, 4, 5], [7, 8, 9.5], [-1, 2, 6]], dtype=np.float32)
LENGTHS = [3, 2, 1]
VALUES = {
    "fa": np.array([0.1, 0.25, np.nan, 0.5, 0.75, 1], dtype=np.float32)[:, None],
    "tensor": np.arange(54, dtype=np.float64).reshape(6, 9) / 7,
    "count": np.array([0, 1, -5, 2**40, 7, 2**62], dtype=np.int64)[:, None],
    "label": np.arange(6, dtype=np.uint16)[:, None],
}
OF_LINES = {
    "weight": np.array([[0.5], [1.5], [2.5]], dtype=np.float32),
    "colour": np.arange(9, dtype=np.uint8).reshape(3, 3),
}
HEAD = b"# vtk DataFile Version 3.0\nmade by hand SPACE=RAS\nASCII\nDATASET POLYDATA\n"
GOOD = HEAD + (
    b"POINTS 4 float\n0 0 0 1 1 1\n2 2 2 3 3 3\nLINES 2 6\n2 0 1\n2 2 3\n"
    b"POINT_DATA 4\nSCALARS fa float\nLOOKUP_TABLE default\n1 2 3 4\n"
)


def cells_of(rows: list[list[int]]) -> Any:
    cells = vtk.vtkCellArray()
    for row in rows:
        cells.InsertNextCell(len(row))
        for point in row:
            cells.InsertCellPoint(point)
    return cells


def polydata(rows: list[list[int]] | None = None, space: str = "RAS", polys: list[list[int]] | None = None) -> Any:
    """The points with lines through them and values for both, as VTK has them."""
    data = vtk.vtkPolyData()
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(POINTS, deep=True))
    data.SetPoints(points)
    data.SetLines(cells_of([[0, 1, 2], [3, 4], [5]] if rows is None else rows))
    if polys:
        data.SetPolys(cells_of(polys))
    for name, values in VALUES.items():
        add_array(data.GetPointData(), name, values)
    for name, values in OF_LINES.items() if rows is None else ():
        filled = np.concatenate((values, np.zeros((len(polys or []), values.shape[1]), values.dtype)))
        add_array(data.GetCellData(), name, filled)
    data.GetPointData().SetActiveTensors("tensor")
    if space:
        named = vtk.vtkStringArray()
        named.SetName("SPACE")
        named.InsertNextValue(space)
        data.GetFieldData().AddArray(named)
    return data


def add_array(table: Any, name: str, values: np.ndarray) -> None:
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    table.AddArray(array)


def legacy(version: int, *, is_text: bool) -> Callable[[Path, Any], Path]:
    def save(folder: Path, data: Any) -> Path:
        writer = vtk.vtkPolyDataWriter()
        writer.SetFileVersion(version)
        (writer.SetFileTypeToASCII if is_text else writer.SetFileTypeToBinary)()
        return finish(writer, folder / "a.vtk", data)

    return save


def xml(mode: str, compressor: str = "None", *, raw: bool = False, big: bool = False, wide: bool = False) -> Any:
    def save(folder: Path, data: Any) -> Path:
        writer = vtk.vtkXMLPolyDataWriter()
        getattr(writer, f"SetDataModeTo{mode}")()
        getattr(writer, f"SetCompressorTypeTo{compressor}")()
        writer.SetBlockSize(48)  # several blocks an array
        writer.SetEncodeAppendedData(not raw)
        (writer.SetByteOrderToBigEndian if big else writer.SetByteOrderToLittleEndian)()
        (writer.SetHeaderTypeToUInt64 if wide else writer.SetHeaderTypeToUInt32)()
        return finish(writer, folder / "a.vtp", data)

    return save


def finish(writer: Any, path: Path, data: Any) -> Path:
    writer.SetInputData(data)
    writer.SetFileName(str(path))
    assert writer.Write() == 1
    return path


ENCODINGS = {
    "4.2 text": legacy(42, is_text=True),
    "4.2 binary": legacy(42, is_text=False),
    "5.1 text": legacy(51, is_text=True),
    "5.1 binary": legacy(51, is_text=False),
    "xml text": xml("Ascii"),
    "xml base64": xml("Binary"),
    "xml base64, wide and big-endian": xml("Binary", big=True, wide=True),
    "xml zlib": xml("Binary", "ZLib", wide=True),
    "xml lzma": xml("Binary", "LZMA"),
    "xml appended base64": xml("Appended", wide=True),
    "xml appended raw": xml("Appended", raw=True),
    "xml appended raw zlib": xml("Appended", "ZLib", raw=True, big=True),
    "xml appended base64 lzma": xml("Appended", "LZMA", wide=True),
}
#: Of a good file: its values, and the first of them.
AS_FLOAT = b"fa float\nLOOKUP_TABLE default\n1"
each_encoding = pytest.mark.parametrize("save", ENCODINGS.values(), ids=ENCODINGS.keys())


def read(path: Path, **options: Any) -> dict[str, Any]:
    return read_all(open_source(path, reference=SPACE, **options))


def assert_same(found: dict[str, Any], *, exact: bool = True) -> None:
    assert found["lengths"].tolist() == LENGTHS
    np.testing.assert_array_equal(found["positions"], POINTS)
    for section, wanted in (("dpv", VALUES), ("dps", OF_LINES)):
        assert found[section].keys() == wanted.keys()
        for name, values in wanted.items():
            assert found[section][name].dtype == values.dtype
            np.testing.assert_allclose(found[section][name], values, rtol=0 if exact else 1e-5)


@each_encoding
def test_what_vtk_writes_is_read(tmp_path: Path, save: Any) -> None:
    path = save(tmp_path, polydata())
    assert_same(read(path), exact="text" not in path.name and b"ASCII" not in path.read_bytes()[:99])


@each_encoding
def test_a_file_cut_anywhere_is_refused_or_has_all_lines(tmp_path: Path, save: Any) -> None:
    whole = save(tmp_path, polydata()).read_bytes()
    # Every border of a structure lies at a line, a blank or a tag.
    borders = [match.start() + shift for match in re.finditer(rb"[\n<>]", whole) for shift in (0, 1)]
    chance = random.Random(1)
    places = {*chance.sample(range(len(whole)), min(200, len(whole))), *chance.sample(borders, min(120, len(borders)))}
    cut = tmp_path / "cut.vtk"
    for place in sorted(places):
        cut.write_bytes(whole[:place])
        try:
            source = VtkSource(cut, reference=SPACE)
        except (FormatError, UnsupportedFormatError) as error:
            assert "cut.vtk" in str(error)  # noqa: PT017 (or it is whole)
        else:
            # No count says that further arrays should follow: a legacy file of whole sections is whole.
            assert whole.startswith(b"# vtk") or not whole[place:].strip()
            (chunk,) = source.chunks()
            assert chunk.lengths.tolist() == LENGTHS
            np.testing.assert_array_equal(chunk.positions, POINTS)
            assert all(len(values) == len(POINTS) for values in chunk.dpv.values())


@each_encoding
def test_changed_bytes_are_one_error_of_ours_or_read(tmp_path: Path, save: Any) -> None:
    whole = save(tmp_path, polydata()).read_bytes()
    chance = random.Random(2)
    refused = 0
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 4))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = write(tmp_path / "changed.vtk", bytes(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                source = VtkSource(path, reference=SPACE)
                assert sum(len(chunk.lengths) for chunk in source.chunks()) == source.info.nb_streamlines
            except TrxError:
                refused += 1
    assert refused > 10


@pytest.mark.parametrize("save", [ENCODINGS["4.2 binary"], ENCODINGS["5.1 text"], ENCODINGS["xml appended raw"]])
def test_lines_may_share_points_and_take_them_in_any_order(tmp_path: Path, save: Any) -> None:
    rows = [[4, 0, 4], [], [2, 5]]
    with pytest.warns(DataLossWarning, match="left out: 2 points that no line uses"):
        found = read(save(tmp_path, polydata(rows)))
    assert found["lengths"].tolist() == [3, 0, 2]
    np.testing.assert_array_equal(found["positions"], POINTS[[4, 0, 4, 2, 5]])
    np.testing.assert_array_equal(found["dpv"]["label"], VALUES["label"][[4, 0, 4, 2, 5]])


@pytest.mark.parametrize("save", [ENCODINGS["4.2 text"], ENCODINGS["5.1 binary"], ENCODINGS["xml zlib"]])
def test_surfaces_beside_lines_are_named_and_their_rows_left_out(tmp_path: Path, save: Any) -> None:
    with pytest.warns(DataLossWarning, match="left out: 2 polygons"):
        found = read(save(tmp_path, polydata(polys=[[0, 1, 2], [1, 2, 3]])))
    np.testing.assert_array_equal(found["dps"]["colour"], OF_LINES["colour"])


@pytest.mark.parametrize("save", [ENCODINGS["4.2 text"], ENCODINGS["5.1 binary"], ENCODINGS["xml zlib"]])
def test_a_surface_is_no_tractogram(tmp_path: Path, save: Any) -> None:
    with pytest.raises(FormatError, match=r"a\.vt.: holds 1 polygons, a surface .*a tractogram has LINES"):
        read(save(tmp_path, polydata([], polys=[[0, 1, 2]])))
    with pytest.raises(FormatError, match="holds 6 points and no lines through them"):
        read(save(tmp_path, polydata([])))


@each_encoding
def test_a_file_of_nothing_is_an_empty_tractogram(tmp_path: Path, save: Any) -> None:
    assert len(read(save(tmp_path, vtk.vtkPolyData()))["lengths"]) == 0


def test_pieces_are_put_together(tmp_path: Path) -> None:
    text = ENCODINGS["xml text"](tmp_path, polydata()).read_text()
    piece = re.search(r"<Piece.*</Piece>", text, re.DOTALL)
    assert piece is not None
    found = read(write(tmp_path / "two.vtp", text.replace(piece.group(), 2 * piece.group()).encode()))
    assert found["lengths"].tolist() == 2 * LENGTHS
    np.testing.assert_array_equal(found["positions"], np.concatenate((POINTS, POINTS)))
    assert found["dps"]["weight"].ravel().tolist() == [0.5, 1.5, 2.5] * 2
    other = piece.group().replace('Name="fa"', 'Name="md"')
    with pytest.raises(FormatError, match="piece 1 has the point data"):
        read(write(tmp_path / "two.vtp", text.replace(piece.group(), piece.group() + other).encode()))


@pytest.mark.parametrize("save", [ENCODINGS["4.2 text"], ENCODINGS["5.1 binary"], ENCODINGS["xml base64"]])
def test_the_space_that_a_file_names_is_obeyed(tmp_path: Path, save: Any) -> None:
    with pytest.warns(HeaderWarning, match=r"vectors and tensors \(tensor\) stay as they are, in LPS"):
        found = read(save(tmp_path, polydata(space="LPS")))
    np.testing.assert_array_equal(found["positions"], POINTS * [-1, -1, 1])
    silent = save(tmp_path, polydata(space=""))
    with pytest.warns(HeaderWarning, match=r"does not say .* RAS is assumed.*--vtk-space"):
        found = read(silent)
    np.testing.assert_array_equal(found["positions"], POINTS)
    np.testing.assert_array_equal(read(silent, vtk_space="RAS")["positions"], POINTS)
    with pytest.warns(HeaderWarning, match="in LPS"):
        np.testing.assert_array_equal(read(silent, vtk_space="LPS")["positions"], POINTS * [-1, -1, 1])
    with pytest.warns(HeaderWarning, match="says that its space is LPS, and is read as RAS"):
        np.testing.assert_array_equal(read(save(tmp_path, polydata(space="LPS")), vtk_space="RAS")["positions"], POINTS)
    with pytest.raises(HeaderError, match="its space is 'SCANNER', expected RAS or LPS"):
        read(save(tmp_path, polydata(space="scanner")))
    with pytest.raises(InputError, match="vtk_space is 'ras'"):
        read(silent, vtk_space="ras")


def test_the_title_of_3d_slicer_says_the_space(tmp_path: Path) -> None:
    data = GOOD.replace(b"made by hand SPACE=RAS", b"3D Slicer output. SPACE=LPS")
    assert read(write(tmp_path / "a.vtk", data))["positions"].tolist()[1] == [-1, -1, 1]
    field = b"DATASET POLYDATA\nFIELD FieldData 1\nSPACE 1 1 string\nRAS\n"
    with pytest.raises(HeaderError, match="its space is 'LPS and RAS'"):
        read(write(tmp_path / "a.vtk", data.replace(b"DATASET POLYDATA\n", field)))


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"LINES 2 6", b"LINES 3 6", "LINES: 3 cells are stated, and their numbers are those of 2"),
        (b"LINES 2 6", b"LINES 2 5", "cell 1 says 2 points, and 1 numbers follow"),
        (b"LINES 2 6", b"LINES 2 7", "number 6 is 'POINT_DATA', expected an integer"),
        (b"LINES 2 6", b"LINES -2 6", "the number of LINES is '-2', expected a count"),
        (b"LINES 2 6", b"LINES 2 999999999999999999", "999999999999999999 numbers are stated"),
        (b"POINTS 4", b"POINTS 9999999999999999999999", "expected a count"),
        (b"POINTS 4", b"POINTS 99999999999999", "299999999999997 numbers are stated"),
        (b"POINTS 4", b"POINTS 5", "POINTS: number 12 is 'LINES', expected a number"),
        (b"POINTS 4", b"POINTS 3", "'3' stands before byte"),
        (b"POINTS 4 float", b"POINTS 4 quad", "the type of POINTS is 'quad'; known are"),
        (b"2 2 3\n", b"2 2 4\n", "lines: cell 1 has point 4, and there are 4 points"),
        (b"2 2 3\n", b"2 2 -3\n", "lines: cell 1 has point -3"),
        (b"2 2 3\n", b"-2 2 3\n", "cell 1 says -2 points"),
        (b"1 1 1", b"1 1-1", "number 4 is '1-1', expected a number"),
        (b"1 1 1", b"1 1 1e99", "number 5 is 1e\\+99, which does not fit float32"),
        (b"1 1 1", b"1 1 1_0", "number 5 is '1_0'"),
        (b"1 1 1", b"1 1 1" + 5000 * b"0", "number 5 is 10{39}, which does not fit float64"),
        (AS_FLOAT, b"fa long\n99999999999999999999", "number 0 is 9{20}, which does not fit int64"),
        (AS_FLOAT, b"fa long\n" + 5000 * b"1", "number 0 is 1{40}, which does not fit int64"),
        (AS_FLOAT, b"fa unsigned_char\n-1", "number 0 is -1, which does not fit uint8"),
        (b"POINT_DATA 4", b"POINT_DATA 5", "POINT_DATA states 5 rows for 4 points"),
        (b"POINT_DATA 4", b"CELL_DATA 4", "CELL_DATA states 4 rows for 2 cells"),
        (b"3 4\n", b"3 4", "ends with a number and no end of line"),
        (b"ASCII", b"TEXT", "the third line is 'TEXT', expected ASCII or BINARY"),
        (b"Version 3.0", b"Version 7.0", "version 7.0 of the VTK format"),
        (b"# vtk DataFile Version 3.0", b"# vtk DataFile 3.0", "the first line is"),
        (b"POLYDATA", b"STRUCTURED_POINTS", "DATASET STRUCTURED_POINTS, and streamlines are lines of POLYDATA"),
        (b"LINES 2 6", b"LINE 2 6", "'LINE' stands before byte"),
    ],
)  # fmt: skip
def test_odd_text_is_one_error(tmp_path: Path, old: bytes, new: bytes, text: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises((FormatError, UnsupportedFormatError), match=rf"a\.vtk.*({text})"):
        read(write(tmp_path / "a.vtk", GOOD.replace(old, new)))


def test_nan_is_a_number_that_the_rule_judges(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vtk", GOOD.replace(b"1 1 1", b"1 nan -inf"))
    with pytest.raises(FormatError, match="streamline 0 has the vertex"):
        read(path)
    with pytest.warns(DataLossWarning, match="1 of 2 streamlines are left out"):
        assert read(path, nonfinite="drop")["lengths"].tolist() == [2]


def test_names_become_keys_and_none_is_lost(tmp_path: Path) -> None:
    more = b"FIELD FieldData 2\na.b 1 4 float\n1 2 3 4\na_b 1 4 bit\n0 1 1 0\n"
    more += b"TEXTURE_COORDINATES fa 2 int\n1 2 3 4 5 6 7 8\n"
    strings = b"SCALARS words string\nLOOKUP_TABLE default\none\ntwo\nthree%20\nfour\n"
    path = write(tmp_path / "a.vtk", GOOD + more + strings)
    with (
        pytest.warns(HeaderWarning, match=r"dpv/a\.b becomes a_b_2"),
        pytest.warns(DataLossWarning, match="left out: the texts 'words'"),
    ):
        found = read(path)["dpv"]
    assert {key: values.tolist() for key, values in found.items()} == {
        "fa": [[1], [2], [3], [4]],
        "a_b_2": [[1], [2], [3], [4]],
        "a_b": [[False], [True], [True], [False]],
        "fa_2": [[1, 2], [3, 4], [5, 6], [7, 8]],
    }


def test_lines_of_an_unstructured_grid_are_read(tmp_path: Path) -> None:
    data = HEAD.replace(b"POLYDATA", b"UNSTRUCTURED_GRID") + (
        b"POINTS 5 double\n0 0 0 1 1 1 2 2 2 3 3 3 4 4 4\nCELLS 3 10\n3 0 1 2\n3 0 1 2\n1 4\nCELL_TYPES 3\n5 4 1\n"
        b"CELL_DATA 3\nSCALARS w int 1\nLOOKUP_TABLE default\n7 8 9\n"
    )
    with pytest.warns(DataLossWarning, match="left out: 2 cells that are no lines, 2 points that no line uses"):
        found = read(write(tmp_path / "a.vtk", data))
    assert found["lengths"].tolist() == [3]
    assert found["positions"].dtype == np.float64
    assert found["dps"]["w"].tolist() == [[8]]


def test_the_file_of_an_old_program_without_a_blank_is_known(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.vtk", GOOD.replace(b"# vtk", b"#vtk")))["lengths"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("<VTKFile", "<!DOCTYPE x [<!ENTITY a 'b'>]><VTKFile", "declares a document type"),
        ('type="PolyData"', 'type="ImageData"', "a VTK file of type 'ImageData'"),
        ('header_type="UInt32"', 'header_type="UInt32" compressor="vtkLZ4DataCompressor"', "by 'vtkLZ4Data.*save it"),
        ('header_type="UInt32"', 'header_type="UInt8"', "header_type 'UInt8'"),
        ('NumberOfLines="3"', 'NumberOfLines="4"', "Lines offsets: 4 numbers are stated, 3 are there"),
        ('NumberOfLines="3"', 'NumberOfLines="-3"', "NumberOfLines is '-3', expected a count"),
        ('NumberOfPoints="6"', 'NumberOfPoints="7"', "numbers are stated"),
        ('NumberOfPoints="6"', 'NumberOfPoints="600000000000000000"', "numbers are stated"),
        ("3 5 6\n", "3 2 6\n", "Lines: cell 1 ends at 2, before its start 3"),
        ("3 5 6\n", "3 5 5\n", "the cells end at 5, and connectivity has 6 numbers"),
        ("0 1 2 3 4 5\n", "0 1 2 3 4 6\n", "lines: cell 2 has point 6, and there are 6 points"),
        ('Name="connectivity" format="ascii"', 'Name="connectivity" format="ascii" x', "no XML"),
        ('type="Float32" Name="Points"', 'type="Float16" Name="Points"', "Points is of type 'Float16'"),
    ],
)  # fmt: skip
def test_odd_xml_is_one_error(tmp_path: Path, old: str, new: str, text: str) -> None:
    whole = ENCODINGS["xml text"](tmp_path, polydata()).read_text()
    assert old in whole
    with pytest.raises((FormatError, UnsupportedFormatError), match=rf"a\.vtp.*({text})"):
        read(write(tmp_path / "a.vtp", whole.replace(old, new).encode()))


def test_a_block_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    import base64
    import zlib

    packed = zlib.compress(bytes(50_000_000))
    head = np.array([1, 72, 72, len(packed)], dtype="<u4").tobytes()
    array = (base64.b64encode(head) + base64.b64encode(packed)).decode()
    whole = ENCODINGS["xml zlib"](tmp_path, polydata()).read_text().replace("UInt64", "UInt32")
    bad = re.sub(r'(Name="Points"[^>]*>)[^<]*', rf"\1{array}", whole)
    with pytest.raises(FormatError, match="Points.* block 0 unpacks to 73 bytes or more, 72 are stated"):
        read(write(tmp_path / "a.vtp", bad.encode()))


@pytest.mark.parametrize("suffix", [".vtk", ".vtp"])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_vtk_reads_what_is_written(tmp_path: Path, suffix: str, dtype: str) -> None:
    arrays = make_trx_arrays(lengths=[3, 0, 5, 1], positions_dtype=dtype)
    path = write_plain_zip(arrays, tmp_path / "in.trx")
    with pytest.warns(DataLossWarning, match="this format has no groups"):
        info, _ = export(path, tmp_path / f"out{suffix}", **ANYWHERE)
    assert info.nb_streamlines == 4
    reader = vtk.vtkXMLPolyDataReader() if suffix == ".vtp" else vtk.vtkPolyDataReader()
    reader.SetFileName(str(tmp_path / f"out{suffix}"))
    reader.Update()
    data = reader.GetOutput()
    assert vtk_to_numpy(data.GetPoints().GetData()).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(vtk_to_numpy(data.GetPoints().GetData()), arrays.positions)
    np.testing.assert_array_equal(vtk_to_numpy(data.GetLines().GetOffsetsArray()), arrays.offsets)
    np.testing.assert_array_equal(vtk_to_numpy(data.GetLines().GetConnectivityArray()), np.arange(9))
    for table, wanted in ((data.GetPointData(), arrays.dpv), (data.GetCellData(), arrays.dps)):
        assert {table.GetArrayName(number) for number in range(table.GetNumberOfArrays())} == set(wanted)
        for name, values in wanted.items():
            np.testing.assert_array_equal(vtk_to_numpy(table.GetArray(name)).reshape(values.shape), values)
    said = data.GetFieldData().GetAbstractArray("SPACE")
    assert said.GetValue(0) == "RAS" if suffix == ".vtp" else "SPACE=RAS" in reader.GetHeader()


@pytest.mark.parametrize("suffix", [".vtk", ".vtp"])
@pytest.mark.parametrize("lengths", [[3, 0, 5, 1], [], [0, 0]])
def test_what_is_written_comes_back(tmp_path: Path, suffix: str, lengths: list[int]) -> None:
    arrays = make_trx_arrays(lengths=lengths, groups={})
    path = write_plain_zip(arrays, tmp_path / "in.trx")
    convert(path, tmp_path / f"out{suffix}", **ANYWHERE)
    found = read(tmp_path / f"out{suffix}", **ANYWHERE)
    assert found["lengths"].tolist() == lengths
    if lengths:
        np.testing.assert_array_equal(found["positions"], arrays.positions)
        assert {key: values.tolist() for key, values in found["dpv"].items()} == {
            key: values.tolist() for key, values in arrays.dpv.items()
        }
        assert found["dps"].keys() == arrays.dps.keys()
    first = (tmp_path / f"out{suffix}").read_bytes()
    convert(path, tmp_path / f"again{suffix}", **ANYWHERE)
    assert (tmp_path / f"again{suffix}").read_bytes() == first


def test_a_source_that_counts_otherwise_leaves_no_file(tmp_path: Path) -> None:
    arrays = make_trx_arrays(lengths=[3, 2], groups={})
    with open_source(write_plain_zip(arrays, tmp_path / "in.trx")) as source:
        for chunks in ([], [*source.chunks(), *source.chunks()]):
            with pytest.raises(CountError, match="states 2 streamlines and 5 vertices"):
                write_vtk(tmp_path / "out.vtp", source.info, chunks)
    assert not (tmp_path / "out.vtp").exists()
    with pytest.raises(InputError, match="VTK has float32 and float64"):
        export(tmp_path / "in.trx", tmp_path / "out.vtk", positions_dtype="float16")


def test_a_reference_and_a_plain_file_are_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give a reference"):
        open_source(write(tmp_path / "a.vtk", GOOD))
    with pytest.raises(InputError, match="unpack it first"):
        read(write(tmp_path / "a.vtk.gz", GOOD, gz=True))
    with pytest.raises(UnsupportedFormatError, match="an empty file"):
        read(write(tmp_path / "b.vtk", b""))
    with pytest.raises(FormatError, match="it is no VTK file"):
        read(write(tmp_path / "b.fib", b"fibers"))
