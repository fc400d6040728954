"""Affine and dimensions of a NIfTI-1 image, of the kind that nearly all are: one file, with an sform.

nibabel reads all others. To import it takes as long as to import numpy, in every process that has a reference.
NIfTI-1 header, ``nifti1.h``.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

__all__ = ["NIFTI_BYTES", "read_nifti"]

#: Of the header.
NIFTI_BYTES = 348
_DIM, _CODES, _SROWS, _MAGIC = 40, 252, 280, 344


def read_nifti(head: bytes) -> tuple[npt.NDArray[np.float64], tuple[int, int, int]] | None:
    """Return affine and dimensions, or None where nibabel has to look.

    Parameters
    ----------
    head : bytes
        The first `NIFTI_BYTES` of the file's content, in either byte order.

    Returns
    -------
    affine : ndarray, float64 of shape (4, 4)
        The sform: voxel centres to RASMM, mm.
    dimensions : tuple of 3 int
        Voxels along each axis.
    """
    if len(head) < NIFTI_BYTES or head[_MAGIC:] != b"n+1\0":
        return None
    order = "<" if head[:4] == struct.pack("<i", NIFTI_BYTES) else ">"
    if head[:4] != struct.pack(f"{order}i", NIFTI_BYTES):
        return None
    count, *sizes = struct.unpack_from(f"{order}8h", head, _DIM)
    _, sform = struct.unpack_from(f"{order}2h", head, _CODES)
    if sform < 1 or not 3 <= count <= 7 or min(sizes[:count]) < 1:
        return None
    affine = np.eye(4)
    affine[:3] = np.array(struct.unpack_from(f"{order}12f", head, _SROWS)).reshape(3, 4)
    return affine, (sizes[0], sizes[1], sizes[2])
