"""Values beside a tractogram are found by their names, attached if they fit, and left with a reason if they do not."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.made import ANYWHERE, GRID, SIZES, open_source, read_all, some_streamlines, tck_bytes, write
from tests.helpers import make_trx_arrays, read_plain, write_plain_zip
from trxlib.commands.convert import ConvertInput, convert, plan_conversion
from trxlib.commands.export import export
from trxlib.errors import DataLossWarning, HeaderWarning, InputError, MetadataMismatchError, ShapeError
from trxlib.formats.found import files_beside
from trxlib.model.options import ReadOptions
from trxlib.model.space import Space

SPACE = Space(np.diag([*SIZES, 1.0]), GRID)
REFERENCE = (np.diag([*SIZES, 1.0]), GRID)
LENGTHS = (3, 0, 4, 40)
STAMP = ("timestamp: 1580289707.4327952862",)
AUTO: dict[str, Any] = {"reference": SPACE, "companions": "auto"}


@pytest.fixture
def tck(tmp_path: Path) -> Path:
    """Four streamlines of 47 vertices."""
    return write(tmp_path / "sub-01.tck", tck_bytes(some_streamlines(LENGTHS), fields=STAMP))


def weights(path: Path, rows: int = 4) -> Path:
    return write(path, b"0.5\n" * rows)


def tsf(path: Path, *lines: str, lengths: tuple[int, ...] = LENGTHS) -> Path:
    values = [np.full(length, 0.25) for length in lengths]
    return write(path, tck_bytes(values, magic="mrtrix track scalars", ncols=1, fields=lines or STAMP))


def keys_of(path: Path, **options: Any) -> tuple[list[str], list[str]]:
    """Return dps and dpv that a tractogram is read with, all of it."""
    source = open_source(path, **{**AUTO, **options})
    found = read_all(source)
    assert found["dps"].keys() == source.info.dps.keys()
    assert found["dpv"].keys() == source.info.dpv.keys()
    return sorted(source.info.dps), sorted(source.info.dpv)


@pytest.mark.parametrize("nonfinite", [False, True])
def test_what_an_export_writes_beside_a_tck_comes_back(tmp_path: Path, nonfinite: bool) -> None:
    dps = {"w": (1, "<f4"), "c": (3, "<f4"), "n_dpv": (2, "<i2")}
    dpv = {"fa": (1, "<f4"), "c": (3, "<f4"), "x_dpv": (2, "<f4")}
    arrays = make_trx_arrays(lengths=LENGTHS, groups={}, dps=dps, dpv=dpv, sidecars={})
    if nonfinite:
        arrays.dpv["fa"][3] = np.nan
    bundle = write_plain_zip(arrays, tmp_path / "in.trx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeaderWarning)  # of the .npy that NaN needs
        export(bundle, tmp_path / "out.tck", **ANYWHERE)
    convert(tmp_path / "out.tck", tmp_path / "back.trx", reference=bundle, companions="auto", **ANYWHERE)
    back = read_plain(tmp_path / "back.trx")
    for found, expected in ((back.dps, arrays.dps), (back.dpv, arrays.dpv)):
        assert found.keys() == expected.keys()
        for key, values in expected.items():
            np.testing.assert_array_equal(found[key], values)
            assert found[key].dtype == values.dtype


def test_by_default_what_lies_beside_a_tck_is_named_in_a_warning(tmp_path: Path, tck: Path) -> None:
    weights(tmp_path / "sub-01_w.txt")
    tsf(tmp_path / "sub-01_fa.tsf")
    write(tmp_path / "sub-01_README.txt", b"Weights are of SIFT2.\n")
    with pytest.warns(
        DataLossWarning, match=r"values beside it are left out: .*_fa\.tsf, .*_w\.txt; name them"
    ) as said:
        source = open_source(tck, reference=SPACE)
    assert "README" not in str(said[0].message)
    assert not source.info.dps
    # Whoever has said it knows.
    assert not open_source(tck, reference=SPACE, companions="none").info.dps
    both = {"dps": {"other": tmp_path / "sub-01_w.txt"}, "dpv": {"fa": tmp_path / "sub-01_fa.tsf"}}
    assert sorted(open_source(tck, reference=SPACE, **both).info.dps) == ["other"]


def test_what_is_named_comes_before_what_is_found(tmp_path: Path, tck: Path) -> None:
    weights(tmp_path / "sub-01_w.txt")
    other = write(tmp_path / "other.txt", b"1\n2\n3\n4\n")
    found = read_all(open_source(tck, dps={"w": other, "v": tmp_path / "sub-01_w.txt"}, **AUTO))["dps"]
    assert found["w"].ravel().tolist() == [1, 2, 3, 4]
    assert found["v"].ravel().tolist() == [0.5] * 4


def test_files_of_another_tractogram_are_left_to_it(tmp_path: Path, tck: Path) -> None:
    names = ("sub-01_AF.tck", "sub-01_AF_left.tck.gz", "sub-01_AF_left_fa.tsf", "sub-01_AF_w.txt", "sub-01_w.txt")
    for name in (*names, "sub-010_w.txt", "sub-01w.txt", "sub-01_.txt", "sub-01_w.csv", "sub-01_x.tck", "w.txt"):
        write(tmp_path / name, b"")
    (tmp_path / "sub-01_folder.txt").mkdir()
    found = {name: sorted(files_beside(tmp_path / name).values()) for name in ("sub-01.tck", *names[:2])}
    assert found == {"sub-01.tck": ["w"], "sub-01_AF.tck": ["w"], "sub-01_AF_left.tck.gz": ["fa"]}
    assert files_beside(tmp_path / "gone" / "a.tck") == {}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("sub-01_w.txt", b"1\n2\n3\n", r"it has 3 rows, and there are 4 streamlines and 47 vertices"),
        ("sub-01_w.txt", b"1\n2\nx\n4\n", r"line 3: could not convert string to float: 'x'"),
        ("sub-01_w.txt", b"0,5\n0,7\n0,9\n1,1\n", r"one number with a decimal comma, or two columns"),
        ("sub-01_w.txt", b"\x89PNG\r\n\x1a\n", r"a PNG image"),
        ("sub-01_w.npy", b"broken", r"no \.npy file of numbers"),
        ("sub-01_a.b.txt", b"1\n2\n3\n4\n", r"dps key 'a\.b'"),
        ("sub-01_fa.tsf", b"broken", "does not start with a line 'mrtrix track scalars'"),
    ],
)
def test_what_does_not_fit_is_left_out_and_says_why(
    tmp_path: Path, tck: Path, name: str, data: bytes, reason: str
) -> None:
    write(tmp_path / name, data)
    with pytest.warns(HeaderWarning, match=rf"{name} .*is left out: .*{reason}"):
        assert keys_of(tck) == ([], [])
    assert open_source(tck, reference=SPACE).info.dpv == {} if name.endswith("tsf") else True


def test_a_tsf_of_other_tracks_is_left_out(tmp_path: Path, tck: Path) -> None:
    tsf(tmp_path / "sub-01_fa.tsf", "timestamp: 7")
    tsf(tmp_path / "sub-01_md.tsf", lengths=(3, 4, 3))
    with pytest.warns(HeaderWarning, match="is left out") as said:
        assert keys_of(tck) == ([], [])
    assert ["timestamp '7'" in str(item.message) for item in said] == [True, False]
    assert "it has 14 numbers, and 4 streamlines of 47 vertices have 51" in str(said[1].message)
    with pytest.warns(HeaderWarning, match="are accepted|is left out"):
        assert keys_of(tck, accept_timestamp_mismatch=True) == ([], ["fa"])


def test_a_found_tsf_that_breaks_off_names_the_way_out(tmp_path: Path, tck: Path) -> None:
    tsf(tmp_path / "sub-01_fa.tsf", lengths=(3, 1, 3, 40))
    with pytest.raises(ShapeError, match=r"streamline 1 has 1 values.*found there, not named.*--companions none"):
        keys_of(tck)


def test_the_section_is_told_by_rows(tmp_path: Path, tck: Path) -> None:
    weights(tmp_path / "sub-01_a.txt")
    weights(tmp_path / "sub-01_b.txt", 47)
    write(tmp_path / "sub-01_c.txt", b"weight\n" + b"0.5\n" * 4)
    write(tmp_path / "sub-01_d.txt", b"# MRtrix\n1 2 3 4\n")
    np.save(tmp_path / "sub-01_e.npy", np.zeros((47, 3)))
    np.save(tmp_path / "sub-01_f.npy", np.zeros((4, 3)))
    assert keys_of(tck) == (["a", "c", "d", "f"], ["b", "e"])


def test_as_many_vertices_as_streamlines(tmp_path: Path) -> None:
    tck = write(tmp_path / "a.tck", tck_bytes(some_streamlines((1, 1)), fields=STAMP))
    tsf(tmp_path / "a_fa.tsf", lengths=(1, 1))
    weights(tmp_path / "a_w.txt", 2)
    np.save(tmp_path / "a_c.npy", np.zeros((2, 3)))
    np.save(tmp_path / "a_c_dpv.npy", np.zeros((2, 3)))
    with pytest.warns(HeaderWarning, match=r"a_c\.npy .* as many vertices as streamlines"):
        assert keys_of(tck) == (["w"], ["c", "fa"])


def test_names_that_mean_two_things(tmp_path: Path, tck: Path) -> None:
    np.save(tmp_path / "sub-01_c.npy", np.zeros((4, 3)))
    np.save(tmp_path / "sub-01_c_dpv.npy", np.zeros((4, 2)))
    np.save(tmp_path / "sub-01_c_dpv_dpv.npy", np.zeros((47, 3)))
    with pytest.warns(HeaderWarning, match=r"c_dpv_dpv\.npy .* it may hold dpv/c_dpv or dpv/c; name it"):
        assert keys_of(tck) == (["c", "c_dpv"], [])
    np.save(tmp_path / "sub-01_fa.npy", np.zeros((47, 1)))
    tsf(tmp_path / "sub-01_fa.tsf")
    with pytest.warns(HeaderWarning, match=r"sub-01_fa\.(npy|tsf) fits dpv/fa as well; name the right one|may hold"):
        assert keys_of(tck) == (["c", "c_dpv"], [])


def test_keys_of_the_tractogram_stay_as_they_are(tmp_path: Path) -> None:
    arrays = make_trx_arrays(lengths=LENGTHS, groups={}, dps={"w": (1, "<f4")}, dpv={})
    bundle = write_plain_zip(arrays, tmp_path / "a.trx")
    weights(tmp_path / "a_w.txt")
    weights(tmp_path / "a_v.txt")
    with pytest.warns(HeaderWarning, match=r"a_w\.txt .* the tractogram has dps/w already"):
        convert(bundle, tmp_path / "out.trx", companions="auto", **ANYWHERE)
    found = read_plain(tmp_path / "out.trx").dps
    np.testing.assert_array_equal(found["w"], arrays.dps["w"])
    assert found["v"].ravel().tolist() == [0.5] * 4
    # A file that has a place for values is not asked for others, unless somebody says so.
    convert(bundle, tmp_path / "own.trx", **ANYWHERE)
    assert sorted(read_plain(tmp_path / "own.trx").dps) == ["w"]


def test_what_was_attached_is_written_down(tmp_path: Path, tck: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights(tmp_path / "sub-01_w.txt")
    other = weights(tmp_path / "x.txt")
    item = ConvertInput(tck, reference=REFERENCE, dps={"x": other})
    with caplog.at_level(logging.INFO, "trxlib"):
        (converted,) = convert(item, tmp_path / "out.trx", companions="auto", **ANYWHERE)
    expected = {"dps/x": str(other), "dps/w": str(tmp_path / "sub-01_w.txt")}
    assert converted.record["companions"] == expected
    assert f"found beside it and attached: dps/w of {tmp_path / 'sub-01_w.txt'}" in caplog.text
    plain = tck.read_bytes() + other.read_bytes() + (tmp_path / "sub-01_w.txt").read_bytes()
    assert converted.fingerprint.endswith(f":{len(plain)}")


def test_a_found_file_is_never_replaced(tmp_path: Path, tck: Path) -> None:
    before = weights(tmp_path / "sub-01_b_w.txt").read_bytes()
    with pytest.raises(InputError, match=r"sub-01_b_w"):
        export(
            tck, tmp_path / "sub-01_b.tck", reference=REFERENCE, companions="auto",
            dps={"w": weights(tmp_path / "v.txt")}, **ANYWHERE,
        )  # fmt: skip
    assert (tmp_path / "sub-01_b_w.txt").read_bytes() == before


def test_inputs_that_differ_in_what_lies_beside_them(tmp_path: Path, tck: Path) -> None:
    other = write(tmp_path / "sub-02.tck", tck_bytes(some_streamlines((2,)), fields=STAMP))
    weights(tmp_path / "sub-01_w.txt")
    call: dict[str, Any] = {"reference": REFERENCE, **ANYWHERE}
    with pytest.raises(MetadataMismatchError) as raised:
        convert([tck, other], tmp_path / "out.trx", companions="auto", **call)
    assert any("companions='none'" in note for note in raised.value.__notes__)
    convert([tck, other], tmp_path / "out.trx", companions="none", **call)
    assert read_plain(tmp_path / "out.trx").dps == {}


def test_what_companions_may_be(tck: Path) -> None:
    with pytest.raises(InputError, match="companions is 'all', expected 'auto' or 'none'"):
        ReadOptions(companions="all")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a plan names each file"):
        plan_conversion([ConvertInput(tck)], ReadOptions(companions="auto"))
