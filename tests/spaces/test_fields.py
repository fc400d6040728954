"""Interpolation between a field's voxels, and what happens beyond them."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from spaces.transform_files import OBLIQUE, SHAPE, bend, deformation, displacements, make_points, move

from trxlib.errors import SpaceMismatchError
from trxlib.model.space import Space
from trxlib.spaces.transforms import Transform, find_streamlines_outside
from trxlib.spaces.transforms.field import BLOCK, Field, allocate_values
from trxlib.spaces.transforms.linear import Linear


def make_field(data: np.ndarray, affine: np.ndarray = OBLIQUE, is_displacement: bool = True) -> Field:
    """A field of RAS mm, shape (nx, ny, nz, 3)."""
    values = allocate_values(data.shape[:3], "field")
    values[:, :3] = data.transpose(2, 1, 0, 3).reshape(-1, 3)
    holes = not np.isfinite(values).all()
    return Field(values, Space(affine, data.shape[:3]), is_displacement, holes, "warp.nii")


def interpolate(data: np.ndarray, points: np.ndarray, affine: np.ndarray = OBLIQUE) -> np.ndarray:
    """What scipy says; beyond the middle of the outermost voxels, their values."""
    voxels = move(np.linalg.inv(affine), points)
    voxels = np.clip(voxels, 0, np.array(data.shape[:3]) - 1)
    return np.stack([map_coordinates(data[..., k], voxels.T, order=1, mode="nearest") for k in range(3)], axis=1)


DATA = displacements(bend) * (-1, -1, 1)


@pytest.mark.parametrize("count", [0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_points_are_interpolated_as_scipy_does(count: int) -> None:
    points = make_points(count)
    moved, outside = Transform([make_field(DATA)]).apply(points)
    assert outside is None
    np.testing.assert_allclose(moved, points + interpolate(DATA, points), rtol=0, atol=1e-5)


def test_positions_replace_points() -> None:
    points = make_points()
    data = deformation(bend)
    moved, outside = Transform([make_field(data, is_displacement=False)]).apply(points)
    assert outside is None
    np.testing.assert_allclose(moved, interpolate(data, points), rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 6, 7), (6, 1, 7), (6, 7, 1), (1, 1, 1), (2, 2, 2)])
def test_fields_of_one_slice(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((*shape, 3)).astype(np.float32)
    voxels = rng.uniform(-0.5, np.array(shape) - 0.5, (300, 3))
    points = move(OBLIQUE, voxels)
    moved, _ = Transform([make_field(data)]).apply(points)
    np.testing.assert_allclose(moved, points + interpolate(data, points), rtol=0, atol=1e-5)


def test_the_outer_half_voxel_has_the_value_of_the_edge() -> None:
    rng = np.random.default_rng(1)
    voxels = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (5000, 3))
    points = move(OBLIQUE, voxels)
    moved, outside = Transform([make_field(DATA)]).apply(points)
    assert outside is None
    np.testing.assert_allclose(moved, points + interpolate(DATA, points), rtol=0, atol=1e-5)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("end", [0, 1])
def test_points_outside_go_nowhere_and_are_told(axis: int, end: int) -> None:
    voxels = np.full((5, 3), 10.0)
    edge = SHAPE[axis] - 0.5 if end else -0.5
    voxels[1:4, axis] = edge + np.array([-0.01, 0.01, 30]) * (1 if end else -1)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    moved, outside = Transform([make_field(DATA, affine)]).apply(move(affine, voxels))
    assert outside is not None
    assert outside.tolist() == [False, False, True, True, False]
    assert np.isnan(moved[outside]).all()
    assert np.isfinite(moved[~outside]).all()
    assert np.array_equal(moved[0], moved[4])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_what_is_no_position_is_outside(value: float) -> None:
    points = make_points(9)
    points[4, 1] = value
    moved, outside = Transform([make_field(DATA)]).apply(points)
    assert outside is not None
    assert np.flatnonzero(outside).tolist() == [4]
    assert np.isnan(moved[4]).all()


def test_holes_are_outside() -> None:
    data = deformation(bend)
    data[20:23, 30, 18] = np.nan
    transform = Transform([make_field(data, is_displacement=False)])
    points = move(OBLIQUE, np.array([[21.0, 30.0, 18.0], [21.4, 30.6, 18.3], [10.0, 10.0, 10.0], [21.0, 32.5, 18.0]]))
    moved, outside = transform.apply(points)
    assert outside is not None
    assert outside.tolist() == [True, True, False, False]
    assert np.isnan(moved[:2]).all()


def test_who_leaves_the_first_field_is_outside_of_the_chain() -> None:
    points = make_points(3 * BLOCK)
    points[BLOCK + 5] = 500
    shift = np.eye(4)
    shift[0, 3] = -500
    transform = Transform([make_field(DATA), Linear(shift), Linear(np.linalg.inv(shift)), make_field(DATA)])
    moved, outside = transform.apply(points)
    assert len(transform.steps) == 3
    assert np.flatnonzero(outside).tolist() == [BLOCK + 5]
    once = points + interpolate(DATA, points)
    np.testing.assert_allclose(
        np.delete(moved, BLOCK + 5, 0), np.delete(once + interpolate(DATA, once), BLOCK + 5, 0), atol=1e-4
    )


def test_fields_have_no_matrix() -> None:
    transform = Transform([Linear(OBLIQUE), make_field(DATA)])
    assert transform.matrix is None
    assert transform.fields == transform.steps[1:]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_may_take_the_place_of_points(dtype: type) -> None:
    points = make_points(3 * BLOCK + 1).astype(dtype)
    before = points.copy()
    transform = Transform([Linear(np.linalg.inv(OBLIQUE)), Linear(OBLIQUE), make_field(DATA)])
    expected = transform.apply(points).points
    assert expected.dtype == dtype
    np.testing.assert_array_equal(points, before)
    assert transform.apply(points, out=points).points is points
    np.testing.assert_array_equal(points, expected)


def test_points_of_other_types_and_layouts() -> None:
    transform = Transform([make_field(DATA)])
    points = make_points(50).astype(np.float16)
    expected = transform.apply(points.astype(np.float32)).points
    assert transform.apply(points).points.dtype == np.float32
    np.testing.assert_array_equal(transform.apply(points).points, expected)
    np.testing.assert_array_equal(transform.apply(np.asfortranarray(points)).points, expected)
    np.testing.assert_array_equal(transform.apply(np.repeat(points, 2, axis=0)[::2]).points, expected)
    with pytest.raises(ValueError, match=r"points have the shape \(3,\)"):
        transform.apply([1.0, 2, 3])
    with pytest.raises(ValueError, match="out is float16"):
        transform.apply(points, out=np.empty((50, 3), dtype=np.float16))


def test_blocks_and_threads_do_not_change_a_bit() -> None:
    transform = Transform([Linear(OBLIQUE), Linear(np.linalg.inv(OBLIQUE)), make_field(DATA)])
    points = make_points(5 * BLOCK + 100).astype(np.float32)
    expected = transform.apply(points).points
    parts = [np.empty((0, 3))] * 4
    bounds = [0, 17, BLOCK + 3, 3 * BLOCK, len(points)]

    def work(number: int) -> None:
        parts[number] = transform.apply(points[bounds[number] : bounds[number + 1]]).points

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_streamlines_with_a_point_outside_are_found() -> None:
    outside = np.array([False, True, False, False, False, True])
    offsets = np.array([0, 0, 2, 4, 4, 6, 6])
    assert find_streamlines_outside(outside, offsets).tolist() == [False, True, False, False, True, False]
    assert find_streamlines_outside(np.zeros(0, dtype=bool), np.array([0])).tolist() == []


def test_points_outside_are_an_error_that_names_the_field(tmp_path: Path) -> None:
    transform = Transform([make_field(DATA)])
    transform.check_inside(None, "a.trk")
    transform.check_inside(np.zeros(5, dtype=bool), "a.trk")
    with pytest.raises(
        SpaceMismatchError, match=r"a\.trk: 2 of 5 points, the first of them number 3, lie where warp\.nii"
    ):
        transform.check_inside(np.array([False, False, False, True, True]), "a.trk")
