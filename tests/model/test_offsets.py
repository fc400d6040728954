"""Offset arithmetic agrees with plain loops over streamlines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trxlib.errors import DtypeError, OffsetsError
from trxlib.model.offsets import (
    check_offsets,
    complete_offsets,
    gather_rows,
    is_contiguous,
    iter_gathered,
    offsets_dtype,
    offsets_of,
    resolve_indices,
    row_numbers,
)

LENGTHS = st.lists(st.integers(0, 7), max_size=20)


def test_promotion():
    assert offsets_dtype(0) == offsets_dtype(2**32 - 1) == np.uint32
    assert offsets_dtype(2**32) == np.uint64
    offsets = offsets_of(np.array([2**31, 2**31, 5], "u4"))
    assert offsets.dtype == np.uint64
    assert offsets.tolist() == [0, 2**31, 2**32, 2**32 + 5]


@given(lengths=LENGTHS)
def test_lengths_and_offsets_are_inverse(lengths):
    offsets = offsets_of(np.array(lengths, "i8"))
    assert len(offsets) == len(lengths) + 1
    assert np.diff(offsets).tolist() == lengths
    check_offsets(offsets, sum(lengths))
    np.testing.assert_array_equal(complete_offsets(offsets[:-1], len(lengths), sum(lengths)), offsets)
    assert complete_offsets(offsets, len(lengths), sum(lengths)) is offsets


def test_completing_promotes():
    assert complete_offsets(np.array([0, 5], "u4"), 2, 2**33).tolist() == [0, 5, 2**33]


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([1, 2], "starts at 1, expected 0"),
        ([0, 3, 2], r"decreases from 3 \(row 1\) to 2"),
        ([0, 3, 11], "row 2 is 11, but there are only 10 vertices"),
    ],
)
def test_broken_offsets(offsets, message):
    with pytest.raises(OffsetsError, match=message):
        check_offsets(np.array(offsets, "u4"), 10)


def test_a_fall_between_two_chunks_is_found():
    offsets = np.arange(600_000, dtype="u4")
    for row in (1 << 18, (1 << 18) + 1, 599_999):
        broken = offsets.copy()
        broken[row] = 0
        with pytest.raises(OffsetsError, match=rf"\(row {row - 1}\) to 0"):
            check_offsets(broken, 600_000)


@given(data=st.data(), chunk_bytes=st.integers(1, 200), width=st.integers(1, 3))
def test_gathering_agrees_with_a_loop(data, chunk_bytes, width):
    nb_rows = data.draw(st.integers(0, 30))
    array = np.arange(nb_rows * width, dtype="<f4").reshape(nb_rows, width)
    runs = data.draw(st.lists(st.tuples(st.integers(0, nb_rows), st.integers(0, 9)), max_size=12))
    runs = [(start, min(length, nb_rows - start)) for start, length in runs]
    starts = np.array([start for start, _ in runs], "u4")
    lengths = np.array([length for _, length in runs], "u4")
    expected = np.concatenate([array[:0], *(array[start : start + length] for start, length in runs)])
    np.testing.assert_array_equal(gather_rows(array, starts, lengths), expected)
    parts = list(iter_gathered(array, starts, lengths, chunk_bytes=chunk_bytes))
    np.testing.assert_array_equal(np.concatenate([array[:0], *parts]), expected)
    assert all(part.nbytes <= max(chunk_bytes, 4 * width) for part in parts)
    numbers = row_numbers(starts, lengths)
    np.testing.assert_array_equal(array[numbers], expected)


def test_long_runs_are_copied_by_slices_and_short_ones_by_rows():
    array = np.arange(90_000, dtype="<f8").reshape(-1, 3)
    for length in (1, 100):
        starts = np.arange(0, 29_000, 2 * length)
        lengths = np.full(len(starts), length)
        expected = np.concatenate([array[start : start + length] for start in starts])
        np.testing.assert_array_equal(gather_rows(array, starts, lengths), expected)
        np.testing.assert_array_equal(gather_rows(np.asfortranarray(array), starts, lengths), expected)


def test_neighbours_come_as_views():
    array = np.arange(30, dtype="<f4").reshape(10, 3)
    (part,) = iter_gathered(array, np.array([2, 4, 7]), np.array([2, 3, 1]))
    assert np.shares_memory(part, array)
    assert len(part) == 6


@given(lengths=LENGTHS)
def test_contiguous_runs(lengths):
    array = np.array(lengths, "u4")
    starts = (np.cumsum(array) - array).astype("u4")
    assert is_contiguous(starts, array, sum(lengths))
    assert not is_contiguous(starts, array, sum(lengths) + 1)
    if sum(lengths[:-1]) > 0:
        assert not is_contiguous(starts[::-1], array[::-1], sum(lengths)) or len(set(starts.tolist())) < 2


def test_a_gap_between_two_chunks_is_found():
    lengths = np.ones(600_000, "u4")
    starts = np.arange(600_000, dtype="u4")
    assert is_contiguous(starts, lengths, 600_000)
    starts[1 << 18] += 1
    assert not is_contiguous(starts, lengths, 600_000)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (2, [2]),
        (-1, [4]),
        (np.uint8(3), [3]),
        ([0, -5, 4, 4], [0, 0, 4, 4]),
        ([], []),
        (slice(None, None, -2), [4, 2, 0]),
        (np.array([True, False, True, False, False]), [0, 2]),
        (range(1, 3), [1, 2]),
        (np.array([[1], [2]]), [1, 2]),
    ],
)
def test_indices(key, expected):
    found = resolve_indices(key, 5)
    assert found.tolist() == expected
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (5, IndexError),
        (-6, IndexError),
        ([0, 5], IndexError),
        (np.array([2**64 - 1], "u8"), IndexError),
        ([True, False], IndexError),
        ([0.0], DtypeError),
        (["a"], DtypeError),
        (None, DtypeError),
    ],
)
def test_bad_indices(key, error):
    with pytest.raises(error):
        resolve_indices(key, 5)
