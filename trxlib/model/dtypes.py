"""The number types of the TRX format as dtypes of numpy, and values converted from one to another without silent loss.

TRX specification, "Accepted extensions": int8..64, uint8..64, float16..64 and ``bit`` (`trxlib.model.names.TYPES`).
Arrays are little-endian. ``bit`` is one byte per value here, as in the programs of the field.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, InputError
from trxlib.model.names import TYPE_BY_EXTENSION, TYPE_BY_KIND, TYPES

__all__ = [
    "DTYPES",
    "all_finite",
    "cast",
    "cast_integers",
    "check_float_dtype",
    "check_overflow",
    "dtype_of_extension",
    "extension_of_dtype",
    "little_endian",
    "widest_dtype",
]

DTYPES: dict[str, np.dtype[Any]] = {extension: np.dtype(row.name).newbyteorder("<") for extension, row in TYPES.items()}
_READ = {extension: DTYPES[row.extension] for extension, row in TYPE_BY_EXTENSION.items()}


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
    found = _READ.get(extension.removeprefix("."))
    if found is None:
        raise DtypeError(f"unknown data type {extension!r}; the TRX format has {', '.join(TYPES)}")
    return found


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


def cast(
    values: npt.NDArray[Any],
    dtype: npt.DTypeLike,
    what: str,
    *,
    integers: Literal["refuse", "exact", "round"] = "refuse",
) -> npt.NDArray[Any]:
    """Convert values to another type, or refuse; nothing wraps and nothing finite becomes infinite.

    Floats are rounded where the type is narrower, which is what whoever asks for it wants.

    Parameters
    ----------
    values : ndarray
        Not modified; returned as they are when the type is the same already.
    dtype : dtype
        The type wanted.
    what : str
        The array's name for the message, e.g. ``"groups/CC.uint32"``.
    integers : {"refuse", "exact", "round"}
        What happens to integers that are to be floats: refused unless the type holds every integer of theirs,
        refused where a value would be rounded, or rounded. Where it is "exact", floats may also become integers, if all
        are whole numbers that fit.

    Raises
    ------
    DtypeError
        If a value does not fit, or the kinds cannot be converted without loss.
    """
    target = np.dtype(dtype)
    if values.dtype == target:
        return values
    kinds = values.dtype.kind + target.kind
    if kinds == "ff":
        with np.errstate(over="ignore", invalid="ignore"):
            result = values.astype(target)
        if target.itemsize < values.dtype.itemsize and not all_finite(result):
            check_overflow(values, result, what)
        return result
    is_rounded = kinds[0] in "iu" and kinds[1] == "f"
    if is_rounded and integers == "exact":
        # numpy calls int64 to float64 safe.
        _check_exact(values, target, what)
    elif integers == "exact" and kinds[0] == "f" and kinds[1] in "iu":
        return _whole_numbers(values, target, what)
    elif kinds[0] in "iu" and kinds[1] in "iu":
        if not np.can_cast(values.dtype, target):
            _check_range(values, target, what)
    elif not np.can_cast(values.dtype, target) and not (is_rounded and integers == "round"):
        raise DtypeError(
            f"{what} holds {extension_of_dtype(values.dtype)}, which {extension_of_dtype(target)} cannot hold; convert "
            "it first"
        )
    with np.errstate(over="ignore"):
        return values.astype(target)


def cast_integers(array: npt.NDArray[Any], dtype: npt.DTypeLike, what: str) -> npt.NDArray[Any]:
    """Convert integers as `cast` does, where anything else (a mask of bools, say) is a mistake.

    Raises
    ------
    DtypeError
        If `array` is not of integers, or a value does not fit.
    """
    if array.dtype.kind not in "iu" and array.dtype != np.dtype(dtype):
        raise DtypeError(f"{what} holds {array.dtype}, expected integers")
    return cast(array, dtype, what)


def check_overflow(values: npt.NDArray[Any], result: npt.NDArray[Any], what: str) -> None:
    """Check that no finite value has become infinite in a narrower float.

    Raises
    ------
    DtypeError
        With the worst of them.
    """
    lost = np.isinf(result) & np.isfinite(values)
    if lost.any():
        worst = float(np.abs(values[lost]).max())
        raise DtypeError(f"{what}: {worst:g} does not fit {result.dtype.name}; choose a wider type")


def all_finite(values: npt.NDArray[Any]) -> bool:
    """Tell whether no value is NaN or infinite; a contiguous array is not copied."""
    flat = values.reshape(-1)
    if flat.dtype == np.float16:
        return bool(np.isfinite(flat).all())
    # A sum of squares is finite unless a value is not, or is enormous: then look again.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(flat, flat))) or bool(np.isfinite(flat).all())


def _check_range(values: npt.NDArray[Any], target: np.dtype[Any], what: str) -> None:
    if not values.size:
        return
    info = np.iinfo(target)
    low, high = int(values.min()), int(values.max())
    if low < info.min or high > info.max:
        bad = low if low < info.min else high
        raise DtypeError(f"{what} holds {bad}, which does not fit {target.name} ({info.min} to {info.max})")


def _check_exact(values: npt.NDArray[Any], target: np.dtype[Any], what: str) -> None:
    worst = max(int(values.max()), -int(values.min())) if values.size else 0
    if worst > 2 ** (np.finfo(target).nmant + 1):
        raise DtypeError(
            f"{what} holds integers, and {worst} is no {target.name}; choose a wider type, or give all streamlines one"
        )


def _whole_numbers(values: npt.NDArray[Any], target: np.dtype[Any], what: str) -> npt.NDArray[Any]:
    """Return floats as integers, or refuse."""
    info = np.iinfo(target)
    # The limits as floats: the upper one is the power of two behind the largest integer, which every float type but
    # float16 has, and float16 has nothing as large.
    wide = values.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        fits = (wide == np.floor(wide)) & (wide >= float(info.min)) & (wide < float(info.max + 1))
    if not fits.all():
        worst = values.reshape(-1)[int(np.argmin(fits.reshape(-1)))]
        raise DtypeError(
            f"{what} holds {worst}, which is no {target.name}: whole numbers from {info.min} to {info.max} are; choose "
            "a type of floats, or a wider one"
        )
    return wide.astype(target)


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
