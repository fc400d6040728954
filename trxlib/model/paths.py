"""Paths of the entries of a TRX container, and what they say: ``dps/weight.3.float32`` is an ArrayName.

TRX specification, "Header", "Architecture", "Arrays": the rules that hold between the paths and sizes of entries and
the header. `trxlib.model.rules` has those of the arrays themselves. Strings and numbers only; no file, no numpy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from trxlib.errors import ArrayNameError, DtypeError, ShapeError
from trxlib.model.names import HEADER_NAME, TYPE_BY_EXTENSION, TYPES, ArrayName, DataType

__all__ = ["HasCounts", "arrays_of_entries", "check_paths", "check_rows", "check_type", "is_sidecar", "parse_name"]

_KINDS = {"positions": "f", "offsets": "iu", "groups": "iu"}
_COLUMNS = {"positions": 3, "offsets": 1, "groups": 1}


class HasCounts(Protocol):
    """A header, as far as the rules ask it."""

    @property
    def nb_streamlines(self) -> int:
        """Streamlines."""

    @property
    def nb_vertices(self) -> int:
        """Vertices."""


def check_paths(paths: Iterable[str]) -> None:
    """Check that paths stay inside the container's folder.

    Raises
    ------
    ArrayNameError
        For absolute paths, drive letters, backslashes, NULs, and ``..`` parts.
    """
    for path in paths:
        if "\\" in path:
            raise ArrayNameError(
                f"entry {path!r} has backslashes in its name, as some programs of Windows write them against the rules "
                "of zip, so that it would leave the container's folder; unpack the file there, and pack it with another"
            )
        is_absolute = path.startswith("/") or re.match(r"[A-Za-z]:", path)
        if is_absolute or ".." in path.split("/") or "\0" in path:
            raise ArrayNameError(f"entry {path!r} would leave the container's folder; refuse the file or repack it")


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
        If the path has no extension, leaves the container's folder, or stands in no section of the format.
    DtypeError
        If the extension is no type of the format.

    Examples
    --------
    >>> name = parse_name("dpv/color.3.uint8")
    >>> name.section, name.name, name.ncols, name.row_nbytes
    ('dpv', 'color', 3, 3)
    """
    check_paths([path])
    *folders, file_name = path.split("/")
    stem, _, extension = file_name.rpartition(".")
    if not stem:
        raise ArrayNameError(f"entry {path!r} has no data type in its name; expected <name>[.<columns>].<type>")
    dtype = TYPE_BY_EXTENSION.get(extension)
    if dtype is None:
        raise DtypeError(f"entry {path!r}: unknown data type {extension!r}; the TRX format has {', '.join(TYPES)}")
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


def arrays_of_entries(sizes: Iterable[tuple[str, int]], header: HasCounts) -> dict[ArrayName, tuple[int, ...]]:
    """Return which arrays entries hold, and their shapes, from paths, sizes and header, which have to agree.

    Parameters
    ----------
    sizes : iterable of (str, int)
        Path and bytes of every entry that is to be an array.
    header : Header or HeaderFields
        States the rows.

    Returns
    -------
    dict of ArrayName to tuple of int
        In the order of the entries.

    Raises
    ------
    ArrayNameError, DtypeError
        As `parse_name`; if an array is there twice under two types or widths; if the type is not one that the section
        may have.
    ShapeError
        If columns or rows disagree with the header, or positions or offsets are missing.
    """
    shapes: dict[ArrayName, tuple[int, ...]] = {}
    seen: dict[str, ArrayName] = {}
    for path, nbytes in sizes:
        name = parse_name(path)
        shape = _shape_of(name, nbytes, header)
        other = seen.setdefault(name.label, name)
        if other is not name:
            raise ArrayNameError(f"{name.label} is there twice, as {other.path} and {name.path}; remove one of them")
        shapes[name] = shape
    missing = [label for label in ("offsets", "positions") if label not in seen]
    if missing and header.nb_streamlines + header.nb_vertices > 0:
        raise ShapeError(f"{' and '.join(missing)} missing, but the header states streamlines")
    return shapes


def _shape_of(name: ArrayName, nbytes: int, header: HasCounts) -> tuple[int, ...]:
    check_type(name)
    expected_columns = _COLUMNS.get(name.section, name.ncols)
    if name.ncols != expected_columns:
        raise ShapeError(f"{name.path} has {name.ncols} columns, expected {expected_columns}")
    rows, rest = divmod(nbytes, name.row_nbytes)
    if rest:
        raise ShapeError(f"{name.path} has {nbytes} bytes, expected a multiple of {name.row_nbytes} (one row)")
    check_rows(name.path, name.section, rows, header)
    return (rows,) if name.section in ("offsets", "groups") else (rows, name.ncols)


def check_type(name: ArrayName) -> None:
    """Check that an array's type is one that its section may have.

    Raises
    ------
    DtypeError
        Positions are floats; offsets and groups are integers; no array has a type that the format does not have.
    """
    if not isinstance(name.type, DataType):
        raise DtypeError(f"{name.label}: the TRX format cannot hold {name.type}; it has {', '.join(TYPES)}")
    kinds = _KINDS.get(name.section)
    if kinds and name.type.kind not in kinds:
        expected = "float16, float32 or float64" if kinds == "f" else "integers (uint32 or uint64)"
        raise DtypeError(f"{name.path} holds {name.extension}, expected {expected}")


def check_rows(what: str, section: str, rows: int, header: HasCounts) -> None:
    """Check the rows of an array against the header.

    Raises
    ------
    ShapeError
        `what` names the array in the message.
    """
    n = header.nb_streamlines
    key, expected = {
        "positions": ("NB_VERTICES", (header.nb_vertices,)),
        "dpv": ("NB_VERTICES", (header.nb_vertices,)),
        "dps": ("NB_STREAMLINES", (n,)),
        # Old files have no closing offset.
        "offsets": ("NB_STREAMLINES", (n + 1, n)),
        "dpg": ("a row per group", (1,)),
    }.get(section, ("", (rows,)))
    if rows not in expected:
        says = f"{key} is {expected[0]}" if section in ("positions", "dpv", "dps") else f"{expected[0]} are expected"
        if section == "offsets":
            says = f"NB_STREAMLINES is {n}, so {n + 1} are expected"
        raise ShapeError(f"{what} has {rows} rows, {says}")
