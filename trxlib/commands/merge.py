"""Merge tractograms into one archive: TRX straight from file to file, other formats converted on the way."""

from __future__ import annotations

import logging
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from trxlib.commands.progress import log_progress
from trxlib.container.outputs import check_outputs
from trxlib.engine.columns import MissingPolicy
from trxlib.engine.compression import Compressions, read_compression
from trxlib.engine.plan import InputPlan, Plan
from trxlib.engine.planning import plan_merge
from trxlib.engine.trx_source import TrxSource
from trxlib.engine.write import write_container
from trxlib.errors import InputError
from trxlib.formats.reference import check_space_policy, find_grid, space_from
from trxlib.formats.registry import HAVE_SPACE, MAY_HAVE_SPACE, detect_format
from trxlib.model.choice import check_used, choose
from trxlib.model.dtypes import check_float_dtype
from trxlib.model.offsets import OffsetsDtype
from trxlib.model.options import CompanionPolicy, FilterPolicy, ReadOptions, SpacePolicy
from trxlib.model.source import Progress, Source, SourceHeaders
from trxlib.model.space import Space
from trxlib.spaces.companions import with_companions
from trxlib.spaces.outside import judge_some
from trxlib.spaces.positions import PositionsCast

__all__ = ["merge"]

logger = logging.getLogger(__name__)


def merge(
    paths: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    name_groups: bool | None = None,
    reference: Any = None,
    companions: CompanionPolicy | None = None,
    missing: MissingPolicy = "error",
    keep_groups: bool = True,
    positions_dtype: npt.DTypeLike | None = None,
    check_space: bool = True,
    space: SpacePolicy = "same",
    grid: Any = None,
    warn_outside: float = 0.05,
    max_outside: float = 0.5,
    keep: Sequence[str] | None = None,
    leave_out: Sequence[str] | None = None,
    offsets_dtype: OffsetsDtype = "auto",
    dtypes: Mapping[str, npt.DTypeLike] | None = None,
    compression: Compressions = zipfile.ZIP_STORED,
    level: int | None = None,
    workers: int = 1,
    overwrite: bool = True,
    progress: Progress | None = None,
) -> Plan:
    """Concatenate tractograms into one TRX container, in the order given.

    Each input is read once and written once, into its final place (one that is no TRX is looked into before, and a TCK
    counted); memory stays flat.

    Parameters
    ----------
    paths : sequence of path
        TRX archives and folders, and tractograms of all other formats; not changed.
    output : path
        ``.trx`` or ``.zip`` gives an archive, any other name a folder.
    names : sequence of str, optional
        A name for each input, used for its group and for renamed keys; by default "1", "2", ...
    name_groups : bool, optional
        Whether each input becomes a group of its name. By default when `names` are given.
    reference : optional
        Affine and dimensions of the inputs that have none of their own, such as TCK; see `trxlib.convert`. All others
        have their own.
    companions : {"auto", "none"}, optional
        Whether values in files beside inputs that are no TRX are attached; see `trxlib.convert`.
    missing : {"error", "drop", "fill"}
        What to do with dps and dpv keys that some inputs lack: raise, leave out with a warning, or fill with NaN, which
        is an error for integers and bool.
    keep_groups : bool
        Whether groups and dpg of the inputs are kept. Groups of one name are united; dpg of one name that differ
        become ``<key>_<name of the input>``.
    positions_dtype : dtype, optional
        By default the widest of the inputs'.
    check_space : bool
        Whether inputs in another space are refused; else the result has the affine and dimensions of the first, and
        all positions stay as they are.
    space : {"same", "world"}
        Whether all inputs must have one grid, or only lie in one world space. Then the result gets `grid`.
    grid : optional
        The grid of the result with ``space="world"``, a reference as for `trxlib.convert`; by default the smallest that
        holds those of all inputs, at the finest voxel size.
    warn_outside, max_outside : float
        Share of an input's vertices outside its grid, or `grid`, above which it is a SpaceWarning, and an error. Some
        vertices of each input are looked at, and all of those that look suspicious.
    keep, leave_out : list of str, optional
        Names of the arrays that are wanted, or of those that are not, see `trxlib.convert`. The groups that `names`
        make always stay.
    offsets_dtype, dtypes, compression, level : optional
        See `trxlib.convert`.
    workers : int
        Threads; the bytes do not depend on it.
    overwrite : bool
        Whether a file or TRX folder that exists may be replaced. Inputs are never.
    progress : callable, optional
        Called with vertex bytes done and in all; by default a line in the log every few seconds.

    Returns
    -------
    Plan
        Which rows of the result came from which input.

    Raises
    ------
    InputError
        If the names do not fit, the output would replace an input or lie in one, or a name in `keep` or `leave_out`
        matches nothing in any input.
    SpaceMismatchError, MetadataMismatchError
        List every input that does not fit.
    FormatError, InputNotFoundError
        Name the file that cannot be read.

    Warns
    -----
    DataLossWarning
        Names every key that is left out.
    SpaceWarning
        If many vertices of an input lie outside the grid.

    Examples
    --------
    >>> plan = trxlib.merge(["sub-01.trx", "sub-02.trx"], "merged.trx", names=["sub-01", "sub-02"])
    >>> [(part.name, part.first_streamline, part.nb_streamlines) for part in plan.inputs]
    [('sub-01', 0, 4), ('sub-02', 4, 4)]
    >>> trxlib.load("merged.trx").groups["sub-02"].tolist()
    [4, 5, 6, 7]

    Files of several formats, of which a TCK does not know its space:

    >>> inputs = trxlib.convert("sub-01.tck", "from_tck.trx", reference="b0.nii.gz")
    >>> plan = trxlib.merge(["from_tck.trx", "sub-01.tck"], "mixed.trx", reference="b0.nii.gz")
    >>> plan.header.nb_streamlines
    8
    """
    if isinstance(paths, Mapping):
        raise InputError("paths is a dict, of which only the keys would be read; give a list, and the groups as names=")
    if isinstance(paths, (str, os.PathLike)) or isinstance(names, str):
        raise InputError("paths and names are lists; put a single one in brackets")
    if names is not None and not all(isinstance(name, str) for name in names):
        raise InputError(f"names are {list(names)!r}, expected texts")
    if names is not None and len(names) != len(paths):
        raise InputError(f"{len(names)} names are given for {len(paths)} inputs; give one for each")
    if names is not None and len(set(names)) != len(names):
        raise InputError("two inputs have the same name; give each its own")
    others = with_companions(item for item in (grid, reference) if isinstance(item, (str, os.PathLike)))
    check_outputs([output], [*paths, *others], overwrite=overwrite)
    begin = time.perf_counter()
    dtype = check_float_dtype(positions_dtype, "positions_dtype") if positions_dtype is not None else None
    grouped = name_groups if name_groups is not None else names is not None
    check_space_policy(space, grid)
    read_compression(output, compression, level)  # before anything is read
    limits = FilterPolicy(warn_outside=warn_outside, max_outside=max_outside)
    wanted = None if grid is None else space_from(grid)
    how = ReadOptions(
        positions_dtype=dtype,
        warn_outside=warn_outside,
        max_outside=max_outside,
        grid=wanted,
        trust_count=False,
        companions=companions,
        keep=keep,
        leave_out=leave_out or (),
    )
    choice = how.choice
    others_read = {number: _options(path, how, reference) for number, path in enumerate(paths) if not _is_trx(path)}
    headers = []
    for number, path in enumerate(paths):  # one open file at a time, however many there are
        if number in others_read:
            headers.append(_look_into(path, others_read[number]))
            # What was found beside it is said once, and is the same when it is read again.
            found = headers[-1].info.companions.items()
            dps, dpv = ({name[4:]: file for name, file in found if name.startswith(at)} for at in ("dps/", "dpv/"))
            others_read[number] = replace(others_read[number], dps=dps, dpv=dpv, companions="none")
            continue
        with TrxSource.open(path) as source:
            headers.append(choose(source, choice).headers())
            _judge(source, wanted or source.info.space, limits)
    check_used(choice, [item.info for item in headers])
    plan = plan_merge(
        headers,
        names=names,
        whole_groups=[[name] for name in names or map(str, range(1, len(paths) + 1))] if grouped else None,
        options=[None] * len(paths),
        missing=missing,
        keep_groups=keep_groups,
        positions_dtype=dtype,
        check_space=check_space,
        offsets_dtype=offsets_dtype,
        dtypes=dtypes,
        grid=find_grid([item.info for item in headers], space, wanted),
    )

    def reopen(number: int, item: InputPlan) -> Source:
        if number in others_read:
            return _open(item.path, others_read[number])
        source = choose(TrxSource.open(item.path), choice)
        if dtype is None or source.info.positions_dtype == dtype:
            return source
        return source.through(PositionsCast(dtype, item.path), dtype=dtype)

    write_container(
        plan,
        reopen,
        output,
        compression=compression,
        level=level,
        workers=workers,
        progress=log_progress(os.fspath(output)) if progress is None else progress,
    )
    logger.info(
        "%s: %d inputs, %d streamlines, %.1f MB in %.2f s",
        output, len(paths), plan.header.nb_streamlines, plan.nbytes / 1e6, time.perf_counter() - begin,
    )  # fmt: skip
    return plan


def _is_trx(path: str | os.PathLike[str]) -> bool:
    """Tell whether an input is a TRX, or nothing that can be read, which opening it as one says best."""
    return not os.path.isfile(path) or detect_format(path) == "trx"  # noqa: PTH113 (of thousands of inputs)


def _options(path: str | os.PathLike[str], how: ReadOptions, reference: Any) -> ReadOptions:
    """Return how an input is read that is no TRX: a reference goes to those that have no space of their own."""
    name = detect_format(path)
    if name in HAVE_SPACE or (name in MAY_HAVE_SPACE and reference is None):
        return how
    if reference is None:
        raise InputError(
            f"{path}: its format says nothing of its space; name the image that it was made from, or a TRK or TRX file "
            "in the same space (reference=, --reference)"
        )
    return replace(how, reference=reference)


def _look_into(path: str | os.PathLike[str], how: ReadOptions) -> SourceHeaders:
    from trxlib.formats.open import look_into  # readers of other formats, which a merge of TRX files does without

    return look_into(path, how)[0]


def _open(path: str, how: ReadOptions) -> Source:
    from trxlib.formats.open import open_input

    return open_input(path, how)


def _judge(source: TrxSource, space: Space, limits: FilterPolicy) -> None:
    """Warn, or raise, if a large share of an input's vertices lies outside a grid; its bytes are copied unseen."""
    positions = source.rows("positions", "positions")
    assert positions is not None
    judge_some(source.info.path, positions, space, limits=(limits.warn_outside, limits.max_outside))
