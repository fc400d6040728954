"""TRX to TRK and TCK: what comes back, what is read by other programs, what is warned of."""

from __future__ import annotations

import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest

from tests.helpers import SHARED, make_trx_arrays, read_plain, write_plain_zip
from trxlib import ConvertInput, convert, export, merge
from trxlib.errors import DataLossWarning, GroupNotFoundError, HeaderWarning, InputError, ShapeError

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


def test_an_option_that_does_not_exist_is_named_with_the_function(trx, tmp_path):
    _, path = trx
    for function in (export, convert):
        with pytest.raises(TypeError, match=rf"{function.__name__}\(\) got an unexpected keyword argument 'transfrm'"):
            function(path, tmp_path / "out.trk", transfrm=np.eye(4))


@pytest.mark.parametrize("inputs", [{"AF_L": "in.trx"}, {"in.trx": "AF_L"}])
def test_a_dict_is_no_list_of_inputs(trx, tmp_path, inputs):
    """Its keys alone would be read."""
    with pytest.raises(InputError, match=r"given as a dict, .* give a list of \(path, group\)"):
        convert(inputs, tmp_path / "out.trx")
    with pytest.raises(InputError, match="paths is a dict"):
        merge(inputs, tmp_path / "out.trx")
    assert not (tmp_path / "out.trx").exists()


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


def test_a_group_of_which_all_is_left_out_is_exported_empty(tmp_path):
    bundle, _ = plain_trx(tmp_path)
    bundle.groups = {"empty": np.array([1], "u4"), "rest": np.array([0, 2], "u4")}
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    with pytest.warns(DataLossWarning, match="1 of 3 streamlines are left out") as caught:
        info, _ = export(path, tmp_path / "out.tck", group="empty", drop_empty=True)
    assert len(caught) == 1
    assert info.nb_streamlines == 0
    assert len(nib.streamlines.load(tmp_path / "out.tck").streamlines) == 0
    with (
        pytest.warns(DataLossWarning, match="are left out"),
        pytest.raises(GroupNotFoundError, match="no group 'nope'; it has rest"),
    ):
        export(path, tmp_path / "out.tck", group="nope", drop_empty=True)


def test_a_group_with_strangers_is_named_with_its_file(tmp_path):
    bundle, _ = plain_trx(tmp_path)
    bundle.groups = {"far": np.array([99], "u4"), "good": np.array([2], "u4")}
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    with pytest.raises(ShapeError, match=r"in\.trx: groups/far row 0 is streamline 99"):
        export(path, tmp_path / "out.trk", group="far")
    assert export(path, tmp_path / "out.trk", group="good")[0].nb_streamlines == 1
    with (
        pytest.warns(DataLossWarning, match="are left out"),
        pytest.raises(ShapeError, match=r"in\.trx: groups/far row 0 is streamline 99"),
    ):
        convert(path, tmp_path / "out.trx", drop_empty=True)


def test_wrong_calls_are_refused(trx, tmp_path):
    _, path = trx
    with pytest.raises(InputError, match=r"expected \.trk or \.tck or .* or \.vtk or \.vtp"):
        export(path, tmp_path / "out.ply")
    with pytest.raises(InputError, match="so they take one input"):
        convert([path, path], tmp_path / "out.trk")
    with pytest.raises(InputError, match="TRK holds float32 only"):
        convert(path, tmp_path / "out.trk", positions_dtype="float16")
    with pytest.raises(InputError, match="take one input, not 2"):
        convert([path, path], tmp_path / "out.trk")
    with pytest.raises(InputError, match=r"leave 'g' out, or write .* trxlib\.export\(group=\)"):
        convert([(path, "g")], tmp_path / "out.trk")
    for option in ({"missing": "fill"}, {"compression": 8}, {"level": 3}):
        with pytest.raises(InputError, match=f"out.tck: {next(iter(option))} has no meaning for this format"):
            convert(path, tmp_path / "out.tck", **option)
    with pytest.raises(ValueError, match=r"the suffix is \.ply, expected \.trx"):
        convert(path, tmp_path / "out.ply")


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
    convert(tmp_path / "b.tck", tmp_path / "c.trx", reference=tmp_path / "a.trk", companions="auto")
    assert read_plain(tmp_path / "c.trx").dpv.keys() == trx[0].dpv.keys()
    np.testing.assert_allclose(read_plain(tmp_path / "c.trx").positions, trx[0].positions, atol=1e-4)


@pytest.mark.parametrize("suffix", [".trx", ".trk"])
def test_a_wrong_count_that_was_trusted_is_counted_after_all(trx, tmp_path, monkeypatch, caplog, suffix):
    """As in a TCK too large to be counted first: the size fits the header, the number of streamlines does not."""
    with pytest.warns(DataLossWarning):
        convert(trx[1], tmp_path / "a.tck")
    data = (tmp_path / "a.tck").read_bytes()
    (tmp_path / "a.tck").write_bytes(data.replace(b"count: 0000000004", b"count: 0000000006"))
    monkeypatch.setattr("trxlib.formats.tck.reader._COUNT_BYTES", 0)
    with pytest.warns(HeaderWarning, match="count"):
        convert(tmp_path / "a.tck", tmp_path / f"b{suffix}", reference=trx[1], companions="none")
    assert "counting" in caplog.text
    lines = convert(tmp_path / f"b{suffix}", tmp_path / "c.trx")
    assert lines[0].info.nb_streamlines == 4


def plain_trx(folder, name="in.trx", **arrays):
    bundle = make_trx_arrays(lengths=[2, 0, 3], groups={}, dpg={}, **{"dps": {}, "dpv": {}, **arrays})
    return bundle, write_plain_zip(bundle, folder / name)


def test_dps_and_dpv_of_one_key_both_arrive(tmp_path):
    bundle, path = plain_trx(tmp_path, dps={"c": (3, "<f4")}, dpv={"c": (3, "<f4")})
    convert(path, tmp_path / "out.tck")
    np.testing.assert_array_equal(np.load(tmp_path / "out_c.npy"), bundle.dps["c"])
    np.testing.assert_array_equal(np.load(tmp_path / "out_c_dpv.npy"), bundle.dpv["c"])


class Recorder(list):
    """A callback that is false as long as it is empty."""

    def __call__(self, done, total):
        self.append((done, total))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_dpv_that_a_tsf_cannot_hold_become_npy(tmp_path, value):
    bundle, _ = plain_trx(tmp_path, dps={"x": (2, "<f4")}, dpv={"x": (1, "<f8"), "y": (1, "<f4"), "good": (1, "<f4")})
    bundle.dpv["x"][4] = bundle.dpv["y"][0] = value
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    progress = Recorder()
    with pytest.warns() as caught:
        convert(path, tmp_path / "out.tck", progress=progress)
    assert progress == sorted(set(progress))  # also where a file is written again
    assert progress[-1][0] == progress[-1][1] == bundle.positions.nbytes
    assert sorted(str(warning.message).split(" has ")[0] for warning in caught) == [
        f"{tmp_path / 'out.tck'}: dpv/{key}" for key in "xy"
    ]
    assert sorted(found.name for found in tmp_path.glob("out*")) == [
        "out.tck", "out_good.tsf", "out_x.npy", "out_x_dpv.npy", "out_y.npy",
    ]  # fmt: skip
    np.testing.assert_array_equal(np.load(tmp_path / "out_x_dpv.npy"), bundle.dpv["x"])
    item = ConvertInput(tmp_path / "out.tck", dpv={"x": tmp_path / "out_x_dpv.npy"})
    convert(item, tmp_path / "b.trx", reference=path, companions="none")
    np.testing.assert_array_equal(read_plain(tmp_path / "b.trx").dpv["x"], bundle.dpv["x"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stored", ["<f2", "<f4", "<f8"])
def test_positions_dtype_of_a_tck_is_what_was_asked_for(tmp_path, dtype, stored):
    bundle, _ = plain_trx(tmp_path)
    bundle.positions = bundle.positions.astype(stored)
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    convert(path, tmp_path / "out.tck", positions_dtype=dtype)
    assert f"datatype: {dtype.title()}LE" in (tmp_path / "out.tck").read_bytes()[:200].decode("latin1")
    again = convert(tmp_path / "out.tck", tmp_path / "b.trx", reference=path)[0]
    assert again.info.positions_dtype == dtype
    np.testing.assert_array_equal(read_plain(tmp_path / "b.trx").positions, bundle.positions.astype(dtype))
    with pytest.raises(InputError, match="positions_dtype is float16"):
        convert(tmp_path / "out.tck", tmp_path / "c.tck", reference=path, positions_dtype="float16")


def test_inputs_are_never_replaced(tmp_path):
    _, path = plain_trx(tmp_path, dps={"w": (1, "<f4")})
    convert(path, tmp_path / "k.tck")
    convert(path, tmp_path / "k.trk")
    (tmp_path / "t.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    (tmp_path / "link.trk").symlink_to("k.trk")
    weights = {"w": tmp_path / "k_w.txt"}
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for inputs, output, options in (
        ("k.trk", "k.trk", {}),
        ("k.trk", "link.trk", {}),
        ("in.trx", "in.trx", {}),
        (["k.trk", "in.trx"], "in.trx", {}),
        (ConvertInput(tmp_path / "k.tck", dps=weights), "k.tck", {}),
        (ConvertInput(tmp_path / "k.tck", dps=weights), "k_w.txt/../k.tck", {}),
        (ConvertInput(tmp_path / "link.trk", dpv={}, reference=path), "in.trx", {}),
        ("k.trk", "k.trk", {"transform": np.diag([2.0, 2, 2, 1])}),
    ):
        names = [tmp_path / name if isinstance(name, str) else name for name in np.atleast_1d(inputs)]
        with pytest.raises(InputError, match="would replace the input .*never changed"):
            convert(names, tmp_path / output, **{"reference": path if output != "in.trx" else None, **options})
    # A file beside the output, which nobody has named.
    (tmp_path / "other").mkdir()
    moved = (tmp_path / "k.tck").rename(tmp_path / "other" / "k.tck")
    before["k.tck"] = moved.read_bytes()
    with pytest.raises(InputError, match=r"k_w\.txt: would replace the input"):
        convert(ConvertInput(moved, dps=weights), tmp_path / "k.tck", reference=path)
    with pytest.raises(InputError, match="would replace the input"):
        export(path, path.with_suffix(".trk"), transform=path.with_suffix(".trk"))
    assert {file.name: file.read_bytes() for file in (*tmp_path.glob("*.*"), moved)} == before


def test_a_folder_is_not_replaced_by_what_it_holds(tmp_path):
    _, path = plain_trx(tmp_path)
    convert(path, tmp_path / "folder")
    convert(path, tmp_path / "folder" / "a.trk")
    with pytest.raises(InputError, match="is a folder that holds the input"):
        convert(tmp_path / "folder" / "a.trk", tmp_path / "folder")
    with pytest.raises(InputError, match="lies inside the input folder"):
        convert(tmp_path / "folder", tmp_path / "folder" / "b.trx")
    assert (tmp_path / "folder" / "a.trk").is_file()


def test_files_that_exist_are_replaced_only_if_allowed(tmp_path):
    _, path = plain_trx(tmp_path, dps={"w": (1, "<f4")})
    (tmp_path / "k_w.txt").write_text("precious")
    with pytest.raises(InputError, match=r"k_w\.txt: exists"):
        convert(path, tmp_path / "k.tck", overwrite=False)
    assert (tmp_path / "k_w.txt").read_text() == "precious"
    assert not (tmp_path / "k.tck").exists()
    convert(path, tmp_path / "k.tck")
    assert (tmp_path / "k_w.txt").read_text() != "precious"
    for name in ("k.tck", "b.trk", "b.trx", "folder"):
        convert(path, tmp_path / name)
        with pytest.raises(InputError, match=f"{name}: exists"):
            convert(path, tmp_path / name, overwrite=False)


@pytest.mark.parametrize("name", ["out.trx", "out.trk", "out.tck"])
def test_progress_is_in_bytes_and_logged(tmp_path, name, monkeypatch, caplog):
    bundle, path = plain_trx(tmp_path)
    seen = []
    convert(path, tmp_path / name, progress=lambda *done: seen.append(done))
    assert seen[-1] == (bundle.positions.nbytes,) * 2
    monkeypatch.setattr("trxlib.commands.progress._TICK", 0.0)
    with caplog.at_level("INFO"):
        convert(path, tmp_path / name)
    assert f"{name}: 0 of 0 MB (100 %)" in caplog.text
