"""Write VTK files, chunk by chunk: legacy 5.1 (.vtk, binary) and XML (.vtp, appended), in RAS, which they say."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from trxlib.errors import CountError, InputError
from trxlib.formats.output_file import Output, cast_positions, open_output
from trxlib.model.chunk import Chunk, placed
from trxlib.model.dtypes import check_float_dtype
from trxlib.model.source import ArraySpec, Progress, SourceInfo
from trxlib.parallel import run_each, threads_for

__all__ = ["VTK_SUFFIXES", "check_vtk_dtype", "write_vtk"]

Array = npt.NDArray[Any]
StrPath = str | os.PathLike[str]
#: Suffixes of what is written.
VTK_SUFFIXES = (".vtk", ".vtp")
_LEGACY_NAMES = {
    "i1": "signed_char", "u1": "unsigned_char", "i2": "short", "u2": "unsigned_short", "i4": "int",
    "u4": "unsigned_int", "i8": "vtktypeint64", "u8": "vtktypeuint64", "f4": "float", "f8": "double",
}  # fmt: skip
_XML_NAMES = {
    "i1": "Int8", "u1": "UInt8", "i2": "Int16", "u2": "UInt16", "i4": "Int32", "u4": "UInt32", "i8": "Int64",
    "u8": "UInt64", "f4": "Float32", "f8": "Float64",
}  # fmt: skip
#: Types that the format does not have, and a wider one that holds their values.
_WIDER = {"f2": "f4", "b1": "u1"}
_PLAIN = "".join(map(chr, range(33, 127))).replace("%", "").replace('"', "")


def check_vtk_dtype(dtype: npt.DTypeLike, path: StrPath) -> np.dtype[Any]:
    """Return float32 or float64, the types of points in a VTK file.

    Raises
    ------
    InputError
        For any other type.
    """
    found = check_float_dtype(dtype, "positions_dtype")
    if found.itemsize < 4:
        raise InputError(f"{path}: positions_dtype is {found.name}, and VTK has float32 and float64; name one of them")
    return found


def write_vtk(
    path: StrPath,
    info: SourceInfo,
    chunks: Iterable[Chunk],
    *,
    positions_dtype: npt.DTypeLike | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a VTK file: streamlines become lines, dpv point data, dps cell data, all in their types.

    float16 becomes float32 and bool unsigned bytes, which hold the same values.

    Parameters
    ----------
    path : path
        ``.vtp`` is XML, anything else legacy; it appears when it is complete.
    info : SourceInfo
        Counts, dps and dpv of what `chunks` yields.
    chunks : iterable of Chunk
        Not modified.
    positions_dtype : dtype, optional
        float32 or float64; by default float64 for float64 positions, else float32.
    progress : callable, optional
        Called with vertex bytes done and in all.

    Raises
    ------
    CountError
        If `chunks` yields others than `info` counts.
    DtypeError
        If a coordinate is beyond float32, where that is written.
    """
    own = "float64" if info.positions_dtype.itemsize == 8 else "float32"
    dtype = check_vtk_dtype(own if positions_dtype is None else positions_dtype, path)
    is_xml = Path(path).suffix.lower() == ".vtp"
    order = "<" if is_xml else ">"
    arrays = _arrays_of(info, dtype, order)
    parts = _xml_parts(info, arrays) if is_xml else _legacy_parts(info, arrays)
    streamlines = vertices = 0
    with open_output(path) as output:
        writer = _Writer(output, parts, info, path)

        def count(added: tuple[int, int]) -> None:
            nonlocal streamlines, vertices
            streamlines += added[0]
            vertices += added[1]
            if progress is not None:
                progress(3 * dtype.itemsize * vertices, 3 * dtype.itemsize * info.nb_vertices)

        run_each(placed(chunks), writer.put, count, threads=threads_for(info.nbytes))
        writer.check(streamlines, vertices, is_end=True)


@dataclass(frozen=True)
class _Rows:
    """An array of the file.

    Parameters
    ----------
    name : str
        Of the array.
    spec : ArraySpec
        Columns, and type with the byte order of the file.
    nb_rows : int
        How many it will have.
    per_vertex : bool
        Whether they are those of vertices, not of streamlines.
    make : callable
        Takes a chunk with its first streamline and vertex and returns its rows.
    """

    name: str
    spec: ArraySpec
    nb_rows: int
    per_vertex: bool
    make: Callable[[Chunk, int, int], Array]

    @property
    def row_nbytes(self) -> int:
        """Bytes of a row."""
        return self.spec.ncols * self.spec.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return self.nb_rows * self.row_nbytes

    @property
    def code(self) -> str:
        """Kind and size of the type, e.g. ``f4``."""
        return self.spec.dtype.str[1:]


@dataclass(frozen=True)
class _Arrays:
    """All arrays of a file."""

    points: _Rows
    ends: _Rows
    connectivity: _Rows
    dps: Sequence[_Rows]
    dpv: Sequence[_Rows]


def _arrays_of(info: SourceInfo, positions: np.dtype[Any], order: str) -> _Arrays:
    index = ArraySpec(1, np.dtype(f"{order}i8"))
    points = ArraySpec(3, positions.newbyteorder(order))  # type: ignore[arg-type]
    lines, vertices = info.nb_streamlines, info.nb_vertices

    def make_points(chunk: Chunk, streamline: int, vertex: int) -> Array:
        return cast_positions(chunk.positions, points.dtype, chunk, streamline, info.path)

    def make_ends(chunk: Chunk, streamline: int, vertex: int) -> Array:
        return vertex + np.cumsum(chunk.lengths, dtype=np.int64)

    def make_connectivity(chunk: Chunk, streamline: int, vertex: int) -> Array:
        return np.arange(vertex, vertex + chunk.nb_vertices, dtype=index.dtype)

    tables: dict[str, list[_Rows]] = {"dps": [], "dpv": []}
    for section, rows in tables.items():
        for key, spec in sorted(getattr(info, section).items()):
            code = spec.dtype.newbyteorder("=").str[1:]
            own = ArraySpec(spec.ncols, np.dtype(order + _WIDER.get(code, code)))
            is_dpv = section == "dpv"
            rows.append(_Rows(key, own, vertices if is_dpv else lines, is_dpv, _getter(section, key)))
    return _Arrays(
        _Rows("Points", points, vertices, True, make_points),
        _Rows("offsets", index, lines, False, make_ends),
        _Rows("connectivity", index, vertices, True, make_connectivity),
        **tables,
    )


def _getter(section: str, key: str) -> Callable[[Chunk, int, int], Array]:
    """Return what takes the values of a key out of a chunk."""

    def get(chunk: Chunk, streamline: int, vertex: int) -> Array:
        values: Array = getattr(chunk, section)[key]
        return values

    return get


def _legacy_parts(info: SourceInfo, arrays: _Arrays) -> list[bytes | _Rows]:
    """Return what a legacy file is made of, from its first byte to its last."""
    kind = _LEGACY_NAMES[arrays.points.code]
    lines, vertices = info.nb_streamlines, info.nb_vertices
    parts: list[bytes | _Rows] = [
        "# vtk DataFile Version 5.1\nStreamlines in mm, written by trxlib. SPACE=RAS\nBINARY\nDATASET POLYDATA\n"
        f"POINTS {vertices} {kind}\n".encode(),
        arrays.points,
        f"\nLINES {lines + 1} {vertices}\nOFFSETS vtktypeint64\n".encode() + bytes(8),
        arrays.ends,
        b"\nCONNECTIVITY vtktypeint64\n",
        arrays.connectivity,
        b"\n",
    ]
    for keyword, count, rows in (("CELL_DATA", lines, arrays.dps), ("POINT_DATA", vertices, arrays.dpv)):
        if not rows:
            continue
        parts.append(f"{keyword} {count}\nFIELD FieldData {len(rows)}\n".encode())
        for item in rows:
            name = urllib.parse.quote(item.name, safe=_PLAIN)
            parts += [
                f"{name} {item.spec.ncols} {item.nb_rows} {_LEGACY_NAMES[item.code]}\n".encode(), item, b"\n",
            ]  # fmt: skip
    return parts


def _xml_parts(info: SourceInfo, arrays: _Arrays) -> list[bytes | _Rows]:
    """Return what an XML file is made of: the description, then all arrays with the size of each before it."""
    appended: list[_Rows] = []
    offset = 0

    def describe(rows: _Rows) -> str:
        nonlocal offset
        text = (
            f'<DataArray type="{_XML_NAMES[rows.code]}" Name={quoteattr(rows.name)} '
            f'NumberOfComponents="{rows.spec.ncols}" format="appended" offset="{offset}"/>'
        )
        appended.append(rows)
        offset += 8 + rows.nbytes
        return text

    space = " ".join(str(code) for code in b"RAS\0")
    lines = [
        '<?xml version="1.0"?>',
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        "<PolyData>",
        f'<FieldData><Array type="String" Name="SPACE" NumberOfTuples="1" format="ascii">{space}</Array></FieldData>',
        f'<Piece NumberOfPoints="{info.nb_vertices}" NumberOfVerts="0" NumberOfLines="{info.nb_streamlines}" '
        'NumberOfStrips="0" NumberOfPolys="0">',
        *("<PointData>", *map(describe, arrays.dpv), "</PointData>"),
        *("<CellData>", *map(describe, arrays.dps), "</CellData>"),
        *("<Points>", describe(arrays.points), "</Points>"),
        *("<Lines>", describe(arrays.connectivity), describe(arrays.ends), "</Lines>"),
        "</Piece>",
        "</PolyData>",
        '<AppendedData encoding="raw">',
    ]
    parts: list[bytes | _Rows] = ["\n".join(lines).encode() + b"\n_"]
    for rows in appended:
        parts += [rows.nbytes.to_bytes(8, "little"), rows]
    return [*parts, b"\n</AppendedData>\n</VTKFile>\n"]


class _Writer:
    """Puts the rows of chunks where they belong, whichever comes first."""

    def __init__(self, output: Output, parts: Sequence[bytes | _Rows], info: SourceInfo, path: StrPath) -> None:
        self._output, self._info, self._path = output, info, path
        self._arrays: list[tuple[int, _Rows]] = []
        position = 0
        for part in parts:
            if isinstance(part, bytes):
                output.put(position, part)
                position += len(part)
            else:
                self._arrays.append((position, part))
                position += part.nbytes

    def put(self, item: tuple[Chunk, int, int]) -> tuple[int, int]:
        """Write a chunk, of which the first streamline and vertex are given, and return how many it has."""
        chunk, streamline, vertex = item
        nb_streamlines, nb_vertices = len(chunk.lengths), chunk.nb_vertices
        self.check(streamline + nb_streamlines, vertex + nb_vertices)
        for start, rows in self._arrays:
            first = vertex if rows.per_vertex else streamline
            values = rows.make(chunk, streamline, vertex).astype(rows.spec.dtype, order="C", copy=False)
            if values.size:
                # Bytes, since a view of a foreign byte order cannot be cast.
                self._output.put(start + first * rows.row_nbytes, values.reshape(-1).view(np.uint8))
        return nb_streamlines, nb_vertices

    def check(self, streamlines: int, vertices: int, *, is_end: bool = False) -> None:
        """Compare what has come with the counts that the file states.

        Raises
        ------
        CountError
            If there is more, or at the end less.
        """
        info = self._info
        found, stated = (streamlines, vertices), (info.nb_streamlines, info.nb_vertices)
        if found != stated if is_end else found[0] > stated[0] or found[1] > stated[1]:
            raise CountError(
                f"{self._path}: {info.path} states {stated[0]} streamlines and {stated[1]} vertices, and {found[0]} "
                f"and {found[1]} {'came' if is_end else 'or more come'}; write or fetch it anew"
            )
