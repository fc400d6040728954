"""The space of an object of another library, or of a mapping, told by its attributes: nothing is imported for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trxlib.errors import HeaderWarning, InputError, warn
from trxlib.model.space import Space

__all__ = ["space_of_mapping", "space_of_object"]

#: Pairs of keys that a dict may have: the TRX reference API, a TRX header, nibabel's TRK header.
_DICT_KEYS = (("VOXEL_TO_RASMM", "DIMENSIONS"), ("voxel_to_rasmm", "dimensions"))


def space_of_mapping(content: Mapping[str, Any]) -> Space:
    """Return the space that a mapping states.

    Raises
    ------
    InputError
        If it has none of the known pairs of keys.
    """
    for affine_key, dimensions_key in _DICT_KEYS:
        if affine_key in content and dimensions_key in content:
            return Space.create(content[affine_key], content[dimensions_key], "reference")
    raise InputError(
        f"a reference with the keys {', '.join(map(str, content)) or 'none'} has no space; expected VOXEL_TO_RASMM and "
        "DIMENSIONS, or voxel_to_rasmm and dimensions"
    )


def space_of_object(reference: Any, where: str = "") -> Space:
    """Read nibabel images and headers, tractogram files, StatefulTractograms and TrxFiles, without importing them.

    Raises
    ------
    InputError
        If it is none of these.
    HeaderError
        If its affine or dimensions are impossible.

    Warns
    -----
    HeaderWarning
        If it is NIfTI and its header states no affine.
    """
    _warn_of_codes(reference, where)
    if hasattr(reference, "affine") and hasattr(reference, "shape"):
        return Space.create(reference.affine, reference.shape[:3], f"{where}reference image")
    if hasattr(reference, "affine") and hasattr(reference, "dimensions"):
        return Space.create(reference.affine, reference.dimensions, f"{where}reference")
    if hasattr(reference, "get_best_affine"):
        return Space.create(reference.get_best_affine(), reference.get_data_shape()[:3], f"{where}reference header")
    if isinstance(getattr(reference, "header", None), Mapping):
        return space_of_mapping(reference.header)
    raise InputError(
        f"{where}a {type(reference).__name__} is no reference; expected a path, a nibabel image, a header, or a pair "
        "of affine and dimensions"
    )


def _warn_of_codes(reference: Any, where: str) -> None:
    """Tell of a NIfTI header without qform and sform: nibabel makes an affine up, and other programs another one."""
    header = getattr(reference, "header", reference)
    names = getattr(getattr(getattr(header, "structarr", None), "dtype", None), "names", None) or ()
    # An image in memory has an affine of its own; it was given with it unless it is the one made up.
    if "sform_code" not in names or header["sform_code"] > 0 or header["qform_code"] > 0:
        return
    affine = getattr(reference, "affine", None)
    if affine is not None and (affine != header.get_best_affine()).any():
        return
    warn(
        f"{where or 'reference image: '}its header has neither a qform nor a sform (both codes are 0), so it does not "
        "say where its voxels are; as nibabel does, the first axis is taken to run to the left, the others to "
        "the front and the top, and the middle of the image to be the origin (in MRtrix3 the first axis "
        "runs to the right); copy the geometry of an image that has one (fslcpgeom), set it (fslorient), or name "
        "another reference",
        HeaderWarning,
    )
