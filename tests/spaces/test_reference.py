"""Spaces from every kind of reference, and transforms from text."""

from __future__ import annotations

import gc
import gzip
import itertools
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.formats.made import GRID, SIZES, tck_bytes, trk_bytes, write
from tests.helpers import make_trx_arrays, write_plain_folder, write_plain_zip
from trxlib.errors import (
    FormatError,
    HeaderError,
    HeaderWarning,
    InputError,
    InputNotFoundError,
    UnsupportedFormatError,
)
from trxlib.formats.reference import space_from
from trxlib.model.space import Space
from trxlib.spaces.placing import place_result
from trxlib.spaces.transforms import read_transforms

ITK = "#Insight Transform File V1.0\n"
AFFINE = np.array([[-1.0, 0, 0, 10], [0, 2, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
TEXT = b"# affine\n-1 0 0 10\n0, 2, 0, 20\n\n0 0 4 30 # z\n0 0 0 1\n"


def image() -> Any:
    return nib.Nifti1Image(np.zeros((*GRID, 2), np.uint8), AFFINE)


def make_reference(kind: str, folder: Path) -> Any:
    arrays = make_trx_arrays(3, affine=AFFINE, dimensions=GRID)
    match kind:
        case "nii" | "nii.gz" | "mgz":
            path = folder / f"ref.{kind}"
            nib.save(image() if kind != "mgz" else nib.MGHImage(np.zeros(GRID, np.uint8), AFFINE), path)
            return path
        case "trk":
            return write(folder / "ref.trk", trk_bytes([], affine=AFFINE, order=b"LAS"))
        case "trx":
            return str(write_plain_zip(arrays, folder / "ref.trx"))
        case "text":
            return write(folder / "ref.txt", TEXT + b"8 6 5\n")
        case "pair with text":
            return (str(write(folder / "ref.txt", TEXT)), np.array(GRID))
        case "trx folder":
            return write_plain_folder(arrays, folder / "ref")
        case "image":
            return image()
        case "nifti header":
            return image().header
        case "TrkFile":
            return nib.streamlines.load(make_reference("trk", folder))
        case "TrkFile header":
            return nib.streamlines.load(make_reference("trk", folder)).header
        case "TRX dict":
            return {"VOXEL_TO_RASMM": AFFINE.tolist(), "DIMENSIONS": np.array(GRID, np.uint16)}
        case "Header":
            return arrays.header
        case "pair":
            return (AFFINE, GRID)
    return Space(AFFINE, GRID)


@pytest.mark.parametrize(
    "kind",
    [
        *("nii", "nii.gz", "mgz", "trk", "trx", "trx folder", "image", "nifti header"),
        *("text", "pair with text"),
        *("TrkFile", "TrkFile header", "TRX dict", "Header", "pair", "Space"),
    ],
)
def test_every_kind_of_reference(tmp_path: Path, kind: str) -> None:
    space = space_from(make_reference(kind, tmp_path))
    assert space.dimensions == GRID
    np.testing.assert_allclose(space.voxel_to_rasmm, AFFINE, atol=1e-6)


def test_what_is_no_reference(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="nothing"):
        space_from(tmp_path / "nothing.nii")
    with pytest.raises(UnsupportedFormatError, match="a TCK file has no affine"):
        space_from(write(tmp_path / "a.tck", tck_bytes([])))
    with pytest.raises(UnsupportedFormatError, match="is no reference"):
        space_from(write(tmp_path / "a.nii", b"no image at all"))
    with pytest.raises(HeaderError, match="no header.json"):
        space_from(tmp_path)
    with pytest.raises(HeaderError, match="no header.json"):
        space_from(write(tmp_path / "a.trx", b"PK\x03\x04broken"))
    with pytest.raises(InputError, match="keys origin"):
        space_from({"origin": 3})
    with pytest.raises(InputError, match="a int is no reference"):
        space_from(3)
    with pytest.raises(HeaderError, match="singular"):
        space_from((np.diag([1.0, 0, 1, 1]), GRID))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT, r"ref\.txt has an affine and no dimensions.* add a line with three whole numbers.* --dimensions"),
        (TEXT + b"8 6\n", r"ref\.txt has rows of \[4, 4, 4, 4, 2\] numbers"),
        (TEXT + b"8 6 5\n1\n", r"ref\.txt has rows of \[4, 4, 4, 4, 3, 1\] numbers"),
        (TEXT + b"8 6 5.5\n", r"ref\.txt: dimensions"),
        (TEXT + b"8 6 -5\n", r"ref\.txt: dimensions"),
        (TEXT.replace(b"2, ", b"0, ") + b"8 6 5\n", r"ref\.txt: affine is singular"),
        (TEXT.replace(b" 4 ", b" four "), r"ref\.txt is no affine: .*'four'"),
    ],
)
def test_text_that_is_no_reference(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(HeaderError, match=message):
        space_from(write(tmp_path / "ref.txt", text))


def test_text_and_dimensions(tmp_path: Path) -> None:
    path = write(tmp_path / "ref.txt", TEXT + b"8 6 5\n")
    assert space_from((path, (1, 2, 3))).dimensions == (1, 2, 3)
    with pytest.raises(InputNotFoundError, match=r"gone\.txt cannot be read"):
        space_from((tmp_path / "gone.txt", GRID))
    with pytest.raises(HeaderError, match="dimensions"):
        space_from((path, (1, 2)))
    with pytest.raises(InputError, match=r"ref\.nii: dimensions are given beside it"):
        space_from((make_reference("nii", tmp_path), GRID))
    with pytest.raises(UnsupportedFormatError, match=r"notes\.txt is no reference: .* text file"):
        space_from(write(tmp_path / "notes.txt", b"four rows of four"))


def broken_nifti(**fields: Any) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape(GRID)
    record = header.structarr
    for name, value in fields.items():
        record[name] = value
    return header.binaryblock.ljust(352, b"\0") + bytes(2000)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.nii", broken_nifti(datatype=77)),
        ("a.nii", broken_nifti(vox_offset=3)),
        ("a.nii", broken_nifti(vox_offset=np.nan)),
        ("a.nii", broken_nifti(dim=[9, 5, 6, 7, 1, 1, 1, 1])),
        ("a.nii", broken_nifti(dim=[3, -5, 6, 7, 1, 1, 1, 1])),
        ("a.nii", broken_nifti(dim=[2, 5, 6, 1, 1, 1, 1, 1])),
        ("a.nii", broken_nifti(qform_code=1, quatern_b=1, quatern_c=1)),
        ("a.nii.gz", b"\x1f\x8b\x08broken"),
        ("a.mgh", b"\0\0\0\1" + b"\xff" * 300),
        ("a.mgz", b"\x1f\x8b\x08\0\0\0\0\0\0\xff"),
        ("b.mgz", gzip.compress(b"\0\0\0\1" + b"\xff" * 300, mtime=0)),
        ("b.nii.gz", gzip.compress(broken_nifti(), mtime=0)[:60]),
        ("a.mgh", b"\0\0\0\2" + b"\xff" * 300),
        ("a.mnc", b"CDF\x01" + b"\xff" * 60),
        ("a.gii", b"<gii"),
        ("a.par", b"# "),
        ("a.HEAD", b"type = x\n"),
        ("a.hdr", bytes(348)),
    ],
    ids=itertools.count(),  # the compressed ones hold the time
)
def test_damaged_images_are_one_error_that_names_the_file(tmp_path: Path, name: str, data: bytes) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises((FormatError, UnsupportedFormatError), match=re.escape(str(path))):
        space_from(path)
    gc.collect()  # files that are left open are a warning, hence an error


def test_a_damaged_header_of_a_trx_names_the_file(tmp_path: Path) -> None:
    write(tmp_path / "header.json", b"{")
    with pytest.raises(HeaderError, match=rf"^{tmp_path}: header\.json is not valid JSON"):
        space_from(tmp_path)


def test_transforms_from_text(tmp_path: Path) -> None:
    rows = "# to template\n1 0 0 5\n0,0,-1,6\n\n0 1 0 7 # z\n0 0 0 1\n"
    path = write(tmp_path / "t.txt", rows.encode())
    expected = np.array([[1, 0, 0, 5], [0, 0, -1, 6], [0, 1, 0, 7], [0, 0, 0, 1]])
    np.testing.assert_array_equal(read_transforms({"path": path, "format": "ras"}).matrix, expected)
    np.testing.assert_array_equal(read_transforms(expected).matrix, expected)
    np.testing.assert_array_equal(read_transforms(None).matrix, np.eye(4))
    with pytest.raises(InputError, match=r"t\.txt holds four rows of four numbers.* so name the format"):
        read_transforms(path)


def test_transforms_of_itk(tmp_path: Path) -> None:
    """ITK is LPS and turns about a centre: x' = A (x - c) + c + t."""
    text = (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        "Parameters: 0 -1 0 1 0 0 0 0 1 10 20 30\nFixedParameters: 1 2 3\n"
    )
    matrix = read_transforms(write(tmp_path / "t.tfm", text.encode())).matrix
    lps = np.array([4.0, 5, 6])
    turned = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ (lps - (1, 2, 3)) + (1, 2, 3) + (10, 20, 30)
    found = matrix @ [-lps[0], -lps[1], lps[2], 1]
    np.testing.assert_allclose(found[:3], turned * (-1, -1, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 0 0\n0 1 0 0\n", r"rows of \[4, 4\] numbers"),
        ("1 0 0 0\n0 1 0 0\n0 0 0 0\n0 0 0 1\n", "singular"),
        ("1 0 0 0\n0 1 0 0\n0 0 one 0\n0 0 0 1\n", "holds words"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 1 1\n", "last row"),
        ("", "has 0 bytes"),
        (ITK + "Transform: BSpline\nParameters: 1\nFixedParameters: 0\n", "BSpline"),
        (ITK + "Transform: AffineTransform_double_3_3\n", "has no Parameters"),
        (ITK + "Transform: AffineTransform_double_3_3\nParameters: 1 2\nFixedParameters: 0\n", "expected 12 and 3"),
    ],
)
def test_transforms_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HeaderError, match=message):
        read_transforms(_as_ras(write(tmp_path / "t.txt", text.encode())))
    with pytest.raises(InputNotFoundError, match="nothing"):
        read_transforms(tmp_path / "nothing.txt")


def _as_ras(path: Path) -> Any:
    """A text whose content does not tell its format gets one."""
    return path if path.read_text().startswith("#Insight") else {"path": path, "format": "ras"}


def test_where_a_result_is() -> None:
    own, other = Space(AFFINE, GRID), Space(np.diag([*SIZES, 1.0]), GRID)
    move = np.diag([1.0, 1, 1, 1])
    move[0, 3] = 5
    assert place_result("a", own, None, None)[0] is own
    assert place_result("a", own, None, move)[0].voxel_to_rasmm[0, 3] == 15
    assert place_result("a", own, other, move)[0] is other
    with pytest.warns(HeaderWarning, match="the reference's go into the result"):
        assert place_result("a", own, other, None)[0] is other
