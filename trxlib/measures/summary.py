"""Counts, lengths and volumes per subject and group of an archive, in memory that its size does not change.

Beyond the arrays' own pages, which stay mapped: up to 24 bytes per streamline, and two bytes per voxel of
the box that the vertices lie in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.model.arrays import TrxArrays
from trxlib.model.offsets import iter_gathered

__all__ = [
    "ALL",
    "SUMMARY_COLUMNS",
    "SummaryRow",
    "VoxelGrid",
    "group_of_label",
    "streamline_lengths",
    "summarise",
    "voxel_grid",
]

Array = npt.NDArray[Any]
Rows = Array | slice
#: Stands for every streamline in the column ``group``, for the whole archive in the column ``subject``.
ALL = "all"
#: A group of that very name.
_GROUP_ALL = "all (group)"
_CHUNK_VERTICES = 1 << 17  # 1.5 MB of float32 positions, which stays in cache with its temporaries
_MAX_BOX = 1 << 28  # voxels of a bounding box that get a byte each; larger ones come from stray vertices
_FAR = 2.0**19  # voxels from the origin; beyond, a number is no place, and a box could not be numbered by 63 bits

SUMMARY_COLUMNS = (
    "subject",
    "group",
    "streamlines",
    "vertices",
    "length_mean_mm",
    "length_sd_mm",
    "length_min_mm",
    "length_max_mm",
    "volume_mm3",
)


@dataclass(frozen=True)
class SummaryRow:
    """What is known of the streamlines of one subject in one group.

    Parameters
    ----------
    subject, group : str
        `ALL` for every one.
    nb_streamlines, nb_vertices : int
    lengths : tuple of 4 float
        Mean, standard deviation (n - 1), minimum and maximum in mm; NaN where there are too few streamlines, or one
        has a vertex that is not finite.
    volume : float
        Voxels that hold at least one vertex, times the voxel's volume, in mm3.
    """

    subject: str
    group: str
    nb_streamlines: int
    nb_vertices: int
    lengths: tuple[float, float, float, float]
    volume: float

    def to_cells(self) -> list[str]:
        """Return the row as text, in the order of `SUMMARY_COLUMNS`; what does not exist is ``n/a``."""
        counts = [str(self.nb_streamlines), str(self.nb_vertices)]
        lengths = ["n/a" if np.isnan(value) else f"{value:.3f}" for value in self.lengths]
        return [self.subject, self.group, *counts, *lengths, f"{self.volume:.3f}"]


def summarise(
    arrays: TrxArrays, parts: Mapping[str, tuple[int, int]], groups: Sequence[str] | None = None
) -> list[SummaryRow]:
    """Return one row per subject and group, then the rows of the whole archive.

    Parameters
    ----------
    arrays : TrxArrays
        The archive, not modified; positions in RASMM.
    parts : mapping of str to (int, int)
        Subject, its first streamline and the one after its last; together they are the whole archive.
    groups : sequence of str, optional
        The groups to look at, by default all.

    Returns
    -------
    list of SummaryRow
        A subject without streamlines in a group has a row with zeros.
    """
    lengths = streamline_lengths(arrays.positions, arrays.offsets)
    grid = voxel_grid(arrays.positions, arrays.space.rasmm_to_voxel)
    rows = {}
    # Groups outside, subjects inside: the voxels of the whole archive are then the union of those of the subjects.
    for group in [None, *(arrays.groups if groups is None else groups)]:
        members = _sorted(arrays.groups[group].reshape(-1)) if group is not None else None
        label = ALL if group is None else _GROUP_ALL if group == ALL else group
        seen = grid.nothing()
        for subject, (start, stop) in parts.items():
            chosen = _members_between(members, start, stop)
            voxels = grid.visit(arrays.positions, arrays.offsets, chosen)
            rows[subject, label] = _row(arrays, lengths, subject, label, chosen, grid.count(voxels))
            seen = grid.union(seen, voxels)
        chosen = _members_between(members, 0, arrays.header.nb_streamlines)
        rows[ALL, label] = _row(arrays, lengths, ALL, label, chosen, grid.count(seen))
    order = [label for subject, label in rows if subject == ALL]
    return [rows[subject, label] for subject in [*parts, ALL] for label in order]


def group_of_label(label: str) -> str:
    """Return the group of a row of the summary that is not `ALL`."""
    return ALL if label == _GROUP_ALL else label


def _members_between(members: Array | None, start: int, stop: int) -> Rows:
    if members is None:
        return slice(start, stop)
    # Python's integers would have numpy convert all members first.
    low, high = np.searchsorted(members, np.array([start, stop], dtype=members.dtype))
    return np.unique(members[low:high]).astype(np.int64)


def _sorted(members: Array) -> Array:
    """Return the members in order: as they are, still mapped, where they are in order already."""
    for start in range(0, len(members), _CHUNK_VERTICES):
        part = members[start : start + _CHUNK_VERTICES + 1]
        if (part[1:] < part[:-1]).any():
            return np.sort(members)
    return members


def _row(arrays: TrxArrays, lengths: Array, subject: str, group: str, chosen: Rows, nb_voxels: int) -> SummaryRow:
    nb_vertices = int((arrays.offsets[1:][chosen] - arrays.offsets[:-1][chosen]).sum(dtype=np.int64))
    picked = lengths[chosen]
    nan = float("nan")
    statistics = (nan, nan, nan, nan)
    if len(picked) and np.isfinite(picked).all():
        sd = float(picked.std(ddof=1)) if len(picked) > 1 else nan
        statistics = (float(picked.mean()), sd, float(picked.min()), float(picked.max()))
    return SummaryRow(subject, group, len(picked), nb_vertices, statistics, nb_voxels * arrays.space.voxel_volume)


def streamline_lengths(positions: Array, offsets: Array) -> npt.NDArray[np.float64]:
    """Return the length of each streamline, the sum of its segments.

    Parameters
    ----------
    positions : ndarray, float of shape (nb_vertices, 3)
        May be mapped; read once, in chunks.
    offsets : ndarray of integers, shape (nb_streamlines + 1,)
        First 0, last nb_vertices.

    Returns
    -------
    ndarray, float64 of shape (nb_streamlines,)
        In the unit of `positions`; 0 with fewer than two vertices.
    """
    nb_streamlines = len(offsets) - 1
    lengths = np.zeros(nb_streamlines)
    precision = np.float64 if positions.dtype.itemsize == 8 else np.float32
    low = 0
    while low < nb_streamlines:
        # At least one streamline, however long.
        limit = int(offsets[low]) + _CHUNK_VERTICES
        high = max(low + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)
        edges = offsets[low : high + 1].astype(np.int64) - int(offsets[low])
        chunk = np.asarray(positions[int(offsets[low]) : int(offsets[high])], dtype=precision)
        lengths[low:high] = _chunk_lengths(chunk, edges)
        low = high
    return lengths


def _chunk_lengths(positions: Array, edges: Array) -> Array:
    """Return the lengths of the streamlines between `edges`."""
    if len(positions) < 2:
        return np.zeros(len(edges) - 1)
    # One step more than there are, of length 0: every edge is then an index, the end included.
    segments = np.zeros(len(positions) + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.diff(positions, axis=0)
        steps *= steps
        np.sqrt(steps[:, 0] + steps[:, 1] + steps[:, 2], out=segments[:-2])
    ends = edges[1:-1]
    segments[ends[ends > 0] - 1] = 0  # from one streamline to the next
    sums = np.add.reduceat(segments, edges[:-1])
    sums[edges[:-1] == edges[1:]] = 0  # reduceat gives an empty run its first value
    return sums


@dataclass(frozen=True)
class VoxelGrid:
    """The box of voxels that an archive's vertices lie in; sets of its voxels are arrays of one byte per voxel.

    Where stray vertices make the box too large for that, sets are sorted numbers instead: slower, and as exact.

    Parameters
    ----------
    rasmm_to_box : ndarray, float64 of shape (4, 4)
        RASMM to voxels counted from the box's first; the integer part is the voxel.
    shape : tuple of 3 int
        Voxels along each axis.
    has_strays : bool
        Whether there are vertices that are not finite or absurdly far; they are in no voxel.
    """

    rasmm_to_box: npt.NDArray[np.float64]
    shape: tuple[int, int, int]
    has_strays: bool

    @property
    def is_small(self) -> bool:
        """Whether a set has a byte per voxel."""
        return math.prod(self.shape) <= _MAX_BOX

    def nothing(self) -> Array:
        """Return the empty set."""
        return np.zeros(math.prod(self.shape), dtype=bool) if self.is_small else np.zeros(0, dtype=np.int64)

    def union(self, first: Array, second: Array) -> Array:
        """Return the voxels of either set; `first` may be changed."""
        return np.logical_or(first, second, out=first) if self.is_small else np.union1d(first, second)

    def count(self, voxels: Array) -> int:
        """Return the size of a set."""
        return int(np.count_nonzero(voxels)) if self.is_small else len(voxels)

    def visit(self, positions: Array, offsets: Array, rows: Rows) -> Array:
        """Return the set of voxels that hold a vertex of these streamlines."""
        starts = offsets[:-1][rows].astype(np.int64)
        counts = offsets[1:][rows].astype(np.int64) - starts
        voxels = self.nothing()
        for chunk in iter_gathered(positions, starts, counts, _CHUNK_VERTICES * 3 * positions.dtype.itemsize):
            numbers = self._numbers(_transform(chunk, self.rasmm_to_box))
            if self.is_small:
                voxels[numbers] = True
            else:
                voxels = np.union1d(voxels, numbers)
        return voxels

    def _numbers(self, vox: Array) -> Array:
        """Return the number of each vertex' voxel within the box."""
        if self.has_strays:
            limits = np.array(self.shape, dtype=vox.dtype)[:, None]
            vox = vox[:, ((vox >= 0) & (vox < limits)).all(axis=0)]
        # Rounding may put the outermost vertex just outside.
        x, y, z = (np.clip(axis.astype(np.int64), 0, n - 1) for axis, n in zip(vox, self.shape, strict=True))
        return np.asarray((x * self.shape[1] + y) * self.shape[2] + z)


def voxel_grid(positions: Array, rasmm_to_voxel: npt.NDArray[np.float64]) -> VoxelGrid:
    """Return the grid that holds all vertices, those outside of the image too.

    Parameters
    ----------
    positions : ndarray, float of shape (nb_vertices, 3)
        RASMM in mm; may be mapped; read once.
    rasmm_to_voxel : ndarray, float64 of shape (4, 4)
        Integer results are voxel centres; a voxel reaches half its edge from its centre.
    """
    low, high, has_strays = np.full((3, 1), np.inf), np.full((3, 1), -np.inf), False
    for start in range(0, len(positions), _CHUNK_VERTICES):
        vox = _transform(positions[start : start + _CHUNK_VERTICES], rasmm_to_voxel)
        near = np.abs(vox) < _FAR
        if not near.all():
            has_strays = True
            vox = vox[:, near.all(axis=0)]
        if vox.shape[1]:
            low = np.minimum(low, vox.min(axis=1, keepdims=True))
            high = np.maximum(high, vox.max(axis=1, keepdims=True))
    if not np.isfinite(low).all():
        return VoxelGrid(rasmm_to_voxel, (1, 1, 1), has_strays=True)
    first, last = np.floor(low + 0.5), np.floor(high + 0.5)
    matrix = rasmm_to_voxel.copy()
    matrix[:3, 3:] += 0.5 - first
    edges = (last - first + 1).astype(int).reshape(-1).tolist()
    return VoxelGrid(matrix, (edges[0], edges[1], edges[2]), has_strays)


def _transform(chunk: Array, matrix: npt.NDArray[np.float64]) -> Array:
    """Return the transformed vertices in shape (3, n): rows of n are what numpy is quick on."""
    with np.errstate(over="ignore", invalid="ignore"):
        # float64: in float32 a vertex near a voxel's border may fall on its other side.
        vox: Array = matrix[:3, :3] @ np.asarray(chunk, dtype=np.float64).T
        vox += matrix[:3, 3:]
    return vox
