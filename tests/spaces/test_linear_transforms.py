"""Matrices of every program, of which each says the same known motion."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from spaces.transform_files import (
    LPS,
    OBLIQUE,
    SHAPE,
    flirt_matrix,
    itk_affine,
    itk_matlab,
    itk_text,
    lta_text,
    make_points,
    make_rigid,
    move,
    write_image,
    write_itk_hdf5,
    write_mrtrix,
    write_rows,
)

from trxlib.errors import HeaderError, HeaderWarning, InputError, SpaceMismatchError
from trxlib.formats.reference import space_from
from trxlib.model.space import Space
from trxlib.spaces.transforms import TransformSpec, read_transforms

POINTS = make_points(reach=80)
RIGID = make_rigid()
AFFINE = RIGID @ np.array([[1.1, 0.1, 0, 0], [0, 0.9, -0.05, 0], [0.02, 0, 1.2, 0], [0, 0, 0, 1]])
IMAGES = {
    "radiological": (np.array([[-2.0, 0, 0, 60], [0, 1.5, 0, -70], [0, 0, 3.0, -50], [0, 0, 0, 1]]), (61, 90, 40)),
    "neurological": (np.array([[1.25, 0, 0, -40], [0, 2.0, 0, -60], [0, 0, 1.0, -55], [0, 0, 0, 1]]), (70, 55, 110)),
    "oblique": (OBLIQUE, SHAPE),
    "oblique, turned over": (OBLIQUE @ np.array([[-1, 0, 0, 49], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), SHAPE),
    "axes exchanged": (np.array([[0, 0, 1.0, -50], [-2.0, 0, 0, 60], [0, 1.5, 0, -60], [0, 0, 0, 1]]), (61, 80, 100)),
}
needs_mrtrix = pytest.mark.skipif(shutil.which("transformconvert") is None, reason="needs MRtrix (transformconvert)")


def run(*arguments: Any) -> None:
    subprocess.run([*map(str, arguments), "-quiet"], check=True)


def assert_moves(transform: Any, expected: np.ndarray, atol: float = 1e-6) -> None:
    np.testing.assert_allclose(transform.apply(POINTS).points, move(expected, POINTS), rtol=0, atol=atol)
    np.testing.assert_allclose(move(transform.matrix, POINTS), move(expected, POINTS), rtol=0, atol=atol)
    assert transform.apply(POINTS).outside is None


def test_a_matrix_is_ras_to_ras() -> None:
    assert_moves(read_transforms(AFFINE), AFFINE)
    assert_moves(read_transforms(AFFINE.tolist()), AFFINE)
    assert_moves(read_transforms({"matrix": AFFINE, "inverse": True}), np.linalg.inv(AFFINE))
    assert_moves(read_transforms(TransformSpec(matrix=AFFINE, format="ras")), AFFINE)


def test_nothing_moves_nothing() -> None:
    assert_moves(read_transforms(None), np.eye(4), atol=0)
    assert_moves(read_transforms([]), np.eye(4), atol=0)


def test_text_of_ras_is_told_by_its_name_or_its_comment(tmp_path: Path) -> None:
    assert_moves(read_transforms({"path": write_rows(tmp_path / "a.txt", AFFINE), "format": "ras"}), AFFINE)
    assert_moves(read_transforms(write_rows(tmp_path / "b.txt", AFFINE, "# RASMM to RASMM\n")), AFFINE)


def test_points_pass_transforms_in_the_order_written(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.txt", RIGID, "# ras-to-ras\n")
    assert_moves(read_transforms([path, AFFINE]), AFFINE @ RIGID)
    assert_moves(read_transforms([{"matrix": AFFINE, "inverse": True}, str(path)]), RIGID @ np.linalg.inv(AFFINE))
    assert len(read_transforms([path, AFFINE]).steps) == 1


# --- ITK


def rigid_in_itk() -> dict[str, tuple[list[float], list[float]]]:
    """The known motion in each class that can say it: parameters and fixed ones."""
    _, (*matrix, tx, ty, tz), centre = itk_affine(RIGID)
    turn = Rotation.from_matrix(np.array(matrix).reshape(3, 3))
    shift, fixed = [tx, ty, tz], list(centre)
    versor = list(turn.as_quat(canonical=True)[:3])
    z, x, y = turn.as_euler("ZXY")
    zz, yy, xx = turn.as_euler("ZYX")
    return {
        "AffineTransform": ([*matrix, *shift], fixed),
        "MatrixOffsetTransformBase": ([*matrix, *shift], fixed),
        "FixedCenterOfRotationAffineTransform": ([*matrix, *shift], fixed),
        "Rigid3DTransform": ([*matrix, *shift], fixed),
        "CenteredAffineTransform": ([*matrix, *fixed, *shift], [0, 0, 0]),
        "Euler3DTransform": ([x, y, z, *shift], fixed),
        "Euler3DTransform ": ([x, y, z, *shift], [*fixed, 0]),
        "Euler3DTransform  ": ([xx, yy, zz, *shift], [*fixed, 1]),
        "CenteredEuler3DTransform": ([x, y, z, *fixed, *shift], [0, 0, 0, 0]),
        "CenteredEuler3DTransform ": ([xx, yy, zz, *fixed, *shift], [0, 0, 0, 1]),
        "VersorRigid3DTransform": ([*versor, *shift], fixed),
        "QuaternionRigidTransform": ([*turn.as_quat(), *shift], fixed),
        "Similarity3DTransform": ([*versor, *shift, 1], fixed),
        "ScaleVersor3DTransform": ([*versor, *shift, 1, 1, 1], fixed),
        "ScaleSkewVersor3DTransform": ([*versor, *shift, 1, 1, 1, 0, 0, 0, 0, 0, 0], fixed),
        "ComposeScaleSkewVersor3DTransform": ([*versor, *shift, 1, 1, 1, 0, 0, 0], fixed),
    }


@pytest.mark.parametrize("kind", rigid_in_itk())
@pytest.mark.parametrize("numbers", ["double", "float"])
def test_classes_of_itk_say_one_motion(tmp_path: Path, kind: str, numbers: str) -> None:
    part = (f"{kind.strip()}_{numbers}_3_3", *rigid_in_itk()[kind])
    (tmp_path / "a.tfm").write_text(itk_text(part))
    assert_moves(read_transforms(tmp_path / "a.tfm"), RIGID)
    (tmp_path / "a.mat").write_bytes(itk_matlab(part))
    assert_moves(read_transforms({"path": tmp_path / "a.mat", "inverse": True}), np.linalg.inv(RIGID))
    assert_moves(read_transforms(write_itk_hdf5(tmp_path / "a.h5", part)), RIGID)


@pytest.mark.parametrize(
    ("kind", "parameters", "fixed", "lps"),
    [
        ("TranslationTransform", [1, 2, 3], [], lambda p: np.add(p, (1, 2, 3))),
        ("IdentityTransform", [], [], lambda p: p),
        ("ScaleTransform", [2, 3, 4], [5, 6, 7], lambda p: (p - (5, 6, 7)) * (2, 3, 4) + (5, 6, 7)),
        ("ScaleLogarithmicTransform", np.log([2, 3, 4]), [5, 6, 7], lambda p: (p - (5, 6, 7)) * (2, 3, 4) + (5, 6, 7)),
        ("VersorTransform", [0, 0, 1], [5, 6, 7], lambda p: (p - (5, 6, 7)) * (-1, -1, 1) + (5, 6, 7)),
        ("VersorTransform", [0, 0, 1 + 1e-9], [0, 0, 0], lambda p: p * (-1, -1, 1)),
        ("Similarity3DTransform", [0, 0, 1, 1, 2, 3, 2], [0, 0, 0], lambda p: p * (-2, -2, 2) + (1, 2, 3)),
        ("ScaleVersor3DTransform", [0, 0, 0, 1, 2, 3, 2, 3, 4], [0, 0, 0], lambda p: p * (2, 3, 4) + (1, 2, 3)),
    ],
)
def test_other_classes_of_itk(tmp_path: Path, kind: str, parameters: Any, fixed: Any, lps: Any) -> None:
    (tmp_path / "a.txt").write_text(itk_text((f"{kind}_double_3_3", parameters, fixed)))
    moved = read_transforms(tmp_path / "a.txt").apply(POINTS).points
    np.testing.assert_allclose(moved, lps(POINTS * (-1, -1, 1)) * (-1, -1, 1), rtol=0, atol=1e-6)


def test_the_last_transform_of_a_composite_comes_first(tmp_path: Path) -> None:
    parts = [("CompositeTransform_double_3_3", None, None), itk_affine(AFFINE), itk_affine(RIGID)]
    (tmp_path / "a.txt").write_text(itk_text(*parts))
    assert_moves(read_transforms(tmp_path / "a.txt"), AFFINE @ RIGID)
    inverse = read_transforms({"path": write_itk_hdf5(tmp_path / "a.h5", *parts, misspelled=False), "inverse": True})
    assert_moves(inverse, np.linalg.inv(AFFINE @ RIGID))


def test_fixed_parameters_may_come_first(tmp_path: Path) -> None:
    lines = itk_text(itk_affine(AFFINE)).splitlines()
    (tmp_path / "a.txt").write_text("\r\n".join([*lines[:3], lines[4], lines[3], ""]))
    assert_moves(read_transforms(tmp_path / "a.txt"), AFFINE)


def test_matlab_files_in_single_precision(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(itk_matlab(itk_affine(AFFINE, "AffineTransform_float_3_3"), code=10))
    assert_moves(read_transforms(tmp_path / "a.mat"), AFFINE, atol=1e-4)


# --- FSL


@pytest.mark.parametrize("source", IMAGES)
@pytest.mark.parametrize("reference", IMAGES)
def test_flirt_moves_points_from_its_in_to_its_ref(tmp_path: Path, source: str, reference: str) -> None:
    native, template = Space(*IMAGES[source]), Space(*IMAGES[reference])
    path = write_rows(tmp_path / "a.mat", flirt_matrix(RIGID, IMAGES[source], IMAGES[reference]))
    assert_moves(read_transforms({"path": path, "format": "fsl", "source": native}, reference=template), RIGID)
    back = {"path": path, "format": "fsl", "source": template, "inverse": True}
    assert_moves(read_transforms(back, reference=native), np.linalg.inv(RIGID))


@needs_mrtrix
@pytest.mark.parametrize("source", IMAGES)
@pytest.mark.parametrize("reference", IMAGES)
def test_flirt_as_mrtrix_imports_it(tmp_path: Path, source: str, reference: str) -> None:
    native = write_image(tmp_path / "native.nii", *IMAGES[source])
    template = write_image(tmp_path / "template.nii.gz", *IMAGES[reference])
    path = write_rows(
        tmp_path / "a.mat",
        np.array([[1.05, 0.1, -0.02, 8], [-0.1, 0.97, 0.04, 9], [0.03, -0.05, 1.1, 5], [0, 0, 0, 1.0]]),
    )
    run("transformconvert", path, native, template, "flirt_import", tmp_path / "out.txt")
    flirt = read_transforms({"path": path, "format": "fsl"}, source=native, reference=space_from(template))
    mrtrix = read_transforms(tmp_path / "out.txt")
    np.testing.assert_allclose(flirt.apply(POINTS).points, mrtrix.apply(POINTS).points, rtol=0, atol=1e-3)
    assert np.linalg.inv(np.loadtxt(tmp_path / "out.txt")) == pytest.approx(mrtrix.matrix, abs=1e-9)
    assert flirt.files == (path, native)


def test_flirt_needs_both_images(tmp_path: Path) -> None:
    native, template = Space(*IMAGES["oblique"]), Space(*IMAGES["radiological"])
    path = write_rows(tmp_path / "a.mat", flirt_matrix(RIGID, IMAGES["oblique"], IMAGES["radiological"]))
    spec = {"path": path, "format": "fsl"}
    with pytest.raises(InputError, match=r"a\.mat is a matrix of FLIRT.*name the source"):
        read_transforms(spec, reference=template)
    with pytest.raises(InputError, match="name the reference"):
        read_transforms(spec, source=native)
    # The end of a chain is not the end of its first part.
    with pytest.raises(InputError, match="name the reference"):
        read_transforms([spec, AFFINE], source=native, reference=template)
    with pytest.raises(InputError, match="name the source"):
        read_transforms([AFFINE, spec], source=native, reference=template)
    chain = read_transforms([spec | {"reference": template}, AFFINE], source=native, reference=native)
    assert_moves(chain, AFFINE @ RIGID)


@pytest.mark.parametrize("kind", ["1", "2"])
def test_flirt_needs_voxel_sizes_in_the_header_that_are_those_of_the_affine(tmp_path: Path, kind: str) -> None:
    path = write_rows(tmp_path / "a.mat", np.eye(4))
    image = (nib.Nifti1Image if kind == "1" else nib.Nifti2Image)(np.zeros(SHAPE, dtype=np.uint8), OBLIQUE)
    nib.save(image, tmp_path / "native.nii")
    spec = {"path": path, "format": "fsl", "source": tmp_path / "native.nii"}
    assert read_transforms(spec, reference=Space(OBLIQUE, SHAPE)).matrix == pytest.approx(np.eye(4), abs=1e-4)
    data = bytearray((tmp_path / "native.nii").read_bytes())
    start, sizes = (80, np.array([2, 2, 2], "<f4")) if kind == "1" else (112, np.array([2, 2, 2], "<f8"))
    data[start : start + sizes.nbytes] = sizes.tobytes()
    (tmp_path / "native.nii").write_bytes(data)
    with pytest.raises(HeaderError, match=r"native\.nii: its header has voxels of \[2.0, 2.0, 2.0\] mm, its affine"):
        read_transforms(spec, reference=Space(OBLIQUE, SHAPE))


def test_images_in_the_wrong_order_lead_nowhere(tmp_path: Path) -> None:
    near, far = Space(OBLIQUE, SHAPE), Space(np.diag([2.0, 2, 2, 1]), (90, 100, 80))
    far.voxel_to_rasmm[:3, 3] = 400, 500, 600
    path = write_rows(tmp_path / "a.mat", np.eye(4))
    assert read_transforms({"path": path, "format": "fsl", "source": near}, reference=far).matrix is not None
    shift = write_rows(tmp_path / "b.mat", np.array([[1, 0, 0, 300], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    with pytest.raises(SpaceMismatchError, match=r"b\.mat: the transform leads to .* no voxel"):
        read_transforms({"path": shift, "format": "fsl", "source": near}, reference=far)


# --- MRtrix and FreeSurfer


def test_mrtrix_says_where_in_the_native_image_a_point_of_the_template_lies(tmp_path: Path) -> None:
    path = write_mrtrix(tmp_path / "a.txt", AFFINE)
    assert_moves(read_transforms(path), np.linalg.inv(AFFINE))
    assert_moves(read_transforms({"path": path, "inverse": True, "format": "mrtrix"}), AFFINE)
    bare = write_rows(tmp_path / "b.txt", AFFINE)
    assert_moves(read_transforms({"path": bare, "format": "mrtrix"}), np.linalg.inv(AFFINE))


@needs_mrtrix
def test_mrtrix_reads_itk_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(itk_text(itk_affine(AFFINE)))
    run("transformconvert", tmp_path / "a.txt", "itk_import", tmp_path / "out.txt")
    # Both say where the template's points lie in the native image; format itk goes as the file stands.
    assert_moves(read_transforms(tmp_path / "out.txt"), np.linalg.inv(AFFINE), atol=1e-3)
    assert_moves(read_transforms({"path": tmp_path / "a.txt", "inverse": True}), np.linalg.inv(AFFINE))


@needs_mrtrix
def test_mrtrix_registers_a_moved_image_along_its_points(tmp_path: Path) -> None:
    """A ball at a point of the native image lies, resampled, where the point goes."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -49
    point = np.array([10.0, -12.0, 6.0])
    grid = np.stack(np.meshgrid(*[np.arange(50)] * 3, indexing="ij"), axis=-1) * 2.0 - 49
    nib.save(
        nib.Nifti1Image(np.exp(-((grid - point) ** 2).sum(axis=-1) / 72).astype(np.float32), affine),
        tmp_path / "native.nii",
    )
    path = write_mrtrix(tmp_path / "a.txt", RIGID)
    run(
        "mrtransform",
        tmp_path / "native.nii",
        "-linear",
        path,
        "-template",
        tmp_path / "native.nii",
        tmp_path / "out.nii",
    )
    weights = nib.load(tmp_path / "out.nii").get_fdata()
    centre = (grid * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()
    np.testing.assert_allclose(read_transforms(path).apply(point[None]).points[0], centre, atol=0.05)


@pytest.mark.parametrize("kind", [0, 1])
def test_lta_leads_from_source_to_destination(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "a.lta"
    path.write_text(lta_text(AFFINE, kind, IMAGES["oblique"], IMAGES["axes exchanged"]))
    assert_moves(read_transforms(path), AFFINE)
    assert_moves(read_transforms({"path": path, "format": "lta", "inverse": True}), np.linalg.inv(AFFINE))


def test_lta_from_ras_to_ras_needs_no_volumes(tmp_path: Path) -> None:
    text = lta_text(AFFINE, 1, IMAGES["oblique"], IMAGES["oblique"], valid=0)
    (tmp_path / "a.lta").write_text(text)
    assert_moves(read_transforms(tmp_path / "a.lta"), AFFINE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [0, 1])
def test_lta_as_nitransforms_reads_it(tmp_path: Path, kind: int) -> None:
    lta = pytest.importorskip("nitransforms.io.lta", reason="needs nitransforms")
    text = lta_text(AFFINE, kind, IMAGES["oblique"], IMAGES["neurological"])
    (tmp_path / "a.lta").write_text(text)
    # It has points go from destination to source.
    expected = np.linalg.inv(lta.FSLinearTransform.from_string(text).to_ras())
    assert_moves(read_transforms(tmp_path / "a.lta"), expected, atol=1e-3)


# --- records and warnings


def test_records_say_what_was_read(tmp_path: Path) -> None:
    path = write_mrtrix(tmp_path / "a.txt", AFFINE)
    first, second = read_transforms([path, {"matrix": RIGID, "inverse": True}]).records
    assert {key: first[key] for key in ("path", "format", "inverse", "size")} == {
        "path": str(path),
        "format": "mrtrix",
        "inverse": False,
        "size": path.stat().st_size,
    }
    assert json.loads(json.dumps(first)) == first
    assert int(first["crc32"], 16) == zlib.crc32(path.read_bytes())
    assert np.array(first["steps"][0]["matrix"]) == pytest.approx(np.linalg.inv(AFFINE))
    assert (second["path"], second["format"], second["inverse"]) == (None, "ras", True)
    assert read_transforms([path, path, RIGID]).files == (path,)


def test_a_mirror_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(HeaderWarning, match="mirrors.*left and right"):
        read_transforms({"path": write_rows(tmp_path / "a.txt", np.diag([-1.0, 1, 1, 1])), "format": "ras"})


def test_matrices_are_inverted_and_multiplied_as_numpy_does() -> None:
    chain = read_transforms([AFFINE, {"matrix": AFFINE, "inverse": True}])
    np.testing.assert_allclose(chain.matrix, np.eye(4), atol=1e-12)
    assert chain.matrix[3].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(LPS @ LPS, np.eye(4))
