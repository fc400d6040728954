"""The space of an NRRD image (``.nrrd``, ``.nhdr``), from its header, which is text.

NRRD format, "Space and orientation information".
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, HeaderWarning, warn
from trxlib.model.space import Space

__all__ = ["NRRD_MAGIC", "is_nrrd_whole", "read_nrrd"]

NRRD_MAGIC = b"NRRD00"
# From the space that the header names to RASMM: the signs of its three axes.
_SIGNS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
_SIGNS |= {"".join(word[0] for word in name.split("-")): signs for name, signs in _SIGNS.items()}
_VECTOR = re.compile(r"\([^()]*\)|none", re.IGNORECASE)
_MM = {"mm", "millimeter", "millimeters", "millimetre", "millimetres", ""}


def is_nrrd_whole(head: bytes) -> bool:
    """Tell whether `head` reaches to the empty line that ends a header."""
    return b"\n\n" in head or b"\n\r\n" in head


def read_nrrd(head: bytes, path: str) -> Space:
    """Return the space of an NRRD image; axes that are no axes of space (``none``) are left out.

    Parameters
    ----------
    head : bytes
        The header, to its empty line or, in a ``.nhdr``, to the end of the file; what follows is not looked at.
    path : str
        For messages.

    Raises
    ------
    HeaderError
        If the header names no space, or none whose axes are directions of the body, or a value is impossible.

    Warns
    -----
    HeaderWarning
        If the origin is not stated (0 is assumed), or a unit is not mm (mm is assumed).
    """
    fields = _read_fields(head)
    signs = np.array(_signs(fields, path))
    sizes = _read_sizes(fields, path)
    directions = _read_vectors(fields, "space directions", path)
    if len(directions) != len(sizes):
        raise HeaderError(
            f"{path}: space directions has {len(directions)} axes and sizes {len(sizes)}, expected as many"
        )
    axes = [axis for axis, vector in enumerate(directions) if vector is not None]
    if len(axes) != 3:
        raise HeaderError(
            f"{path}: {len(axes)} axes have space directions, expected 3 (and 'none' for others); take an image of a "
            "volume"
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array([directions[axis] for axis in axes]).T * signs[:, np.newaxis]
    affine[:3, 3] = _read_origin(fields, path) * signs
    _check_units(fields, path)
    return Space.create(affine, [sizes[axis] for axis in axes], f"{path}: reference image")


def _read_fields(head: bytes) -> dict[str, str]:
    text = re.split(rb"\n\r?\n", head, maxsplit=1)[0].decode("latin1")
    fields = {}
    for line in text.splitlines()[1:]:
        # "key:=value" is for anybody's own use, and a comment starts with #.
        key, colon, value = line.partition(":")
        if colon and not value.startswith("=") and not line.startswith("#"):
            fields[key.strip().lower()] = value.strip()
    return fields


def _signs(fields: dict[str, str], path: str) -> tuple[int, int, int]:
    name = fields.get("space", "")
    signs = _SIGNS.get(name.lower())
    if signs is None:
        found = f"space is {name!r}" if name else "its header names no space"
        raise HeaderError(
            f"{path}: {found}, so nobody can say which way its axes run; expected {', '.join(list(_SIGNS)[:3])} (RAS, "
            "LAS, LPS); name another reference, or write the image again with its space"
        )
    return signs


def _read_sizes(fields: dict[str, str], path: str) -> list[int]:
    try:
        return [int(item) for item in fields["sizes"].split()]
    except KeyError:
        raise HeaderError(f"{path}: the header of an NRRD image has no sizes; it is cut or damaged") from None
    except ValueError:
        raise HeaderError(f"{path}: sizes is {fields['sizes']!r}, expected whole numbers") from None


def _read_vectors(fields: dict[str, str], key: str, path: str) -> list[list[float] | None]:
    """Return the vectors of a line, None for ``none`` (or, in files of old, three NaN)."""
    text = fields.get(key)
    if text is None:
        raise HeaderError(
            f"{path}: the header of an NRRD image has no {key}; it is cut, or its program knew none: name another "
            "reference"
        )
    vectors: list[list[float] | None] = []
    try:
        for item in _VECTOR.findall(text):
            numbers = [float(number) for number in item[1:-1].split(",")] if item.startswith("(") else []
            vectors.append(None if np.isnan(numbers).all() else numbers)
    except ValueError:
        vectors = []
    if (
        not vectors
        or any(vector is not None and len(vector) != 3 for vector in vectors)
        or _VECTOR.sub("", text).strip()
    ):
        raise HeaderError(f"{path}: {key} is {text!r}, expected vectors of three numbers such as (1,0,0)")
    return vectors


def _read_origin(fields: dict[str, str], path: str) -> npt.NDArray[np.float64]:
    if "space origin" not in fields:
        warn(
            f"{path}: its header has no space origin; the centre of the first voxel is taken to be at 0 0 0, name "
            "another reference if it is not",
            HeaderWarning,
        )
        return np.zeros(3)
    vectors = _read_vectors(fields, "space origin", path)
    if len(vectors) != 1 or vectors[0] is None:
        raise HeaderError(f"{path}: space origin is {fields['space origin']!r}, expected one vector such as (0,0,0)")
    return np.array(vectors[0])


def _check_units(fields: dict[str, str], path: str) -> None:
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    if not {unit.strip().lower() for unit in units} <= _MM:
        warn(
            f"{path}: space units is {fields['space units']}; directions and origin are taken as mm, as ITK takes them",
            HeaderWarning,
        )
