"""Header: JSON in and out, keys that nobody knows kept, impossible values refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trxlib.errors import HeaderError
from trxlib.model.header import Header, canonical_json, check_affine, header_with_counts
from trxlib.model.header_fields import check_dimensions

CONTENT = {
    "VOXEL_TO_RASMM": [[2.0, 0, 0, -10.5], [0, 2, 0, 3], [0, 0, 2, 4], [0, 0, 0, 1]],
    "DIMENSIONS": [10, 20, 30],
    "NB_STREAMLINES": 3,
    "NB_VERTICES": 14,
}


def test_json_round_trip_keeps_unknown_keys():
    header = Header.from_json(json.dumps({**CONTENT, "B": {"x": [1, None]}, "A": "ü"}).encode())
    assert header.dimensions == (10, 20, 30)
    assert header.nb_vertices == 14
    assert dict(header.extra) == {"B": {"x": [1, None]}, "A": "ü"}
    assert Header.from_json(header.to_json()) == header
    assert list(json.loads(header.to_json()))[-2:] == ["A", "B"]


def test_equal_headers_have_equal_bytes():
    shuffled = dict(reversed(CONTENT.items()))
    shuffled["VOXEL_TO_RASMM"] = np.array(CONTENT["VOXEL_TO_RASMM"], "f4")
    shuffled["DIMENSIONS"] = np.array([10, 20, 30], "u2")
    assert Header.from_dict(shuffled).to_json() == Header.from_dict(CONTENT).to_json()
    negative_zero = {
        **CONTENT,
        "VOXEL_TO_RASMM": (np.array(CONTENT["VOXEL_TO_RASMM"]) * [[1, -1, 1, 1]] * [[1, -1, 1, 1]]),
    }
    assert Header.from_dict(negative_zero).to_json() == Header.from_dict(CONTENT).to_json()


def test_dict_of_the_reference_api():
    content = Header.from_dict({**CONTENT, "X": 1}).to_dict()
    assert content["VOXEL_TO_RASMM"].shape == (4, 4)
    assert content["DIMENSIONS"].dtype == np.uint16
    assert content["X"] == 1
    content["VOXEL_TO_RASMM"][0, 0] = 9
    assert Header.from_dict(CONTENT).voxel_to_rasmm[0, 0] == 2


def test_with_counts_changes_nothing_else():
    header = Header.from_dict({**CONTENT, "X": 1})
    other = header.with_counts(np.int64(5), np.int64(6))
    assert (other.nb_streamlines, other.nb_vertices) == (5, 6)
    assert type(other.nb_vertices) is int
    assert other.extra == header.extra
    assert header.nb_streamlines == 3
    assert header != other
    assert header != "a header"


def test_byte_order_mark_and_whole_floats_are_read():
    header = Header.from_json(b"\xef\xbb\xbf" + json.dumps({**CONTENT, "NB_VERTICES": 14.0}).encode())
    assert header.nb_vertices == 14


def test_numpy_values_in_extra_keys_are_written():
    extra = {"A": np.float32(0.5), "B": np.arange(3), "C": [np.int8(1)]}
    assert json.loads(Header.from_dict({**CONTENT, **extra}).to_json())["B"] == [0, 1, 2]
    with pytest.raises(HeaderError, match="cannot be written as JSON"):
        Header.from_dict({**CONTENT, "A": {1, 2}}).to_json()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"a": 1}' * 2, b"[" * 100_000])
def test_what_is_no_header(data):
    with pytest.raises(HeaderError, match=r"header\.json"):
        Header.from_json(data)


@pytest.mark.parametrize("key", CONTENT)
def test_each_key_is_needed(key):
    with pytest.raises(HeaderError, match=f"lacks {key}"):
        Header.from_dict({name: value for name, value in CONTENT.items() if name != key})


@pytest.mark.parametrize("value", [-1, 2**60, 1.5, True, None, "3", [3], float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["NB_STREAMLINES", "NB_VERTICES"])
def test_impossible_counts(key, value):
    with pytest.raises(HeaderError, match=key):
        Header.from_dict({**CONTENT, key: value})


@pytest.mark.parametrize(
    "value", [[1, 2], [1, 2, 3, 4], [1, 2, -3], [1, 2, 2**16], [1.5, 2, 3], "abc", None, [1, 2, None]]
)
def test_impossible_dimensions(value):
    with pytest.raises(HeaderError, match="dimensions"):
        check_dimensions(value, "dimensions")


@pytest.mark.parametrize(
    "value", [np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan), "x", None, [[1]], [[1, 2], [3]]]
)
def test_impossible_affines(value):
    with pytest.raises(HeaderError, match="affine"):
        check_affine(value, "affine")


def test_counts_of_a_header_and_of_a_dict_are_replaced_alike():
    header = Header(np.diag([2.0, 2, 2, 1]), (4, 5, 6), 7, 8, {"K": {"x": [1]}})
    content = header.to_dict()
    for stated in (header, content):
        assert header_with_counts(stated, 1, 2) == header.with_counts(1, 2)
    assert header_with_counts(header, 7, 8) is header
    made = header_with_counts(content, 7, 8)
    content["K"]["x"][0] = 9
    assert made == header


def test_dicts_share_nothing_with_the_header():
    header = Header.from_dict({**CONTENT, "K": {"x": [1, {"y": 2}], "a": np.arange(3)}})
    content = header.to_dict()
    content["K"]["x"][1]["y"] = 9
    content["K"]["a"][0] = 9
    assert header.extra["K"]["x"] == [1, {"y": 2}]
    assert header.extra["K"]["a"][0] == 0


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (np.int64(1), 1, True),
        ((1, 2), [1, 2], True),
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}, True),
        ({1: "x", "k": 2}, {"k": 2, "1": "x"}, True),
        (np.arange(3), [0, 1, 2], True),
        (float("nan"), np.float32("nan"), True),
        (np.array([0.1234567891]), np.array([0.12345678919]), False),
        (np.arange(2000), np.where(np.arange(2000) == 1000, -1, np.arange(2000)), False),
        (1, "1", False),
        (True, 1, False),
    ],
)
def test_canonical_json(first, second, same):
    assert (canonical_json(first, "A") == canonical_json(second, "A")) is same


def test_canonical_json_names_what_is_none():
    with pytest.raises(HeaderError, match="header key 'A' cannot be written as JSON"):
        canonical_json({"x": object()}, "header key 'A'")


def test_values_that_json_has_not_are_written_as_texts():
    header = Header.from_json(json.dumps({**CONTENT, "A": [float("nan"), float("inf")]}).encode())
    assert np.isnan(header.extra["A"][0])
    assert Header.from_json(header.to_json()).extra["A"] == ["nan", "inf"]
