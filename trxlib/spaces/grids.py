"""Several grids in one world: the one that holds them all, and the text that says how they differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from trxlib.errors import InputError, SpaceMismatchError
from trxlib.model.space import Space, describe_misfit, invert_affine, same_space

__all__ = ["describe_misfit", "union_grid"]

Affine = npt.NDArray[np.float64]
_LARGEST = 2**16 - 1  # voxels along an axis, which a TRX header states as uint16
_SLACK = 1e-2  # voxels: grids of one lattice, whose affines are rounded, do not make the result larger
_SAME_DIRECTION = 1e-3


def union_grid(spaces: Iterable[Space]) -> Space:
    """Return the smallest grid that contains all grids of one world.

    Its axes are those of the orientation that most of the spaces have (of the first among equals), so that one file
    made otherwise does not turn the grid of a cohort. Its voxels are as fine as the finest along each axis, and lie
    on the lattice of the first grid that has that orientation and such voxels (or, if none has, begin at the corner of
    the first that has the orientation): grids cut from one image give a grid of the voxels of that image.

    Parameters
    ----------
    spaces : iterable of Space
        Those without a grid (`Space.has_grid`) are passed over. The order matters only between equals.

    Returns
    -------
    Space
        One of the spaces itself, if it contains all others at the finest voxels. Grids are contained to a hundredth of
        a voxel.

    Raises
    ------
    InputError
        If none has a grid.
    SpaceMismatchError
        If the grid would have more voxels along an axis than a TRX header can state.
    HeaderError
        If an affine is singular.
    """
    grids = [space for space in spaces if space.has_grid]
    if not grids:
        raise InputError("none of the inputs has a grid, so there is none that contains them; name a grid, an image")
    alike = _most_common_orientation(grids)
    sizes = np.min([_sizes_along(alike[0], grid) for grid in grids], axis=0)
    # What differs by rounding alone is the same voxel.
    is_finest = [np.isclose(sizes, grid.voxel_sizes, rtol=_SAME_DIRECTION, atol=0) for grid in alike]
    chosen = next((number for number, finest in enumerate(is_finest) if finest.all()), 0)
    main = alike[chosen]
    scale = np.where(is_finest[chosen], 1, sizes / main.voxel_sizes)
    # From the corner of the first voxel, in voxels of the result.
    affine = main.voxel_to_rasmm @ _shift(-0.5) @ np.diag([*scale, 1.0])
    inverse = invert_affine(affine, "grid of all inputs: affine")
    corners = np.concatenate([grid.corners for grid in grids]) @ inverse[:3, :3].T + inverse[:3, 3]
    low, high = np.floor(corners.min(axis=0) + _SLACK), np.ceil(corners.max(axis=0) - _SLACK)
    if not (high - low <= _LARGEST).all():
        raise SpaceMismatchError(
            f"a grid that contains all inputs would have {' x '.join(f'{n:.6g}' for n in high - low)} voxels, and a "
            f"TRX file can state {_LARGEST} along an axis; some input is far from the others or has tiny voxels, name "
            "a grid, an image\n" + describe_misfit({f"input {number}": grid for number, grid in enumerate(grids, 1)})
        )
    affine[:3, 3] += affine[:3, :3] @ (low + 0.5)
    result = Space.create(affine, (high - low).astype(int), "grid of all inputs")
    return next((grid for grid in grids if same_space(grid, result)), result)


def _most_common_orientation(grids: list[Space]) -> list[Space]:
    """Return the grids whose axes run as those of most others; of equals, those that come first."""
    kinds: list[tuple[Space, list[Space]]] = []
    for grid in grids:
        for first, members in kinds:
            if np.allclose(_directions(first), _directions(grid), rtol=0, atol=_SAME_DIRECTION):
                members.append(grid)
                break
        else:
            kinds.append((grid, [grid]))
    return max(kinds, key=lambda kind: len(kind[1]))[1]  # the first of equals


def _directions(space: Space) -> npt.NDArray[np.float64]:
    invert_affine(space.voxel_to_rasmm, "VOXEL_TO_RASMM")
    return np.asarray(space.voxel_to_rasmm[:3, :3] / space.voxel_sizes)


def _sizes_along(main: Space, grid: Space) -> npt.NDArray[np.float64]:
    """Return the voxel sizes of a grid in the order of the axes of `main` that its own are nearest to."""
    overlap = np.abs(_directions(main).T @ _directions(grid))
    order = max(itertools.permutations(range(3)), key=lambda order: overlap[range(3), order].sum())
    return grid.voxel_sizes[list(order)]


def _shift(by: float) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix
