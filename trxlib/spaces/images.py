"""The space of a reference image, from its header; voxels are never read."""

from __future__ import annotations

import logging
import struct
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trxlib.errors import HeaderError, HeaderWarning, InputNotFoundError, TrxError, warn
from trxlib.kinds import refusal
from trxlib.model.space import Space
from trxlib.spaces.mif import MIF_MAGIC, is_mif_whole, read_mif
from trxlib.spaces.nifti import NIFTI_BYTES, read_nifti
from trxlib.spaces.nrrd import NRRD_MAGIC, is_nrrd_whole, read_nrrd
from trxlib.spaces.objects import space_of_object
from trxlib.spaces.text import read_text_header

__all__ = ["EXPECTED_REFERENCE", "KINDS_OF_REFERENCE", "NIFTI_BYTES", "space_of_image"]

#: What a reference may be, for messages.
KINDS_OF_REFERENCE = (
    "a NIfTI, MGH, MRtrix (.mif, .mih) or NRRD image, a TRK or a TRX file, or a text file with four rows of four "
    "numbers, the affine, and one of three, the dimensions"
)
#: The same with a way out, for refusals.
EXPECTED_REFERENCE = (
    f"expected {KINDS_OF_REFERENCE}; convert an image of another format, say with mrconvert or dcm2niix"
)
_PAIR_SUFFIXES = (".img", ".img.gz")
_UNIT_BYTE, _UNITS = 123, {1: "metre", 3: "micrometre"}
_RAS_FLAG = 28  # of MGH: whether the affine is stated
_lock = threading.Lock()  # nibabel's logger is one for all threads


def space_of_image(path: Path, head: bytes, read: Callable[[int], bytes]) -> Space:
    """Return affine and dimensions of an image.

    Parameters
    ----------
    path : Path
        NIfTI (one file or a pair), MGH, MRtrix, NRRD, or another format that nibabel reads.
    head : bytes
        The first `NIFTI_BYTES` of the file, unpacked if it is gzip.
    read : callable
        Returns the first so many bytes of the file, unpacked, for headers that are longer.

    Raises
    ------
    UnsupportedFormatError
        If it is no image.
    InputNotFoundError
        If half of a pair lacks.
    HeaderError
        If it is a damaged one, or says nothing of its space.

    Warns
    -----
    HeaderWarning
        If the header leaves something open, and a value is assumed.
    """
    if head.startswith(MIF_MAGIC):
        return read_mif(read_text_header(path, read, is_mif_whole), str(path))
    if head.startswith(NRRD_MAGIC):
        return read_nrrd(read_text_header(path, read, is_nrrd_whole), str(path))
    image = read_nifti(head)
    if image is not None:
        _check_unit(path, head[_UNIT_BYTE])
        return Space.create(*image, f"{path}: reference image")
    return _space_by_nibabel(path, head)


def _check_unit(path: Path, code: int) -> None:
    if unit := _UNITS.get(code & 7):
        warn(
            f"{path}: its header says that its unit is the {unit}; its affine is taken as mm, as all programs of the "
            "field take it; check that its voxel sizes are mm",
            HeaderWarning,
        )


def _space_by_nibabel(path: Path, head: bytes) -> Space:
    from nibabel import load
    from nibabel.filebasedimages import (
        ImageFileError,  # a TRK needs no image, and the import costs a quarter of a second
    )

    _check_pair(path)
    try:
        with _told_as_ours(path):
            image = load(path)
            _warn_of_header(path, head, image)
            return space_of_object(image, f"{path}: ")
    except TrxError:
        raise
    except ImageFileError:
        raise refusal(path, "reference", EXPECTED_REFERENCE) from None
    except Exception as error:  # damaged: nibabel's readers raise whatever they stumble over
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # and leave files open, which are closed here
            traceback.clear_frames(error.__traceback__)
        raise HeaderError(
            f"{path} looks like an image, and its header cannot be read: {type(error).__name__}: {error}; it is "
            "damaged, take another reference"
        ) from None


def _check_pair(path: Path) -> None:
    """Check that the header of a pair is there: nibabel could not name it."""
    name = path.name.lower()
    for suffix in _PAIR_SUFFIXES:
        if name.endswith(suffix):
            stem = path.name[: -len(suffix)]
            names = [stem + end for end in (".hdr", ".hdr.gz", ".HDR")]
            if not any((path.parent / name).is_file() for name in names):
                raise InputNotFoundError(
                    f"{path} is one half of a pair, and {names[0]}, which holds its header, does not lie beside it; "
                    "put it there, or name another reference"
                )


def _warn_of_header(path: Path, head: bytes, image: Any) -> None:
    """Tell of other units, and of headers without an affine, where nibabel takes one of its own.

    Whether NIfTI has one is looked at where images in memory are, too.
    """
    names = image.header.structarr.dtype.names if hasattr(image.header, "structarr") else ()
    if "xyzt_units" in names:
        _check_unit(path, int(image.header["xyzt_units"]))
    if "goodRASFlag" in names and len(head) >= _RAS_FLAG + 2 and struct.unpack_from(">h", head, _RAS_FLAG)[0] < 1:
        assumed = "voxels of 1 mm and a coronal image in the middle of the world, as FreeSurfer takes it, are assumed"
    elif "sizeof_hdr" in names and "sform_code" not in names and not path.with_suffix(".mat").is_file():
        assumed = (
            "axes that run to the left, front and top, and an origin in the middle or where the header has SPM's, are "
            "assumed; write the image as NIfTI, since programs differ here"
        )
    else:
        return
    warn(
        f"{path}: its header states no affine; {assumed}; name another reference if that is not so",
        HeaderWarning,
    )


@contextmanager
def _told_as_ours(path: Path) -> Iterator[None]:
    """Turn warnings and logged messages of nibabel into a `HeaderWarning` that names the file."""
    from nibabel.imageglobals import logger

    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return False

    with _lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logger.addFilter(keep)
        try:
            yield
        finally:
            logger.removeFilter(keep)
    ours = [item for item in caught if issubclass(item.category, HeaderWarning)]
    said += [str(item.message) for item in caught if item not in ours and item.category is not ResourceWarning]
    texts = [str(item.message) for item in ours] + [f"{path}: nibabel says of its header: {text}" for text in said]
    for text in dict.fromkeys(texts):
        warn(text, HeaderWarning)
