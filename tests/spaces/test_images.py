"""References without their voxels: every kind of NIfTI, MGH, what is assumed, and what is refused at once."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.formats.made import GRID, write
from trxlib.errors import HeaderError, HeaderWarning, InputNotFoundError, UnsupportedFormatError
from trxlib.formats.reference import space_from
from trxlib.model.space import same_space

TURNED = np.array([[-1.2, 0.9, 0, 10], [0.9, 1.2, 0, 20.5], [0, 0, 4, -30], [0, 0, 0, 1]])
OTHER = np.diag([-1.5, 1.5, 4, 1.0])


def save(
    path: Path, kind: Any = nib.Nifti1Image, *, sform: int = 0, qform: int = 0, shape: tuple[int, ...] = GRID
) -> Path:
    """Write an image whose sform and qform differ, with these codes."""
    image = kind(np.zeros(shape, np.uint8), None)
    image.header.set_zooms((1.5, 1.5, 4.0, *[1.0] * (len(shape) - 3)))
    image.header.set_sform(TURNED, sform)
    image.header.set_qform(OTHER if sform else TURNED, qform)
    nib.save(image, path)
    return path


def affine_by_nibabel(path: Path) -> np.ndarray:
    """Return what nibabel says; it leaves MGH files open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return nib.load(path).affine


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img", "a.hdr", "a.img.gz"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (2, 1), (4, 4)])
@pytest.mark.parametrize("shape", [GRID, (*GRID, 2)])
def test_every_kind_of_nifti(
    tmp_path: Path, name: str, version: int, sform: int, qform: int, shape: tuple[int, ...]
) -> None:
    kind = getattr(nib, f"Nifti{version}{'Image' if '.nii' in name else 'Pair'}")
    path = save(tmp_path / name, kind, sform=sform, qform=qform, shape=shape)
    space = space_from(path)
    np.testing.assert_array_equal(space.voxel_to_rasmm, nib.load(path).affine)
    np.testing.assert_allclose(space.voxel_to_rasmm, TURNED, atol=1e-5)
    assert space.dimensions == GRID


@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1)])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.img"])
def test_mrtrix_says_the_same_of_nifti(tmp_path: Path, name: str, sform: int, qform: int) -> None:
    if shutil.which("mrconvert") is None:
        pytest.skip("mrconvert of MRtrix3 is not installed")
    kind = nib.Nifti1Pair if name.endswith("img") else nib.Nifti1Image
    path = save(tmp_path / name, kind, sform=sform, qform=qform)
    subprocess.run(["mrconvert", "-quiet", path, tmp_path / "b.mif"], check=True)
    assert same_space(space_from(path), space_from(tmp_path / "b.mif"))


def test_the_header_of_a_pair_is_enough_and_without_it_there_is_none(tmp_path: Path) -> None:
    path = save(tmp_path / "a.img", nib.Nifti1Pair, sform=1)
    (tmp_path / "a.img").rename(tmp_path / "b.img")
    assert space_from(path.with_suffix(".hdr")).dimensions == GRID
    with pytest.raises(
        InputNotFoundError, match=r"b\.img is one half of a pair, and b\.hdr, .* does not lie beside it"
    ):
        space_from(tmp_path / "b.img")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti_that_does_not_say_where_it_is(tmp_path: Path, kind: Any) -> None:
    path = save(tmp_path / "a.nii.gz", kind)
    message = r"a\.nii\.gz: its header has neither a qform nor a sform .* run to the left.* or name another reference"
    with pytest.warns(HeaderWarning, match=message) as told:
        space = space_from(path)
    assert len(told) == 1
    np.testing.assert_array_equal(space.voxel_to_rasmm, nib.load(path).affine)
    middle = space.voxel_to_rasmm @ [*(np.array(GRID) - 1) / 2, 1]
    np.testing.assert_allclose(middle[:3], 0, atol=1e-6)
    assert space.voxel_to_rasmm[0, 0] == -1.5
    # So is one in memory, unless it was given an affine of its own.
    with pytest.warns(HeaderWarning, match=r"reference image: its header has neither"):
        space_from(nib.load(path))
    with pytest.warns(HeaderWarning, match=r"reference image: its header has neither"):
        space_from(nib.load(path).header)
    image = kind(np.zeros(GRID, np.uint8), TURNED)
    image.header["sform_code"] = 0
    assert space_from(image).dimensions == GRID


@pytest.mark.parametrize(("unit", "name"), [("meter", "metre"), ("micron", "micrometre")])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("codes", [{"sform": 1}, {"qform": 1}])
def test_nifti_with_another_unit_than_mm(
    tmp_path: Path, unit: str, name: str, version: int, codes: dict[str, int]
) -> None:
    path = save(tmp_path / "a.nii", getattr(nib, f"Nifti{version}Image"), **codes)
    image = nib.load(path)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, tmp_path / "b.nii")
    with pytest.warns(HeaderWarning, match=rf"b\.nii: its header says that its unit is the {name}; .* taken as mm"):
        np.testing.assert_allclose(space_from(tmp_path / "b.nii").voxel_to_rasmm, TURNED, atol=1e-5)


def test_what_nibabel_says_is_said_once_with_the_name_of_the_file(tmp_path: Path, capfd: Any) -> None:
    path = save(tmp_path / "a.nii", qform=1)
    data = bytearray(path.read_bytes())
    data[80:92] = bytes(12)  # voxel sizes
    with pytest.warns(HeaderWarning, match=r"a\.nii: nibabel says of its header: pixdim\[1,2,3\] should be") as told:
        space_from(write(path, bytes(data)))
    assert len(told) == 1
    assert capfd.readouterr().err == ""
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        space_from(path)
    assert {item.category for item in raised} == {HeaderWarning}


@pytest.mark.parametrize("suffix", ["mgh", "mgz"])
def test_images_of_freesurfer(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    nib.save(nib.MGHImage(np.zeros((*GRID, 2), np.uint8), TURNED), path)
    space = space_from(path)
    np.testing.assert_array_equal(space.voxel_to_rasmm, affine_by_nibabel(path))
    np.testing.assert_allclose(space.voxel_to_rasmm, TURNED, atol=1e-5)
    assert space.dimensions == GRID


def test_an_image_of_freesurfer_that_does_not_say_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.mgh"
    nib.save(nib.MGHImage(np.zeros(GRID, np.uint8), TURNED), path)
    data = bytearray(path.read_bytes())
    data[28:30] = bytes(2)
    with pytest.warns(HeaderWarning, match=r"a\.mgh: its header states no affine; voxels of 1 mm and a coronal"):
        space = space_from(write(path, bytes(data)))
    np.testing.assert_array_equal(space.voxel_to_rasmm, affine_by_nibabel(path))
    np.testing.assert_array_equal(space.voxel_sizes, 1)


def test_analyze_does_not_say_where_it_is(tmp_path: Path) -> None:
    image = nib.AnalyzeImage(np.zeros(GRID, np.int16), None)
    image.header.set_zooms((1.5, 1.5, 4.0))
    nib.save(image, tmp_path / "a.img")
    with pytest.warns(HeaderWarning, match=r"a\.img: its header states no affine; .* write the image as NIfTI"):
        space = space_from(tmp_path / "a.img")
    np.testing.assert_array_equal(space.voxel_to_rasmm, nib.load(tmp_path / "a.img").affine)


def test_voxels_are_not_read(tmp_path: Path) -> None:
    for name, kind in (("a.nii", nib.Nifti1Image), ("b.nii", nib.Nifti2Image), ("a.mgh", nib.MGHImage)):
        path = tmp_path / name
        nib.save(kind(np.zeros(GRID, np.uint8), TURNED), path)
        expected = space_from(path)
        write(path, path.read_bytes()[:-200])
        assert same_space(space_from(path), expected)


@pytest.mark.parametrize("name", ["a.nii", "a.mif", "a"])
def test_a_pipe_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UnsupportedFormatError, match=rf"{re.escape(str(tmp_path / name))} is a pipe, .* a NIfTI, MGH"):
        space_from(tmp_path / name)
    with pytest.raises(UnsupportedFormatError, match="is a pipe"):
        space_from((tmp_path / name, GRID))


def test_devices_and_sockets_are_refused_at_once(tmp_path: Path) -> None:
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(UnsupportedFormatError, match=f"{device} is a device"):
            space_from(device)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(UnsupportedFormatError, match="s is a socket"):
            space_from(tmp_path / "s")


def test_links_are_followed_and_broken_ones_named(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", sform=1)
    (tmp_path / "b.nii").symlink_to("a.nii")
    assert space_from(tmp_path / "b.nii").dimensions == GRID
    (tmp_path / "c.nii").symlink_to("gone.nii")
    with pytest.raises(InputNotFoundError, match=r"c\.nii is a symbolic link to gone\.nii, which is not there"):
        space_from(tmp_path / "c.nii")
    with pytest.raises(InputNotFoundError, match="cannot be read"):
        space_from("a\0.nii")


def test_messages_name_the_ways_out(tmp_path: Path) -> None:
    kinds = r"NIfTI, MGH, MRtrix \(\.mif, \.mih\) or NRRD image, a TRK or a TRX file, or a text file"
    with pytest.raises(UnsupportedFormatError, match=rf"a\.png is no reference: .*{kinds}.*mrconvert or dcm2niix"):
        space_from(write(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n" + bytes(400)))
    with pytest.raises(HeaderError, match=rf"it is no TRX file, name a {kinds}"):
        space_from(tmp_path)
