"""Header facts that a TRX file has kept of a TRK or TCK: which are sound, and whether they describe a space.

Anybody may write a header key ``TRK`` or ``TCK``, so that nothing in it is taken for granted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from trxlib.errors import HeaderError, HeaderWarning, warn
from trxlib.formats.trk.header import HEADER_DTYPE, are_edges, read_order
from trxlib.formats.trk.voxel_order import reorder_matrix
from trxlib.model.space import SPACE_TOLERANCE, Space

__all__ = ["facts_fit", "sound_facts"]

_LARGEST = float(np.finfo(np.float32).max)
_NAME_BYTES = HEADER_DTYPE["scalar_name"].base.itemsize


def sound_facts(facts: Any, name: str, path: str) -> dict[str, Any]:
    """Return the facts of a header key that have the shape in which trxlib writes them.

    Parameters
    ----------
    facts : any
        A JSON value.
    name : {"trk", "tck"}
        The format.
    path : str
        For the warning.

    Warns
    -----
    HeaderWarning
        Names those that are left out.
    """
    key = name.upper()
    if not isinstance(facts, Mapping):
        _warn(path, f"the header key {key} holds no facts of a {key} header")
        return {}
    if name == "trk":
        sound = {field: value for field, value in facts.items() if field not in _TRK or _TRK[field](value)}
    else:
        sound = {field: value for field, value in facts.items() if _is_property(field, value)}
    odd = [ascii(field) for field in facts if field not in sound]
    if odd:
        _warn(path, f"in the header key {key}, {', '.join(odd[:8])} cannot stand in a {key} header")
    return sound


def facts_fit(facts: Mapping[str, Any], space: Space, order: str) -> bool:
    """Tell whether facts of a TRK describe a space; after a transform, or in a merged file, they do not.

    Parameters
    ----------
    facts : mapping
        As `sound_facts` returns them.
    space : Space
        Of what is written.
    order : str
        The voxel order of its affine.
    """
    if any(field not in facts for field in ("voxel_order", "dim", "voxel_size")):
        return False
    dim = facts["dim"]
    to_space, grid = reorder_matrix(read_order(facts["voxel_order"], "voxel_order"), order, (dim[0], dim[1], dim[2]))
    if grid != space.dimensions:
        return False
    affine = facts.get("vox_to_ras")
    if facts.get("version", 2) > 1 and affine is not None and affine[3][3] != 0:
        return np.allclose(affine, space.voxel_to_rasmm, rtol=0, atol=SPACE_TOLERANCE)
    # Such a header says nothing of the place in the world.
    sizes = np.abs(to_space[:3, :3]) @ np.asarray(facts["voxel_size"], dtype=np.float64)
    return np.allclose(sizes, space.voxel_sizes, rtol=0, atol=SPACE_TOLERANCE)


def _warn(path: str, text: str) -> None:
    warn(f"{path}: {text}; left out", HeaderWarning)


def _has_numbers(shape: tuple[int, ...], kinds: str, value: Any) -> bool:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return array.shape == shape and array.dtype.kind in kinds and bool((np.abs(array) <= _LARGEST).all())


def _is_dim(value: Any) -> bool:
    return _has_numbers((3,), "iu", value) and min(value) >= 0 and max(value) <= np.iinfo(np.int16).max


def _is_size(value: Any) -> bool:
    return _has_numbers((3,), "iuf", value) and are_edges(np.asarray(value, dtype=np.float64))


def _is_order(value: Any) -> bool:
    try:
        read_order(value, "voxel_order")
    except (HeaderError, AttributeError, TypeError):
        return False
    return len(value) <= HEADER_DTYPE["voxel_order"].itemsize and value.isascii()


def _is_hex(nbytes: int, value: Any) -> bool:
    try:
        return len(bytes.fromhex(value)) <= nbytes
    except (TypeError, ValueError):
        return False


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) and _is_hex(_NAME_BYTES, item[1])
        for item in value
    )


_TRK: dict[str, Callable[[Any], bool]] = {
    "version": partial(_has_numbers, (), "iu"),
    "voxel_order": _is_order,
    "voxel_size": _is_size,
    "dim": _is_dim,
    "vox_to_ras": partial(_has_numbers, (4, 4), "iuf"),
    "origin": partial(_has_numbers, (3,), "iuf"),
    "image_orientation_patient": partial(_has_numbers, (6,), "iuf"),
    **{name: partial(_is_hex, HEADER_DTYPE[name].itemsize) for name in ("pad1", "pad2", "flags", "reserved")},
    "scalars": _are_names,
    "properties": _are_names,
}


def _is_property(key: Any, value: Any) -> bool:
    """Tell whether a line, or one for each item of a list, can say this in UTF-8."""
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, (str, int, float)) for item in items) and all(
        _is_utf8(text) for text in [key, *map(str, items)]
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
