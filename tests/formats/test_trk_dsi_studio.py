"""TRK files of DSI Studio: coordinates count from the centre of the first voxel, and headers may make up the place."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import trxlib
from tests.formats.made import open_source, read_all, trk_bytes, write
from trxlib.errors import HeaderWarning, InputError

GRID = (40, 50, 30)
SIZES = (1.0, 2.0, 1.5)
AFFINE = np.array([[-1, 0, 0, 17.5], [0, -2, 0, 42.25], [0, 0, 1.5, -9], [0, 0, 0, 1]])
#: Voxels to the left, back and top, an integer at a voxel's centre.
VOXELS = [np.array([[10, 20, 5], [11.5, 20, 6], [12, 21, 6.25]]), np.array([[0, 0, 0], [39, 49, 29]])]
COLOR = bytes(440) + bytes.fromhex("3ca0ff00")
TEXT = b"c9A99193Fb803F"


def dsi_bytes(affine: Any = AFFINE, reserved: bytes = COLOR, **fields: Any) -> bytes:
    """What DSI Studio writes: voxels times their size, and a header that is always of this kind."""
    header = {"order": b"LPS", "pad2": b"LPS", "iop": (1, 0, 0, 0, 1, 0), "sizes": SIZES, "dim": GRID, **fields}
    return trk_bytes([line * SIZES for line in VOXELS], affine=affine, reserved=reserved, **header)


def rasmm_of(affine: np.ndarray = AFFINE) -> np.ndarray:
    return np.concatenate(VOXELS) @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("reserved", [COLOR, TEXT, TEXT + COLOR[len(TEXT) :]])
@pytest.mark.parametrize("gz", [False, True])
def test_coordinates_count_from_the_centre_of_the_first_voxel(tmp_path: Path, reserved: bytes, gz: bool) -> None:
    path = write(tmp_path / "a.trk.gz", dsi_bytes(reserved=reserved), gz=gz)
    with pytest.warns(HeaderWarning, match="count from the centre of the first voxel") as caught:
        source = open_source(path, out_of_volume="fail")
    assert len(caught) == 1
    np.testing.assert_array_equal(read_all(source)["positions"], rasmm_of().astype(np.float32))
    np.testing.assert_array_equal(source.info.space.voxel_to_rasmm, AFFINE)
    assert source.info.facts["dsi_studio"] == (TEXT.decode() if reserved.startswith(TEXT) else "")
    with pytest.warns(HeaderWarning, match="count from the centre"):
        assert trxlib.describe(path)["nb_vertices"] == 5


@pytest.mark.parametrize(
    "fields", [{"reserved": b""}, {"iop": (0,) * 6}, {"pad2": b""}, {"pad2": b"RAS"}, {"order": b"RAS", "pad2": b"RAS"}]
)
def test_other_files_count_from_the_corner(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = write(tmp_path / "a.trk", dsi_bytes(**fields))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_all(open_source(path))["positions"]
    np.testing.assert_allclose(found, np.concatenate(list(nib.streamlines.load(path).streamlines)), atol=1e-4)
    assert np.abs(found - rasmm_of()).min() > 0.4


def test_a_vertex_beyond_the_last_voxel_is_seen(tmp_path: Path) -> None:
    # 39.5 is the edge, which a count from the corner would put half a voxel inside.
    lines = [np.array([[39.75, 5, 5]]) * SIZES]
    fields = {"order": b"LPS", "pad2": b"LPS", "iop": (1, 0, 0, 0, 1, 0), "sizes": SIZES, "dim": GRID}
    path = write(tmp_path / "a.trk", trk_bytes(lines, affine=AFFINE, reserved=COLOR, **fields))
    with pytest.warns(HeaderWarning):
        source = open_source(path)
    read_all(source)
    assert source.record()["share_outside"] == 1


def made_up(kind: str) -> np.ndarray:
    """The affines that DSI Studio wrote before 2021, in 2021 (voxels for mm), and then, spelled out."""
    affine = np.diag([-1, -2, 1.5, 1])
    affine[:2, 3] = {"2015": (0, 0), "2021": (39, 49), "2022": (39, 98)}[kind]
    return affine


@pytest.mark.parametrize("order", ["LPS", "RAS", "PIR"])
@pytest.mark.parametrize("kind", ["2015", "2021", "2022", "none"])
def test_the_image_says_where_the_grid_is_if_the_header_makes_it_up(tmp_path: Path, kind: str, order: str) -> None:
    image = nib.Nifti1Image(np.zeros(GRID, np.float32), AFFINE)
    axes = [nib.orientations.axcodes2ornt(tuple(name)) for name in ("LPS", order)]
    nib.save(image.as_reoriented(nib.orientations.ornt_transform(*axes)), tmp_path / "fa.nii.gz")
    path = write(tmp_path / "a.trk.gz", dsi_bytes(np.zeros((4, 4)) if kind == "none" else made_up(kind)), gz=True)
    with pytest.warns(HeaderWarning, match="from the centre"), pytest.warns(HeaderWarning, match="of the reference is"):
        source = open_source(path, reference=tmp_path / "fa.nii.gz")
    np.testing.assert_allclose(read_all(source)["positions"], rasmm_of(), rtol=0, atol=1e-4)
    assert source.info.space.voxel_order == order
    assert source.info.own_space is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match="transform_source"):
            open_source(path, reference=tmp_path / "fa.nii.gz", transform=np.eye(4))


@pytest.mark.parametrize("kind", ["2015", "2021", "2022"])
def test_a_made_up_place_is_warned_of(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a.trk", dsi_bytes(made_up(kind)))
    with pytest.warns(HeaderWarning, match="from the centre"), pytest.warns(HeaderWarning, match="may be far from"):
        source = open_source(path)
    np.testing.assert_allclose(read_all(source)["positions"], rasmm_of(made_up(kind)), rtol=0, atol=1e-4)


def test_a_file_that_is_written_again_counts_from_the_corner(tmp_path: Path) -> None:
    path = write(tmp_path / "a.trk", dsi_bytes())
    with pytest.warns(HeaderWarning, match="count from the centre"):
        trxlib.convert(path, tmp_path / "a.trx")
    trxlib.export(tmp_path / "a.trx", tmp_path / "b.trk")
    with pytest.warns(HeaderWarning, match="count from the centre"):
        trxlib.export(path, tmp_path / "c.trk")
    for name in ("b.trk", "c.trk"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = read_all(open_source(tmp_path / name))["positions"]
        np.testing.assert_allclose(found, rasmm_of(), rtol=0, atol=1e-4)
        other = np.concatenate(list(nib.streamlines.load(tmp_path / name).streamlines))
        np.testing.assert_allclose(other, rasmm_of(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("affine", [np.diag([-1, -1, 1, 1]), AFFINE @ np.diag([1, 0.5, 1 / 1.5, 1])])
def test_the_converter_of_trx_python_agrees_at_1_mm(tmp_path: Path, affine: np.ndarray, monkeypatch: Any) -> None:
    """It takes an image in RAS order, and shifts by half a millimetre where half a voxel is meant."""
    workflows = pytest.importorskip("trx.workflows")
    monkeypatch.chdir(tmp_path)  # it unpacks into the current folder
    true = np.diag([1.0, 1, 1, 1])
    true[:3, 3] = [17.5 - 39, 42.25 - 49, -9]
    nib.save(nib.Nifti1Image(np.zeros(GRID, np.float32), true), tmp_path / "fa.nii.gz")
    fields = {"order": b"LPS", "pad2": b"LPS", "iop": (1, 0, 0, 0, 1, 0), "sizes": (1, 1, 1), "dim": GRID}
    path = write(tmp_path / "a.trk", trk_bytes(VOXELS[:1], affine=affine, reserved=COLOR, **fields))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        workflows.convert_dsi_studio(str(path), str(tmp_path / "fa.nii.gz"), str(tmp_path / "b.trk"))
        found = read_all(open_source(path, reference=tmp_path / "fa.nii.gz"))["positions"]
    theirs = np.concatenate(list(nib.streamlines.load(tmp_path / "b.trk").streamlines))
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-4)
