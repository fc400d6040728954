"""What follows from the attributes of a TrxFile: space, counts, lengths, ends, a table, and what a notebook shows."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import ClosedError
from trxlib.model.offsets import gather_rows
from trxlib.model.space import Space
from trxlib.trxfile.attributes import Attributes

__all__ = ["Derived"]

Array = npt.NDArray[Any]
_BLOCK = 1 << 20  # vertices whose steps are measured at a time


class Derived(Attributes):
    """Properties of a TrxFile that are computed; arrays of a file as it was loaded are shared, not copied."""

    @property
    def _space(self) -> Space:
        header = self._content.selection().arrays.header
        return Space(header.voxel_to_rasmm, header.dimensions)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """Voxel to RASMM, of shape (4, 4).

        Examples
        --------
        >>> trxlib.load("cohort.trx").affine[0].tolist()
        [2.0, 0.0, 0.0, -80.0]
        """
        return self._space.voxel_to_rasmm

    @property
    def dimensions(self) -> tuple[int, int, int]:
        """Voxels along each axis of the grid.

        Examples
        --------
        >>> trxlib.load("cohort.trx").dimensions
        (80, 96, 64)
        """
        return self._space.dimensions

    @property
    def voxel_sizes(self) -> npt.NDArray[np.float64]:
        """Edges of a voxel in mm, of shape (3,).

        Examples
        --------
        >>> trxlib.load("cohort.trx").voxel_sizes.tolist()
        [2.0, 2.0, 2.0]
        """
        return self._space.voxel_sizes

    @property
    def voxel_order(self) -> str:
        """Where the axes of the grid lead, such as "RAS".

        Examples
        --------
        >>> trxlib.load("cohort.trx").voxel_order
        'RAS'
        """
        return self._space.voxel_order

    @property
    def nb_streamlines(self) -> int:
        """How many streamlines are filled.

        Examples
        --------
        >>> trxlib.load("cohort.trx").nb_streamlines
        8
        """
        return self._content.filled()[0]

    @property
    def nb_vertices(self) -> int:
        """How many vertices are filled.

        Examples
        --------
        >>> trxlib.load("cohort.trx").nb_vertices
        20
        """
        return self._content.filled()[1]

    @property
    def positions(self) -> Array:
        """Vertices in RASMM, mm, of shape (nb_vertices, 3); of a selection in its order, as a copy.

        Examples
        --------
        >>> trxlib.load("cohort.trx").positions[3].tolist()
        [0.0, 1.0, 0.0]
        """
        self._content.show("positions")
        arrays, runs = self._content.selection()
        if runs is None:
            return arrays.positions
        return gather_rows(arrays.positions, *runs)

    @property
    def offsets(self) -> Array:
        """First vertex of each streamline, and the number of vertices: of shape (nb_streamlines + 1,).

        Examples
        --------
        >>> trxlib.load("sub-01.trx").offsets.tolist()
        [0, 3, 5, 9, 10]
        """
        self._content.show("offsets")
        return self._content.selection().arrays.offsets

    @property
    def lengths(self) -> Array:
        """Vertices of each streamline, of shape (nb_streamlines,).

        Examples
        --------
        >>> trxlib.load("sub-01.trx").lengths.tolist()
        [3, 2, 4, 1]
        """
        return np.diff(self._content.selection().arrays.offsets)

    @property
    def lengths_mm(self) -> npt.NDArray[np.float64]:
        """Length of each streamline in mm, of shape (nb_streamlines,): 0 for one vertex, and for none.

        Examples
        --------
        >>> trxlib.load("sub-01.trx").lengths_mm.tolist()
        [2.0, 1.0, 3.0, 0.0]
        """
        positions, offsets = self.positions, self.offsets.astype(np.int64)
        sums = np.zeros(len(positions) + 1)  # of the steps before each vertex, those between streamlines too
        for start in range(0, len(positions) - 1, _BLOCK):
            steps = np.diff(positions[start : start + _BLOCK + 1].astype(np.float64), axis=0)
            sums[start + 1 : start + 1 + len(steps)] = np.sqrt((steps**2).sum(axis=1))
        between = offsets[1:-1]
        sums[between[(between > 0) & (between < len(positions))]] = 0
        np.cumsum(sums, out=sums)
        full = np.diff(offsets) > 0
        result = np.zeros(len(full))
        result[full] = sums[offsets[1:][full] - 1] - sums[offsets[:-1][full]]
        return result

    @property
    def endpoints(self) -> Array:
        """First and last vertex of each streamline in RASMM, mm, of shape (nb_streamlines, 2, 3); NaN for none.

        Examples
        --------
        >>> trxlib.load("sub-01.trx").endpoints[1].tolist()
        [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
        """
        self._content.show("positions")
        selection = self._content.selection()
        starts, lengths = (array.astype(np.int64) for array in selection.known_runs())
        positions = selection.arrays.positions
        ends = np.full((len(lengths), 2, 3), np.nan, positions.dtype)
        full = lengths > 0
        ends[full, 0] = positions[starts[full]]
        ends[full, 1] = positions[(starts + lengths)[full] - 1]
        return ends

    def to_pandas(self) -> Any:
        """Return data per streamline as a table.

        Returns
        -------
        pandas.DataFrame
            A row for each streamline. A key of several columns has one each, as ``color_0``.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> trxlib.load("sub-01.trx").to_pandas()["weight"].tolist()
        [0.5, 1.0, 1.5, 2.0]
        """
        try:
            import pandas as pd  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise ImportError("to_pandas needs pandas: pip install pandas") from None
        arrays = self._content.selection().arrays
        columns = {}
        for key, values in arrays.dps.items():
            several = values.shape[1] != 1
            for column in range(values.shape[1]):
                columns[f"{key}_{column}" if several else key] = np.array(values[:, column])
        return pd.DataFrame(columns, index=pd.RangeIndex(arrays.header.nb_streamlines))

    def __repr__(self) -> str:
        """Tell counts, space and names in one line."""
        try:
            arrays = self._content.selection().arrays
        except ClosedError:
            return "<TrxFile, closed>"
        space, size = self._space, "x".join(f"{edge:g}" for edge in self.voxel_sizes.round(3))
        names = [f"{len(table)} {what}" for what, table in self._named(arrays) if table]
        counts = f"{self.nb_streamlines} streamlines, {self.nb_vertices} vertices"
        return f"<TrxFile of {', '.join([counts, *names])}; {space.dimensions} voxels of {size} mm, {self.voxel_order}>"

    @staticmethod
    def _named(arrays: Any) -> list[tuple[str, dict[str, Array]]]:
        return [("dps", arrays.dps), ("dpv", arrays.dpv), ("groups", arrays.groups)]

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows: arrays with type and shape, groups with sizes."""
        if self._content.is_closed:
            return html.escape(repr(self))
        arrays = self._content.selection().arrays
        rows = [("positions", arrays.positions.dtype.name, f"{self.nb_vertices} x 3")]
        for what, table in self._named(arrays):
            for name, array in table.items():
                shape = f"{len(array)} members" if what == "groups" else " x ".join(map(str, array.shape))
                rows.append((f"{what}/{name}", array.dtype.name, shape))
        cells = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        head = "<tr><th>array</th><th>type</th><th>shape</th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table>{head}{cells}</table>"
