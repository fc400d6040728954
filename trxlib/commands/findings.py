"""What is odd in the content of a tractogram of any format: counts, and the first that are concerned.

The streamlines are read once, chunk by chunk. Of each 24 bytes are kept, its length and a key, to find those that are
there twice.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import TrxWarning
from trxlib.formats.open import open_unjudged
from trxlib.model.chunk import Chunk
from trxlib.model.same_streamlines import describe_streamlines, first_equal
from trxlib.model.space import Space
from trxlib.spaces.grid import Grid

__all__ = ["Finding", "find_odd"]

Array = npt.NDArray[Any]
_FIRST = 5  # offenders that a finding names
#: Steps between vertices in mm are some tenths to a few; those of metres and micrometres are a thousand times off.
_SHORTEST_STEP, _LONGEST_STEP = 0.01, 50.0
_MANY = 0.5  # share of vertices outside the grid from which on the space is doubted


@dataclass(frozen=True)
class Finding:
    """Something odd that breaks no rule of the format.

    Parameters
    ----------
    kind : str
        What it is: ``"empty"``, ``"duplicates"``.
    array : str
        Where: ``"streamlines"``, ``"groups/CC"``, ``"dpv/fa"``.
    count : int
        How many streamlines, members or rows are concerned.
    first : tuple of int
        The first of them: numbers of streamlines, for groups rows of the array.
    note : str
        What it may mean, if something can be said.
    """

    kind: str
    array: str
    count: int
    first: tuple[int, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        """Return the finding in a line."""
        where = f"; first {', '.join(map(str, self.first))}" if self.first else ""
        return f"{self.array}: {self.count} {self.kind}{where}{self.note and '; ' + self.note}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {**asdict(self), "first": list(self.first)}


def find_odd(path: str | os.PathLike[str], reference: Any = None) -> list[Finding]:
    """Return what is odd in the streamlines, values and groups of a tractogram, though it breaks no rule.

    Vertices that are not finite or outside the grid; streamlines that are empty, of one vertex, or there twice, also
    backwards; steps and places of another unit or space; NaN in dps and dpv; members twice or out of order. Read once
    in chunks; of each streamline 24 bytes are kept.

    Parameters
    ----------
    path : path
        Of any format; not changed.
    reference : optional
        The space of a format that states none. Without one no vertex is compared with a grid.

    Returns
    -------
    list of Finding
        Kind, array, count, and the first that are concerned; empty if nothing is odd.

    Raises
    ------
    TrxError
        If the file cannot be read to its end.

    Examples
    --------
    >>> for finding in trxlib.find_odd("cohort.trx"):
    ...     print(finding)
    streamlines: 2 of one vertex; first 3, 7
    """
    # Numbers that are not finite, signalling NaN among them, are found, and numpy need not tell of them.
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", TrxWarning)  # what is odd is told by the findings
        with open_unjudged(path, reference) as source:
            look = _Look(source.info.space, source.info.path)
            for chunk in source.chunks():
                look.at(chunk)
            found = look.findings()
            for name, members in sorted(source.groups.items()):
                found += _odd_members(f"groups/{name}", np.asarray(members))
            return found


@dataclass
class _Tally:
    """How many streamlines have something odd, and the first of them."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, rows: Array, start: int = 0) -> None:
        self.count += len(rows)
        self.first += [start + int(row) for row in rows[: _FIRST - len(self.first)]]


class _Look:
    """Looks at chunks one after the other."""

    def __init__(self, space: Space, path: str) -> None:
        self.space, self.grid = space, Grid(space, path)
        self.tallies: dict[tuple[str, str], _Tally] = {}
        self.lengths: list[Array] = []
        self.keys: list[Array] = []
        self.done = self.vertices = self.outside = self.steps = 0
        self.way = 0.0
        self.low, self.high = np.full(3, np.inf), np.full(3, -np.inf)

    def at(self, chunk: Chunk) -> None:
        """Count what is odd in a chunk."""
        positions = np.asarray(chunk.positions, dtype=np.float64)
        lengths = np.asarray(chunk.lengths, dtype=np.int64)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        finite: Array = np.asarray(np.isfinite(positions).all(axis=1))
        self._add("streamlines", "not finite", np.unique(owners[~finite]))
        self._add("streamlines", "empty", np.flatnonzero(lengths == 0))
        self._add("streamlines", "of one vertex", np.flatnonzero(lengths == 1))
        if self.grid.has_grid:
            outside = self.grid.find_outside(np.where(finite[:, None], positions, self.space.voxel_to_rasmm[:3, 3]))
            self.outside += len(outside)
            self._add("streamlines", "that leave the grid", np.unique(owners[outside]))
        self._measure(positions, owners, finite)
        for section, table, own in (("dps", chunk.dps, None), ("dpv", chunk.dpv, owners)):
            for key, values in table.items():
                if np.asarray(values).dtype.kind == "f":
                    rows = np.flatnonzero(np.isnan(values).any(axis=1))
                    self._add(f"{section}/{key}", "with NaN", rows if own is None else np.unique(own[rows]))
        self.lengths.append(lengths)
        self.keys.append(describe_streamlines(positions + 0.0, lengths)[0])  # -0.0 is 0.0
        self.done += len(lengths)
        self.vertices += len(positions)

    def _add(self, array: str, kind: str, rows: Array) -> None:
        if len(rows):
            self.tallies.setdefault((array, kind), _Tally()).add(rows, self.done)

    def _measure(self, positions: Array, owners: Array, finite: Array) -> None:
        if finite.any():
            self.low = np.minimum(self.low, positions[finite].min(axis=0))
            self.high = np.maximum(self.high, positions[finite].max(axis=0))
        inner = (owners[1:] == owners[:-1]) & finite[1:] & finite[:-1]
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.linalg.norm(positions[1:][inner] - positions[:-1][inner], axis=1)
        self.steps += len(steps)
        self.way += float(steps.sum())

    def findings(self) -> list[Finding]:
        """Return what was found, and what it says of space and unit."""
        found = [Finding(kind, array, tally.count, tuple(tally.first)) for (array, kind), tally in self.tallies.items()]
        return found + self._duplicates() + self._doubts()

    def _duplicates(self) -> list[Finding]:
        if not self.done:
            return []
        lengths, keys = np.concatenate(self.lengths), np.concatenate(self.keys)
        first = first_equal(lengths, keys)
        again = np.flatnonzero((first != np.arange(len(first))) & (lengths > 0))
        if not len(again):
            return []
        kind = "duplicates of an earlier one, forwards or backwards"
        return [Finding(kind, "streamlines", len(again), tuple(map(int, again[:_FIRST])))]

    def _doubts(self) -> list[Finding]:
        """Return what the box and the steps say of space and unit."""
        found = []
        step = self.way / self.steps if self.steps else 1.0
        if self.way and not _SHORTEST_STEP <= step <= _LONGEST_STEP:
            unit = "metres" if step < 1 else "micrometres"
            note = f"steps of {step:.3g} mm on average: the unit may be {unit}"
            found.append(Finding("doubted for their unit", "streamlines", self.done, (), note))
        if self.outside > _MANY * self.vertices:
            note = f"{self.outside} of {self.vertices} vertices lie outside the grid: it may be another space"
            dimensions = np.array(self.space.dimensions)
            if (self.low >= -0.5).all() and (self.high <= dimensions - 0.5).all():
                note += ", since all coordinates are those of voxels"
            elif (self.low >= 0).all() and (self.high <= dimensions * self.space.voxel_sizes).all():
                note += ", since all coordinates are those of voxmm"
            found.append(Finding("doubted for their space", "streamlines", self.done, (), note))
        return found


def _odd_members(name: str, members: Array) -> list[Finding]:
    """Return what is odd in a group: members that are there twice or not in order."""
    found = []
    steps = np.diff(members.astype(np.int64))
    if (steps < 0).any():
        rows = np.flatnonzero(steps < 0) + 1
        found.append(Finding("members out of order", name, len(rows), tuple(map(int, rows[:_FIRST]))))
    order = np.argsort(members, kind="stable")
    again = np.sort(order[1:][members[order][1:] == members[order][:-1]])
    if len(again):
        found.append(Finding("members that are there twice", name, len(again), tuple(map(int, again[:_FIRST]))))
    return found
