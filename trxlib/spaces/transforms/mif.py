"""Deformation fields in the image format of MRtrix: ``.mif``, ``.mif.gz``, and ``.mih`` with its data beside it.

The header is read by `trxlib.spaces.mif`, as that of a reference. Here its numbers are put into the order of a field,
whichever way they lie in the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, InputError, UnsupportedFormatError
from trxlib.model.space import Space
from trxlib.spaces.mif import MifHeader, is_mif_whole, parse_mif
from trxlib.spaces.text import read_text_header
from trxlib.spaces.transforms.checks import check_positions
from trxlib.spaces.transforms.field import Field, allocate_values
from trxlib.spaces.transforms.files import check_room
from trxlib.spaces.transforms.holes import mark_holes
from trxlib.spaces.transforms.nifti_fields import open_maybe_gzip

__all__ = ["find_mif_data", "read_mif_field"]

_TYPES = {"float16": "f2", "float32": "f4", "float64": "f8"}


def read_mif_field(path: str | Path) -> tuple[Field, list[Path]]:
    """Read a deformation field.

    Returns
    -------
    field : Field
        Positions in RAS.
    others : list of Path
        The file with the data, if that is another one.

    Raises
    ------
    HeaderError
        If the header cannot be read, or the data are cut off.
    UnsupportedFormatError
        If it is a full warp, of five axes, or spread over several files.
    InputError
        If it is no image of three volumes.
    """
    header = _read_header(path)
    dimensions = header.sizes
    _check_shape(dimensions, path)
    affine = _read_affine(header)
    data_path, offset = header.find_data()
    raw = _read_data(data_path, offset, _read_dtype(header), math.prod(dimensions))
    data = _order_axes(raw, header)
    values = allocate_values(tuple(dimensions[:3]), str(path))
    for axis in range(3):
        values[:, axis] = data[..., axis].transpose(2, 1, 0).reshape(-1)
    if header.scaling != (0, 1):
        shift, scale = header.scaling
        values[:, :3] = values[:, :3] * scale + shift
    has_holes = mark_holes(values, path)
    space = Space.create(affine, dimensions[:3], str(path))
    field = Field(values, space, is_displacement=False, has_holes=has_holes, name=str(path))
    check_positions(field)
    return field, [] if data_path == Path(path) else [data_path]


def find_mif_data(path: str | Path) -> Path:
    """Return the file that holds the data of an image: another one for a ``.mih``.

    Raises
    ------
    HeaderError, UnsupportedFormatError
        If the header does not tell.
    """
    return _read_header(path).find_data()[0]


def _read_header(path: str | Path) -> MifHeader:
    def read(count: int) -> bytes:
        with open_maybe_gzip(path) as stream:
            return bytes(stream.read(count))

    return parse_mif(read_text_header(path, read, is_mif_whole), str(path))


def _check_shape(dimensions: Sequence[int], path: str | Path) -> None:
    if len(dimensions) == 5 and list(dimensions[3:]) == [3, 4]:
        raise UnsupportedFormatError(
            f"{path} is a full warp of MRtrix (mrregister -nl_warp_full); take the deformation field out of it: "
            "warpconvert warp warpfull2deformation -from 2 -template native out, for points from image 1 (native) to 2"
        )
    if len(dimensions) != 4 or dimensions[3] != 3 or min(dimensions) < 1:
        raise InputError(
            f"{path} has the shape {list(dimensions)}; a deformation field of MRtrix has three volumes (x, y, z, 3)"
        )


def _read_affine(header: MifHeader) -> npt.NDArray[np.float64]:
    """Return the affine of the axes as `dim` has them, whichever way they lie in the file."""
    if header.transform is None:
        raise HeaderError(
            f"{header.path}: its header has no transform of 3 rows of 4 numbers, so nobody knows its place"
        )
    affine = np.eye(4)
    affine[:3] = header.transform
    affine[:3, :3] *= header.voxel_sizes
    return affine


def _read_dtype(header: MifHeader) -> np.dtype[Any]:
    name = header.datatype
    kind = _TYPES.get(name[:7])
    if kind is None or name[7:] not in ("le", "be"):
        raise HeaderError(
            f"{header.path} holds numbers of type {name or 'none'}; a deformation field has Float32 or Float64"
        )
    return np.dtype(("<" if name.endswith("le") else ">") + kind)


def _read_data(path: Path, offset: int, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    check_room(path, offset + count * dtype.itemsize)
    with open_maybe_gzip(path) as stream:
        if len(stream.read(offset)) != offset:
            raise HeaderError(f"{path} ends before its data start, at {offset}; the file is damaged")
        data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise HeaderError(
            f"{path} has {len(data)} bytes of data, its header needs {count * dtype.itemsize}; it is cut off"
        )
    return np.frombuffer(data, dtype)


def _order_axes(raw: npt.NDArray[Any], header: MifHeader) -> npt.NDArray[Any]:
    """Return the data as (x, y, z, 3): the layout says how fast each axis runs in the file, and which way."""
    slowest_first = sorted(range(4), key=lambda axis: -header.layout[axis][0])
    data = raw.reshape([header.sizes[axis] for axis in slowest_first])
    data = data.transpose([slowest_first.index(axis) for axis in range(4)])
    return data[tuple(slice(None, None, -1 if backwards else 1) for _, backwards in header.layout)]
