"""XML VTK files of lines (VTP): text, base64 or appended data, compressed or not, of one or several pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.parsers import expat

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError, UnsupportedFormatError
from trxlib.formats.vtk.encoded import XML_TYPES, Encoding, decompressor
from trxlib.formats.vtk.polydata import Cells, PolyData, Table, join
from trxlib.formats.vtk.text import CUT, Buffer

__all__ = ["XML_MAGIC", "read_xml"]

Array = npt.NDArray[Any]
XML_MAGIC = (b"<?xml", b"<VTKFile")
_TAG = re.compile(rb"<(?:[^\"'>]|\"[^\"]*\"|'[^']*')*>")
_FEED = 1 << 20
_MAX_DEPTH = 32
_KINDS = {"Verts": "verts", "Lines": "lines", "Polys": "polys", "Strips": "strips"}
_COUNTS = {"Verts": "NumberOfVerts", "Lines": "NumberOfLines", "Polys": "NumberOfPolys", "Strips": "NumberOfStrips"}
_HAVE_AXES = ("Vectors", "Normals", "Tensors")


@dataclass
class _Element:
    """An element, with the bytes between its tag and what follows."""

    name: str
    attributes: dict[str, str]
    start: int = 0
    stop: int = -1
    children: list[_Element] = field(default_factory=list)

    def all(self, name: str) -> list[_Element]:
        """Return the children of a name."""
        return [child for child in self.children if child.name == name]


class _Appended(Exception):  # noqa: N818 (no error: the rest of the file is no XML)
    """The tag of the appended data has been reached."""


class _Outline:
    """Reads the elements of a file, and not what stands in them."""

    def __init__(self, data: Buffer, path: str) -> None:
        self._data, self._path = data, path
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        # Without a document type there are no entities, and nothing grows while it is read.
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._top = _Element("", {})
        self._stack = [self._top]

    def read(self) -> _Element:
        """Return the element VTKFile.

        Raises
        ------
        FormatError
            If the file is no XML, or ends too soon.
        """
        view = memoryview(self._data)
        try:
            for start in range(0, len(view), _FEED):
                self._parser.Parse(view[start : start + _FEED], False)
            self._parser.Parse(b"", True)
        except _Appended:
            pass
        except expat.ExpatError as error:
            raise FormatError(
                f"{self._path}: line {error.lineno}, column {error.offset}: no XML ({expat.ErrorString(error.code)}); "
                f"{CUT}"
            ) from None
        finally:
            view.release()
        root = self._top.children[0] if self._top.children else _Element("", {})
        if root.name != "VTKFile":
            raise FormatError(f"{self._path}: the first element is {root.name[:40]!r}, expected VTKFile")
        return root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        index = self._parser.CurrentByteIndex
        tag = _TAG.match(self._data, index)
        element = _Element(name, attributes, tag.end() if tag else index)
        parent = self._stack[-1]
        if parent.stop < 0:  # what an array holds ends where information keys begin
            parent.stop = index
        parent.children.append(element)
        self._stack.append(element)
        if len(self._stack) > _MAX_DEPTH:
            raise FormatError(f"{self._path}: elements lie in each other {_MAX_DEPTH} deep; this is no VTK file")
        if name == "AppendedData":
            raise _Appended

    def _end(self, name: str) -> None:
        element = self._stack.pop()
        if element.stop < 0:
            element.stop = self._parser.CurrentByteIndex

    def _refuse(self, *declared: object) -> None:
        raise FormatError(
            f"{self._path}: declares a document type, which VTK files do not have; remove it (<!DOCTYPE ...>)"
        )


def read_xml(data: Buffer, path: str) -> PolyData:
    """Read an XML VTK file.

    Parameters
    ----------
    data : buffer
        The whole file; arrays of raw appended data are views of it.
    path : str
        For messages.

    Returns
    -------
    PolyData

    Raises
    ------
    FormatError
        If the file ends too soon, or holds something else than it states; file and array are named.
    UnsupportedFormatError
        If it holds another kind of data, or is compressed in a way that is not known.
    """
    root = _Outline(data, path).read()
    kind = root.attributes.get("type", "")
    sets = root.all("PolyData")
    if kind != "PolyData" or not sets:
        raise UnsupportedFormatError(
            f"{path}: a VTK file of type {kind[:40]!r}, and streamlines are PolyData; save them so"
        )
    encoding = _encoding_of(root, data, path)
    reader = _Pieces(encoding, path)
    pieces = [reader.read(piece) for piece in sets[0].all("Piece")]
    mesh = join(pieces, path) if pieces else PolyData()
    if not pieces and len(sets[0].children):
        raise FormatError(f"{path}: PolyData has no Piece; {CUT}")
    for element in sets[0].all("FieldData"):
        reader.read_facts(element, mesh)
    return mesh


def _encoding_of(root: _Element, data: Buffer, path: str) -> Encoding:
    """Return how the file writes arrays, as its attributes say."""
    orders: dict[str, Literal["<", ">"]] = {"LittleEndian": "<", "BigEndian": ">"}
    order = orders.get(root.attributes.get("byte_order", "LittleEndian"))
    header = {"UInt32": "u4", "UInt64": "u8"}.get(root.attributes.get("header_type", "UInt32"))
    if order is None or header is None:
        raise FormatError(
            f"{path}: byte_order {root.attributes.get('byte_order')!r} and header_type "
            f"{root.attributes.get('header_type')!r}, expected LittleEndian or BigEndian, and UInt32 or UInt64"
        )
    encoding = Encoding(data, path, order, np.dtype(header), decompressor(root.attributes.get("compressor", ""), path))
    for element in root.all("AppendedData"):
        end = data.rfind(b"</AppendedData>")
        mark = data.find(b"_", element.start, element.start + 1024)
        if mark < 0 or end < mark or bytes(data[end:]).split() != [b"</AppendedData>", b"</VTKFile>"]:
            raise FormatError(
                f"{path}: the appended data have no beginning (_) or no end (</AppendedData>, </VTKFile>); {CUT}"
            )
        if bytes(data[element.start : mark]).strip():
            raise FormatError(f"{path}: the appended data do not begin with _; the file is damaged")
        kind = element.attributes.get("encoding", "base64")
        if kind not in ("raw", "base64"):
            raise UnsupportedFormatError(
                f"{path}: appended data are encoded as {kind[:40]!r}, known are raw and base64"
            )
        encoding.appended, encoding.appended_is_raw = (mark + 1, end), kind == "raw"
    return encoding


class _Pieces:
    """Reads the pieces of a file."""

    def __init__(self, encoding: Encoding, path: str) -> None:
        self._encoding, self._path = encoding, path

    def read(self, piece: _Element) -> PolyData:
        """Return a piece, with the cell data of its lines only."""
        nb_points = self._count(piece, "NumberOfPoints")
        mesh = PolyData()
        points = [array for element in piece.all("Points") for array in element.all("DataArray")]
        if points:
            mesh.points = self._array(points[0], 3, nb_points, "Points")
        elif nb_points:
            raise FormatError(f"{self._path}: a piece of {nb_points} points has no Points; {CUT}")
        for tag, kind in _KINDS.items():
            count = self._count(piece, _COUNTS[tag])
            found = [child for element in piece.all(tag) for child in element.all("DataArray")]
            mesh.cells[kind] = self._cells(found, count, tag)
        for tag, rows, table in (
            ("PointData", nb_points, mesh.point_data),
            ("CellData", mesh.nb_cells, mesh.cell_data),
        ):
            for element in piece.all(tag):
                self._read_table(element, rows, table)
        mesh.check(self._path)
        mesh.only_lines()
        return mesh

    def read_facts(self, facts: _Element, mesh: PolyData) -> None:
        """Read the field data of the whole file: what space it is in, and what nobody asks for."""
        for element in facts.children:
            name = element.attributes.get("Name", "")
            if name.upper() == "SPACE" and element.attributes.get("type") == "String":
                codes = self._values(element, np.dtype("i1"), None, "the field SPACE").astype(np.uint8).tobytes()
                mesh.space.append(codes.split(b"\0")[0].decode("utf-8", "replace"))
            else:
                mesh.lost.append(f"the field {name!r} of the whole file")

    def _count(self, piece: _Element, name: str) -> int:
        text = piece.attributes.get(name, "0").strip()
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise FormatError(f"{self._path}: {name} is {text[:40]!r}, expected a count; the file is damaged")
        return int(text)

    def _read_table(self, element: _Element, rows: int, table: Table) -> None:
        for child in element.children:
            name = child.attributes.get("Name", "")
            if child.attributes.get("type") not in (*XML_TYPES, "Bit"):
                table.lost.append(f"the {child.attributes.get('type', 'unknown').lower()} array {name!r}")
                continue
            text = child.attributes.get("NumberOfComponents", "1").strip() or "1"
            columns = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
            if not columns:
                raise FormatError(
                    f"{self._path}: the array {name!r} has NumberOfComponents {text[:40]!r}; the file is damaged"
                )
            added = table.add(name, self._array(child, columns, rows, f"{element.name} {name!r}"))
            if name in [element.attributes.get(kind) for kind in _HAVE_AXES]:
                table.directions.append(added)

    def _cells(self, arrays: list[_Element], count: int, tag: str) -> Cells:
        found = {}
        for name in ("offsets", "connectivity"):
            matching = [array for array in arrays if array.attributes.get("Name") == name]
            if not matching:
                if count:
                    raise FormatError(f"{self._path}: {tag} states {count} cells and has no {name}; {CUT}")
                return Cells()
            kind = matching[0].attributes.get("type", "")
            if "Int" not in kind or kind not in XML_TYPES:
                raise FormatError(f"{self._path}: {name} of {tag} is {kind[:40]!r}, expected integers")
            known = count if name == "offsets" else None
            found[name] = self._values(matching[0], XML_TYPES[kind], known, f"{tag} {name}")
        return Cells.from_ends(found["offsets"], found["connectivity"], f"{self._path}: {tag}")

    def _array(self, element: _Element, columns: int, rows: int, what: str) -> Array:
        kind = element.attributes.get("type", "")
        if kind == "Bit":
            packed = element.attributes.get("format") != "ascii"
            count = (rows * columns + 7) // 8 if packed else rows * columns
            values = self._values(element, np.dtype("u1" if packed else "?"), count, what)
            bits = np.unpackbits(values, count=rows * columns).view(np.bool_) if packed else values
            return bits.reshape(rows, columns)
        if kind not in XML_TYPES:
            raise FormatError(f"{self._path}: {what} is of type {kind[:40]!r}, known are {', '.join(XML_TYPES)}")
        return self._values(element, XML_TYPES[kind], rows * columns, what).reshape(rows, columns)

    def _values(self, element: _Element, dtype: np.dtype[Any], count: int | None, what: str) -> Array:
        """Return the numbers of an array: `count`, or as many as it holds."""
        where = f"{self._path}: {what}"
        form = element.attributes.get("format", "ascii")
        if form == "ascii":
            return self._encoding.text(element.start, element.stop, dtype, count, where)
        if form == "binary":
            values = self._encoding.inline(element.start, element.stop, dtype, where)
        elif form == "appended":
            text = element.attributes.get("offset", "")
            if not text.isascii() or not text.isdigit() or len(text) > 18:
                raise FormatError(f"{where} has the offset {text[:40]!r}, expected a number; the file is damaged")
            values = self._encoding.at(int(text), dtype, where)
        else:
            raise FormatError(f"{where} has the format {form[:40]!r}, expected ascii, binary or appended")
        if count is not None and len(values) != count:
            raise FormatError(f"{where}: {count} numbers are stated, {len(values)} are there; {CUT}")
        return values
