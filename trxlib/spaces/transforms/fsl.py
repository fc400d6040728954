"""Matrices of FLIRT: from mm of one image's voxels to mm of another's.

FLIRT's coordinates are voxel times voxel size, with x turned over in images whose affine has a positive determinant
(neurological order). So they depend on both images, and the matrix alone moves nothing. FSL documentation, "FLIRT".
"""

from __future__ import annotations

import numpy as np

from trxlib.space import Space
from trxlib.spaces.transforms.linear import Affine, invert, multiply

__all__ = ["fsl_to_rasmm", "ras_from_fsl"]


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
