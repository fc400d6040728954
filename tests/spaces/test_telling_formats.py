"""Which format a file is, by its content; what is refused, and with which way out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spaces.transform_files import (
    OBLIQUE,
    SHAPE,
    itk_affine,
    itk_matlab,
    itk_text,
    lta_text,
    make_rigid,
    write_mrtrix,
    write_rows,
)

from trxlib.errors import HeaderError, InputError, InputNotFoundError, UnsupportedFormatError
from trxlib.spaces.transforms import TransformSpec, read_transforms

RIGID = make_rigid()
GRID = (OBLIQUE, SHAPE)
ROWS = "1 0 0 5\n0 1 0 6\n0 0 1 7\n0 0 0 1\n"
ITK = itk_text(itk_affine(RIGID))
LTA = lta_text(RIGID, 0, GRID, GRID)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("name", ["a.mat", "a.txt", "a.tfm", "a"])
@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        ROWS.replace(" ", ", "),
        "# by hand\n" + ROWS,
        "# RAS to RAS, of mrtrix\n" + ROWS,
        ROWS.replace("\n", "  \r\n"),
    ],
)
def test_a_matrix_that_says_nothing_is_an_error_that_lists_formats(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(InputError) as caught:
        read_transforms(path)
    message = str(caught.value)
    assert message.startswith(f"{path} holds four rows of four numbers, and nothing that says whose")
    for line in ("ras: moves points", "fsl: what FLIRT wrote", "mrtrix: what mrregister wrote"):
        assert f"\n  {line}" in message
    assert read_transforms({"path": path, "format": "ras"}).matrix is not None


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (ITK, "itk"),
        (itk_matlab(itk_affine(RIGID)), "itk"),
        (LTA, "lta"),
        ("# command_history: transformcalc a.txt invert b.txt  (version=3.0.4)\n" + ROWS, "mrtrix"),
        ("# mrtrix_version: 3.0.4\n1 0 0 5\n0 1 0 6\n0 0 1 7\n", "mrtrix"),
        ("# RAS to RAS\n" + ROWS, "ras"),
        ("#rasmm-to-rasmm, native to MNI\n" + ROWS, "ras"),
        ("\xef\xbb\xbf#Insight Transform File V1.0\n" + ITK.partition("\n")[2], "itk"),
    ],
)
def test_formats_told_by_content(tmp_path: Path, content: Any, found: str) -> None:
    path = write(tmp_path / "a.dat", content.encode("latin1") if isinstance(content, str) else content)
    assert read_transforms(path).records[0]["format"] == found
    assert read_transforms({"path": path, "format": found}).matrix is not None
    for other in {"ras", "itk", "fsl", "mrtrix", "lta"} - {found}:
        with pytest.raises(InputError, match=rf"^{path}.*{found} by its content, and the format given is {other}"):
            read_transforms({"path": path, "format": other})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "MNI Transform File\n% x\n\nTransform_Type = Linear;\n1 0 0 0\n",
            r"MINC .*lta_convert --inmni",
        ),
        ('(Transform "EulerTransform")\n(NumberOfParameters 6)\n', "elastix.*transformix"),
        ("sub-01\n1.000000\n1.000000\n0.150000\n" + ROWS + "round\n", "register.dat.*lta_convert --inreg"),
        ("1 0 0 5 0 1 0 6 0 0 1 7\n", "AFNI.*cat_matvec"),
        ("# 3dAllineate matrices (DICOM-to-DICOM, row-by-row):\n" + "1 0 0 5 0 1 0 6 0 0 1 7\n" * 2, "AFNI"),
        (LTA.replace("type      = 0", "type      = 3"), r"type 3 \(TKREG.*lta_convert"),
        (LTA.replace("type      = 0", "type      = 14"), r"type 14 \(REGISTER_DAT"),
        (LTA.replace("type      = 0", "type      = 99"), r"type 99 \(not known"),
        (LTA.replace("nxforms   = 1", "nxforms   = 2"), "holds 2 transforms"),
        (itk_text(("BSplineTransform_double_3_3", [1], [1])), "BSplineTransform of ITK.*antsApplyTransforms"),
        (itk_text(("DisplacementFieldTransform_double_3_3", [1], [1])), r"which is read from \.h5"),
        (itk_text(("AffineTransform_double_2_2", [1] * 6, [0, 0])), "dimension 2"),
        (
            "#Insight Transform File V1.0\nTransform: Composite_double_3_3\nComponentTransformFile: a.txt\n",
            "other files",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "no transform that is read"),
        (b"\x93NUMPY\1\0", "no transform that is read"),
        (itk_matlab(("BSplineTransform_double_3_3", [1], [1])), "BSpline"),
    ],
)
def test_what_is_refused_says_the_way_out(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path / "a.dat", content)
    for wanted in (None, "itk" if b"Insight" in path.read_bytes() else None):
        with pytest.raises(UnsupportedFormatError, match=rf"(?s)^{path}.*{message}"):
            read_transforms({"path": path, "format": wanted})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 bytes"),
        ("\n", "rows of"),
        ("hello\n", "holds words"),
        ("1 2 3\n", r"rows of \[3\] numbers"),
        (ROWS + ROWS, "rows of"),
        ("# RAS to RAS\n1 0 0 0\n0 1 0 0\n0 0 0 0\n0 0 0 1\n", "singular"),
        ("# RAS to RAS\n1 0 0 0\n0 1 0 0\n0 0 nan 0\n0 0 0 1\n", "not finite"),
        ("# RAS to RAS\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 1 1\n", "last row"),
        ("#" * (1 << 20) + "\n" + ROWS, "and less than 1048576"),
        ("#Insight Transform File V1.0\n", "holds no transform"),
        ("#Insight Transform File V1.0\nParameters: 1\n", "no line of an ITK transform"),
        ("#Insight Transform File V1.0\nTransform AffineTransform\n", "no line of an ITK transform"),
        (ITK.replace("FixedParameters", "Fixed"), "has no FixedParameters"),
        (re.sub("\nParameters.*", "", ITK), "has no Parameters"),
        (ITK.replace("Parameters: ", "Parameters: one "), "not all numbers"),
        (ITK.replace("\nParameters: ", "\nParameters: 1 "), "13 Parameters and 3 FixedParameters, expected 12 and 3"),
        (ITK.replace("\nParameters: ", "\nParameters: nan ").replace(" 4.0 ", " "), "expected 12|not finite"),
        (ITK.replace("AffineTransform_double_3_3", "Affine"), "is no transform of ITK"),
        (ITK + ITK, "holds 2 transforms .*list these"),
        (itk_text(("CompositeTransform_double_3_3", None, None)), "composite of 0"),
        (itk_text(itk_affine(RIGID), ("CompositeTransform_double_3_3", None, None)), "holds 2 transforms"),
        (itk_text(("ScaleTransform_double_3_3", [1, 0, 1], [0, 0, 0])), "singular"),
        (LTA.replace("type      = 0", "type      = x"), "expected a whole number"),
        (LTA.replace("type      = 0", "kind      = 0"), "no line 'type ='"),
        (LTA.replace("1 4 4\n", "1 4 3\n"), "no matrix"),
        (LTA.replace("1 4 4\n", "1 4 4\nx "), "a row of its matrix"),
        (LTA.replace("src volume info", "volume info"), "src volume info is missing"),
        (LTA.replace("valid = 1", "valid = 0"), "src volume info is not valid"),
        (LTA.replace("voxelsize", "edges"), "no line 'voxelsize ='"),
        (LTA.replace("volume = 50 62 36", "volume = 50 62"), "expected 3 numbers"),
        (LTA.replace("voxelsize = 2", "voxelsize = 0 #"), "expected 3 numbers|singular"),
        (LTA[: LTA.index("dst")], "dst volume info is missing"),
    ],
)
def test_damaged_text_is_one_error_that_names_the_file(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "a.txt", content)
    with pytest.raises(HeaderError, match=rf"(?s)^{path}.*({message})"):
        read_transforms(path)


@pytest.mark.parametrize("keep", [19, 21, 40, 50, 60, 150, -30, -1])
def test_cut_matlab_files(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "a.mat", itk_matlab(itk_affine(RIGID))[:keep])
    with pytest.raises((HeaderError, UnsupportedFormatError), match=rf"^{path}"):
        read_transforms(path)


@pytest.mark.parametrize(
    "data",
    [
        itk_matlab(itk_affine(RIGID)).replace(b"fixed", b"mixed"),
        itk_matlab(itk_affine(RIGID))[:144],
        itk_matlab(itk_affine(RIGID), itk_affine(RIGID)),
        itk_matlab(("x", [1], [1])),
    ],
)
def test_matlab_files_of_others(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path / "a.mat", data)
    with pytest.raises((HeaderError, UnsupportedFormatError), match=rf"^{path}"):
        read_transforms(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"nothing\.txt cannot be read"):
        read_transforms(tmp_path / "nothing.txt")
    with pytest.raises(InputError, match="no regular file"):
        read_transforms(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no regular file"):
        read_transforms(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (3.5, "a float is no transform"),
        ({"path": "a.txt", "kind": "ras"}, "unknown keys kind; expected path, matrix, format"),
        ({"path": "a.txt", "format": "afni"}, r"a\.txt: format 'afni' is not known; expected one of ras, itk"),
        ({"path": "a.txt", "inverse": "yes"}, r"a\.txt: inverse is 'yes'"),
        ({"format": "ras"}, "needs a path or a matrix"),
        ({"path": "a.txt", "matrix": np.eye(4)}, "and not both"),
        ({"matrix": np.eye(4), "format": "fsl"}, "a matrix is ras"),
        ([[1, 2], 5], "a int is no transform"),
    ],
)
def test_what_a_user_says_wrong(transform: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_transforms(transform)


@pytest.mark.parametrize(
    "matrix", [np.eye(3), [[1, 2], [3, 4]], np.zeros((4, 4)), np.full((4, 4), np.nan), np.zeros(4)]
)
def test_arrays_that_are_no_matrix(matrix: Any) -> None:
    with pytest.raises(HeaderError, match="transform"):
        read_transforms(matrix)


def test_a_spec_reads_as_its_file(tmp_path: Path) -> None:
    path = write_mrtrix(tmp_path / "a.txt", RIGID)
    assert str(TransformSpec(path=path)) == str(path)
    np.testing.assert_array_equal(read_transforms(TransformSpec(path)).matrix, read_transforms(str(path)).matrix)
    np.testing.assert_array_equal(
        read_transforms(({"path": str(path), "format": None, "inverse": None},)).matrix, read_transforms(path).matrix
    )
    assert write_rows(tmp_path / "b.txt", RIGID) == tmp_path / "b.txt"
