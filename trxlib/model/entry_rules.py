"""The rules of the TRX format that hold between names, sizes and header; `trxlib.model.rules` has those of the arrays.

TRX specification, "Header", "Arrays". Messages name the array, what was found and what was expected; the caller adds
the file. What only looks at these starts without numpy.
"""

from __future__ import annotations

from typing import Protocol

from trxlib.errors import ArrayNameError, DtypeError, ShapeError
from trxlib.model.names import ArrayName

__all__ = ["HasCounts", "check_rows", "check_type", "check_unique", "shape_of_entry"]

_KINDS = {"positions": "f", "offsets": "iu", "groups": "iu"}


class HasCounts(Protocol):
    """A header, as far as the rules ask it."""

    @property
    def nb_streamlines(self) -> int:
        """Streamlines."""

    @property
    def nb_vertices(self) -> int:
        """Vertices."""


def shape_of_entry(name: ArrayName, nbytes: int, header: HasCounts) -> tuple[int, ...]:
    """Return the shape of an entry's array, from its name, its size and the header.

    Parameters
    ----------
    name : ArrayName
        The entry's name.
    nbytes : int
        Bytes of data it has.
    header : Header or HeaderFields
        States the rows.

    Raises
    ------
    DtypeError
        If the type is not one that this section may have.
    ShapeError
        If columns or rows disagree with the header.
    """
    check_type(name)
    expected_columns = {"positions": 3, "offsets": 1, "groups": 1}.get(name.section)
    if expected_columns is not None and name.ncols != expected_columns:
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
        Positions are floats; offsets and groups are integers.
    """
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


def check_unique(names: list[ArrayName]) -> None:
    """Check that no array is there twice under two types or widths.

    Raises
    ------
    ArrayNameError
        Names both entries.
    """
    seen: dict[str, ArrayName] = {}
    for name in names:
        other = seen.setdefault(name.label, name)
        if other is not name:
            raise ArrayNameError(f"{name.label} is there twice, as {other.path} and {name.path}; remove one of them")
