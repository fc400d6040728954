"""Any damage to any file is one error of ours, or unseen: never another exception, never a NaN without a word."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from spaces.transform_files import (
    OBLIQUE,
    bend,
    deformation,
    itk_affine,
    itk_field,
    itk_matlab,
    itk_text,
    lta_text,
    make_points,
    make_rigid,
    mif_bytes,
    write_itk_hdf5,
    write_itk_warp,
    write_mrtrix,
    write_mrtrix_warp,
)

from trxlib.errors import HeaderError, TrxError, TrxWarning
from trxlib.spaces.transforms import read_transforms

SHAPE = (9, 8, 7)
NAMES = ["a.h5", "a.lta", "a.mat", "a.mif", "a.mif.gz", "itk.nii", "itk.nii.gz", "mrtrix.nii", "a.tfm", "a.txt"]


def write_good(path: Path) -> bytes:
    """A good file of the kind that the name says."""
    rigid, grid = make_rigid(), (OBLIQUE, SHAPE)
    if path.name.startswith("itk"):
        write_itk_warp(path, bend, *grid)
    elif path.name == "mrtrix.nii":
        write_mrtrix_warp(path, bend, *grid)
    elif ".mif" in path.name:
        data = mif_bytes(deformation(bend, *grid), OBLIQUE)
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    elif path.suffix == ".h5":
        composite = ("CompositeTransform_double_3_3", None, None)
        write_itk_hdf5(path, composite, itk_affine(rigid), itk_field(bend, OBLIQUE, (4, 4, 4)))
    elif path.suffix == ".mat":
        path.write_bytes(itk_matlab(itk_affine(rigid)))
    elif path.suffix == ".tfm":
        path.write_text(itk_text(itk_affine(rigid)))
    elif path.suffix == ".lta":
        path.write_text(lta_text(rigid, 0, grid, grid))
    else:
        write_mrtrix(path, rigid)
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_changed_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    good = write_good(path)
    assert read_transforms(path).steps
    rng = np.random.default_rng(len(good))
    points = make_points(20, reach=5)
    for _ in range(60):
        data = bytearray(good)
        for place in rng.integers(0, min(len(data), 1200), 2):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data[: len(data) if rng.random() < 0.9 else rng.integers(0, len(data))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrxWarning)
            try:
                moved, outside = read_transforms(path).apply(points)
            except TrxError as error:
                assert str(path) in str(error)  # noqa: PT017
            else:
                lost = np.isnan(moved).any(axis=1)
                assert not lost.any() if outside is None else np.array_equal(lost, outside)


@pytest.mark.parametrize("name", ["TransformType", "TranformParameters"])
def test_hdf5_of_another_type_is_not_read_at_all(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    write_good(path)
    with h5py.File(path, "r+") as file:
        group = file["TransformGroup/1"]
        del group[name]
        group.create_dataset(name, (1,), dtype=h5py.vlen_dtype(np.int32))
    with pytest.raises(HeaderError, match=rf"a\.h5 cannot be read as HDF5: {name} holds object"):
        read_transforms(path)
