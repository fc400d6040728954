"""Merge: grids of one world, and inputs that lie outside of theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_cli import run
from tests.helpers import make_trx_arrays, read_plain, write_plain_folder, write_plain_zip
from trxlib import merge
from trxlib.errors import InputError, SpaceMismatchError, SpaceWarning

LARGE = np.array([[2.0, 0, 0, -20], [0, 2, 0, -30], [0, 0, 2, -10], [0, 0, 0, 1]])
SMALL = np.array([[1.0, 0, 0, -10], [0, 1, 0, -10], [0, 0, 1, 0], [0, 0, 0, 1]])


def write_input(path: Path, affine: np.ndarray, dimensions: tuple[int, int, int], outside: float = 0.0) -> Path:
    """Write 200 streamlines of five vertices inside a grid, but for a share of the vertices, far away."""
    arrays = make_trx_arrays(lengths=[5] * 200, affine=affine, dimensions=dimensions)
    rng = np.random.default_rng(len(path.name))
    voxels = rng.uniform(0, np.array(dimensions) - 1, (1000, 3))
    arrays.positions[:] = voxels @ affine[:3, :3].T + affine[:3, 3]
    arrays.positions[: int(1000 * outside)] += 1000
    return write_plain_folder(arrays, path) if not path.suffix else write_plain_zip(arrays, path)


def test_inputs_of_one_world_get_the_grid_that_holds_them_all(tmp_path):
    paths = [
        write_input(tmp_path / "a.trx", LARGE, (20, 30, 20)), write_input(tmp_path / "b.trx", SMALL, (20, 20, 20)),
    ]  # fmt: skip
    with pytest.raises(SpaceMismatchError, match="space: world"):
        merge(paths, tmp_path / "no.trx")
    merge(paths, tmp_path / "union.trx", space="world")
    found = read_plain(tmp_path / "union.trx")
    assert np.linalg.norm(found.header.voxel_to_rasmm[:3, :3], axis=0).tolist() == [1, 1, 1]
    np.testing.assert_array_equal(found.positions, np.concatenate([read_plain(path).positions for path in paths]))
    corner = np.linalg.inv(found.header.voxel_to_rasmm) @ [*found.positions.min(axis=0), 1]
    assert corner[:3].min() >= -0.5
    merge(paths, tmp_path / "named.trx", space="world", grid=str(paths[0]))
    assert read_plain(tmp_path / "named.trx").header.dimensions == (20, 30, 20)
    assert run("merge", *paths, tmp_path / "cli.trx", "--space", "world").exit_code == 0
    assert (tmp_path / "cli.trx").read_bytes() == (tmp_path / "union.trx").read_bytes()


def test_a_grid_is_an_input_and_belongs_to_one_world(tmp_path):
    path = write_input(tmp_path / "a.trx", LARGE, (20, 30, 20))
    grid = write_input(tmp_path / "grid.trx", SMALL, (20, 20, 20))
    with pytest.raises(InputError, match="belongs to space='world'"):
        merge([path], tmp_path / "out.trx", grid=str(grid))
    with pytest.raises(InputError, match="would replace the input"):
        merge([path], grid, space="world", grid=str(grid))
    assert run("merge", path, tmp_path / "out.trx", "--grid", grid).exit_code == 2


@pytest.mark.parametrize("name", ["in.trx", "in"])
def test_inputs_that_lie_outside_their_grid_are_told(tmp_path, name):
    good = write_input(tmp_path / "good.trx", LARGE, (20, 30, 20))
    some = write_input(tmp_path / f"some_{name}", LARGE, (20, 30, 20), outside=0.2)
    most = write_input(tmp_path / f"most_{name}", LARGE, (20, 30, 20), outside=0.7)
    with pytest.warns(SpaceWarning, match=r"some_.*20 % of its vertices \(200 of 1000\)"):
        merge([good, some], tmp_path / "out.trx")
    with pytest.raises(SpaceMismatchError, match=r"most_.*70 % of its vertices \(700 of 1000\)"):
        merge([good, most], tmp_path / "most.trx")
    assert not (tmp_path / "most.trx").exists()
    merge([good, most], tmp_path / "most.trx", warn_outside=1, max_outside=1)
    assert read_plain(tmp_path / "most.trx").header.nb_streamlines == 400


def test_an_input_that_a_given_grid_cuts_off_is_told(tmp_path):
    path = write_input(tmp_path / "a.trx", LARGE, (20, 30, 20))
    grid = write_input(tmp_path / "grid.trx", SMALL, (4, 4, 4))
    with pytest.raises(SpaceMismatchError, match="outside the grid of 4x4x4 voxels"):
        merge([path], tmp_path / "out.trx", space="world", grid=str(grid))
