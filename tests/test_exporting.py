"""TRX to TRK and TCK: what comes back, what is read by other programs, what is warned of."""

from __future__ import annotations

import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest

from tests.helpers import SHARED, make_trx_arrays, read_plain, write_plain_zip
from trxlib import convert, export
from trxlib.errors import DataLossWarning, GroupNotFoundError, HeaderWarning, InputError

REAL = SHARED / "data" / "cohort_small"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real tractograms of ../shared/data")


@pytest.fixture
def trx(tmp_path):
    bundle = make_trx_arrays(lengths=[2, 3, 1, 4], dps={"w": (1, "<f4")}, dpv={"fa": (1, "<f4")})
    return bundle, write_plain_zip(bundle, tmp_path / "in.trx")


@pytest.mark.parametrize("suffix", [".trk", ".tck"])
def test_nibabel_reads_what_we_write(trx, tmp_path, suffix):
    bundle, path = trx
    with pytest.warns(DataLossWarning, match="has no groups; left out: CC, CST_L, none"):
        convert(path, tmp_path / f"out{suffix}")
    read = nib.streamlines.load(tmp_path / f"out{suffix}")
    assert [len(line) for line in read.streamlines] == [2, 3, 1, 4]
    np.testing.assert_allclose(read.streamlines.get_data(), bundle.positions, atol=5e-5)
    if suffix == ".trk":
        np.testing.assert_array_equal(read.tractogram.data_per_streamline["w"], bundle.dps["w"])
    else:
        np.testing.assert_allclose(np.loadtxt(tmp_path / "out_w.txt"), bundle.dps["w"][:, 0], rtol=1e-7)
        assert (tmp_path / "out_fa.tsf").is_file()


def test_one_group_is_exported(trx, tmp_path):
    bundle, path = trx
    info, fingerprint = export(path, tmp_path / "out.tck", group="CST_L")
    assert info.nb_streamlines == 2
    assert fingerprint.startswith("crc32:")
    lines = nib.streamlines.load(tmp_path / "out.tck").streamlines
    np.testing.assert_array_equal(lines[1], bundle.positions[5:6])
    with pytest.raises(GroupNotFoundError, match="no group 'nope'; it has CC, CST_L, none"):
        export(path, tmp_path / "no.tck", group="nope")
    assert not (tmp_path / "no.tck").exists()


def test_wrong_calls_are_refused(trx, tmp_path):
    _, path = trx
    with pytest.raises(InputError, match=r"expected \.trk or \.tck"):
        export(path, tmp_path / "out.vtk")
    with pytest.raises(InputError, match="so they take one input"):
        convert([path, path], tmp_path / "out.trk")
    with pytest.raises(InputError, match="TRK holds float32 only"):
        convert(path, tmp_path / "out.trk", positions_dtype="float16")
    with pytest.raises(ValueError, match=r"the suffix is \.vtk, expected \.trx"):
        convert(path, tmp_path / "out.vtk")


@needs_real
@pytest.mark.parametrize("name", ["sub-01/dwi/bundles/sub-01_bundle-CC.trk", "sub-06/dwi/bundles/sub-06_bundle-CC.tck"])
def test_there_and_back_gives_the_same_streamlines_and_header_facts(tmp_path, name):
    source = REAL / name
    convert(source, tmp_path / "x.trx", reference=REAL / "desc-b0_dwiref.nii.gz")
    convert(tmp_path / "x.trx", tmp_path / f"back{source.suffix}")
    before, after = nib.streamlines.load(source), nib.streamlines.load(tmp_path / f"back{source.suffix}")
    np.testing.assert_allclose(after.streamlines.get_data(), before.streamlines.get_data(), atol=3e-5)
    assert after.streamlines._lengths.tolist() == before.streamlines._lengths.tolist()
    if source.suffix == ".tck":
        assert after.header["command_history"] == before.header["command_history"]
        np.testing.assert_array_equal(after.streamlines.get_data(), before.streamlines.get_data())
    else:
        assert after.header["voxel_order"] == before.header["voxel_order"]
        assert list(after.tractogram.data_per_point) == list(before.tractogram.data_per_point)


@pytest.mark.skipif(shutil.which("tckinfo") is None, reason="needs MRtrix3's tckinfo (Debian package mrtrix3)")
def test_mrtrix_counts_what_we_write(trx, tmp_path):
    with pytest.warns(DataLossWarning):
        convert(trx[1], tmp_path / "out.tck")
    done = subprocess.run(["tckinfo", "-count", tmp_path / "out.tck"], capture_output=True, text=True, check=True)
    assert "actual count in file: 4" in done.stdout


def test_trk_to_tck_without_a_trx_between(trx, tmp_path):
    with pytest.warns(DataLossWarning):
        convert(trx[1], tmp_path / "a.trk")
    convert(tmp_path / "a.trk", tmp_path / "b.tck")
    convert(tmp_path / "b.tck", tmp_path / "c.trx", reference=tmp_path / "a.trk")
    np.testing.assert_allclose(read_plain(tmp_path / "c.trx").positions, trx[0].positions, atol=1e-4)


@pytest.mark.parametrize("suffix", [".trx", ".trk"])
def test_a_wrong_count_that_was_trusted_is_counted_after_all(trx, tmp_path, monkeypatch, caplog, suffix):
    """As in a TCK too large to be counted first: the size fits the header, the number of streamlines does not."""
    with pytest.warns(DataLossWarning):
        convert(trx[1], tmp_path / "a.tck")
    data = (tmp_path / "a.tck").read_bytes()
    (tmp_path / "a.tck").write_bytes(data.replace(b"count: 0000000004", b"count: 0000000006"))
    monkeypatch.setattr("trxlib.formats.tck._COUNT_BYTES", 0)
    with pytest.warns(HeaderWarning, match="count"):
        convert(tmp_path / "a.tck", tmp_path / f"b{suffix}", reference=trx[1])
    assert "counting" in caplog.text
    lines = convert(tmp_path / f"b{suffix}", tmp_path / "c.trx")
    assert lines[0].info.nb_streamlines == 4
