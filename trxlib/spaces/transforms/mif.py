"""Deformation fields in the image format of MRtrix: ``.mif``, ``.mif.gz``, and ``.mih`` with its data beside it.

A header in text gives dimensions, voxel sizes, the order of axes in the file (`layout`), the number type, and rows of a
transform with unit columns. MRtrix documentation, "Image file formats".
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, InputError, UnsupportedFormatError
from trxlib.model.space import Space
from trxlib.spaces.transforms.checks import check_positions
from trxlib.spaces.transforms.field import Field, allocate_values
from trxlib.spaces.transforms.files import check_room
from trxlib.spaces.transforms.holes import mark_holes
from trxlib.spaces.transforms.nifti_fields import open_maybe_gzip

__all__ = ["MIF_MAGIC", "read_mif_field"]

MIF_MAGIC = b"mrtrix image"
_MAX_HEADER = 1 << 20
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
    fields = _read_header(path)
    dimensions = [int(size) if np.isfinite(size) else 0 for size in _numbers(fields, "dim", path, 1)]
    _check_shape(dimensions, path)
    affine = _read_affine(fields, path)
    data_path, offset = _find_data(fields, path)
    raw = _read_data(data_path, offset, _read_dtype(fields, path), math.prod(dimensions))
    data = _order_axes(raw, dimensions, fields, path)
    values = allocate_values(tuple(dimensions[:3]), str(path))
    for axis in range(3):
        values[:, axis] = data[..., axis].transpose(2, 1, 0).reshape(-1)
    if "scaling" in fields:
        shift, scale = _numbers(fields, "scaling", path, 2)[:2]
        values[:, :3] = values[:, :3] * scale + shift
    has_holes = mark_holes(values, path)
    space = Space.create(affine, dimensions[:3], str(path))
    field = Field(values, space, is_displacement=False, has_holes=has_holes, name=str(path))
    check_positions(field)
    return field, [] if data_path == Path(path) else [data_path]


def _read_header(path: str | Path) -> dict[str, list[str]]:
    """Return the values of each key; some keys stand on several lines."""
    with open_maybe_gzip(path) as stream:
        head = stream.read(_MAX_HEADER)
    text, end, _ = head.partition(b"\nEND")
    if not end and (b"\0" in head or len(head) == _MAX_HEADER):  # a header with its data elsewhere needs no END
        raise HeaderError(f"{path} has no END of a MRtrix header within {_MAX_HEADER} bytes; the file is damaged")
    fields: dict[str, list[str]] = {}
    for line in text.decode("latin1").splitlines()[1:]:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), []).append(value.strip())
    return fields


def _numbers(fields: dict[str, list[str]], key: str, path: str | Path, least: int) -> list[float]:
    try:
        numbers = [float(item) for item in fields[key][0].replace(",", " ").split()]
    except (KeyError, ValueError):
        numbers = []
    if len(numbers) < least or not np.isfinite(numbers[:least]).all():
        raise HeaderError(f"{path}: its header has no {key} that can be read; the file is damaged")
    return numbers


def _check_shape(dimensions: list[int], path: str | Path) -> None:
    if len(dimensions) == 5 and dimensions[3:] == [3, 4]:
        raise UnsupportedFormatError(
            f"{path} is a full warp of MRtrix (mrregister -nl_warp_full); take the deformation field out of it: "
            "warpconvert warp warpfull2deformation -from 2 -template native out, for points from image 1 (native) to 2"
        )
    if len(dimensions) != 4 or dimensions[3] != 3 or min(dimensions) < 1:
        raise InputError(
            f"{path} has the shape {dimensions}; a deformation field of MRtrix has three volumes (x, y, z, 3)"
        )


def _read_affine(fields: dict[str, list[str]], path: str | Path) -> npt.NDArray[np.float64]:
    try:
        rows = [[float(item) for item in row.replace(",", " ").split()] for row in fields["transform"][:3]]
        affine = np.eye(4)
        affine[:3] = np.array(rows).reshape(3, 4)
    except (KeyError, ValueError):
        raise HeaderError(
            f"{path}: its header has no transform of three rows of four numbers; nobody knows where it is"
        ) from None
    affine[:3, :3] *= _numbers(fields, "vox", path, 3)[:3]
    return affine


def _read_dtype(fields: dict[str, list[str]], path: str | Path) -> np.dtype[Any]:
    name = "".join(fields.get("datatype", [])).lower()
    kind = _TYPES.get(name[:7])
    if kind is None or name[7:] not in ("le", "be"):
        raise HeaderError(f"{path} holds numbers of type {name or 'none'}; a deformation field has Float32 or Float64")
    return np.dtype(("<" if name.endswith("le") else ">") + kind)


def _find_data(fields: dict[str, list[str]], path: str | Path) -> tuple[Path, int]:
    """Return the file with the data, and where they start in it."""
    words = fields.get("file", [""])[0].split()
    if len(fields.get("file", [])) != 1 or not words or "[" in words[0]:
        raise UnsupportedFormatError(f"{path} has its data in several files; convert it to one (mrconvert)")
    offset = int(words[1]) if len(words) > 1 and re.fullmatch(r"\d+", words[1]) else 0
    if words[0] == ".":
        return Path(path), offset
    data_path = Path(path).parent / words[0]
    if not data_path.is_file():
        raise HeaderError(f"{path} has its data in {words[0]}, and there is no such file beside it")
    return data_path, offset


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


def _order_axes(
    raw: npt.NDArray[Any], dimensions: list[int], fields: dict[str, list[str]], path: str | Path
) -> npt.NDArray[Any]:
    """Return the data as (x, y, z, 3): the layout says how fast each axis runs in the file, and which way."""
    items = fields.get("layout", [""])[0].split(",")
    ranks = [int(item) if re.fullmatch(r"[+-]?\d+", item.strip()) else -1 for item in items]
    ranks = [abs(rank) for rank in ranks]
    if sorted(ranks) != list(range(4)):
        raise HeaderError(f"{path}: the layout {','.join(items)!r} is no order of four axes; the file is damaged")
    slowest_first = sorted(range(4), key=lambda axis: -ranks[axis])
    data = raw.reshape([dimensions[axis] for axis in slowest_first])
    data = data.transpose([slowest_first.index(axis) for axis in range(4)])
    flips = tuple(slice(None, None, -1) if item.strip().startswith("-") else slice(None) for item in items)
    return data[flips]
