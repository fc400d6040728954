"""What a user says of a transform: its file, its format, its direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trxlib.errors import InputError

__all__ = ["FORMATS", "TransformSpec", "specs_from"]

#: Names of formats, and what each means for a text file with nothing but four rows of four numbers.
FORMATS = {
    "ras": "moves points from native RASMM to the cohort's RASMM, as it stands",
    "itk": "a file of ITK, ANTs, Slicer or c3d, in LPS; moves points as ITK does",
    "fsl": "what FLIRT wrote for -in native -ref template; also name `source`, the native image",
    "mrtrix": "what mrregister wrote for native and template, for use with mrtransform -linear; a warp as tcktransform "
    "takes it",
    "lta": "a linear transform of FreeSurfer, from its source to its destination",
}
_KEYS = ("path", "matrix", "format", "inverse", "source", "reference")


@dataclass(frozen=True, eq=False)
class TransformSpec:
    """One transform of a chain.

    Parameters
    ----------
    path : str or Path, optional
        Its file.
    matrix : array of shape (4, 4), optional
        Itself, RASMM to RASMM, in place of a file.
    format : str, optional
        One of `FORMATS`; None: what the file's content says, or an error.
    inverse : bool
        Go the other way. Linear transforms only: which way back a field leads, its file does not say.
    source : path, Space, or anything that is a reference, optional
        The image in whose space points are before; only `fsl` needs it. FLIRT's ``-in``, with `inverse` its ``-ref``.
    reference : path, Space, or anything that is a reference, optional
        The image in whose space points are after; only `fsl` needs it, and only before other transforms. FLIRT's
        ``-ref``, with `inverse` its ``-in``.
    """

    path: str | Path | None = None
    matrix: Any = None
    format: str | None = None
    inverse: bool = False
    source: Any = None
    reference: Any = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.matrix is None):
            raise InputError("a transform needs a path or a matrix, and not both")
        if self.format is not None and self.format not in FORMATS:
            raise InputError(f"{self}: format {self.format!r} is not known; expected one of {', '.join(FORMATS)}")
        if self.matrix is not None and self.format not in (None, "ras"):
            raise InputError(f"a matrix is ras; format {self.format} is for a file: name its path")
        if not isinstance(self.inverse, (bool, np.bool_)):
            raise InputError(f"{self}: inverse is {self.inverse!r}, expected true or false")

    def __str__(self) -> str:
        return "the matrix" if self.path is None else str(self.path)


def specs_from(transform: Any) -> list[TransformSpec]:
    """Return the transforms of a chain, in order.

    Parameters
    ----------
    transform : path, matrix, mapping, TransformSpec, None, or sequence of these
        As `read_transforms` takes it.

    Raises
    ------
    InputError
        If it is nothing of these.
    """
    if transform is None:
        return []
    if isinstance(transform, TransformSpec):
        return [transform]
    if isinstance(transform, (str, Path)):
        return [TransformSpec(path=transform)]
    if isinstance(transform, Mapping):
        return [_spec_from_mapping(transform)]
    if _is_matrix(transform):
        return [TransformSpec(matrix=transform)]
    if isinstance(transform, (list, tuple)):
        return [spec for item in transform for spec in specs_from(item)]
    raise InputError(
        f"a {type(transform).__name__} is no transform; expected a path, 4 x 4 numbers, a mapping with the keys "
        f"{', '.join(_KEYS)}, or several of these in a list"
    )


def _is_matrix(value: Any) -> bool:
    """Tell an array, or a list of rows of numbers, from a list of transforms."""
    if isinstance(value, np.ndarray):
        return True
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(isinstance(row, (list, tuple, np.ndarray)) and len(row) and _are_numbers(row) for row in value)


def _are_numbers(row: Any) -> bool:
    return all(isinstance(item, (int, float, np.number)) for item in row)


def _spec_from_mapping(content: Mapping[str, Any]) -> TransformSpec:
    unknown = [str(key) for key in content if key not in _KEYS]
    if unknown:
        raise InputError(f"a transform has the unknown keys {', '.join(unknown)}; expected {', '.join(_KEYS)}")
    return TransformSpec(**{key: value for key, value in content.items() if value is not None})
