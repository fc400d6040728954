"""Unions, intersections and differences of tractograms: whole streamlines, with all their values."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from trxlib.commands.convert import convert
from trxlib.container.atomic import final_path
from trxlib.container.outputs import check_outputs
from trxlib.engine.columns import MissingPolicy
from trxlib.engine.planning import plan_merge
from trxlib.engine.trx_source import TrxSource
from trxlib.engine.write import write_container
from trxlib.errors import InputError
from trxlib.formats.registry import detect_format
from trxlib.model.rules import check_members
from trxlib.model.same_streamlines import SameStreamlines, Tractogram, check_precision, find_same
from trxlib.model.select import runs_of, select_runs
from trxlib.model.space import check_same_space
from trxlib.spaces.companions import with_companions

__all__ = ["SetResult", "difference", "drop_duplicates", "intersection", "union"]

StrPath = str | os.PathLike[str]


class SetResult(NamedTuple):
    """What a set operation wrote.

    Parameters
    ----------
    path : Path
        The file.
    nb_read, nb_kept : tuple of int
        Streamlines of each input, and how many of them the result has.
    """

    path: Path
    nb_read: tuple[int, ...]
    nb_kept: tuple[int, ...]


def union(
    inputs: Sequence[StrPath],
    output: StrPath,
    *,
    precision: float = 0.001,
    missing: MissingPolicy = "error",
    keep_groups: bool = True,
    reference: Any = None,
    overwrite: bool = True,
) -> SetResult:
    """Write the streamlines of all inputs, each of them once.

    The result has the streamlines of the first input in their order, then those of the second that are new, and so on.
    Of streamlines that are the same the first is kept, with its values, and becomes a member of the groups that the
    others were in.

    Parameters
    ----------
    inputs : sequence of path
        Tractograms of any format, in one space. Those that are no TRX are first written as one, beside the output.
    output : path
        ``.trx`` or ``.zip`` gives an archive, any other name a folder.
    precision : float
        In mm: streamlines are the same if they have as many vertices, and no coordinate of a vertex differs by more,
        from the one end or from the other. 0: bit by bit.
    missing : {"error", "drop", "fill"}
        As for `trxlib.merge`: dps and dpv that some inputs lack.
    keep_groups : bool
        Whether groups and their dpg are kept.
    reference : optional
        As for `trxlib.convert`, for inputs that do not say their space (TCK).
    overwrite : bool
        Whether a file or TRX folder that exists may be replaced. Inputs are never.

    Returns
    -------
    SetResult

    Raises
    ------
    InputError
        If there is no input, the precision is no number, or the output is an input.
    SpaceMismatchError, MetadataMismatchError
        List every input that does not fit.

    See Also
    --------
    drop_duplicates : The same with a single input.

    Examples
    --------
    >>> trxlib.union(["sub-01.trx", "cohort.trx"], "all.trx").nb_kept
    (4, 4)
    """
    with _Inputs(inputs, output, precision, reference, overwrite) as opened:
        if missing == "error":  # an input that does not fit is refused before anything long begins
            plan_merge(opened.sources, keep_groups=keep_groups)
        kept = opened.find_same().kept()
        if keep_groups:
            opened.hand_on_groups(kept)
        return opened.write(kept == np.arange(len(kept)), missing=missing, keep_groups=keep_groups)


def intersection(
    inputs: Sequence[StrPath],
    output: StrPath,
    *,
    precision: float = 0.001,
    keep_groups: bool = True,
    reference: Any = None,
    overwrite: bool = True,
) -> SetResult:
    """Write the streamlines of the first input that every other input has, too.

    Parameters
    ----------
    inputs : sequence of path
        Two or more; see `union`. All that is written comes from the first: its order, values and groups, and its
        own repeats (`drop_duplicates` leaves these out).
    output : path
        As for `union`.
    precision : float
        As for `union`.
    keep_groups : bool
        Whether groups and their dpg are kept.
    reference : optional
        As for `union`.
    overwrite : bool
        As for `union`.

    Returns
    -------
    SetResult

    Raises
    ------
    InputError
        If there are fewer than two inputs, the precision is no number, or the output is an input.
    SpaceMismatchError
        If the inputs lie in different spaces.

    Examples
    --------
    >>> trxlib.intersection(["cohort.trx", "sub-01.tck"], "both.trx", reference="b0.nii.gz").nb_kept
    (4, 0)
    """
    with _Inputs(inputs, output, precision, reference, overwrite, least=2) as opened:
        same = opened.find_same()
        is_in_all = np.logical_and.reduce([same.found_in(rows) for rows in opened.rows[1:]])
        return opened.write_of_first(is_in_all, keep_groups=keep_groups)


def difference(
    inputs: Sequence[StrPath],
    output: StrPath,
    *,
    precision: float = 0.001,
    keep_groups: bool = True,
    reference: Any = None,
    overwrite: bool = True,
) -> SetResult:
    """Write the streamlines of the first input that no other input has.

    Parameters
    ----------
    inputs : sequence of path
        Two or more; see `union`. All that is written comes from the first: its order, values and groups, and its
        own repeats (`drop_duplicates` leaves these out).
    output : path
        As for `union`.
    precision : float
        As for `union`.
    keep_groups : bool
        Whether groups and their dpg are kept.
    reference : optional
        As for `union`.
    overwrite : bool
        As for `union`.

    Returns
    -------
    SetResult

    Raises
    ------
    InputError
        If there are fewer than two inputs, the precision is no number, or the output is an input.
    SpaceMismatchError
        If the inputs lie in different spaces.

    Examples
    --------
    >>> trxlib.difference(["cohort.trx", "sub-01.trx"], "others.trx").nb_kept
    (4, 0)
    """
    with _Inputs(inputs, output, precision, reference, overwrite, least=2) as opened:
        same = opened.find_same()
        is_elsewhere = np.logical_or.reduce([same.found_in(rows) for rows in opened.rows[1:]])
        return opened.write_of_first(~is_elsewhere, keep_groups=keep_groups)


def drop_duplicates(
    path: StrPath,
    output: StrPath,
    *,
    precision: float = 0.001,
    keep_groups: bool = True,
    reference: Any = None,
    overwrite: bool = True,
) -> SetResult:
    """Write the streamlines of a tractogram, each of them once: the first of those that are the same.

    Parameters
    ----------
    path : path
        A tractogram of any format.
    output : path
        As for `union`.
    precision : float
        As for `union`.
    keep_groups : bool
        Whether groups and their dpg are kept.
    reference : optional
        As for `union`.
    overwrite : bool
        As for `union`.

    Returns
    -------
    SetResult

    Raises
    ------
    InputError
        If the precision is no number, or the output is the input.

    Examples
    --------
    >>> result = trxlib.drop_duplicates("cohort.trx", "once.trx")
    >>> result.nb_read, result.nb_kept
    ((8,), (8,))
    """
    return union([path], output, precision=precision, keep_groups=keep_groups, reference=reference, overwrite=overwrite)


class _Inputs:
    """The opened inputs of a set operation, and the way to its output.

    Parameters
    ----------
    inputs, output, precision, reference, overwrite
        As for `union`.
    least : int
        So many inputs are needed.
    """

    def __init__(
        self,
        inputs: Sequence[StrPath],
        output: StrPath,
        precision: float,
        reference: Any,
        overwrite: bool,
        *,
        least: int = 1,
    ) -> None:
        if isinstance(inputs, (str, os.PathLike)):
            raise InputError("inputs is a list; put a single path in brackets")
        inputs = list(inputs)
        if len(inputs) < least:
            raise InputError(f"{len(inputs)} inputs are given, expected {least} or more")
        self._precision = check_precision(precision)
        others = with_companions([reference] if isinstance(reference, (str, os.PathLike)) else [])
        check_outputs([output], [*inputs, *others], overwrite=overwrite)
        self._output, self._reference = output, reference
        self._stack = ExitStack()
        try:
            self.sources = [self._open(path) for path in inputs]
            placed = {f"{item.path} (input {n + 1})": item.info for n, item in enumerate(self.sources)}
            check_same_space({label: info.space for label, info in placed.items() if info.has_space})
        except BaseException:
            self._stack.close()
            raise
        bounds = np.cumsum([0, *(item.info.nb_streamlines for item in self.sources)]).tolist()
        #: The numbers of each input's streamlines, if the inputs stood one behind the other.
        self.rows = [slice(low, high) for low, high in pairwise(bounds)]
        self._arrays = [item.arrays for item in self.sources]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, path: StrPath) -> TrxSource:
        """Open an input whose streamlines can be looked at in any order: one that is no TRX is written as one."""
        if detect_format(path) == "trx":
            source = self._stack.enter_context(TrxSource.open(path))
        else:
            folder = tempfile.TemporaryDirectory(prefix=".trxlib_", dir=final_path(self._output).parent)
            copied = Path(self._stack.enter_context(folder), "input.trx")
            convert(path, copied, reference=self._reference)
            source = self._stack.enter_context(TrxSource.open(copied))
            source.path = os.fspath(path)
        source.check_entries()
        return source

    def find_same(self) -> SameStreamlines:
        """Compare all streamlines with each other."""
        return find_same([Tractogram(item.positions, runs_of(item)) for item in self._arrays], self._precision)

    def hand_on_groups(self, kept: npt.NDArray[Any]) -> None:
        """Make the streamline that is kept for others a member of their groups."""
        groups = [dict(item.groups) for item in self._arrays]
        dpg = [dict(item.dpg) for item in self._arrays]
        firsts = np.array([rows.start for rows in self.rows])
        for item, source, rows in zip(self._arrays, self.sources, self.rows, strict=True):
            for name, members in item.groups.items():
                check_members(members, rows.stop - rows.start, f"{source.path}: groups/{name}")
                numbers = members.astype(np.int64) + rows.start
                heirs = np.unique(kept[numbers[kept[numbers] != numbers]])
                owners = np.searchsorted(firsts, heirs, side="right") - 1
                for owner in np.unique(owners).tolist():
                    own = groups[owner].get(name, np.zeros(0, dtype="<u4"))
                    new = np.setdiff1d(heirs[owners == owner] - firsts[owner], own)
                    groups[owner][name] = np.concatenate((own, new.astype("<u4")))
                    dpg[owner].setdefault(name, item.dpg.get(name, {}))
        self._arrays = [
            replace(item, groups=groups[n], dpg={name: values for name, values in dpg[n].items() if values})
            for n, item in enumerate(self._arrays)
        ]

    def write_of_first(self, is_kept: npt.NDArray[Any], *, keep_groups: bool) -> SetResult:
        """Write streamlines of the first input."""
        is_kept = is_kept.copy()
        is_kept[self.rows[0].stop :] = False
        return self.write(is_kept, missing="error", keep_groups=keep_groups)

    def write(self, is_kept: npt.NDArray[Any], *, missing: MissingPolicy, keep_groups: bool) -> SetResult:
        """Write some of all streamlines. An input that gives none is not asked for its values and groups."""
        parts: list[TrxSource] = []
        counts: list[int] = []
        for item, source, rows in zip(self._arrays, self.sources, self.rows, strict=True):
            numbers = np.flatnonzero(is_kept[rows])
            counts.append(len(numbers))
            if len(numbers) or not parts:
                part = select_runs(item, numbers, keep_groups=keep_groups)
                parts.append(TrxSource(part.arrays, runs=part.runs, path=source.path))
        if len(parts) > 1 and not counts[0]:
            parts = parts[1:]
        write_container(plan_merge(parts, missing=missing, keep_groups=keep_groups), parts, self._output)
        return SetResult(Path(self._output), tuple(rows.stop - rows.start for rows in self.rows), tuple(counts))
