"""Matrices of FLIRT: from mm of one image's voxels to mm of another's.

FLIRT's coordinates are voxel times voxel size, with x turned over in images whose affine has a positive determinant
(neurological order). So they depend on both images, and the matrix alone moves nothing. FSL documentation, "FLIRT".
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from trxlib.errors import HeaderError
from trxlib.model.space import Space
from trxlib.spaces.transforms.linear import Affine, invert, multiply
from trxlib.spaces.transforms.nifti_fields import is_nifti, open_maybe_gzip

__all__ = ["check_voxel_sizes", "fsl_to_rasmm", "ras_from_fsl"]

_NIFTI_2_BYTES = 540


def check_voxel_sizes(path: str | Path, space: Space) -> None:
    """Check that the voxel sizes of a NIfTI header, which FLIRT takes, are those of its affine.

    Raises
    ------
    HeaderError
        If they are not.
    """
    with open_maybe_gzip(path) as stream:
        head = stream.read(_NIFTI_2_BYTES)
    if not is_nifti(head):
        return
    is_first = 348 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    order = "<" if int.from_bytes(head[:4], "little") in (348, _NIFTI_2_BYTES) else ">"
    sizes = np.abs(struct.unpack_from(f"{order}{'3f' if is_first else '3d'}", head, 80 if is_first else 112))
    if not np.allclose(sizes, space.voxel_sizes, rtol=1e-3, atol=0):
        raise HeaderError(
            f"{path}: its header has voxels of {sizes.round(4).tolist()} mm, its affine of "
            f"{space.voxel_sizes.round(4).tolist()}; FLIRT works with the former, everybody else with the latter, so "
            "its matrix cannot be placed; write the image anew with one of them"
        )


def fsl_to_rasmm(space: Space) -> Affine:
    """Return the way from FLIRT's coordinates of an image to RASMM."""
    affine = space.voxel_to_rasmm
    sizes = space.voxel_sizes
    scale = np.diag([*sizes, 1.0])
    if np.linalg.det(affine[:3, :3]) > 0:
        turn = np.diag([-1.0, 1.0, 1.0, 1.0])
        turn[0, 3] = (space.dimensions[0] - 1) * sizes[0]
        scale = multiply(turn, scale)
    return multiply(affine, invert(scale, "voxel sizes"))


def ras_from_fsl(matrix: Affine, source: Space, reference: Space) -> Affine:
    """Return a matrix of FLIRT as one from RASMM to RASMM.

    Parameters
    ----------
    matrix : ndarray, float64 of shape (4, 4)
        What ``flirt -in source -ref reference -omat`` wrote: from the source's mm to the reference's.
    source, reference : Space
        Both images.
    """
    return multiply(fsl_to_rasmm(reference), matrix, invert(fsl_to_rasmm(source), "source"))
