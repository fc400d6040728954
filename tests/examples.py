"""The small files that the examples in docstrings read, and a folder with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.formats.made import tck_bytes, trk_bytes
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.model.arrays import TrxArrays

__all__ = ["write_example_files"]

#: Voxels of 2 mm, whose axes lead to the right, to the front and up.
_AFFINE = np.array([[2.0, 0, 0, -80], [0, 2, 0, -96], [0, 0, 2, -60], [0, 0, 0, 1]])
_DIMENSIONS = (80, 96, 64)
_LENGTHS = (3, 2, 4, 1)


def write_example_files(folder: Path) -> None:
    """Write ``b0.nii.gz``, ``sub-01.trk``, ``sub-01.tck``, ``sub-01.trx``, ``sub-02.trx`` and ``cohort.trx``.

    One subject has 4 streamlines with 10 vertices, dps ``weight`` and dpv ``fa``; ``cohort.trx`` is both subjects, one
    behind the other, with groups ``AF_L`` (streamlines 0, 1, 4) and ``CST_R`` (2, 3, 6, 7); all are of one space.
    """
    nib.save(nib.Nifti1Image(np.zeros(_DIMENSIONS, np.uint8), _AFFINE), folder / "b0.nii.gz")
    first, both = _make_arrays(1), _make_arrays(2)
    second = replace(
        first, positions=both.positions[10:], dps={"weight": both.dps["weight"][4:]}, dpv={"fa": both.dpv["fa"][10:]}
    )
    both.groups.update({"AF_L": np.array([0, 1, 4], "<u4"), "CST_R": np.array([2, 3, 6, 7], "<u4")})
    for name, arrays in (("sub-01", first), ("sub-02", second), ("cohort", both)):
        write_plain_zip(arrays, folder / f"{name}.trx")
    streamlines = np.split(first.positions, first.offsets[1:-1])
    (folder / "sub-01.tck").write_bytes(tck_bytes(streamlines))
    # TRK counts mm from the corner of the first voxel.
    trk = trk_bytes(
        [points - _AFFINE[:3, 3] + 1 for points in streamlines],
        scalars=first.dpv["fa"], properties=first.dps["weight"], scalar_names=(b"fa",), property_names=(b"weight",),
        affine=_AFFINE, sizes=(2, 2, 2), dim=_DIMENSIONS,
    )  # fmt: skip
    (folder / "sub-01.trk").write_bytes(trk)


def _make_arrays(nb_subjects: int) -> TrxArrays:
    """Return straight streamlines along x, 1 mm from vertex to vertex, with values that are easy to read."""
    lengths = _LENGTHS * nb_subjects
    empty = make_trx_arrays(
        lengths=lengths, dps={}, dpv={}, groups={}, sidecars={}, affine=_AFFINE, dimensions=_DIMENSIONS
    )
    header = replace(empty.header, extra={})
    steps = np.concatenate([np.arange(length) for length in lengths])
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return replace(
        empty,
        header=header,
        positions=np.stack([steps, rows, np.zeros(len(rows))], axis=1).astype("<f4"),
        dps={"weight": (np.arange(len(lengths), dtype="<f4") / 2 + 0.5).reshape(-1, 1)},
        dpv={"fa": (np.arange(len(rows), dtype="<f4") / 4).reshape(-1, 1)},
    )
