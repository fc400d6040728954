"""Entry names of a TRX container: ``dps/weight.3.float32`` <-> ArrayName. Strings only, no files.

TRX specification, "Architecture". A name may hold dots when it is read; it may not when it is written, since
other programs cut it there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from trxlib.errors import ArrayNameError, DtypeError
from trxlib.model.dtypes import dtype_of_extension, extension_of_dtype

__all__ = ["HEADER_NAME", "ArrayName", "check_key", "check_path", "is_sidecar", "make_key", "parse_name"]

HEADER_NAME = "header.json"
_UNFIT = re.compile(r"[\x00-\x1f\x7f./\\:*?\"<>|\ud800-\udfff]")


@dataclass(frozen=True)
class ArrayName:
    """Which array an entry holds.

    Parameters
    ----------
    section : str
        "positions", "offsets", "dpv", "dps", "groups" or "dpg": the order in which they stand in an archive.
    name : str
        The key, e.g. ``"weight"``; ``"positions"`` and ``"offsets"`` for those two.
    ncols : int
        Columns, at least 1.
    dtype : numpy.dtype
        Little-endian; bool for ``bit``.
    group : str
        The group of a dpg array, else empty.
    """

    section: str
    name: str
    ncols: int
    dtype: np.dtype[Any]
    group: str = ""

    @property
    def path(self) -> str:
        """The entry's path inside the container, with forward slashes."""
        # positions always says its 3 columns; elsewhere 1 column is not written, as the reference package does.
        columns = f".{self.ncols}" if self.ncols != 1 else ""
        file_name = f"{self.name}{columns}.{extension_of_dtype(self.dtype)}"
        if self.section in ("positions", "offsets"):
            return file_name
        return "/".join(part for part in (self.section, self.group, file_name) if part)

    @property
    def label(self) -> str:
        """What a message calls it: the key without its type, e.g. ``dps/weight``."""
        if self.section in ("positions", "offsets"):
            return self.section
        return "/".join(part for part in (self.section, self.group, self.name) if part)

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row."""
        return self.ncols * self.dtype.itemsize


def check_path(path: str) -> str:
    """Return `path` if it stays inside the container's folder.

    Raises
    ------
    ArrayNameError
        For absolute paths, drive letters, backslashes, NULs, and ``..`` parts.
    """
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\\" in path or "\0" in path or re.match(r"[A-Za-z]:", path):
        raise ArrayNameError(f"entry {path!r} would leave the container's folder; refuse the file or repack it")
    return path


def is_sidecar(path: str) -> bool:
    """Tell whether an entry is a JSON file beside the header, which is kept as it is."""
    return path.endswith(".json") and path != HEADER_NAME


def parse_name(path: str) -> ArrayName:
    """Read an entry's path.

    Parameters
    ----------
    path : str
        Path inside the container, with forward slashes.

    Returns
    -------
    ArrayName

    Raises
    ------
    ArrayNameError
        If the path has no extension or stands in no section of the format.
    DtypeError
        If the extension is no type of the format.
    """
    check_path(path)
    *folders, file_name = path.split("/")
    stem, _, extension = file_name.rpartition(".")
    if not stem:
        raise ArrayNameError(f"entry {path!r} has no data type in its name; expected <name>[.<columns>].<type>")
    try:
        dtype = dtype_of_extension(extension)
    except DtypeError as error:
        raise DtypeError(f"entry {path!r}: {error}") from None
    base, _, columns = stem.rpartition(".")
    # ``v1.0.float32`` is the name "v1.0": an array has at least one column, and none has 2^31.
    is_number = columns.isascii() and columns.isdigit() and len(columns) <= 10
    has_columns = bool(base) and is_number and 0 < int(columns) < 2**31
    name, ncols = (base, int(columns)) if has_columns else (stem, 1)
    match folders:
        case [] if name in ("positions", "offsets"):
            return ArrayName(name, name, ncols, dtype)
        case ["dps" | "dpv" | "groups" as section]:
            return ArrayName(section, name, ncols, dtype)
        case ["dpg", group] if group:
            return ArrayName("dpg", name, ncols, dtype, group)
    raise ArrayNameError(
        f"entry {path!r} is no part of a TRX file; expected positions, offsets, or an array in dpv/, dps/, groups/ "
        "or dpg/<group>/"
    )


def check_key(key: str, what: str) -> str:
    """Return `key` if it can be written as the name of an array or group.

    Parameters
    ----------
    key : str
        The name of a dps, dpv, dpg array or of a group.
    what : str
        What it names, for the message, e.g. ``"dps key"``.

    Raises
    ------
    ArrayNameError
        If it is empty or holds a dot, a path separator, or a character that file systems refuse.
    """
    if not isinstance(key, str) or not key or key != key.strip() or _UNFIT.search(key):
        raise ArrayNameError(
            f"{what} {key!r} cannot be a file name in a TRX container (a text without dots, separators, control "
            f"characters, outer blanks, and bytes that are no UTF-8); rename it, for example to {make_key(str(key))!r}"
        )
    if len(key.encode()) > 200:
        raise ArrayNameError(f"{what} {key[:40]!r}... is longer than 200 bytes; shorten it")
    return key


def make_key(text: str) -> str:
    """Return `text` with every character that a key may not hold replaced by an underscore."""
    return _UNFIT.sub("_", text).strip() or "unnamed"
