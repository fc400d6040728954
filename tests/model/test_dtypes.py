"""Types: the format's own list, little-endian, and integers that never wrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trxlib.errors import DtypeError
from trxlib.model.dtypes import (
    DTYPES,
    cast,
    cast_integers,
    dtype_of_extension,
    extension_of_dtype,
    little_endian,
    widest_dtype,
)

INTEGERS = [dtype for dtype in DTYPES.values() if dtype.kind in "iu"]


def test_every_type_goes_both_ways():
    assert len(DTYPES) == 12
    for extension, dtype in DTYPES.items():
        assert dtype_of_extension(extension) == dtype_of_extension(f".{extension}") == dtype
        assert extension_of_dtype(dtype) == extension_of_dtype(dtype.newbyteorder(">")) == extension


@pytest.mark.parametrize("extension", ["", "O", "f4", "<f4", "float", "complex64", "float128", "S3", "uint128", "txt"])
def test_unknown_extensions(extension):
    with pytest.raises(DtypeError, match="unknown data type .*the TRX format has bit, int8"):
        dtype_of_extension(extension)


@pytest.mark.parametrize("dtype", [complex, object, "S3", "U2", np.longdouble, "M8[s]"])
def test_types_that_the_format_cannot_hold(dtype):
    with pytest.raises(DtypeError, match="the TRX format cannot hold"):
        extension_of_dtype(dtype)


def test_little_endian_copies_only_what_it_must():
    good = np.arange(6, dtype="<f4").reshape(2, 3)
    assert little_endian(good) is good
    for other in (good.astype(">f4"), good.T, good[:, ::2]):
        found = little_endian(other)
        np.testing.assert_array_equal(found, other)
        assert found.flags.c_contiguous
        assert found.dtype == np.dtype("<f4")
    assert little_endian(np.float32(3)).shape == ()


@given(data=st.data(), source=st.sampled_from(INTEGERS), target=st.sampled_from(INTEGERS))
def test_integers_keep_their_values_or_are_refused(data, source, target):
    info = np.iinfo(source)
    values = data.draw(st.lists(st.integers(int(info.min), int(info.max)), max_size=5))
    array = np.array(values, dtype=source)
    limits = np.iinfo(target)
    if all(limits.min <= value <= limits.max for value in values):
        found = cast_integers(array, target, "x")
        assert found.dtype == target
        assert found.tolist() == values
    else:
        with pytest.raises(DtypeError, match="x holds .* which does not fit"):
            cast_integers(array, target, "x")


@pytest.mark.parametrize(
    ("values", "dtype", "integers", "message"),
    [
        (np.array([1e39]), "<f4", "refuse", r"x: 1e\+39 does not fit float32; choose a wider type"),
        (np.array([70000], "<f4"), "<f2", "refuse", "x: 70000 does not fit float16"),
        (np.array([2**24 + 1]), "<f4", "exact", "x holds integers, and 16777217 is no float32"),
        (np.array([2**53 + 2]), "<f8", "exact", "9007199254740994 is no float64"),
        (np.array([1]), "<f4", "refuse", "x holds int64, which float32 cannot hold"),
        (np.array([1.0]), "i2", "round", "x holds float64, which int16 cannot hold"),
        (np.array([2]), "?", "round", "x holds int64, which bit cannot hold"),
        (np.array([1.0]), "i2", "refuse", "x holds float64, which int16 cannot hold"),
        (np.array([1, 2.5], "<f4"), "u1", "exact", "x holds 2.5, which is no uint8: whole numbers from 0 to 255 are"),
        (np.array([-1.0]), "u1", "exact", "x holds -1.0, which is no uint8"),
        (np.array([256], "<f2"), "u1", "exact", "x holds 256.0, which is no uint8"),
        (np.array([np.nan]), "<i8", "exact", "x holds nan, which is no int64"),
        (np.array([-np.inf]), "<i8", "exact", "x holds -inf, which is no int64"),
        (np.array([2.0**63]), "<i8", "exact", r"x holds 9.22\S+, which is no int64"),
        (np.array([2.0**64]), "<u8", "exact", r"x holds 1.84\S+, which is no uint64"),
    ],
)
def test_what_a_type_cannot_hold_is_refused(values, dtype, integers, message):
    with pytest.raises(DtypeError, match=message):
        cast(values, dtype, "x", integers=integers)


def test_floats_are_rounded_and_what_is_not_finite_stays():
    values = np.array([1 / 3, np.nan, np.inf, -np.inf, 3e38])
    np.testing.assert_array_equal(cast(values, "<f4", "x"), values.astype("<f4"))
    assert cast(values, "<f8", "x") is values
    assert cast(np.array([2**24]), "<f4", "x", integers="exact").tolist() == [2**24]
    assert cast(np.array([2**24 + 1]), "<f4", "x", integers="round").tolist() == [2**24]
    assert cast(np.array([True]), "<f4", "x").tolist() == [1]


@pytest.mark.parametrize(
    ("own", "dtype", "numbers"),
    [
        ("<f2", "u1", [0, 255]),
        ("<f2", "<u8", [2048, 0]),
        ("<f4", "i1", [-128, 127]),
        ("<f4", "<u2", [65535]),
        ("<f4", "<i8", [-(2**63), 2**62]),
        ("<f8", "<u8", [2**63, 2**53 - 1]),
        ("<f8", "<i4", [-(2**31), 2**31 - 1]),
    ],
)
def test_whole_numbers_become_integers_where_that_is_asked_for(own, dtype, numbers):
    found = cast(np.array(numbers, own), dtype, "x", integers="exact")
    assert (found.dtype, found.tolist()) == (np.dtype(dtype), numbers)


def test_a_mask_is_no_list_of_members():
    with pytest.raises(DtypeError, match="x holds bool, expected integers"):
        cast_integers(np.array([True, False]), "u4", "x")


def test_floats_are_no_integers():
    with pytest.raises(DtypeError, match="x holds float64, expected integers"):
        cast_integers(np.zeros(2), "u4", "x")


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (["<f4"], "<f4"),
        (["<f2", "<f8", "<f4"], "<f8"),
        (["u1", "i1"], "<i2"),
        (["<u4", "i1"], "<i8"),
        (["?", "u1"], "u1"),
        (["<i2", "<f4"], "<f4"),
        (["<i4", "<f4"], "<f8"),
        (["<i4", "<f8"], "<f8"),
        ([">f4", "<f4"], "<f4"),
    ],
)
def test_widest(dtypes, expected):
    assert widest_dtype([np.dtype(dtype) for dtype in dtypes], "x") == np.dtype(expected)


@pytest.mark.parametrize("dtypes", [["<u8", "i1"], ["<i8", "<f4"], ["<u8", "<f8"], ["<i8", "<f8"]])
def test_no_type_holds_both(dtypes):
    with pytest.raises(DtypeError, match="x: no type of the format holds both"):
        widest_dtype([np.dtype(dtype) for dtype in dtypes], "x")


@given(dtypes=st.lists(st.sampled_from(list(DTYPES.values())), min_size=1, max_size=4), data=st.data())
def test_the_widest_type_holds_every_extreme(dtypes, data):
    try:
        wide = widest_dtype(dtypes, "x")
    except DtypeError:
        return
    for dtype in dtypes:
        if dtype.kind == "b":
            continue
        info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        for value in (info.min, info.max):
            extreme = np.array([value], dtype=dtype)
            assert extreme.astype(wide)[0] == value
