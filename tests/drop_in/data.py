"""Data that trx-python's and dipy's own tests read, in the shape of what they would download, made without trxlib.

Coordinates are multiples of a quarter in voxels of 1 mm or 2 mm, so that every road between the spaces is exact.
"""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from dipy.io.stateful_tractogram import Space, StatefulTractogram
from dipy.io.streamline import save_tractogram

SHAPE = (24, 20, 16)
#: Voxels of 2 mm, the first axis to the left: the spaces differ in every axis.
AFFINE = np.array([[-2.0, 0, 0, 20], [0, 2.0, 0, -12], [0, 0, 2.0, -8], [0, 0, 0, 1]])


def make_streamlines(affine: np.ndarray, count: int = 12, seed: int = 0) -> list[np.ndarray]:
    """Streamlines of 3 to 9 vertices inside the image, in RASMM, float32."""
    rng = np.random.default_rng(seed)
    lines = []
    for length in rng.integers(3, 10, count):
        start = rng.integers(8, 20, 3) / 2
        voxels = start + np.arange(length)[:, None] * rng.integers(1, 3, 3) / 4
        lines.append((voxels @ affine[:3, :3].T + affine[:3, 3]).astype(np.float32))
    return lines


def write_folder(folder: Path, arrays: Mapping[str, np.ndarray], affine: np.ndarray, counts: tuple[int, int]) -> None:
    """A TRX folder of arrays by their entry names; counts of streamlines and vertices."""
    for name, array in arrays.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        array.tofile(path)
    header = {
        "DIMENSIONS": list(SHAPE),
        "VOXEL_TO_RASMM": affine.tolist(),
        "NB_STREAMLINES": counts[0],
        "NB_VERTICES": counts[1],
    }
    (folder / "header.json").write_text(json.dumps(header))


def zip_folder(folder: Path, archive: Path, compression: int) -> None:
    """The files of a folder as an archive."""
    with zipfile.ZipFile(archive, "w", compression) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder).as_posix())


def arrays_of(lines: list[np.ndarray]) -> dict[str, np.ndarray]:
    """positions and offsets."""
    ends = np.cumsum([len(line) for line in lines])
    return {
        "positions.3.float32": np.concatenate(lines).astype("<f4"),
        "offsets.uint32": np.concatenate(([0], ends)).astype("<u4"),
    }


def write_image(path: Path, affine: np.ndarray) -> None:
    """An image that is a reference."""
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), affine), path)


def write_gold_standard(folder: Path) -> None:
    """What both packages call their gold standard: one tractogram in each format and each space."""
    folder.mkdir(parents=True)
    lines = make_streamlines(AFFINE, count=13)  # so many as dipy has
    arrays = arrays_of(lines)
    points = arrays["positions.3.float32"]
    counts = (len(lines), len(points))
    rng = np.random.default_rng(1)
    colors = {f"color_{axis}": rng.random(len(points)).astype("<f4") for axis in "xyz"}
    coordinates = rng.random((len(lines), 3)).astype("<f4")
    arrays |= {f"dpv/{key}.float32": values for key, values in colors.items()}
    arrays["dps/random_coord.3.float32"] = coordinates
    write_folder(folder / "gs_fldr.trx", arrays, AFFINE, counts)
    zip_folder(folder / "gs_fldr.trx", folder / "gs.trx", zipfile.ZIP_DEFLATED)
    write_image(folder / "gs.nii", AFFINE)
    voxels = np.linalg.solve(AFFINE, np.c_[points, np.ones(len(points))].T).T[:, :3]
    np.savetxt(folder / "gs_rasmm_space.txt", points)
    np.savetxt(folder / "gs_vox_space.txt", voxels)
    np.savetxt(folder / "gs_voxmm_space.txt", voxels * 2)
    cuts = arrays["offsets.uint32"][1:-1]
    per_point = {key: np.split(values[:, None], cuts) for key, values in colors.items()}
    (folder / "points_data.json").write_text(
        json.dumps({key: [rows.tolist() for rows in values] for key, values in per_point.items()})
    )
    (folder / "streamlines_data.json").write_text(json.dumps({"random_coord": coordinates.tolist()}))
    sft = StatefulTractogram(
        lines,
        str(folder / "gs.nii"),
        Space.RASMM,
        data_per_point=per_point,
        data_per_streamline={"random_coord": coordinates},
    )
    by_fury = ("vtk", "fib") if find_spec("fury") else ()
    for suffix in ("trk", "tck", "dpy", *by_fury):
        space = Space.LPSMM if suffix in ("vtk", "fib") else Space.RASMM
        save_tractogram(sft, str(folder / f"gs.{suffix}"), to_space=space, bbox_valid_check=False)


def write_small(folder: Path) -> None:
    """A stored archive, a compressed one and a folder with every kind of array."""
    lines = make_streamlines(AFFINE, count=50, seed=2)
    arrays: dict[str, Any] = arrays_of(lines)
    counts = (len(lines), len(arrays["positions.3.float32"]))
    arrays["dps/weight.float32"] = np.arange(50, dtype="<f4")
    arrays["dpv/fa.float16"] = np.linspace(0, 1, counts[1]).astype("<f2")
    arrays["groups/AF_L.uint32"] = np.arange(0, 50, 3, dtype="<u4")
    arrays["groups/CST_R.uint32"] = np.arange(40, 20, -1, dtype="<u4")
    arrays["dpg/AF_L/volume.float32"] = np.float32([7])
    write_folder(folder / "small_fldr.trx", arrays, AFFINE, counts)
    zip_folder(folder / "small_fldr.trx", folder / "small.trx", zipfile.ZIP_STORED)
    zip_folder(folder / "small_fldr.trx", folder / "small_compressed.trx", zipfile.ZIP_DEFLATED)


def write_from_scratch(folder: Path) -> None:
    """Arrays as .npy files, and the archive that is to be made of them."""
    lines = make_streamlines(AFFINE, count=10, seed=3)
    large = arrays_of(lines)
    points, offsets = large["positions.3.float32"], large["offsets.uint32"].astype("<u8")
    columns = {f"dpv_c{axis}": np.arange(len(points)).astype("u1") for axis in "xyz"}
    rows = {"dps_algo": np.arange(10, dtype="u1"), "dps_cw": np.linspace(0, 1, 10)}
    groups = {"g_AF_L": [0, 1, 2], "g_AF_R": [3, 4], "g_CST_L": [5, 9]}
    described = {"g_AF_L": {"mean_fa": 0.5, "volume": 30.0}, "g_AF_R": {"mean_fa": 0.25}}
    raw = folder / "test_npy"
    raw.mkdir(parents=True)
    arrays = {"positions.3.float16": points.astype("<f2"), "offsets.uint64": offsets}
    for key, values in columns.items():
        np.save(raw / f"{key}.npy", values)
        arrays[f"dpv/{key}.uint8"] = values
    for key, values in rows.items():
        np.save(raw / f"{key}.npy", values)
        arrays[f"dps/{key}.{values.dtype.name}"] = values
    for name, members in groups.items():
        np.save(raw / f"{name}.npy", np.array(members))
        arrays[f"groups/{name}.int32"] = np.array(members, "<i4")
    for name, values in described.items():
        for key, value in values.items():
            np.save(raw / f"dpg_{name[2:]}_{key}.npy", np.array([[value]]))
            arrays[f"dpg/{name}/dpg_{name[2:]}_{key}.float32"] = np.float32([value])
    np.save(raw / "positions.npy", points)
    np.save(raw / "offsets.npy", offsets)
    write_image(folder / "fa.nii.gz", AFFINE)
    write_folder(folder / "expected", arrays, AFFINE, (10, len(points)))
    zip_folder(folder / "expected", folder / "expected.trx", zipfile.ZIP_STORED)


def write_dsi(folder: Path) -> None:
    """A tractogram as DSI Studio writes it, and the same mended, by trx-python's own function."""
    from trx.workflows import convert_dsi_studio

    folder.mkdir(parents=True)
    affine = np.eye(4)
    write_image(folder / "CC.nii.gz", affine)
    # So many that no line break is among the last 8192 bytes: trx-python reads the unpacked file before it is flushed.
    lines = make_streamlines(affine, count=500, seed=4)
    sft = StatefulTractogram(lines, str(folder / "CC.nii.gz"), Space.RASMM)
    save_tractogram(sft, str(folder / "CC.trk"), bbox_valid_check=False)
    with (folder / "CC.trk").open("rb") as plain, gzip.open(folder / "CC.trk.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    fixed = str(folder / "CC_fix.trk")
    convert_dsi_studio(
        str(folder / "CC.trk"), str(folder / "CC.nii.gz"), fixed, remove_invalid=False, keep_invalid=True
    )
    streamlines = nib.streamlines.load(fixed).streamlines
    np.save(folder / "CC_fix_data.npy", streamlines._data)
    np.save(folder / "CC_fix_offsets.npy", streamlines._offsets)


def write_all(home: Path) -> None:
    """All folders that trx-python's tests read."""
    write_gold_standard(home / "gold_standard")
    write_small(home / "memmap_test_data")
    write_from_scratch(home / "trx_from_scratch")
    write_dsi(home / "DSI")


def dipys_names(home: Path) -> tuple[dict[str, Path], dict[str, Any], dict[str, Any]]:
    """What dipy's `get_fnames("gold_standard_io")` returns, of the gold standard made here."""
    folder = home / "gold_standard"
    if not (folder / "gs_volume_3mm.nii").exists():
        affine = AFFINE.copy()
        affine[:3, :3] *= 1.5
        write_image(folder / "gs_volume_3mm.nii", affine)
    names = {f"gs_streamlines.{path.suffix[1:]}": path for path in folder.glob("gs.*") if path.suffix != ".nii"}
    names |= {f"gs_streamlines_{path.name[3:]}": path for path in folder.glob("gs_*_space.txt")}
    names |= {"gs_volume.nii": folder / "gs.nii", "gs_volume_3mm.nii": folder / "gs_volume_3mm.nii"}
    points, streamlines = (json.loads((folder / f"{what}_data.json").read_text()) for what in ("points", "streamlines"))
    return names, points, streamlines
