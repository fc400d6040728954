"""Spaces: what is the same, what is singular, and who differs from whom."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import AFFINE
from trxlib.errors import HeaderError, SpaceMismatchError
from trxlib.model.space import SPACE_TOLERANCE, Space, check_same_space, invert_affine, same_space

SPACE = Space.create(AFFINE, (10, 20, 30), "test")


def moved(by):
    affine = AFFINE.copy()
    affine[0, 3] += by
    return Space(affine, (10, 20, 30))


def test_sizes_and_volume():
    space = Space.create(np.diag([2.0, -3, 4, 1]), (1, 1, 1), "test")
    assert space.voxel_sizes.tolist() == [2, 3, 4]
    assert space.voxel_volume == pytest.approx(24)
    np.testing.assert_allclose(SPACE.rasmm_to_voxel @ AFFINE, np.eye(4), atol=1e-12)


@pytest.mark.parametrize(
    "affine", [np.diag([1.0, 0, 1, 1]), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])]
)
def test_singular_affines(affine):
    with pytest.raises(HeaderError, match="test: affine is singular"):
        Space.create(affine, (1, 1, 1), "test")


def test_small_voxels_are_not_singular():
    small = np.diag([1e-5, 1e-5, 1e-5, 1])
    np.testing.assert_allclose(invert_affine(small, "x"), np.diag([1e5, 1e5, 1e5, 1]))


def test_same_space():
    assert same_space(SPACE, moved(0.9 * SPACE_TOLERANCE))
    assert same_space(SPACE, Space(AFFINE.astype("f4").astype("f8"), (10, 20, 30)))
    assert not same_space(SPACE, moved(1.1 * SPACE_TOLERANCE))
    assert not same_space(SPACE, Space(AFFINE, (10, 20, 31)))


def test_all_that_differ_are_listed():
    check_same_space({})
    check_same_space({"a": SPACE, "b": moved(1e-4)})
    spaces = {"a": SPACE, "b": moved(5), "c": SPACE, "d": Space(AFFINE, (1, 2, 3)), "e": moved(5)}
    with pytest.raises(SpaceMismatchError) as caught:
        check_same_space({**spaces, "f": SPACE})
    lines = str(caught.value).splitlines()
    assert "3 different spaces; 3 of 6 (such as a)" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == ["b", "e", "d"]
    assert "transform" in lines[-1]
