"""Streamlines left out or refused: NaN and infinite vertices, vertices outside the grid, no vertices at all.

Positions are judged as precise as they are, after all that moves them and before they get their last type. Where
nothing may be left out, they are looked at on their way to the output. Where something may, the tractogram is read
once to see what stays, since counts are stated before any streamline is written, and again to be written.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trxlib.errors import DataLossWarning, FormatError, warn
from trxlib.model.chunk import Chunk, Place, placed
from trxlib.model.dtypes import all_finite
from trxlib.model.options import FilterPolicy
from trxlib.model.source import Findings, Source, SourceInfo
from trxlib.model.space import Space
from trxlib.parallel import run_each, threads_for
from trxlib.spaces.grid import Grid
from trxlib.spaces.outside import judge_share, thin_out

__all__ = ["apply_policy"]

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
_NONE = np.zeros(0, dtype=np.int64)
_SAMPLES = 8  # blocks of which some vertices are kept, to find the reason if too many lie outside


def apply_policy(
    source: Source,
    policy: FilterPolicy,
    matrix: Array | None = None,
    *,
    space: Space | None = None,
    fields: Sequence[str] = (),
    grid: str = "the grid",
) -> Source:
    """Return a source that has no streamlines but those that a policy lets pass.

    Parameters
    ----------
    source : Source
        Of any format; read once here if something may be left out.
    policy : FilterPolicy
        What becomes of odd streamlines.
    matrix : ndarray of shape (4, 4), optional
        The linear transform that moved the streamlines, for the message where most lie outside the grid.
    space : Space, optional
        Whose grid counts, if not that of the result.
    fields : sequence of str
        The deformation fields that moved the streamlines, if some did. Vertices that are not finite are then those
        where a field has no value, and the policy's `out_of_field` says what becomes of their streamlines.
    grid : str
        What messages call it.

    Returns
    -------
    Source
        `source` itself if it was read and all of it stays.

    Raises
    ------
    FormatError
        Naming the streamline that the policy refuses, here or while the positions are read.
    SpaceMismatchError
        If more vertices lie outside the grid than the policy allows, here or when all have been read.

    Warns
    -----
    DataLossWarning
        Says how many are left out.
    SpaceWarning
        If many vertices lie outside the grid.
    """
    info = source.info if space is None else replace(source.info, space=space)
    # What the file itself holds has been judged before, by `check_finite`.
    rules = replace(policy, nonfinite=policy.out_of_field) if fields else policy
    judge = _Judge(info, rules, matrix, grid)
    if not rules.drops:
        result = source.through(_Look(judge))
        result.findings = judge.findings
        return result
    found = _find_kept(source, judge)
    info = replace(info, nb_streamlines=int(found.kept.sum()))
    source.findings = judge.findings
    _log_kept(info, found.nb_outside)
    judge.end()
    total = source.info.nb_streamlines
    if info.nb_streamlines == total:
        return source
    reason = str(policy)
    if fields and found.nb_nonfinite:
        reason = (
            f"{found.nb_nonfinite} of them leave the field {', '.join(dict.fromkeys(fields))}, which has no value "
            f"there: out_of_field=drop; {reason}"
        )
    warn(
        f"{info.path}: {total - info.nb_streamlines} of {total} streamlines are left out ({reason})",
        DataLossWarning,
    )
    return source.select(found.kept, nb_vertices=found.nb_vertices)


def check_finite(source: Source, policy: FilterPolicy) -> Source:
    """Return a source of finite positions, wherever they lie: what a file holds before a field moves it."""
    # No grid, so that nothing lies outside.
    return apply_policy(source, FilterPolicy(nonfinite=policy.nonfinite), space=Space(np.eye(4), (0, 0, 0)))


class _Kept(NamedTuple):
    """Which streamlines stay, and how many are odd."""

    kept: Array  # bool of shape (nb_streamlines,)
    nb_vertices: int  # of those that stay
    nb_outside: int  # of those that stay, with vertices outside the grid
    nb_nonfinite: int  # of all, with vertices that are not finite


def _find_kept(source: Source, judge: _Judge) -> _Kept:
    """Read all streamlines once, and tell which of them stay."""
    policy = judge.policy
    parts: list[_Kept] = []

    def look(item: tuple[Chunk, int, int]) -> _Kept:
        chunk, first, _ = item
        kept = chunk.lengths > 0 if policy.drop_empty else np.ones(len(chunk.lengths), dtype=np.bool_)

        def locate(vertices: Any) -> tuple[Any, Any]:
            rows, places = chunk.locate(vertices)
            return rows + first, places

        nonfinite, outside = judge.find(chunk.positions, Place(locate, chunk.is_inside))
        kept[nonfinite - first] = False
        if policy.out_of_volume == "drop":
            kept[outside - first] = False
            outside = _NONE
        return _Kept(kept, int(chunk.lengths[kept].sum(dtype=np.int64)), len(outside), len(nonfinite))

    run_each(placed(source.chunks()), look, parts.append, threads=threads_for(source.info.nbytes))
    masks, *counts = zip(*parts, strict=True) if parts else ((), (), (), ())
    return _Kept(np.concatenate([np.zeros(0, dtype=np.bool_), *masks]), *map(sum, counts))


class _Judge:
    """Finds the odd streamlines of some vertices, refuses those that a policy refuses, and counts what lies outside."""

    def __init__(
        self, info: SourceInfo, policy: FilterPolicy, matrix: Array | None = None, grid: str = "the grid"
    ) -> None:
        self.info, self.policy, self.grid_name = info, policy, grid
        self.findings = Findings()
        self._matrix = matrix
        self._grid = Grid(info.space, info.path)
        self._lock = threading.Lock()
        self._is_ended = False
        #: Some vertices of the earliest blocks that have some outside, by the first of these: streamline and place.
        self._samples: dict[tuple[int, int], Array] = {}

    def find(self, positions: Array, place: Place) -> tuple[Array, Array]:
        """Return the streamlines with vertices that are not finite, and the others with vertices outside: increasing.

        Raises
        ------
        FormatError
            Naming the first streamline that is refused.
        """
        if place.is_inside or self._grid.contains(positions):  # by the bounding box: nearly always
            self._count(len(positions))
            return _NONE, _NONE
        bad = _NONE if all_finite(positions) else np.flatnonzero(~np.isfinite(positions).all(axis=1))
        nonfinite = np.unique(place.locate(bad)[0])
        vertices = self._grid.find_outside(positions)
        streamlines, places = place.locate(vertices)
        self._count(len(positions))
        if len(vertices):
            self._count_outside(len(vertices), (int(streamlines[0]), int(places[0])), positions)
        outside = np.setdiff1d(streamlines, nonfinite)
        first_bad = nonfinite[:1] if self.policy.nonfinite == "fail" else _NONE
        first_outside = outside[:1] if self.policy.out_of_volume == "fail" else _NONE
        if len(first_bad) and not (len(first_outside) and first_outside[0] < first_bad[0]):
            raise self._is_nonfinite(positions, int(bad[0]), place)
        if len(first_outside):
            raise FormatError(
                f"{self.info.path}: streamline {first_outside[0]} leaves the grid of "
                f"{list(self.info.space.dimensions)} voxels; keep or drop such streamlines (out_of_volume), or check "
                "the reference"
            )
        return nonfinite, outside

    def _count(self, vertices: int) -> None:
        with self._lock:
            if self._is_ended:  # read once more
                self.findings.vertices = self.findings.outside = 0
                self._samples, self._is_ended = {}, False
            self.findings.vertices += vertices

    def _count_outside(self, outside: int, first: tuple[int, int], positions: Array) -> None:
        with self._lock:
            self.findings.outside += outside
            # The earliest, so that the message does not depend on which thread was first.
            if len(self._samples) < _SAMPLES or first < max(self._samples):
                self._samples[first] = thin_out(positions)
            if len(self._samples) > _SAMPLES:
                del self._samples[max(self._samples)]

    def end(self) -> None:
        """Judge the share of vertices outside, now that all have been seen."""
        self._is_ended = True
        judge_share(
            self.info.path,
            (self.findings.outside, self.findings.vertices),
            np.concatenate([np.zeros((0, 3)), *(self._samples[key] for key in sorted(self._samples))]),
            self.info.space,
            matrix=self._matrix,
            limits=(self.policy.warn_outside, self.policy.max_outside),
            grid=self.grid_name,
        )

    def _is_nonfinite(self, positions: Array, vertex: int, place: Place) -> FormatError:
        streamline, number = place.locate(vertex)
        return FormatError(
            f"{self.info.path}: streamline {streamline} has the vertex {positions[vertex].tolist()} (vertex {number}),"
            " expected finite numbers; repair the file, or drop such streamlines (nonfinite='drop')"
        )


class _Look:
    """A step for positions of which nothing is left out: counts the streamlines that leave the grid."""

    def __init__(self, judge: _Judge) -> None:
        self._judge = judge
        #: First and last streamline and how many, for each block that has some.
        self._outside: list[tuple[int, int, int]] = []

    def apply(self, positions: Array, place: Place) -> Array:
        """Return the positions as they are."""
        _, outside = self._judge.find(positions, place)
        if len(outside):
            self._outside.append((int(outside[0]), int(outside[-1]), len(outside)))
        return positions

    def end(self) -> None:
        """Log how many streamlines leave the grid."""
        blocks = sorted(self._outside)
        count = sum(block[2] for block in blocks)
        # A streamline may go on in the next block.
        count -= sum(before[1] == after[0] for before, after in pairwise(blocks))
        self._outside = []
        _log_kept(self._judge.info, count, self._judge.grid_name)
        self._judge.end()


def _log_kept(info: SourceInfo, outside: int, grid: str = "the grid") -> None:
    if outside:
        logger.warning(
            "%s: %d of %d streamlines have vertices outside %s of %s; they are kept",
            info.path,
            outside,
            info.nb_streamlines,
            grid,
            "x".join(map(str, info.space.dimensions)),
        )
