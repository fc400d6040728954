"""Write a tractogram of any format as TRK or TCK, chunk by chunk."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trxlib.commands.progress import log_progress
from trxlib.container.outputs import check_outputs
from trxlib.engine.trx_source import BundleSource
from trxlib.errors import CountError, DataLossWarning, GroupNotFoundError, HeaderWarning, InputError
from trxlib.formats.header_facts import sound_facts
from trxlib.formats.open import open_input, read_headers
from trxlib.formats.registry import detect_format
from trxlib.formats.tck.beside import NonfiniteError, companion_paths
from trxlib.formats.tck.writer import check_tck_dtype, write_tck
from trxlib.formats.trk.writer import write_trk
from trxlib.model.rules import check_members
from trxlib.model.select import select_runs
from trxlib.model.source import Progress, Source, SourceInfo

__all__ = ["EXPORT_SUFFIXES", "export", "input_paths"]

logger = logging.getLogger(__name__)
StrPath = str | os.PathLike[str]
#: Suffixes of outputs that `export` writes.
EXPORT_SUFFIXES = (".trk", ".tck")


def export(
    source: StrPath,
    output: StrPath,
    *,
    group: str | None = None,
    overwrite: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> tuple[SourceInfo, str]:
    """Write a tractogram as TRK or TCK.

    dps and dpv become properties and scalars of a TRK, or files beside a TCK: ``<name>_<key>.txt`` for a column of
    dps, ``.tsf`` for a column of dpv, and ``.npy`` for several columns and for dpv with NaN or infinite values, which
    a ``.tsf`` cannot hold. Where dps and dpv of one key would share a file, that of the dpv is
    ``<name>_<key>_dpv.npy``. Header facts that a TRX file has kept of an earlier TRK or TCK come back. Groups have no
    place in these formats: a warning names them.

    Parameters
    ----------
    source : path
        ``.trx`` or any other tractogram; not changed.
    output : path
        ``.trk`` or ``.tck``; it appears when it is complete.
    group : str, optional
        Write only the streamlines of this group of a TRX file.
    overwrite : bool
        Whether files that exist may be replaced, `output` or those beside it. Inputs are never.
    progress : callable, optional
        Called with vertex bytes done and in all; by default a line in the log every few seconds.
    **options
        ``reference``, ``transform``, ``positions_dtype`` (TCK: float32 or float64), ``dps``, ``dpv``,
        ``out_of_volume``, ``nonfinite``, ``drop_empty`` and ``accept_count_mismatch``, see `trxlib.convert`.

    Returns
    -------
    SourceInfo
        What was written.
    str
        Fingerprint of the source, ``crc32:<8 hex digits>:<bytes>``.

    Raises
    ------
    InputError
        If `output` has another suffix, or a file that is written would replace an input or lie in one.
    GroupNotFoundError
        If there is no such group.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in EXPORT_SUFFIXES:
        raise InputError(f"{output}: the suffix is {suffix!r}, expected {' or '.join(EXPORT_SUFFIXES)}")
    if options.get("positions_dtype") is not None:
        if suffix == ".trk":
            raise InputError(f"{output}: TRK holds float32 only; leave positions_dtype out")
        options["positions_dtype"] = check_tck_dtype(options["positions_dtype"], output)
    check_outputs([output], input_paths(source, options), overwrite=overwrite)
    progress = log_progress(os.fspath(output)) if progress is None else progress
    try:
        return _export(source, output, group, overwrite, progress, options)
    except CountError as error:
        if detect_format(os.fspath(source)) != "tck":
            raise
        logger.warning("%s; counting", error)  # the data are delimited, so they can be counted
        return _export(source, output, group, overwrite, progress, {**options, "trust_count": False})


def input_paths(source: StrPath, options: Mapping[str, Any]) -> list[StrPath]:
    """Return every file that is read for a source, as `trxlib.formats.open.open_input` opens it."""
    reference = options.get("reference")
    # A pair may be the path of an affine, and dimensions.
    given = [
        source,
        *(reference[:1] if isinstance(reference, (tuple, list)) else [reference]),
        options.get("transform"),
    ]
    given += [*(options.get("dps") or {}).values(), *(options.get("dpv") or {}).values()]
    return [path for path in given if isinstance(path, (str, os.PathLike))]


def _export(
    source: StrPath,
    output: StrPath,
    group: str | None,
    overwrite: bool,
    progress: Progress,
    options: dict[str, Any],
) -> tuple[SourceInfo, str]:
    begin = time.perf_counter()
    opened = open_input(source, **options)
    try:
        part = opened if group is None else _group_of(opened, group, source)
        _warn_of_groups(part, group, output)
        if Path(output).suffix.lower() == ".trk":
            write_trk(output, part.info, part.chunks(), facts=_facts(part, "trk"), progress=progress)
        else:
            _write_tck(part, output, input_paths(source, options), overwrite, options.get("positions_dtype"), progress)
        info, fingerprint = part.info, opened.fingerprint()
    finally:
        close = getattr(opened, "close", None)
        if close is not None:
            close()
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
        warnings.warn(
            f"{output}: dpv/{key} has NaN or infinite values, which a .tsf cannot hold; it goes to {dpv[key]}",
            HeaderWarning,
            stacklevel=5,
        )


def _group_of(source: Source, group: str, path: StrPath) -> BundleSource:
    groups = source.arrays.groups if isinstance(source, BundleSource) else {}
    if isinstance(source, BundleSource) and group in groups:
        source.check_entries()
        rows = groups[group]
        check_members(rows, source.info.nb_streamlines, f"{path}: groups/{group}")
    # A group of which all members were left out is gone, with a warning; the file has it.
    elif isinstance(source, BundleSource) and group in read_headers(path).groups:
        rows = np.zeros(0, dtype=np.uint32)
    else:
        raise GroupNotFoundError(f"{path}: no group {group!r}; it has {', '.join(sorted(groups)) or 'none'}")
    return source.with_selection(*select_runs(source.arrays, rows, runs=source.runs, keep_groups=False), rows)


def _warn_of_groups(source: Source, group: str | None, output: StrPath) -> None:
    if isinstance(source, BundleSource) and group is None and source.arrays.groups:
        names = sorted(source.arrays.groups)
        warnings.warn(
            f"{output}: this format has no groups; left out: {', '.join(names[:8])}"
            + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            + "; export each by its name (--group, group=)",
            DataLossWarning,
            stacklevel=3,
        )


def _facts(source: Source, name: str) -> Mapping[str, Any] | None:
    """Return header facts of the output's format that a TRX file has kept; None leaves it to the writer."""
    if not isinstance(source, BundleSource):
        return None
    extra = source.arrays.header.extra
    return sound_facts(extra[name.upper()], name, source.path) if name.upper() in extra else {}
