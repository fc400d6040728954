"""Rules on NaN, on vertices outside the grid and on empty streamlines; counts are right before anything is read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.made import GRID, SIZES, open_source, read_all, tck_bytes, trk_bytes, write
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.errors import DataLossWarning, FormatError, InputError
from trxlib.model.space import Space
from trxlib.spaces.grid import Grid, VoxmmBox

SPACE = Space(np.diag([*SIZES, 1.0]), GRID)
OBLIQUE = np.array([[0.9, -0.4, 0.1, -3], [0.5, 1.7, 0.2, 4], [-0.1, 0.3, 3.9, 2], [0, 0, 0, 1]])


def tracks(bad: Any = None, at: int = 2) -> list[np.ndarray]:
    """Five streamlines inside the grid, the fourth empty; vertex 1 of one of them may be bad."""
    lines = [np.full((length, 3), 2.0, np.float32) for length in (3, 2, 4, 0, 1)]
    if bad is not None:
        lines[at][1] = bad
    return lines


@pytest.mark.parametrize("kind", ["trk", "tck"])
@pytest.mark.parametrize("bad", [(np.nan, 1, 1), (1, 1, np.inf), (1, -np.inf, 1)])
def test_nonfinite_vertices_name_their_streamline_or_are_dropped(
    tmp_path: Path, slicing: str, kind: str, bad: tuple[float, ...]
) -> None:
    make = trk_bytes if kind == "trk" else tck_bytes
    path = write(tmp_path / f"a.{kind}", make(tracks(bad)))
    reference = SPACE if kind == "tck" else None
    with pytest.raises(
        FormatError, match=rf"a\.{kind}: streamline 2 has the vertex \[.*\(vertex 1\).*nonfinite='drop'"
    ):
        read_all(open_source(path, reference=reference))
    with pytest.warns(DataLossWarning, match="1 of 5 streamlines are left out"):
        source = open_source(path, reference=reference, nonfinite="drop")
    assert read_all(source)["lengths"].tolist() == [3, 2, 0, 1]


def test_a_nan_does_not_spread_to_its_neighbours(tmp_path: Path, slicing: str) -> None:
    path = write(tmp_path / "a.trk", trk_bytes(tracks((np.nan, 1, 1)), affine=OBLIQUE.astype(np.float32)))
    with pytest.warns(DataLossWarning):
        found = read_all(open_source(path, nonfinite="drop"))
    assert found["lengths"].tolist() == [3, 2, 0, 1]
    assert np.isfinite(found["positions"]).all()


@pytest.mark.parametrize("kind", ["trk", "tck", "trk oblique", "trk moved"])
def test_vertices_outside(tmp_path: Path, slicing: str, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    options: dict[str, Any] = {}
    if kind == "tck":
        path = write(tmp_path / "a.tck", tck_bytes(tracks((2, 2, 99), at=1)))
        options["reference"] = SPACE
    else:
        affine = OBLIQUE.astype(np.float32) if "oblique" in kind else None
        path = write(tmp_path / "a.trk", trk_bytes(tracks((-1, 2, 2), at=1), affine=affine))
        if "moved" in kind:
            options["transform"] = OBLIQUE
    with caplog.at_level("WARNING", "trxlib"):
        assert read_all(open_source(path, **options))["lengths"].tolist() == [3, 2, 4, 0, 1]
    assert "1 of 5 streamlines have vertices outside the grid" in caplog.text
    with pytest.raises(FormatError, match=r"streamline 1 leaves the grid of \[8, 6, 5\] voxels"):
        read_all(open_source(path, out_of_volume="fail", **options))
    with pytest.warns(DataLossWarning, match="1 of 5 streamlines are left out"):
        source = open_source(path, out_of_volume="drop", **options)
    assert read_all(source)["lengths"].tolist() == [3, 4, 0, 1]


def test_empty_streamlines_are_dropped_with_their_rows(tmp_path: Path, slicing: str) -> None:
    properties = np.arange(5, dtype=np.float32).reshape(-1, 1)
    scalars = np.arange(10, dtype=np.float32).reshape(-1, 1)
    data = trk_bytes(tracks(), properties=properties, property_names=(b"w",), scalars=scalars, scalar_names=(b"fa",))
    path = write(tmp_path / "a.trk", data)
    assert read_all(open_source(path))["lengths"].tolist() == [3, 2, 4, 0, 1]
    with pytest.warns(DataLossWarning, match="drop_empty=True"):
        source = open_source(path, drop_empty=True)
    found = read_all(source)
    assert found["lengths"].tolist() == [3, 2, 4, 1]
    assert found["dps"]["w"].ravel().tolist() == [0, 1, 2, 4]
    assert found["dpv"]["fa"].ravel().tolist() == list(range(10))


@pytest.mark.parametrize("rule", ["nonfinite", "out_of_volume"])
def test_unknown_rules(tmp_path: Path, rule: str) -> None:
    path = write(tmp_path / "a.trk", trk_bytes(tracks()))
    with pytest.raises(InputError, match=f"{rule} is 'perhaps', expected"):
        open_source(path, **{rule: "perhaps"})


@pytest.mark.parametrize("affine", [np.diag([*SIZES, 1.0]), np.diag([-2.0, 1, -3, 1]), OBLIQUE])
def test_the_grid_agrees_with_a_plain_loop(affine: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    space = Space(affine, GRID)
    voxels = rng.uniform(-1.5, 9, (3000, 3))
    points = (voxels @ affine[:3, :3].T + affine[:3, 3]).astype(np.float32)
    expected = [
        row
        for row, voxel in enumerate(voxels)
        if any(not -0.5 <= v <= n - 0.5 for v, n in zip(voxel, GRID, strict=True))
    ]
    grid = Grid(space)
    assert grid.find_outside(points).tolist() == expected
    assert not grid.contains(points)
    inside = np.delete(points, expected, axis=0)
    assert len(inside) > 100
    assert grid.find_outside(inside).size == 0
    if affine is not OBLIQUE:  # else the bounding box may be larger
        assert grid.contains(inside)
    assert grid.contains(inside[:0])
    assert not grid.contains(np.append(inside, [[np.nan, 0, 0]], axis=0).astype(np.float32))


def test_a_grid_without_voxels_contains_everything() -> None:
    grid = Grid(Space(np.eye(4), (0, 0, 0)))
    assert grid.contains(np.full((3, 3), 1e6, np.float32))
    assert grid.find_outside(np.full((3, 3), 1e6, np.float32)).size == 0


def test_the_box_of_a_file_includes_its_edges() -> None:
    box = VoxmmBox((8, 12, 20))
    inside = np.array([[0, 0, 0, -5], [8, 12, 20, np.nan]], np.float32)
    assert box.contains(inside)
    assert box.contains(np.repeat(inside, 300, axis=0))
    for column, value in ((0, -0.001), (1, 12.001), (2, np.nan), (0, np.inf), (1, -np.inf)):
        rows = np.repeat(inside, 300, axis=0)
        rows[411, column] = value
        assert not box.contains(rows)


def edge_points(affine: np.ndarray, count: int = 300) -> np.ndarray:
    """Points on faces of the grid, in RASMM as float32, so that each is just inside or just outside."""
    rng = np.random.default_rng(0)
    voxels = rng.uniform(0.5, 4, (count, 3))
    axes = rng.integers(3, size=count)
    voxels[np.arange(count), axes] = np.where(rng.random(count) < 0.5, -0.5, np.array(GRID)[axes] - 0.5)
    return (voxels @ affine[:3, :3].T + affine[:3, 3]).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("kind", ["trk", "tck"])
@pytest.mark.parametrize("affine", [OBLIQUE, np.diag([*SIZES, 1.0]), np.diag([-1.3, 0.7, 1.1, 1])])
def test_what_is_outside_does_not_depend_on_its_neighbours(
    tmp_path: Path, affine: np.ndarray, kind: str, dtype: str
) -> None:
    points = edge_points(affine)
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    to_voxmm = np.diag([*sizes, 1.0]) @ np.linalg.inv(affine)
    voxmm = (points.astype(np.float64) @ to_voxmm[:3, :3].T + to_voxmm[:3, 3] + sizes / 2).astype(np.float32)
    far = np.full((1, 3), 1e3, np.float32)
    space = Space(affine, GRID)

    def kept(lines: list[np.ndarray]) -> int:
        data = trk_bytes(lines, affine=affine, sizes=sizes) if kind == "trk" else tck_bytes(lines)
        path = write(tmp_path / f"a.{kind}", data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataLossWarning)
            reference = space if kind == "tck" else None
            source = open_source(path, reference=reference, out_of_volume="drop", positions_dtype=dtype)
        return source.info.nb_streamlines

    lines = [row[None] for row in (voxmm if kind == "trk" else points)]
    alone = sum(kept([line]) for line in lines[:40])
    assert kept([*lines[:40], far]) == alone
    assert 0 < kept([*lines, far]) < len(lines) or dtype == "float16" or affine is not OBLIQUE


def test_an_affine_that_nobody_can_compute_with_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    affine = np.array([[2.0, 0.1, 0, 0], [-0.2, 2, 0, 1e200], [0, 0.1, 2, 0], [0, 0, 0, 1]])
    path = write_plain_zip(make_trx_arrays(affine=affine), tmp_path / "a.trx")
    with pytest.raises(FormatError, match=r"a\.trx: the affine is .*absurd"):
        open_source(path)


def test_a_signalling_nan_is_inside_like_any_other() -> None:
    positions = np.full((3, 3), 1000, np.float32)
    positions.view(np.uint32)[1] = 0x7F800001
    turned = np.array([[2.0, 0.1, 0, 0], [-0.2, 2, 0, 0], [0, 0.1, 2, 0], [0, 0, 0, 1]])
    assert Grid(Space(turned, GRID)).find_outside(positions).tolist() == [0, 2]
