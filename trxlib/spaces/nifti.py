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
_DIM, _DATATYPE, _VOX_OFFSET, _CODES, _SROWS, _MAGIC = 40, 70, 108, 252, 280, 344
_KNOWN_DATATYPES = {2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304}
_LARGEST_CODE = 5


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
    if not 1 <= sform <= _LARGEST_CODE or not 3 <= count <= 7 or min(sizes[:count]) < 1:
        return None
    # A header that is damaged elsewhere may be so here.
    datatype = struct.unpack_from(f"{order}h", head, _DATATYPE)[0]
    start = struct.unpack_from(f"{order}f", head, _VOX_OFFSET)[0]
    if datatype not in _KNOWN_DATATYPES or not start >= NIFTI_BYTES + 4:
        return None
    affine = np.eye(4)
    affine[:3] = np.array(struct.unpack_from(f"{order}12f", head, _SROWS)).reshape(3, 4)
    return affine, (sizes[0], sizes[1], sizes[2])
