"""Linear transforms of FreeSurfer (``.lta``): a matrix from a source to a destination volume, and both grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trxlib.errors import HeaderError, UnsupportedFormatError
from trxlib.spaces.transforms.linear import Affine, Linear, check_linear, invert, multiply

__all__ = ["read_lta"]

_VOX_TO_VOX, _RAS_TO_RAS = 0, 1
_NAMES = {
    2: "LINEAR_PHYSVOX_TO_PHYSVOX",
    3: "TKREG_TO_TKREG",
    10: "TRANSFORM_ARRAY_TYPE",
    11: "MORPH_3D_TYPE",
    14: "REGISTER_DAT",
    15: "FSLREG_TYPE",
    21: "LINEAR_CORONAL_RAS_TO_CORONAL_RAS",
}


def read_lta(text: str, path: str | Path) -> Linear:
    """Read an LTA file with one transform, from source to destination, RASMM to RASMM.

    Raises
    ------
    HeaderError
        If something is missing, or cannot be read.
    UnsupportedFormatError
        If its type is another than voxel to voxel and RAS to RAS, or it holds several transforms.
    """
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    kind, count = _integer(lines, "type", path), _integer(lines, "nxforms", path)
    if kind not in (_VOX_TO_VOX, _RAS_TO_RAS):
        raise UnsupportedFormatError(
            f"{path} has type {kind} ({_NAMES.get(kind, 'not known')}), which is not read; convert it to RAS to RAS: "
            "lta_convert --inlta file --outlta out.lta"
        )
    if count != 1:
        raise UnsupportedFormatError(f"{path} holds {count} transforms, expected 1; write each into a file of its own")
    matrix = _read_matrix(lines, path)
    if kind == _VOX_TO_VOX:
        source, destination = (_read_volume(lines, name, path) for name in ("src", "dst"))
        matrix = multiply(destination, matrix, invert(source, f"{path}: src volume"))
    return check_linear(matrix, str(path))


def _integer(lines: list[str], key: str, path: str | Path) -> int:
    value = _value(lines, key, path)
    try:
        return int(value)
    except ValueError:
        raise HeaderError(f"{path}: {key} is {value!r}, expected a whole number") from None


def _value(lines: list[str], key: str, path: str | Path) -> str:
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and name.strip() == key:
            return value.strip()
    raise HeaderError(f"{path} has no line '{key} ='; the file is damaged")


def _floats(items: list[str], count: int, what: str) -> list[float]:
    try:
        numbers = [float(item) for item in items]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise HeaderError(f"{what} is {' '.join(items)[:80]!r}, expected {count} numbers")
    return numbers


def _read_matrix(lines: list[str], path: str | Path) -> Affine:
    starts = [k for k, line in enumerate(lines) if line.split() == ["1", "4", "4"]]
    if len(starts) != 1 or len(lines) < starts[0] + 5:
        raise HeaderError(f"{path} has no matrix after a line '1 4 4'; the file is damaged")
    rows = lines[starts[0] + 1 : starts[0] + 5]
    return np.array([_floats(row.split(), 4, f"{path}: a row of its matrix") for row in rows])


def _read_volume(lines: list[str], name: str, path: str | Path) -> Affine:
    """Return the affine of a volume: the centre of its grid is at `cras`."""
    what = f"{path}: {name} volume info"
    if f"{name} volume info" not in lines:
        raise HeaderError(f"{what} is missing, and a matrix from voxels to voxels means nothing without it")
    rest = lines[lines.index(f"{name} volume info") + 1 :]
    if _integer(rest, "valid", what) != 1:
        raise HeaderError(
            f"{what} is not valid, and a matrix from voxels to voxels means nothing without it; write the file with "
            "both images (lta_convert --src --trg)"
        )
    size, edges, *axes, centre = (
        _floats(_value(rest, key, what).split(), 3, f"{what}: {key}")
        for key in ("volume", "voxelsize", "xras", "yras", "zras", "cras")
    )
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes).T * edges
    half = np.eye(4)
    half[:3, 3] = [-number / 2 for number in size]
    affine = multiply(affine, half)
    affine[:3, 3] += centre
    return affine
