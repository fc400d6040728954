"""The space of a result: from an image, a tractogram's header, an object of another library, or two arrays."""

from __future__ import annotations

import struct
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import (
    HeaderError,
    HeaderWarning,
    InputError,
    InputNotFoundError,
    TrxError,
    UnsupportedFormatError,
)
from trxlib.formats.input_file import InputFile
from trxlib.formats.trk.header import HEADER_BYTES, MAGIC, read_trk_header
from trxlib.model.header import Header
from trxlib.model.space import Space, invert_affine, same_space
from trxlib.spaces.nifti import NIFTI_BYTES, read_nifti

__all__ = ["place_result", "read_transform", "space_from", "transform_from"]

Affine = npt.NDArray[np.float64]
#: Pairs of keys that a dict may have: the TRX reference API, a TRX header, nibabel's TRK header.
_DICT_KEYS = (("VOXEL_TO_RASMM", "DIMENSIONS"), ("voxel_to_rasmm", "dimensions"))
_MAX_TEXT = 1 << 14  # bytes of a text file with an affine, comments included
# RAS and LPS differ by the sign of the first two axes.
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def space_from(reference: Any) -> Space:
    """Return the space of a reference.

    Parameters
    ----------
    reference : str, Path, Space, Header, nibabel image or header or TrkFile, mapping, or pair
        A path names a NIfTI or MGH image, a TRK file, a TRX file (zip or folder), or a text file: four rows of
        four numbers, the affine, and a row of three, the dimensions. A mapping has ``VOXEL_TO_RASMM`` and
        ``DIMENSIONS`` or ``voxel_to_rasmm`` and ``dimensions``. A pair is affine (or the path of a text file with
        it) and dimensions.

    Raises
    ------
    InputNotFoundError
        If the path names nothing.
    UnsupportedFormatError
        If the file is none of these.
    InputError
        If the object is none of these.
    HeaderError
        If its affine is singular, or its dimensions are impossible.
    """
    if isinstance(reference, Space):
        return reference
    if isinstance(reference, (str, Path)):
        return _space_from_path(Path(reference))
    if isinstance(reference, Header):
        return Space.create(reference.voxel_to_rasmm, reference.dimensions, "reference")
    if isinstance(reference, Mapping):
        return _space_from_mapping(reference)
    if isinstance(reference, (tuple, list)) and len(reference) == 2:
        affine, dimensions = reference
        if isinstance(affine, (str, Path)):
            return _space_from_text(_read_text(affine), affine, dimensions)
        return Space.create(affine, dimensions, "reference")
    return _space_from_object(reference)


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
    text = _read_file(path)
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
            warnings.warn(
                f"{path}: its header has dimensions {list(space.dimensions)} and affine {_short(space)}, the reference "
                f"{list(reference.dimensions)} and {_short(reference)}; the reference's go into the result",
                HeaderWarning,
                stacklevel=3,
            )
        return reference or space, np.eye(4)
    if reference is not None:
        return reference, transform
    return Space(transform @ space.voxel_to_rasmm, space.dimensions), transform


def _short(space: Space) -> str:
    return str(np.round(space.voxel_to_rasmm[:3], 4).tolist())


def _space_from_path(path: Path) -> Space:
    if path.is_dir():
        return _space_from_trx(path, (path / "header.json").read_bytes() if (path / "header.json").is_file() else b"")
    file = InputFile(path)
    head = file.head(NIFTI_BYTES)
    if head.startswith(b"PK"):
        return _space_from_trx(path, _zipped_header(path))
    if head.startswith(MAGIC):
        return read_trk_header(file.head(HEADER_BYTES), str(path)).space
    if head.startswith(b"mrtrix tracks"[:8]):
        raise UnsupportedFormatError(
            f"{path}: a TCK file has no affine and no dimensions; name the image that it was made from, or a TRK or "
            "TRX file in the same space"
        )
    if file.nbytes <= _MAX_TEXT and _starts_with_numbers(text := _read_file(path)):
        return _space_from_text(text, path)
    image = read_nifti(head)
    if image is not None:
        return Space.create(*image, f"{path}: reference image")
    return _space_from_image(path)


def _read_text(path: str | Path) -> str:
    """Read the file of a pair with dimensions."""
    if InputFile(path).nbytes > _MAX_TEXT or not _starts_with_numbers(text := _read_file(path)):
        raise InputError(
            f"{path}: dimensions are given beside it, so it has to be a text file with an affine, four rows of four "
            "numbers; an image, a TRK or a TRX file has dimensions of its own"
        )
    return text


def _starts_with_numbers(text: str) -> bool:
    """Tell whether the first line that says something has numbers only, as no image's header in text has."""
    items = next(filter(None, _split_rows(text)), [])
    try:
        return bool([float(item) for item in items])
    except ValueError:
        return False


def _space_from_text(text: str, path: str | Path, dimensions: Any = None) -> Space:
    """Read an affine, and dimensions unless they are given."""
    rows = _read_numbers(text, path, "affine")
    widths = [len(row) for row in rows]
    if dimensions is None and widths == [4, 4, 4, 4]:
        raise HeaderError(
            f"{path} has an affine and no dimensions, which a reference needs; add a line with three whole numbers, "
            "the voxels along each axis, or give them beside it ((path, dimensions), --dimensions)"
        )
    # Dimensions given beside the file come before its own.
    if widths not in ([4, 4, 4, 4], [4, 4, 4, 4, 3]):
        raise HeaderError(
            f"{path} has rows of {widths} numbers, expected four rows of four, the affine, and one of three, the "
            "dimensions"
        )
    return Space.create(rows[:4], rows[4] if dimensions is None else dimensions, str(path))


def _zipped_header(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read("header.json")
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, LookupError, RuntimeError, OSError):
        return b""  # damaged in one of the ways that zipfile knows, or encrypted


def _space_from_trx(path: Path, data: bytes) -> Space:
    if not data:
        raise HeaderError(f"{path} holds no header.json that can be read; it is no TRX file")
    try:
        header = Header.from_json(data)
    except HeaderError as error:
        raise HeaderError(f"{path}: {error}") from None
    return Space.create(header.voxel_to_rasmm, header.dimensions, str(path))


def _space_from_image(path: Path) -> Space:
    from nibabel import load
    from nibabel.filebasedimages import (
        ImageFileError,  # a TRK needs no image, and the import costs a quarter of a second
    )

    try:
        return _space_from_object(load(path), f"{path}: ")
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


def _space_from_mapping(content: Mapping[str, Any]) -> Space:
    for affine_key, dimensions_key in _DICT_KEYS:
        if affine_key in content and dimensions_key in content:
            return Space.create(content[affine_key], content[dimensions_key], "reference")
    raise InputError(
        f"a reference with the keys {', '.join(map(str, content)) or 'none'} has no space; expected VOXEL_TO_RASMM and "
        "DIMENSIONS, or voxel_to_rasmm and dimensions"
    )


def _space_from_object(reference: Any, where: str = "") -> Space:
    """Read nibabel images and headers, tractogram files, StatefulTractograms and TrxFiles, without importing them."""
    if hasattr(reference, "affine") and hasattr(reference, "shape"):
        return Space.create(reference.affine, reference.shape[:3], f"{where}reference image")
    if hasattr(reference, "affine") and hasattr(reference, "dimensions"):
        return Space.create(reference.affine, reference.dimensions, f"{where}reference")
    if hasattr(reference, "get_best_affine"):
        return Space.create(reference.get_best_affine(), reference.get_data_shape()[:3], f"{where}reference header")
    if isinstance(getattr(reference, "header", None), Mapping):
        return _space_from_mapping(reference.header)
    raise InputError(
        f"{where}a {type(reference).__name__} is no reference; expected a path, a nibabel image, a header, or a pair "
        "of affine and dimensions"
    )


def _read_file(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="latin1")
    except OSError as error:
        raise InputNotFoundError(f"{path} cannot be read: {error.strerror}; check the path") from None


def _split_rows(text: str) -> list[list[str]]:
    return [line.split("#")[0].replace(",", " ").split() for line in text.removeprefix("\xef\xbb\xbf").splitlines()]


def _read_numbers(text: str, path: str | Path, what: str) -> list[list[float]]:
    try:
        return [[float(item) for item in row] for row in _split_rows(text) if row]
    except ValueError as error:
        raise HeaderError(f"{path} is no {what}: {error}; expected four rows of four numbers") from None


def _read_matrix(text: str, path: str | Path) -> npt.NDArray[np.float64]:
    rows = _read_numbers(text, path, "transform")
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
