"""Voxel orders such as ``LPS``: checked, and the way from one to another.

The letter says where an axis leads: with ``L`` the index grows towards the left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trxlib.errors import HeaderError
from trxlib.model.voxel_order import LETTERS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Affine = npt.NDArray[np.float64]

__all__ = ["check_voxel_order", "reorder_grid", "reorder_matrix"]

_WORLD_AXIS = {letter: axis for axis, pair in enumerate(LETTERS) for letter in pair}


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
