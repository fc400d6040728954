"""Select streamlines: by index, in any order, with repeats. Vertices stay where they are; groups are renumbered."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trxlib.model.arrays import TrxArrays
from trxlib.model.offsets import UINT32_MAX, offsets_of, resolve_indices, row_numbers
from trxlib.model.rules import check_members
from trxlib.model.source import Runs

__all__ = ["GroupIndex", "Runs", "Selection", "renumber_groups", "runs_of", "select_runs"]

Array = npt.NDArray[Any]
_BLOCK = 1 << 17  # members of a group that are put into the index at a time


class Selection(NamedTuple):
    """Streamlines of arrays that may hold more vertices than these streamlines have.

    Parameters
    ----------
    arrays : TrxArrays
        Header, offsets, dps and groups of these streamlines; `positions` and `dpv` may hold more rows.
    runs : tuple of two ndarray (n,), optional
        First vertex and number of vertices of each streamline in `positions` and `dpv`. None: they lie one behind
        the other, as `arrays.offsets` says.
    """

    arrays: TrxArrays
    runs: Runs | None

    def known_runs(self) -> Runs:
        """Return first vertex and number of vertices of each streamline, made of the offsets where `runs` is None."""
        return runs_of(self.arrays) if self.runs is None else self.runs


def runs_of(arrays: TrxArrays) -> Runs:
    """Return start and length of each streamline of a bundle whose streamlines lie one behind the other."""
    return arrays.offsets[:-1], np.diff(arrays.offsets)


def select_runs(arrays: TrxArrays, indices: Any, *, runs: Runs | None = None, keep_groups: bool = True) -> Selection:
    """Select streamlines without copying a vertex.

    Parameters
    ----------
    arrays : TrxArrays
        Source, not modified.
    indices : int, slice, list, integer or bool ndarray
        As for numpy; negative values count from the end, repeats are kept.
    runs : tuple of two ndarray (n,), optional
        Where the streamlines of `arrays` lie, if not as its offsets say.
    keep_groups : bool
        Whether groups and their dpg are kept. A group of which nothing is selected goes, with its dpg; one that
        was empty before stays.

    Returns
    -------
    Selection

    Raises
    ------
    IndexError
        If an index lies outside the file.
    ShapeError
        If a group has a member that is no streamline.
    """
    starts, lengths = runs_of(arrays) if runs is None else runs
    rows = resolve_indices(indices, len(lengths))
    lengths_kept = lengths[rows]
    offsets = offsets_of(lengths_kept)
    groups = renumber_groups(arrays.groups, rows, len(lengths)) if keep_groups else {}
    selection = TrxArrays(
        header=arrays.header.with_counts(len(rows), int(offsets[-1])),
        positions=arrays.positions,
        offsets=offsets,
        dps={key: array[rows] for key, array in arrays.dps.items()},
        dpv=dict(arrays.dpv),
        groups=groups,
        # What describes a group that is not there (of a file loaded so) is not lost here: saving tells of it.
        dpg={
            group: dict(values)
            for group, values in arrays.dpg.items()
            if group in groups or (keep_groups and group not in arrays.groups)
        },
        sidecars=dict(arrays.sidecars),
    )
    return Selection(selection, (starts[rows], lengths_kept))


def renumber_groups(groups: Mapping[str, Array], rows: Array, nb_streamlines: int) -> dict[str, Array]:
    """Return the members of each group as numbers of the selection, in the order that the group had.

    Parameters
    ----------
    groups : mapping of str to ndarray
        Members are streamlines of the source.
    rows : ndarray, int64 of shape (k,)
        The selected streamlines. Where one is there twice, both become members, each of them once, however often
        the group names it.
    nb_streamlines : int
        Of the source.

    Returns
    -------
    dict of str to ndarray, uint32
        Without the groups that lose all members.
    """
    if not groups:
        return {}
    find = _finder(rows, nb_streamlines)
    result = {}
    for name, members in groups.items():
        check_members(members, nb_streamlines, f"groups/{name}")
        kept = find(members)
        if len(kept) or not len(members):
            result[name] = kept.astype("<u4", copy=False)
    return result


def _finder(rows: Array, nb_streamlines: int) -> Any:
    """Return a function from members of the source to members of the selection."""
    place = np.full(nb_streamlines, -1, dtype=np.int64 if len(rows) >= 2**31 else np.int32)
    place[rows] = np.arange(len(rows), dtype=place.dtype)
    if np.array_equal(place[rows], np.arange(len(rows))):

        def find(members: Array) -> Array:
            found: Array = place[members]
            return found[np.greater_equal(found, 0)]

        return find
    order = np.argsort(rows, kind="stable")
    ends = np.cumsum(np.bincount(rows, minlength=nb_streamlines))

    def find_all(members: Array) -> Array:
        # Each member once: a group of repeats would square its size. Most groups ascend, and have none.
        if not np.less(members[:-1], members[1:]).all():
            members = members[np.sort(np.unique(members, return_index=True)[1])]
        stops = ends[members]
        counts = stops - np.where(members > 0, ends[members.astype(np.int64) - 1], 0)
        return np.asarray(order[row_numbers(stops - counts, counts)])

    return find_all


class GroupIndex:
    """Tells of any streamlines which groups they are members of, without a look at the other groups.

    To renumber each of n groups for each of n selections takes n times n steps. With this index a selection takes as
    many steps as its streamlines have memberships. Memory: 4 bytes for each streamline and for each member of a group
    (8 where there are more than 2^32 members).

    Parameters
    ----------
    groups : mapping of str to ndarray
        Members of each group, integers of shape (members,), at least 0 and below `nb_streamlines`.
    nb_streamlines : int
        Of the source.
    """

    def __init__(self, groups: Mapping[str, Array], nb_streamlines: int) -> None:
        self._names = list(groups)
        # The members of all groups are numbered, one group behind the other; those of group g begin here.
        self._firsts = np.cumsum([0, *(len(members) for members in groups.values())], dtype=np.int64)
        total = int(self._firsts[-1])
        dtype = np.dtype(np.uint32 if total <= UINT32_MAX else np.uint64)
        counts = np.zeros(nb_streamlines, dtype=dtype)
        for members in groups.values():
            np.add.at(counts, members, dtype.type(1))
        # Streamline s has the numbers _numbers[_ends[s - 1] : _ends[s]], ascending. While the table is being filled,
        # _ends[s] is the place of its next number.
        self._ends = np.cumsum(counts, dtype=dtype)
        self._ends -= counts
        del counts
        self._numbers = np.empty(total, dtype=dtype)
        for members, first in zip(groups.values(), self._firsts[:-1].tolist(), strict=True):
            for low in range(0, len(members), _BLOCK):
                self._enter(members[low : low + _BLOCK], first + low)

    def _enter(self, members: Array, first: int) -> None:
        """Put members of one group into the table, of which the first has the number `first`."""
        numbers = np.arange(first, first + len(members), dtype=self._numbers.dtype)
        places = self._ends[members]
        if not np.less(members[:-1], members[1:]).all():  # in no order, and a streamline may be there twice
            order = np.argsort(members, kind="stable")
            members, numbers, places = members[order], numbers[order], places[order]
            is_new = np.concatenate(([True], members[1:] != members[:-1]))
            row = np.arange(len(members))
            places += (row - np.maximum.accumulate(np.where(is_new, row, 0))).astype(places.dtype)
        self._numbers[places] = numbers
        places += places.dtype.type(1)
        self._ends[members] = places  # of a streamline that is there twice the last place, which is the highest, stays

    def renumber(self, rows: Array) -> dict[str, Array]:
        """Return the members of each group as numbers of a selection, in the order that the group had.

        Parameters
        ----------
        rows : ndarray of integers, shape (k,)
            The selected streamlines, each there once.

        Returns
        -------
        dict of str to ndarray, uint32
            The groups that have members among these streamlines, in the order of the source.
        """
        rows = rows.astype(np.int64, copy=False)
        stops = self._ends[rows].astype(np.int64)
        starts = np.where(rows > 0, self._ends[rows - 1], 0).astype(np.int64)
        numbers = self._numbers[row_numbers(starts, stops - starts)]
        order = np.argsort(numbers)  # all are different
        members = np.repeat(np.arange(len(rows), dtype="<u4"), stops - starts)[order]
        owners = np.searchsorted(self._firsts, numbers[order], side="right") - 1
        cuts = np.flatnonzero(np.diff(owners, prepend=-1, append=-1)).tolist() if len(owners) else [0]
        return {self._names[owners[low]]: members[low:high] for low, high in pairwise(cuts)}
