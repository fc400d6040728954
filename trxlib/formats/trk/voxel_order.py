"""Voxel orders such as ``LPS``: which one an affine implies, and the way from one to another.

The letter says where an axis leads: with ``L`` the index grows towards the left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trxlib.errors import HeaderError
from trxlib.model.header_fields import Rows, edges_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Affine = npt.NDArray[np.float64]

__all__ = ["check_voxel_order", "reorder_grid", "reorder_matrix", "voxel_order_of"]

_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
_WORLD_AXIS = {letter: axis for axis, pair in enumerate(_LETTERS) for letter in pair}


def voxel_order_of(affine: Affine | Rows) -> str:
    """Return the voxel order that an affine implies, e.g. ``"LAS"``.

    The nearest rotation decides for oblique affines: voxel axes, the clearest first, take the world axis that they
    are closest to. nibabel computes it so, and programs write the order that nibabel computes.
    """
    rows: Rows = affine if isinstance(affine, list) else affine.tolist()
    edges = edges_of(rows)
    if all(edges):
        axes = [[rows[row][axis] / edges[axis] for row in range(3)] for axis in range(3)]
        worlds = _clear_worlds(axes)
        if worlds:
            return "".join(_LETTERS[world][int(axis[world] > 0)] for axis, world in zip(axes, worlds, strict=True))
    return _order_of_rotation(rows)


def _clear_worlds(axes: Rows) -> list[int]:
    """Return the world axis of each voxel axis (unit vectors), or nothing if there is any doubt.

    Voxel axes within 25 degrees of different world axes, and nearly at right angles, are there in the nearest
    rotation, too: it differs by less than 0.13 from them, so that 0.9 stays well above what is beside it.
    """
    worlds = [max(range(3), key=lambda world: abs(axis[world])) for axis in axes]
    apart = [abs(sum(a * b for a, b in zip(axes[i], axes[j], strict=True))) for i, j in ((0, 1), (0, 2), (1, 2))]
    near = all(abs(axis[world]) > 0.9 for axis, world in zip(axes, worlds, strict=True))
    return worlds if near and len(set(worlds)) == 3 and max(apart) < 0.1 else []


def _order_of_rotation(rows: Rows) -> str:
    import numpy as np

    edges: Any = np.array(rows)[:3, :3]
    left, _, right = np.linalg.svd(edges / np.sqrt((edges**2).sum(axis=0)))
    rotation = left @ right
    letters = ["", "", ""]
    for axis in np.argsort(-(rotation**2).max(axis=0), kind="stable").tolist():
        world = int(np.argmax(np.abs(rotation[:, axis])))
        letters[axis] = _LETTERS[world][int(rotation[world, axis] > 0)]
        rotation[world] = 0
    return "".join(letters)


def check_voxel_order(text: str, what: str) -> str:
    """Return a voxel order in capitals.

    Raises
    ------
    HeaderError
        If it does not name each of the three directions once; `what` stands in the message.
    """
    order = text.upper()
    if sorted(_WORLD_AXIS.get(letter, -1) for letter in order) != [0, 1, 2]:
        raise HeaderError(
            f"{what} is {text!r}, expected three letters, one each of L or R, P or A, I or S, such as 'LPS'"
        )
    return order


def reorder_matrix(source: str, target: str, dimensions: tuple[int, int, int]) -> tuple[Affine, tuple[int, int, int]]:
    """Return the way from voxel indices in one order to those in another.

    Parameters
    ----------
    source, target : str
        Voxel orders.
    dimensions : tuple of 3 int
        The grid along the axes of `source`.

    Returns
    -------
    ndarray, float64 of shape (4, 4)
        Voxel indices in `source` order to indices in `target` order.
    tuple of 3 int
        The grid along the axes of `target`.
    """
    import numpy as np

    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for row, (column, same) in enumerate(_columns(source, target)):
        matrix[row, column] = 1 if same else -1
        # A flipped index counts from the last voxel.
        matrix[row, 3] = 0 if same else dimensions[column] - 1
    return matrix, reorder_grid(source, target, dimensions)


def reorder_grid(source: str, target: str, dimensions: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the grid along the axes of `target` of one whose `dimensions` are along those of `source`."""
    first, second, third = (dimensions[column] for column, _ in _columns(source, target))
    return first, second, third


def _columns(source: str, target: str) -> list[tuple[int, bool]]:
    """Return, for each axis of `target`, which axis of `source` it is, and whether both lead the same way."""
    column_of = {_WORLD_AXIS[letter]: column for column, letter in enumerate(source)}
    columns = [column_of[_WORLD_AXIS[letter]] for letter in target]
    return [(column, source[column] == letter) for column, letter in zip(columns, target, strict=True)]
