"""Write a tractogram of any format as TRK, TCK, VTK or VTP, chunk by chunk."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.commands.progress import log_progress
from trxlib.container.outputs import check_outputs
from trxlib.errors import CountError, DataLossWarning, GroupNotFoundError, HeaderWarning, InputError, warn
from trxlib.formats.header_facts import sound_facts
from trxlib.formats.open import open_input, read_headers
from trxlib.formats.registry import EXPORT_SUFFIXES, detect_format, export_suffix
from trxlib.formats.tck.beside import NonfiniteError, companion_paths
from trxlib.formats.tck.writer import check_tck_dtype, write_tck
from trxlib.formats.trk.writer import write_trk
from trxlib.formats.vtk.writer import VTK_SUFFIXES, check_vtk_dtype, write_vtk
from trxlib.model.choice import check_used, choose
from trxlib.model.options import CompanionPolicy, NonFinite, OutOfField, OutOfVolume, ReadOptions, StrPath, VtkSpace
from trxlib.model.rules import check_members
from trxlib.model.source import Progress, Source, SourceInfo
from trxlib.spaces.companions import with_companions

__all__ = ["export", "export_source"]

logger = logging.getLogger(__name__)


def export(
    source: StrPath,
    output: StrPath,
    *,
    group: str | None = None,
    reference: Any = None,
    transform: Any = None,
    transform_format: str | Sequence[str | None] | None = None,
    transform_inverse: bool | Sequence[bool] = False,
    transform_source: Any = None,
    positions_dtype: npt.DTypeLike | None = None,
    dps: Mapping[str, StrPath] | None = None,
    dpv: Mapping[str, StrPath] | None = None,
    companions: CompanionPolicy | None = None,
    out_of_volume: OutOfVolume = "keep",
    nonfinite: NonFinite = "fail",
    drop_empty: bool = False,
    out_of_field: OutOfField = "fail",
    warn_outside: float = 0.05,
    max_outside: float = 0.5,
    accept_count_mismatch: bool = False,
    accept_timestamp_mismatch: bool = False,
    vtk_space: VtkSpace | None = None,
    keep: Sequence[str] | None = None,
    leave_out: Sequence[str] | None = None,
    overwrite: bool = True,
    progress: Progress | None = None,
) -> tuple[SourceInfo, str]:
    """Write a tractogram as TRK, TCK, VTK or VTP.

    dps and dpv become properties and scalars of a TRK, or files beside a TCK: ``<name>_<key>.txt`` for a column of
    dps, ``.tsf`` for a column of dpv, and ``.npy`` for several columns and for dpv with NaN or infinite values, which
    a ``.tsf`` cannot hold. Where dps and dpv of one key would share a file, that of the dpv is
    ``<name>_<key>_dpv.npy``. Header facts that a TRX file has kept of an earlier TRK or TCK come back. Groups have no
    place in these formats: a warning names them. A VTK file holds dps as cell data, dpv as point data.

    Parameters
    ----------
    source : path
        ``.trx`` or any other tractogram; not changed.
    output : path
        ``.trk`` or ``.tck``, or one of these compressed, ``.trk.gz`` or ``.tck.gz`` (MRtrix cannot read this one);
        ``.vtk`` or ``.vtp``. It appears when it is complete.
    group : str, optional
        Write only the streamlines of this group of a TRX file.
    reference, transform, transform_format, transform_inverse, transform_source : optional
        See `trxlib.convert`.
    positions_dtype : dtype, optional
        float32 or float64 for a TCK, VTK or VTP; a TRK holds float32 only.
    dps, dpv : mapping of str to path, optional
        Files whose values are attached under these keys.
    companions : {"auto", "none"}, optional
        Whether values in files beside `source` are attached; see `trxlib.convert`.
    out_of_volume, nonfinite, drop_empty, out_of_field, warn_outside, max_outside : optional
        See `trxlib.convert`.
    accept_count_mismatch, accept_timestamp_mismatch, vtk_space : optional
        See `trxlib.convert`.
    keep, leave_out : list of str, optional
        Names of the arrays that are wanted, or of those that are not, see `trxlib.convert`; groups that are left out
        are not warned of.
    overwrite : bool
        Whether files that exist may be replaced, `output` or those beside it. Inputs are never.
    progress : callable, optional
        Called with vertex bytes done and in all; by default a line in the log every few seconds.

    Returns
    -------
    SourceInfo
        What was written.
    str
        Fingerprint of the source, ``crc32:<8 hex digits>:<bytes>``.

    Raises
    ------
    InputError
        If `output` has another suffix, a file that is written would replace an input or lie in one, or a name in `keep`
        or `leave_out` matches nothing.
    InputNotFoundError, UnsupportedFormatError, FormatError
        Name the file, and where it breaks its format.
    GroupNotFoundError
        If there is no such group.

    Warns
    -----
    DataLossWarning
        Names the groups that are left out.

    Examples
    --------
    >>> info, fingerprint = trxlib.export("cohort.trx", "AF_L.trk", group="AF_L")
    >>> info.nb_streamlines
    3

    A TCK holds positions alone, so that values go to files beside it:

    >>> info, fingerprint = trxlib.export("sub-01.trk", "tracts.tck")
    >>> from pathlib import Path
    >>> sorted(path.name for path in Path().glob("tracts*"))
    ['tracts.tck', 'tracts_fa.tsf', 'tracts_weight.txt']
    """
    options = ReadOptions(
        reference=reference,
        transform=transform,
        transform_format=transform_format,
        transform_inverse=transform_inverse,
        transform_source=transform_source,
        positions_dtype=positions_dtype,
        dps=dps or {},
        dpv=dpv or {},
        companions=companions,
        out_of_volume=out_of_volume,
        nonfinite=nonfinite,
        drop_empty=drop_empty,
        out_of_field=out_of_field,
        warn_outside=warn_outside,
        max_outside=max_outside,
        accept_count_mismatch=accept_count_mismatch,
        accept_timestamp_mismatch=accept_timestamp_mismatch,
        vtk_space=vtk_space,
        keep=keep,
        leave_out=leave_out or (),
    )
    return export_source(source, output, options, group=group, overwrite=overwrite, progress=progress)


def export_source(
    source: StrPath,
    output: StrPath,
    options: ReadOptions,
    *,
    group: str | None = None,
    overwrite: bool = True,
    progress: Progress | None = None,
) -> tuple[SourceInfo, str]:
    """Do what `export` does, with its options as one value."""
    suffix = export_suffix(output)
    if not suffix:
        found = "".join(Path(output).suffixes[-2:]) if Path(output).suffix.lower() == ".gz" else Path(output).suffix
        raise InputError(f"{output}: the suffix is {found!r}, expected {' or '.join(EXPORT_SUFFIXES)}")
    if options.positions_dtype is not None:
        if suffix.startswith(".trk"):
            raise InputError(f"{output}: TRK holds float32 only; leave positions_dtype out")
        (check_vtk_dtype if suffix in VTK_SUFFIXES else check_tck_dtype)(options.positions_dtype, output)
    check_outputs([output], [source, *with_companions(options.files())], overwrite=overwrite)
    progress = log_progress(os.fspath(output)) if progress is None else progress
    try:
        return _export(source, output, group, overwrite, progress, options)
    except CountError as error:
        if detect_format(os.fspath(source)) != "tck":
            raise
        logger.warning("%s; counting", error)  # the data are delimited, so they can be counted
        return _export(source, output, group, overwrite, progress, options.counted())


def _export(
    source: StrPath,
    output: StrPath,
    group: str | None,
    overwrite: bool,
    progress: Progress,
    options: ReadOptions,
) -> tuple[SourceInfo, str]:
    begin = time.perf_counter()
    # The group that is written is needed, whether or not it is named among the arrays that are wanted.
    how = options if group is None else replace(options, keep=None, leave_out=())
    with open_input(source, how) as opened:
        part = opened
        if group is not None:
            part = choose(_group_of(opened, group, source), options.choice, opened.labels())
        check_used(options.choice, [part.info])
        if group is None:
            _warn_of_groups(part, output)
        if export_suffix(output).startswith(".trk"):
            write_trk(output, part.info, part.chunks(), facts=_facts(part, "trk"), progress=progress)
        elif Path(output).suffix.lower() in VTK_SUFFIXES:
            dtype = options.positions_dtype
            write_vtk(output, part.info, part.chunks(), positions_dtype=dtype, progress=progress)
        else:
            inputs = [source, *with_companions(options.files()), *part.info.companions.values()]
            _write_tck(part, output, inputs, overwrite, options.positions_dtype, progress)
        info, fingerprint = part.info, opened.fingerprint()
    logger.info(
        "%s: %d streamlines, %d vertices in %.2f s",
        output, info.nb_streamlines, info.nb_vertices, time.perf_counter() - begin,
    )  # fmt: skip
    return info, fingerprint


def _write_tck(
    part: Source, output: StrPath, inputs: Sequence[StrPath], overwrite: bool, dtype: Any, progress: Progress
) -> None:
    """Write a TCK and the files beside it; dpv that turn out not to fit a .tsf become .npy, in another pass."""
    npy: list[str] = []
    most = 0

    def forward(done: int, total: int) -> None:
        nonlocal most
        if done > most:  # another pass begins anew
            most = done
            progress(done, total)

    while True:
        dps, dpv = companion_paths(output, part.info, npy=npy)
        check_outputs([output, *dps.values(), *dpv.values()], inputs, overwrite=overwrite)
        try:
            write_tck(
                output, part.info, part.chunks(), facts=_facts(part, "tck"), dps=dps, dpv=dpv, positions_dtype=dtype,
                progress=forward,
            )  # fmt: skip
        except NonfiniteError as error:
            npy.append(error.key)
            continue
        break
    for key in npy:
        warn(
            f"{output}: dpv/{key} has NaN or infinite values, which a .tsf cannot hold; it goes to {dpv[key]}",
            HeaderWarning,
        )


def _group_of(source: Source, group: str, path: StrPath) -> Source:
    groups = source.groups
    if group in groups:
        source.check_entries()
        rows = groups[group]
        check_members(rows, source.info.nb_streamlines, f"{path}: groups/{group}")
    # A group of which all members were left out is gone, with a warning; the file has it.
    elif group in _groups_of_file(source, path):
        rows = np.zeros(0, dtype=np.uint32)
    else:
        raise GroupNotFoundError(f"{path}: no group {group!r}; it has {', '.join(sorted(groups)) or 'none'}")
    return source.select(rows, keep_groups=False)


def _groups_of_file(source: Source, path: StrPath) -> Mapping[str, Any]:
    return read_headers(path).groups if source.info.format == "trx" else {}


def _warn_of_groups(source: Source, output: StrPath) -> None:
    if source.groups:
        names = sorted(source.groups)
        warn(
            f"{output}: this format has no groups; left out: {', '.join(names[:8])}"
            + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            + '; export each by its name (--group, group=), or leave them out by --leave-out, leave_out=["groups/*"]',
            DataLossWarning,
        )


def _facts(source: Source, name: str) -> Mapping[str, Any]:
    """Return header facts of the output's format that the file, or one that it was made of, has had."""
    facts = source.facts_of(name)
    # Its own header has been checked where it was read.
    return facts if source.info.format == name else sound_facts(facts, name, source.info.path)
