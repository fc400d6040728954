"""The voxel order that an affine implies, such as ``LPS``: where each voxel axis leads. Starts without numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trxlib.model.header_fields import Rows, edges_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Affine = npt.NDArray[np.float64]

__all__ = ["LETTERS", "voxel_order_of"]

#: The two letters of each world axis: with ``L`` the index grows towards the left.
LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


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
            return "".join(LETTERS[world][int(axis[world] > 0)] for axis, world in zip(axes, worlds, strict=True))
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
        letters[axis] = LETTERS[world][int(rotation[world, axis] > 0)]
        rotation[world] = 0
    return "".join(letters)
