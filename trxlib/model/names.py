"""Names of the arrays of a TRX file: section, key, columns and number type; and keys that can be written.

TRX specification, "Architecture", "Accepted extensions". `trxlib.model.paths` reads names from the paths of entries. A
key may hold dots when it is read; it may not when it is written, since other programs cut it there. What only looks at
names starts without numpy.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from trxlib.errors import ArrayNameError, DtypeError, HeaderWarning, ShapeError, warn

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "HEADER_NAME",
    "TYPES",
    "TYPE_BY_EXTENSION",
    "TYPE_BY_KIND",
    "ArrayName",
    "DataType",
    "check_key",
    "check_writable",
    "fit_names",
    "make_key",
    "warn_of_forms",
]

HEADER_NAME = "header.json"
_UNFIT = re.compile(r"[\x00-\x1f\x7f./\\:*?\"<>|\ud800-\udfff]")


class DataType(NamedTuple):
    """A number type of the format; `trxlib.model.dtypes` has them as dtypes of numpy.

    Parameters
    ----------
    extension : str
        In the name of an entry, without the dot.
    kind : str
        As numpy says it: ``b`` for bool, ``i``, ``u`` or ``f``.
    itemsize : int
        Bytes of a number.
    """

    extension: str
    kind: str
    itemsize: int

    @property
    def name(self) -> str:
        """The name in numpy."""
        return "bool" if self.kind == "b" else self.extension


_SIZES = (("int", (8, 16, 32, 64)), ("uint", (8, 16, 32, 64)), ("float", (16, 32, 64)))
#: Extension -> type. ``bit`` is one byte per value here, as in the programs of the field.
TYPES: dict[str, DataType] = {
    "bit": DataType("bit", "b", 1),
    **{f"{kind}{bits}": DataType(f"{kind}{bits}", kind[0], bits // 8) for kind, sizes in _SIZES for bits in sizes},
}
#: What is read. trx-python maps ``bit`` to bool; folders with a literal ``.bool`` exist.
TYPE_BY_EXTENSION: dict[str, DataType] = {**TYPES, "bool": TYPES["bit"], "ushort": TYPES["uint16"]}
#: Kind and bytes -> type.
TYPE_BY_KIND: dict[tuple[str, int], DataType] = {(row.kind, row.itemsize): row for row in TYPES.values()}


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
        Either says the same, and in any byte order. One that the format does not have is kept, too;
        `check_writable` refuses it.
    group : str
        The group of a dpg array, else empty.

    Attributes
    ----------
    path : str
        The entry's path inside the container, with forward slashes.
    label : str
        What a message calls it: the path without columns and type, e.g. ``dps/weight``.
    extension : str
        The number type in the path.
    row_nbytes : int
        Bytes of one row.
    """

    path: str
    label: str
    extension: str
    row_nbytes: int

    def __new__(
        cls, section: str, name: str, ncols: int, dtype: np.dtype[Any] | DataType, group: str = ""
    ) -> ArrayName:
        """Return a name; equal ones are equal however their type was given."""
        known = TYPE_BY_KIND.get((dtype.kind, dtype.itemsize))
        made = super().__new__(cls, section, name, ncols, known or dtype, group)
        # All that is asked of a name again and again is made here, once.
        made.extension = known.extension if known else dtype.name
        # positions always says its 3 columns; elsewhere 1 column is not written, as the reference package does.
        file_name = f"{name}.{ncols}.{made.extension}" if ncols != 1 else f"{name}.{made.extension}"
        if section in ("positions", "offsets"):
            made.path, made.label = file_name, section
        else:
            folder = f"{section}/{group}/" if group else f"{section}/"
            made.path, made.label = folder + file_name, folder + name
        made.row_nbytes = ncols * dtype.itemsize
        if not isinstance(dtype, DataType):
            made.dtype = dtype.newbyteorder("<")
        return made

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> ArrayName:  # type: ignore[override]
        return cls(*iterable)  # also for `_replace`, which would leave the attributes out

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type in numpy: little-endian; bool for ``bit``."""
        import numpy as np

        return np.dtype(self.type.name).newbyteorder("<")

    def renamed(self, name: str) -> ArrayName:
        """Return the name of the same array under another key."""
        return ArrayName(self.section, name, self.ncols, self.type, self.group)


def check_writable(names: Iterable[ArrayName]) -> None:
    """Check that arrays can be written: keys without dots and separators, a type of the format, at least one column.

    Raises
    ------
    ArrayNameError, DtypeError, ShapeError
        Of the first that cannot.
    """
    for name in names:
        if name.section not in ("positions", "offsets"):
            check_key(name.name, "group" if name.section == "groups" else f"{name.section} key")
        if name.group:
            check_key(name.group, "group")
        if not isinstance(name.type, DataType):
            raise DtypeError(f"{name.label}: the TRX format cannot hold {name.type}; convert it to one of {_ALL_TYPES}")
        if name.ncols < 1:
            raise ShapeError(f"{name.label} has no columns, expected at least 1; remove it or give it data")


_ALL_TYPES = ", ".join(TYPES)


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


def warn_of_forms(labels: Iterable[str], what: str) -> None:
    """Warn of names that look the same and stay two, since Unicode writes their letters in two ways.

    Parameters
    ----------
    labels : iterable of str
        Such as ``groups/Arcué``. macOS writes an accent as a sign of its own (NFD) in the names of files; others do
        not.
    what : str
        Where they are, for the message.

    Warns
    -----
    HeaderWarning
        Names them.
    """
    forms: dict[str, set[str]] = {}
    for label in labels:
        if not label.isascii():
            from unicodedata import normalize

            forms.setdefault(normalize("NFC", label), set()).add(label)
    alike = [" and ".join(ascii(label) for label in sorted(same)) for same in forms.values() if len(same) > 1]
    if alike:
        warn(
            f"{what}: names that look the same are written in two ways (Unicode NFC and NFD), and stay two: "
            f"{', '.join(alike)}; rename one of them",
            HeaderWarning,
        )


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
        warn(
            f"{path}: names that other programs cut are changed: {', '.join(changes)}",
            HeaderWarning,
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
