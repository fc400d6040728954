"""Voxel orders such as ``LPS``: which one an affine implies, and the way from one to another.

The letter says where an axis leads: with ``L`` the index grows towards the left.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError
from trxlib.model.space import voxel_order_of

__all__ = ["check_voxel_order", "reorder_matrix", "voxel_order_of"]

Affine = npt.NDArray[np.float64]
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
_WORLD_AXIS = {letter: axis for axis, pair in enumerate(_LETTERS) for letter in pair}


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
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    result = [0, 0, 0]
    for row, letter in enumerate(target):
        column = next(i for i, other in enumerate(source) if _WORLD_AXIS[other] == _WORLD_AXIS[letter])
        result[row] = dimensions[column]
        same = source[column] == letter
        matrix[row, column] = 1 if same else -1
        # A flipped index counts from the last voxel.
        matrix[row, 3] = 0 if same else dimensions[column] - 1
    return matrix, (result[0], result[1], result[2])
