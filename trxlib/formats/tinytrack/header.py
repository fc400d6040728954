"""What the small matrices of a TinyTrack file say: its grid, where that lies in the world, and notes.

Vertices are voxel indices of the image that DSI Studio tracked in, an integer at a voxel's centre. Whatever the image's
own axes, that program has turned them so that they run to the left, the back and the top (``LPS``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, FormatError, HeaderError, HeaderWarning, ShapeError, SpaceMismatchError, warn
from trxlib.formats.trk.fields import are_edges
from trxlib.formats.trk.voxel_order import reorder_matrix
from trxlib.model.header_fields import check_dimensions
from trxlib.model.space import SPACE_TOLERANCE, Space

__all__ = ["TinyTrackHeader", "stand_in_affine"]

Array = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]
_ORDER = "LPS"
_WAY_OUT = "name the image that was tracked in as the reference (transform_source, if a transform is given)"
_MISSING = "trans_to_mni is missing"
_MADE_UP = "trans_to_mni is what DSI Studio writes for an image without a known place"
_SAME_SIZE = 0.01  # of a voxel's edge


def stand_in_affine(dimensions: npt.ArrayLike, voxel_sizes: npt.ArrayLike) -> Affine:
    """Return the affine that DSI Studio makes up where it knows none: axes of the body, the last voxel at the origin.

    Parameters
    ----------
    dimensions : array_like of 3 int
        Voxels to the left, the back and the top.
    voxel_sizes : array_like of 3 float
        In mm.

    Returns
    -------
    ndarray, float64 of shape (4, 4)
    """
    sizes = np.asarray(voxel_sizes, dtype=np.float64)
    affine = np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])
    affine[:2, 3] = sizes[:2] * (np.asarray(dimensions, dtype=np.float64)[:2] - 1)
    return affine


class TinyTrackHeader:
    """The small matrices of a TinyTrack file, checked.

    Parameters
    ----------
    values : mapping of str to ndarray
        Name of a matrix to its numbers.
    path : str
        For messages.

    Raises
    ------
    FormatError
        If one is missing or impossible; it is named.
    """

    def __init__(self, values: Mapping[str, Array], path: str) -> None:
        self.path = path
        self.dimensions = check_dimensions(_numbers(values, "dimension", 3, path).tolist(), f"{path}: dimension")
        if not all(self.dimensions):
            raise HeaderError(f"{path}: dimension is {list(self.dimensions)}, expected three whole numbers above 0")
        #: In mm, shape (3,).
        self.voxel_sizes: npt.NDArray[np.float64] = _numbers(values, "voxel_size", 3, path)
        if not are_edges(self.voxel_sizes):
            raise HeaderError(
                f"{path}: voxel_size is {self.voxel_sizes.tolist()}, expected three lengths in mm above 0"
            )
        #: What the file says of its place in the world; None if it says nothing.
        self.space: Space | None = None
        if "trans_to_mni" in values:
            matrix = _numbers(values, "trans_to_mni", 16, path).reshape(4, 4)
            self.space = Space.create(matrix, self.dimensions, f"{path}: trans_to_mni")
        self.report, self.parameter_id = (_text(values.get(name)) for name in ("report", "parameter_id"))
        #: Red, green and blue of each colour, uint8 of shape (n, 3).
        self.colors = _colors(values.get("color"), path)

    @property
    def is_made_up(self) -> bool:
        """Whether the place in the world is what DSI Studio writes where it knows none."""
        stand_in = stand_in_affine(self.dimensions, self.voxel_sizes)
        return self.space is not None and np.allclose(self.space.voxel_to_rasmm, stand_in, rtol=0, atol=SPACE_TOLERANCE)

    @property
    def has_place(self) -> bool:
        """Whether the file says where in the world its grid is, and has not made it up."""
        return self.space is not None and not self.is_made_up

    def place(self, given: Space | None) -> tuple[Space, Affine]:
        """Return the space of the file, and the way from its voxels to RASMM.

        Parameters
        ----------
        given : Space, optional
            The image that was tracked in, which says where the grid is if the file itself does not.

        Raises
        ------
        HeaderError
            If neither says it.
        SpaceMismatchError
            If the grid of the image is another.

        Warns
        -----
        HeaderWarning
            If the file's own affine is made up, or not that of its voxel sizes, and that of `given` otherwise.
        """
        if self.space is not None and (given is None or not self.is_made_up):
            self.warn_of_place()
            return self.space, self.space.voxel_to_rasmm
        found = _MISSING if self.space is None else _MADE_UP
        if given is None:
            raise HeaderError(f"{self.path}: {found}, so nothing tells where in the world its voxels are; {_WAY_OUT}")
        reorder, grid = reorder_matrix(_ORDER, given.voxel_order, self.dimensions)
        sizes = np.abs(reorder[:3, :3].T) @ given.voxel_sizes
        if grid != given.dimensions or not self._has_sizes_of(sizes):
            raise SpaceMismatchError(
                f"{self.path}: {found}, and its grid is another than that of the image given: {list(self.dimensions)} "
                f"voxels of {self.voxel_sizes.tolist()} mm to the left, back and top, that is {list(grid)} along "
                f"the axes of the image ({given.voxel_order}), and that has {list(given.dimensions)}, voxels of "
                f"{np.round(given.voxel_sizes, 4).tolist()} mm; {_WAY_OUT}"
            )
        self._warn(f"{found}; the affine of the image given is taken")
        return given, given.voxel_to_rasmm @ reorder

    def warn_of_place(self) -> None:
        """Warn if the file's affine is made up, or not that of its voxel sizes.

        Warns
        -----
        HeaderWarning
        """
        if self.is_made_up:
            self._warn(
                f"{_MADE_UP} (axes to the left, the back and the top, the last voxel at 0 mm); it is taken, "
                f"and may be far from the scanner's space; {_WAY_OUT}"
            )
        elif self.space is not None and not self._has_sizes_of(self.space.voxel_sizes):
            self._warn(
                f"voxel_size is {self.voxel_sizes.tolist()}, and the edges of trans_to_mni are "
                f"{np.round(self.space.voxel_sizes, 4).tolist()} mm; trans_to_mni is taken"
            )

    def facts(self, *, with_color: bool) -> dict[str, Any]:
        """Return what a TRX header has no field for, as JSON values."""
        facts: dict[str, Any] = {"dimension": list(self.dimensions), "voxel_size": self.voxel_sizes.tolist()}
        if self.space is not None:
            facts["trans_to_mni"] = self.space.voxel_to_rasmm.tolist()
        facts |= {name: text for name in ("report", "parameter_id") if (text := getattr(self, name))}
        if with_color and len(self.colors):
            facts["color"] = self.colors.tolist()
        return facts

    def _has_sizes_of(self, sizes: Array) -> bool:
        return np.allclose(sizes, self.voxel_sizes, rtol=_SAME_SIZE, atol=0)

    def _warn(self, text: str) -> None:
        warn(f"{self.path}: {text}", HeaderWarning)


def _numbers(values: Mapping[str, Array], name: str, count: int, path: str) -> npt.NDArray[np.float64]:
    """Return the numbers of a matrix that has to have so many."""
    if name not in values:
        raise FormatError(f"{path}: there is no matrix {name!r}; it is no TinyTrack file, or cut")
    value = values[name]
    if value.size != count:
        raise ShapeError(f"{path}: {name} has {value.size} numbers, expected {count}")
    # Through text, so that a voxel size of 0.2 does not become 0.20000000298.
    return np.array([float(str(item)) for item in value.ravel()]) if value.dtype == "<f4" else value.astype(np.float64)


def _text(value: Array | None) -> str:
    if value is None:
        return ""
    return value.astype(np.uint8).tobytes().partition(b"\0")[0].decode("utf-8", errors="replace").strip()


def _colors(value: Array | None, path: str) -> npt.NDArray[np.uint8]:
    """Return red, green and blue of numbers 0xRRGGBB."""
    if value is None:
        return np.zeros((0, 3), dtype=np.uint8)
    if value.dtype.kind not in "iu" or value.dtype.itemsize < 4:
        raise DtypeError(f"{path}: color is {value.dtype.name}, expected 32-bit integers")
    packed = value.astype("<u4").view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(packed[:, 2::-1])
