"""What is odd in good files is counted and named; nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

import trxlib
from tests.formats.made import tck_bytes
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.cli import main


def make(tmp_path, change=lambda arrays: None, **options):
    arrays = make_trx_arrays(
        lengths=[3, 3, 2, 4], dps={"w": (1, "<f4")}, dpv={"fa": (1, "<f4")}, dpg={},
        affine=np.diag([2.0, 2, 2, 1]), dimensions=(80, 80, 80), **{"groups": {}, **options},
    )  # fmt: skip
    arrays.positions[:] = np.arange(36).reshape(12, 3) + 1
    change(arrays)
    return write_plain_zip(arrays, tmp_path / "a.trx")


def nan_vertex(arrays):
    arrays.positions[4] = np.nan


def reversed_copy(arrays):
    arrays.positions[3:6] = arrays.positions[:3][::-1]


CHANGES = {
    "not finite": (nan_vertex, "streamlines", 1, (1,)),
    "that leave the grid": (lambda arrays: arrays.positions[6:8].fill(-50), "streamlines", 1, (2,)),
    "duplicates of an earlier one, forwards or backwards": (reversed_copy, "streamlines", 1, (1,)),
    "with NaN": (lambda arrays: arrays.dpv["fa"][8:10].fill(np.nan), "dpv/fa", 1, (3,)),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_each_oddity_is_found_alone_with_its_streamline(tmp_path, kind):
    change, array, count, first = CHANGES[kind]
    (found,) = trxlib.find_odd(make(tmp_path, change))
    assert (found.kind, found.array, found.count, found.first) == (kind, array, count, first)


def test_a_plain_file_has_nothing_odd(tmp_path):
    assert trxlib.find_odd(make(tmp_path)) == []


def test_coordinates_of_another_unit_are_doubted(tmp_path):
    found = trxlib.find_odd(make(tmp_path, lambda arrays: np.divide(arrays.positions, 1000, out=arrays.positions)))
    assert [item.kind for item in found] == ["doubted for their unit"]
    assert "the unit may be metres" in found[0].note


def test_members_twice_and_out_of_order_are_named_by_row(tmp_path):
    found = trxlib.find_odd(make(tmp_path, groups={"g": [2, 1, 2]}))
    assert [(item.kind, item.count, item.first) for item in found] == [
        ("members out of order", 1, (1,)),
        ("members that are there twice", 1, (2,)),
    ]


def test_the_command_looks_at_the_content_of_any_format_when_asked(tmp_path, capsys):
    path = make(tmp_path, nan_vertex)
    assert main(["validate", str(path)]) == 0
    assert main(["validate", "--content", str(path)]) == 1
    assert "a.trx: streamlines: 1 not finite; first 1" in capsys.readouterr().out
    tck = tmp_path / "a.tck"
    tck.write_bytes(tck_bytes([np.ones((1, 3))]))
    assert main(["validate", "--content", str(tck)]) == 1
    assert "a.tck: streamlines: 1 of one vertex; first 0" in capsys.readouterr().out


def test_copies_across_chunks_and_signs_of_zero_are_duplicates_and_empty_streamlines_are_none(tmp_path):
    arrays = make_trx_arrays(
        lengths=[2, 0, 2, 0, *[3] * 60_000, 2], dps={}, dpv={}, dpg={}, groups={}, affine=np.eye(4),
        dimensions=(30_000, 30_000, 30_000),
    )  # fmt: skip
    arrays.positions[:] = np.arange(arrays.positions.size).reshape(-1, 3) / 30 + 1
    arrays.positions[0] = 0.0
    arrays.positions[-2:] = arrays.positions[1::-1]
    arrays.positions[-1] = -0.0
    arrays.positions[2:4, 0] += 1e-3
    found = trxlib.find_odd(write_plain_zip(arrays, tmp_path / "a.trx"))
    (copies,) = [item for item in found if item.kind.startswith("duplicates")]
    assert (copies.count, copies.first) == (1, (60_004,))


def test_a_signalling_nan_is_one_that_is_not_finite(tmp_path):
    data = tck_bytes([np.ones((2, 3)), np.full((3, 3), 2.0)], datatype="Float64LE", offset=100)
    signalling = (0x7FF0000000000001).to_bytes(8, "little")
    (tmp_path / "a.tck").write_bytes(data[:100] + signalling + data[108:])
    found = {finding.kind: finding.first for finding in trxlib.find_odd(tmp_path / "a.tck")}
    assert found["not finite"] == (0,)
