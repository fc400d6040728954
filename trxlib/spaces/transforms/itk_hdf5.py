"""Composites of ITK in HDF5 (``.h5``): linear transforms and displacement fields in one file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, TrxError, UnsupportedFormatError
from trxlib.model.space import Space
from trxlib.spaces.transforms.checks import check_displacements
from trxlib.spaces.transforms.field import Field, allocate_values
from trxlib.spaces.transforms.holes import has_holes
from trxlib.spaces.transforms.itk import order_parts
from trxlib.spaces.transforms.itk_classes import FIELD_CLASSES, linear_from_itk, split_class
from trxlib.spaces.transforms.linear import LPS, Linear, multiply

__all__ = ["HDF5_MAGIC", "read_itk_hdf5"]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_SLAB = 3 << 18  # numbers that are read at a time
_MOST_PARAMETERS = 1000  # of a linear transform


def read_itk_hdf5(path: str | Path) -> list[Linear | Field]:
    """Read a file that ITK wrote, in the order in which points pass its transforms.

    Memory: its fields as float32, and some megabytes.

    Raises
    ------
    HeaderError
        If it is damaged, or holds no transforms.
    UnsupportedFormatError
        If it holds one that is not read, or is of another program.
    ImportError
        If h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError(f"to read {path}, install h5py") from None
    try:
        with h5py.File(path, "r") as file:
            return _read_group(file, str(path))
    except TrxError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise HeaderError(f"{path} cannot be read as HDF5: {error}; the file is damaged") from None


def _read_group(file: Any, path: str) -> list[Linear | Field]:
    if "TransformGroup" not in file:
        raise UnsupportedFormatError(
            f"{path} is HDF5 and holds no TransformGroup of ITK; of an X5 file of nitransforms, write an ITK file"
        )
    groups = file["TransformGroup"]
    names = sorted(groups, key=int)
    kinds = [split_class(_read_text(groups[name]["TransformType"]), path) for name in names]
    return [_read_one(groups[names[k]], kinds[k], f"{path}: transform {names[k]}") for k in order_parts(kinds, path)]


def _read_text(dataset: Any) -> str:
    # Of a damaged type: HDF5 takes what stands there for addresses, and the process ends.
    if not (dataset.dtype.kind == "S" or (dataset.dtype.metadata or {}).get("vlen") in (str, bytes)):
        raise ValueError(f"TransformType holds {dataset.dtype}, expected text")
    value = np.asarray(dataset[()]).ravel()[0]
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _read_one(group: Any, kind: str, what: str) -> Linear | Field:
    fixed = np.asarray(_find(group, "FixedParameters", what)[()], dtype=np.float64).ravel()
    parameters = _find(group, "Parameters", what)
    if kind in FIELD_CLASSES:
        return _read_field(parameters, fixed, what)
    if parameters.size > _MOST_PARAMETERS:
        parameters = parameters[:_MOST_PARAMETERS]  # more than any linear one has: the error comes below
    return linear_from_itk(kind, np.asarray(parameters[()], dtype=np.float64).ravel(), fixed, what)


def _find(group: Any, key: str, what: str) -> Any:
    """Find a dataset by its name, or by the one that ITK misspelled for years."""
    for name in (f"Transform{key}", f"Tranform{key}"):
        if name in group:
            if group[name].dtype.kind not in "fiu":
                raise ValueError(f"{name} holds {group[name].dtype}, expected numbers")
            return group[name]
    raise HeaderError(f"{what} has no Transform{key}; the file is damaged")


def _read_field(parameters: Any, fixed: npt.NDArray[np.float64], what: str) -> Field:
    """Read displacements in LPS: x of the first voxel, y, z, then the next voxel along x."""
    if fixed.size != 18 or not np.isfinite(fixed).all() or (fixed[:3] % 1).any():
        raise HeaderError(
            f"{what}: a displacement field with the FixedParameters {fixed.tolist()}, expected 18: its size, origin, "
            "spacing and direction"
        )
    affine = np.eye(4)
    affine[:3, :3] = fixed[9:].reshape(3, 3) * fixed[6:9]
    affine[:3, 3] = fixed[3:6]
    dimensions = tuple(int(size) for size in fixed[:3])
    if parameters.shape != (3 * math.prod(dimensions),):
        raise HeaderError(f"{what} has {parameters.size} parameters, its grid needs {3 * math.prod(dimensions)}")
    values = allocate_values(dimensions, what)
    for start in range(0, len(values), _SLAB // 3):
        rows = values[start : start + _SLAB // 3]
        rows[:, :3] = parameters[3 * start : 3 * (start + len(rows))].reshape(-1, 3)
        np.negative(rows[:, :2], out=rows[:, :2])
    space = Space.create(multiply(LPS, affine), dimensions, what)
    field = Field(values, space, is_displacement=True, has_holes=has_holes(values), name=what)
    check_displacements(field)
    return field
