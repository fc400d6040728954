"""Write groups of a TRX file as files of their own."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.outputs import check_outputs
from trxlib.engine.planning import plan_merge
from trxlib.engine.trx_source import TrxSource
from trxlib.engine.write import write_container
from trxlib.errors import GroupNotFoundError, InputError
from trxlib.model.arrays import TrxArrays
from trxlib.model.choice import check_used
from trxlib.model.options import ReadOptions
from trxlib.model.rules import check_members
from trxlib.model.select import GroupIndex, renumber_groups, runs_of, select_runs

__all__ = ["extract_groups"]

logger = logging.getLogger(__name__)
#: For so many groups, renumbering all groups for each takes less time and memory than an index of their members.
_FEW = 4


@dataclass(frozen=True)
class ExtractedGroup:
    """A file that `extract_groups` wrote."""

    name: str
    path: Path
    nb_streamlines: int
    nb_vertices: int


def extract_groups(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    names: Sequence[str] | None = None,
    *,
    keep: Sequence[str] | None = None,
    leave_out: Sequence[str] | None = None,
    workers: int = 1,
) -> list[ExtractedGroup]:
    """Write each group of a TRX file as ``<folder>/<group>.trx``.

    A group's file has its streamlines in their old order, with their dps, dpv and dpg; the other groups are there
    as far as they have members among them, renumbered.

    Parameters
    ----------
    path : path
        TRX archive or folder; not changed.
    folder : path
        Made if it is not there. A file of the same name is replaced.
    names : sequence of str, optional
        Which groups; by default all.
    keep, leave_out : list of str, optional
        Names of the arrays that the files get, or do not get, see `trxlib.convert`. A group that is extracted always
        stays in its own file.
    workers : int
        Groups written side by side; the bytes do not depend on it.

    Returns
    -------
    list of ExtractedGroup
        Sorted by name.

    Raises
    ------
    GroupNotFoundError
        If a name is no group of the file; nothing has been written then.
    InputError
        If a group's file would replace the input or lie in it, or a name in `keep` or `leave_out` matches nothing;
        nothing has been written then.
    FormatError
        If a group has members that are no streamlines of the file.

    Examples
    --------
    >>> written = trxlib.extract_groups("cohort.trx", "groups")
    >>> [(part.path.as_posix(), part.nb_streamlines) for part in written]
    [('groups/AF_L.trx', 3), ('groups/CST_R.trx', 4)]
    >>> trxlib.load("groups/AF_L.trx").groups["AF_L"].tolist()
    [0, 1, 2]
    """
    if isinstance(names, str):
        raise InputError(f"names is {names!r}, expected a list; put a single name in brackets")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise InputError(f"{folder}: is a file, expected the name of a folder")
    with TrxSource.open(path) as source:
        source.check_entries()
        arrays = source.held()
        groups = arrays.groups
        wanted = sorted(set(groups if names is None else names))
        missing = [name for name in wanted if name not in groups]
        if missing:
            raise GroupNotFoundError(
                f"{path}: no group {', '.join(map(repr, missing))}; it has {', '.join(sorted(groups)) or 'none'}"
            )
        for name in groups:
            check_members(groups[name], source.info.nb_streamlines, f"{path}: groups/{name}")
        choice = ReadOptions(keep=keep, leave_out=leave_out or ()).choice
        gone = choice.left_out(source.labels())
        check_used(choice, [replace(source.info, chosen_from=tuple(source.labels()))])
        check_outputs([Path(folder, f"{name}.trx") for name in wanted], [path], folders=[folder])
        Path(folder).mkdir(parents=True, exist_ok=True)
        parts = _Parts(source, arrays, len(wanted), gone)
        with ThreadPoolExecutor(max(1, workers)) as pool:
            return list(pool.map(lambda name: parts.write(name, Path(folder, f"{name}.trx")), wanted))


class _Parts:
    """What is asked of the source for every group, and so is made once.

    Parameters
    ----------
    source : TrxSource
        All members of its groups are streamlines.
    arrays : TrxArrays
        Its arrays, with dps and groups in memory.
    nb_wanted : int
        Groups that will be written.
    left_out : sequence of str
        Labels of the arrays that the files do not get.
    """

    def __init__(self, source: TrxSource, arrays: TrxArrays, nb_wanted: int, left_out: Sequence[str] = ()) -> None:
        self.source, self.arrays, self.left_out = source, arrays, left_out
        self.ungrouped = replace(arrays, groups={}, dpg={}).without(left_out)
        self.runs = runs_of(arrays)
        nb_streamlines = source.info.nb_streamlines
        self.index = GroupIndex(arrays.groups, nb_streamlines) if nb_wanted > _FEW else None

    def write(self, name: str, output: Path) -> ExtractedGroup:
        """Write the file of one group; safe in any thread."""
        groups, dpg = self.arrays.groups, self.arrays.dpg
        rows = _ascending(groups[name])
        arrays, runs = select_runs(self.ungrouped, rows, runs=self.runs)
        if self.index is not None:
            arrays.groups = self.index.renumber(rows)
        else:
            renumbered = renumber_groups(groups, rows, self.source.info.nb_streamlines)
            arrays.groups = {group: members for group, members in renumbered.items() if len(members)}
        own = arrays.groups.get(name, np.zeros(0, dtype="<u4"))
        # The group itself stays if it has no members, so that its file says what it is.
        arrays.groups.setdefault(name, own)
        arrays.dpg = {group: dpg[group] for group in arrays.groups if group in dpg}
        if self.left_out:
            arrays = arrays.without(self.left_out)
            arrays.groups[name] = own
        part = self.source.part(arrays, runs)
        write_container(plan_merge([part]), [part], output)
        logger.debug("%s: %d streamlines", output, arrays.header.nb_streamlines)
        return ExtractedGroup(name, output, arrays.header.nb_streamlines, arrays.header.nb_vertices)


def _ascending(members: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the members sorted, each once; most groups are so already, and then nothing is copied."""
    if bool(np.all(members[1:] > members[:-1])):
        return members
    # np.unique hashes integers since numpy 2.3, which takes ten times as long as sorting them.
    ordered = np.sort(members)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]
