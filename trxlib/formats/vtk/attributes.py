"""Values in a legacy VTK file: SCALARS, VECTORS, TENSORS, FIELD and the like, behind POINT_DATA or CELL_DATA."""

from __future__ import annotations

import numpy as np

from trxlib.errors import FormatError
from trxlib.formats.vtk.cursor import Cursor
from trxlib.formats.vtk.polydata import Table
from trxlib.formats.vtk.text import CUT

__all__ = ["ATTRIBUTES", "read_attribute", "read_field", "skip_metadata"]

#: Keywords of arrays with a fixed number of columns.
_COLUMNS = {
    "VECTORS": 3,
    "NORMALS": 3,
    "TENSORS": 9,
    "TENSORS6": 6,
    "GLOBAL_IDS": 1,
    "PEDIGREE_IDS": 1,
    "EDGE_FLAGS": 1,
}
_HAVE_AXES = ("VECTORS", "NORMALS", "TENSORS", "TENSORS6")
#: All keywords that begin an array.
ATTRIBUTES = (*_COLUMNS, "SCALARS", "COLOR_SCALARS", "TEXTURE_COORDINATES", "LOOKUP_TABLE", "FIELD")


def read_attribute(cursor: Cursor, keyword: str, rows: int, table: Table) -> None:
    """Read what follows a keyword of `ATTRIBUTES`.

    Parameters
    ----------
    cursor : Cursor
        Behind the keyword.
    keyword : str
        Upper case.
    rows : int
        How many there must be.
    table : Table
        Added to.

    Raises
    ------
    FormatError
        If the file ends, or holds something else.
    """
    if keyword == "FIELD":
        for name, found in read_field(cursor).items():
            if isinstance(found, list):
                table.lost.append(f"the texts {name!r}")
            else:
                table.add(name, found)
        return
    name = cursor.name(f"the name of {keyword}")
    what = f"{keyword} {name!r}"
    if keyword == "LOOKUP_TABLE":
        size = cursor.count(f"the size of {what}")
        cursor.numbers(4 * size, "unsigned_char" if cursor.is_binary else "float", what)
        table.lost.append(f"the colour table {name!r}")
        return
    if keyword == "COLOR_SCALARS":
        _read_colours(cursor, name, rows, table)
        return
    columns = cursor.count(f"the columns of {what}") if keyword == "TEXTURE_COORDINATES" else _COLUMNS.get(keyword, 1)
    type_name = cursor.dtype(what)
    if keyword == "SCALARS":
        columns = _scalars_columns(cursor, what)
    if type_name in ("string", "utf8_string"):
        cursor.strings(rows * columns, what)
        table.lost.append(f"the texts {name!r}")
        return
    added = table.add(name, cursor.numbers(rows * columns, type_name, what).reshape(rows, columns))
    if keyword in _HAVE_AXES:
        table.directions.append(added)


def _scalars_columns(cursor: Cursor, what: str) -> int:
    """Return the columns that stand behind the type, 1 if none do, and pass over the name of a colour table."""
    here = cursor.position
    words = cursor.line().split()
    columns = 1
    if words:
        cursor.position = here
        columns = cursor.count(f"the columns of {what}")
    else:
        cursor.position = here
    if cursor.peek().upper() == "LOOKUP_TABLE":
        cursor.word("LOOKUP_TABLE")
        cursor.word(f"the colour table of {what}")
    if not 1 <= columns <= 1000:
        raise FormatError(f"{cursor.path}: {what} has {columns} columns; the file is damaged")
    return columns


def _read_colours(cursor: Cursor, name: str, rows: int, table: Table) -> None:
    """Read colours: bytes, which are written as shares of 255 in text."""
    what = f"COLOR_SCALARS {name!r}"
    columns = cursor.count(f"the columns of {what}")
    values = cursor.numbers(rows * columns, "unsigned_char" if cursor.is_binary else "float", what)
    if not cursor.is_binary:
        scaled = np.rint(255 * values.astype(np.float64))
        # What is no share of 255 stays as it is.
        if len(values) and np.all(np.abs(255 * values.astype(np.float64) - scaled) < 1e-2):
            if scaled.min() >= 0 and scaled.max() <= 255:
                values = scaled.astype(np.uint8)
        elif not len(values):
            values = values.astype(np.uint8)
    table.add(name, values.reshape(rows, columns))


def read_field(cursor: Cursor) -> dict[str, np.ndarray | list[str]]:
    """Return the arrays of a FIELD: shape (rows, columns), or texts; the cursor stands behind the keyword."""
    name = cursor.name("the name of a FIELD")
    count = cursor.count(f"the arrays of FIELD {name!r}")
    found: dict[str, np.ndarray | list[str]] = {}
    for number in range(count):
        if number:
            skip_metadata(cursor)
        if not cursor.peek():
            raise FormatError(f"{cursor.path}: FIELD {name!r} states {count} arrays, {number} are there; {CUT}")
        own = cursor.name(f"an array of FIELD {name!r}")
        if own == "NULL_ARRAY":
            continue
        what = f"FIELD {name!r}, array {own!r}"
        columns, rows = cursor.count(f"the columns of {what}"), cursor.count(f"the rows of {what}")
        type_name = cursor.dtype(what)
        key, again = own, 2
        while key in found:
            key, again = f"{own}_{again}", again + 1
        if type_name in ("string", "utf8_string"):
            found[key] = cursor.strings(rows * columns, what)
        else:
            found[key] = cursor.numbers(rows * columns, type_name, what).reshape(rows, columns)
    return found


def skip_metadata(cursor: Cursor) -> None:
    """Pass over a METADATA block, if one follows: it ends at an empty line."""
    if cursor.peek().upper() != "METADATA":
        return
    cursor.word("METADATA")
    cursor.line()
    while cursor.left and cursor.line():
        pass
