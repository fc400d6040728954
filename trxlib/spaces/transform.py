"""Transforms from files, and the space that a result gets by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, HeaderWarning, warn
from trxlib.model.space import Space, invert_affine, same_space
from trxlib.spaces.text import read_numbers, read_text

__all__ = ["place_result", "read_transform", "transform_from"]

Affine = npt.NDArray[np.float64]
# RAS and LPS differ by the sign of the first two axes.
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def transform_from(transform: Any) -> Affine | None:
    """Return a 4x4 RASMM-to-RASMM transform: None, an array, or the path of a text file.

    Raises
    ------
    HeaderError
        If it is not an invertible 4 x 4 affine.
    """
    if transform is None:
        return None
    if isinstance(transform, (str, Path)):
        return read_transform(transform)
    space = Space.create(transform, (1, 1, 1), "transform")
    return space.voxel_to_rasmm


def read_transform(path: str | Path) -> Affine:
    """Read a 4x4 RASMM-to-RASMM transform from a text file.

    Parameters
    ----------
    path : str or Path
        Four rows of four numbers (``#`` starts a comment), or an affine of ITK (``.txt``, ``.tfm``). ITK works in
        LPS and maps points of the fixed image to the moving one; both signs are turned, and the matrix is taken as
        the way of points, as ``antsApplyTransformsToPoints`` takes it.

    Returns
    -------
    ndarray, float64 of shape (4, 4)

    Raises
    ------
    InputNotFoundError
        If the file cannot be read.
    HeaderError
        If it holds no invertible affine.
    """
    text = read_text(path)
    matrix = _read_itk(text, path) if "#Insight Transform File" in text else _read_matrix(text, path)
    return Space.create(matrix, (1, 1, 1), f"{path}: transform").voxel_to_rasmm


def place_result(path: str, space: Space, reference: Space | None, transform: Affine | None) -> tuple[Space, Affine]:
    """Return the space of the result, and the transform (identity without one).

    Parameters
    ----------
    path : str
        For the warning.
    space : Space
        What the file says of itself.
    reference : Space, optional
        Space of the result: that of the file, or that to which `transform` leads.
    transform : ndarray, optional
        RASMM to RASMM.
    """
    if transform is None:
        if reference is not None and not same_space(space, reference):
            warn(
                f"{path}: its header has dimensions {list(space.dimensions)} and affine {_short(space)}, the reference "
                f"{list(reference.dimensions)} and {_short(reference)}; the reference's go into the result",
                HeaderWarning,
            )
        return reference or space, np.eye(4)
    if reference is not None:
        return reference, transform
    return Space(transform @ space.voxel_to_rasmm, space.dimensions), transform


def _short(space: Space) -> str:
    return str(np.round(space.voxel_to_rasmm[:3], 4).tolist())


def _read_matrix(text: str, path: str | Path) -> npt.NDArray[np.float64]:
    rows = read_numbers(text, path, "transform")
    if [len(row) for row in rows] != [4, 4, 4, 4]:
        raise HeaderError(f"{path} has rows of {[len(row) for row in rows]} numbers, expected four rows of four")
    return np.array(rows)


def _read_itk(text: str, path: str | Path) -> npt.NDArray[np.float64]:
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))
    kind = fields.get("Transform", "").strip()
    try:
        numbers = np.array(fields["Parameters"].split(), dtype=np.float64)
        centre = np.array(fields["FixedParameters"].split(), dtype=np.float64)
    except (KeyError, ValueError):
        raise HeaderError(f"{path}: an ITK transform needs Parameters and FixedParameters, numbers each") from None
    if text.count("\nTransform:") != 1 or not kind.startswith(("AffineTransform", "MatrixOffsetTransformBase")):
        raise HeaderError(f"{path} holds {kind or 'no'} transform; expected one AffineTransform of ITK")
    if numbers.shape != (12,) or centre.shape != (3,):
        raise HeaderError(f"{path}: {numbers.size} Parameters and {centre.size} FixedParameters, expected 12 and 3")
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    # ITK turns about a centre of its own.
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    invert_affine(matrix, f"{path}: transform")
    return np.asarray(_LPS @ matrix @ _LPS)
