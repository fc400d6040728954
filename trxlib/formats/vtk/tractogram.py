"""Streamlines of a VTK file: its lines with their points in a row, and the values that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DataLossWarning, FormatError, HeaderWarning, warn
from trxlib.formats.vtk.polydata import CELL_KINDS, PolyData, Table
from trxlib.model.names import make_key

__all__ = ["Lines", "lines_of"]

Array = npt.NDArray[Any]
_KEY_BYTES = 200


@dataclass
class Lines:
    """The lines of a file.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Vertices of each.
    rows : ndarray of integers, shape (v,), optional
        Which point each vertex is; None where vertex 0 is point 0, and so on.
    points : ndarray, shape (p, 3)
        In the type and byte order of the file.
    dps, dpv : dict of str to ndarray
        Key to a row for each line, and for each point.
    """

    lengths: Array
    rows: Array | None
    points: Array
    dps: dict[str, Array]
    dpv: dict[str, Array]

    def take(self, values: Array, first: int, last: int, dtype: np.dtype[Any]) -> Array:
        """Return the rows of some vertices, copied into a type of the machine."""
        part = values[first:last] if self.rows is None else values[self.rows[first:last]]
        return np.array(part, dtype=dtype, order="C")


def lines_of(mesh: PolyData, path: str) -> Lines:
    """Return the lines of a file, of which the cell data are those of lines.

    Parameters
    ----------
    mesh : PolyData
        What the file holds.
    path : str
        For messages.

    Returns
    -------
    Lines

    Raises
    ------
    FormatError
        If it is a surface, or points without lines.

    Warns
    -----
    DataLossWarning
        Names what has no place in a tractogram.
    HeaderWarning
        Says which arrays get other names.
    """
    others = {kind: len(cells) for kind, cells in mesh.cells.items() if kind != "lines" and len(cells)}
    held = " and ".join(f"{count} {CELL_KINDS[kind]}" for kind, count in others.items())
    if not len(mesh.lines) and (others or len(mesh.points)):
        what = (
            f"{held}, a surface or a cloud of points"
            if others
            else f"{len(mesh.points)} points and no lines through them"
        )
        raise FormatError(
            f"{path}: holds {what}; a tractogram has LINES. If it had, it was cut: fetch or write it anew"
        )
    lost = [*mesh.lost, *mesh.point_data.lost, *mesh.cell_data.lost, *([held] if held else [])]
    cells = mesh.lines
    rows = None if cells.is_in_order() else cells.points
    unused = _count_unused(rows, len(cells.points), len(mesh.points))
    if unused:
        lost.append(f"{unused} points that no line uses")
    if lost:
        warn(
            f"{path}: left out: {', '.join(lost[:8])}" + (f" and {len(lost) - 8} more" if len(lost) > 8 else ""),
            DataLossWarning,
        )
    dps, dpv = (
        _with_keys(table, section, path) for table, section in ((mesh.cell_data, "dps"), (mesh.point_data, "dpv"))
    )
    return Lines(cells.lengths, rows, mesh.points, dps, dpv)


def _count_unused(rows: Array | None, nb_vertices: int, nb_points: int) -> int:
    if rows is None:
        return nb_points - nb_vertices
    is_used = np.zeros(nb_points, dtype=np.bool_)
    is_used[rows] = True
    return nb_points - int(np.count_nonzero(is_used))


def _with_keys(table: Table, section: str, path: str) -> dict[str, Array]:
    """Return arrays under keys that can be written."""
    found: dict[str, Array] = {}
    renamed = []
    taken = {name for name in table.arrays if _key_of(name) == name}
    for name, values in table.arrays.items():
        key = name
        if name not in taken:
            key, number = _key_of(name), 2
            while key in taken:
                key, number = f"{_key_of(name)}_{number}", number + 1
            taken.add(key)
            renamed.append(f"{section}/{name[:60]} becomes {key[:60]}")
        if values.shape[1]:
            found[key] = values
    if renamed:
        warn(f"{path}: names that cannot be keys are changed: {', '.join(renamed)}", HeaderWarning)
    return found


def _key_of(name: str) -> str:
    key = make_key(name)
    return key.encode()[: _KEY_BYTES - 4].decode(errors="ignore").strip() if len(key.encode()) > _KEY_BYTES - 4 else key
