"""What a VTK file holds, whatever its encoding: points, lines through them, and a row of values for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError, OffsetsError, ShapeError
from trxlib.formats.vtk.text import CUT

__all__ = ["CELL_KINDS", "Cells", "PolyData", "Table", "join", "walk_cells"]

Array = npt.NDArray[Any]
#: Kinds of cells in the order in which their rows of cell data stand, and what messages call them.
CELL_KINDS = {
    "verts": "single points",
    "lines": "lines",
    "polys": "polygons",
    "strips": "triangle strips",
    "others": "cells that are no lines",
}


@dataclass
class Cells:
    """Runs of point numbers.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Points of each cell.
    points : ndarray of integers, shape (sum of lengths,)
        Their numbers.
    """

    lengths: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    points: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def from_ends(cls, ends: Array, points: Array, what: str) -> Cells:
        """Return cells of which the ends in `points` are known.

        Parameters
        ----------
        ends : ndarray of integers, shape (n,)
            Where each cell ends.
        points : ndarray of integers
            Numbers of all points.
        what : str
            File and section, for messages.

        Raises
        ------
        OffsetsError
            If the ends decrease, or the last is not that of `points`.
        """
        limits = np.concatenate(([0], ends.astype(np.int64)))
        lengths = np.diff(limits)
        if len(lengths) and lengths.min() < 0:
            cell = int(np.argmax(lengths < 0))
            raise OffsetsError(
                f"{what}: cell {cell} ends at {int(limits[cell + 1])}, before its start {int(limits[cell])}; the "
                "file is damaged"
            )
        if int(limits[-1]) != len(points):
            raise OffsetsError(
                f"{what}: the cells end at {int(limits[-1])}, and connectivity has {len(points)} numbers; {CUT}"
            )
        return cls(lengths, points)

    def check(self, nb_points: int, what: str) -> None:
        """Check that all numbers are those of points.

        Raises
        ------
        FormatError
            Naming the first cell with another number.
        """
        if not len(self.points) or (self.points.min() >= 0 and self.points.max() < nb_points):
            return
        place = int(np.argmax((self.points < 0) | (self.points >= nb_points)))
        cell = int(np.searchsorted(np.cumsum(self.lengths), place, side="right"))
        raise FormatError(
            f"{what}: cell {cell} has point {int(self.points[place])}, and there are {nb_points} points; the file is "
            "damaged"
        )

    def is_in_order(self) -> bool:
        """Tell whether the points are 0, 1, 2 and so on, as nearly all programs write them."""
        step = 1 << 20
        return all(
            bool(
                np.array_equal(self.points[start : start + step], np.arange(start, min(start + step, len(self.points))))
            )
            for start in range(0, len(self.points), step)
        )


def walk_cells(numbers: Array, count: int, what: str) -> Cells:
    """Return the cells of a list in which each has its length before its points.

    Parameters
    ----------
    numbers : ndarray of integers
        The list.
    count : int
        How many cells there must be.
    what : str
        File and section, for messages.

    Raises
    ------
    FormatError
        If there are not as many, or a length is impossible.
    """
    numbers = np.ascontiguousarray(numbers, dtype=numbers.dtype.newbyteorder("="))
    view, total = numbers.data, len(numbers)
    starts: list[int] = []
    position = 0
    while position < total:
        length = view[position]
        if length < 0 or length > total - position - 1:
            raise FormatError(
                f"{what}: cell {len(starts)} says {length} points, and {total - position - 1} numbers follow; {CUT}"
            )
        starts.append(position)
        position += length + 1
    if len(starts) != count:
        raise FormatError(f"{what}: {count} cells are stated, and their numbers are those of {len(starts)}; {CUT}")
    places = np.array(starts, dtype=np.int64)
    is_point = np.ones(total, dtype=np.bool_)
    is_point[places] = False
    return Cells(numbers[places].astype(np.int64), numbers[is_point])


@dataclass
class Table:
    """Values with one row for each point, or each line.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Name to values, shape (rows, columns).
    lost : list of str
        What is there and cannot be kept, for a message.
    directions : list of str
        Arrays of vectors, normals and tensors, which have axes.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    directions: list[str] = field(default_factory=list)

    def add(self, name: str, values: Array) -> str:
        """Add an array, under another name if that is taken, and return its name."""
        free, number = name, 2
        while free in self.arrays:
            free, number = f"{name}_{number}", number + 1
        self.arrays[free] = values
        return free


@dataclass
class PolyData:
    """What a file, or a piece of one, holds.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        In the type and byte order of the file.
    cells : dict of str to Cells
        By the keys of `CELL_KINDS`.
    point_data, cell_data : Table
        With a row for each point, and for each cell of any kind.
    space : list of str
        What the file calls its space, each time that it does.
    lost : list of str
        What else is there and cannot be kept.
    """

    points: Array = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    cells: dict[str, Cells] = field(default_factory=dict)
    point_data: Table = field(default_factory=Table)
    cell_data: Table = field(default_factory=Table)
    space: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def lines(self) -> Cells:
        """The lines."""
        return self.cells.get("lines", Cells())

    @property
    def nb_cells(self) -> int:
        """Cells of all kinds."""
        return sum(map(len, self.cells.values()))

    def check(self, path: str) -> None:
        """Check that numbers of points are those of points, and that tables have a row for each point and cell.

        Raises
        ------
        FormatError
            Naming cell or array.
        """
        for kind, cells in self.cells.items():
            cells.check(len(self.points), f"{path}: {CELL_KINDS[kind]}")
        for table, count, what in (
            (self.point_data, len(self.points), "points"),
            (self.cell_data, self.nb_cells, "cells"),
        ):
            for name, values in table.arrays.items():
                if len(values) != count:
                    raise ShapeError(f"{path}: the array {name!r} has {len(values)} rows for {count} {what}; {CUT}")

    def only_lines(self) -> None:
        """Leave out the rows of cell data that are not those of lines."""
        first = len(self.cells.get("verts", Cells()))
        rows = slice(first, first + len(self.lines))
        self.cell_data.arrays = {name: values[rows] for name, values in self.cell_data.arrays.items()}


def join(pieces: Sequence[PolyData], path: str) -> PolyData:
    """Return several pieces as one; their cell data are those of lines already.

    Raises
    ------
    FormatError
        If not all have the same arrays.
    """
    if len(pieces) == 1:
        return pieces[0]
    pieces = [piece for piece in pieces if len(piece.points) or piece.nb_cells] or list(pieces[:1])
    starts = np.cumsum([0, *(len(piece.points) for piece in pieces)]).tolist()
    whole = PolyData(np.concatenate([piece.points for piece in pieces]))
    for kind in CELL_KINDS:
        parts = [(piece.cells.get(kind, Cells()), start) for piece, start in zip(pieces, starts, strict=False)]
        whole.cells[kind] = Cells(
            np.concatenate([cells.lengths for cells, _ in parts]),
            np.concatenate([cells.points.astype(np.int64) + start for cells, start in parts]),
        )
    for section in ("point_data", "cell_data"):
        tables = [getattr(piece, section) for piece in pieces]
        shapes = [{name: (values.shape[1:], values.dtype) for name, values in table.arrays.items()} for table in tables]
        for number, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise FormatError(
                    f"{path}: piece {number} has the {section.replace('_', ' ')} {sorted(shape)}, the first has "
                    f"{sorted(shapes[0])}, of other widths or types; save it as one piece"
                )
        arrays = {name: np.concatenate([table.arrays[name] for table in tables]) for name in shapes[0]}
        lost = list(dict.fromkeys(item for table in tables for item in table.lost))
        setattr(whole, section, Table(arrays, lost, tables[0].directions))
    whole.space = [item for piece in pieces for item in piece.space]
    whole.lost = list(dict.fromkeys(item for piece in pieces for item in piece.lost))
    return whole
