"""Spaces: the affine and grid of a reference image, and products of small matrices between its coordinates.

``vox`` has integers at voxel centres, ``voxmm`` of TRK has its origin at the corner of the first voxel, ``rasmm``
is world space in mm. TRX specification, "Header"; TrackVis documentation, "vox_to_ras".
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import SpaceMismatchError
from trxlib.model.header import check_affine
from trxlib.model.header_fields import check_dimensions, check_invertible
from trxlib.model.voxel_order import voxel_order_of

__all__ = [
    "SPACE_TOLERANCE",
    "Space",
    "check_same_space",
    "describe_misfit",
    "group_spaces",
    "invert_affine",
    "is_blank",
    "same_affine",
    "same_space",
]

Affine = npt.NDArray[np.float64]
#: Affines this close (per element, mm) are one space: headers store float32, and programs round differently.
SPACE_TOLERANCE = 1e-3
_SAME_CORNER = 0.1  # mm: affines that differ by rounding move the far corner of a grid so much at most
_FEW = 5  # names in a row of a message


@dataclass(frozen=True, eq=False)
class Space:
    """The grid of a reference image.

    Parameters
    ----------
    voxel_to_rasmm : ndarray, float64 of shape (4, 4)
        Voxel centres to RASMM in mm.
    dimensions : tuple of 3 int
        Voxels along each axis; 0 0 0 or 1 1 1 of those that know none (`has_grid`).

    Examples
    --------
    >>> space = trxlib.Space(np.diag([-2.0, 2.0, 2.0, 1.0]), (80, 96, 64))
    >>> space.voxel_order, space.voxel_sizes.tolist(), round(space.voxel_volume, 3)
    ('LAS', [2.0, 2.0, 2.0], 8.0)
    """

    voxel_to_rasmm: Affine
    dimensions: tuple[int, int, int]

    @classmethod
    def create(cls, affine: npt.ArrayLike, dimensions: npt.ArrayLike, what: str) -> Space:
        """Check both parts and return a Space.

        Parameters
        ----------
        affine : array_like of shape (4, 4)
            Voxel centres to RASMM in mm; copied.
        dimensions : array_like of 3 int
            Voxels along each axis.
        what : str
            Where they are from, for messages.

        Returns
        -------
        Space

        Raises
        ------
        HeaderError
            If the affine is not 4 x 4, finite and invertible, or the dimensions are not three uint16.

        Examples
        --------
        >>> trxlib.Space.create(np.diag([2, 2, 2, 1]), [80, 96, 64], "my image").dimensions
        (80, 96, 64)
        >>> trxlib.Space.create(np.diag([2, 2, 0, 1]), [80, 96, 64], "my image")
        Traceback (most recent call last):
        trxlib.errors.HeaderError: my image: affine ...
        """
        matrix = check_affine(affine, f"{what}: affine")
        invert_affine(matrix, f"{what}: affine")
        return cls(matrix, check_dimensions(dimensions, f"{what}: dimensions"))

    @property
    def has_grid(self) -> bool:
        """Whether the dimensions are those of an image: programs that know none write 0 0 0 or 1 1 1.

        Examples
        --------
        >>> Space(np.eye(4), (80, 96, 64)).has_grid, Space(np.eye(4), (1, 1, 1)).has_grid
        (True, False)
        """
        return min(self.dimensions) > 0 and max(self.dimensions) > 1

    @property
    def voxel_order(self) -> str:
        """Where the voxel axes lead, such as ``"LAS"``: see `voxel_order_of`.

        Examples
        --------
        >>> trxlib.Space(np.diag([-2.0, 2.0, 2.0, 1.0]), (80, 96, 64)).voxel_order
        'LAS'
        """
        return voxel_order_of(self.voxel_to_rasmm)

    def to_json(self) -> dict[str, Any]:
        """Return affine and dimensions as JSON values, which are a reference as well.

        Returns
        -------
        dict
            ``voxel_to_rasmm``, four rows of four numbers, and ``dimensions``, three whole numbers.

        Examples
        --------
        >>> trxlib.Space(np.eye(4), (80, 96, 64)).to_json()["dimensions"]
        [80, 96, 64]
        """
        return {"voxel_to_rasmm": self.voxel_to_rasmm.tolist(), "dimensions": list(self.dimensions)}

    @property
    def voxel_sizes(self) -> npt.NDArray[np.float64]:
        """Lengths of a voxel's edges in mm, shape (3,).

        Examples
        --------
        >>> trxlib.Space(np.diag([-2.0, 2.0, 2.5, 1.0]), (80, 96, 64)).voxel_sizes.tolist()
        [2.0, 2.0, 2.5]
        """
        return np.asarray(np.sqrt((self.voxel_to_rasmm[:3, :3] ** 2).sum(axis=0)))

    @property
    def corners(self) -> npt.NDArray[np.float64]:
        """The corners of the box that the voxels fill, RASMM in mm, shape (8, 3).

        Examples
        --------
        Voxels reach half their size beyond the centres of the first and the last:

        >>> trxlib.Space(np.eye(4), (80, 96, 64)).corners[[0, -1]].tolist()
        [[-0.5, -0.5, -0.5], [79.5, 95.5, 63.5]]
        """
        edges = np.array(self.dimensions) - 0.5
        indices = np.array(list(itertools.product(*((-0.5, edge) for edge in edges))))
        return np.asarray(indices @ self.voxel_to_rasmm[:3, :3].T + self.voxel_to_rasmm[:3, 3])

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in mm3.

        Examples
        --------
        >>> round(trxlib.Space(np.diag([-2.0, 2.0, 2.5, 1.0]), (80, 96, 64)).voxel_volume, 3)
        10.0
        """
        return float(abs(np.linalg.det(self.voxel_to_rasmm[:3, :3])))

    @property
    def rasmm_to_voxel(self) -> Affine:
        """RASMM in mm to voxel centres: the inverse affine, float64 of shape (4, 4).

        Raises
        ------
        HeaderError
            If the affine is singular.

        Examples
        --------
        >>> trxlib.Space(np.diag([2.0, 2.0, 2.0, 1.0]), (80, 96, 64)).rasmm_to_voxel[0].tolist()
        [0.5, 0.0, 0.0, 0.0]
        """
        return invert_affine(self.voxel_to_rasmm, "VOXEL_TO_RASMM")


def invert_affine(affine: Affine, what: str) -> Affine:
    """Return the inverse of an affine.

    Raises
    ------
    HeaderError
        If it is singular: its voxels would have no volume.
    """
    check_invertible(affine.tolist(), what)
    return np.asarray(np.linalg.inv(affine), dtype=np.float64)


def same_affine(first: Space, second: Space) -> bool:
    """Tell whether the affines of two spaces agree within `SPACE_TOLERANCE`."""
    return bool(np.allclose(first.voxel_to_rasmm, second.voxel_to_rasmm, rtol=0, atol=SPACE_TOLERANCE))


def same_space(first: Space, second: Space) -> bool:
    """Tell whether two spaces agree: affines within `SPACE_TOLERANCE`, and one grid, or none in either."""
    no_grids = not (first.has_grid or second.has_grid)
    return (no_grids or first.dimensions == second.dimensions) and same_affine(first, second)


def is_blank(space: Space) -> bool:
    """Tell whether a space is that of a new file, which nobody has given one: identity, 1 x 1 x 1 voxels."""
    return space.dimensions == (1, 1, 1) and same_affine(space, Space(np.eye(4), (1, 1, 1)))


def check_same_space(spaces: Mapping[str, Space], transformed: Collection[str] = ()) -> None:
    """Check that all spaces agree.

    Parameters
    ----------
    spaces : mapping of str to Space
        Name of each input to its space.
    transformed : collection of str
        Names of the inputs that a transform moves.

    Raises
    ------
    SpaceMismatchError
        With the text of `describe_misfit`.
    """
    if len(group_spaces(spaces)) > 1:
        raise SpaceMismatchError(describe_misfit(spaces, transformed))


def group_spaces(spaces: Mapping[str, Space]) -> list[tuple[Space, list[str]]]:
    """Return each distinct space with the names that have it: the one of most names first, others as they come."""
    kinds: list[tuple[Space, list[str]]] = []
    for name, space in spaces.items():
        for kind, names in kinds:
            if same_space(kind, space):
                names.append(name)
                break
        else:
            kinds.append((space, [name]))
    # sort keeps the order of equals, so the result does not depend on chance.
    return sorted(kinds, key=lambda kind: -len(kind[1]))


def describe_misfit(spaces: Mapping[str, Space], transformed: Collection[str] = ()) -> str:
    """Return a table of the distinct spaces, and what can be done about each that is not the most common one.

    Parameters
    ----------
    spaces : mapping of str to Space
        Name of each input to its space.
    transformed : collection of str
        Names of the inputs that a transform moves.

    Returns
    -------
    str
        Lines; a row of the table is one space, its names cut after a few.
    """
    kinds = group_spaces(spaces)
    members = kinds[0][1]
    lines = [
        f"the inputs are in {len(kinds)} different spaces; {len(members)} of {len(spaces)} (such as {members[0]}) are "
        "in that of row 1:"
    ]
    rows = [["row", "files", "dimensions", "voxel sizes (mm)", "order", "first voxel (mm)", "inputs"]]
    rows += [_row(number, space, names) for number, (space, names) in enumerate(kinds, 1)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for number, (space, names) in enumerate(kinds[1:], 2):
        lines += [f"  row {number} {advice}" for advice in _advise(kinds[0], (space, names), transformed)]
    lines.append(
        "  images of different worlds (subjects, sessions, templates) are brought together by a transform: register "
        "them, and name the transform and, as reference, the image that it leads to"
    )
    return "\n".join(lines)


def _row(number: int, space: Space, names: list[str]) -> list[str]:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    sizes = space.voxel_sizes
    return [
        str(number),
        str(len(names)),
        " x ".join(map(str, space.dimensions)) + ("" if space.has_grid else " (none)"),
        " x ".join(f"{size:.4g}" for size in sizes),
        # A singular affine has no order.
        space.voxel_order if sizes.all() else "none",
        " ".join(f"{value:.6g}" for value in space.voxel_to_rasmm[:3, 3]),
        ", ".join(names[:_FEW]) + more,
    ]


def _advise(first: tuple[Space, list[str]], other: tuple[Space, list[str]], transformed: Collection[str]) -> list[str]:
    """Return what there is to say of a space beside the most common one, each beginning with a verb."""
    moved = [[name in transformed for name in names] for _, names in (first, other)]
    advice = []
    if all(moved[1]) and not all(moved[0]):
        advice.append(
            "is where transforms lead: a file that has one and no reference keeps its own grid, moved; name as "
            "reference the image that the transform leads to, and check that no transform belongs to another file"
        )
    elif any(moved[0]) and not any(moved[1]):
        advice.append(
            "has no transform, and files of row 1 have one: name a transform here, too, or check that those of row 1 "
            "belong to their files"
        )
    return [*advice, _compare(first[0], other[0])]


def _compare(first: Space, other: Space) -> str:
    if not (first.has_grid and other.has_grid):
        which = "has no grid" if first.has_grid else "has a grid, and row 1 has none"
        world = "the affine is that of row 1" if same_affine(first, other) else "the affine is another, too"
        return (
            f"{which} (programs that know none write dimensions of 0 or 1), {world}: name as reference the image that "
            "the streamlines belong to"
        )
    if _same_corners(first, other):
        return (
            "covers one and the same box as row 1, with other axes or voxels: name one reference for both, that is "
            "enough; nothing need be resampled, since positions are in mm"
        )
    boxes = [(corners.min(axis=0), corners.max(axis=0)) for corners in (first.corners, other.corners)]
    if (np.maximum(boxes[0][0], boxes[1][0]) >= np.minimum(boxes[0][1], boxes[1][1])).any():
        return "does not even touch the box of row 1: it is in another world, and a transform has to lead out of it"
    return (
        "has another field of view than row 1: if both lie in one world (one scan, or one template), use 'space: "
        "world' with 'grid:', an image for the result; nothing need be resampled"
    )


def _same_corners(first: Space, other: Space) -> bool:
    """Tell whether two grids fill one box, whichever way their axes run."""
    distances = np.abs(first.corners[:, np.newaxis] - other.corners).max(axis=2)
    return bool((distances.min(axis=0) < _SAME_CORNER).all() and (distances.min(axis=1) < _SAME_CORNER).all())
