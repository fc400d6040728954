"""Carry out a whole plan in this process: allocate, fill, seal. Every TRX file of this library is written here."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trxlib.container.atomic import TemporaryFolder, final_path, writing
from trxlib.container.partial import PartialArchive, PartialFolder, Target
from trxlib.engine.fill import Opener, fill_inputs
from trxlib.engine.plan import Plan
from trxlib.engine.seal import seal_container
from trxlib.errors import InputError, UnsupportedFormatError
from trxlib.model.source import Progress, Source

__all__ = ["is_archive_name", "write_container"]

_BLOCK = 1 << 20
#: Methods that have levels, with the lowest and the highest.
_LEVELS = {zipfile.ZIP_DEFLATED: (-1, 9), zipfile.ZIP_BZIP2: (1, 9)}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def is_archive_name(path: str | os.PathLike[str]) -> bool:
    """Tell whether a name asks for an archive (``.trx``, ``.zip``); any other name asks for a folder."""
    return Path(path).suffix.lower() in (".trx", ".zip")


def write_container(
    plan: Plan,
    sources: Sequence[Source] | Opener,
    output: str | os.PathLike[str],
    *,
    compression: int = zipfile.ZIP_STORED,
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
    compression : int
        ``zipfile.ZIP_STORED`` or another method of Python's zipfile, for archives.
    level : int, optional
        Of the compression: 0 to 9 (-1: as None), of bzip2 1 to 9; other methods have none and ignore it.
    workers : int
        Threads. The bytes do not depend on it.
    verify : bool
        Read the data back before the file gets its name.
    progress : callable, optional
        Called with vertex bytes done and in all.
    durable : bool
        Whether the disk is waited for, see `trxlib.container.durable`; not for temporary data.
    """
    if compression not in _METHODS:
        raise InputError(f"{output}: compression is {compression!r}, expected a method of zipfile: {list(_METHODS)}")
    _check_level(output, compression, level)
    if not is_archive_name(output):
        if Path(output).suffix:
            raise UnsupportedFormatError(
                f"{output}: the suffix is {Path(output).suffix}, expected .trx, .zip or none (a folder)"
            )
        if compression != zipfile.ZIP_STORED:
            raise InputError(f"{output}: a folder cannot be compressed; name the output .trx or store it")
        _run(plan, sources, PartialFolder(output, plan.sizes), workers, verify, progress)
    elif compression == zipfile.ZIP_STORED:
        _run(plan, sources, PartialArchive(output, plan.layout, durable=durable), workers, verify, progress)
    else:
        folder = TemporaryFolder(final_path(output).parent)
        try:
            target = PartialArchive(folder.file, plan.layout, durable=False)
            _run(plan, sources, target, workers, verify, progress)
            compress_archive(folder.file, output, compression, level)
        finally:
            folder.close()


def _check_level(output: str | os.PathLike[str], compression: int, level: Any) -> None:
    low, high = _LEVELS.get(compression, (0, 9))
    if level is not None and (not hasattr(level, "__index__") or not low <= level <= high):
        raise InputError(f"{output}: level is {level!r}, expected a whole number from {low} to {high}, or None")


def compress_archive(
    stored: str | os.PathLike[str], output: str | os.PathLike[str], compression: int, level: int | None = None
) -> None:
    """Write a compressed copy of an archive: same entries, same order, fixed dates."""
    with writing(output) as partial, zipfile.ZipFile(stored) as source, zipfile.ZipFile(partial, "w") as target:
        for info in source.infolist():
            entry = zipfile.ZipInfo(info.filename)
            entry.compress_type = compression
            entry._compresslevel = level  # type: ignore[attr-defined]  # zipfile has no public way for an entry
            entry.external_attr = info.external_attr
            entry.create_system = 3
            entry.file_size = info.file_size
            with source.open(info) as data, target.open(entry, "w", force_zip64=info.file_size > 1 << 31) as out:
                while block := data.read(_BLOCK):
                    out.write(block)


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
