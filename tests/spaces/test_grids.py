"""Grids that are none, and one grid for several of one world."""

from __future__ import annotations

import itertools
import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.formats.made import ORDERS
from tests.helpers import AFFINE, DIMENSIONS
from trxlib.errors import HeaderWarning, InputError, SpaceMismatchError
from trxlib.formats.trk.voxel_order import reorder_matrix
from trxlib.model.space import Space, same_space
from trxlib.spaces.grid import Grid, check_grid
from trxlib.spaces.grids import describe_misfit, union_grid

MAIN = Space(AFFINE, DIMENSIONS)
NONE = [Space(AFFINE, (0, 0, 0)), Space(AFFINE, (1, 1, 1)), Space(np.diag([1.0, 1, 1, 1]), (4, 0, 4))]


def crop(start: tuple[float, ...], dimensions: tuple[int, int, int], space: Space = MAIN) -> Space:
    """Return a part of a grid, or more than it."""
    affine = space.voxel_to_rasmm.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return Space(affine, dimensions)


def reordered(space: Space, order: str) -> Space:
    """Return the same box with its axes in another order."""
    matrix, dimensions = reorder_matrix(space.voxel_order, order, space.dimensions)
    return Space(space.voxel_to_rasmm @ np.linalg.inv(matrix), dimensions)


def assert_contains(grid: Space, other: Space) -> None:
    voxels = other.corners @ grid.rasmm_to_voxel[:3, :3].T + grid.rasmm_to_voxel[:3, 3]
    assert (voxels >= -0.5 - 0.011).all()
    assert (voxels <= np.array(grid.dimensions) - 0.5 + 0.011).all()


@pytest.mark.parametrize("space", NONE)
def test_a_grid_that_is_none_knows_it(space: Space) -> None:
    grid = Grid(space)
    far = np.array([[1e6, 0, 0], [0, 0, 0]], np.float32)
    assert not grid.has_grid
    assert grid.contains(far)
    assert not grid.contains(far * np.float32(np.nan))
    assert not len(grid.find_outside(far))
    assert Grid(MAIN).has_grid
    assert Grid(MAIN).find_outside(far).tolist() == [0]


@pytest.mark.parametrize("space", NONE)
def test_where_a_grid_is_needed_none_is_an_error(space: Space) -> None:
    dims = " ".join(map(str, space.dimensions))
    with pytest.raises(InputError, match=f"^a.trk: its header has dimensions {dims}, .* name a reference, .* or keep"):
        check_grid(space, "a.trk", needed=True)
    with pytest.warns(
        HeaderWarning, match=f"^a.trk: its header has dimensions {dims}, .* outside the image; name"
    ) as told:
        check_grid(space, "a.trk", needed=False)
    assert len(told) == 1


def test_a_grid_is_nothing_to_tell() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_grid(MAIN, "a.trk", needed=True) is None
        assert check_grid(MAIN, "a.trk", needed=False) is None


def test_one_grid_is_itself() -> None:
    assert union_grid([MAIN]) is MAIN
    assert union_grid([*NONE, MAIN, MAIN]) is MAIN
    assert union_grid(iter([crop((5, 6, 7), (20, 20, 20)), MAIN])) is MAIN
    # What float32 makes of an affine changes nothing.
    rounded = Space(AFFINE.astype("f4").astype("f8"), DIMENSIONS)
    assert union_grid([MAIN, rounded]) is MAIN
    assert union_grid([rounded, crop((1, 1, 1), (5, 5, 5))]) is rounded


def test_parts_of_one_image_give_voxels_of_that_image() -> None:
    parts = [crop((2, 3, 4), (10, 11, 12)), crop((-5, 20, 0), (10, 20, 6)), crop((0, 0, 9), (1, 2, 30))]
    expected = crop((-5, 0, 0), (17, 40, 39))
    for order in itertools.permutations(parts):
        assert same_space(union_grid(order), expected)


@pytest.mark.parametrize("order", ORDERS)
def test_axes_that_run_otherwise_change_nothing(order: str) -> None:
    turned = reordered(MAIN, order)
    codes = nib.aff2axcodes(turned.voxel_to_rasmm)
    assert "".join(codes) == order
    assert union_grid([MAIN, turned]) is MAIN
    assert union_grid([turned, MAIN]) is turned
    # Most decide; among equals, the first.
    assert union_grid([turned, MAIN, MAIN]) is (turned if order == "RAS" else MAIN)
    assert "covers one and the same box" in describe_misfit({"a": MAIN, "b": turned}) or order == "RAS"


def test_the_finest_voxels_along_each_axis() -> None:
    coarse = Space(np.diag([4.0, 4, 4, 1]), (10, 10, 10))
    fine = Space(np.diag([-2.0, 4, 1, 1]) + 4 * np.eye(4, k=3), (3, 3, 3))
    found = union_grid([coarse, fine])
    np.testing.assert_allclose(found.voxel_sizes, [2, 4, 1])
    assert found.dimensions == (20, 10, 40)
    np.testing.assert_allclose(found.corners, coarse.corners, atol=1e-9)
    # Axes of another order are compared with those that they lie along.
    found = union_grid([coarse, coarse, reordered(fine, "SPL")])
    np.testing.assert_allclose(found.voxel_sizes, [2, 4, 1])


angles = st.floats(-3, 3)
sizes = st.tuples(*[st.floats(0.5, 5)] * 3)
grids = st.builds(
    lambda a, b, edges, origin, dims: Space(
        nib.affines.from_matvec(nib.eulerangles.euler2mat(a, b, 0.1) * edges, origin), dims
    ),
    angles,
    angles,
    sizes,
    st.tuples(*[st.floats(-200, 200)] * 3),
    st.tuples(*[st.integers(2, 60)] * 3),
)


@given(spaces=st.lists(grids, min_size=1, max_size=5))
def test_all_are_contained_and_no_layer_of_voxels_is_in_vain(spaces: list[Space]) -> None:
    found = union_grid(spaces)
    again = union_grid(spaces)
    np.testing.assert_array_equal(found.voxel_to_rasmm, again.voxel_to_rasmm)
    for space in spaces:
        assert_contains(found, space)
    corners = np.concatenate([space.corners for space in spaces])
    voxels = corners @ found.rasmm_to_voxel[:3, :3].T + found.rasmm_to_voxel[:3, 3] + 0.5
    assert (voxels.min(axis=0) < 1).all()
    assert (voxels.max(axis=0) > np.array(found.dimensions) - 1).all()
    assert (found.voxel_sizes <= np.max([space.voxel_sizes for space in spaces], axis=0).max() * 1.001).all()


def test_grids_that_no_file_can_state() -> None:
    tiny = Space(np.diag([1e-3, 1, 1, 1]), (10, 10, 10))
    with pytest.raises(SpaceMismatchError, match=r"would have .* x .* x .* voxels, .* 65535(?s:.*)row 2") as caught:
        union_grid([MAIN, tiny])
    assert "name a grid" in str(caught.value)
    far = crop((1e200, 0, 0), (5, 5, 5))
    with pytest.raises(SpaceMismatchError, match="voxels"):
        union_grid([MAIN, far])
    with pytest.raises(InputError, match="none of the inputs has a grid"):
        union_grid(NONE)
    with pytest.raises(InputError, match="none of the inputs has a grid"):
        union_grid([])
