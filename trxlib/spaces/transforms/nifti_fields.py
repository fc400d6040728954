"""Fields in NIfTI images: displacements of ITK (five axes), deformations of MRtrix (four axes)."""

from __future__ import annotations

import io
import math
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib

from trxlib.errors import HeaderError, InputError, UnsupportedFormatError
from trxlib.model.space import Space
from trxlib.spaces.transforms.checks import check_displacements, check_positions
from trxlib.spaces.transforms.field import Field, Values, allocate_values
from trxlib.spaces.transforms.files import check_room
from trxlib.spaces.transforms.holes import has_holes, mark_holes

__all__ = ["is_nifti", "open_maybe_gzip", "read_nifti_field"]

_HEADER_BYTES = {348: "Nifti1Header", 540: "Nifti2Header"}
_VECTOR_INTENTS = (1006, 1007)  # displacements, vectors
_FSL_INTENTS = {2006: "a displacement field", 2007: "cubic splines", 2008: "cosines", 2009: "quadratic splines"}
_FSL_FIELDS = range(2006, 2017)
_LARGEST_START, _LARGEST_CODE = 1 << 28, 5
_MM = 2  # unit of length
_LARGEST_DIFFERENCE = 0.1  # mm between sform and qform
_SLAB = 1 << 15  # voxels that stay in cache
_BAD_STREAM: Any = (EOFError, OSError, zlib.error, isal_zlib.error)


@contextmanager
def open_maybe_gzip(path: str | Path) -> Any:
    """Open a file, decompressed if it is gzip; damage is a HeaderError."""
    try:
        with Path(path).open("rb") as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not is_gzip:
                yield raw
                return
            with igzip.IGzipFile(fileobj=raw) as stream:
                yield stream
    except _BAD_STREAM as error:
        raise HeaderError(f"{path} cannot be read: {type(error).__name__}: {error}; the file is damaged") from None


def is_nifti(head: bytes) -> bool:
    """Tell whether a decompressed file starts like NIfTI-1 or NIfTI-2."""
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    return bool(sizes & set(_HEADER_BYTES)) and any(
        magic in (head[344:348], head[4:8]) for magic in (b"n+1\0", b"n+2\0", b"ni1\0", b"ni2\0")
    )


def read_nifti_field(path: str | Path, wanted: str | None) -> Field:
    """Read a field.

    Memory: the field as float32, and a few megabytes.

    Parameters
    ----------
    path : str or Path
        ``.nii`` or ``.nii.gz``.
    wanted : str, optional
        `itk` or `mrtrix`; None: what the header says.

    Raises
    ------
    InputError
        If the header does not say which it is, or something else than `wanted`.
    UnsupportedFormatError
        If it is a field of another program.
    HeaderError
        If the file is damaged.
    """
    with open_maybe_gzip(path) as stream:
        header = _read_header(stream, path)
        kind = _find_kind(header, path, wanted)
        space = _read_space(header, path)
        values = _read_values(stream, header, space, path, is_lps=kind == "itk")
    lacks = has_holes(values) if kind == "itk" else mark_holes(values, path)
    field = Field(values, space, kind == "itk", lacks, str(path))
    (check_displacements if kind == "itk" else check_positions)(field)
    return field


def _read_header(stream: BinaryIO, path: str | Path) -> Any:
    from nibabel import nifti1, nifti2  # a linear transform needs no image, and the import costs a quarter of a second
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    start = stream.read(4)
    size = next((n for n in (int.from_bytes(start, "little"), int.from_bytes(start, "big")) if n in _HEADER_BYTES), 0)
    data = start + stream.read(size - 4 if size else 0)
    try:
        kind = {348: nifti1.Nifti1Header, 540: nifti2.Nifti2Header}[size]
        header = kind.from_fileobj(io.BytesIO(data), check=False)  # which would mend, and say so only in a log
        header.get_data_dtype()
    except (KeyError, HeaderDataError, WrapStructError, ValueError) as error:
        raise HeaderError(f"{path} has no NIfTI header that can be read: {error}; the file is damaged") from None
    _check_header(header, path)
    if not header.is_single:
        raise UnsupportedFormatError(f"{path} is a pair of .hdr and .img; write a .nii or .nii.gz")
    return header


def _check_header(header: Any, path: str | Path) -> None:
    """Check the fields that nibabel would mend without a word to the caller."""
    start = float(header["vox_offset"])
    codes = [int(header["qform_code"]), int(header["sform_code"])]
    is_start = int(header.sizeof_hdr) + 4 <= start < _LARGEST_START and start == round(start)
    if not is_start or not all(0 <= code <= _LARGEST_CODE for code in codes):
        raise HeaderError(
            f"{path}: its header has data from byte {start:g} on, and qform and sform have the "
            f"codes {codes}; the file is damaged"
        )
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # as the standard says


def _find_kind(header: Any, path: str | Path, wanted: str | None) -> str:
    """Return `itk` or `mrtrix`."""
    shape, intent = header.get_data_shape(), int(header["intent_code"])
    name, program = _text_of(header["intent_name"]), _text_of(header["descrip"])
    _refuse_others(shape, intent, name, path)
    found = None
    if len(shape) == 5 and shape[3:] == (1, 3):
        found = "itk" if intent == 1007 or (wanted == "itk" and intent in (0, *_VECTOR_INTENTS)) else None
    elif len(shape) == 4 and shape[3] == 3:
        found = "mrtrix" if wanted == "mrtrix" or program.startswith("MRtrix") else None
    else:
        raise InputError(
            f"{path} has the shape {list(shape)}; expected (x, y, z, 1, 3), displacements of ITK, or (x, y, z, 3), a "
            "deformation field of MRtrix"
        )
    if found is None or wanted not in (None, found):
        raise InputError(
            f"{path} has the shape {list(shape)}, intent {intent} and description {program!r}, which "
            f"{'could be of several programs' if wanted is None else 'is not ' + wanted}; name its format: itk for "
            "displacements in LPS, (x, y, z, 1, 3), as ANTs writes them; mrtrix for positions in RAS, (x, y, z, 3), as "
            "mrregister writes them"
        )
    return found


def _refuse_others(shape: tuple[int, ...], intent: int, name: str, path: str | Path) -> None:
    if intent in _FSL_FIELDS:
        raise UnsupportedFormatError(
            f"{path} is a warp of FSL ({_FSL_INTENTS.get(intent, f'intent {intent}')}), which is not read; convert it: "
            "wb_command -convert-warpfield -from-fnirt warp source -to-itk out.nii.gz, and give the warp of the other "
            "way, as points go (invwarp)"
        )
    if name == "NREG_TRANS":
        raise UnsupportedFormatError(f"{path} is a field of NiftyReg, in RAS, which is not read; convert it to ITK")
    if name == "Mapping":
        raise UnsupportedFormatError(
            f"{path} is a deformation of SPM, positions in RAS, which is not read; convert it to ITK"
        )
    if len(shape) == 5 and shape[3:] == (3, 4):
        raise UnsupportedFormatError(
            f"{path} is a full warp of MRtrix (mrregister -nl_warp_full); take the deformation field out of it: "
            "warpconvert warp warpfull2deformation -from 2 -template native out, for points from image 1 (native) to 2"
        )


def _text_of(field: Any) -> str:
    return bytes(field.item() if hasattr(field, "item") else field).split(b"\0")[0].decode("latin1").strip()


def _read_space(header: Any, path: str | Path) -> Space:
    from nibabel.spatialimages import HeaderDataError

    dimensions = header.get_data_shape()[:3]
    try:
        sform, sform_code = header.get_sform(coded=True)
        qform, qform_code = header.get_qform(coded=True)
    except (ValueError, HeaderDataError) as error:  # quaternions that are none
        raise HeaderError(f"{path}: its qform cannot be read: {error}; the file is damaged") from None
    if not sform_code and not qform_code:
        raise HeaderError(f"{path} has neither sform nor qform, so nobody knows where its voxels are")
    if int(header["xyzt_units"]) & 7 not in (0, _MM):
        raise HeaderError(f"{path} has its lengths in another unit than mm")
    if sform_code and qform_code:
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in dimensions])).reshape(3, -1)
        gap = float(np.abs((sform - qform)[:3, :3] @ corners + (sform - qform)[:3, 3:]).max())
        if gap > _LARGEST_DIFFERENCE:
            raise HeaderError(
                f"{path}: sform and qform of its header differ by {gap:.3g} mm, and programs differ in which they "
                "take; write one over the other"
            )
    return Space.create(sform if sform_code else qform, dimensions, str(path))


def _read_values(stream: BinaryIO, header: Any, space: Space, path: str | Path, is_lps: bool) -> Values:
    """Read x of all voxels, then y, then z, into RAS."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise HeaderError(f"{path} holds {dtype}, expected numbers")
    start, count = int(header.get_data_offset()), math.prod(space.dimensions)
    check_room(path, start + 3 * count * dtype.itemsize)
    values = allocate_values(space.dimensions, str(path))
    signs = (-1, -1, 1) if is_lps else (1, 1, 1)
    if isinstance(stream, io.BufferedReader):  # the file itself, so that all three can be put down at once
        planes = np.memmap(path, dtype, "r", start, (3, count))
        for first in range(0, count, _SLAB):
            for axis, sign in enumerate(signs):
                numbers = planes[axis, first : first + _SLAB]
                _put(numbers, header, sign, values[first : first + _SLAB, axis])
        return values
    _skip(stream, start - header.sizeof_hdr, path)
    for axis, sign in enumerate(signs):
        for first in range(0, count, _SLAB):
            part = values[first : first + _SLAB, axis]
            _put(np.frombuffer(_read(stream, len(part) * dtype.itemsize, path), dtype), header, sign, part)
    return values


def _put(numbers: npt.NDArray[Any], header: Any, sign: int, out: npt.NDArray[np.float32]) -> None:
    slope, inter = header.get_slope_inter()
    if slope not in (None, 1) or inter not in (None, 0):
        numbers = numbers * slope + inter
    if sign < 0 and numbers.dtype.kind == "f":
        np.negative(numbers, out=out, casting="same_kind")
    elif sign < 0:
        out[:] = -numbers.astype(np.float64)
    else:
        out[:] = numbers


def _skip(stream: BinaryIO, count: int, path: str | Path) -> None:
    if not 0 <= count <= 1 << 28:
        raise HeaderError(f"{path}: its data start {count} bytes after its header; the file is damaged")
    _read(stream, count, path)


def _read(stream: BinaryIO, count: int, path: str | Path) -> npt.NDArray[np.uint8]:
    data = np.empty(count, dtype=np.uint8)
    done = 0
    while done < count:
        got = stream.readinto(data[done:])  # type: ignore[attr-defined]
        if not got:
            raise HeaderError(f"{path} ends {count - done} bytes or more before its data do; the file is damaged")
        done += got
    return data
