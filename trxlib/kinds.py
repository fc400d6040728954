"""What a file is, by its first bytes and its name, and what a refusal says of it: the way out belongs to the message.

No bytes of a file are ever shown. Readers know their own formats; this module names everything else that people hand
to them: pointers to content that is elsewhere, pages that a server sent instead of a file, packed files, images.
"""

from __future__ import annotations

import os
import shlex
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trxlib.errors import InputNotFoundError, TrxError, UnsupportedFormatError
from trxlib.text import shown

__all__ = ["Kind", "describe_kind", "is_partial_name", "kind_of", "missing", "refusal", "zip_kind"]

StrPath = str | os.PathLike[str]
_HEAD = 4096  # bytes: the magic numbers of images and tar lie within the first 400


class Kind(NamedTuple):
    """What a file is.

    Parameters
    ----------
    what : str
        For messages: "a NIfTI image".
    use : str
        ``trx``, ``tractogram``, ``image``, ``values``, ``packed``, ``absent`` (the content is elsewhere),
        ``damaged``, ``foreign``, or ``unknown``: nothing but a reader can tell.
    way_out : str
        What to do, where that does not depend on what was asked for; ``{path}`` stands for the path, fit for a shell.
    """

    what: str
    use: str
    way_out: str = ""


_AGAIN = "fetch it again, and compare its size with that of the original"
_UNKNOWN = Kind("of no kind that is known here", "unknown")
_EMPTY = Kind("an empty file (0 bytes)", "damaged", f"it is still being written, or a copy of it failed; {_AGAIN}")
_ZEROS = Kind("a file of zeros, at least where it starts", "damaged", f"a download or copy was not finished; {_AGAIN}")
_PART = Kind(
    "a download that is not complete, by its name", "damaged",
    "wait for its end, or fetch it again; if it is complete, give it its own name",
)  # fmt: skip
_ICLOUD = Kind(
    "a placeholder of iCloud, whose content is not here", "absent", "fetch it: brctl download {path}, or in the Finder"
)
_ANNEX = Kind(
    "a pointer of git-annex, whose content is not here",
    "absent",
    "fetch it: git annex get {path}, or datalad get {path}",
)
_LFS = Kind("a pointer of Git LFS, whose content is not here", "absent", "fetch it: git lfs pull --include {path}")
_DVC = Kind(
    "a pointer of DVC, whose content is not here", "absent", "fetch it: dvc pull {path}, and name the file itself"
)
_HTML = Kind(
    "an HTML page", "foreign",
    "a server sends one to ask for a login or to tell an error, instead of the file; sign in, and fetch the file again",
)  # fmt: skip
_BESIDE = Kind(
    "what macOS writes beside a file (AppleDouble)", "foreign", "name the file itself, whose name has no ._ before it"
)
_ARCHIVE = "name what is in it after unpacking it: "

#: First bytes, and what they mean; a longer one comes before one that it starts with.
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"TRACK", Kind("a TRK file", "tractogram")),
    (b"mrtrix tracks", Kind("a TCK file", "tractogram")),
    (b"mrtrix track scalars", Kind("a TSF file, which has a value per vertex", "values")),
    (b"# vtk DataFile", Kind("a VTK file", "tractogram")),
    (b"<VTKFile", Kind("a VTP file", "tractogram")),
    (b"MATLAB 7.3", Kind("a MATLAB file (7.3)", "foreign")),
    (b"MATLAB 5.0", Kind("a MATLAB file", "foreign")),
    (b"\x89HDF", Kind("an HDF5 file, such as a DPY", "tractogram")),
    (b"\x93NUMPY", Kind("a NumPy file (.npy)", "values")),
    (b"mrtrix image", Kind("an MRtrix image", "image")),
    (b"NRRD", Kind("an NRRD image", "image")),
    (b"CDF", Kind("a NetCDF file, such as an image of MINC", "foreign")),
    (b"BZh", Kind("packed by bzip2", "packed", "unpack it: bunzip2 -k {path}")),
    (b"\xfd7zXZ\0", Kind("packed by xz", "packed", "unpack it: unxz -k {path}")),
    (b"\x28\xb5\x2f\xfd", Kind("packed by zstd", "packed", "unpack it: unzstd {path}")),
    (b"7z\xbc\xaf\x27\x1c", Kind("an archive of 7-Zip", "packed", f"{_ARCHIVE}7z x {{path}}")),
    (b"Rar!", Kind("an archive of RAR", "packed", f"{_ARCHIVE}unrar x {{path}}")),
    (b"%PDF", Kind("a PDF document", "foreign")),
    (b"\x89PNG", Kind("a PNG picture", "foreign")),
    (b"\xff\xd8\xff", Kind("a JPEG picture", "foreign")),
    (b"GIF8", Kind("a GIF picture", "foreign")),
    (b"\x4c\0\0\0\1\x14\2\0", Kind("a shortcut of Windows (.lnk)", "foreign", "name the file that it leads to")),
    (b"book\0\0\0\0mark", Kind("an alias of macOS", "foreign", "name the file that it leads to")),
    (b"\0\5\x16\7", _BESIDE),
    (b"\0\0\0\1Bud1", Kind("a .DS_Store of macOS", "foreign", "it says how a folder is shown; name the tractogram")),
    (b"\xd0\xcf\x11\xe0", Kind("a document of an old Office", "foreign")),
    (b"version https://git-lfs.github.com/spec/", _LFS),
    (b"version https://hawser.github.com/spec/", _LFS),
    (b"outs:\n- md5:", _DVC),
)  # fmt: skip
_PARTS = (".part", ".partial", ".crdownload", ".download", ".filepart")
_RAW = (".img", ".brik", ".dat", ".raw")  # voxels alone, which may well be 0
_NO = {
    "tractogram": "no tractogram",
    "trx": "no TRX file",
    "reference": "no reference",
    "transform": "no transform that is read",
    "values": "no file of values",
}
_EXPECTED = {
    "tractogram": "expected a tractogram",
    "trx": "expected a TRX archive or folder",
    "reference": "name an image, a TRK or a TRX file that has the space",
    "transform": "name the file of a transform",
    "values": "expected text, .tsf or .npy",
}
_AS_REFERENCE = (
    "an image says where a tractogram is: give it as the reference (reference=, --reference, the column 'reference')"
)


def kind_of(path: StrPath, head: bytes | None = None) -> Kind:
    """Return what a file is.

    Parameters
    ----------
    path : path
        A file that exists. At most its first 4 KB are read, and the directory of a zip archive.
    head : bytes, optional
        Its first bytes, if they are known already: 512 or more, or all of them. They may be gzip.

    Examples
    --------
    >>> from trxlib.kinds import kind_of
    >>> kind_of("b0.nii.gz").what
    'a NIfTI image'
    """
    name = os.path.basename(os.fspath(path))  # noqa: PTH119 (no pathlib for thousands of files)
    if head is None:
        with Path(path).open("rb") as stream:
            head = stream.read(_HEAD)
    if name.startswith(".") and name.endswith(".icloud"):
        return _ICLOUD
    if is_partial_name(name):
        return _PART
    if not head:
        return _EMPTY
    is_gzip = head[:2] == b"\x1f\x8b"
    if is_gzip:
        try:
            head = zlib.decompressobj(31).decompress(head, _HEAD)
        except zlib.error:
            return Kind("gzip, and damaged", "damaged", _AGAIN)
        if head[:2] == b"PK":
            return Kind(
                "a zip archive packed by gzip",
                "packed",
                "unpack the outer one, its arrays are mapped: gunzip -k {path}",
            )
    elif head[:2] == b"PK":
        return _kind_of_zip(path)
    kind = _kind_of_head(head)
    if kind is _ZEROS and name.lower().removesuffix(".gz").endswith(_RAW):
        return _UNKNOWN
    if kind is _UNKNOWN and name.startswith("._"):
        return _BESIDE
    if kind is _UNKNOWN and head[:4] == b"\0\0\0\1" and name.lower().endswith((".mgh", ".mgz")):
        return Kind("an MGH image", "image")
    return kind


def is_partial_name(name: str) -> bool:
    """Tell whether a file has the name that programs give to a download until it is complete."""
    return name.lower().endswith(_PARTS)


def _kind_of_head(head: bytes) -> Kind:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if b"annex/objects/" in head[:300] and len(head) < _HEAD and head.strip().count(b"\n") == 0:
        return _ANNEX
    if head[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c", b"\x1c\2\0\0", b"\0\0\2\x1c"):
        is_nifti = head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")
        return Kind("a NIfTI image" if is_nifti else "an Analyze image", "image")
    if head[128:132] == b"DICM":
        return Kind("a DICOM image", "foreign", "convert it with dcm2niix, and give the result as the reference")
    if head[257:262] == b"ustar":
        return Kind("an archive of tar", "packed", f"{_ARCHIVE}tar -xf {{path}}")
    if not head.strip(b"\0"):
        return _ZEROS
    if _is_matlab_4(head):
        return Kind("a MATLAB file (4), as of TinyTrack in DSI Studio", "unknown")  # its extension may tell more
    return _kind_of_text(head)


def _kind_of_text(head: bytes) -> Kind:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = start[:1024].lower()
    if lower.startswith((b"<!doctype html", b"<html")) or (lower.startswith(b"<?xml") and b"<html" in lower):
        return _HTML
    if lower.startswith(b"<?xml"):
        if b"<vtkfile" in lower:
            return Kind("a VTP file", "tractogram")
        return Kind("a GIFTI file" if b"<gifti" in lower else "an XML file", "foreign")
    if b"\0" in head or any(byte < 9 or 13 < byte < 27 for byte in head):
        return _UNKNOWN
    if start.startswith((b"{", b"[{", b'["')):
        return Kind("JSON", "foreign")
    return Kind("a text", "unknown")


def _is_matlab_4(head: bytes) -> bool:
    """Tell whether a file starts with a matrix: type, rows, columns, whether imaginary, length of the name."""
    if len(head) < 22:
        return False
    kind, rows, columns, imaginary, length = struct.unpack_from("<5i", head)
    name = head[20 : 19 + length]
    return (
        0 <= kind <= 52 and rows > 0 and columns > 0 and imaginary in (0, 1)
        and 1 < length <= 64 and name.isascii() and name.replace(b"_", b"").isalnum()
    )  # fmt: skip


def _kind_of_zip(path: StrPath) -> Kind:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return zip_kind(archive.namelist())
    except Exception:  # whatever zipfile stumbles over
        return Kind(
            "a zip archive without its directory, which comes last",
            "damaged",
            f"it was cut, or is being written; {_AGAIN}",
        )


def zip_kind(names: Sequence[str]) -> Kind:
    """Return what a zip archive is, by the names of its entries."""
    nested = next((name for name in names if name.endswith("/header.json") and not name.startswith("__MACOSX/")), None)
    if "header.json" in names:
        return Kind("a TRX archive", "trx")
    for start, what in (("word/", "a Word document"), ("xl/", "a spreadsheet (xlsx)"), ("ppt/", "a presentation")):
        if any(name.startswith(start) for name in names):
            return Kind(what, "foreign")
    if nested:
        folder = nested.rpartition("/")[0]
        return Kind(
            f"a zip archive with a TRX folder in it ({shown(nested)!r})", "packed",
            f"pack the content of that folder, not the folder: unzip {{path}}, and "
            f"trxlib.zip_from_folder({shown(folder)!r}, {shown(folder.rpartition('/')[2])!r} + '.trx')",
        )  # fmt: skip
    if names and all(name.endswith(".npy") for name in names):
        return Kind("NumPy arrays in a zip archive (.npz)", "foreign")
    if any("\\" in name for name in names):
        return Kind(
            "a zip archive whose names have backslashes", "packed",
            "a program of Windows wrote it against the rules of zip; unpack it there, and pack it with another",
        )  # fmt: skip
    return Kind("a zip archive without header.json", "packed", f"{_ARCHIVE}unzip {{path}}")


def describe_kind(path: StrPath, kind: Kind, wanted: str, expected: str = "") -> str:
    """Return what a refusal says: the path, what the file is, and the way out.

    Parameters
    ----------
    path : path
        The file.
    kind : Kind
        What it is.
    wanted : {"tractogram", "trx", "reference", "transform", "values"}
        What it was named as.
    expected : str, optional
        What could be named instead.
    """
    return f"{path} is {_NO[wanted]}: it is {kind.what}; {_way_out(path, kind, wanted, expected)}"


def _way_out(path: StrPath, kind: Kind, wanted: str, expected: str) -> str:
    if kind.way_out:
        return kind.way_out.replace("{path}", shlex.quote(os.fspath(path)))
    if kind.use == "image" and wanted in ("tractogram", "trx"):
        return _AS_REFERENCE
    if kind.use == "tractogram" and wanted == "trx":
        name = os.path.basename(os.fspath(path))  # noqa: PTH119
        new = os.path.join(os.path.dirname(os.fspath(path)), f"{name.split('.')[0] or name}.trx")  # noqa: PTH118, PTH120
        return (
            f"only TRX files are taken here, make one of it: trxlib.convert({os.fspath(path)!r}, {new!r}), or "
            f"trxlib convert {shlex.quote(os.fspath(path))} {shlex.quote(new)}"
        )
    if kind.use == "values" and wanted in ("tractogram", "trx"):
        return "name it beside a tractogram: dps= or dpv=, --dps or --dpv KEY=FILE, a column dps_<key> or dpv_<key>"
    return expected or _EXPECTED[wanted]


def refusal(path: StrPath, wanted: str, expected: str = "", *, kind: Kind | None = None) -> TrxError:
    """Return what to raise for a file that is not what it was named as.

    Parameters
    ----------
    path, wanted, expected
        See `describe_kind`.
    kind : Kind, optional
        What it is, if that is known already.

    Returns
    -------
    TrxError
        An InputNotFoundError if its content is elsewhere, else an UnsupportedFormatError.
    """
    kind = kind or kind_of(path)
    error = InputNotFoundError if kind.use == "absent" else UnsupportedFormatError
    return error(describe_kind(path, kind, wanted, expected))


def missing(path: StrPath, otherwise: str) -> InputNotFoundError:
    """Return what to raise for a path at which nothing can be read.

    Parameters
    ----------
    path : path
        A link to nothing is told from a name without a file, and what lies beside it is looked at.
    otherwise : str
        The message, if nothing more is known.
    """
    text = os.fspath(path)
    if os.path.islink(text):  # noqa: PTH114
        target = os.readlink(text)  # noqa: PTH115
        way = "mend the link, or name another file"
        if "annex/objects/" in target.replace("\\", "/"):
            way = "its content is not here; " + _ANNEX.way_out.replace("{path}", shlex.quote(text))
        return InputNotFoundError(f"{path} is a symbolic link to {target}, which is not there; {way}")
    folder, name = os.path.split(text)
    beside = [(f".{name}.icloud", _ICLOUD), (f"{name}.dvc", _DVC), *((name + part, _PART) for part in _PARTS)]
    for other, kind in beside:
        place = os.path.join(folder, other)  # noqa: PTH118
        if os.path.exists(place):  # noqa: PTH110
            return InputNotFoundError(
                f"{path} does not exist, and {place} is {kind.what}; {_way_out(place, kind, 'tractogram', '')}"
            )
    if "\\" in text and os.sep == "/":
        otherwise += "; here a backslash is part of a name, folders are parted by /"
    return InputNotFoundError(otherwise)
