"""Linear transforms in text: which format one is, by its content, and what it means for points."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from trxlib.errors import HeaderError, InputError, UnsupportedFormatError
from trxlib.spaces.transforms.files import parse_rows
from trxlib.spaces.transforms.itk import ITK_MARK
from trxlib.spaces.transforms.spec import FORMATS

__all__ = ["find_text_format", "read_text_matrix"]

_MATRIX = "matrix"  # four rows of four numbers, and nothing else
_LTA = re.compile(r"^\s*nxforms\s*=", re.MULTILINE)
_MRTRIX = re.compile(r"^\s*#.*(command_history|mrtrix)", re.MULTILINE | re.IGNORECASE)
# The first words are those that this library writes into its own files.
_RAS = re.compile(
    r"^\s*#\s*trxlib ras\b|^\s*#.*\bras(mm)?[-_ ]?(to|2|->)[-_ ]?ras(mm)?\b", re.MULTILINE | re.IGNORECASE
)
_OTHERS = [
    (
        re.compile(r"^\s*MNI Transform File"),
        "a transform of MINC (.xfm), which is not read; convert it: lta_convert --inmni file --outlta out.lta --src "
        "native --trg template",
    ),
    (
        re.compile(r"^\s*\(\s*Transform\b", re.MULTILINE),
        "a parameter file of elastix, which is not read; write a displacement field of ITK with transformix -def all",
    ),
    (
        re.compile(r"^\s*(round|tkregister|FLT_MATRIX)\s*$", re.MULTILINE),
        "a register.dat of FreeSurfer, which is not read; convert it: lta_convert --inreg file --outlta out.lta --src "
        "native --trg template",
    ),
]
_AFNI = (
    "a matrix of AFNI (12 numbers in a row), which is not read; write it as four rows of four (cat_matvec -4x4 file), "
    "invert it, as it takes points of the base to the source, change the signs of what joins x or y with z or 1 (AFNI "
    "has LPS), and name format ras"
)


def find_text_format(text: str, path: str | Path, wanted: str | None) -> str:
    """Return the format of a text file: what was asked for, if its content does not say another.

    Parameters
    ----------
    text : str
        The file.
    path : str or Path
        For messages.
    wanted : str, optional
        One of `FORMATS`; None: what the content says.

    Raises
    ------
    UnsupportedFormatError
        If it is of another program.
    InputError
        If the content does not tell, or tells another format than `wanted`.
    HeaderError
        If it is no transform at all.
    """
    found = _recognise(text, path)
    if found == _MATRIX:
        if wanted in ("ras", "fsl", "mrtrix"):
            return wanted
        if wanted is None:
            meanings = "".join(f"\n  {name}: {FORMATS[name]}" for name in ("ras", "fsl", "mrtrix"))
            raise InputError(
                f"{path} holds four rows of four numbers, and nothing that says whose; the same numbers move "
                f"streamlines to different places for each program, so name the format:{meanings}"
            )
    elif wanted in (None, found):
        return found
    raise InputError(
        f"{path} looks like {'a plain matrix' if found == _MATRIX else found} by its content, and the format given is "
        f"{wanted}; leave the format out, or give the right one"
    )


def _recognise(text: str, path: str | Path) -> str:
    if ITK_MARK in text[:1000]:
        return "itk"
    if _LTA.search(text):
        return "lta"
    for mark, what in _OTHERS:
        if mark.search(text):
            raise UnsupportedFormatError(f"{path} is {what}")
    rows = parse_rows(text)
    widths = [] if rows is None else [len(row) for row in rows]
    if widths and set(widths) == {12}:
        raise UnsupportedFormatError(f"{path} is {_AFNI}")
    if widths not in ([4, 4, 4, 4], [4, 4, 4]):
        found = "words" if rows is None else f"rows of {widths[:20]} numbers"
        raise HeaderError(
            f"{path} holds {found}; expected a transform: four rows of four numbers, or a text file of ITK, MRtrix or "
            "FreeSurfer (.lta)"
        )
    is_mrtrix, is_ras = bool(_MRTRIX.search(text)), bool(_RAS.search(text))
    if is_mrtrix == is_ras:  # comments that say nothing, or both
        return _MATRIX
    return "mrtrix" if is_mrtrix else "ras"


def read_text_matrix(text: str, path: str | Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the numbers of a text file with four rows of four, or three: 0 0 0 1 is added."""
    rows = parse_rows(text)
    if rows is None or [len(row) for row in rows] not in ([4, 4, 4, 4], [4, 4, 4]):
        raise HeaderError(f"{path} holds no four rows of four numbers")
    return np.array([*rows, [0.0, 0.0, 0.0, 1.0]][:4])
