"""Spaces: what is the same, what is singular, and who differs from whom."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.helpers import AFFINE
from trxlib.errors import HeaderError, SpaceMismatchError
from trxlib.model.space import (
    SPACE_TOLERANCE,
    Space,
    check_same_space,
    describe_misfit,
    invert_affine,
    is_blank,
    same_space,
)

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


def box(order: str = "RAS", dims: tuple[int, int, int] = (10, 20, 30), size: float = 2.0) -> Space:
    """Return a grid along the world's axes that fills one and the same box for every order and size."""
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = size / 2 - np.array([10, 20, 30])
    count = np.array(dims) * 2.0 / size
    for axis, (letter, positive) in enumerate(zip(order, "RAS", strict=True)):
        if letter != positive:
            affine[axis, axis] *= -1
            affine[axis, 3] += size * (count[axis] - 1)
    return Space(affine, tuple(int(n) for n in count))


@pytest.mark.parametrize(
    ("dimensions", "expected"), [((0, 0, 0), False), ((1, 1, 1), False), ((5, 0, 5), False), ((1, 1, 2), True)]
)
def test_what_is_a_grid(dimensions, expected):
    assert Space(AFFINE, dimensions).has_grid is expected


def test_spaces_without_grids():
    none, zero, other = Space(AFFINE, (1, 1, 1)), Space(AFFINE, (0, 0, 0)), Space(np.eye(4), (1, 1, 1))
    assert same_space(none, Space(AFFINE, (1, 1, 1)))
    assert same_space(none, zero)
    assert not same_space(none, other)
    assert not same_space(none, SPACE)
    assert not same_space(SPACE, zero)
    assert is_blank(other)
    assert not is_blank(Space(np.eye(4), (0, 0, 0)))
    assert not is_blank(none)


def test_corners():
    np.testing.assert_allclose(box().corners.min(axis=0), [-10, -20, -30])
    np.testing.assert_allclose(box("LPS").corners.max(axis=0), [10, 20, 30])
    assert box("LAS").voxel_order == "LAS"


def test_all_that_differ_are_in_a_table():
    check_same_space({})
    check_same_space({"a": SPACE, "b": moved(1e-4)})
    spaces = {"a": SPACE, "b": moved(5), "c": SPACE, "d": Space(AFFINE, (1, 2, 3)), "e": moved(5)}
    with pytest.raises(SpaceMismatchError) as caught:
        check_same_space({**spaces, "f": SPACE})
    lines = str(caught.value).splitlines()
    assert lines[0] == "the inputs are in 3 different spaces; 3 of 6 (such as a) are in that of row 1:"
    sizes = "1.97 x 2.206 x 2.502"
    assert [" ".join(line.split()) for line in lines[1:5]] == [
        "row files dimensions voxel sizes (mm) order first voxel (mm) inputs",
        f"1 3 10 x 20 x 30 {sizes} RAS -80.5 -101.25 -60 a, c, f",
        f"2 2 10 x 20 x 30 {sizes} RAS -75.5 -101.25 -60 b, e",
        f"3 1 1 x 2 x 3 {sizes} RAS -80.5 -101.25 -60 d",
    ]
    assert lines[1].index("inputs") == lines[2].index("a, c, f") == lines[4].index("d")
    assert "row 2 has another field of view" in lines[5]
    assert "row 3 has another field of view" in lines[6]
    assert "transform" in lines[-1]


def test_names_are_cut_after_a_few():
    spaces = {f"sub-{number:02d}": SPACE for number in range(9)} | {"odd": moved(5)}
    text = describe_misfit(spaces)
    assert "sub-03, sub-04 and 4 more" in text
    assert "sub-05" not in text


@pytest.mark.parametrize(
    ("other", "advice"),
    [
        (box("LPS"), "row 2 covers one and the same box as row 1.* name one reference for both.* positions are in mm"),
        (box(size=1.0), "row 2 covers one and the same box as row 1"),
        (Space(box().voxel_to_rasmm + 0.002 * np.eye(4, k=3), (10, 20, 30)), "row 2 covers one and the same box"),
        (box(dims=(10, 20, 28)), "row 2 has another field of view .* 'space: world' with 'grid:'"),
        (
            Space(box().voxel_to_rasmm + 900 * np.eye(4, k=3), (10, 20, 30)),
            "row 2 does not even touch the box of row",
        ),
        (
            Space(box().voxel_to_rasmm, (1, 1, 1)),
            r"1 \(none\)(?s:.*)row 2 has no grid .* the affine is that of row 1",
        ),
        (Space(np.eye(4), (0, 0, 0)), "row 2 has no grid .* the affine is another, too: name as reference"),
        (Space(np.diag([0.0, 1, 1, 1]), (0, 0, 0)), "row 2 has no grid"),
    ],
)
def test_what_can_be_done(other, advice):
    text = describe_misfit({"a": box(), "b": box(), "c": other})
    assert re.search(advice, text)
    assert text.count("row 2 ") == 1


def test_a_grid_beside_many_without_one():
    text = describe_misfit({"a": Space(AFFINE, (0, 0, 0)), "b": Space(AFFINE, (1, 1, 1)), "c": SPACE})
    assert "row 2 has a grid, and row 1 has none" in text


@pytest.mark.parametrize(
    ("transformed", "advice"),
    [
        ({"c"}, "row 2 is where transforms lead: .* no reference .* no transform belongs to another file"),
        ({"a", "b"}, "row 2 has no transform, and files of row 1 have one"),
        ({"a", "b", "c"}, None),
        ((), None),
    ],
)
def test_misfits_of_inputs_that_have_a_transform(transformed, advice):
    spaces = {"a": SPACE, "b": SPACE, "c": moved(5)}
    with pytest.raises(SpaceMismatchError) as caught:
        check_same_space(spaces, transformed)
    assert str(caught.value).count("row 2 ") == (1 if advice is None else 2)
    assert advice is None or re.search(advice, str(caught.value))
