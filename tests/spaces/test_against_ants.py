"""The same files, and the same points, moved by ANTs itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spaces.transform_files import (
    OBLIQUE,
    SHAPE,
    bend,
    displacements,
    itk_affine,
    itk_field,
    itk_matlab,
    itk_text,
    make_points,
    make_rigid,
    write_image,
    write_itk_hdf5,
    write_itk_warp,
)

from trxlib.spaces.transforms import read_transforms

pytestmark = pytest.mark.slow
ants = pytest.importorskip("ants", reason="needs antspyx")

POINTS = make_points()
RIGID = make_rigid()
VERSOR, SHIFT, CENTRE = [0.1, 0.2, 0.3], [4, 5, 6], [10, 20, 30]
MATRIX = [1.1, 0.1, -0.05, 0.02, 0.9, 0.2, 0.0, -0.1, 1.2]
CLASSES = [
    ("AffineTransform", [*MATRIX, *SHIFT], CENTRE),
    ("MatrixOffsetTransformBase", [*MATRIX, *SHIFT], CENTRE),
    ("FixedCenterOfRotationAffineTransform", [*MATRIX, *SHIFT], CENTRE),
    ("CenteredAffineTransform", [*MATRIX, *CENTRE, *SHIFT], [0, 0, 0]),
    ("Rigid3DTransform", [0, -1, 0, 1, 0, 0, 0, 0, 1, *SHIFT], CENTRE),
    ("Euler3DTransform", [*VERSOR, *SHIFT], CENTRE),
    ("Euler3DTransform", [*VERSOR, *SHIFT], [*CENTRE, 0]),
    ("Euler3DTransform", [*VERSOR, *SHIFT], [*CENTRE, 1]),
    ("CenteredEuler3DTransform", [*VERSOR, *CENTRE, *SHIFT], [0, 0, 0, 0]),
    ("CenteredEuler3DTransform", [*VERSOR, *CENTRE, *SHIFT], [0, 0, 0, 1]),
    ("VersorTransform", VERSOR, CENTRE),
    ("VersorRigid3DTransform", [*VERSOR, *SHIFT], CENTRE),
    ("Similarity3DTransform", [*VERSOR, *SHIFT, 1.3], CENTRE),
    ("ScaleVersor3DTransform", [*VERSOR, *SHIFT, 1.3, 0.9, 0.8], CENTRE),
    ("ScaleSkewVersor3DTransform", [*VERSOR, *SHIFT, 1.3, 0.9, 0.8, 0.1, 0.02, 0.03, 0.04, 0.05, 0.06], CENTRE),
    ("ComposeScaleSkewVersor3DTransform", [*VERSOR, *SHIFT, 1.3, 0.9, 0.8, 0.1, 0.02, 0.03], CENTRE),
    ("QuaternionRigidTransform", [0.1, 0.7, -0.1, 0.7, *SHIFT], CENTRE),
    ("TranslationTransform", SHIFT, []),
    ("ScaleTransform", [1.1, 1.2, 1.3], CENTRE),
    ("ScaleLogarithmicTransform", VERSOR, CENTRE),
    ("IdentityTransform", [], []),
]


def assert_moves(transform: Any, expected: np.ndarray, points: np.ndarray = POINTS, atol: float = 1e-3) -> None:
    moved, outside = read_transforms(transform).apply(points)
    assert outside is None
    np.testing.assert_allclose(moved, expected, rtol=0, atol=atol)


def move_with_ants(files: list[Any], inverted: list[bool] | None = None, points: np.ndarray = POINTS) -> np.ndarray:
    """ANTs takes files in the order in which points pass them, here, and points in LPS."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(points * (-1, -1, 1), columns=list("xyz"))
    inverted = inverted or [False] * len(files)
    moved = ants.apply_transforms_to_points(3, frame, [str(file) for file in files], whichtoinvert=inverted)
    return moved[["x", "y", "z"]].to_numpy() * (-1, -1, 1)


@pytest.mark.parametrize("numbers", ["double", "float"])
@pytest.mark.parametrize(("kind", "parameters", "fixed"), CLASSES)
def test_every_linear_class(tmp_path: Path, kind: str, parameters: Any, fixed: Any, numbers: str) -> None:
    part = (f"{kind}_{numbers}_3_3", parameters, fixed)
    (tmp_path / "a.txt").write_text(itk_text(part))
    expected = move_with_ants([tmp_path / "a.txt"])
    assert_moves(tmp_path / "a.txt", expected, atol=1e-4)
    if fixed:  # ANTs cannot read a Matlab file with an empty array
        (tmp_path / "a.mat").write_bytes(itk_matlab(part))
        np.testing.assert_allclose(move_with_ants([tmp_path / "a.mat"]), expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(
            read_transforms(tmp_path / "a.mat").apply(POINTS).points, expected, rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("suffix", ["txt", "mat", "h5", "tfm"])
def test_files_that_ants_writes(tmp_path: Path, suffix: str) -> None:
    transform = ants.create_ants_transform(
        transform_type="Euler3DTransform", precision="double", dimension=3, parameters=[*VERSOR, *SHIFT],
        fixed_parameters=CENTRE,
    )  # fmt: skip
    ants.write_transform(transform, str(tmp_path / f"a.{suffix}"))
    expected = move_with_ants([tmp_path / f"a.{suffix}"])
    np.testing.assert_allclose(
        read_transforms(tmp_path / f"a.{suffix}").apply(POINTS).points, expected, rtol=0, atol=1e-4
    )


def test_warps(tmp_path: Path) -> None:
    path = write_itk_warp(tmp_path / "a.nii.gz", bend)
    assert_moves(path, move_with_ants([path]))
    np.testing.assert_allclose(move_with_ants([path]), bend(POINTS), rtol=0, atol=0.02)


def test_warps_that_ants_writes(tmp_path: Path) -> None:
    write_image(tmp_path / "grid.nii")
    grid = ants.image_read(str(tmp_path / "grid.nii"))
    field = ants.from_numpy(
        displacements(bend), origin=grid.origin, spacing=grid.spacing, direction=grid.direction, has_components=True
    )
    ants.image_write(field, str(tmp_path / "a.nii.gz"))
    expected = move_with_ants([tmp_path / "a.nii.gz"])
    assert_moves(tmp_path / "a.nii.gz", expected)
    np.testing.assert_allclose(expected, bend(POINTS), rtol=0, atol=0.02)


def test_composites(tmp_path: Path) -> None:
    parts = [
        ("CompositeTransform_float_3_3", None, None),
        itk_affine(RIGID, "AffineTransform_float_3_3"),
        itk_field(bend),
    ]
    path = write_itk_hdf5(tmp_path / "a.h5", *parts, misspelled=False)
    assert_moves(path, move_with_ants([path]))


def test_lists_of_files(tmp_path: Path) -> None:
    (tmp_path / "0GenericAffine.mat").write_bytes(itk_matlab(itk_affine(RIGID)))
    files = [tmp_path / "0GenericAffine.mat", write_itk_warp(tmp_path / "1InverseWarp.nii.gz", bend)]
    chain = [{"path": files[0], "inverse": True}, files[1]]
    assert_moves(chain, move_with_ants(files, [True, False], POINTS * 0.6), POINTS * 0.6)


def blobs(shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """A picture with bright balls at points (RASMM), on the grid of `OBLIQUE`."""
    from spaces.transform_files import grid_points

    grid = grid_points(OBLIQUE, shape)
    return sum(np.exp(-((grid - point) ** 2).sum(axis=-1) / 50) for point in points)


def test_a_registration_leads_points_from_native_to_template(tmp_path: Path) -> None:
    """From the two images alone: a ball of the native image goes to the same ball of the template."""
    points = make_points(12, seed=3, reach=22)
    write_image(tmp_path / "grid.nii")
    grid = ants.image_read(str(tmp_path / "grid.nii"))
    geometry = {"origin": grid.origin, "spacing": grid.spacing, "direction": grid.direction}
    native, template = (ants.from_numpy(blobs(SHAPE, where), **geometry) for where in (points, bend(points)))
    options = {"type_of_transform": "SyN", "outprefix": str(tmp_path / "sub-01_"), "random_seed": 1}
    found = ants.registration(template, native, **options)
    files = [tmp_path / "sub-01_0GenericAffine.mat", tmp_path / "sub-01_1InverseWarp.nii.gz"]
    assert [Path(file).name for file in found["invtransforms"]] == [file.name for file in files]
    transform = read_transforms([{"path": files[0], "inverse": True}, files[1]])
    ours, outside = transform.apply(points)
    assert outside is None
    np.testing.assert_allclose(ours, move_with_ants(files, [True, False], points), rtol=0, atol=1e-3)
    before = np.linalg.norm(points - bend(points), axis=1).mean()
    assert np.linalg.norm(ours - bend(points), axis=1).mean() < 0.4 * before
    ants.registration(template, native, write_composite_transform=True, **options)
    path = tmp_path / "sub-01_InverseComposite.h5"
    composite = move_with_ants([path], points=points)
    assert_moves(path, composite, points)
    assert np.linalg.norm(composite - bend(points), axis=1).mean() < 0.4 * before
