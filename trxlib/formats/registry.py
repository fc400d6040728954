"""The formats that trxlib reads and writes: one row each, found by magic number first and extension second.

Adding a format is one module and one row of `FORMATS`. Modules are imported when a file of theirs is opened.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trxlib.errors import InputNotFoundError, UnsupportedFormatError
from trxlib.formats.filters import apply_policy
from trxlib.formats.input_file import InputFile
from trxlib.formats.reference import space_from
from trxlib.model.options import ReadOptions, StrPath
from trxlib.model.source import Source, SourceHeaders
from trxlib.spaces.positions import PositionsCast, check_positions_dtype
from trxlib.spaces.transform import transform_from

__all__ = ["FORMATS", "detect_format", "open_input", "read_headers"]


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Parameters
    ----------
    name : str
        Key, and what messages call it.
    magic : tuple of bytes
        What its files start with; empty if only the extension tells.
    extensions : tuple of str
        Lower case, with the dot.
    source : str
        ``module:callable`` of its reader, which takes a path and the keywords reference, transform and
        positions_dtype, and returns a `trxlib.model.source.Source`.
    options : tuple of str
        Fields of `ReadOptions` that the reader takes, too.
    """

    name: str
    magic: tuple[bytes, ...]
    extensions: tuple[str, ...]
    source: str
    options: tuple[str, ...] = ()


#: Key -> row. A longer magic number comes before one that it starts with.
FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("trx", (b"PK\x03\x04", b"PK\x05\x06"), (".trx",), "trxlib.formats.trx:open_trx"),
        Format("trk", (b"TRACK",), (".trk",), "trxlib.formats.trk.reader:TrkSource", ("accept_count_mismatch",)),
        Format(
            "tck",
            (b"mrtrix tracks",),
            (".tck",),
            "trxlib.formats.tck.reader:TckSource",
            ("accept_count_mismatch", "trust_count"),
        ),
        Format(
            "vtk",
            (b"# vtk DataFile", b"<?xml", b"<VTKFile"),
            (".vtk", ".vtp", ".fib"),
            "trxlib.formats.vtk_dpy:VtkSource",
        ),
        Format("dpy", (b"\x89HDF",), (".dpy",), "trxlib.formats.vtk_dpy:DpySource"),
    )
}
_MAGIC_BYTES = 24


def detect_format(path: StrPath) -> str:
    """Return the key of the table for a file or folder.

    Parameters
    ----------
    path : path
        A folder is ``trx`` if it holds ``header.json``. Gzip is looked through.

    Raises
    ------
    InputNotFoundError
        If there is nothing at `path`.
    UnsupportedFormatError
        If neither its first bytes nor its extension are known.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "header.json").is_file():
            return "trx"
        raise UnsupportedFormatError(f"{path} is a folder without header.json, so it is no TRX folder")
    if not path.exists():
        raise InputNotFoundError(f"{path} does not exist; check the path")
    head = InputFile(path).head(_MAGIC_BYTES)
    for row in FORMATS.values():
        if any(head.startswith(magic) for magic in row.magic):
            return row.name
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    for row in FORMATS.values():
        if suffix in row.extensions:
            return row.name
    raise UnsupportedFormatError(
        f"{path} starts with {head[:8]!r} and ends in {suffix or 'nothing'!r}; known formats are {', '.join(FORMATS)}"
    )


def open_input(path: StrPath, options: ReadOptions | None = None) -> Source:
    """Open a tractogram of any format; its counts are those of what will be written.

    The order is the same for all formats: what the reader yields gets the values of other files, is moved, judged,
    selected from, and given its type. (Readers move while they read.)

    Parameters
    ----------
    path : path
        The file, or a TRX folder.
    options : ReadOptions, optional
        What happens to it on the way. ``reference`` is anything that `trxlib.formats.reference.space_from` takes; it
        is the space of the result: the file's own, or that to which ``transform`` leads. TCK needs one.

    Returns
    -------
    Source
        To be closed.

    Raises
    ------
    TrxError
        One of its kinds, naming file and place.
    """
    options = options or ReadOptions()
    policy = options.policy
    row = FORMATS[detect_format(path)]
    source: Source = _load(row.source)(
        os.fspath(path),
        reference=None if options.reference is None else space_from(options.reference),
        transform=transform_from(options.transform),
        positions_dtype=options.positions_dtype,
        **{name: getattr(options, name) for name in row.options},
    )
    try:
        dtype = check_positions_dtype(options.positions_dtype, source.default_dtype.name)
        if options.dps or options.dpv:
            attach: Callable[..., Source] = _load("trxlib.formats.attached:attach")
            source = attach(source, options.dps, options.dpv)
        source = apply_policy(source, policy)
        if source.info.positions_dtype != dtype:
            source = source.through(PositionsCast(dtype, source.info.path), dtype=dtype)
        return source
    except BaseException:
        source.close()
        raise


def read_headers(path: StrPath, options: ReadOptions | None = None) -> SourceHeaders:
    """Return what a plan needs to know of a tractogram, and close it again.

    Parameters
    ----------
    path : path
        The file, or a TRX folder.
    options : ReadOptions, optional
        As for `open_input`.
    """
    with open_input(path, options) as source:
        return source.headers()


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
