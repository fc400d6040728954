"""The rules of conversion for a TRX bundle: the same as `trxlib.formats.filters` has for streams.

A bundle keeps its groups, so it is checked on its way where nothing is dropped, and selected from where something is.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DataLossWarning, FormatError, InputError
from trxlib.formats.filters import filter_source
from trxlib.formats.grid import Grid
from trxlib.formats.positions import all_finite
from trxlib.ops.bundle import BundleSource
from trxlib.ops.select import select_runs

__all__ = ["apply_rules"]

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]


def apply_rules(source: BundleSource, *, nonfinite: str, out_of_volume: str, drop_empty: bool) -> BundleSource:
    """Return a bundle that holds the rules.

    Parameters
    ----------
    source : BundleSource
        Read once here if something is to be dropped; else checked while it is copied.
    nonfinite, out_of_volume, drop_empty
        See `trxlib.convert`.

    Returns
    -------
    BundleSource
        `source` itself, or a selection of it with its groups renumbered.

    Raises
    ------
    InputError
        If a rule has another value.
    FormatError
        Naming the streamline, if a rule says "fail"; raised while the positions are read.
    """
    if not drop_empty and "drop" not in (nonfinite, out_of_volume):
        if out_of_volume not in ("keep", "fail") or nonfinite != "fail":
            raise InputError(
                f"nonfinite is {nonfinite!r} and out_of_volume {out_of_volume!r}; expected 'fail' or 'drop', and "
                "'keep', 'drop' or 'fail'"
            )
        before = source.positions_pass
        source.positions_pass = lambda blocks: _checked(source, before(blocks), out_of_volume)
        return source
    rules = filter_source(source, nonfinite=nonfinite, out_of_volume=out_of_volume, drop_empty=drop_empty)
    rows = rules.kept_rows()
    total = source.info.nb_streamlines
    if len(rows) == total:
        return source
    warnings.warn(
        f"{source.path}: {total - len(rows)} of {total} streamlines are left out", DataLossWarning, stacklevel=4
    )
    arrays, runs = select_runs(source.arrays, rows)
    return source.with_selection(arrays, runs)


def _checked(source: BundleSource, blocks: Iterator[Array], out_of_volume: str) -> Iterator[Array]:
    """Pass blocks of positions on, checked; count the streamlines that leave the grid."""
    grid = Grid(source.info.space)
    outside, last, done = 0, -1, 0
    for block in blocks:
        if grid.contains(block):  # all finite and inside, by the bounding box: nearly always
            done += len(block)
            yield block
            continue
        if not all_finite(block):
            vertex = int(np.argmin(np.isfinite(block).all(axis=1)))
            raise FormatError(
                f"{source.path}: streamline {_streamline(source, done + vertex)} has the vertex "
                f"{block[vertex].tolist()}, expected finite numbers; repair the file, or drop such streamlines "
                "(nonfinite='drop')"
            )
        found = grid.find_outside(block)
        if len(found):
            if out_of_volume == "fail":
                raise FormatError(
                    f"{source.path}: streamline {_streamline(source, done + int(found[0]))} leaves the grid of "
                    f"{list(source.info.space.dimensions)} voxels; keep or drop such streamlines (out_of_volume), or "
                    "check the reference"
                )
            rows = np.unique(np.searchsorted(source.arrays.offsets, found + done, side="right") - 1)
            outside += len(rows) - int(rows[0] == last)  # a streamline may go on in the next block
            last = int(rows[-1])
        done += len(block)
        yield block
    if outside:
        logger.warning(
            "%s: %d of %d streamlines have vertices outside the grid of %s; they are kept",
            source.path,
            outside,
            source.info.nb_streamlines,
            "x".join(map(str, source.info.space.dimensions)),
        )


def _streamline(source: BundleSource, vertex: int) -> int:
    return int(np.searchsorted(source.arrays.offsets, vertex, side="right")) - 1
