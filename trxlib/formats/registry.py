"""The formats that trxlib reads and writes: one row each, found by magic number first and extension second.

Adding a format is one module and one row of `FORMATS`. Modules are imported when a file of theirs is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from trxlib.errors import InputNotFoundError, UnsupportedFormatError
from trxlib.formats.filters import filter_source
from trxlib.formats.input_file import InputFile
from trxlib.formats.reference import space_from
from trxlib.model.source import Source
from trxlib.spaces.transform import transform_from

__all__ = ["FORMATS", "Format", "detect_format", "open_source"]


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
        ``module:Class`` of its reader; empty for TRX itself, which has more than a stream of streamlines.
    options : tuple of str
        Keywords of `open_source` that the reader takes beyond reference, transform and positions_dtype.
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
        Format("trx", (b"PK\x03\x04", b"PK\x05\x06"), (".trx",), ""),
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


def detect_format(path: str | Path) -> str:
    """Return the key of the table for a file or folder.

    Parameters
    ----------
    path : str or Path
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


def open_source(
    path: str | Path,
    *,
    reference: Any = None,
    transform: Any = None,
    positions_dtype: npt.DTypeLike | None = None,
    accept_count_mismatch: bool = False,
    trust_count: bool | None = None,
    nonfinite: str = "fail",
    out_of_volume: str = "keep",
    drop_empty: bool = False,
    dps: Mapping[str, str | Path] | None = None,
    dpv: Mapping[str, str | Path] | None = None,
) -> Source:
    """Open a tractogram of any format; its counts are those of what `chunks` will yield.

    Parameters
    ----------
    path : str or Path
        The file, or a TRX folder.
    reference : any, optional
        Anything `trxlib.formats.reference.space_from` takes. It is the space of the result: the file's own, or
        that to which `transform` leads. TCK needs one.
    transform : any, optional
        4x4 RASMM to RASMM, or the path of a text file with one.
    positions_dtype : dtype, optional
        float16, float32 or float64; by default that of the file.
    accept_count_mismatch : bool
        Take what is there, with a warning, of a TRK whose header counts other streamlines, and of a TCK that lacks its
        end marker and streamlines that its header counts.
    trust_count : bool, optional
        Take the count of a TCK header, by default in large files; if `chunks` raises CountError, open it with False.
    nonfinite : {"fail", "drop"}
        What becomes of a streamline with a NaN or infinite vertex.
    out_of_volume : {"keep", "drop", "fail"}
        What becomes of a streamline with a vertex outside the grid; those kept are counted and logged.
    drop_empty : bool
        Leave out streamlines without vertices, with their dps rows.
    dps, dpv : mapping of str to path, optional
        Files beside the tractogram whose values are attached under these keys.

    Raises
    ------
    TrxError
        One of its kinds, naming file and place.
    """
    row = FORMATS[detect_format(path)]
    if not row.source:
        raise UnsupportedFormatError(
            f"{path} is a TRX file, which has groups, too: open it with trxlib.formats.open.open_input"
        )
    options: dict[str, Any] = {"accept_count_mismatch": accept_count_mismatch, "trust_count": trust_count}
    source: Source = _load(row.source)(
        path,
        reference=None if reference is None else space_from(reference),
        transform=transform_from(transform),
        positions_dtype=positions_dtype,
        **{name: options[name] for name in row.options},
    )
    if dps or dpv:
        attach: Callable[..., Source] = _load("trxlib.formats.attached:attach_companions")
        source = attach(source, dps or {}, dpv or {})
    return filter_source(source, nonfinite=nonfinite, out_of_volume=out_of_volume, drop_empty=drop_empty)


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
