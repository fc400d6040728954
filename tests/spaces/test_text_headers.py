"""MRtrix and NRRD images as references: what MRtrix3 and ITK say of them, and every damage is one error."""

from __future__ import annotations

import gzip
import itertools
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.made import write
from trxlib.errors import HeaderError, HeaderWarning
from trxlib.formats.reference import space_from
from trxlib.model.space import same_space
from trxlib.spaces.mif import read_mif
from trxlib.spaces.nrrd import read_nrrd

SIZES = (5, 6, 7)
TURNED = "0.8,-0.6,0,10\n0.6,0.8,0,20\n0,0,1,30"
CYCLE = "0,1,0,10\n0,0,-1,20\n1,0,0,30"
LAYOUTS = [
    *(
        ",".join(f"{sign}{place}" for sign, place in zip(signs, (0, 1, 2), strict=True))
        for signs in itertools.product("+-", repeat=3)
    ),
    *(
        ",".join(f"{sign}{place}" for sign, place in zip("+-+", order, strict=True))
        for order in itertools.permutations(range(3))
    ),
]


def mif(
    *,
    dim: str = "5,6,7",
    vox: str = "1.5,2,4",
    layout: str = "-0,+1,+2",
    transform: str = TURNED,
    file: str = "file: . 4096\nEND\n",
) -> bytes:
    rows = "".join(f"transform: {row}\n" for row in transform.splitlines())
    text = f"mrtrix image\ndim: {dim}\nvox: {vox}\nlayout: {layout}\ndatatype: UInt8\n{rows}comments: a: b # c\n{file}"
    return text.encode().ljust(4096, b"\0") + bytes(5 * 6 * 7 * 4)


def mrtrix(*command: Any) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} of MRtrix3 is not installed")
    return subprocess.run([str(item) for item in command], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("transform", [TURNED, CYCLE], ids=["turned", "cycle"])
def test_an_mrtrix_image_has_the_space_of_its_nifti(tmp_path: Path, layout: str, transform: str) -> None:
    path = write(tmp_path / "a.mif", mif(layout=layout, transform=transform))
    mrtrix("mrconvert", "-quiet", path, tmp_path / "a.nii")
    found, expected = space_from(path), nib.load(tmp_path / "a.nii")
    assert found.dimensions == expected.shape
    np.testing.assert_allclose(found.voxel_to_rasmm, expected.affine, atol=1e-5)


def test_only_a_line_of_its_own_ends_an_mrtrix_header(tmp_path: Path) -> None:
    expected = space_from(write(tmp_path / "a.mif", mif()))
    later = mif().replace(b"layout:", b"ENDED: yes\nlayout:")
    assert same_space(space_from(write(tmp_path / "b.mif", later)), expected)
    assert same_space(space_from(write(tmp_path / "c.mih", mif(file="file: a.dat\n").rstrip(b"\0"))), expected)
    assert same_space(space_from(write(tmp_path / "d.mih", mif(file="file: a.dat\nEND").rstrip(b"\0"))), expected)
    mrtrix("mrconvert", "-quiet", tmp_path / "b.mif", tmp_path / "b.nii")
    assert same_space(space_from(tmp_path / "b.nii"), expected)


@pytest.mark.parametrize("layout", ["-0,+1,+2,+3", "-1,+2,-3,+0", "+2,-1,+3,+0"])
@pytest.mark.parametrize("suffix", ["mif", "mif.gz", "mih"])
def test_a_nifti_series_keeps_its_space_in_every_mrtrix_file(tmp_path: Path, layout: str, suffix: str) -> None:
    path = write(tmp_path / "a.mif", mif(dim="5,6,7,4", vox="1.5,2,4,1", layout=layout))
    mrtrix("mrconvert", "-quiet", path, tmp_path / "a.nii")
    mrtrix("mrconvert", "-quiet", tmp_path / "a.nii", tmp_path / f"b.{suffix}")
    expected = space_from(tmp_path / "a.nii")
    assert same_space(space_from(path), expected)
    assert same_space(space_from(tmp_path / f"b.{suffix}"), expected)
    sizes = mrtrix("mrinfo", "-size", tmp_path / f"b.{suffix}").split()[:3]
    assert sorted(map(int, sizes)) == sorted(expected.dimensions)


@pytest.mark.parametrize("layout", ["+0,+1,+2", "-0,+1,-2", "+2,-0,+1"])
@pytest.mark.parametrize("transform", ["", "nan,0,0,1\n0,1,0,1\n0,0,1,1"], ids=["none", "nan"])
def test_without_a_transform_the_image_is_where_mrtrix_puts_it(tmp_path: Path, layout: str, transform: str) -> None:
    path = write(tmp_path / "a.mif", mif(layout=layout, transform=transform))
    with pytest.warns(HeaderWarning, match=r"a\.mif: its header has no transform; .* name another reference"):
        found = space_from(path)
    mrtrix("mrconvert", "-quiet", path, tmp_path / "a.nii")
    expected = nib.load(tmp_path / "a.nii")
    assert found.dimensions == expected.shape
    np.testing.assert_allclose(found.voxel_to_rasmm, expected.affine, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.mif", mif(dim="5,6", vox="1,1", layout="+0,+1"), r"dim has 2 axes"),
        ("a.mif", mif(dim="5,six,7"), r"dim is '5,six,7'"),
        ("a.mif", mif(dim="5,6,1e9"), r"dim is '5,6,1e9'"),
        ("a.mif", mif(dim="5,6,70000"), r"dimensions is \[5, 6, 70000\]"),
        ("a.mif", mif(dim=f"5,6,{10**400}"), "expected 3 whole numbers from 1 to 65535"),
        ("a.mif", mif(vox="nan,2,4"), r"vox is \[nan, 2.0, 4.0\], expected 3 sizes above 0"),
        ("a.mif", mif(vox="0,2,4"), "vox is"),
        ("a.mif", mif(layout="+0,+1,+1"), r"layout is '\+0,\+1,\+1', expected each number from 0 to 2"),
        ("a.mif", mif(layout="+0,+1"), "layout is"),
        ("a.mif", mif(layout="+0,+1,x"), "layout is"),
        ("a.mif", mif(transform="1,0,0,1\n0,1,0,1"), "transform is .* expected 3 rows of 4"),
        ("a.mif", mif(transform="1,0,0,1\n0,1,0,1\n0,0,1"), "transform is .* expected 3 rows of 4"),
        ("a.mif", mif(transform="1,0,0,1\n0,1,0,one\n0,0,1,2"), "transform is .* expected 3 rows of 4"),
        ("a.mif", mif(transform="1,0,0,1\n1,0,0,1\n0,0,1,2"), "affine is singular"),
        ("a.mif", mif().replace(b"layout:", b"lay:"), "no line 'layout'"),
        ("a.mif", mif()[:60], "the file is cut or damaged"),
        ("a.mif", mif(file="file: . 4096\n")[:150], "the file is cut or damaged"),
        ("a.mih", mif(file="")[:80], "the file is cut or damaged"),
        ("a.mif.gz", gzip.compress(mif(), mtime=0)[:80], "truncated or damaged"),
        ("a.mif", b"mrtrix image\n" + b"comments: x\n" * 100_000, "does not end within 1048576 bytes"),
    ],
    ids=itertools.count(),
)
def test_a_damaged_mrtrix_header_is_one_error_that_names_the_file(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}.*{message}"):
        space_from(path)


def nrrd(**fields: str) -> bytes:
    known = {
        "type": "unsigned char",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "5 6 7",
        "space directions": "(1.2,0.9,0) (-1.2,1.6,0) (0,0,3)",
        "space origin": "(10,20,30)",
        "encoding": "raw",
    } | {key.replace("_", " "): value for key, value in fields.items()}
    lines = [f"{key}: {value}" for key, value in known.items() if value]
    return "\n".join(["NRRD0004", "# space: of a comment", *lines, "space:=mine", "", ""]).encode() + bytes(
        5 * 6 * 7 * 4
    )


def affine_of_itk(path: Path) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return what ITK reads from the header, turned from LPS into RAS."""
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK, which reads NRRD for comparison, is not installed")
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    count = reader.GetDimension()
    assert count == 3
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    return np.diag([-1.0, -1, 1, 1]) @ affine, reader.GetSize()


@pytest.mark.parametrize(
    "space",
    ["left-posterior-superior", "LPS", "right-anterior-superior", "RAS", "left-anterior-superior", "Las"],
)
@pytest.mark.parametrize("suffix", ["nrrd", "nhdr"])
def test_an_nrrd_image_is_where_itk_says(tmp_path: Path, space: str, suffix: str) -> None:
    more = {"data_file": "a.raw"} if suffix == "nhdr" else {}
    path = write(tmp_path / f"a.{suffix}", nrrd(space=space, **more))
    found = space_from(path)  # the voxels may be elsewhere
    write(tmp_path / "a.raw", bytes(5 * 6 * 7))
    affine, sizes = affine_of_itk(path)
    assert found.dimensions == sizes == SIZES
    np.testing.assert_allclose(found.voxel_to_rasmm, affine, atol=1e-12)


@pytest.mark.parametrize(("sizes", "first"), [("4 5 6 7", True), ("5 6 7 4", False)])
@pytest.mark.parametrize("nothing", ["none", "(nan,nan,nan)"])
def test_an_axis_of_volumes_is_no_axis_of_space(tmp_path: Path, sizes: str, first: bool, nothing: str) -> None:
    directions = "(1.2,0.9,0) (-1.2,1.6,0) (0,0,3)"
    data = nrrd(
        dimension="4",
        sizes=sizes,
        space_directions=f"{nothing} {directions}" if first else f"{directions} {nothing}",
        kinds="vector domain domain domain" if first else "domain domain domain vector",
    )
    path = write(tmp_path / "a.nrrd", data)
    expected = space_from(write(tmp_path / "b.nrrd", nrrd()))
    assert same_space(space_from(path), expected)
    if nothing == "none" and first:
        affine, found = affine_of_itk(path)
        assert found == SIZES
        np.testing.assert_allclose(expected.voxel_to_rasmm, affine, atol=1e-12)


def test_images_that_itk_writes(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK, which writes NRRD for comparison, is not installed")
    image = itk.GetImageFromArray(np.zeros((7, 6, 5), np.uint8))
    image.SetSpacing((1.5, 2, 3))
    image.SetOrigin((10, -20, 30))
    image.SetDirection([0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1])
    series = itk.GetImageFromArray(np.zeros((7, 6, 5, 4), np.uint8), isVector=True)
    series.CopyInformation(image)
    itk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    expected = space_from(tmp_path / "a.nii.gz")
    for name, made in (("a.nrrd", image), ("a.nhdr", image), ("s.nrrd", series)):
        itk.WriteImage(made, str(tmp_path / name), useCompression=True)
        assert same_space(space_from(tmp_path / name), expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (nrrd(space=""), "its header names no space, so nobody can say which way"),
        (nrrd(space="scanner-xyz"), "space is 'scanner-xyz', so nobody"),
        (nrrd(space="", space_dimension="3"), "its header names no space"),
        (nrrd(sizes=""), "has no sizes"),
        (nrrd(sizes="5 6 x"), "sizes is '5 6 x'"),
        (nrrd(sizes="5 6"), "space directions has 3 axes and sizes 2"),
        (nrrd(sizes="5 6 70000"), r"dimensions is \[5, 6, 70000\]"),
        (nrrd(sizes=f"5 6 {10**400}"), "expected 3 whole numbers from 1 to 65535"),
        (nrrd(space_directions=""), "has no space directions"),
        (nrrd(space_directions="none (1,0,0) (0,1,0)"), "2 axes have space directions, expected 3"),
        (nrrd(space_directions="(1,0,0) (0,1,0) (0,0,1,0)"), "space directions is"),
        (nrrd(space_directions="(1,0,0) (0,1,0) (0,0,one)"), "space directions is"),
        (nrrd(space_directions="(1,0,0) (0,1,0) 0,0,1"), "space directions is"),
        (nrrd(space_directions="(1,0,0) (1,0,0) (0,0,1)"), "affine is singular"),
        (nrrd(space_origin="none"), "space origin is 'none'"),
        (nrrd(space_origin="(0,0,inf)"), "not finite"),
        (nrrd()[:60], "names no space|has no sizes|no space directions"),
        (b"NRRD0004\n" + b"# a\n" * 300_000, "does not end within 1048576 bytes"),
    ],
    ids=itertools.count(),
)
def test_a_damaged_nrrd_header_is_one_error_that_names_the_file(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "a.nrrd", data)
    with pytest.raises(HeaderError, match=rf"^{re.escape(str(path))}.*({message})"):
        space_from(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"space_origin": ""}, "a.nrrd: its header has no space origin; .* 0 0 0"),
        ({"space_units": '"mm" "m" "mm"'}, 'a.nrrd: space units is "mm" "m" "mm"; .* taken as mm'),
    ],
)
def test_what_an_nrrd_header_leaves_open_is_a_warning(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    path = write(tmp_path / "a.nrrd", nrrd(**fields))
    with pytest.warns(HeaderWarning, match=message):
        assert space_from(path).dimensions == SIZES
    affine, _ = affine_of_itk(path)
    with pytest.warns(HeaderWarning):
        np.testing.assert_allclose(space_from(path).voxel_to_rasmm, affine, atol=1e-12)


def test_units_of_mm_are_nothing_to_tell(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nrrd", nrrd(space_units='"mm" "mm" "mm"').replace(b"\n", b"\r\n", 10))
    assert space_from(path).dimensions == SIZES


NASTY = [
    "nan",
    "inf",
    "-1",
    "1e400",
    "1e200",
    "0",
    "",
    ",",
    "(",
    ")",
    "none",
    "\n",
    "\0",
    "\xe9",
    "_",
    "99999999999999999999",
]


@given(
    kind=st.sampled_from([mif()[:300], nrrd()[:300]]),
    where=st.integers(0, 300),
    what=st.sampled_from(NASTY),
    cut=st.integers(0, 20),
)
@settings(max_examples=400, deadline=None)
def test_whatever_is_damaged_is_one_error_that_names_the_file(kind: bytes, where: int, what: str, cut: int) -> None:
    data = kind[:where] + what.encode("latin1") + kind[where + cut :]
    read = read_mif if kind.startswith(b"mrtrix") else read_nrrd
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeaderWarning)
        try:
            found: Any = read(data, "a.b")
        except HeaderError as error:
            found = error
    assert str(found).startswith("a.b: ") or np.isfinite(found.rasmm_to_voxel).all()
