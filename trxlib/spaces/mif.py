"""The space of an MRtrix image (``.mif``, ``.mih``), from its header, which is text.

MRtrix3 documentation, "Images and other data". ``transform`` and ``vox`` belong to the axes of ``dim``; ``layout`` says
in which order, and in which direction, the voxels lie in the file. The grid returned is that of the voxels as they lie:
an image then has the space of the NIfTI file that ``mrconvert`` makes of it, or that it was made from.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, HeaderWarning, warn
from trxlib.model.header_fields import check_dimensions
from trxlib.model.space import Space

__all__ = ["MIF_MAGIC", "is_mif_whole", "read_mif"]

MIF_MAGIC = b"mrtrix image"
_END = re.compile(rb"\nEND\r?(\n|\Z)")
_KEYS = ("dim", "vox", "layout", "transform", "file")


def is_mif_whole(head: bytes) -> bool:
    """Tell whether `head` reaches to the line that ends a header."""
    return _END.search(head) is not None


def read_mif(head: bytes, path: str) -> Space:
    """Return the space of an MRtrix image.

    Parameters
    ----------
    head : bytes
        The header, to its line ``END`` or, in a ``.mih``, to the end of the file; what follows is not looked at.
    path : str
        For messages.

    Raises
    ------
    HeaderError
        If a line lacks or has an impossible value.

    Warns
    -----
    HeaderWarning
        If there is no transform: the image is then centred at the origin, as MRtrix3 does.
    """
    fields = _read_fields(head, path)
    sizes = [int(item) for item in _numbers(fields, "dim", path)]
    voxel_sizes = _numbers(fields, "vox", path)
    if len(sizes) < 3 or len(voxel_sizes) < 3:
        raise HeaderError(
            f"{path}: dim has {len(sizes)} axes and vox {len(voxel_sizes)}, expected 3 or more; take an image of a "
            "volume"
        )
    check_dimensions(sizes[:3], f"{path}: reference image: dimensions")
    edges = np.array(voxel_sizes[:3])
    if not (np.isfinite(edges).all() and (edges > 0).all()):
        raise HeaderError(f"{path}: vox is {voxel_sizes[:3]}, expected 3 sizes above 0 mm; take another reference")
    affine = np.eye(4)
    layout = _read_layout(fields, len(sizes), path)
    with np.errstate(over="ignore", invalid="ignore"):  # of a damaged header; the affine is looked at below
        affine[:3] = _read_transform(fields, np.array(sizes[:3], dtype=np.float64), edges, path)
        affine[:3, :3] *= edges
        _flip(affine, sizes, [backwards for _, backwards in layout])
    order = sorted(range(3), key=lambda axis: layout[axis][0])
    return Space.create(affine[:, [*order, 3]], [sizes[axis] for axis in order], f"{path}: reference image")


def _read_fields(head: bytes, path: str) -> dict[str, list[str]]:
    end = _END.search(head)
    fields: dict[str, list[str]] = {}
    for line in head[: end.start() if end else None].decode("latin1").splitlines()[1:]:
        key, colon, value = line.partition(":")
        if colon and key.strip().lower() in _KEYS:
            fields.setdefault(key.strip().lower(), []).append(value.split("#")[0].strip())
    # The line "file" is the last that MRtrix writes; only a header in a file of its own (.mih) may do without END.
    data = fields.get("file", [""])[0]
    if not data or (not end and data.split()[0] == "."):
        raise HeaderError(
            f"{path}: the header of an MRtrix image ends before its lines 'file' and 'END'; the file is cut or "
            "damaged, take another reference"
        )
    return fields


def _numbers(fields: dict[str, list[str]], key: str, path: str) -> list[float]:
    if key not in fields:
        raise HeaderError(f"{path}: the header of an MRtrix image has no line {key!r}; it is damaged")
    try:
        numbers = [float(item) for item in fields[key][-1].split(",")]
        return [int(item) for item in fields[key][-1].split(",")] if key == "dim" else numbers
    except ValueError:
        raise HeaderError(f"{path}: {key} is {fields[key][-1]!r}, expected numbers with commas between") from None


def _read_transform(
    fields: dict[str, list[str]], sizes: npt.NDArray[np.float64], edges: npt.NDArray[np.float64], path: str
) -> npt.NDArray[np.float64]:
    """Return the rows of the transform, of shape (3, 4): directions of the axes, and the centre of the first voxel."""
    rows = fields.get("transform", [])
    try:
        matrix = np.array([[float(item) for item in row.split(",")] for row in rows])
    except ValueError:
        raise HeaderError(f"{path}: transform is {rows}, expected 3 rows of 4 numbers") from None
    if not rows or (matrix.shape[1:] == (4,) and not np.isfinite(matrix).all()):
        warn(
            f"{path}: its header has no transform; as in MRtrix3, the axes are taken to run to the right, front and "
            "top, and the middle of the image to be the origin; name another reference if that is not so",
            HeaderWarning,
        )
        return np.column_stack((np.eye(3), -0.5 * (sizes - 1) * edges))
    if matrix.shape not in ((3, 4), (4, 4)):
        raise HeaderError(f"{path}: transform is {rows}, expected 3 rows of 4 numbers")
    return matrix[:3]


def _read_layout(fields: dict[str, list[str]], nb_axes: int, path: str) -> list[tuple[int, bool]]:
    """Return for each axis its place in the order of the file, and whether it runs backwards."""
    _numbers(fields, "layout", path)
    items = [item.strip() for item in fields["layout"][-1].split(",")]
    # As text, since -0 and +0 differ.
    places = [(item.lstrip("+-"), item.startswith("-")) for item in items]
    if sorted(place for place, _ in places) != sorted(map(str, range(nb_axes))):
        raise HeaderError(
            f"{path}: layout is {','.join(items)!r}, expected each number from 0 to {nb_axes - 1} once, with signs"
        )
    return [(int(place), backwards) for place, backwards in places]


def _flip(affine: npt.NDArray[np.float64], sizes: list[int], backwards: list[bool]) -> None:
    """Turn the axes round that run backwards in the file, in place."""
    for axis in np.flatnonzero(backwards[:3]):
        affine[:3, 3] += affine[:3, axis] * float(sizes[axis] - 1)
        affine[:3, axis] *= -1
