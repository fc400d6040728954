"""Fields in the files of each program, which all say the same known smooth map."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from spaces.transform_files import (
    OBLIQUE,
    SHAPE,
    bend,
    deformation,
    displacements,
    grid_points,
    itk_affine,
    itk_field,
    make_points,
    make_rigid,
    mif_bytes,
    move,
    read_tck,
    tck_bytes,
    write_field,
    write_image,
    write_itk_hdf5,
    write_itk_warp,
    write_mrtrix_warp,
)

from trxlib.errors import HeaderError, HeaderWarning, InputError, SpaceMismatchError, UnsupportedFormatError
from trxlib.model.space import Space
from trxlib.spaces.transforms import read_transforms

POINTS = make_points()
RIGID = make_rigid()
COMPOSITE = ("CompositeTransform_double_3_3", None, None)
needs_mrtrix = pytest.mark.skipif(shutil.which("tcktransform") is None, reason="needs MRtrix (tcktransform)")


def run(*arguments: Any) -> None:
    subprocess.run([*map(str, arguments), "-quiet"], check=True)


def assert_moves(transform: Any, expected: np.ndarray, atol: float = 0.02) -> None:
    moved, outside = transform.apply(POINTS)
    assert outside is None
    np.testing.assert_allclose(moved, expected, rtol=0, atol=atol)


def bend_and_turn(points: np.ndarray) -> np.ndarray:
    return move(RIGID, bend(points))


# --- ITK


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "without_suffix"])
def test_warps_of_ants_are_displacements_in_lps(tmp_path: Path, name: str) -> None:
    path = write_itk_warp(tmp_path / (name if "." in name else "a.nii.gz"), bend)
    path = path.rename(tmp_path / name)
    transform = read_transforms(path)
    assert_moves(transform, bend(POINTS))
    assert transform.matrix is None
    (record,) = transform.records
    assert record["format"] == "itk"
    assert record["steps"][0]["kind"] == "displacements"
    assert record["steps"][0]["dimensions"] == list(SHAPE)
    assert_moves(read_transforms({"path": str(path), "format": "itk"}), bend(POINTS))


@pytest.mark.parametrize("dtype", [np.float64, np.dtype(">f4"), np.int16])
def test_number_types_of_fields(tmp_path: Path, dtype: Any) -> None:
    data = displacements(bend)[:, :, :, None, :]
    image = nib.Nifti1Image(data, OBLIQUE, dtype=np.float64)
    image.set_data_dtype(np.dtype(dtype).newbyteorder("="))  # nibabel scales integers
    image.header["intent_code"] = 1007
    nib.save(image, tmp_path / "a.nii.gz")
    assert_moves(read_transforms(tmp_path / "a.nii.gz"), bend(POINTS))


def test_nifti_2(tmp_path: Path) -> None:
    image = nib.Nifti2Image(displacements(bend)[:, :, :, None, :].astype(np.float32), OBLIQUE)
    image.header["intent_code"] = 1007
    nib.save(image, tmp_path / "a.nii")
    assert_moves(read_transforms(tmp_path / "a.nii"), bend(POINTS))


def test_a_big_endian_file(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    image = nib.Nifti1Image(displacements(bend)[:, :, :, None, :].astype(">f4"), OBLIQUE, header)
    image.header["intent_code"] = 1007
    nib.save(image, tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == b"\0\0\1\x5c"
    assert_moves(read_transforms(tmp_path / "a.nii"), bend(POINTS))


@pytest.mark.parametrize("misspelled", [True, False])
def test_composites_hold_fields_and_matrices(tmp_path: Path, misspelled: bool) -> None:
    """Points pass the last one of the file first."""
    path = write_itk_hdf5(tmp_path / "a.h5", COMPOSITE, itk_affine(RIGID), itk_field(bend), misspelled=misspelled)
    assert_moves(read_transforms(path), bend_and_turn(POINTS))
    path = write_itk_hdf5(
        tmp_path / "b.h5", COMPOSITE, itk_field(bend), itk_affine(RIGID), itk_affine(np.linalg.inv(RIGID))
    )
    transform = read_transforms(path)
    assert_moves(transform, bend(POINTS))
    assert [step["kind"] for step in transform.records[0]["steps"]] == ["linear", "displacements"]


def test_a_warp_and_an_affine_in_a_list(tmp_path: Path) -> None:
    """Native to template: the inverse warp last, after the inverse of the matrix."""
    matrix = write_itk_hdf5(tmp_path / "0GenericAffine.h5", itk_affine(np.linalg.inv(RIGID)))
    warp = write_itk_warp(tmp_path / "1InverseWarp.nii.gz", bend)
    transform = read_transforms([{"path": matrix, "inverse": True}, warp])
    np.testing.assert_allclose(transform.apply(POINTS * 0.6).points, bend(move(RIGID, POINTS * 0.6)), rtol=0, atol=0.02)
    assert transform.files == (matrix, warp)


# --- MRtrix


def test_warps_of_mrtrix_are_positions(tmp_path: Path) -> None:
    path = write_mrtrix_warp(tmp_path / "a.nii", bend_and_turn)
    transform = read_transforms(path)
    assert_moves(transform, bend_and_turn(POINTS))
    assert transform.records[0]["format"] == "mrtrix"
    assert transform.records[0]["steps"][0]["kind"] == "positions"
    bare = write_field(tmp_path / "b.nii.gz", deformation(bend).astype(np.float32))
    assert_moves(read_transforms({"path": bare, "format": "mrtrix"}), bend(POINTS))


@pytest.mark.parametrize("layout", ["+1,+2,+3,+0", "+0,+1,+2,+3", "-0,-1,+2,+3", "+2,-0,+1,-3", "-1,+3,-2,+0"])
@pytest.mark.parametrize("name", ["a.mif", "a.mif.gz"])
def test_images_of_mrtrix_in_every_order_of_axes(tmp_path: Path, layout: str, name: str) -> None:
    data = mif_bytes(deformation(bend), OBLIQUE, layout)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert_moves(read_transforms(tmp_path / name), bend(POINTS))


def test_images_of_mrtrix_in_double_precision_and_scaled(tmp_path: Path) -> None:
    data = mif_bytes((deformation(bend) - 3) / 2, OBLIQUE, datatype="Float64BE", scaling="3,2")
    (tmp_path / "a.mif").write_bytes(data)
    assert_moves(read_transforms(tmp_path / "a.mif"), bend(POINTS))


def test_headers_of_mrtrix_with_their_data_beside_them(tmp_path: Path) -> None:
    head, _, _ = mif_bytes(deformation(bend), OBLIQUE).partition(b"\nEND\n")
    (tmp_path / "a.mih").write_bytes(re.sub(rb"file: .*", b"file: a.dat", head) + b"\n")
    (tmp_path / "a.dat").write_bytes(deformation(bend).transpose(2, 1, 0, 3).astype("<f4").tobytes())
    transform = read_transforms(tmp_path / "a.mih")
    assert_moves(transform, bend(POINTS))
    assert transform.files == (tmp_path / "a.mih", tmp_path / "a.dat")


@needs_mrtrix
@pytest.mark.parametrize("name", ["warp.nii.gz", "warp.mif", "warp.mif.gz", "warp.mih"])
@pytest.mark.parametrize("strides", ["1,2,3,4", "-1,-2,3,4", "2,3,4,1", "-3,1,-2,4"])
def test_tcktransform_moves_the_same(tmp_path: Path, name: str, strides: str) -> None:
    run("mrconvert", write_mrtrix_warp(tmp_path / "a.nii", bend_and_turn), tmp_path / name, "-strides", strides)
    (tmp_path / "in.tck").write_bytes(tck_bytes(np.array_split(POINTS, 20)))
    run("tcktransform", tmp_path / "in.tck", tmp_path / name, tmp_path / "out.tck")
    theirs = read_tck(tmp_path / "out.tck")
    assert_moves(read_transforms(tmp_path / name), theirs, atol=1e-4)
    np.testing.assert_allclose(theirs, bend_and_turn(POINTS), rtol=0, atol=0.02)


@needs_mrtrix
def test_the_identity_of_warpinit(tmp_path: Path) -> None:
    run("warpinit", write_image(tmp_path / "native.nii"), tmp_path / "warp.mif")
    assert_moves(read_transforms(tmp_path / "warp.mif"), POINTS, atol=2e-5)


@needs_mrtrix
def test_displacements_of_mrtrix_are_refused(tmp_path: Path) -> None:
    run("warpconvert", write_mrtrix_warp(tmp_path / "a.nii", bend), "deformation2displacement", tmp_path / "b.mif")
    with pytest.raises(
        InputError, match=r"b\.mif should hold positions, and holds displacements.*displacement2deformation"
    ):
        read_transforms(tmp_path / "b.mif")


def test_the_full_warp_of_mrtrix_is_refused(tmp_path: Path) -> None:
    data = np.zeros((4, 5, 6, 3, 4), dtype=np.float32)
    write_field(tmp_path / "a.nii", data, descrip=b"MRtrix version: 3.0.4")
    text = mif_bytes(data[..., 0], OBLIQUE).replace(b"dim: 4,5,6,3", b"dim: 4,5,6,3,4")
    text = text.replace(b"+1,+2,+3,+0", b"+1,+2,+3,+0,+4")
    (tmp_path / "a.mif").write_bytes(text)
    for name in ("a.nii", "a.mif"):
        with pytest.raises(UnsupportedFormatError, match="full warp of MRtrix.*warpconvert"):
            read_transforms(tmp_path / name)


def test_voxels_that_all_lead_to_the_origin_hold_no_position(tmp_path: Path) -> None:
    data = deformation(bend).astype(np.float32)
    data[:10] = 0
    path = write_field(tmp_path / "a.nii", data, descrip=b"MRtrix version: 3.0.4")
    with pytest.warns(HeaderWarning, match=r"0 0 0 in 22320 of 111600 voxels"):
        transform = read_transforms(path)
    points = move(OBLIQUE, np.array([[5.0, 30, 18], [9.5, 30, 18], [10.5, 30, 18]]))
    moved, outside = transform.apply(points)
    assert outside is not None
    assert outside.tolist() == [True, True, False]
    np.testing.assert_allclose(moved[2], bend(points)[2], atol=0.02)


def test_one_voxel_may_lead_to_the_origin(tmp_path: Path) -> None:
    data = deformation(lambda points: points).astype(np.float32)
    data[25, 31, 18] = 0
    transform = read_transforms(write_field(tmp_path / "a.nii", data, descrip=b"MRtrix version: 3.0.4"))
    assert_moves(transform, POINTS, atol=1e-5)


# --- what a field is not


def test_fields_are_not_inverted(tmp_path: Path) -> None:
    for path, way in [
        (write_itk_warp(tmp_path / "sub-01_1Warp.nii.gz", bend), "sub-01_1InverseWarp.nii.gz"),
        (write_itk_warp(tmp_path / "1InverseWarp.nii.gz", bend), "1Warp.nii.gz"),
        (
            write_itk_hdf5(tmp_path / "InverseComposite.h5", COMPOSITE, itk_field(bend), itk_affine(RIGID)),
            "Composite.h5",
        ),
        (write_itk_hdf5(tmp_path / "from-T1w_to-MNI_xfm.h5", itk_field(bend)), "from- and to- exchanged"),
        (write_itk_warp(tmp_path / "a.nii.gz", bend), "1InverseWarp in place of 1Warp"),
        (write_mrtrix_warp(tmp_path / "warp1.nii", bend), "warpinvert"),
    ]:
        with pytest.raises(InputError, match=rf"{path.name} holds a field, and the way back is not in it.*{way}"):
            read_transforms({"path": path, "inverse": True})


def test_positions_are_no_displacements(tmp_path: Path) -> None:
    data = deformation(bend).astype(np.float32)[:, :, :, None, :]
    path = write_field(tmp_path / "y_spm.nii", data, intent_code=1007)
    with pytest.raises(InputError, match=r"y_spm\.nii should hold displacements, and holds positions"):
        read_transforms(path)


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ((3,), {"intent_code": 2006}, "warp of FSL .a displacement field.*wb_command"),
        ((3,), {"intent_code": 2009}, "warp of FSL .quadratic"),
        ((1, 3), {"intent_code": 1007, "intent_name": b"NREG_TRANS"}, "NiftyReg"),
        ((1, 3), {"intent_code": 1007, "intent_name": b"Mapping"}, "SPM"),
        ((3,), {}, "could be of several programs.*itk for displacements.*mrtrix for positions"),
        ((1, 3), {}, "could be of several programs"),
        ((1, 3), {"intent_code": 1006}, "could be of several programs"),
        ((), {}, r"shape \[50, 62, 36\]"),
        ((1, 1, 3), {}, "shape"),
        ((4,), {"descrip": b"MRtrix version: 3.0.4"}, "shape"),
        ((1, 3), {"intent_code": 1007, "qoffset_x": 3}, "sform and qform of its header differ by .* mm"),
        ((1, 3), {"intent_code": 1007, "xyzt_units": 1}, "another unit than mm"),
    ],
)
def test_images_that_are_no_known_field(tmp_path: Path, shape: Any, fields: Any, message: str) -> None:
    path = write_field(tmp_path / "a.nii", np.zeros((*SHAPE, *shape), dtype=np.float32), **fields)
    with pytest.raises((InputError, UnsupportedFormatError, HeaderError), match=rf"^{path}.*{message}"):
        read_transforms(path)
    for name in ("fsl", "lta", "ras"):
        with pytest.raises((InputError, UnsupportedFormatError, HeaderError), match=rf"^{path}"):
            read_transforms({"path": path, "format": name})


def test_a_field_that_does_not_say_where_it_is(tmp_path: Path) -> None:
    path = write_itk_warp(tmp_path / "a.nii", bend)
    data = bytearray(path.read_bytes())
    data[252:256] = bytes(4)  # codes of qform and sform
    path.write_bytes(data)
    with pytest.raises(HeaderError, match=rf"{path} has neither sform nor qform"):
        read_transforms(path)


def test_numbers_that_no_float_holds_are_holes(tmp_path: Path) -> None:
    data = displacements(bend)[:, :, :, None, :]
    data[20, 20, 20, 0, 1] = 1e300
    path = write_field(tmp_path / "a.nii", data, intent_code=1007)
    _, outside = read_transforms(path).apply(move(OBLIQUE, np.array([[20.0, 20, 20], [30, 30, 30]])))
    assert outside is not None
    assert outside.tolist() == [True, False]


def test_a_format_against_the_content_is_an_error(tmp_path: Path) -> None:
    ants, mrtrix = write_itk_warp(tmp_path / "a.nii", bend), write_mrtrix_warp(tmp_path / "b.nii", bend)
    (tmp_path / "c.mif").write_bytes(mif_bytes(deformation(bend), OBLIQUE))
    composite = write_itk_hdf5(tmp_path / "d.h5", itk_field(bend))
    for path, wanted in [
        (ants, "mrtrix"),
        (mrtrix, "itk"),
        (tmp_path / "c.mif", "itk"),
        (composite, "mrtrix"),
        (ants, "fsl"),
    ]:
        with pytest.raises(InputError, match=path.name):
            read_transforms({"path": path, "format": wanted})


def test_displacements_without_an_intent_are_itk_if_somebody_says_so(tmp_path: Path) -> None:
    data = displacements(bend)[:, :, :, None, :].astype(np.float32)
    for intent in (0, 1006):
        path = write_field(tmp_path / f"{intent}.nii", data, intent_code=intent)
        assert_moves(read_transforms({"path": path, "format": "itk"}), bend(POINTS))


def test_a_transform_that_leads_nowhere_near_the_reference(tmp_path: Path) -> None:
    far = OBLIQUE.copy()
    far[:3, 3] += 300
    path = write_mrtrix_warp(tmp_path / "a.nii", bend)
    assert_moves(read_transforms(path, reference=Space(OBLIQUE, SHAPE)), bend(POINTS))
    with pytest.raises(SpaceMismatchError, match=r"a\.nii: the transform leads to .* no voxel"):
        read_transforms(path, reference=Space(far, SHAPE))


# --- damage


@pytest.mark.parametrize("keep", [0, 3, 200, 348, 352, 5000, -1])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mif", "a.mif.gz", "a.h5"])
def test_cut_files_are_one_error_that_names_the_file(tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    if name == "a.h5":
        write_itk_hdf5(path, COMPOSITE, itk_field(bend, OBLIQUE, (9, 8, 7)), itk_affine(RIGID))
    elif ".mif" in name:
        data = mif_bytes(deformation(bend), OBLIQUE)
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    else:
        write_itk_warp(path, bend)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises((HeaderError, UnsupportedFormatError, InputError), match=re.escape(str(path))):
        read_transforms(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"dim: 50,62,36,3", b"dim: 50,62,36,4"),
        (b"dim: 50,62,36,3", b"dim: 50,62,x,3"),
        (b"dim: 50,62,36,3", b"dim: 50,62,0,3"),
        (b"dim: 50,62,36,3", b"dim: 50,-2,36,3"),
        (b"dim: 50,62,36,3", b"dim: 500000,62000,36,3"),
        (b"dim: 50,62,36,3", b"dim: 50,62,37,3"),
        (b"datatype: Float32LE", b"datatype: Bit"),
        (b"datatype: Float32LE", b"datatype: CFloat32LE"),
        (b"layout: +1,+2,+3,+0", b"layout: +1,+2,+3,+3"),
        (b"layout: +1,+2,+3,+0", b"layout: +1,+2,+3"),
        (b"vox: ", b"vox: a"),
        (b"vox: ", b"vox: 0,"),
        (b"transform: ", b"transporm: "),
        (b"transform: ", b"transform: 1,"),
        (b"file: . ", b"file: nothing.dat "),
        (b"file: . ", b"file: a[].dat "),
        (b"file: . ", b"fail: . "),
        (b"\nEND\n", b"\nAND\n"),
    ],
)
def test_damaged_headers_of_mrtrix(tmp_path: Path, before: bytes, after: bytes) -> None:
    data = mif_bytes(deformation(bend), OBLIQUE)
    assert before in data
    (tmp_path / "a.mif").write_bytes(data.replace(before, after))
    with pytest.raises((HeaderError, UnsupportedFormatError, InputError, FileNotFoundError), match=str(tmp_path)):
        read_transforms(tmp_path / "a.mif")


def set_type(name: str) -> Any:
    return lambda group: group["TransformType"].write_direct(np.array([name], dtype=object))


def set_grid(numbers: Any) -> Any:
    return lambda group: group["TranformFixedParameters"].write_direct(np.array(numbers, dtype=np.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda group: group.pop("TranformFixedParameters"), "no TransformFixedParameters"),
        (lambda group: group.pop("TransformType"), "cannot be read as HDF5"),
        (set_grid(np.full(18, np.nan)), "18: its size, origin"),
        (set_grid(np.arange(18)), "its grid needs 0"),
        (set_grid(np.arange(1, 19)), "its grid needs 18"),
        (set_grid([9, 8, 7, *np.zeros(15)]), "singular"),
        (set_type("BSplineTransform_double_3_3"), "BSpline"),
        (set_type("Affine"), "no transform of ITK"),
        (set_type("AffineTransform_double_2_2"), "dimension 2"),
        (set_type("AffineTransform_double_3_3"), "expected 12"),
    ],
)
def test_damaged_composites(tmp_path: Path, change: Any, message: str) -> None:
    import h5py

    path = write_itk_hdf5(tmp_path / "a.h5", COMPOSITE, itk_affine(RIGID), itk_field(bend, OBLIQUE, (9, 8, 7)))
    with h5py.File(path, "r+") as file:
        change(file["TransformGroup/2"])
    with pytest.raises((HeaderError, UnsupportedFormatError), match=rf"{path}.*{message}"):
        read_transforms(path)


def test_hdf5_of_others(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.x5", "w") as file:
        file.attrs["Format"] = "X5"
    with pytest.raises(UnsupportedFormatError, match=r"a\.x5 is HDF5 and holds no TransformGroup.*X5"):
        read_transforms(tmp_path / "a.x5")


@needs_mrtrix
@pytest.mark.slow
def test_a_registration_of_mrtrix_leads_points_from_native_to_template(tmp_path: Path) -> None:
    """Of mrregister native template, points take the linear file, or the second warp."""
    points = make_points(12, seed=3, reach=22)
    before = np.linalg.norm(points - bend(points), axis=1).mean()
    grid = grid_points(OBLIQUE, SHAPE)
    for name, where in [("native", points), ("template", bend(points))]:
        data = sum(np.exp(-((grid - point) ** 2).sum(axis=-1) / 50) for point in where)
        write_field(tmp_path / f"{name}.nii", data.astype(np.float32))
    images = (tmp_path / "native.nii", tmp_path / "template.nii")
    linear, *warps = (tmp_path / name for name in ("rigid.txt", "warp1.mif", "warp2.mif"))
    run("mrregister", *images, "-type", "rigid", "-rigid", linear)
    run("mrregister", *images, "-type", "rigid_nonlinear", "-nl_warp", *warps)
    errors = []
    for transform in (linear, warps[1], warps[0]):
        moved, outside = read_transforms(transform).apply(points)
        assert outside is None
        errors.append(np.linalg.norm(moved - bend(points), axis=1).mean() / before)
    assert errors[0] < 0.8
    assert errors[1] < 0.5
    assert errors[2] > 1.2  # the way of images
