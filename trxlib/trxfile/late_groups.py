"""Groups of a selection, made when somebody asks for them: to renumber them costs as much as they have members."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.model.select import renumber_groups

__all__ = ["LateGroups", "Tables"]

Array = npt.NDArray[Any]
#: groups, and dpg.
Tables = tuple[Mapping[str, Array], Mapping[str, Mapping[str, Array]]]


class LateGroups:
    """The groups and dpg of selected streamlines, as they are in the source when they are first asked for.

    Parameters
    ----------
    source : callable
        Returns groups and dpg of the source.
    rows : ndarray of integers, shape (k,)
        The selected streamlines.
    nb_streamlines : int
        Of the source.
    """

    def __init__(self, source: Callable[[], Tables], rows: Array, nb_streamlines: int) -> None:
        self._source: Callable[[], Tables] | None = source
        self._rows, self._nb_streamlines, self._ensure = rows, nb_streamlines, ""
        self._made: tuple[dict[str, Array], dict[str, dict[str, Array]]] = ({}, {})
        self._lock = threading.Lock()

    def ensure(self, group: str) -> None:
        """Keep a group although it may have no members."""
        self._ensure = group

    def make(self) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
        """Return groups and dpg of the selection, made once; those that lose all members are not there."""
        with self._lock:
            if self._source is not None:
                self._made = self._renumber(*self._source())
                self._source, self._rows = None, self._rows[:0]
        return self._made

    def _renumber(
        self, groups: Mapping[str, Array], dpg: Mapping[str, Mapping[str, Array]]
    ) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
        kept = renumber_groups(groups, self._rows, self._nb_streamlines)
        if self._ensure:
            kept.setdefault(self._ensure, np.zeros(0, "<u4"))
        # What describes a group that is not there (of a file loaded so) is not lost here: saving tells of it.
        described = {name: dict(values) for name, values in dpg.items() if name in kept or name not in groups}
        return kept, described
