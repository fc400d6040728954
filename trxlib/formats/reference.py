"""The space of a result, from anything that has one: an image, a tractogram's header, an object, or two arrays.

Which files can be a reference is decided here, since a TRK or a TRX file can be one; images, texts and objects of other
libraries are read in `trxlib.spaces`.

Those modules are imported when a reference is read: most inputs say themselves where they are, and a tenth of the time
of a command on a small file went into the import.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trxlib.container.outline import read_header
from trxlib.errors import ArchiveError, HeaderError, InputError, UnsupportedFormatError
from trxlib.formats.input_file import InputFile
from trxlib.kinds import kind_of, missing, refusal
from trxlib.model.header import Header
from trxlib.model.names import HEADER_NAME
from trxlib.model.source import SourceInfo
from trxlib.model.space import Space

__all__ = ["check_space_policy", "find_grid", "space_from"]

_ODD_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def find_grid(infos: Sequence[SourceInfo], space: str, grid: Any = None) -> Space | None:
    """Return the grid of a result whose inputs have grids of their own; None if they must have one and the same.

    Parameters
    ----------
    infos : sequence of SourceInfo
        Of the inputs.
    space : {"same", "world"}
        Whether all must have one grid, or only lie in one world space.
    grid : optional
        A reference, for "world"; by default the smallest grid that holds those of all inputs.

    Raises
    ------
    InputError
        If `space` is none of both, or `grid` is given with "same".
    """
    check_space_policy(space, grid)
    if space == "same":
        return None
    if grid is not None:
        return space_from(grid)
    from trxlib.spaces.grids import union_grid

    return union_grid([info.space for info in infos if info.has_space] or [infos[0].space])


def check_space_policy(space: str, grid: Any = None) -> None:
    """Check what `find_grid` is given, before any input is opened.

    Raises
    ------
    InputError
        If `space` is none of both, or `grid` is given with "same".
    """
    if space not in ("same", "world"):
        raise InputError(f"space is {space!r}, expected 'same' or 'world'")
    if space == "same" and grid is not None:
        raise InputError("a grid belongs to space='world'; with 'same' the result has the grid of its inputs")


def space_from(reference: Any) -> Space:
    """Return the space of a reference.

    Parameters
    ----------
    reference : str, Path, Space, Header, nibabel image or header or TrkFile, mapping, or pair
        A path names a NIfTI, MGH, MRtrix or NRRD image, a TRK file, a TRX file (zip or folder), or a text file: four
        rows of four numbers, the affine, and a row of three, the dimensions. A mapping has ``VOXEL_TO_RASMM`` and
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
        If its header is damaged, its affine singular, or its dimensions are impossible.

    Warns
    -----
    HeaderWarning
        If its header leaves something open, and a value is assumed.
    """
    if isinstance(reference, Space):
        return reference
    if isinstance(reference, (str, Path)):
        return _space_from_path(Path(reference))
    if isinstance(reference, Header):
        return Space.create(reference.voxel_to_rasmm, reference.dimensions, "reference")
    from trxlib.spaces.objects import space_of_mapping, space_of_object

    if isinstance(reference, Mapping):
        return space_of_mapping(reference)
    if isinstance(reference, (tuple, list)) and len(reference) == 2:
        affine, dimensions = reference
        if isinstance(affine, (str, Path)):
            from trxlib.spaces.text import space_of_text

            _check_kind(Path(affine))
            return space_of_text(affine, dimensions)
        return Space.create(affine, dimensions, "reference")
    return space_of_object(reference)


def _space_from_path(path: Path) -> Space:
    _check_kind(path)
    if path.is_dir():
        if not (path / HEADER_NAME).is_file():
            from trxlib.spaces.images import KINDS_OF_REFERENCE

            raise HeaderError(f"{path} holds no {HEADER_NAME}; it is no TRX file, name {KINDS_OF_REFERENCE}")
        return _space_from_trx(path)
    from trxlib.formats.trk.header import HEADER_BYTES, MAGIC, read_trk_header
    from trxlib.spaces.images import EXPECTED_REFERENCE, NIFTI_BYTES, space_of_image
    from trxlib.spaces.text import is_space_text, space_of_text

    file = InputFile(path)
    head = file.head(NIFTI_BYTES)
    kind = kind_of(path, head if not file.is_gzip else None)
    is_odd = kind.use in ("absent", "packed", "foreign", "damaged", "values")
    may_be_trx = head.startswith(b"PK") and not file.is_gzip and kind.use == "damaged"
    if is_odd and not may_be_trx and not head.startswith(b"CDF"):
        raise refusal(path, "reference", EXPECTED_REFERENCE, kind=kind)
    if head.startswith(b"PK"):
        return _space_from_trx(path)
    if head.startswith(MAGIC):
        return read_trk_header(file.head(HEADER_BYTES), str(path)).space
    if head.startswith(b"mrtrix tracks"[:8]):
        raise UnsupportedFormatError(
            f"{path}: a TCK file has no affine and no dimensions; name the image that it was made from, or a TRK or "
            "TRX file in the same space"
        )
    if is_space_text(path, file.nbytes):
        return space_of_text(path)
    return space_of_image(path, head, file.head)


def _check_kind(path: Path) -> None:
    """Refuse what is neither a file nor a folder before it is opened: reading a pipe might never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise missing(path, f"{path} cannot be read: {reason}; check the path") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        from trxlib.spaces.images import KINDS_OF_REFERENCE

        kind = next((name for test, name in _ODD_KINDS if test(mode)), "no file")
        raise UnsupportedFormatError(
            f"{path} is {kind}, and a reference is read more than once; write it to a file: {KINDS_OF_REFERENCE}"
        )


def _space_from_trx(path: Path) -> Space:
    try:
        header = read_header(path)
    except ArchiveError as error:
        from trxlib.spaces.images import KINDS_OF_REFERENCE

        raise HeaderError(
            f"{path} holds no header.json that can be read ({error}); it is no TRX file, name {KINDS_OF_REFERENCE}"
        ) from None
    return Space.create(header.voxel_to_rasmm, header.dimensions, str(path))
