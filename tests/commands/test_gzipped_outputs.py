"""TRK and TCK compressed with gzip: the bytes of the plain file, the same at any time, and never half there."""

from __future__ import annotations

import gzip
import io
import time
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.cli.test_cli import run
from tests.helpers import make_trx_arrays, read_plain, write_plain_zip
from trxlib import convert, export
from trxlib.errors import DtypeError, InputError


def write_input(folder: Path, lengths: object = (2, 0, 3, 1), **arrays: object) -> Path:
    values = {"dps": {"w": (1, "<f4")}, "dpv": {"fa": (1, "<f4"), "rgb": (3, "u1")}} | arrays
    made = make_trx_arrays(lengths=list(lengths), groups={"AF_L": [0, 2]}, dpg={}, **values)
    return write_plain_zip(made, folder / "in.trx")


@pytest.mark.filterwarnings("ignore:.*has no groups")
@pytest.mark.parametrize("suffix", [".trk", ".tck"])
def test_it_holds_the_bytes_of_the_plain_file(tmp_path, suffix):
    path = write_input(tmp_path)
    (tmp_path / "plain").mkdir()
    convert(path, tmp_path / "plain" / f"out{suffix}")
    convert(path, tmp_path / f"out{suffix}.gz")
    plain = tmp_path / "plain" / f"out{suffix}"
    assert gzip.decompress((tmp_path / f"out{suffix}.gz").read_bytes()) == plain.read_bytes()
    companions = {found.name: found.read_bytes() for found in plain.parent.iterdir() if found != plain}
    written = {found.name: found.read_bytes() for found in tmp_path.glob("out_*")}
    assert written == companions
    assert sorted(written) == (["out_fa.tsf", "out_rgb.npy", "out_w.txt"] if suffix == ".tck" else [])
    assert sorted(found.name for found in tmp_path.iterdir()) == sorted(
        ["in.trx", "plain", f"out{suffix}.gz", *companions]
    )


@pytest.mark.filterwarnings("ignore:.*has no groups")
@pytest.mark.parametrize("name", ["out.trk.gz", "out.tck.gz", "OUT.TRK.GZ"])
def test_the_bytes_tell_neither_time_nor_name(tmp_path, name, monkeypatch):
    path = write_input(tmp_path)
    convert(path, tmp_path / name)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    (tmp_path / "later").mkdir()
    convert(path, tmp_path / "later" / f"other{''.join(Path(name).suffixes)}")
    data = (tmp_path / name).read_bytes()
    assert data == next((tmp_path / "later").glob("other.*")).read_bytes()
    assert data[:2] == b"\x1f\x8b"
    assert data[3:8] == bytes(5)  # no name, no time


def test_nibabel_and_trxlib_read_it(tmp_path):
    path = write_input(tmp_path, [2, 5, 3, 1])
    export(path, tmp_path / "out.trk.gz", group="AF_L")
    made = read_plain(path)
    read = nib.streamlines.load(io.BytesIO(gzip.decompress((tmp_path / "out.trk.gz").read_bytes())))
    assert [len(line) for line in read.streamlines] == [2, 3]
    np.testing.assert_allclose(read.streamlines[1], made.positions[7:10], atol=5e-5)
    np.testing.assert_array_equal(read.tractogram.data_per_streamline["w"], made.dps["w"][[0, 2]])
    (again,) = convert(tmp_path / "out.trk.gz", tmp_path / "again.trx")
    assert again.info.nb_streamlines == 2
    np.testing.assert_array_equal(read_plain(tmp_path / "again.trx").dps["w"], made.dps["w"][[0, 2]])


def test_the_command_writes_it_and_checks_its_companions(tmp_path):
    path = write_input(tmp_path)
    assert run("convert", path, tmp_path / "out.tck.gz", "--group", "AF_L").exit_code == 0
    (tmp_path / "out.tck.gz").unlink()
    result = run("convert", path, tmp_path / "out.tck.gz", "--group", "AF_L")
    assert result.exit_code == 1
    assert "out_w.txt: exists" in result.stderr


def test_after_an_error_nothing_is_there(tmp_path):
    made = make_trx_arrays(lengths=[3], groups={}, dpg={}, dps={}, dpv={"fa": (1, "<f8")})
    made.dpv["fa"][2] = 1e300
    path = write_plain_zip(made, tmp_path / "in.trx")
    (tmp_path / "old.trk.gz").write_bytes(b"precious")
    for name in ("old.trk.gz", "new.trk.gz"):
        with pytest.raises(DtypeError, match="dpv/fa holds values beyond float32"):
            convert(path, tmp_path / name)
    assert {found.name for found in tmp_path.iterdir()} == {"in.trx", "old.trk.gz"}
    assert (tmp_path / "old.trk.gz").read_bytes() == b"precious"


def test_other_names_are_refused(tmp_path):
    path = write_input(tmp_path)
    with pytest.raises(InputError, match=r"the suffix is '\.foo\.gz', expected \.trk or"):
        export(path, tmp_path / "out.foo.gz")
    with pytest.raises(ValueError, match=r"the suffix is \.gz, expected \.trx"):
        convert(path, tmp_path / "out.trx.gz")
    with pytest.raises(InputError, match="TRK holds float32 only"):
        convert(path, tmp_path / "out.trk.gz", positions_dtype="float64")


@pytest.mark.filterwarnings("ignore:.*has no groups")
def test_memory_does_not_grow_with_the_file(tmp_path):
    path = write_input(tmp_path, [100] * 30_000, dps={}, dpv={})
    tracemalloc.start()
    try:
        convert(path, tmp_path / "out.trk.gz", max_outside=1, warn_outside=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out.trk.gz").stat().st_size > 20e6
    assert peak < 30e6  # of positions of 36 MB
