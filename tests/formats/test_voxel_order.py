"""Voxel orders: a labelled volume says where a voxel of a TRK file lies in world space."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.formats.made import GRID, ORDERS, SIZES, read_all, trk_bytes, write
from trxlib.errors import HeaderError
from trxlib.formats.trk.reader import TrkSource
from trxlib.formats.trk.voxel_order import check_voxel_order, reorder_matrix
from trxlib.model.voxel_order import voxel_order_of

#: Of the image on disk, whose axes run R, A, S (nearly): rotated a little, so that no axis is exact.
OBLIQUE = nib.eulerangles.euler2mat(0.1, -0.2, 0.15) @ np.diag(SIZES)


def image_affine(order: str, linear: np.ndarray = OBLIQUE) -> np.ndarray:
    """An affine whose voxel order is `order`; its axes have the sizes that stand in SIZES for x, y and z."""
    affine = np.eye(4)
    affine[:3, 3] = (-7.5, 11.25, 3.0)
    for axis, letter in enumerate(order):
        world = ["LR", "PA", "IS"].index(next(pair for pair in ("LR", "PA", "IS") if letter in pair))
        affine[:3, axis] = linear[:, world] * (1 if letter in "RAS" else -1)
    return affine.astype(np.float32).astype(np.float64)


def voxmm_of_all_voxels(volume: np.ndarray, file_order: str, image_order: str) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Turn the labelled volume into the file's order, as an array; return centres in voxmm, labels, and the sizes."""
    ornt = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(image_order), nib.orientations.axcodes2ornt(file_order)
    )
    turned = nib.orientations.apply_orientation(volume, ornt)
    sizes = np.array(SIZES)[[["LR", "PA", "IS"].index(p) for c in file_order for p in ("LR", "PA", "IS") if c in p]]
    voxels = np.array(list(np.ndindex(turned.shape)))
    return (voxels + 0.5) * sizes, turned.reshape(-1), (turned.shape, tuple(sizes))


@pytest.mark.parametrize("file_order", ORDERS)
@pytest.mark.parametrize("image_order", ["RAS", "LPS", "SLA"])
def test_every_voxel_keeps_its_label(tmp_path: Path, file_order: str, image_order: str) -> None:
    """`voxel_order` says how the volume that the coordinates belong to is stored, `vox_to_ras` belongs to the image."""
    affine = image_affine(image_order)
    shape = tuple(GRID[["LR", "PA", "IS"].index(pair)] for c in image_order for pair in ("LR", "PA", "IS") if c in pair)
    volume = np.arange(np.prod(shape)).reshape(shape)
    points, labels, (dim, sizes) = voxmm_of_all_voxels(volume, file_order, image_order)
    data = trk_bytes([points], affine=affine, order=file_order.encode(), dim=dim, sizes=sizes)
    source = TrkSource(write(tmp_path / "a.trk", data), positions_dtype="float64")
    voxels = read_all(source)["positions"] @ np.linalg.inv(affine)[:3, :3].T + np.linalg.inv(affine)[:3, 3]
    np.testing.assert_allclose(voxels, np.round(voxels), atol=1e-4)
    found = volume[tuple(np.round(voxels).astype(int).T)]
    np.testing.assert_array_equal(found, labels)
    assert source.info.space.dimensions == shape
    np.testing.assert_array_equal(source.info.space.voxel_to_rasmm, affine)


@pytest.mark.parametrize("order", ORDERS)
def test_files_in_the_order_of_their_affine_agree_with_nibabel(tmp_path: Path, order: str) -> None:
    affine = image_affine(order)
    assert voxel_order_of(affine) == "".join(nib.aff2axcodes(affine)) == order
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    points = np.random.default_rng(1).uniform(0, 20, (50, 3))
    path = write(tmp_path / "a.trk", trk_bytes([points], affine=affine, order=order.encode(), sizes=sizes))
    expected = nib.streamlines.load(path).streamlines[0]
    np.testing.assert_allclose(read_all(TrkSource(path))["positions"], expected, atol=3e-5)


@pytest.mark.parametrize("flips", list(itertools.product((0, 1), repeat=3)))
def test_flipped_files_agree_with_nibabel(tmp_path: Path, flips: tuple[int, ...]) -> None:
    order = "".join(pair[flip] for pair, flip in zip(("LR", "PA", "IS"), flips, strict=True))
    points = np.random.default_rng(1).uniform(0, 20, (50, 3))
    path = write(tmp_path / "a.trk", trk_bytes([points], affine=image_affine("RAS"), order=order.encode()))
    expected = nib.streamlines.load(path).streamlines[0]
    np.testing.assert_allclose(read_all(TrkSource(path))["positions"], expected, atol=3e-5)


def test_reordering_there_and_back_is_nothing() -> None:
    for source, target in itertools.product(ORDERS, repeat=2):
        there, grid = reorder_matrix(source, target, GRID)
        back, again = reorder_matrix(target, source, grid)
        np.testing.assert_array_equal(back @ there, np.eye(4))
        assert again == GRID


def test_random_affines_have_the_order_that_nibabel_gives_them() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        affine = np.eye(4)
        affine[:3, :3] = rng.standard_normal((3, 3))
        assert voxel_order_of(affine) == "".join(nib.aff2axcodes(affine))


def test_affines_near_a_voxel_order_have_that_which_nibabel_gives_them() -> None:
    """Where no rotation has to be found, the answer is that of the rotation."""
    rng = np.random.default_rng(4)
    for _ in range(300):
        affine = np.eye(4)
        turn = nib.eulerangles.euler2mat(*rng.uniform(-0.5, 0.5, 3)) + rng.uniform(-0.1, 0.1, (3, 3))
        affine[:3, :3] = turn[:, rng.permutation(3)] * rng.choice([-1, 1], 3) * rng.uniform(0.2, 4, 3)
        assert voxel_order_of(affine) == voxel_order_of(affine.tolist()) == "".join(nib.aff2axcodes(affine))


@pytest.mark.parametrize("text", ["", "LP", "LPSS", "LRS", "XYZ", "LP1"])
def test_orders_that_are_none(text: str) -> None:
    with pytest.raises(HeaderError, match="expected three letters"):
        check_voxel_order(text, "voxel_order")
    assert check_voxel_order("lPs", "voxel_order") == "LPS"
