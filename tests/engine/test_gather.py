"""Scattered streamlines and checked positions: blocks, threads and long runs change nothing of the result."""

from __future__ import annotations

import itertools
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.formats.made import ANYWHERE
from tests.helpers import make_trx_arrays, read_plain, write_plain_zip
from trxlib import parallel
from trxlib.engine import fill_input, trx_source
from trxlib.errors import FormatError
from trxlib.model.arrays import TrxArrays
from trxlib.model.offsets import gather_rows

RNG = np.random.default_rng(11)


@pytest.fixture(params=["one block", "small blocks", "threads"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How rows are divided; the result may not depend on it."""
    if request.param != "one block":
        monkeypatch.setattr(fill_input, "_STEP", 7)
        monkeypatch.setattr(trx_source, "_CHUNK_BYTES", 100)
        monkeypatch.setattr(trx_source, "_GATHER_BYTES", 100)
        monkeypatch.setattr(trx_source, "_STREAM_BYTES", 100)
    if request.param == "threads":
        monkeypatch.setattr(parallel, "_BIG_BYTES", 0)
        monkeypatch.setattr(parallel, "_CORES", 3)
    return str(request.param)


@pytest.mark.parametrize("suffix", [".trx", ""])
@pytest.mark.parametrize(
    "rows",
    [
        RNG.permutation(40)[:20],
        np.repeat(RNG.permutation(40)[:5], 3),
        np.arange(39, -1, -1),
        np.arange(10, 30),
        np.arange(0),
    ],
    ids=["scattered", "repeated", "reversed", "together", "none"],
)
def test_a_selection_is_saved_as_its_rows(tmp_path: Path, blocks: str, rows: np.ndarray, suffix: str) -> None:
    lengths = RNG.integers(0, 30, 40)
    lengths[7] = 200  # longer than a block
    arrays = make_trx_arrays(lengths=lengths)
    with trxlib.load(write_plain_zip(arrays, tmp_path / "a.trx")) as trx:
        trxlib.save(trx.select(rows), tmp_path / f"out{suffix}")
    saved = read_plain(tmp_path / f"out{suffix}")
    starts, chosen = arrays.offsets[:-1][rows], lengths[rows]
    assert np.array_equal(saved.positions, gather_rows(arrays.positions, starts, chosen))
    for key, values in arrays.dpv.items():
        assert np.array_equal(saved.dpv[key], gather_rows(values, starts, chosen)), key
    for key, values in arrays.dps.items():
        assert np.array_equal(saved.dps[key], values[rows]), key
    if suffix:
        with zipfile.ZipFile(tmp_path / "out.trx") as archive:
            assert archive.testzip() is None


@pytest.mark.parametrize("target", ["out.trx", "out.trk"])
def test_streamlines_outside_are_counted_once(
    tmp_path: Path, blocks: str, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    """Also those that go on in the next block."""
    arrays = make_trx_arrays(lengths=RNG.integers(5, 40, 30), groups={}, dps={}, dpv={})
    far = [3, 4, 17]
    for row in far:
        arrays.positions[int(arrays.offsets[row]) : int(arrays.offsets[row + 1])] += 5000
    outside = count_outside(arrays)
    with caplog.at_level(logging.WARNING):
        trxlib.convert(write_plain_zip(arrays, tmp_path / "a.trx"), tmp_path / target, **ANYWHERE)
    assert f"{outside} of 30 streamlines have vertices outside the grid" in caplog.text


def count_outside(arrays: TrxArrays) -> int:
    """Count them one vertex at a time."""
    inverse = np.linalg.inv(arrays.header.voxel_to_rasmm)
    voxels = arrays.positions.astype(np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
    out = ((voxels < -0.5) | (voxels > np.array(arrays.header.dimensions) - 0.5)).any(axis=1)
    ends = arrays.offsets.astype(np.int64)
    return sum(bool(out[low:high].any()) for low, high in itertools.pairwise(ends))


@pytest.mark.parametrize("target", ["out.trx", "out.trk", "out.tck"])
def test_the_first_bad_streamline_is_named(tmp_path: Path, blocks: str, target: str) -> None:
    arrays = make_trx_arrays(lengths=RNG.integers(5, 40, 30), groups={}, dps={}, dpv={})
    for row in (11, 12, 25):
        arrays.positions[int(arrays.offsets[row]) + 2, 1] = np.nan
    with pytest.raises(FormatError, match="streamline 11 has the vertex"):
        trxlib.convert(write_plain_zip(arrays, tmp_path / "a.trx"), tmp_path / target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.trx"]


def test_an_error_in_a_group_names_the_streamline_of_the_file(tmp_path: Path, blocks: str) -> None:
    arrays = make_trx_arrays(lengths=RNG.integers(5, 40, 30), groups={"CC": [20, 25, 28]}, dps={}, dpv={}, dpg={})
    arrays.positions[int(arrays.offsets[25]), 0] = np.inf
    with pytest.raises(FormatError, match="streamline 25 has the vertex"):
        trxlib.export(write_plain_zip(arrays, tmp_path / "a.trx"), tmp_path / "out.trk", group="CC")


@pytest.mark.parametrize("source", ["a.trx", "a.trk"])
def test_of_two_rules_the_first_streamline_that_breaks_one_is_named(tmp_path: Path, blocks: str, source: str) -> None:
    arrays = make_trx_arrays(lengths=[5, 6, 7, 8], groups={}, dps={}, dpv={}, affine=np.eye(4))
    arrays.positions[:] = 3
    trxlib.convert(write_plain_zip(arrays, tmp_path / "good.trx"), tmp_path / "good.trk")
    for far, bad, first in ((1, 2, "streamline 1 leaves the grid"), (2, 1, "streamline 1 has the vertex")):
        arrays.positions[:] = 3
        arrays.positions[int(arrays.offsets[far]) + 1] = 4000
        arrays.positions[int(arrays.offsets[bad]) + 1] = np.nan
        path = write_plain_zip(arrays, tmp_path / "a.trx")
        if source == "a.trk":
            path = tmp_path / "a.trk"
            words = np.frombuffer((tmp_path / "good.trk").read_bytes()[1000:], "<f4").copy()
            rows = np.concatenate(
                [
                    1 + np.arange(3 * n) + 3 * int(s) + k
                    for k, (s, n) in enumerate(zip(arrays.offsets[:-1].tolist(), [5, 6, 7, 8], strict=True))
                ]
            )
            words[rows] = (arrays.positions + np.float32(0.5)).reshape(-1)
            path.write_bytes((tmp_path / "good.trk").read_bytes()[:1000] + words.tobytes())
        with pytest.raises(FormatError, match=first):
            trxlib.convert(path, tmp_path / "out.trx", out_of_volume="fail")


def test_streamlines_outside_are_counted_where_others_are_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = make_trx_arrays(lengths=[5, 0, 7], groups={}, dps={}, dpv={}, affine=np.eye(4))
    arrays.positions[:] = 3
    arrays.positions[0] = 4000
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    with caplog.at_level(logging.WARNING), pytest.warns(trxlib.errors.DataLossWarning, match="1 of 3"):
        trxlib.convert(path, tmp_path / "out.trx", drop_empty=True, **ANYWHERE)
    assert "1 of 2 streamlines have vertices outside the grid" in caplog.text


@pytest.mark.parametrize("target", ["out.trk", "out.tck", "out.trx"])
def test_a_block_of_empty_streamlines(tmp_path: Path, blocks: str, target: str) -> None:
    """Mapped rows that are none are not written to, whatever is to be moved."""
    arrays = make_trx_arrays(lengths=[40] * 30 + [0] * 40, groups={}, dps={}, dpv={}, affine=np.eye(4))
    arrays.positions[:] = 5
    shift = np.eye(4)
    shift[:3, 3] = 1
    trxlib.convert(write_plain_zip(arrays, tmp_path / "a.trx"), tmp_path / target, transform=shift)
    reference = tmp_path / "a.trx" if target == "out.tck" else None
    trxlib.convert(tmp_path / target, tmp_path / "back.trx", reference=reference)
    back = read_plain(tmp_path / "back.trx")
    assert np.array_equal(back.offsets, arrays.offsets)
    assert (back.positions == 6).all()


def test_progress_ends_at_its_total_where_the_type_changes(tmp_path: Path, blocks: str) -> None:
    path = write_plain_zip(make_trx_arrays(lengths=RNG.integers(0, 30, 40)), tmp_path / "a.trx")
    told: list[tuple[int, int]] = []
    trxlib.merge([path], tmp_path / "out.trx", positions_dtype="float64", progress=lambda *now: told.append(now))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > 0
