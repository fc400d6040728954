"""What follows from the attributes of a TrxFile."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import trxlib
from tests.helpers import AFFINE, DIMENSIONS, make_trx_arrays, write_plain_zip
from trxlib.errors import GroupNotFoundError


@pytest.fixture
def trx(tmp_path):
    return trxlib.load(write_plain_zip(make_trx_arrays(), tmp_path / "a.trx"))


@pytest.mark.parametrize("rows", [slice(None), [5, 0, 3, 3], []])
def test_lengths_and_ends_agree_with_a_loop(trx, rows):
    part = trx[rows]
    lines = [np.asarray(line, np.float64) for line in part.streamlines]
    mm = [np.linalg.norm(np.diff(line, axis=0), axis=1).sum() for line in lines]
    np.testing.assert_allclose(part.lengths_mm, mm, rtol=1e-9, atol=1e-9)
    assert part.lengths.tolist() == [len(line) for line in lines]
    assert part.offsets.tolist() == [0, *np.cumsum([len(line) for line in lines], dtype=int)]
    assert part.positions.tolist() == [row for line in lines for row in line.tolist()]
    ends = [[line[0], line[-1]] if len(line) else np.full((2, 3), np.nan) for line in lines]
    np.testing.assert_array_equal(part.endpoints, np.reshape(ends, (-1, 2, 3)))


def test_space_and_counts(trx):
    np.testing.assert_array_equal(trx.affine, AFFINE)
    assert (trx.dimensions, trx.voxel_order, trx.nb_streamlines) == (DIMENSIONS, "RAS", 12)
    assert trx.nb_vertices == len(trx.positions)
    assert [part.nb_streamlines for part in trx.chunks(5)] == [5, 5, 2]


def test_writing_into_positions_is_seen(trx, tmp_path):
    trx.positions[0] = 5
    trxlib.save(trx, tmp_path / "b.trx")
    assert trxlib.load(tmp_path / "b.trx").positions[0].tolist() == [5, 5, 5]


def test_to_pandas_has_a_column_for_each_value(trx):
    pytest.importorskip("pandas")
    table = trx.to_pandas()
    assert sorted(table.columns) == ["color_0", "color_1", "color_2", "weight"]
    assert table["color_1"].tolist() == trx.data_per_streamline["color"][:, 1].tolist()


def test_repr_and_html_tell_what_is_there(trx):
    assert repr(trx).startswith("<TrxFile of 12 streamlines, ")
    assert "2 dps, 3 dpv, 3 groups; (80, 96, 64) voxels" in repr(trx)
    assert "<td>groups/CC</td><td>uint32</td><td>12 members</td>" in trx._repr_html_()
    trx.close()
    assert repr(trx) == "<TrxFile, closed>"
    assert "closed" in trx._repr_html_()


def test_a_name_as_index_is_told_of_get_group(trx):
    with pytest.raises(GroupNotFoundError, match=r"trx.get_group\('CC'\) takes the name"):
        trx["CC"]


def test_errors_can_be_reached_after_import_trxlib():
    code = "import trxlib; print(trxlib.errors.ClosedError.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "ClosedError\n"
