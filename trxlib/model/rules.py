"""Every rule of the TRX format, once. Loading, saving and the tests call these.

TRX specification, "Header", "Arrays", "Groups". Messages name the array, what was found and what was expected; the
caller adds the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import ArrayNameError, DtypeError, FormatError, ShapeError
from trxlib.model.arrays import TrxArrays
from trxlib.model.dtypes import extension_of_dtype
from trxlib.model.header import Header, check_affine
from trxlib.model.names import ArrayName, check_key
from trxlib.model.offsets import check_offsets
from trxlib.model.space import invert_affine

__all__ = ["check_members", "check_unique", "check_writable", "iter_problems", "shape_of_entry"]

Array = npt.NDArray[Any]
_CHUNK = 1 << 18
_KINDS = {"positions": "f", "offsets": "iu", "groups": "iu"}


def shape_of_entry(name: ArrayName, nbytes: int, header: Header) -> tuple[int, ...]:
    """Return the shape of an entry's array, from its name, its size and the header.

    Parameters
    ----------
    name : ArrayName
        The entry's name.
    nbytes : int
        Bytes of data it has.
    header : Header
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
    _check_rows(name.path, name.section, rows, header)
    return (rows,) if name.section in ("offsets", "groups") else (rows, name.ncols)


def check_type(name: ArrayName) -> None:
    """Check that an array's type is one that its section may have.

    Raises
    ------
    DtypeError
        Positions are floats; offsets and groups are integers.
    """
    kinds = _KINDS.get(name.section)
    if kinds and name.dtype.kind not in kinds:
        expected = "float16, float32 or float64" if kinds == "f" else "integers (uint32 or uint64)"
        raise DtypeError(f"{name.path} holds {extension_of_dtype(name.dtype)}, expected {expected}")


def _check_rows(what: str, section: str, rows: int, header: Header) -> None:
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


def check_members(members: Array, nb_streamlines: int, what: str) -> None:
    """Check that all members of a group are streamlines of the file, in chunks.

    Raises
    ------
    DtypeError
        If they are not integers.
    ShapeError
        If one is negative or not below `nb_streamlines`.
    """
    if members.dtype.kind not in "iu":
        raise DtypeError(f"{what} holds {members.dtype}, expected integers (uint32)")
    for start in range(0, len(members), _CHUNK):
        part = members[start : start + _CHUNK]
        low, high = int(part.min()), int(part.max())
        if low < 0 or high >= nb_streamlines:
            bad = low if low < 0 else high
            row = start + int(np.flatnonzero(part == bad)[0])
            raise ShapeError(f"{what} row {row} is streamline {bad}, but NB_STREAMLINES is {nb_streamlines}")


def iter_problems(arrays: TrxArrays) -> Iterator[FormatError]:
    """Yield an error for each rule that a bundle breaks; positions, dps and dpv values are not read."""
    header = arrays.header
    try:
        invert_affine(check_affine(header.voxel_to_rasmm, "VOXEL_TO_RASMM"), "VOXEL_TO_RASMM")
    except FormatError as error:
        yield error
    for name, array in arrays.iter_arrays():
        try:
            check_array(name, array, header)
        except FormatError as error:
            yield error
    for group in sorted(set(arrays.dpg) - set(arrays.groups)):
        yield ShapeError(f"dpg/{group} describes a group that is not there; add groups/{group} or remove it")


def check_array(name: ArrayName, array: Array, header: Header) -> None:
    """Check one array: type, dimensions, rows, and the values of offsets and groups.

    Raises
    ------
    FormatError
        The first problem found.
    """
    check_type(name)
    wanted = 1 if name.section in ("offsets", "groups") else 2
    if array.ndim != wanted:
        raise ShapeError(f"{name.label} has {array.ndim} dimensions, expected {wanted}")
    if name.section == "positions" and name.ncols != 3:
        raise ShapeError(f"positions has {name.ncols} columns, expected 3")
    _check_rows(name.label, name.section, len(array), header)
    if name.section == "offsets":
        check_offsets(array, header.nb_vertices)
        if len(array) == header.nb_streamlines + 1 and int(array[-1]) != header.nb_vertices:
            raise ShapeError(f"offsets ends at {int(array[-1])}, but NB_VERTICES is {header.nb_vertices}")
    if name.section == "groups":
        check_members(array, header.nb_streamlines, name.label)


def check_writable(name: ArrayName) -> None:
    """Check that an array can be written: a key without dots and separators, at least one column.

    Raises
    ------
    ArrayNameError, ShapeError
        See `trxlib.model.names.check_key`.
    """
    if name.section not in ("positions", "offsets"):
        check_key(name.name, "group" if name.section == "groups" else f"{name.section} key")
    if name.group:
        check_key(name.group, "group")
    if name.ncols < 1:
        raise ShapeError(f"{name.label} has no columns, expected at least 1; remove it or give it data")
