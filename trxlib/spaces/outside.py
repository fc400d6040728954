"""Many vertices outside the grid of a result: whether that may pass, and what is probably wrong.

A few vertices outside are ordinary. A tenth or more of them has, nearly always, one of few reasons: another reference,
a transform that leads the other way, voxels taken for millimetres, LPS taken for RAS. Each is tried on some of the
vertices, so that the message can say under which of them they would lie inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import SpaceMismatchError, SpaceWarning, warn
from trxlib.model.offsets import Rows
from trxlib.model.space import Space
from trxlib.spaces.grid import Grid

__all__ = ["SAMPLE", "judge_share", "thin_out"]

Array = npt.NDArray[Any]
#: Vertices of a block that reasons are tried on.
SAMPLE = 500
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_OWN = "the grid"
_PIECES, _PIECE = 32, 64  # vertices of a mapped file that are looked at
_BLOCK = 1 << 16
_CONVINCING = 0.9  # share inside that makes a reason worth telling


def thin_out(positions: Array) -> Array:
    """Return at most `SAMPLE` of some vertices, spread evenly, as float64 copies; only finite ones."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is one that is not finite
        some = positions[:: max(1, -(-len(positions) // SAMPLE))].astype(np.float64)
    return np.asarray(some[np.isfinite(some).all(axis=1)])


def judge_share(
    path: str,
    counts: tuple[int, int],
    sample: Array,
    space: Space,
    *,
    matrix: Array | None,
    limits: tuple[float, float],
    what: str = "its vertices",
    grid: str = _OWN,
) -> None:
    """Warn, or raise, if a large share of vertices lies outside a grid.

    Parameters
    ----------
    path : str
        The tractogram, for the message.
    counts : tuple of 2 int
        Vertices outside, and all of them.
    sample : ndarray, float64 of shape (n, 3)
        Some of the vertices, RASMM of the result.
    space : Space
        Of the result. Without a grid nothing is judged.
    matrix : ndarray of shape (4, 4), optional
        The linear transform that brought the vertices there.
    limits : tuple of 2 float
        Shares above which a warning is given, and an error is raised.
    what : str
        What was counted.
    grid : str
        What the message calls the grid of `space`.

    Raises
    ------
    SpaceMismatchError
        If the share is above the second limit.

    Warns
    -----
    SpaceWarning
        If it is above the first.
    """
    outside, total = counts
    if not total or not space.has_grid or outside <= min(limits) * total:
        return
    voxels = "x".join(map(str, space.dimensions))
    text = (
        f"{path}: {100 * outside / total:.3g} % of {what} ({outside} of {total}) lie outside {grid} of {voxels} voxels"
    )
    reasons = _find_reasons(sample, space, matrix)
    doubt = "is it the right reference, and does the transform lead to it?"
    if grid != _OWN:
        doubt = "is it large enough, and is it in the same world?"
    text += "; " + ("; ".join(reasons) or doubt)
    if outside > limits[1] * total:
        raise SpaceMismatchError(f"{text}; if all is right as it is, raise the limit (max_outside, now {limits[1]:g})")
    warn(f"{text} (a warning above warn_outside, {limits[0]:g})", SpaceWarning)


def judge_some(path: str, positions: Array | Rows, space: Space, *, limits: tuple[float, float]) -> None:
    """Judge positions that lie in a file by some of them, and by all where many of these lie outside.

    Parameters
    ----------
    path : str
        The tractogram, for the message.
    positions : ndarray or Rows of shape (nb_vertices, 3)
        RASMM; a few pages of it are read.
    space, limits
        See `judge_share`, as for errors and warnings.
    """
    grid = Grid(space, path)
    if not grid.has_grid or not len(positions):
        return
    starts = np.unique(np.linspace(0, max(0, len(positions) - _PIECE), _PIECES).astype(np.int64))
    some = np.concatenate([positions[start : start + _PIECE] for start in starts])
    if len(grid.find_outside(some)) <= min(limits) * len(some):
        return
    blocks = range(0, len(positions), _BLOCK)
    outside = sum(len(grid.find_outside(positions[start : start + _BLOCK])) for start in blocks)
    judge_share(path, (outside, len(positions)), thin_out(some), space, matrix=None, limits=limits)


def _find_reasons(sample: Array, space: Space, matrix: Array | None) -> list[str]:
    """Return what would bring the vertices into the grid, each with the share that would lie inside."""
    if not len(sample):
        return []
    grid = Grid(space)
    tried: list[tuple[Array, str]] = [
        (_LPS, "in LPS: was the file written so? (transform diag(-1, -1, 1, 1))"),
        (space.voxel_to_rasmm, "in voxels: were voxel indices taken for mm? (the affine of the grid is the transform)"),
    ]
    if matrix is not None and not np.array_equal(matrix, np.eye(4)):
        back = np.linalg.inv(matrix)
        tried = [
            (back @ back, "with the inverse of the transform: does it lead the other way? (transform_inverse)"),
            (back, "without the transform: are the streamlines in the space of the result already?"),
            *tried,
        ]
    found = []
    outside = len(grid.find_outside(sample))
    for step, text in tried:
        with np.errstate(over="ignore", invalid="ignore"):  # far away is outside, however far
            moved = sample @ step[:3, :3].T + step[:3, 3]
        left = len(grid.find_outside(moved))
        share = 1 - left / len(sample)
        # A head is nearly symmetrical: what lies inside anyway does not speak for LPS.
        if share >= _CONVINCING and left <= outside / 2:
            found.append(f"{100 * share:.3g} % would lie inside if they were taken {text}")
    return found
