"""Streamlines that are the same curve: bit by bit, within a precision, from either end; held against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from trxlib.errors import InputError
from trxlib.model.same_streamlines import Tractogram, check_precision, find_same


def tractogram(lines: list[np.ndarray]) -> Tractogram:
    lengths = np.array([len(line) for line in lines], dtype=np.int64)
    positions = np.concatenate([np.zeros((0, 3), "f4"), *lines])
    return Tractogram(positions, (np.cumsum(lengths) - lengths, lengths))


def is_same(one: np.ndarray, other: np.ndarray, precision: float) -> bool:
    if len(one) != len(other):
        return False
    one, other = one.astype(float), other.astype(float)
    return bool((abs(one - other) <= precision).all() or (abs(one - other[::-1]) <= precision).all())


def make_lines(rng: np.random.Generator, count: int, shift: float) -> list[np.ndarray]:
    """Return copies of a few curves, some turned round, some moved by less or more than the precision of 0.05."""
    curves = [rng.random((rng.integers(0, 5), 3)).astype("f4") for _ in range(6)]
    lines = []
    for _ in range(count):
        line = curves[rng.integers(6)]
        line = line[::-1] if rng.random() < 0.5 else line
        lines.append(line + rng.uniform(-shift, shift, line.shape).astype("f4") if rng.random() < 0.5 else line)
    return lines


@pytest.mark.parametrize("precision", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(20))
def test_what_is_found_is_what_loops_find(seed, precision):
    lines = make_lines(np.random.default_rng(seed), 30, shift=0.06)
    same = find_same([tractogram(lines[:13]), tractogram(lines[13:])], precision)
    kept: list[int] = []
    expected = []
    for number, line in enumerate(lines):
        heir = next((other for other in kept if is_same(lines[other], line, precision)), number)
        expected.append(heir)
        if heir == number:
            kept.append(number)
    assert same.kept().tolist() == expected
    for rows in (slice(0, 13), slice(13, 30)):
        others = [lines[number] for number in range(30)[rows]]
        assert same.found_in(rows).tolist() == [any(is_same(line, o, precision) for o in others) for line in lines]


def test_vertices_on_both_sides_of_a_rounding_edge_are_the_same():
    line = np.full((4, 3), 0.0005, "f8")
    assert find_same([tractogram([line - 1e-9, line + 1e-9])], 0.001).kept().tolist() == [0, 0]


def test_negative_zero_and_types_make_no_difference():
    line = np.array([[0.0, 1, 2], [-0.0, 3, 4]])
    parts = [tractogram([values]) for values in (line.astype("f4"), line.astype("f2"), np.abs(line))]
    assert find_same(parts, 0).kept().tolist() == [0, 0, 0]


def test_a_streamline_is_no_other_because_sums_are_equal():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], "f4")
    swapped = square[[0, 2, 1, 3]]  # the same vertices, the same mean, another walk
    assert find_same([tractogram([square, swapped, square[::-1]])], 0.001).kept().tolist() == [0, 1, 0]
    assert find_same([tractogram([square, swapped])], 0).kept().tolist() == [0, 1]


def test_values_that_are_not_finite_are_the_same_bit_by_bit_only():
    line = np.array([[0, 0, np.nan], [1, np.inf, 0]], "f4")
    moved = line + np.array([1e-4, 0, 0], "f4")
    assert find_same([tractogram([line, line, line[::-1], moved])], 0.01).kept().tolist() == [0, 0, 0, 3]


def test_there_may_be_no_streamline():
    same = find_same([tractogram([]), tractogram([])], 0.1)
    assert same.kept().tolist() == []
    assert same.found_in(slice(0, 0)).tolist() == []


def test_runs_that_lie_in_any_order_are_read_where_they_lie():
    positions = np.arange(30, dtype="f4").reshape(10, 3)
    runs = (np.array([6, 0, 6]), np.array([3, 2, 3]))
    assert find_same([Tractogram(positions, runs)], 0).kept().tolist() == [0, 1, 0]


@pytest.mark.parametrize("precision", [-1, np.nan, np.inf, "1", None, True])
def test_a_precision_that_is_none_is_refused(precision):
    with pytest.raises(InputError, match="precision is"):
        check_precision(precision)
