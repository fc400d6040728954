"""The rules of the TRX format for arrays in memory; `trxlib.model.paths` has those of paths and sizes.

TRX specification, "Header", "Arrays", "Groups". Messages name the array, what was found and what was expected; the
caller adds the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, FormatError, ShapeError
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header, check_affine
from trxlib.model.names import ArrayName
from trxlib.model.offsets import check_offsets
from trxlib.model.paths import check_rows, check_type
from trxlib.model.space import invert_affine

__all__ = ["check_members", "iter_problems"]

Array = npt.NDArray[Any]
_CHUNK = 1 << 18


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
    """Yield an error for each rule that arrays break; the values of positions, dps and dpv are not read."""
    header = arrays.header
    try:
        invert_affine(check_affine(header.voxel_to_rasmm, "VOXEL_TO_RASMM"), "VOXEL_TO_RASMM")
    except FormatError as error:
        yield error
    for name, array in arrays.iter_arrays():
        try:
            _check_array(name, array, header)
        except FormatError as error:
            yield error
    for group in sorted(set(arrays.dpg) - set(arrays.groups)):
        yield ShapeError(f"dpg/{group} describes a group that is not there; add groups/{group} or remove it")


def _check_array(name: ArrayName, array: Array, header: Header) -> None:
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
    check_rows(name.label, name.section, len(array), header)
    if name.section == "offsets":
        check_offsets(array, header.nb_vertices)
        if len(array) == header.nb_streamlines + 1 and int(array[-1]) != header.nb_vertices:
            raise ShapeError(f"offsets ends at {int(array[-1])}, but NB_VERTICES is {header.nb_vertices}")
    if name.section == "groups":
        check_members(array, header.nb_streamlines, name.label)
