"""From what a user names to a `Transform`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trxlib.errors import InputError, SpaceMismatchError, StaleError, UnsupportedFormatError
from trxlib.kinds import kind_of, refusal
from trxlib.model.space import Space
from trxlib.spaces.images import NIFTI_BYTES, space_of_image
from trxlib.spaces.mif import MIF_MAGIC
from trxlib.spaces.objects import space_of_object
from trxlib.spaces.transforms.checks import sample_grid
from trxlib.spaces.transforms.field import Field
from trxlib.spaces.transforms.files import check_regular, fingerprint, read_head, read_small, stamp_of
from trxlib.spaces.transforms.fsl import check_voxel_sizes, ras_from_fsl
from trxlib.spaces.transforms.itk import looks_like_matlab, read_itk_matlab, read_itk_text
from trxlib.spaces.transforms.itk_hdf5 import HDF5_MAGIC, read_itk_hdf5
from trxlib.spaces.transforms.linear import Linear, check_linear
from trxlib.spaces.transforms.lta import read_lta
from trxlib.spaces.transforms.mif import read_mif_field
from trxlib.spaces.transforms.nifti_fields import is_nifti, open_maybe_gzip, read_nifti_field
from trxlib.spaces.transforms.spec import TransformSpec, specs_from
from trxlib.spaces.transforms.text import find_text_format, read_text_matrix
from trxlib.spaces.transforms.transform import Step, Transform, fold

__all__ = ["read_transforms"]


def read_transforms(
    transform: Any,
    *,
    reference: Space | None = None,
    source: Any = None,
    read_space: Callable[[Any], Space] | None = None,
) -> Transform:
    """Read one transform, or several that points pass one after the other.

    Parameters
    ----------
    transform : path, matrix, mapping, TransformSpec, None, or sequence of these
        A path alone is read by its content. A matrix, four rows of four numbers, is RASMM to RASMM. A mapping has
        `path` (or `matrix`), and if wanted `format`, `inverse` and `source`: see `TransformSpec`, and the table in
        `trxlib.spaces.transforms` for what each format means for points. None moves nothing.
    reference : Space, optional
        The image that the last transform leads to. A matrix of FLIRT needs it.
    source : path, Space, or anything that is a reference, optional
        The image that the first transform leads from, if it names none itself. A matrix of FLIRT needs it.
    read_space : callable, optional
        Reads the space of what is named as an image; by default only images are known, and no tractograms.

    Returns
    -------
    Transform
        Points of the native space to the cohort's, RASMM. Linear neighbours are folded into one matrix.

    Raises
    ------
    InputNotFoundError
        If a file cannot be read.
    InputError
        If the content of a file does not tell its format, or contradicts the one given; if a field shall be inverted;
        if `source` or `reference` is missing.
    UnsupportedFormatError
        If a file is of a kind that is not read; the message says how to convert it.
    HeaderError
        If a file is damaged, or a matrix is singular.
    SpaceMismatchError
        If the transforms lead nowhere near `reference`.
    """
    steps: list[Step] = []
    records: list[dict[str, Any]] = []
    files: list[Path] = []
    domain: Space | None = None
    specs = specs_from(transform)
    for number, spec in enumerate(specs):
        # In the middle of a chain are other images, which each transform names itself.
        last = number == len(specs) - 1
        one = _Reading(spec, reference if last else None, None if number else source, read_space or _space_of_image)
        _read_one(one)
        domain = domain or (None if steps else one.domain)
        steps += one.steps
        records.append(one.record)
        files += one.files
    result = Transform(steps, records=records, files=files)
    if domain is not None and reference is not None:
        _check_arrival(result, domain, reference)
    return result


class _Reading:
    """One transform while it is read."""

    def __init__(
        self, spec: TransformSpec, reference: Space | None, source: Any, read_space: Callable[[Any], Space]
    ) -> None:
        self.spec, self.read_space = spec, read_space
        self.reference = reference if spec.reference is None else spec.reference
        self.source = source if spec.source is None else spec.source
        self.files: list[Path] = [] if spec.path is None else [Path(spec.path)]
        self.steps: list[Step] = []
        self.format = spec.format or "ras"
        self.domain: Space | None = None  # where points come from, if that is known
        self.record: dict[str, Any] = {}


def _read_one(one: _Reading) -> None:
    spec = one.spec
    if spec.path is None:
        one.steps = [check_linear(spec.matrix, "transform")]
    else:
        stamp = stamp_of(spec.path)
        with np.errstate(over="ignore", invalid="ignore"):  # of fields with odd numbers, which are holes then
            one.steps = fold(_read_file(one, spec.path))
    if spec.inverse:
        one.steps = _invert(one)
    if one.steps and isinstance(one.steps[0], Field):
        one.domain = one.steps[0].space
    one.record = {
        "path": None if spec.path is None else str(spec.path),
        "format": one.format,
        "inverse": bool(spec.inverse),
        **({} if spec.path is None else fingerprint(spec.path)),
        "steps": [step.to_json() for step in one.steps],
    }
    # Its head, its content and its fingerprint are read one after the other.
    if spec.path is not None and stamp_of(spec.path) != stamp:
        raise StaleError(f"{spec.path}: was changed or replaced while it was read; run it again")
    if one.format == "fsl":
        one.record |= {"source": _describe(one.source), "reference": _describe(one.reference)}


def _read_file(one: _Reading, path: str | Path) -> list[Step]:
    """Read a file by its first bytes; `one.format` becomes its format."""
    head = read_head(path)
    kind = kind_of(path, head)
    if kind.use in ("absent", "packed", "foreign", "tractogram", "trx", "values") and not head.startswith(HDF5_MAGIC):
        raise refusal(path, "transform", "expected a file of ITK, ANTs, FSL, MRtrix or FreeSurfer", kind=kind)
    if head[:2] == b"\x1f\x8b":
        with open_maybe_gzip(path) as stream:
            head = stream.read(1024)
    if head.startswith(HDF5_MAGIC):
        _expect(one, "itk")
        return list(read_itk_hdf5(path))
    if head.startswith(MIF_MAGIC):
        _expect(one, "mrtrix")
        field, others = read_mif_field(path)
        one.files += others
        return [field]
    if is_nifti(head):
        return [_read_nifti(one, path)]
    if b"\0" in head:
        if not looks_like_matlab(head):
            raise UnsupportedFormatError(
                f"{path} is no transform that is read: neither text, nor Matlab 4 or HDF5 of ITK, nor an "
                "image in NIfTI or of MRtrix"
            )
        _expect(one, "itk")
        return list(read_itk_matlab(path))
    return _read_text(one, path)


def _expect(one: _Reading, found: str) -> None:
    """Set the format, and check it against the one given."""
    if one.spec.format not in (None, found):
        raise InputError(f"{one.spec.path} is {found} by its content, and the format given is {one.spec.format}")
    one.format = found


def _read_nifti(one: _Reading, path: str | Path) -> Field:
    wanted = one.spec.format
    # An FSL warp is refused by its own name, whatever was asked for.
    field = read_nifti_field(path, wanted if wanted in (None, "itk", "mrtrix") else None)
    _expect(one, "itk" if field.is_displacement else "mrtrix")
    return field


def _read_text(one: _Reading, path: str | Path) -> list[Step]:
    text = read_small(path).decode("latin1").removeprefix("\xef\xbb\xbf")
    one.format = find_text_format(text, path, one.spec.format)
    if one.format == "itk":
        return list(read_itk_text(text, path))
    if one.format == "lta":
        return [read_lta(text, path)]
    linear = check_linear(read_text_matrix(text, path), str(path))
    if one.format == "mrtrix":
        return [linear.inverse()]  # the file says where in the native image a point of the template lies
    return [_read_fsl(one, linear)] if one.format == "fsl" else [linear]


def _read_fsl(one: _Reading, linear: Linear) -> Linear:
    path = one.spec.path
    if one.source is None or one.reference is None:
        missing = "source, where points come from"
        if one.source is not None:
            missing = "reference, where they go to (in a chain: the source of the transform that follows)"
        raise InputError(
            f"{path} is a matrix of FLIRT, which means nothing without the two images it was made with; name the "
            f"{missing}"
        )
    source, reference = _read_image(one, one.source), _read_image(one, one.reference)
    one.domain = source
    if one.spec.inverse:  # then the file leads from the reference to the source
        source, reference = reference, source
    return check_linear(ras_from_fsl(linear.matrix, source, reference), str(path))


def _read_image(one: _Reading, image: Any) -> Space:
    if isinstance(image, (str, Path)):
        check_regular(image)
        one.files.append(Path(image))
    space = one.read_space(image)
    if isinstance(image, (str, Path)):
        check_voxel_sizes(image, space)
    return space


def _space_of_image(image: Any) -> Space:
    if isinstance(image, (str, Path)):

        def read(count: int) -> bytes:
            with open_maybe_gzip(image) as stream:
                return bytes(stream.read(count))

        return space_of_image(Path(image), read(NIFTI_BYTES), read)
    return image if isinstance(image, Space) else space_of_object(image)


def _describe(image: Any) -> Any:
    """Return what a record keeps of an image: its path, or else its grid."""
    if isinstance(image, (str, Path)):
        return str(image)
    if not isinstance(image, Space):
        return type(image).__name__
    return {"dimensions": list(image.dimensions), "voxel_to_rasmm": image.voxel_to_rasmm.tolist()}


def _invert(one: _Reading) -> list[Step]:
    inverted: list[Step] = []
    for step in reversed(one.steps):
        if isinstance(step, Field):
            raise InputError(
                f"{one.spec.path} holds a field, and the way back is not in it; name the file of the other way: "
                f"{_other_way(str(one.spec.path), one.format)}"
            )
        inverted.append(step.inverse())
    return inverted


def _other_way(path: str, kind: str) -> str:
    name = Path(path).name
    if kind == "mrtrix":
        return "of mrregister -nl_warp warp1 warp2 the other one, or what warpinvert makes of this one"
    for mark, other in (("InverseWarp", "Warp"), ("Warp", "InverseWarp"), ("InverseComposite", "Composite")):
        if mark in name:
            return f"{name.replace(mark, other)}, which antsRegistration writes beside it"
    if "from-" in name and "_to-" in name:
        return "the one with from- and to- exchanged, which fMRIPrep and QSIPrep write beside it"
    return "for antsRegistration that with 1InverseWarp in place of 1Warp, or InverseComposite.h5"


def _check_arrival(transform: Transform, domain: Space, reference: Space) -> None:
    """Check that what the transform can move arrives in the reference's grid, at least in part."""
    voxels = sample_grid(domain.dimensions)
    points = voxels @ domain.voxel_to_rasmm[:3, :3].T + domain.voxel_to_rasmm[:3, 3]
    moved, outside = transform.apply(points)
    if outside is not None:
        moved = moved[~outside]
    inverse = reference.rasmm_to_voxel
    arrived = moved @ inverse[:3, :3].T + inverse[:3, 3]
    edges = np.array(reference.dimensions) - 0.5
    if len(arrived) and ((arrived.max(axis=0) < -0.5) | (arrived.min(axis=0) > edges)).any():
        low, high = np.round(moved.min(axis=0)), np.round(moved.max(axis=0))
        names = ", ".join(str(path) for path in transform.files)
        raise SpaceMismatchError(
            f"{names}: the transform leads to {low.tolist()} to {high.tolist()} mm, where the reference has no voxel; "
            "look whether it leads from the native space to that of the reference, and not back, and whether format "
            "and images are the right ones"
        )
