"""The rules of conversion for a TRX bundle: the same as `trxlib.formats.filters` has for streams.

A bundle keeps its groups, so it is checked on its way where nothing is dropped, and selected from where something is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.dtypes import all_finite
from trxlib.errors import FormatError, InputError, ShapeError
from trxlib.formats.filters import filter_source, log_kept
from trxlib.formats.grid import Grid
from trxlib.ops.bundle import BundleSource
from trxlib.ops.select import select_runs

__all__ = ["apply_rules"]

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
        source.passes = [*source.passes, _Check(source, out_of_volume)]
        return source
    # It warns of what is left out.
    rules = filter_source(source, nonfinite=nonfinite, out_of_volume=out_of_volume, drop_empty=drop_empty)
    rows = rules.kept_rows()
    if len(rows) == source.info.nb_streamlines:
        return source
    try:
        arrays, runs = select_runs(source.arrays, rows)
    except ShapeError as error:  # of a group, which says nothing of the file
        raise ShapeError(f"{source.path}: {error}") from None
    return source.with_selection(arrays, runs, rows)


class _Check:
    """Refuses blocks that break a rule; counts the streamlines that leave the grid."""

    def __init__(self, source: BundleSource, out_of_volume: str) -> None:
        self._info, self._out_of_volume = source.info, out_of_volume
        self._grid = Grid(source.info.space)
        self._outside: list[Array] = []

    def __call__(self, block: Array, vertex: int, source: BundleSource) -> Array:
        """Return the block as it is."""
        if self._grid.contains(block):  # all finite and inside, by the bounding box: nearly always
            return block
        bad = None if all_finite(block) else int(np.argmin(np.isfinite(block).all(axis=1)))
        found = self._grid.find_outside(block)
        if self._out_of_volume == "fail" and len(found) and (bad is None or found[0] < bad):
            raise FormatError(
                f"{self._info.path}: streamline {source.streamlines_at(found[0] + vertex)} leaves the grid of "
                f"{list(self._info.space.dimensions)} voxels; keep or drop such streamlines (out_of_volume), or check "
                "the reference"
            )
        if bad is not None:
            raise FormatError(
                f"{self._info.path}: streamline {source.streamlines_at(vertex + bad)} has the vertex "
                f"{block[bad].tolist()}, expected finite numbers; repair the file, or drop such streamlines "
                "(nonfinite='drop')"
            )
        if len(found):
            self._outside.append(np.unique(source.streamlines_at(found + vertex)))
        return block

    def end(self) -> None:
        """Log how many streamlines leave the grid."""
        # A streamline may go on in the next block.
        log_kept(self._info, len(np.unique(np.concatenate(self._outside))) if self._outside else 0)
        self._outside = []
