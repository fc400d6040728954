"""Number types of what is written: of offsets, and of dps and dpv by name, read back by trx-python and byte by byte."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trxlib
from tests.cli.test_cli import run
from tests.formats.made import some_streamlines, trk_bytes, write
from tests.helpers import assert_trx_equal, make_trx_arrays, read_plain, write_plain_zip
from trxlib import ConvertInput, convert, merge
from trxlib.commands.convert import plan_conversion
from trxlib.engine.planning import plan_merge
from trxlib.errors import DtypeError, InputError, MetadataMismatchError
from trxlib.model.offsets import offsets_dtype
from trxlib.model.source import SourceHeaders, SourceInfo
from trxlib.model.space import Space

TRX = pytest.importorskip("trx.trx_file_memmap")
NAMES = {"auto": "uint32", "uint32": "uint32", "uint64": "uint64"}


@pytest.fixture
def trx(tmp_path: Path) -> Path:
    return write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")


def names_in(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("wanted", NAMES)
@pytest.mark.parametrize("road", ["convert", "merge", "save", "save joined", "command"])
def test_offsets_have_the_type_that_is_asked_for(trx, tmp_path, wanted, road):
    output = tmp_path / "out.trx"
    if road == "convert":
        convert(trx, output, offsets_dtype=wanted)
    elif road == "merge":
        merge([trx], output, offsets_dtype=wanted)
    elif road == "save":
        trxlib.save(trxlib.load(trx), output, offsets_dtype=wanted)
    elif road == "save joined":
        trxlib.save(trxlib.concatenate([trxlib.load(trx)]), output, offsets_dtype=wanted)
    else:
        assert run("convert", trx, output, "--offsets-dtype", wanted).exit_code == 0
    arrays = read_plain(trx)
    assert f"offsets.{NAMES[wanted]}" in names_in(output)
    np.testing.assert_array_equal(read_plain(output).offsets, arrays.offsets)
    read = TRX.load(str(output))
    np.testing.assert_array_equal(read.streamlines._lengths, np.diff(arrays.offsets.astype(np.int64)))
    np.testing.assert_array_equal(read.streamlines.get_data(), arrays.positions[: len(arrays.positions)])
    read.close()
    # What is said again changes nothing.
    convert(output, tmp_path / "again.trx", offsets_dtype="uint32")
    assert "offsets.uint32" in names_in(tmp_path / "again.trx")


def test_offsets_that_do_not_fit_are_refused_before_anything_is_written():
    info = SourceInfo("big.trx", "trx", Space(np.eye(4), (8, 8, 8)), 2, 2**32, np.dtype("<f4"))
    headers = [SourceHeaders(info)]
    with pytest.raises(InputError, match="is uint32, which ends at 4294967295, and there are 4294967296 vertices"):
        plan_merge(headers, offsets_dtype="uint32")
    assert plan_merge(headers).offsets_dtype == plan_merge(headers, offsets_dtype="uint64").offsets_dtype == np.uint64
    assert offsets_dtype(2**32 - 1, "uint32") == np.uint32
    for wanted in ("int32", "u4x", None, "uint16", 5):
        with pytest.raises(InputError, match=f"offsets_dtype is {wanted!r}, expected 'auto', 'uint32' or 'uint64'"):
            offsets_dtype(1, wanted)


@pytest.mark.parametrize("road", ["convert", "merge", "command", "plan"])
def test_dps_and_dpv_have_the_types_that_are_asked_for(trx, tmp_path, road):
    output, dtypes = tmp_path / "out.trx", {"dps/weight": "float16", "dpv/*": np.float32, "dpv/flag": "uint8"}
    if road == "convert":
        convert(trx, output, dtypes=dtypes)
    elif road == "merge":
        merge([trx], output, dtypes=dtypes)
    elif road == "command":
        texts = ("dps/weight=float16", "dpv/*=float32", "dpv/flag=uint8")
        assert run("merge", trx, output, *(part for text in texts for part in ("--dtype", text))).exit_code == 0
    else:
        plan = plan_conversion([ConvertInput(trx)], dtypes=dtypes)
        assert {key: spec.dtype.name for key, spec in plan.dpv.items()} == {
            "fa": "float32", "flag": "uint8", "vector": "float32",
        }  # fmt: skip
        convert(trx, output, dtypes=dtypes)
    wanted = read_plain(trx)
    wanted.dps["weight"] = wanted.dps["weight"].astype("<f2")
    wanted.dpv = {key: array.astype("u1" if key == "flag" else "<f4") for key, array in wanted.dpv.items()}
    assert_trx_equal(output, wanted)
    read = TRX.load(str(output))
    assert read.data_per_streamline["weight"].dtype == np.float16
    assert read.data_per_vertex["vector"]._data.dtype == np.float32
    read.close()


def test_scalars_of_a_trk_become_integers_where_they_are_whole(tmp_path):
    values = np.array([[1, 0.5], [7, 2], [255, 3]], np.float32)
    data = trk_bytes(some_streamlines((2, 1)), scalars=values, scalar_names=(b"label", b"fa"))
    path = write(tmp_path / "a.trk", data)
    convert(path, tmp_path / "out.trx", dtypes={"dpv/label": "uint8"})
    found = read_plain(tmp_path / "out.trx").dpv
    assert (found["label"].dtype, found["label"].ravel().tolist()) == (np.uint8, [1, 7, 255])
    assert found["fa"].dtype == np.float32
    with pytest.raises(DtypeError, match=r"a\.trk: dpv/fa holds 0\.5, which is no uint8"):
        convert(path, tmp_path / "no.trx", dtypes={"dpv/*": "uint8"})
    assert not (tmp_path / "no.trx").exists()


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (np.array([1e5], "<f4"), "float16", "dps/x: 100000 does not fit float16"),
        (np.array([300], "<i4"), "uint8", r"dps/x holds 300, which does not fit uint8 \(0 to 255\)"),
        (np.array([2**24 + 1], "<i8"), "float32", "16777217 is no float32"),
        (np.array([2.0], "<f4"), "bit", "dps/x holds float32, which bit cannot hold"),
    ],
)
def test_values_that_do_not_fit_are_an_error_that_names_the_file(tmp_path, values, dtype, message):
    arrays = make_trx_arrays(lengths=[2], dps={"x": (1, values.dtype.str)}, dpv={}, groups={}, dpg={})
    arrays.dps["x"][:] = values
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    for call in (convert, merge):
        with pytest.raises(DtypeError, match=rf"a\.trx: .*{message}"):
            call([path], tmp_path / "out.trx", dtypes={"dps/x": dtype})
    assert [found.name for found in tmp_path.iterdir()] == ["a.trx"]


def test_a_type_is_the_way_out_where_inputs_have_none_in_common(tmp_path):
    paths = []
    for name, dtype in (("a", "<u8"), ("b", "<i2"), ("c", None)):
        arrays = make_trx_arrays(lengths=[2, 1], dps={"x": (1, dtype)} if dtype else {}, dpv={}, groups={}, dpg={})
        if dtype:
            arrays.dps["x"][:] = 7
        paths.append(write_plain_zip(arrays, tmp_path / f"{name}.trx"))
    with pytest.raises(MetadataMismatchError, match="no type of the format holds both uint64 and int16"):
        merge(paths[:2], tmp_path / "out.trx")
    merge(paths[:2], tmp_path / "out.trx", dtypes={"dps/x": "int32"})
    assert read_plain(tmp_path / "out.trx").dps["x"].ravel().tolist() == [7] * 4
    merge(paths, tmp_path / "out.trx", dtypes={"dps/x": "float32"}, missing="fill")
    np.testing.assert_array_equal(read_plain(tmp_path / "out.trx").dps["x"].ravel(), [7] * 4 + [np.nan] * 2)
    with pytest.raises(MetadataMismatchError, match="int32 has no NaN"):
        merge(paths, tmp_path / "no.trx", dtypes={"dps/x": "int32"}, missing="fill")


@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        ({"dps/wieght": "float16"}, r"dtypes \(--dtype\): no input has an array dps/wieght; there are .*dps/weight"),
        ({"dps/weight": "float8"}, "dtypes gives dps/weight the type 'float8'; the format has"),
        ({"dps/weight": None}, "the type None"),
        ({"dps/weight": np.complex64}, "dtypes gives dps/weight the type"),
        ({"positions": "float16"}, "the type of positions is given by positions_dtype"),
        ({"offsets": "uint64"}, "the type of offsets is given by offsets_dtype"),
        ({"groups/CC": "uint64"}, "dtypes names groups/CC, expected dps and dpv"),
        ({5: "uint64"}, "dtypes names 5"),
        (["dps/weight"], "dtypes is .*, expected a dict"),
        ({"dpv/f*": "float64", "dpv/*a": "float32"}, r"dpv/fa the types float64 \(dpv/f\*\) and float32 \(dpv/\*a\)"),
    ],
)
def test_names_and_types_that_do_not_exist_are_refused(trx, tmp_path, dtypes, message):
    for call in (convert, merge):
        with pytest.raises(InputError, match=message):
            call([trx], tmp_path / "out.trx", dtypes=dtypes)
    assert not (tmp_path / "out.trx").exists()


def test_a_name_itself_counts_before_patterns_that_disagree(trx, tmp_path):
    dtypes: dict[str, Any] = {"dpv/fa": "float64", "dpv/f*": "uint8", "*": "float32"}
    convert(trx, tmp_path / "out.trx", dtypes={**dtypes, "dpv/flag": "uint8"}, leave_out=["dps/color"])
    found = read_plain(tmp_path / "out.trx")
    assert (found.dpv["fa"].dtype, found.dpv["flag"].dtype) == (np.float64, np.uint8)
    assert (found.dpv["vector"].dtype, found.dps["weight"].dtype) == (np.float32, np.float32)


def test_a_trk_has_no_types_to_choose(trx, tmp_path):
    for option in ({"dtypes": {"dps/weight": "float16"}}, {"offsets_dtype": "uint64"}):
        with pytest.raises(InputError, match=f"{next(iter(option))} has no meaning for this format"):
            convert(trx, tmp_path / "out.trk.gz", **option)
    result = run("convert", trx, tmp_path / "out.tck", "--dtype", "dps/weight=float16")
    assert (result.exit_code, "--dtype has no meaning" in result.stderr) == (1, True)
    assert run("convert", trx, tmp_path / "out.trx", "--dtype", "dps/weight").exit_code == 2
