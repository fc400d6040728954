"""Entry names of a TRX container: ``dps/weight.3.float32`` <-> ArrayName. Strings only, no files.

TRX specification, "Architecture". A name may hold dots when it is read; it may not when it is written, since
other programs cut it there.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from trxlib.errors import ArrayNameError, DtypeError, HeaderWarning
from trxlib.model.datatypes import TYPE_BY_KIND, DataType, type_of_extension

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "HEADER_NAME",
    "ArrayName",
    "check_key",
    "check_path",
    "fit_names",
    "is_sidecar",
    "make_key",
    "parse_name",
]

HEADER_NAME = "header.json"
_UNFIT = re.compile(r"[\x00-\x1f\x7f./\\:*?\"<>|\ud800-\udfff]")


class _Parts(NamedTuple):
    section: str
    name: str
    ncols: int
    type: DataType | np.dtype[Any]
    group: str


class ArrayName(_Parts):
    """Which array an entry holds.

    Parameters
    ----------
    section : str
        "positions", "offsets", "dpv", "dps", "groups" or "dpg": the order in which they stand in an archive.
    name : str
        The key, e.g. ``"weight"``; ``"positions"`` and ``"offsets"`` for those two.
    ncols : int
        Columns, at least 1.
    dtype : numpy.dtype or DataType
        Either says the same, and in any byte order. One that the format does not have is kept, too, until the path
        is asked for.
    group : str
        The group of a dpg array, else empty.
    """

    __slots__ = ()

    def __new__(
        cls, section: str, name: str, ncols: int, dtype: np.dtype[Any] | DataType, group: str = ""
    ) -> ArrayName:
        """Return a name; equal ones are equal however their type was given."""
        return super().__new__(cls, section, name, ncols, TYPE_BY_KIND.get((dtype.kind, dtype.itemsize), dtype), group)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type in numpy: little-endian; bool for ``bit``."""
        if not isinstance(self.type, DataType):
            return self.type
        from trxlib.model.dtypes import DTYPES

        return DTYPES[self.type.extension]

    @property
    def extension(self) -> str:
        """The type in the entry's name.

        Raises
        ------
        DtypeError
            If the format does not have it.
        """
        if isinstance(self.type, DataType):
            return self.type.extension
        from trxlib.model.dtypes import extension_of_dtype

        return extension_of_dtype(self.type)

    def renamed(self, name: str) -> ArrayName:
        """Return the name of the same array under another key."""
        return ArrayName(self.section, name, self.ncols, self.type, self.group)

    @property
    def path(self) -> str:
        """The entry's path inside the container, with forward slashes."""
        # positions always says its 3 columns; elsewhere 1 column is not written, as the reference package does.
        columns = f".{self.ncols}" if self.ncols != 1 else ""
        file_name = f"{self.name}{columns}.{self.extension}"
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
        return self.ncols * self.type.itemsize


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
        dtype = type_of_extension(extension)
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


class _Tables(Protocol):
    """What has arrays, or what is known of them, by their names."""

    dps: dict[str, Any]
    dpv: dict[str, Any]
    groups: dict[str, Any]
    dpg: dict[str, dict[str, Any]]


def fit_names(tables: _Tables, path: str) -> dict[str, dict[str, str]]:
    """Rename the keys and groups that cannot be written (with a dot, say, which is legal to read).

    Parameters
    ----------
    tables : object with dps, dpv, groups and dpg
        Changed.
    path : str
        The file, for the warning.

    Returns
    -------
    dict of str to dict of str to str
        For dps, dpv and groups the new names by the old ones.

    Warns
    -----
    HeaderWarning
        Says what is renamed.
    """
    renamed = {section: _fit_keys(getattr(tables, section)) for section in ("dps", "dpv")}
    renamed["groups"] = _fit_keys(tables.groups, also_taken=tables.dpg)
    tables.dpg = {renamed["groups"].get(group, group): dict(table) for group, table in tables.dpg.items()}
    small = {f"dpg/{group}": _fit_keys(table) for group, table in tables.dpg.items()}
    changes = [
        f"{section}/{old} becomes {new}" for section, table in (renamed | small).items() for old, new in table.items()
    ]
    if changes:
        warnings.warn(
            f"{path}: names that other programs cut are changed: {', '.join(changes)}", HeaderWarning, stacklevel=4
        )
    return renamed


def _fit_keys(table: dict[str, Any], also_taken: Collection[str] = ()) -> dict[str, str]:
    """Rename the keys of a table that cannot be written; return the new ones by the old ones."""
    renamed = {}
    for key in [key for key in table if make_key(key) != key]:
        new = make_key(key)
        while new in table or new in also_taken:
            new += "_"
        table[new] = table.pop(key)
        renamed[key] = new
    return renamed
