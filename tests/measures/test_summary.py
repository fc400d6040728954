"""Lengths and volumes against plain loops in Python."""

import itertools

import numpy as np
import pytest

from trxlib.measures.summary import ALL, SUMMARY_COLUMNS, group_of_label, streamline_lengths, summarise
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 1.5, 0.5, -3], [0, -0.5, 3, 4], [0, 0, 0, 1]])


def make_arrays(lengths, dtype="f4", groups=None, seed=0, affine=AFFINE):
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(sum(lengths), 3), scale=8).astype(dtype)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype("u4")
    header = Header(affine, (10, 10, 10), len(lengths), sum(lengths))
    members = {name: np.array(ids, dtype="u4") for name, ids in (groups or {}).items()}
    return TrxArrays(header, positions, offsets, groups=members)


def plain_lengths(arrays):
    lengths = []
    for start, stop in zip(arrays.offsets[:-1], arrays.offsets[1:], strict=True):
        points = arrays.positions[start:stop].astype(float)
        lengths.append(sum(np.linalg.norm(b - a) for a, b in itertools.pairwise(points)))
    return lengths


def plain_volume(arrays, rows):
    matrix = np.linalg.inv(arrays.header.voxel_to_rasmm)
    seen = set()
    for row in rows:
        for vertex in arrays.positions[arrays.offsets[row] : arrays.offsets[row + 1]]:
            voxel = np.floor(matrix @ [*vertex.astype(float), 1] + 0.5)[:3]
            if np.isfinite(voxel).all():
                seen.add(tuple(voxel.tolist()))
    return len(seen) * abs(np.linalg.det(AFFINE[:3, :3]))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    "lengths", [[], [0], [1], [5], [0, 5, 0], [3, 0, 0, 4], [1, 1, 1], [0, 0, 7, 1, 0], list(range(40)), [2, 300, 2]]
)
def test_lengths_are_those_of_a_loop(lengths, dtype, monkeypatch):
    arrays = make_arrays(lengths, dtype)
    expected = plain_lengths(arrays)
    np.testing.assert_allclose(streamline_lengths(arrays.positions, arrays.offsets), expected, rtol=1e-5)
    monkeypatch.setattr("trxlib.measures.summary._CHUNK_VERTICES", 16)
    np.testing.assert_allclose(streamline_lengths(arrays.positions, arrays.offsets), expected, rtol=1e-5)


@pytest.mark.parametrize("chunk", [7, 1 << 17])
@pytest.mark.parametrize("box", [4, 1 << 28])
def test_rows_are_those_of_a_loop(chunk, box, monkeypatch):
    monkeypatch.setattr("trxlib.measures.summary._CHUNK_VERTICES", chunk)
    monkeypatch.setattr("trxlib.measures.summary._MAX_BOX", box)
    arrays = make_arrays([4, 0, 9, 1, 30, 2], groups={"CC": [4, 0, 1, 4], "AF": [5], "none": []})
    parts = {"sub-01": (0, 3), "sub-02": (3, 3), "sub-03": (3, 6)}
    rows = {(row.subject, row.group): row for row in summarise(arrays, parts)}
    assert list(rows) == [(s, g) for s in [*parts, ALL] for g in [ALL, "CC", "AF", "none"]]
    members = {ALL: range(6), "CC": [0, 1, 4], "AF": [5], "none": []}
    lengths = np.array(plain_lengths(arrays))
    counts = np.diff(arrays.offsets.astype(int))
    for (subject, group), row in rows.items():
        start, stop = parts.get(subject, (0, 6))
        chosen = [i for i in members[group] if start <= i < stop]
        assert row.nb_streamlines == len(chosen)
        assert row.nb_vertices == counts[chosen].sum()
        assert row.volume == pytest.approx(plain_volume(arrays, chosen))
        if chosen:
            picked = lengths[chosen]
            sd = picked.std(ddof=1) if len(chosen) > 1 else np.nan
            expected = [picked.mean(), sd, picked.min(), picked.max()]
            np.testing.assert_allclose(row.lengths, expected, rtol=1e-5)
        else:
            assert np.isnan(row.lengths).all()


def test_vertices_without_a_place_are_in_no_voxel():
    arrays = make_arrays([4, 4])
    arrays.positions[1] = np.nan
    arrays.positions[2, 0] = 1e30
    arrays.positions[6, 1] = np.inf
    whole = summarise(arrays, {"sub-01": (0, 2)})[0]
    arrays.positions[[1, 2, 6]] = arrays.positions[0]
    assert whole.volume == pytest.approx(plain_volume(arrays, [0, 1]))


def test_an_archive_without_streamlines():
    rows = summarise(make_arrays([], groups={"CC": []}), {})
    assert [row.to_cells() for row in rows] == [
        ["all", "all", "0", "0", "n/a", "n/a", "n/a", "n/a", "0.000"],
        ["all", "CC", "0", "0", "n/a", "n/a", "n/a", "n/a", "0.000"],
    ]
    assert len(rows[0].to_cells()) == len(SUMMARY_COLUMNS)


def test_values_known_by_hand():
    header = Header(np.diag([2.0, 2, 2, 1]), (5, 5, 5), 2, 5)
    positions = np.array([[0, 0, 0], [3, 4, 0], [3, 4, 2], [0.9, 0, 0], [1.1, 0, 0]], dtype="f4")
    arrays = TrxArrays(header, positions, np.array([0, 3, 5], dtype="u4"))
    row = summarise(arrays, {"sub-01": (0, 1), "sub-02": (1, 2)})[-1]
    assert row.to_cells() == ["all", "all", "2", "5", "3.600", "4.808", "0.200", "7.000", "32.000"]


def test_a_group_called_like_the_total_has_rows_of_its_own():
    arrays = make_arrays([3, 4, 5], groups={"all": [1], "CC": [0, 2]})
    rows = {(row.subject, row.group): row.nb_streamlines for row in summarise(arrays, {"sub-01": (0, 3)})}
    assert rows["all", "all"] == rows["sub-01", "all"] == 3
    (label,) = {group for _, group in rows} - {"all", "CC"}
    assert rows["sub-01", label] == rows["all", label] == 1
    assert (group_of_label(label), group_of_label("CC")) == ("all", "CC")
