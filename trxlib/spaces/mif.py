"""The header of an MRtrix image (``.mif``, ``.mih``), which is text: for references, and for deformation fields.

MRtrix3 documentation, "Images and other data". ``transform`` and ``vox`` belong to the axes of ``dim``; ``layout`` says
in which order, and in which direction, the voxels lie in the file. The grid of a reference is that of the voxels as
they lie: an image then has the space of the NIfTI file that ``mrconvert`` makes of it, or that it was made from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, HeaderWarning, UnsupportedFormatError, warn
from trxlib.model.header_fields import check_dimensions
from trxlib.model.space import Space

__all__ = ["MIF_MAGIC", "MifHeader", "is_mif_whole", "parse_mif", "read_mif"]

MIF_MAGIC = b"mrtrix image"
_END = re.compile(rb"\nEND\r?(\n|\Z)")
_KEYS = ("dim", "vox", "layout", "transform", "datatype", "scaling", "file")


def is_mif_whole(head: bytes) -> bool:
    """Tell whether `head` reaches to the line that ends a header."""
    return _END.search(head) is not None


@dataclass(frozen=True)
class MifHeader:
    """What the header of an MRtrix image says.

    Parameters
    ----------
    path : str
        For messages.
    sizes : sequence of int
        Voxels along each axis, at least three.
    voxel_sizes : ndarray of shape (3,)
        mm.
    layout : sequence of (int, bool)
        For each axis its place in the order of the file (0 runs fastest), and whether it runs backwards.
    transform : ndarray of shape (3, 4), optional
        Directions of the axes, and the centre of their first voxel; None if there is none.
    datatype : str
        In lower case, such as ``float32le``; empty if it is not stated.
    scaling : tuple of 2 float
        What is added to the numbers of the file after they are multiplied, and by what.
    files : sequence of str
        The lines that name where the data are.
    """

    path: str
    sizes: Sequence[int]
    voxel_sizes: npt.NDArray[np.float64]
    layout: Sequence[tuple[int, bool]]
    transform: npt.NDArray[np.float64] | None
    datatype: str
    scaling: tuple[float, float]
    files: Sequence[str]

    def find_data(self) -> tuple[Path, int]:
        """Return the file with the data, which may be the image itself, and at which byte they start.

        Raises
        ------
        UnsupportedFormatError
            If they are in several files.
        HeaderError
            If that file is not there.
        """
        words = self.files[0].split()
        if len(self.files) != 1 or "[" in words[0]:
            raise UnsupportedFormatError(f"{self.path} has its data in several files; convert it to one (mrconvert)")
        offset = int(words[1]) if len(words) > 1 and re.fullmatch(r"\d{1,18}", words[1]) else 0
        if words[0] == ".":
            return Path(self.path), offset
        data_path = Path(self.path).parent / words[0]
        if not data_path.is_file():
            raise HeaderError(f"{self.path} has its data in {words[0]}, and there is no such file beside it")
        return data_path, offset


def parse_mif(head: bytes, path: str) -> MifHeader:
    """Read the header of an MRtrix image.

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
        raise HeaderError(f"{path}: vox is {voxel_sizes[:3]}, expected 3 sizes above 0 mm; take another image")
    return MifHeader(
        path,
        sizes,
        edges,
        _read_layout(fields, len(sizes), path),
        _read_transform(fields, path),
        fields.get("datatype", [""])[-1].lower(),
        _read_scaling(fields, path),
        fields["file"],
    )


def read_mif(head: bytes, path: str) -> Space:
    """Return the space of an MRtrix image; see `parse_mif`.

    Raises
    ------
    HeaderError
        If a line lacks or has an impossible value.

    Warns
    -----
    HeaderWarning
        If there is no transform: the image is then centred at the origin, as MRtrix3 does.
    """
    header = parse_mif(head, path)
    affine = np.eye(4)
    with np.errstate(over="ignore", invalid="ignore"):  # of a damaged header; the affine is looked at below
        affine[:3] = _assume_transform(header) if header.transform is None else header.transform
        affine[:3, :3] *= header.voxel_sizes
        _flip(affine, header.sizes, [backwards for _, backwards in header.layout])
    order = sorted(range(3), key=lambda axis: header.layout[axis][0])
    return Space.create(affine[:, [*order, 3]], [header.sizes[axis] for axis in order], f"{path}: reference image")


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
            "damaged, take another one"
        )
    return fields


def _numbers(fields: Mapping[str, list[str]], key: str, path: str) -> list[float]:
    if key not in fields:
        raise HeaderError(f"{path}: the header of an MRtrix image has no line {key!r}; it is damaged")
    try:
        numbers = [float(item) for item in fields[key][-1].split(",")]
        return [int(item) for item in fields[key][-1].split(",")] if key == "dim" else numbers
    except ValueError:
        raise HeaderError(f"{path}: {key} is {fields[key][-1]!r}, expected numbers with commas between") from None


def _read_transform(fields: Mapping[str, list[str]], path: str) -> npt.NDArray[np.float64] | None:
    rows = fields.get("transform", [])
    try:
        matrix = np.array([[float(item) for item in row.split(",")] for row in rows])
    except ValueError:
        raise HeaderError(f"{path}: transform is {rows}, expected 3 rows of 4 numbers") from None
    if not rows or (matrix.shape[1:] == (4,) and not np.isfinite(matrix).all()):
        return None
    if matrix.shape not in ((3, 4), (4, 4)):
        raise HeaderError(f"{path}: transform is {rows}, expected 3 rows of 4 numbers")
    return matrix[:3]


def _assume_transform(header: MifHeader) -> npt.NDArray[np.float64]:
    """Return what MRtrix takes where a header has no transform."""
    warn(
        f"{header.path}: its header has no transform; as in MRtrix3, the axes are taken to run to the right, front and "
        "top, and the middle of the image to be the origin; name another reference if that is not so",
        HeaderWarning,
    )
    sizes = np.array(header.sizes[:3], dtype=np.float64)
    return np.column_stack((np.eye(3), -0.5 * (sizes - 1) * header.voxel_sizes))


def _read_scaling(fields: Mapping[str, list[str]], path: str) -> tuple[float, float]:
    numbers = _numbers(fields, "scaling", path) if "scaling" in fields else [0.0, 1.0]
    if len(numbers) < 2 or not np.isfinite(numbers[:2]).all():
        raise HeaderError(f"{path}: scaling is {fields['scaling'][-1]!r}, expected two numbers")
    return numbers[0], numbers[1]


def _read_layout(fields: Mapping[str, list[str]], nb_axes: int, path: str) -> list[tuple[int, bool]]:
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


def _flip(affine: npt.NDArray[np.float64], sizes: Sequence[int], backwards: Sequence[bool]) -> None:
    """Turn the axes round that run backwards in the file, in place."""
    for axis in np.flatnonzero(backwards[:3]).tolist():
        affine[:3, 3] += affine[:3, axis] * float(sizes[axis] - 1)
        affine[:3, axis] *= -1
