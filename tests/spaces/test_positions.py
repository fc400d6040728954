"""The affine over long rows agrees with plain float64 arithmetic, whatever stands beside a vertex."""

from __future__ import annotations

import numpy as np
import pytest

from trxlib.errors import DtypeError, HeaderError, InputError
from trxlib.model.chunk import Place
from trxlib.model.dtypes import all_finite
from trxlib.spaces.positions import PositionsCast, PositionsMap, check_positions_dtype, working_dtype

HERE = Place(lambda rows: (rows, rows))
AFFINES = {
    "identity": np.eye(4),
    "shift": np.array([[1.0, 0, 0, 5], [0, 1, 0, -6], [0, 0, 1, 7], [0, 0, 0, 1]]),
    "flip": np.array([[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -2, 0], [0, 0, 0, 1]]),
    "flip and shift": np.array([[-1.0, 0, 0, 90], [0, -1, 0, 126], [0, 0, 1, -72], [0, 0, 0, 1]]),
    "turned about z": np.array([[0.6, -0.8, 0, 1], [0.8, 0.6, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]),
    "cycle": np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]),
    "general": np.array([[0.9, -0.4, 0.1, -3], [0.5, 1.7, 0.2, 4], [-0.1, 0.3, 3.9, 2], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("count", [0, 1, 2, 7, 4096, 10_001])
@pytest.mark.parametrize("columns", [3, 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-12)])
def test_agrees_with_float64(name: str, count: int, columns: int, dtype: str, tolerance: float) -> None:
    affine = AFFINES[name]
    rows = np.random.default_rng(0).uniform(-100, 100, (count, columns)).astype(np.float32)
    expected = rows[:, :3].astype(np.float64) @ affine[:3, :3].T + affine[:3, 3]
    found = PositionsMap(affine, np.dtype(dtype)).apply(rows.copy())
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", AFFINES)
def test_what_stands_beside_a_vertex_does_not_matter(name: str) -> None:
    """Slices cut a file anywhere, and a NaN may be near: the bits of a vertex are the same."""
    rows = np.random.default_rng(0).uniform(-100, 100, (9000, 3)).astype(np.float32)
    mapping = PositionsMap(AFFINES[name], np.dtype("<f4"))
    whole = mapping.apply(rows.copy())
    pieces = [mapping.apply(rows[start:stop].copy()) for start, stop in ((0, 1), (1, 5000), (5000, 9000))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    rows[[17, 4500]] = (np.nan, 1, -np.inf)
    spoilt = mapping.apply(rows.copy())
    good = np.ones(9000, bool)
    good[[17, 4500]] = False
    np.testing.assert_array_equal(spoilt[good], whole[good])
    assert not np.isfinite(spoilt[~good]).all(axis=1).any()


def test_float16_states_its_largest_error() -> None:
    mapping = PositionsCast(np.dtype("<f2"), "a.trk")
    rows = np.array([[100.03, 0, 0], [0.5, np.nan, 3]], np.float32)
    mapping.apply(rows, HERE)
    assert mapping.largest_error == pytest.approx(float(abs(np.float16(100.03) - np.float32(100.03))), rel=1e-3)
    with pytest.raises(DtypeError, match=r"a.trk: streamline 7 has the vertex \[70000.0, 0.0, 0.0\], .*at most 65504"):
        mapping.apply(np.array([[1, 1, 1], [70000.0, 0, 0]], np.float32), Place(lambda row: (row + 6, 0)))


def test_values_that_are_not_finite_are_seen() -> None:
    values = np.ones((1000, 3), np.float32)
    assert all_finite(values)
    assert all_finite(values[:0])
    assert all_finite(values * np.float32(1e30))  # whose squares overflow
    assert all_finite(values.astype(np.float16))
    for bad in (np.nan, np.inf, -np.inf):
        values[777, 1] = bad
        assert not all_finite(values)
        assert not all_finite(values.astype(np.float16))


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="positions_dtype is int8"):
        check_positions_dtype("int8", "float32")
    assert check_positions_dtype(">f8", "float32").str == "<f8"
    assert check_positions_dtype(None, "float32").str == "<f4"
    for value in (np.nan, 1e39):
        affine = np.eye(4)
        affine[0, 0] = value
        with pytest.raises(HeaderError, match="absurd"):
            PositionsMap(affine, np.dtype("<f4"))


@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_float64_is_rounded_once(dtype: str) -> None:
    step = float(np.finfo(dtype).eps) / 2
    rows = np.array([[1 + step + step / 2**20, 0, 0]], dtype=np.float64)  # just above the middle of two
    for matrix in (np.diag([2.0, 1, 1, 1]), np.eye(4)[[1, 0, 2, 3]][:, [1, 0, 2, 3]], np.eye(4)):
        moved = PositionsMap(matrix, working_dtype(dtype, np.float64)).apply(rows.copy())
        found = PositionsCast(np.dtype(dtype), "a.tck").apply(moved, HERE)
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, (rows @ matrix[:3, :3].T).astype(dtype))
    assert float(found[0, 0]) == 1 + 2 * step
