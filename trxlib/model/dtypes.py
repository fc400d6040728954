"""The data types of the TRX format: file extension <-> numpy dtype.

TRX specification, "Accepted extensions": int8..64, uint8..64, float16..64 and ``bit``. Arrays are
little-endian. ``bit`` is one byte per value here, as in the programs of the field.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, InputError
from trxlib.model.datatypes import TYPE_BY_KIND, TYPES, type_of_extension

__all__ = [
    "DTYPES",
    "cast_integers",
    "check_float_dtype",
    "dtype_of_extension",
    "extension_of_dtype",
    "little_endian",
    "widest_dtype",
]

DTYPES: dict[str, np.dtype[Any]] = {extension: np.dtype(row.name).newbyteorder("<") for extension, row in TYPES.items()}


def dtype_of_extension(extension: str) -> np.dtype[Any]:
    """Return the little-endian dtype that a file extension stands for.

    Parameters
    ----------
    extension : str
        With or without the leading dot, e.g. ``"float32"`` or ``".bit"``.

    Returns
    -------
    numpy.dtype
        ``bit`` gives bool.

    Raises
    ------
    DtypeError
        If the format has no such type. Numpy's other names (``O``, ``f4``, ``complex64``) are refused.
    """
    return DTYPES[type_of_extension(extension).extension]


def extension_of_dtype(dtype: npt.DTypeLike) -> str:
    """Return the file extension (without dot) for a dtype; either byte order is accepted.

    Raises
    ------
    DtypeError
        If the format has no such type (complex, strings, objects, float128).
    """
    wanted = np.dtype(dtype)
    found = TYPE_BY_KIND.get((wanted.kind, wanted.itemsize))
    if found is None:
        raise DtypeError(f"the TRX format cannot hold {wanted}; convert it to one of {', '.join(DTYPES)}")
    return found.extension


def little_endian(array: npt.ArrayLike, what: str = "") -> npt.NDArray[Any]:
    """Return `array` in C order and little-endian; a copy is made only where one is needed.

    Raises
    ------
    DtypeError
        As `extension_of_dtype`; `what` is the array's name in the message.
    """
    result = np.asarray(array)
    try:
        wanted = DTYPES[extension_of_dtype(result.dtype)]
    except DtypeError as error:
        raise DtypeError(f"{what}: {error}" if what else str(error)) from None
    if result.dtype == wanted and result.flags.c_contiguous:
        return result
    return np.ascontiguousarray(result, dtype=wanted).reshape(result.shape)


def cast_integers(array: npt.NDArray[Any], dtype: npt.DTypeLike, what: str) -> npt.NDArray[Any]:
    """Convert integers to another integer type, or refuse; values never wrap.

    Parameters
    ----------
    array : ndarray of integers
        Not modified; returned as it is when the type is the same already.
    dtype : dtype
        The integer type wanted.
    what : str
        The array's name for the message, e.g. ``"groups/CC.uint32"``.

    Raises
    ------
    DtypeError
        If `array` is not of integers, or a value does not fit.
    """
    target = np.dtype(dtype)
    if array.dtype == target:
        return array
    if array.dtype.kind not in "iu":
        raise DtypeError(f"{what} holds {array.dtype}, expected integers")
    if array.size and not np.can_cast(array.dtype, target):
        info = np.iinfo(target)
        low, high = int(array.min()), int(array.max())
        if low < info.min or high > info.max:
            bad = low if low < info.min else high
            raise DtypeError(f"{what} holds {bad}, which does not fit {target.name} ({info.min} to {info.max})")
    return array.astype(target)


def check_float_dtype(dtype: npt.DTypeLike, what: str) -> np.dtype[Any]:
    """Return float16, float32 or float64, little-endian.

    Raises
    ------
    InputError
        For any other type, or for what is none.
    """
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise InputError(f"{what} is {dtype!r}, expected float16, float32 or float64") from None
    if found.kind != "f" or found.itemsize > 8:
        raise InputError(f"{what} is {found.name}, expected float16, float32 or float64")
    return DTYPES[found.newbyteorder("=").name]


def widest_dtype(dtypes: list[np.dtype[Any]], what: str) -> np.dtype[Any]:
    """Return the smallest type of the format that holds every value of all `dtypes`.

    Parameters
    ----------
    dtypes : list of dtype
        At least one.
    what : str
        The array's name for the message.

    Raises
    ------
    DtypeError
        If no type holds them all (uint64 beside a signed type, or 64-bit integers beside floats: numpy would
        round those silently).
    """
    result = dtypes[0]
    for dtype in dtypes[1:]:
        joint = np.result_type(result, dtype)
        exact = all(d.kind not in "iu" or joint.kind != "f" or d.itemsize < joint.itemsize for d in (result, dtype))
        if not exact:
            raise DtypeError(f"{what}: no type of the format holds both {result} and {dtype}; convert one input first")
        result = joint
    return DTYPES[extension_of_dtype(result)]
