"""Drop-in for the module of the same name in the TRX reference package: ``import trxlib.trx_file_memmap as tmm``.

Where the two differ, and why: ``docs/differences.md``.

Examples
--------
>>> import trxlib.trx_file_memmap as tmm
>>> trx = tmm.load("cohort.trx")
>>> tmm.save(trx.get_group("AF_L"), "AF_L.trx")
>>> len(tmm.load("AF_L.trx"))
3
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import ArrayNameError, DtypeError, ShapeError
from trxlib.io import get_trx_tmp_dir
from trxlib.model.dtypes import DTYPES, dtype_of_extension, extension_of_dtype
from trxlib.model.offsets import check_offsets, complete_offsets
from trxlib.model.paths import parse_name
from trxlib.trxfile import tractograms
from trxlib.trxfile.functions import concatenate, load, load_from_directory, load_from_zip, save, zip_from_folder
from trxlib.trxfile.trxfile import TrxFile

__all__ = [
    "TrxFile",
    "concatenate",
    "dipy_available",
    "get_trx_tmp_dir",
    "load",
    "load_from_directory",
    "load_from_zip",
    "save",
    "zip_from_folder",
]

Array = npt.NDArray[Any]
dipy_available = tractograms.dipy_available()


def _get_dtype_little_endian(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return a dtype in the byte order of a TRX file.

    Examples
    --------
    >>> _get_dtype_little_endian(">f4").str
    '<f4'
    """
    return np.dtype(dtype).newbyteorder("<")


def _ensure_little_endian(arr: Array) -> Array:
    r"""Return an array in the byte order of a TRX file: itself, or a copy.

    Examples
    --------
    >>> _ensure_little_endian(np.array([258], ">u2")).tobytes()
    b'\x02\x01'
    """
    return arr.astype(_get_dtype_little_endian(arr.dtype), copy=False)


def _filter_empty_trx_files(trx_list: Iterable[TrxFile]) -> list[TrxFile]:
    """Return the files that have streamlines.

    Examples
    --------
    >>> len(_filter_empty_trx_files([trxlib.TrxFile(), trxlib.load("sub-01.trx")]))
    1
    """
    return [trx for trx in trx_list if trx.header["NB_STREAMLINES"] > 0]


def _append_last_offsets(nib_offsets: Array, nb_vertices: int) -> Array:
    """Return n + 1 offsets from the n of nibabel, which need not start at 0; in a wider type where the last needs it.

    Raises
    ------
    OffsetsError
        If they decrease, or pass `nb_vertices`.

    Examples
    --------
    >>> _append_last_offsets(np.array([0, 3]), 5).tolist()
    [0, 3, 5]
    """
    offsets = np.asarray(nib_offsets)
    check_offsets(np.concatenate((offsets[:0], [0], offsets)), nb_vertices)
    return complete_offsets(offsets, len(offsets), nb_vertices)


def _generate_filename_from_data(arr: Array, filename: str) -> str:
    """Return `filename` with the columns and type of an array in place of its suffix.

    Raises
    ------
    ShapeError
        If the array has not 1 or 2 dimensions.

    Examples
    --------
    >>> _generate_filename_from_data(np.zeros((8, 3), np.uint8), "color.txt")
    'color.3.uint8'
    """
    if arr.ndim not in (1, 2):
        raise ShapeError(f"{filename}: the array has {arr.ndim} dimensions, expected 1 or 2")
    suffix = PurePath(filename).suffix
    base = filename.removesuffix(suffix) if suffix else filename
    columns = f".{arr.shape[1]}" if arr.ndim == 2 and arr.shape[1] != 1 else ""
    return f"{base}{columns}.{extension_of_dtype(arr.dtype)}"


def _split_ext_with_dimensionality(filename: str) -> tuple[str, int, str]:
    """Return name, columns and suffix of an array's file name.

    Raises
    ------
    ArrayNameError
        If it has no suffix, or more parts than those three.
    DtypeError
        If the suffix is no type of the format.

    Examples
    --------
    >>> _split_ext_with_dimensionality("color.3.uint8")
    ('color', 3, '.uint8')
    """
    file_name = PurePath(filename).name
    if not 2 <= len(file_name.split(".")) <= 3:
        raise ArrayNameError(f"{filename!r} is no array's file name; expected <name>[.<columns>].<type>")
    name = parse_name(f"dps/{file_name}")
    return name.name, name.ncols, f".{file_name.rpartition('.')[2]}"


def _compute_lengths(offsets: Array) -> Array:
    """Return the lengths of streamlines from n + 1 offsets, as uint32 (uint64 if one is longer).

    Where offsets fall, as behind the last one of preallocated offsets, the length is 0.

    Examples
    --------
    >>> _compute_lengths(np.array([0, 3, 5])).tolist()
    [3, 2]
    """
    if not len(offsets):
        return np.zeros(1, dtype=np.uint32)
    offsets = np.asarray(offsets)
    # Not subtracted where it would wrap.
    lengths = np.maximum(offsets[1:], offsets[:-1]) - offsets[:-1]
    wide = bool(len(lengths)) and int(lengths.max()) > np.iinfo(np.uint32).max
    return lengths.astype(np.uint64 if wide else np.uint32)


def _is_dtype_valid(ext: str) -> bool:
    """Tell whether a suffix is a type of the format.

    Examples
    --------
    >>> _is_dtype_valid(".float16"), _is_dtype_valid(".txt")
    (True, False)
    """
    try:
        dtype_of_extension(ext)
    except DtypeError:
        return False
    return True


def _dichotomic_search(x: Array, l_bound: int | None = None, r_bound: int | None = None) -> int:
    """Return the index of the last value that is not zero, by bisection; -1 if the search ends at a zero.

    Parameters
    ----------
    x : ndarray
        Zeros only at its end, else the answer is one of several. trxlib itself never asks: see `Preallocated`.
    l_bound, r_bound : int, optional
        Where to search, both included.

    Examples
    --------
    >>> _dichotomic_search(np.array([3, 2, 4, 0, 0]))
    2
    """
    low = 0 if l_bound is None else l_bound
    high = len(x) - 1 if r_bound is None else r_bound
    while low < high:
        middle = (low + high + 1) // 2
        if x[middle] == 0:
            high = middle - 1
        else:
            low = middle
    return low if 0 <= low < len(x) and x[low] != 0 else -1


def _create_memmap(
    filename: str | os.PathLike[str],
    mode: str = "r",
    shape: tuple[int, ...] = (1,),
    dtype: npt.DTypeLike = np.float32,
    offset: int = 0,
    order: str = "C",
) -> Array:
    """Map an array of a file; one without rows is an ordinary array of zeros.

    Parameters
    ----------
    filename : path
        Made, empty, if it is not there and the array has no rows.
    mode, shape, dtype, offset, order
        As for `numpy.memmap`; the dtype is taken as little-endian.

    Examples
    --------
    >>> weights = _create_memmap("weight.float32", mode="w+", shape=(2,))
    >>> weights.tolist()
    [0.0, 0.0]
    """
    filename = os.fspath(filename)
    wanted = DTYPES[extension_of_dtype(dtype)]
    if wanted == np.bool_:
        filename = filename.replace(".bool", ".bit")
    if shape[0]:
        return np.memmap(filename, wanted, mode, offset, shape, order)  # type: ignore[call-overload,no-any-return]
    if not Path(filename).exists():
        Path(filename).touch()
    return np.zeros(shape, dtype=wanted)
