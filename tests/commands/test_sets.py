"""Set operations over files: which streamlines, with which values and groups, of which formats."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import trxlib
from tests.cli.test_cli import run
from tests.formats.made import tck_bytes
from tests.helpers import make_trx_arrays, read_plain, write_plain_zip
from trxlib.errors import DataLossWarning, InputError, MetadataMismatchError, SpaceMismatchError
from trxlib.model.arrays import TrxArrays

AFFINE = np.diag([2.0, 2, 2, 1])
LINES = [np.random.default_rng(n).random((n + 2, 3)).astype("f4") * 50 for n in range(8)]


def write(path: Path, numbers: list[int], groups: dict[str, list[int]] | None = None, **changes) -> Path:
    """Write some of `LINES`, turned round where the number is negative, with the number as their weight."""
    lines = [LINES[number] if number >= 0 else LINES[-number][::-1] for number in numbers]
    empty = make_trx_arrays(
        lengths=[len(line) for line in lines], dps={}, dpv={}, groups={}, sidecars={}, affine=AFFINE,
        dimensions=(60, 60, 60),
    )  # fmt: skip
    arrays = replace(
        empty,
        positions=np.concatenate([np.zeros((0, 3), "f4"), *lines]),
        dps={"number": np.array(numbers, "f4").reshape(-1, 1)},
        groups={name: np.array(members, "<u4") for name, members in (groups or {}).items()},
    )
    return write_plain_zip(replace(arrays, **changes), path)


def numbers_of(path: Path) -> list[int]:
    return read_plain(path).dps["number"].ravel().astype(int).tolist()


def groups_of(arrays: TrxArrays) -> dict[str, list[int]]:
    return {name: sorted(members.tolist()) for name, members in arrays.groups.items()}


def test_a_union_has_each_streamline_once_in_every_group_that_it_was_in(tmp_path):
    one = write(tmp_path / "one.trx", [0, 1, 2, 1], {"AF": [0, 1], "CST": [3]})
    two = write(tmp_path / "two.trx", [-2, 3, -1], {"CST": [0, 1], "UF": [2]})
    result = trxlib.union([one, two], tmp_path / "out.trx")
    assert result == (tmp_path / "out.trx", (4, 3), (3, 1))
    found = read_plain(tmp_path / "out.trx")
    assert numbers_of(tmp_path / "out.trx") == [0, 1, 2, 3]
    assert groups_of(found) == {"AF": [0, 1], "CST": [1, 2, 3], "UF": [1]}
    np.testing.assert_array_equal(found.positions, np.concatenate(LINES[:4]))


def test_data_of_a_group_go_with_it_to_the_streamline_that_is_kept(tmp_path):
    one = write(tmp_path / "one.trx", [0, 1])
    two = write(tmp_path / "two.trx", [1], {"UF": [0]}, dpg={"UF": {"color": np.array([[1, 2, 3]], "u1")}})
    trxlib.union([one, two], tmp_path / "out.trx")
    found = read_plain(tmp_path / "out.trx")
    assert groups_of(found) == {"UF": [1]}
    assert found.dpg["UF"]["color"].tolist() == [[1, 2, 3]]
    trxlib.union([one, two], tmp_path / "bare.trx", keep_groups=False)
    assert read_plain(tmp_path / "bare.trx").groups == {}


def test_intersection_and_difference_come_from_the_first(tmp_path):
    one = write(tmp_path / "one.trx", [0, 1, 2, 1, 4], {"AF": [0, 1, 3, 4]})
    two = write(tmp_path / "two.trx", [-1, 2, 3])
    three = write(tmp_path / "three.trx", [1, 5])
    assert trxlib.intersection([one, two], tmp_path / "a.trx").nb_kept == (3, 0)
    assert numbers_of(tmp_path / "a.trx") == [1, 2, 1]
    assert groups_of(read_plain(tmp_path / "a.trx")) == {"AF": [0, 2]}
    trxlib.intersection([one, two, three], tmp_path / "b.trx")
    assert numbers_of(tmp_path / "b.trx") == [1, 1]
    trxlib.difference([one, two, three], tmp_path / "c.trx")
    assert numbers_of(tmp_path / "c.trx") == [0, 4]
    assert groups_of(read_plain(tmp_path / "c.trx")) == {"AF": [0, 1]}
    trxlib.difference([one, one], tmp_path / "d.trx")
    assert numbers_of(tmp_path / "d.trx") == []


def test_repeats_of_one_file_are_left_out(tmp_path):
    one = write(tmp_path / "one.trx", [0, 1, -1, 0, 5])
    assert trxlib.drop_duplicates(one, tmp_path / "out.trx").nb_kept == (3,)
    assert numbers_of(tmp_path / "out.trx") == [0, 1, 5]
    moved = read_plain(one).positions.copy()
    moved[0] += np.float32(0.01)
    far = write_plain_zip(replace(read_plain(one), positions=moved), tmp_path / "far.trx")
    assert trxlib.drop_duplicates(far, tmp_path / "far_out.trx").nb_kept == (4,)
    assert trxlib.drop_duplicates(far, tmp_path / "near.trx", precision=0.02).nb_kept == (3,)


def test_formats_may_be_mixed_and_inputs_stay(tmp_path):
    one = write(tmp_path / "one.trx", [0, 1, 2])
    (tmp_path / "two.tck").write_bytes(tck_bytes([LINES[1], LINES[6][::-1]]))
    trxlib.convert(write(tmp_path / "three.trx", [2, 6]), tmp_path / "three.trk")
    nib.save(nib.Nifti1Image(np.zeros((60, 60, 60), "u1"), AFFINE), tmp_path / "b0.nii")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    inputs = [one, tmp_path / "two.tck", tmp_path / "three.trk"]
    with pytest.warns(DataLossWarning, match="number") as told:
        result = trxlib.union(inputs, tmp_path / "out.trx", reference=tmp_path / "b0.nii", missing="drop")
    assert len(told) == 1
    assert result.nb_kept == (3, 1, 0)
    assert trxlib.intersection(inputs[::2], tmp_path / "both.trx").nb_kept == (1, 0)
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in tmp_path.iterdir()} - {path.name for path in before} == {"out.trx", "both.trx"}


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    one = write(tmp_path / "one.trx", [0, 1])
    other = write(tmp_path / "other.trx", [0], header=replace(read_plain(one).header, voxel_to_rasmm=np.eye(4)))
    bare = write(tmp_path / "bare.trx", [3], dps={})
    with pytest.raises(SpaceMismatchError):
        trxlib.difference([one, write_counts(other, 1)], tmp_path / "out.trx")
    with pytest.raises(MetadataMismatchError, match="number"):
        trxlib.union([one, bare], tmp_path / "out.trx")
    with pytest.raises(InputError, match="would replace the input"):
        trxlib.union([one, bare], one, missing="drop")
    with pytest.raises(InputError, match="expected 2 or more"):
        trxlib.intersection([one], tmp_path / "out.trx")
    with pytest.raises(InputError, match="in brackets"):
        trxlib.union(one, tmp_path / "out.trx")
    with pytest.raises(InputError, match="precision is -1"):
        trxlib.union([one], tmp_path / "out.trx", precision=-1)
    (tmp_path / "two.tck").write_bytes(tck_bytes([LINES[1]]))
    with pytest.raises(InputError, match=r"two\.tck.*reference"):
        trxlib.union([one, tmp_path / "two.tck"], tmp_path / "out.trx")
    assert not (tmp_path / "out.trx").exists()


def write_counts(path: Path, nb_streamlines: int) -> Path:
    """Write a file anew with the counts that it has."""
    arrays = read_plain(path)
    header = arrays.header.with_counts(nb_streamlines, len(arrays.positions))
    return write_plain_zip(replace(arrays, header=header), path)


def test_empty_tractograms_are_sets_too(tmp_path):
    one, none = write(tmp_path / "one.trx", [0, 1]), write(tmp_path / "none.trx", [])
    assert trxlib.union([none, one], tmp_path / "a.trx").nb_kept == (0, 2)
    assert trxlib.intersection([one, none], tmp_path / "b.trx").nb_kept == (0, 0)
    assert trxlib.difference([one, none], tmp_path / "c.trx").nb_kept == (2, 0)
    assert numbers_of(tmp_path / "c.trx") == [0, 1]


def test_the_command_says_what_it_kept(tmp_path):
    one, two = write(tmp_path / "one.trx", [0, 1, 2]), write(tmp_path / "two.trx", [2])
    done = run("sets", "difference", one, two, tmp_path / "out.trx")
    assert done.exit_code == 0
    assert "one.trx: 2 of 3 streamlines" in done.output
    assert run("sets", "difference", one, two, tmp_path / "out.trx").exit_code == 1  # it exists
    assert run("sets", "difference", one, two, tmp_path / "out.trx", "--force").exit_code == 0
    assert run("sets", "union", one, tmp_path / "u.trx", "--precision", "0").exit_code == 0
    for args in (("difference", one), ("union",), ("sum", one, two), ("union", one, "--precision", "-1")):
        assert run("sets", *args, *([tmp_path / "x.trx"] if args[1:] else [])).exit_code == 2, args
    assert run("sets", "union", one, tmp_path / "out.trk").exit_code == 1
    assert not (tmp_path / "out.trk").exists()


def test_nothing_is_warned_of_where_nothing_is_lost(tmp_path):
    one = write(tmp_path / "one.trx", [0, 1], {"AF": [1]})
    bare = write(tmp_path / "bare.trx", [1], dps={})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trxlib.intersection([one, bare], tmp_path / "a.trx")
    assert groups_of(read_plain(tmp_path / "a.trx")) == {"AF": [0]}
