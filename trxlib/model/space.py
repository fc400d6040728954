"""Spaces: the affine and grid of a reference image, and products of small matrices between its coordinates.

``vox`` has integers at voxel centres, ``voxmm`` of TRK has its origin at the corner of the first voxel, ``rasmm``
is world space in mm. TRX specification, "Header"; TrackVis documentation, "vox_to_ras".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trxlib.errors import SpaceMismatchError
from trxlib.model.header import check_affine
from trxlib.model.header_fields import check_dimensions, check_invertible

__all__ = ["SPACE_TOLERANCE", "Space", "check_same_space", "invert_affine", "is_blank", "same_space"]

Affine = npt.NDArray[np.float64]
#: Affines this close (per element, mm) are one space: headers store float32, and programs round differently.
SPACE_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Space:
    """The grid of a reference image.

    Parameters
    ----------
    voxel_to_rasmm : ndarray, float64 of shape (4, 4)
        Voxel centres to RASMM in mm.
    dimensions : tuple of 3 int
        Voxels along each axis.
    """

    voxel_to_rasmm: Affine
    dimensions: tuple[int, int, int]

    @classmethod
    def create(cls, affine: npt.ArrayLike, dimensions: npt.ArrayLike, what: str) -> Space:
        """Check both parts and return a Space; `what` names the source in messages.

        Raises
        ------
        HeaderError
            If the affine is not 4 x 4, finite and invertible, or the dimensions are not three uint16.
        """
        matrix = check_affine(affine, f"{what}: affine")
        invert_affine(matrix, f"{what}: affine")
        return cls(matrix, check_dimensions(dimensions, f"{what}: dimensions"))

    @property
    def voxel_sizes(self) -> npt.NDArray[np.float64]:
        """Lengths of a voxel's edges in mm, shape (3,)."""
        return np.asarray(np.sqrt((self.voxel_to_rasmm[:3, :3] ** 2).sum(axis=0)))

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in mm3."""
        return float(abs(np.linalg.det(self.voxel_to_rasmm[:3, :3])))

    @property
    def rasmm_to_voxel(self) -> Affine:
        """The inverse affine."""
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


_BLANK = Space(np.eye(4), (1, 1, 1))


def same_space(first: Space, second: Space) -> bool:
    """Tell whether two spaces agree: equal dimensions, affines within `SPACE_TOLERANCE`."""
    return first.dimensions == second.dimensions and bool(
        np.allclose(first.voxel_to_rasmm, second.voxel_to_rasmm, rtol=0, atol=SPACE_TOLERANCE)
    )


def is_blank(space: Space) -> bool:
    """Tell whether a space is that of a new file, which nobody has given one: identity, 1 x 1 x 1 voxels."""
    return same_space(space, _BLANK)


def check_same_space(spaces: Mapping[str, Space]) -> None:
    """Check that all spaces agree with the one that most inputs have.

    Parameters
    ----------
    spaces : mapping of str to Space
        Name of each input to its space.

    Raises
    ------
    SpaceMismatchError
        Lists every input that differs, and how.
    """
    if not spaces:
        return
    kinds: list[tuple[Space, list[str]]] = []
    for name, space in spaces.items():
        for kind, names in kinds:
            if same_space(kind, space):
                names.append(name)
                break
        else:
            kinds.append((space, [name]))
    if len(kinds) == 1:
        return
    # max keeps the first of equals, so the message does not depend on chance.
    common, members = max(kinds, key=lambda kind: len(kind[1]))
    lines = [
        f"the inputs are in {len(kinds)} different spaces; {len(members)} of {len(spaces)} (such as {members[0]}) have "
        f"dimensions {list(common.dimensions)} and affine {_short(common.voxel_to_rasmm)}; these differ:"
    ]
    for kind, names in kinds:
        if kind is not common:
            text = f"dimensions {list(kind.dimensions)}, affine {_short(kind.voxel_to_rasmm)}"
            lines += [f"  {name}: {text}" for name in names]
    lines.append(
        "  resample or register them first, or name a 4x4 RAS-to-RAS transform and, as reference, the image it leads to"
    )
    raise SpaceMismatchError("\n".join(lines))


def _short(affine: Affine) -> str:
    return str(np.round(affine[:3], 4).tolist())
