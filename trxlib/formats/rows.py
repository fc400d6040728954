"""Rows of numbers from a file: text, CSV, JSON or ``.npy``."""

from __future__ import annotations

import os
import tokenize
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.mapping import FileStamp, open_stamped
from trxlib.container.rows import OpenFile, StoredRows
from trxlib.errors import DtypeError, FormatError, ShapeError
from trxlib.files import open_regular
from trxlib.formats.heads import is_gzip, read_head
from trxlib.formats.table.json_values import read_json
from trxlib.formats.table.text import read_text
from trxlib.kinds import kind_of, missing, refusal
from trxlib.model.dtypes import extension_of_dtype

__all__ = ["read_rows"]

Array = npt.NDArray[Any]
_NPY = b"\x93NUMPY"
_SMALL = 1 << 20  # bytes of a .npy that is read at once
#: What numpy's reader of ``.npy`` raises for a damaged header.
_BAD_NPY = (
    *(ValueError, TypeError, EOFError, OSError, OverflowError, SyntaxError, MemoryError, RecursionError),
    tokenize.TokenError,
)


def read_rows(path: str | Path, expected: int | None = None) -> Array | StoredRows:
    """Read a file with a row per streamline or vertex.

    Parameters
    ----------
    path : str or Path
        ``.npy`` in either order; JSON with one list of numbers or rows; else text, also packed by gzip: ``#`` starts a
        comment, commas, semicolons, tabs or blanks stand between numbers, the first line may name columns.
    expected : int, optional
        How many rows it should have. A text with far more is not read to its end.

    Returns
    -------
    ndarray or StoredRows of shape (n, k)
        float32 from text; of a large ``.npy`` in C order, rows that are read when they are asked for.

    Raises
    ------
    FormatError
        If a line is no row of numbers that float32 can hold, or may be read in two ways; the line is named.
    ShapeError
        If a text is far too long for the rows that it should have.

    Warns
    -----
    HeaderWarning
        If values are missing, decimal commas are read, or an index is left out.
    DataLossWarning
        If whole numbers are beyond those that float32 holds.
    """
    path = Path(path)
    if not path.is_file():
        raise missing(path, f"{path} does not exist; check the path")
    head = read_head(path, 64)
    is_npy = path.suffix.lower() == ".npy"
    is_json = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{")
    kind = kind_of(path)
    read_anyway = ("unknown", "values", "damaged") if is_npy else ("unknown", "values")
    if kind.use not in read_anyway and not is_json and path.stat().st_size:  # of no streamlines, a text is empty
        raise refusal(path, "values", kind=kind)
    if is_npy or (head.startswith(_NPY) and not is_gzip(path)):
        return _read_npy(path)
    values = read_json(path, expected) if is_json else read_text(path, expected)
    return values.reshape(-1, 1) if values.ndim == 1 else values


def _read_npy(path: Path) -> Array | StoredRows:
    with open_regular(path) as file:
        stamp = FileStamp.of_status(os.fstat(file.fileno()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy tells that Python 2 wrote a header, without naming the file
            values = np.lib.format.open_memmap(path, mode="r")  # for its header: nothing is read of the mapped array
    except _BAD_NPY as error:
        raise FormatError(f"{path} is no .npy file of numbers: {type(error).__name__}: {error}") from None
    if values.ndim not in (1, 2):
        raise ShapeError(f"{path} has shape {values.shape}, expected (rows,) or (rows, columns)")
    try:
        extension_of_dtype(values.dtype)
    except DtypeError as error:
        raise DtypeError(f"{path}: {error}") from None
    shape = values.shape if values.ndim == 2 else (len(values), 1)
    if values.nbytes > _SMALL and values.flags.c_contiguous and values.dtype.isnative:
        return StoredRows(OpenFile(str(path), stamp), int(values.offset), values.dtype, shape)
    with open_stamped(path, stamp) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: Array = np.lib.format.read_array(file, allow_pickle=False)
    return loaded.reshape(shape).astype(loaded.dtype.newbyteorder("="), copy=False)
