"""Merge: grids of one world, and inputs that lie outside of theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.cli.test_cli import run
from tests.formats import made
from tests.helpers import make_trx_arrays, read_plain, write_plain_folder, write_plain_zip
from trxlib import export, merge
from trxlib.errors import DataLossWarning, HeaderWarning, InputError, SpaceMismatchError, SpaceWarning

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


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """The same four streamlines as a TRK, a TCK, a TRX, and a TCK packed by gzip, in one space."""
    lines = made.some_streamlines()
    trk = made.write(tmp_path / "a.TRK", made.trk_bytes(lines, count=4))
    half = np.array(made.SIZES, np.float32) / 2  # a TRK counts from the corner of a voxel
    data = made.tck_bytes([line - half for line in lines])
    tck = made.write(tmp_path / "b.tck", data)
    trxlib.convert(trk, tmp_path / "c.trx")
    return [trk, tck, tmp_path / "c.trx", made.write(tmp_path / "d.tck.gz", data, gz=True)]


@pytest.mark.parametrize("workers", [1, 3])
def test_any_formats_become_one_archive(tmp_path: Path, mixed: list[Path], workers: int) -> None:
    names = ["trk", "tck", "trx", "gz"]
    plan = merge(mixed, tmp_path / "o.trx", names=names, reference=mixed[0], workers=workers, max_outside=1)
    assert [(item.name, item.nb_streamlines) for item in plan.inputs] == [(name, 4) for name in names]
    whole = trxlib.load(tmp_path / "o.trx")
    assert {name: len(members) for name, members in whole.groups.items()} == dict.fromkeys(names, 4)
    first = np.asarray(whole.streamlines._data[:9])
    for start in (9, 18, 27):
        np.testing.assert_array_equal(whole.streamlines._data[start : start + 9], first)
    others = [tmp_path / f"{name}.trx" for name in names]
    for path, other in zip(mixed, others, strict=True):
        trxlib.convert(path, other, reference=mixed[0], max_outside=1)
    merge(others, tmp_path / "two_steps.trx", names=names, max_outside=1)
    assert (tmp_path / "two_steps.trx").read_bytes() == (tmp_path / "o.trx").read_bytes()


def test_what_needs_a_reference_is_named(tmp_path: Path, mixed: list[Path]) -> None:
    with pytest.raises(InputError, match=r"b\.tck: its format says nothing of its space; name .*reference="):
        merge(mixed, tmp_path / "o.trx")
    assert not (tmp_path / "o.trx").exists()
    merge([mixed[0], mixed[2]], tmp_path / "o.trx", max_outside=1)
    assert trxlib.describe(tmp_path / "o.trx")["nb_streamlines"] == 8


def test_a_tck_that_counts_wrongly_is_counted(tmp_path: Path, mixed: list[Path]) -> None:
    data = made.tck_bytes(made.some_streamlines(), count=7)
    path = made.write(tmp_path / "wrong.tck", data)
    with pytest.warns(HeaderWarning, match="count"):
        plan = merge([mixed[2], path], tmp_path / "o.trx", reference=mixed[2], max_outside=1)
    assert plan.header.nb_streamlines == 8


def test_a_reference_is_never_replaced(tmp_path: Path, mixed: list[Path]) -> None:
    with pytest.raises(InputError, match="would replace the input"):
        merge([mixed[1]], mixed[2], reference=mixed[2])


def test_a_merge_of_trx_files_imports_no_reader(tmp_path: Path, mixed: list[Path]) -> None:
    code = (
        "import sys, trxlib; trxlib.merge(sys.argv[1:3], sys.argv[3], max_outside=1); "
        "print([name for name in sys.modules if name.startswith(('trxlib.formats.trk.reader', 'trxlib.formats.open'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, mixed[2], mixed[2], tmp_path / "o.trx"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_names_that_look_the_same_are_told(tmp_path):
    one, two = "Arcu\u00e9", "Arcue\u0301"
    paths = []
    for name in (one, two):
        arrays = make_trx_arrays(lengths=[2], groups={name: [0]}, dpg={})
        paths.append(write_plain_zip(arrays, tmp_path / f"{len(paths)}.trx"))
    with pytest.warns(HeaderWarning, match=r"NFC and NFD.*'groups/Arcue\\u0301' and 'groups/Arcu\\xe9'"):
        merge(paths, tmp_path / "out.trx", max_outside=1, warn_outside=1)
    assert set(read_plain(tmp_path / "out.trx").groups) == {one, two}
    merge(paths[:1] * 2, tmp_path / "same.trx", max_outside=1, warn_outside=1)
    assert set(read_plain(tmp_path / "same.trx").groups) == {one}


def test_values_beside_an_input_come_along_or_are_told_once(tmp_path):
    arrays = make_trx_arrays(lengths=[2, 3], dps={}, dpv={}, groups={}, dpg={})
    arrays.dps["weight"] = np.ones((2, 1), "f4")
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    limits = {"max_outside": 1, "warn_outside": 1}
    export(path, tmp_path / "b.tck", **limits)
    inputs, reference = [path, tmp_path / "b.tck"], str(path)
    merge(inputs, tmp_path / "auto.trx", reference=reference, companions="auto", **limits)
    assert read_plain(tmp_path / "auto.trx").dps["weight"].ravel().tolist() == [1, 1, 1, 1]
    with pytest.warns(DataLossWarning) as told:
        merge(inputs, tmp_path / "named.trx", reference=reference, missing="drop", **limits)
    assert sum("b_weight.txt" in str(item.message) for item in told) == 1
    done = run("merge", *inputs, tmp_path / "cli.trx", "--reference", path, "--max-outside", "1", "--warn-outside", "1")
    assert (done.exit_code, done.output.count("found beside it and attached")) == (0, 1)
    assert (tmp_path / "cli.trx").read_bytes() == (tmp_path / "auto.trx").read_bytes()
