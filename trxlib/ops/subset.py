"""Subsets of a bundle: which rows, which groups remain. Vertices are shared, never copied, until they are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.arrays import TrxArrays
from trxlib.ops.bundle import BundleSource

__all__ = ["renumber_groups", "subset_source"]

Array = npt.NDArray[Any]


def renumber_groups(groups: dict[str, Array], rows: Array, nb_streamlines: int) -> dict[str, Array]:
    """Return each group's members among the selected streamlines, by their new numbers.

    Parameters
    ----------
    groups : dict of str to ndarray
        Members by their old numbers.
    rows : ndarray of integers, shape (n,)
        The streamlines selected, in their new order; repeats allowed.
    nb_streamlines : int
        Of the file that is selected from.

    Returns
    -------
    dict of str to ndarray, uint32
        Ascending; a group without members left is empty.
    """
    result = {}
    is_member = np.zeros(nb_streamlines, dtype=np.bool_)
    for group, members in groups.items():
        is_member[members] = True
        result[group] = np.flatnonzero(is_member[rows]).astype(np.uint32)
        is_member[members] = False
    return result


def subset_source(source: BundleSource, rows: Array, *, drop_empty_groups: bool = False) -> BundleSource:
    """Return a view of some streamlines of a bundle, ready to be written.

    Parameters
    ----------
    source : BundleSource
        Not modified; positions and dpv are shared with the result.
    rows : ndarray of integers, shape (n,)
        Streamlines in the order wanted, each in 0 <= row < nb_streamlines; repeats allowed.
    drop_empty_groups : bool
        Whether groups without members among `rows` (and their dpg) are left out.

    Returns
    -------
    BundleSource
        Groups renumbered, dps copied.
    """
    old = source.arrays
    offsets = old.offsets if source.runs is None else None
    starts = (offsets[:-1] if offsets is not None else source.runs[0])[rows]  # type: ignore[index]
    lengths = (
        (offsets[1:][rows] - offsets[:-1][rows]) if offsets is not None else source.runs[1][rows]  # type: ignore[index]
    )
    groups = renumber_groups(old.groups, rows, old.header.nb_streamlines)
    if drop_empty_groups:
        groups = {group: members for group, members in groups.items() if len(members)}
    arrays = TrxArrays(
        header=old.header.with_counts(len(rows), int(np.sum(lengths, dtype=np.int64))),
        positions=old.positions,
        offsets=old.offsets,
        dps={key: array[rows] for key, array in old.dps.items()},
        dpv=dict(old.dpv),
        groups=groups,
        dpg={group: dict(arrays) for group, arrays in old.dpg.items() if group in groups},
        sidecars=dict(old.sidecars),
    )
    return BundleSource(arrays, runs=(starts, lengths), path=source.path)
