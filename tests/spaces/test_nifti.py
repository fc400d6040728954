"""The quick way to a NIfTI-1 image's space: what nibabel says, or nothing, so that nibabel is asked."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trxlib.errors import HeaderError
from trxlib.formats.reference import space_from
from trxlib.spaces.nifti import NIFTI_BYTES, read_nifti

AFFINE = np.array([[-1.25, 0.1, 0, 10], [0.2, 2, 0, 20.5], [0, 0.3, 4, -30], [0, 0, 0, 1]])


def image(shape: tuple[int, ...] = (5, 6, 7), kind: Any = nib.Nifti1Image, **header: Any) -> Any:
    made = kind(np.zeros(shape, np.uint8), AFFINE)
    made.header["vox_offset"] = 352 if kind is nib.Nifti1Image else 544
    for key, value in header.items():
        made.header[key] = value
    return made


def head_of(made: Any) -> bytes:
    """Return the bytes of a single file's header."""
    return made.header.binaryblock[:344] + b"n+1\0" if made.header.sizeof_hdr == 348 else made.header.binaryblock


@given(
    srows=st.lists(st.floats(-1e6, 1e6, width=32), min_size=12, max_size=12),
    sizes=st.lists(st.integers(1, 32767), min_size=3, max_size=7),
    order=st.sampled_from("<>"),
    sform=st.integers(1, 5),
    qform=st.integers(0, 5),
)
def test_what_nibabel_says(srows, sizes, order, sform, qform):
    header = nib.Nifti1Header(endianness=order)
    header["dim"][: 1 + len(sizes)] = [len(sizes), *sizes]
    header["sform_code"], header["qform_code"], header["vox_offset"] = sform, qform, 352
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        header[name] = srows[4 * row : 4 * row + 4]
    found = read_nifti(header.binaryblock[:344] + b"n+1\0")
    assert found is not None
    affine, dimensions = found
    assert affine.dtype == np.float64
    np.testing.assert_array_equal(affine, header.get_best_affine())
    assert dimensions == header.get_data_shape()[:3]


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 8)])
@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (2, 1), (0, 1), (0, 0)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_every_road_gives_the_same(tmp_path, kind, sform, qform, shape, suffix):
    made = image(shape, kind, sform_code=sform, qform_code=qform)
    path = tmp_path / f"reference.{suffix}"
    nib.save(made, path)
    expected = nib.load(path)
    space = space_from(path)
    np.testing.assert_array_equal(space.voxel_to_rasmm, expected.affine)
    assert space.dimensions == (5, 6, 7)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        head_of(image())[: NIFTI_BYTES - 1],
        head_of(image())[:344] + b"ni1\0",
        b"\0" * 4 + head_of(image())[4:],
        head_of(image(sform_code=0)),
        head_of(image(sform_code=-1)),
        head_of(image(sform_code=6)),
        head_of(image(datatype=12345)),
        head_of(image(vox_offset=16)),
        head_of(image(vox_offset=np.nan)),
        head_of(image(dim=[2, 5, 6, 1, 1, 1, 1, 1])),
        head_of(image(dim=[8, 5, 6, 7, 1, 1, 1, 1])),
        head_of(image(dim=[3, 5, 0, 7, 1, 1, 1, 1])),
        head_of(image(dim=[3, -1, 1, 1, 1, 1, 1, 1])),
        head_of(image(kind=nib.Nifti2Image))[:NIFTI_BYTES],
    ],
    ids=[
        "empty",
        "short",
        "pair",
        "size",
        "no sform",
        "sform",
        "unknown sform",
        "datatype",
        "offset",
        "no offset",
        "two axes",
        "eight axes",
        "no voxels",
        "freesurfer",
        "2",
    ],
)
def test_others_are_left_to_nibabel(head):
    assert read_nifti(head) is None


def test_the_base_of_these_headers_is_read():
    assert read_nifti(head_of(image())) is not None


def test_an_affine_of_no_numbers_is_an_error_that_names_the_image(tmp_path):
    made = image()
    made.header["srow_x"] = np.nan
    path = tmp_path / "reference.nii.gz"
    path.write_bytes(gzip.compress(head_of(made) + b"\0" * 500))
    with pytest.raises(HeaderError, match=r"reference\.nii\.gz: reference image: affine"):
        space_from(path)


def test_nibabel_is_not_imported(tmp_path):
    path = tmp_path / "reference.nii.gz"
    nib.save(image(), path)
    code = (
        "import sys; from trxlib.formats.reference import space_from; "
        "print(space_from(sys.argv[1]).dimensions, 'nibabel' in sys.modules)"
    )
    folder = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code, path], cwd=folder, capture_output=True, text=True, check=True)
    assert result.stdout == "(5, 6, 7) False\n"
