"""Entry names: read what others write, write only what others read."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trxlib.errors import ArrayNameError, DtypeError
from trxlib.model.dtypes import DTYPES
from trxlib.model.names import TYPES, ArrayName, check_key, make_key
from trxlib.model.paths import check_paths, is_sidecar, parse_name

F4, U4, BIT = np.dtype("<f4"), np.dtype("<u4"), np.dtype(bool)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("positions.3.float32", ArrayName("positions", "positions", 3, F4)),
        ("offsets.uint64", ArrayName("offsets", "offsets", 1, np.dtype("<u8"))),
        ("dps/weight.float32", ArrayName("dps", "weight", 1, F4)),
        ("dpv/color.3.uint8", ArrayName("dpv", "color", 3, np.dtype("u1"))),
        ("dpv/flag.bit", ArrayName("dpv", "flag", 1, BIT)),
        ("dpv/flag.2.bool", ArrayName("dpv", "flag", 2, BIT)),
        ("groups/AF_L.uint32", ArrayName("groups", "AF_L", 1, U4)),
        ("dpg/AF_L/volume.float32", ArrayName("dpg", "volume", 1, F4, "AF_L")),
        ("dps/v1.0.float32", ArrayName("dps", "v1.0", 1, F4)),
        ("dps/a.b.2.float32", ArrayName("dps", "a.b", 2, F4)),
        ("dps/2.float32", ArrayName("dps", "2", 1, F4)),
        ("dps/x.99999999999.float32", ArrayName("dps", "x.99999999999", 1, F4)),
        ("dps/x.1000000000000000000000.float32", ArrayName("dps", "x.1000000000000000000000", 1, F4)),
        (f"dps/x.{'1' * 5000}.float32", ArrayName("dps", "x." + "1" * 5000, 1, F4)),
        ("dps/größe.float32", ArrayName("dps", "größe", 1, F4)),
    ],
)
def test_parse(path, expected):
    found = parse_name(path)
    assert found == expected


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("dps/weight", ArrayNameError),
        ("weight.float32", ArrayNameError),
        ("dps/a/b.float32", ArrayNameError),
        ("dpg/b.float32", ArrayNameError),
        ("dpg//b.float32", ArrayNameError),
        ("DPS/b.float32", ArrayNameError),
        (".float32", ArrayNameError),
        ("dps/w.f4", DtypeError),
        ("dps/w.O", DtypeError),
        ("dps/w.float80", DtypeError),
        ("../dps/w.float32", ArrayNameError),
    ],
)
def test_parse_refuses(path, error):
    with pytest.raises(error, match="entry"):
        parse_name(path)


@given(
    section=st.sampled_from(["dps", "dpv", "groups"]),
    name=st.text(st.characters(exclude_characters='./\\:*?"<>|', exclude_categories=["C"]), min_size=1, max_size=20),
    ncols=st.integers(1, 99),
    dtype=st.sampled_from(list(DTYPES.values())),
)
def test_writing_and_reading_agree(section, name, ncols, dtype):
    array_name = ArrayName(section, name, ncols, dtype)
    assert parse_name(array_name.path) == array_name
    assert array_name.row_nbytes == ncols * dtype.itemsize
    assert array_name.label == f"{section}/{name}"


def test_a_name_says_the_same_however_its_type_is_given():
    for dtype in (np.dtype(">f4"), np.dtype("<f4"), TYPES["float32"]):
        name = ArrayName("dps", "weight", 2, dtype)
        assert name == ArrayName("dps", "weight", 2, F4)
        assert (name.path, name.label, name.extension, name.row_nbytes) == (
            "dps/weight.2.float32", "dps/weight", "float32", 8,
        )  # fmt: skip
        assert name.dtype == F4
        assert name.dtype.byteorder in "=<"


def test_a_changed_name_says_so_everywhere():
    name = ArrayName("dpg", "size", 1, F4, "AF_L")
    for changed in (
        name._replace(name="bytes", ncols=3),
        pickle.loads(pickle.dumps(name._replace(name="bytes", ncols=3))),
    ):
        assert changed.path == "dpg/AF_L/bytes.3.float32"
        assert changed.label == "dpg/AF_L/bytes"
        assert changed.row_nbytes == 12
    assert name.renamed("bytes").path == "dpg/AF_L/bytes.float32"


@pytest.mark.parametrize("path", ["/x", "../x", "a/../x", "C:x", "c:/x", "a\\b", "a\0b"])
def test_paths_that_leave(path):
    with pytest.raises(ArrayNameError, match="would leave the container's folder"):
        check_paths(["a", path])


def test_paths_that_stay():
    paths = ["x", "a/b", "..x", "a/x..", "dps/a:b.float32"]
    check_paths(paths)
    assert [is_sidecar(path) for path in paths] == [False] * len(paths)


@pytest.mark.parametrize(
    "key",
    ["", "a.b", "a/b", "a\\b", "a:b", " a", "a ", "a\n", "\x00", "a*", 'a"', "a<b", "a|b", "a?", "\ud800", "g\udce9"],
)
def test_keys_that_cannot_be_written(key):
    with pytest.raises(ArrayNameError, match="dps key .* rename it, for example to"):
        check_key(key, "dps key")
    assert check_key(make_key(key), "dps key")


def test_keys_that_can():
    for key in ("a", "AF_L", "mean fa", "größe", "束", "x-1", "(1)", "a" * 200):
        assert check_key(key, "key") == make_key(key) == key
    with pytest.raises(ArrayNameError, match="longer than 200 bytes"):
        check_key("ü" * 101, "key")
    with pytest.raises(ArrayNameError):
        check_key(5, "key")


def test_sidecars():
    assert is_sidecar("a.json")
    assert is_sidecar("b/header.json")
    assert not is_sidecar("header.json")
    assert not is_sidecar("a.txt")
