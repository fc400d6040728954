"""The formats that trxlib reads and writes: one row each, found by magic number first and extension second.

Adding a format is one module and one row of `FORMATS`. Modules are imported when a file of theirs is opened.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from trxlib.errors import UnsupportedFormatError
from trxlib.formats.heads import read_head
from trxlib.kinds import is_partial_name, kind_of, missing, refusal

__all__ = ["EXPORT_SUFFIXES", "FORMATS", "HAVE_SPACE", "MAY_HAVE_SPACE", "detect_format", "export_suffix"]


class Format(NamedTuple):
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
        Fields of `ReadOptions` that the reader takes, too; ``native`` is the space of `transform_source`.
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
        Format(
            "trk", (b"TRACK",), (".trk",), "trxlib.formats.trk.reader:TrkSource", ("accept_count_mismatch", "native")
        ),
        Format(
            "tck",
            (b"mrtrix tracks",),
            (".tck",),
            "trxlib.formats.tck.reader:TckSource",
            ("accept_count_mismatch", "trust_count"),
        ),
        Format(
            "vtk",
            (b"# vtk DataFile", b"#vtk DataFile", b"<?xml", b"<VTKFile"),
            (".vtk", ".vtp", ".fib"),
            "trxlib.formats.vtk.source:VtkSource",
            ("vtk_space",),
        ),
        Format("dpy", (b"\x89HDF",), (".dpy",), "trxlib.formats.dpy:DpySource"),
        # A MATLAB 4 file has no magic number: these are the words before a matrix of 1 x 3 integers, `dimension`.
        Format(
            "tt",
            (b"\x14\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0\x0a\0\0\0dime",),
            (".tt",),
            "trxlib.formats.tinytrack.reader:TinyTrackSource",
            ("native",),
        ),
    )
}
#: Formats whose files say where they are; all others need a reference.
HAVE_SPACE = ("trx", "trk")
#: Formats whose files mostly say where they are; a reference decides where there is one.
MAY_HAVE_SPACE = ("tt",)
#: Suffixes of what is written, beside TRX. What ends in ``.gz`` holds the same bytes, compressed with gzip.
EXPORT_SUFFIXES = (".trk", ".tck", ".trk.gz", ".tck.gz", ".vtk", ".vtp")
_MAGIC_BYTES = 24
_KNOWN = f"known formats are {', '.join(FORMATS)}"


def detect_format(path: str | os.PathLike[str]) -> str:
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
        raise missing(path, f"{path} does not exist; check the path")
    head = read_head(path, _MAGIC_BYTES)
    found = next((row.name for row in FORMATS.values() if head.startswith(row.magic)), None) if head else None
    if found is not None and not head.startswith(b"<") and not is_partial_name(path.name):
        return found
    # A page of HTML is XML for some, and a download that was cut may look whole.
    kind = kind_of(path)
    if kind.use not in ("unknown", "tractogram"):
        raise refusal(path, "tractogram", _KNOWN, kind=kind)
    if found is not None:
        return found
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    for row in FORMATS.values():
        if suffix in row.extensions:
            return row.name
    raise refusal(path, "tractogram", _KNOWN, kind=kind)


def export_suffix(output: str | os.PathLike[str]) -> str:
    """Return which of `EXPORT_SUFFIXES` a name ends in; empty if it is none of them."""
    name = Path(output).name.lower()
    found = [suffix for suffix in EXPORT_SUFFIXES if name.endswith(suffix) and name != suffix]
    return max(found, key=len, default="")
