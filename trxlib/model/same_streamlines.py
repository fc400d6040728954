"""Which streamlines of one or several tractograms are the same curve: bit by bit, or within a precision in mm.

A curve is the same when it is walked from its other end. That two streamlines are the same within a precision is found
out by comparing them, vertex by vertex; rounding coordinates and comparing the results, as others do, tells two
vertices apart that lie a nanometre apart on both sides of a rounding edge.

The work is done in three passes over arrays: a key of 128 bits finds the streamlines that are the same bit by bit; of
those that are left, the ones whose mean points lie close together are candidates; and these alone are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trxlib.errors import InputError
from trxlib.model.offsets import gather_rows, row_numbers
from trxlib.model.source import Runs

__all__ = [
    "SameStreamlines",
    "Tractogram",
    "check_precision",
    "describe_streamlines",
    "find_same",
    "first_equal",
]

Array = npt.NDArray[Any]
_VERTICES = 1 << 17  # looked at at a time: some MB
_PAIRS = 1 << 16  # candidates that are compared at a time, at most
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Tractogram(NamedTuple):
    """Positions, and which of their rows each streamline has.

    Parameters
    ----------
    positions : ndarray, float of shape (v, 3)
        RASMM; may be mapped.
    runs : tuple of two ndarray (n,)
        First vertex and number of vertices of each streamline.
    """

    positions: Array
    runs: Runs


class SameStreamlines(NamedTuple):
    """What `find_same` found; streamlines have the numbers that they had if the tractograms stood one behind the other.

    Parameters
    ----------
    first : ndarray, int64 of shape (n,)
        For each streamline the first one that is the same bit by bit: itself, or one with a lower number.
    pairs : ndarray, int64 of shape (p, 2)
        Streamlines that are the same within the precision, but not bit by bit: the lower number first. Both are first
        ones; each pair is there once, in ascending order of the second, and then of the first.
    """

    first: Array
    pairs: Array

    def kept(self) -> Array:
        """Return the number of the streamline that is kept for each one, int64 of shape (n,): its own if it is kept.

        A streamline is a repeat if it is the same as an earlier one that is kept. Of curves that drift apart step by
        step, each the same as the next, some are kept.
        """
        kept = np.arange(len(self.first))
        for earlier, later in self.pairs.tolist():
            if kept[later] == later and kept[earlier] == earlier:
                kept[later] = earlier
        return np.asarray(kept[self.first])

    def found_in(self, rows: slice) -> Array:
        """Return which of all streamlines are the same as one of some rows, bool of shape (n,).

        Parameters
        ----------
        rows : slice
            Those of one tractogram.
        """
        has_copy = np.zeros(len(self.first), dtype=bool)
        has_copy[self.first[rows]] = True
        found = has_copy.copy()
        earlier, later = self.pairs.T
        found[earlier[has_copy[later]]] = True
        found[later[has_copy[earlier]]] = True
        return np.asarray(found[self.first])


def check_precision(precision: Any) -> float:
    """Return a precision in mm.

    Raises
    ------
    InputError
        If it is no finite number of at least 0.
    """
    is_number = isinstance(precision, (int, float, np.integer, np.floating)) and not isinstance(precision, bool)
    if not is_number or not 0 <= precision < np.inf:
        raise InputError(f"precision is {precision!r}, expected a number of mm, at least 0")
    return float(precision)


def find_same(tractograms: Sequence[Tractogram], precision: float) -> SameStreamlines:
    """Find the streamlines that are the same curve, from either end.

    Parameters
    ----------
    tractograms : sequence of Tractogram
        Not modified. One, to find its repeats, or several.
    precision : float
        Two streamlines are the same if they have as many vertices, and no coordinate of a vertex differs by more, in
        mm. 0: only if all are equal. Streamlines without vertices are all the same. A NaN equals a NaN.

    Returns
    -------
    SameStreamlines

    Notes
    -----
    Memory is some 100 bytes for each streamline, whatever its length. Time is that of reading all vertices once, and
    those of the candidates once more.
    """
    lengths = np.concatenate([np.asarray(item.runs[1], dtype=np.int64) for item in tractograms])
    keys = np.empty((len(lengths), 2), dtype=np.uint64)
    means = np.empty((len(lengths), 3))
    done = 0
    for item in tractograms:
        for points, part in _blocks(item):
            here = slice(done, done + len(part))
            keys[here], means[here] = describe_streamlines(points, part)
            done = here.stop
    first = first_equal(lengths, keys)
    pairs = np.zeros((0, 2), dtype=np.int64)
    if precision > 0:
        pairs = _close_pairs(tractograms, lengths, means, np.flatnonzero(first == np.arange(len(first))), precision)
    return SameStreamlines(first, pairs)


def _blocks(item: Tractogram) -> Iterator[tuple[Array, Array]]:
    """Yield float64 vertices and the lengths of some streamlines at a time."""
    starts, lengths = (np.asarray(values, dtype=np.int64) for values in item.runs)
    ends = np.cumsum(lengths)
    low = 0
    while low < len(lengths):
        done = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, done + _VERTICES, side="right")))
        points = gather_rows(item.positions, starts[low:high], lengths[low:high])
        yield points.astype(np.float64) + 0.0, lengths[low:high]  # -0.0 and 0.0 are one number
        low = high


def describe_streamlines(points: Array, lengths: Array) -> tuple[Array, Array]:
    """Return what tells a streamline from others: a key of 128 bits, and its mean point.

    Parameters
    ----------
    points : ndarray, float64 of shape (v, 3)
        Vertices, one streamline behind the other; no -0.0.
    lengths : ndarray, int64 of shape (n,)
        Vertices of each streamline.

    Returns
    -------
    keys : ndarray, uint64 of shape (n, 2)
        The same for the same vertices in the same order or from the other end; 0, 0 for no vertices.
    means : ndarray, float64 of shape (n, 3)
        0 for no vertices.
    """
    keys = np.zeros((len(lengths), 2), dtype=np.uint64)
    means = np.zeros((len(lengths), 3))
    rows = np.flatnonzero(lengths)
    if not len(rows):
        return keys, means
    counts = lengths[rows]
    begins = np.cumsum(counts) - counts
    with np.errstate(over="ignore", invalid="ignore"):
        place = np.arange(len(points)) - np.repeat(begins, counts)
        back = np.repeat(counts, counts) - 1 - place
        value = np.zeros(len(points), dtype=np.uint64)
        for column in points.T:
            value = _mix(value * _GOLDEN + np.ascontiguousarray(column).view(np.uint64))
        for column, walk in enumerate((place, back)):
            mixed = _mix(value + walk.astype(np.uint64) * _GOLDEN)
            keys[rows, column] = np.add.reduceat(mixed, begins)
        means[rows] = np.add.reduceat(points, begins, axis=0) / counts[:, None]
    # The walk from the other end has the same two numbers, the other way round.
    keys.sort(axis=1)
    return keys, means


def _mix(values: Array) -> Array:
    """Return numbers whose every bit depends on every bit of the given ones (Steele, Lea and Flood's splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def first_equal(lengths: Array, keys: Array) -> Array:
    """Return for each streamline the lowest number that has the same length and key.

    Parameters
    ----------
    lengths : ndarray, int64 of shape (n,)
        Vertices of each streamline.
    keys : ndarray, uint64 of shape (n, 2)
        Of `describe_streamlines`.

    Returns
    -------
    ndarray, int64 of shape (n,)
    """
    order = np.lexsort((keys[:, 1], keys[:, 0], lengths))  # stable: equal ones stay in their order
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (lengths[order[1:]] != lengths[order[:-1]]) | (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[is_new][np.cumsum(is_new) - 1]
    return first


def _close_pairs(
    tractograms: Sequence[Tractogram], lengths: Array, means: Array, rows: Array, precision: float
) -> Array:
    """Return the pairs of some streamlines that are the same within a precision, as `SameStreamlines` has them."""
    bounds = np.cumsum([0, *(len(item.runs[1]) for item in tractograms)])
    found = [np.zeros((0, 2), dtype=np.int64)]
    for candidates in _candidates(lengths, means, rows, precision):
        found += [
            part[_are_close(tractograms, bounds, lengths, part, precision)] for part in _in_parts(candidates, lengths)
        ]
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]


def _candidates(lengths: Array, means: Array, rows: Array, precision: float) -> Iterator[Array]:
    """Yield pairs of streamlines, the lower number first, whose means allow that they are the same."""
    rows = rows[np.isfinite(means[rows]).all(axis=1)]  # others are near to nothing
    order = rows[np.lexsort((means[rows, 0], lengths[rows]))]
    counts, points = lengths[order], means[order]
    # The mean of a sum in float64 is wrong by some of its last digits.
    allowed = precision + 1e-12 * np.abs(points).max(initial=0)
    here = np.arange(len(order))
    lag = 1
    while len(here := here[here + lag < len(order)]):
        ahead = here + lag
        is_near = (counts[here] == counts[ahead]) & (points[ahead, 0] - points[here, 0] <= allowed)
        # Ordered by length and mean: who is too far from the next but one is too far from all behind it.
        here = here[is_near]
        is_close = (np.abs(points[here + lag, 1:] - points[here, 1:]) <= allowed).all(axis=1)
        pairs = np.stack((order[here[is_close]], order[here[is_close] + lag]), axis=1)
        pairs.sort(axis=1)
        yield pairs
        lag += 1


def _in_parts(pairs: Array, lengths: Array) -> Iterator[Array]:
    """Yield pairs, some at a time, with about as many vertices as are compared at a time."""
    ends = np.cumsum(lengths[pairs[:, 0]])
    low = 0
    while low < len(pairs):
        done = int(ends[low - 1]) if low else 0
        high = max(low + 1, min(low + _PAIRS, int(np.searchsorted(ends, done + _VERTICES, side="right"))))
        yield pairs[low:high]
        low = high


def _are_close(
    tractograms: Sequence[Tractogram], bounds: Array, lengths: Array, pairs: Array, precision: float
) -> Array:
    """Return which pairs are the same within a precision, bool of shape (p,)."""
    counts = lengths[pairs[:, 0]]
    begins = np.cumsum(counts) - counts
    one = _gather(tractograms, bounds, pairs[:, 0], counts)
    other = _gather(tractograms, bounds, pairs[:, 1], counts)
    # The rows of each streamline from its last to its first.
    back = np.repeat(2 * begins + counts - 1, counts) - np.arange(len(one))

    def stays(points: Array) -> Array:
        is_close = (np.abs(one - points) <= precision).all(axis=1)
        return np.asarray(np.logical_and.reduceat(is_close, begins))

    return stays(other) | stays(other[back])


def _gather(tractograms: Sequence[Tractogram], bounds: Array, numbers: Array, counts: Array) -> Array:
    """Return the vertices of some streamlines, which have `counts` of them, as float64, one behind the other."""
    owners = np.searchsorted(bounds, numbers, side="right") - 1
    begins = np.cumsum(counts) - counts
    points = np.empty((int(counts.sum()), 3))
    for owner in np.unique(owners).tolist():
        is_own = owners == owner
        starts = tractograms[owner].runs[0][numbers[is_own] - bounds[owner]]
        points[row_numbers(begins[is_own], counts[is_own])] = gather_rows(
            tractograms[owner].positions, starts, counts[is_own]
        )
    return points
