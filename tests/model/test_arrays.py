"""TrxArrays: the walk over all arrays, in the order of an archive."""

from __future__ import annotations

import numpy as np

from tests.helpers import assert_trx_equal, make_trx_arrays, read_plain, write_plain_folder, write_plain_zip
from trxlib.model.arrays import TrxArrays


def test_walk_visits_every_array_once_in_archive_order(arrays):
    labels = [name.label for name, _ in arrays.iter_arrays()]
    assert labels == [
        "positions",
        "offsets",
        "dpv/fa",
        "dpv/flag",
        "dpv/vector",
        "dps/color",
        "dps/weight",
        "groups/CC",
        "groups/CST_L",
        "groups/none",
        "dpg/CC/box",
        "dpg/CC/volume",
    ]


def test_walk_copies_nothing(arrays):
    found = {name.label: array for name, array in arrays.iter_arrays()}
    assert found["positions"] is arrays.positions
    assert found["dpv/fa"] is arrays.dpv["fa"]


def test_names_say_columns_and_types(arrays):
    paths = {name.path for name, _ in arrays.iter_arrays()}
    assert {"positions.3.float32", "offsets.uint32", "dpv/flag.bit", "dps/color.3.uint8", "groups/none.uint32"} <= paths
    assert "dpg/CC/box.3.float32" in paths


def test_by_label_and_back(arrays):
    by_label = arrays.by_label()
    assert by_label.keys() == {name.label for name, _ in arrays.iter_arrays()}
    assert by_label["dpg/CC/box"] is arrays.dpg["CC"]["box"]
    moved = arrays.with_arrays(
        {label: array + 1 if label == "dps/weight" else array for label, array in by_label.items()}
    )
    np.testing.assert_array_equal(moved.dps["weight"], arrays.dps["weight"] + 1)
    assert moved.dpv["fa"] is arrays.dpv["fa"]
    assert moved.sidecars == arrays.sidecars


def test_arrays_find_their_sections_by_their_names(arrays):
    made = TrxArrays.of_entries(arrays.header, dict(arrays.iter_arrays()), arrays.sidecars)
    assert_trx_equal(made, arrays)
    assert made.positions is arrays.positions
    assert len(TrxArrays.of_entries(arrays.header, {}).positions) == 0


def test_arrays_without_streamlines_have_no_rows_and_keep_the_header(arrays):
    empty = TrxArrays.empty(arrays.header)
    assert empty.positions.shape == (0, 3)
    assert empty.offsets.tolist() == [0]
    assert empty.header.extra == arrays.header.extra
    assert empty.header.nb_streamlines == 0


def test_space_is_that_of_the_header(arrays):
    assert arrays.space.dimensions == arrays.header.dimensions
    np.testing.assert_array_equal(arrays.space.voxel_to_rasmm, arrays.header.voxel_to_rasmm)


def test_the_helpers_read_what_they_write(tmp_path):
    arrays = make_trx_arrays(9, seed=4)
    assert_trx_equal(write_plain_zip(arrays, tmp_path / "a.trx"), arrays)
    assert_trx_equal(write_plain_folder(arrays, tmp_path / "folder"), arrays)
    assert read_plain(tmp_path / "a.trx").sidecars == arrays.sidecars
