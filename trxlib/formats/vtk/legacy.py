"""Legacy VTK files, versions 1.0 to 5.1, text or binary: POLYDATA, and UNSTRUCTURED_GRID for its lines."""

from __future__ import annotations

import re

import numpy as np

from trxlib.errors import FormatError, UnsupportedFormatError
from trxlib.formats.vtk.attributes import ATTRIBUTES, read_attribute, read_field, skip_metadata
from trxlib.formats.vtk.cursor import Cursor
from trxlib.formats.vtk.polydata import Cells, PolyData, Table, walk_cells
from trxlib.formats.vtk.text import CUT, Buffer

__all__ = ["LEGACY_MAGIC", "read_legacy"]

#: Some programs (UKF tractography) leave the blank out.
LEGACY_MAGIC = (b"# vtk DataFile", b"#vtk DataFile")
_VERSION = re.compile(r"#\s*vtk DataFile Version\s+(\d+)\.(\d+)$", re.IGNORECASE)
_SPACE = re.compile(r"\bSPACE\s*=\s*(\w+)", re.IGNORECASE)
_KINDS = {"VERTICES": "verts", "LINES": "lines", "POLYGONS": "polys", "TRIANGLE_STRIPS": "strips"}
#: Types of cells in an unstructured grid that are lines: of two points, and of any number.
_LINE_TYPES = (3, 4)


def read_legacy(data: Buffer, path: str) -> PolyData:
    """Read a legacy VTK file.

    Parameters
    ----------
    data : buffer
        The whole file; arrays of binary files are views of it.
    path : str
        For messages.

    Returns
    -------
    PolyData

    Raises
    ------
    FormatError
        If the file ends too soon, or holds something else than it states; file and section are named.
    UnsupportedFormatError
        If it holds another kind of data.
    """
    cursor = Cursor(data, path)
    mesh = PolyData()
    mesh.space += _SPACE.findall(_read_head(cursor))
    kind = _read_kind(cursor, mesh)
    _Sections(cursor, mesh, kind).read()
    mesh.check(path)
    if cursor.open_end and not (cursor.open_end == "LINES" and mesh.lines.is_in_order()):
        raise FormatError(
            f"{path}: {cursor.open_end} ends with a number and no end of line, so that it may be cut; {CUT}. If it is "
            "whole, add an end of line"
        )
    return mesh


def _read_head(cursor: Cursor) -> str:
    """Read the first three lines, and return the title."""
    first = cursor.line()
    found = _VERSION.match(first)
    if found is None:
        raise FormatError(
            f"{cursor.path}: the first line is {first[:60]!r}, expected '# vtk DataFile Version 5.1' or another version"
        )
    if not (1, 0) <= (int(found[1]), int(found[2])) < (6, 0):
        raise UnsupportedFormatError(
            f"{cursor.path}: version {found[1]}.{found[2]} of the VTK format, known are 1.0 to 5.1; save it so"
        )
    title = cursor.line()
    encoding = cursor.word("ASCII or BINARY").upper()
    if encoding not in ("ASCII", "BINARY"):
        raise FormatError(f"{cursor.path}: the third line is {encoding[:40]!r}, expected ASCII or BINARY")
    cursor.is_binary = encoding == "BINARY"
    return title


def _read_kind(cursor: Cursor, mesh: PolyData) -> str:
    """Read on to the kind of data, and return it."""
    keyword = cursor.word("DATASET").upper()
    if keyword == "FIELD":  # a file of nothing else
        raise UnsupportedFormatError(f"{cursor.path}: holds a FIELD and no DATASET, so it is no tractogram")
    if keyword != "DATASET":
        raise FormatError(f"{cursor.path}: the fourth line begins with {keyword[:40]!r}, expected DATASET")
    kind = cursor.word("the kind of DATASET").upper()
    if kind not in ("POLYDATA", "UNSTRUCTURED_GRID"):
        raise UnsupportedFormatError(
            f"{cursor.path}: DATASET {kind[:40]}, and streamlines are lines of POLYDATA (or of UNSTRUCTURED_GRID); "
            "save them as POLYDATA"
        )
    return kind


class _Sections:
    """Reads the sections of a file one after the other."""

    def __init__(self, cursor: Cursor, mesh: PolyData, kind: str) -> None:
        self._cursor, self._mesh, self._kind = cursor, mesh, kind
        self._seen: set[str] = set()
        self._rows, self._table = 0, Table()
        self._types: np.ndarray | None = None
        self._grid = Cells()

    def read(self) -> None:
        """Read all of them.

        Raises
        ------
        FormatError
            If what follows is no section, or no points are stated.
        """
        cursor = self._cursor
        keyword = ""
        while cursor.peek():
            keyword = cursor.word("a section").upper()
            self._read(keyword)
            skip_metadata(cursor)
        if keyword in ("POINT_DATA", "CELL_DATA") and self._rows:
            raise FormatError(f"{cursor.path}: {keyword} {self._rows} states values, and none follow; {CUT}")
        if "POINTS" not in self._seen:
            raise FormatError(f"{cursor.path}: no POINTS follow DATASET {self._kind}; {CUT}")
        if self._kind == "UNSTRUCTURED_GRID":
            self._sort_cells()

    def _read(self, keyword: str) -> None:
        if keyword in ("POINTS", "CELLS", "CELL_TYPES", "POINT_DATA", "CELL_DATA", *_KINDS):
            if keyword in self._seen:
                raise FormatError(f"{self._cursor.path}: a second section {keyword}; the file is damaged")
            self._seen.add(keyword)
        cells = tuple(_KINDS) if self._kind == "POLYDATA" else ("CELLS",)
        if keyword == "POINTS":
            self._read_points()
        elif keyword in cells:
            found = self._read_cells(keyword)
            if keyword == "CELLS":
                self._grid = found
            else:
                self._mesh.cells[_KINDS[keyword]] = found
        elif keyword == "CELL_TYPES" and self._kind != "POLYDATA":
            count = self._cursor.count(keyword)
            self._types = self._cursor.numbers(count, "int", keyword)
        elif keyword in ("POINT_DATA", "CELL_DATA"):
            self._rows = self._cursor.count(f"the rows of {keyword}")
            self._check_rows(keyword)
            self._table = self._mesh.point_data if keyword == "POINT_DATA" else self._mesh.cell_data
        elif keyword == "FIELD" and not self._seen & {"POINT_DATA", "CELL_DATA"}:
            self._read_facts()
        elif keyword in ATTRIBUTES and self._seen & {"POINT_DATA", "CELL_DATA"}:
            read_attribute(self._cursor, keyword, self._rows, self._table)
        else:
            raise FormatError(
                f"{self._cursor.path}: {keyword[:40]!r} stands before byte {self._cursor.position}, where a section of "
                f"{self._kind} is expected; the file is damaged, or an array holds other numbers than are stated"
            )

    def _read_points(self) -> None:
        count = self._cursor.count("the number of POINTS")
        type_name = self._cursor.dtype("POINTS")
        if type_name in ("bit", "string", "utf8_string"):
            raise FormatError(f"{self._cursor.path}: POINTS are {type_name}, expected numbers")
        self._mesh.points = self._cursor.numbers(3 * count, type_name, "POINTS").reshape(count, 3)

    def _read_cells(self, keyword: str) -> Cells:
        cursor = self._cursor
        first, second = cursor.count(f"the number of {keyword}"), cursor.count(f"the size of {keyword}")
        if cursor.peek().upper() != "OFFSETS":
            return walk_cells(cursor.numbers(second, "int", keyword), first, cursor.where(keyword))
        cursor.word("OFFSETS")
        offsets = cursor.numbers(first, cursor.dtype(f"{keyword} OFFSETS"), f"{keyword} OFFSETS")
        skip_metadata(cursor)
        word = cursor.word(f"CONNECTIVITY of {keyword}").upper()
        if word != "CONNECTIVITY":
            raise FormatError(
                f"{cursor.path}: {word[:40]!r} follows the OFFSETS of {keyword}, expected CONNECTIVITY; {CUT}"
            )
        type_name = cursor.dtype(f"{keyword} CONNECTIVITY")
        points = cursor.numbers(second, type_name, f"{keyword} CONNECTIVITY")
        for name, values in (("OFFSETS", offsets), ("CONNECTIVITY", points)):
            if values.dtype.kind not in "iu":
                raise FormatError(f"{cursor.path}: {keyword} {name} is {values.dtype.name}, expected integers")
        if len(offsets) and int(offsets[0]) != 0:
            raise FormatError(f"{cursor.path}: {keyword} OFFSETS begins with {int(offsets[0])}, expected 0")
        cursor.open_end = keyword if cursor.open_end else ""
        return Cells.from_ends(offsets[1:], points, cursor.where(keyword))

    def _check_rows(self, keyword: str) -> None:
        """Compare the rows of values with what they belong to, before they are read."""
        mesh = self._mesh
        if keyword == "POINT_DATA":
            count = len(mesh.points)
        else:
            count = mesh.nb_cells if self._kind == "POLYDATA" else len(self._grid)
        if self._rows != count:
            what = "points" if keyword == "POINT_DATA" else "cells"
            raise FormatError(f"{self._cursor.path}: {keyword} states {self._rows} rows for {count} {what}; {CUT}")

    def _read_facts(self) -> None:
        """Read the FIELD of the whole file: what space it is in, and what nobody asks for."""
        for name, values in read_field(self._cursor).items():
            if name.upper() == "SPACE" and isinstance(values, list):
                self._mesh.space += values[:1]
            else:
                self._mesh.lost.append(f"the field {name!r} of the whole file")

    def _sort_cells(self) -> None:
        """Take the lines of an unstructured grid; the others are told of as what they are."""
        grid, types = self._grid, self._types
        if len(grid) and types is None:
            raise FormatError(f"{self._cursor.path}: {len(grid)} CELLS and no CELL_TYPES; {CUT}")
        if types is None:
            return
        if len(types) != len(grid):
            raise FormatError(f"{self._cursor.path}: CELL_TYPES has {len(types)} rows for {len(grid)} cells; {CUT}")
        grid.check(len(self._mesh.points), self._cursor.where("CELLS"))
        is_line = np.isin(types, _LINE_TYPES)
        mesh = self._mesh
        for name, values in mesh.cell_data.arrays.items():  # as if the others came last
            mesh.cell_data.arrays[name] = np.concatenate((values[is_line], values[~is_line]))
        mesh.cells["lines"] = Cells(grid.lengths[is_line], grid.points[np.repeat(is_line, grid.lengths)])
        mesh.cells["others"] = Cells(np.zeros(int((~is_line).sum()), np.int64))
