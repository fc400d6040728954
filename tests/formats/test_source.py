"""What every source can do, whatever its format, and what only some can: asked by methods, never by class."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.formats.made import GRID, SIZES, open_source, read_all, some_streamlines, tck_bytes, trk_bytes, write
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.errors import UnsupportedFormatError
from trxlib.model.chunk import Chunk, DeferredChunk, Place
from trxlib.model.source import Source
from trxlib.model.space import Space

SPACE = Space(np.diag([*SIZES, 1.0]), GRID)
LENGTHS = (3, 0, 5, 1)


def open_as(kind: str, folder: Path) -> Source:
    lines = some_streamlines(LENGTHS)
    if kind == "trk":
        return open_source(write(folder / "a.trk", trk_bytes(lines)))
    if kind == "tck":
        return open_source(write(folder / "a.tck", tck_bytes(lines)), reference=SPACE)
    arrays = make_trx_arrays(lengths=LENGTHS, affine=SPACE.voxel_to_rasmm, dimensions=GRID)
    arrays.positions[:] = np.concatenate(lines)
    return open_source(write_plain_zip(arrays, folder / "a.trx"))


class Shift:
    """A step that moves positions, and remembers what it was told of them."""

    def __init__(self) -> None:
        self.ended = 0
        self.inside: list[bool] = []
        self.found: list[tuple[int, int]] = []

    def apply(self, positions: np.ndarray, place: Place) -> np.ndarray:
        self.inside.append(place.is_inside)
        self.found += [tuple(map(int, place.locate(row))) for row in range(len(positions))]
        return positions + np.float32(1)

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("kind", ["trk", "tck", "trx"])
def test_positions_pass_through_steps_with_their_places(tmp_path: Path, slicing: str, kind: str) -> None:
    first, second = Shift(), Shift()
    with open_as(kind, tmp_path) as plain:
        expected = read_all(plain)["positions"] + 2
    with open_as(kind, tmp_path) as source:
        moved = source.through(first).through(second, dtype=np.dtype("<f4"), space=SPACE)
        np.testing.assert_array_equal(read_all(moved)["positions"], expected)
        assert moved.info.space is SPACE or kind == "trx"
    places = [(streamline, vertex) for streamline, length in enumerate(LENGTHS) for vertex in range(length)]
    assert sorted(first.found) == sorted(second.found) == places
    assert (first.ended, second.ended) == (1, 1)
    assert not any(second.inside), "what was seen of the old positions says nothing of the new ones"


@pytest.mark.parametrize("kind", ["trk", "tck", "trx"])
@pytest.mark.parametrize("rows", [[0, 2], [False, True, True, False], [], [0, 1, 2, 3], [-1]])
def test_some_streamlines_are_selected(tmp_path: Path, slicing: str, kind: str, rows: list[int]) -> None:
    lines = some_streamlines(LENGTHS)
    index = np.array(rows, dtype=bool if rows and isinstance(rows[0], bool) else int)
    wanted = np.arange(4)[index]
    with open_as(kind, tmp_path) as source:
        whole = read_all(source)["positions"]
        found = read_all(source.select(index))
    starts = np.cumsum([0, *LENGTHS])
    assert found["lengths"].tolist() == [LENGTHS[row] for row in wanted]
    np.testing.assert_array_equal(
        found["positions"], np.concatenate([whole[:0], *(whole[starts[row] : starts[row + 1]] for row in wanted)])
    )
    assert len(lines) == 4


def test_only_what_lies_in_memory_is_selected_in_another_order(tmp_path: Path) -> None:
    with open_as("trx", tmp_path) as source:
        assert read_all(source.select(np.array([2, 0, 2])))["lengths"].tolist() == [5, 3, 5]
    for kind in ("trk", "tck"):
        for rows in ([2, 0], [1, 1]):
            with (
                open_as(kind, tmp_path) as source,
                pytest.raises(UnsupportedFormatError, match=r"front to back.*convert it to \.trx"),
            ):
                source.select(np.array(rows))


def test_only_trx_has_bytes_to_be_copied_as_they_lie(tmp_path: Path) -> None:
    keys = [("positions", "positions"), ("dps", "weight"), ("dpv", "fa")]
    with open_as("trx", tmp_path) as source:
        # Positions are looked at on their way.
        assert [source.stored(*key) is not None for key in keys] == [False, True, True]
        assert set(source.groups) == {"CST_L", "CC", "none"}
        selected = source.select(np.array([0, 2]))
        assert [selected.stored(*key) for key in keys] == [None, None, None]
        assert selected.fingerprint() == source.fingerprint()
    for kind in ("trk", "tck"):
        with open_as(kind, tmp_path) as source:
            assert [source.stored(*key) for key in keys] == [None, None, None]
            assert source.blocks("positions", "positions") is None
            assert source.starts() is None
            assert source.groups == {}


def test_a_chunk_is_made_once_by_whoever_needs_it_first() -> None:
    made: list[int] = []

    def make() -> Chunk:
        made.append(threading.get_ident())
        if len(made) == 1:
            raise ValueError("broken")
        return Chunk(np.array([2]), np.ones((2, 3), np.float32), {"w": np.ones((1, 1))}, {}, is_inside=True)

    chunk = DeferredChunk(np.array([2]), make)
    assert (chunk.nb_vertices, chunk.is_made, made) == (2, False, [])
    with pytest.raises(ValueError, match="broken"):
        _ = chunk.positions
    workers = [threading.Thread(target=lambda: chunk.positions.sum()) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(made) == 2
    assert chunk.is_made
    assert chunk.is_inside
    assert chunk.dps["w"].shape == (1, 1)
    assert chunk.take(np.array([True])).is_inside
