"""The space of a reference image, from its header; voxels are never read."""

from __future__ import annotations

import traceback
import warnings
from pathlib import Path

from trxlib.errors import HeaderError, TrxError, UnsupportedFormatError
from trxlib.model.space import Space
from trxlib.spaces.nifti import NIFTI_BYTES, read_nifti
from trxlib.spaces.objects import space_of_object

__all__ = ["NIFTI_BYTES", "space_of_image"]


def space_of_image(path: Path, head: bytes) -> Space:
    """Return affine and dimensions of an image.

    Parameters
    ----------
    path : Path
        NIfTI, MGH, or another format that nibabel reads.
    head : bytes
        The first `NIFTI_BYTES` of the file, unpacked if it is gzip.

    Raises
    ------
    UnsupportedFormatError
        If it is no image.
    HeaderError
        If it is a damaged one.
    """
    image = read_nifti(head)
    if image is not None:
        return Space.create(*image, f"{path}: reference image")
    return _space_by_nibabel(path)


def _space_by_nibabel(path: Path) -> Space:
    from nibabel import load
    from nibabel.filebasedimages import (
        ImageFileError,  # a TRK needs no image, and the import costs a quarter of a second
    )

    try:
        return space_of_object(load(path), f"{path}: ")
    except TrxError:
        raise
    except ImageFileError:
        raise UnsupportedFormatError(
            f"{path} is no reference: expected an image that nibabel reads (NIfTI, MGH), a TRK or a TRX file, or four "
            "rows of four numbers and one of three in a text file"
        ) from None
    except Exception as error:  # damaged: nibabel's readers raise whatever they stumble over
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # and leave files open, which are closed here
            traceback.clear_frames(error.__traceback__)
        raise HeaderError(
            f"{path} looks like an image, and its header cannot be read: {type(error).__name__}: {error}; it is "
            "damaged, take another reference"
        ) from None
