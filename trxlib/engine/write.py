"""Carry out a whole plan in this process: allocate, fill, seal. Every TRX file of this library is written here."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from trxlib.container.atomic import TemporaryFolder, final_path
from trxlib.container.partial import PartialArchive, PartialFolder, Target
from trxlib.engine.compression import Compressions, compress_archive, read_compression
from trxlib.engine.fill import Opener, fill_inputs
from trxlib.engine.plan import Plan
from trxlib.engine.seal import seal_container
from trxlib.errors import InputError, UnsupportedFormatError
from trxlib.model.source import Progress, Source

__all__ = ["is_archive_name", "write_container"]


def is_archive_name(path: str | os.PathLike[str]) -> bool:
    """Tell whether a name asks for an archive (``.trx``, ``.zip``); any other name asks for a folder."""
    return Path(path).suffix.lower() in (".trx", ".zip")


def write_container(
    plan: Plan,
    sources: Sequence[Source] | Opener,
    output: str | os.PathLike[str],
    *,
    compression: Compressions = zipfile.ZIP_STORED,
    level: int | None = None,
    workers: int = 1,
    verify: bool = False,
    progress: Progress | None = None,
    durable: bool = True,
) -> None:
    """Write the container of a plan.

    Parameters
    ----------
    plan : Plan
        Made from `sources`.
    sources : sequence of Source, or callable
        As planned with; or called with an input's number and plan, to open it when its turn comes.
    output : path
        ``.trx`` or ``.zip`` gives an archive, any other name a folder. It appears when it is complete; after an
        error what stood there before is still there.
    compression : int, str, or mapping of str to these
        ``zipfile.ZIP_STORED`` or another method of Python's zipfile, for archives; or one for each section, see
        `trxlib.engine.compression.read_compression`.
    level : int, optional
        Of the compression: 0 to 9 (-1: as None), of bzip2 1 to 9; other methods have none.
    workers : int
        Threads. The bytes do not depend on it.
    verify : bool
        Read the data back before the file gets its name.
    progress : callable, optional
        Called with vertex bytes done and in all.
    durable : bool
        Whether the disk is waited for, see `trxlib.container.durable`; not for temporary data.
    """
    how = read_compression(output, compression, level)
    if not is_archive_name(output):
        if Path(output).suffix:
            raise UnsupportedFormatError(
                f"{output}: the suffix is {Path(output).suffix}, expected .trx, .zip or none (a folder)"
            )
        if not how.is_stored:
            raise InputError(f"{output}: a folder cannot be compressed; name the output .trx or store it")
        _run(plan, sources, PartialFolder(output, plan.sizes), workers, verify, progress)
    elif how.is_stored:
        _run(plan, sources, PartialArchive(output, plan.layout, durable=durable), workers, verify, progress)
    else:
        folder = TemporaryFolder(final_path(output).parent)
        try:
            target = PartialArchive(folder.file, plan.layout, durable=False)
            _run(plan, sources, target, workers, verify, progress)
            compress_archive(folder.file, output, how)
        finally:
            folder.close()


def _run(
    plan: Plan,
    sources: Sequence[Source] | Opener,
    target: Target,
    workers: int,
    verify: bool,
    progress: Progress | None,
) -> None:
    opener = sources if callable(sources) else lambda number, _: sources[number]
    try:
        ranges = fill_inputs(plan, target, opener, workers=workers, progress=progress)
        seal_container(plan, target, ranges, verify=verify)
    except BaseException:
        target.discard()
        raise
