"""Every real file of the small cohort: the same numbers as nibabel and MRtrix read, there and back."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.formats.made import open_source, read_all
from trxlib.formats.tck.writer import write_tck
from trxlib.formats.trk.writer import write_trk
from trxlib.model.source import Source


def open_real(path: Path, cohort: Path, **options: Any) -> Source:
    reference = cohort / "desc-b0_dwiref.nii.gz" if path.suffix == ".tck" else None
    return open_source(path, reference=reference, companions="none", **options)


@pytest.fixture(scope="module")
def truth(cohort_folder: Path) -> dict[str, Any]:
    return json.loads((cohort_folder / "truth.json").read_text())


def test_every_file_holds_what_other_programs_read(cohort_folder: Path, truth: dict[str, Any]) -> None:
    files = sorted(path for path in cohort_folder.rglob("*.t?k") if path.suffix in (".trk", ".tck"))
    assert len(files) > 20
    for path in files:
        source = open_real(path, cohort_folder)
        found = read_all(source)
        known = truth[path.relative_to(cohort_folder).as_posix()]
        assert source.info.nb_streamlines == known["n_streamlines"], path
        assert source.info.nb_vertices == known["n_points"], path
        assert hashlib.sha256(found["lengths"].astype("<i8").tobytes()).hexdigest() == known["lengths_sha256_int64le"]
        for section in ("dps", "dpv"):
            assert set(getattr(source.info, section)) == set(known.get(section) or ()), path
            for key, values in found[section].items():
                assert hashlib.sha256(values.tobytes()).hexdigest() == known[section][key]["sha256"], (path, key)
        expected = nib.streamlines.load(path).streamlines.get_data() if known["n_points"] else np.zeros((0, 3))
        tolerance = 5e-5 if path.suffix == ".trk" else 0
        np.testing.assert_allclose(found["positions"], expected, rtol=0, atol=tolerance, err_msg=str(path))


def test_every_file_comes_back(cohort_folder: Path, tmp_path: Path) -> None:
    for path in sorted(cohort_folder.rglob("*.t?k")):
        source = open_real(path, cohort_folder)
        if path.suffix == ".trk":
            write_trk(tmp_path / "again.trk", source.info, source.chunks())
            assert (tmp_path / "again.trk").read_bytes() == path.read_bytes(), path
        elif path.suffix == ".tck":
            write_tck(tmp_path / "again.tck", source.info, source.chunks())
            again = open_real(tmp_path / "again.tck", cohort_folder)
            # The time stamp is made of what is written.
            stamp = again.info.facts["timestamp"]
            assert again.info.facts == {**source.info.facts, "timestamp": stamp}
            size = source.info.nb_vertices * 12 + source.info.nb_streamlines * 12 + 12
            assert (tmp_path / "again.tck").read_bytes()[-size:] == path.read_bytes()[-size:], path


def test_values_beside_mrtrix_tracks(cohort_folder: Path, tmp_path: Path) -> None:
    tck = next(cohort_folder.glob("sub-04/dwi/*_tractogram.tck"))
    weights, scalars = tck.with_name(tck.stem + "_meanFA.txt"), tck.with_name(tck.stem + "_FA.tsf")
    source = open_real(tck, cohort_folder, dps={"mean_fa": weights}, dpv={"fa": scalars})
    found = read_all(source)
    fa = found["dpv"]["fa"][:, 0]
    ends = np.cumsum(found["lengths"])
    means = [fa[end - length : end].mean() for length, end in zip(found["lengths"], ends, strict=True)]
    # MRtrix weighs by length within voxels, so that only a row in the wrong place would stand out.
    np.testing.assert_allclose(found["dps"]["mean_fa"][:, 0], means, atol=0.03)
    assert np.corrcoef(found["dps"]["mean_fa"][:, 0], means)[0, 1] > 0.998


@pytest.mark.skipif(shutil.which("tckinfo") is None, reason="needs MRtrix3's tckinfo")
def test_tckinfo_agrees_on_the_counts(cohort_folder: Path) -> None:
    for path in sorted(cohort_folder.glob("sub-06/dwi/bundles/*.tck")):
        text = subprocess.run(["tckinfo", "-quiet", "-count", path], check=True, capture_output=True, text=True).stdout
        counted = int(text.split("actual count in file:")[1])
        assert open_real(path, cohort_folder, trust_count=False).info.nb_streamlines == counted
