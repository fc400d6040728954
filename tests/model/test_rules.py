"""The rules of the format, each by itself (whole files: tests/format)."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.helpers import make_trx_arrays
from trxlib.errors import ArrayNameError, DtypeError, HeaderError, OffsetsError, ShapeError
from trxlib.model.names import ArrayName, check_writable
from trxlib.model.paths import arrays_of_entries, parse_name
from trxlib.model.rules import check_members, iter_problems

HEADER = make_trx_arrays(lengths=[3, 0, 2]).header
NEEDED = [("positions.3.float32", 60), ("offsets.uint32", 16)]


def shape_of(path, nbytes):
    """Return the shape of an entry beside positions and offsets, which no file lacks."""
    others = [(other, size) for other, size in NEEDED if other.partition(".")[0] != path.partition(".")[0]]
    return arrays_of_entries([*others, (path, nbytes)], HEADER)[parse_name(path)]


@pytest.mark.parametrize(
    ("path", "nbytes", "shape"),
    [
        ("positions.3.float16", 30, (5, 3)),
        ("offsets.uint32", 16, (4,)),
        ("offsets.uint64", 24, (3,)),
        ("dps/x.2.float64", 48, (3, 2)),
        ("dpv/x.bit", 5, (5, 1)),
        ("groups/x.uint32", 0, (0,)),
        ("groups/x.uint8", 7, (7,)),
        ("dpg/g/x.4.int16", 8, (1, 4)),
    ],
)
def test_shapes(path, nbytes, shape):
    assert shape_of(path, nbytes) == shape


@pytest.mark.parametrize(
    ("path", "nbytes", "error"),
    [
        ("positions.3.float16", 31, ShapeError),
        ("positions.3.float16", 24, ShapeError),
        ("positions.2.float16", 20, ShapeError),
        ("positions.3.uint8", 15, DtypeError),
        ("offsets.uint32", 8, ShapeError),
        ("offsets.float64", 32, DtypeError),
        ("dps/x.float32", 16, ShapeError),
        ("dpv/x.float32", 16, ShapeError),
        ("groups/x.bit", 1, DtypeError),
        ("dpg/g/x.float32", 8, ShapeError),
    ],
)
def test_shapes_that_disagree(path, nbytes, error):
    with pytest.raises(error, match=path.partition(".")[0]):
        shape_of(path, nbytes)


def test_members_are_checked_in_chunks():
    members = np.zeros(600_000, "u4")
    check_members(members, 1, "g")
    members[400_000] = 7
    with pytest.raises(ShapeError, match="g row 400000 is streamline 7, but NB_STREAMLINES is 7"):
        check_members(members, 7, "g")
    with pytest.raises(ShapeError, match="g row 1 is streamline -1"):
        check_members(np.array([0, -1]), 5, "g")
    with pytest.raises(DtypeError, match="g holds float64"):
        check_members(np.zeros(1), 5, "g")
    check_members(np.zeros(0, "u4"), 0, "g")


def test_the_same_array_twice():
    sizes = [*NEEDED, ("dps/x.float32", 12), ("dpv/x.float32", 20), ("dps/x.2.float64", 48)]
    assert [name.label for name in arrays_of_entries(sizes[:-1], HEADER)] == ["positions", "offsets", "dps/x", "dpv/x"]
    with pytest.raises(ArrayNameError, match=r"dps/x is there twice, as dps/x\.float32 and dps/x\.2\.float64"):
        arrays_of_entries(sizes, HEADER)


def test_positions_and_offsets_are_missing():
    with pytest.raises(ShapeError, match="offsets and positions missing, but the header states streamlines"):
        arrays_of_entries([("dps/x.float32", 12)], HEADER)
    assert arrays_of_entries([], HEADER.with_counts(0, 0)) == {}


def test_a_good_bundle_has_no_problems():
    for lengths in ([], [0], [3, 0, 2]):
        arrays = make_trx_arrays(lengths=lengths, groups={"g": np.arange(len(lengths))}, dpg={"g": {"x": [1]}})
        assert list(iter_problems(arrays)) == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: setattr(a, "positions", a.positions[:-1]), ShapeError, "positions has 4 rows, NB_VERTICES is 5"),
        (lambda a: setattr(a, "positions", a.positions[:, :2]), ShapeError, "positions has 2 columns"),
        (lambda a: setattr(a, "positions", a.positions.astype(int)), DtypeError, "holds int64"),
        (lambda a: setattr(a, "positions", a.positions.ravel()), ShapeError, "1 dimensions|columns"),
        (lambda a: setattr(a, "offsets", a.offsets[::-1].copy()), OffsetsError, "starts at 5"),
        (lambda a: setattr(a, "offsets", a.offsets[:-2]), ShapeError, "offsets has 2 rows"),
        (
            lambda a: a.dps.update(x=np.zeros((3, 1), complex)),
            DtypeError,
            "dps/x: the TRX format cannot hold complex128",
        ),
        (lambda a: a.dps.update(x=np.zeros((4, 1))), ShapeError, "dps/x has 4 rows, NB_STREAMLINES is 3"),
        (lambda a: a.dpv.update(x=np.zeros(5)), ShapeError, "dpv/x has 1 dimensions, expected 2"),
        (lambda a: a.groups.update(x=np.array([3], "u4")), ShapeError, "groups/x row 0 is streamline 3"),
        (lambda a: a.dpg.update(x={"y": np.zeros((1, 1))}), ShapeError, "a group that is not there"),
        (lambda a: a.header.voxel_to_rasmm.__setitem__((0, 0), 0), HeaderError, "singular"),
    ],
)
def test_problems_of_a_bundle(change, error, message):
    arrays = make_trx_arrays(lengths=[3, 0, 2], affine=np.eye(4))
    change(arrays)
    problems = list(iter_problems(arrays))
    assert len(problems) == 1
    assert type(problems[0]) is error
    assert re.search(message, str(problems[0]))


def test_all_problems_are_found():
    arrays = make_trx_arrays(lengths=[3, 0, 2])
    arrays.dps["weight"] = arrays.dps["weight"][:1]
    arrays.groups["CC"] = np.array([99], "u4")
    assert len(list(iter_problems(arrays))) == 2


def test_what_can_be_written():
    good = ArrayName("dps", "weight", 1, np.dtype("<f4"))
    check_writable([good])
    for name in (ArrayName("dps", "a.b", 1, np.dtype("<f4")), ArrayName("dpg", "x", 1, np.dtype("<f4"), "a/b")):
        with pytest.raises(ArrayNameError, match="rename it"):
            check_writable([good, name])
    with pytest.raises(ShapeError, match="dps/x has no columns"):
        check_writable([ArrayName("dps", "x", 0, np.dtype("<f4"))])
    with pytest.raises(DtypeError, match="dps/x: the TRX format cannot hold complex128; convert it to one of"):
        check_writable([ArrayName("dps", "x", 1, np.dtype("complex128"))])
