"""Write a tractogram of any format as TRK or TCK, chunk by chunk."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trxlib.errors import CountError, DataLossWarning, GroupNotFoundError, InputError
from trxlib.formats.facts import sound_facts
from trxlib.formats.table import detect_format
from trxlib.formats.tck_writer import write_tck
from trxlib.formats.trk_writer import write_trk
from trxlib.inputs import open_input
from trxlib.ops.bundle import BundleSource
from trxlib.ops.select import select_runs
from trxlib.source import Progress, Source, SourceInfo

__all__ = ["EXPORT_SUFFIXES", "export"]

logger = logging.getLogger(__name__)
StrPath = str | os.PathLike[str]
_WRITERS: dict[str, Callable[..., None]] = {".trk": write_trk, ".tck": write_tck}
#: Suffixes of outputs that `export` writes.
EXPORT_SUFFIXES = tuple(_WRITERS)


def export(
    source: StrPath,
    output: StrPath,
    *,
    group: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> tuple[SourceInfo, str]:
    """Write a tractogram as TRK or TCK.

    dps and dpv become properties and scalars of a TRK, or files beside a TCK (``<name>_<key>.txt``, ``.tsf``,
    ``.npy``). Header facts that a TRX file has kept of an earlier TRK or TCK come back. Groups have no place in
    these formats: a warning names them.

    Parameters
    ----------
    source : path
        ``.trx`` or any other tractogram; not changed.
    output : path
        ``.trk`` or ``.tck``; it appears when it is complete.
    group : str, optional
        Write only the streamlines of this group of a TRX file.
    progress : callable, optional
        Called with vertices done and in all.
    **options
        ``reference``, ``transform``, ``dps``, ``dpv``, ``out_of_volume``, ``nonfinite``, ``drop_empty`` and
        ``accept_count_mismatch``, see `trxlib.convert`.

    Returns
    -------
    SourceInfo
        What was written.
    str
        Fingerprint of the source, ``crc32:<8 hex digits>:<bytes>``.

    Raises
    ------
    InputError
        If `output` has another suffix.
    GroupNotFoundError
        If there is no such group.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in _WRITERS:
        raise InputError(f"{output}: the suffix is {suffix!r}, expected {' or '.join(_WRITERS)}")
    if options.get("positions_dtype") is not None and suffix == ".trk":
        raise InputError(f"{output}: TRK holds float32 only; leave positions_dtype out")
    try:
        return _export(source, output, group, progress, options)
    except CountError as error:
        if detect_format(os.fspath(source)) != "tck":
            raise
        logger.warning("%s; counting", error)  # the data are delimited, so they can be counted
        return _export(source, output, group, progress, {**options, "trust_count": False})


def _export(
    source: StrPath, output: StrPath, group: str | None, progress: Progress | None, options: dict[str, Any]
) -> tuple[SourceInfo, str]:
    begin = time.perf_counter()
    suffix = Path(output).suffix.lower()
    opened = open_input(source, **options)
    try:
        part = opened if group is None else _group_of(opened, group, source)
        _warn_of_groups(part, group, output)
        _WRITERS[suffix](output, part.info, part.chunks(), facts=_facts(part, suffix[1:]), progress=progress)
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


def _group_of(source: Source, group: str, path: StrPath) -> BundleSource:
    groups = source.arrays.groups if isinstance(source, BundleSource) else {}
    if not isinstance(source, BundleSource) or group not in groups:
        raise GroupNotFoundError(f"{path}: no group {group!r}; it has {', '.join(sorted(groups)) or 'none'}")
    rows = groups[group]
    return source.with_selection(*select_runs(source.arrays, rows, runs=source.runs), rows)


def _warn_of_groups(source: Source, group: str | None, output: StrPath) -> None:
    if isinstance(source, BundleSource) and group is None and source.arrays.groups:
        names = sorted(source.arrays.groups)
        warnings.warn(
            f"{output}: this format has no groups; left out: {', '.join(names[:8])}"
            + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            + "; export each with group=",
            DataLossWarning,
            stacklevel=3,
        )


def _facts(source: Source, name: str) -> Mapping[str, Any] | None:
    """Return header facts of the output's format that a TRX file has kept; None leaves it to the writer."""
    if not isinstance(source, BundleSource):
        return None
    extra = source.arrays.header.extra
    return sound_facts(extra[name.upper()], name, source.path) if name.upper() in extra else {}
