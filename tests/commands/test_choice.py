"""Arrays that are kept or left out by name: on every road, before anything is refused, and without a warning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.cli.test_cli import run
from tests.formats.made import some_streamlines, trk_bytes, write
from tests.helpers import make_trx_arrays, read_plain, write_plain_folder, write_plain_zip
from trxlib import ConvertInput, convert, export, extract_groups, merge
from trxlib.commands.convert import plan_conversion
from trxlib.engine.plan import Plan
from trxlib.engine.write import write_container
from trxlib.errors import ArchiveError, DataLossWarning, GroupNotFoundError, InputError
from trxlib.formats.open import open_input
from trxlib.model.arrays import TrxArrays
from trxlib.model.options import ReadOptions

TRX = pytest.importorskip("trx.trx_file_memmap")


def made(**changes: Any) -> TrxArrays:
    return make_trx_arrays(
        8, dps={"weight": (1, "<f4"), "length": (1, "<f4")}, dpv={"fa": (1, "<f4"), "md": (1, "<f4")}, **changes
    )


def labels_of(path: Path) -> set[str]:
    """Names of what a file holds, but for positions and offsets, as it lies there."""
    return read_plain(path).by_label().keys() - {"positions", "offsets"}


@pytest.fixture
def trx(tmp_path: Path) -> Path:
    return write_plain_zip(made(), tmp_path / "a.trx")


@pytest.fixture
def trk(tmp_path: Path) -> Path:
    lines = some_streamlines((3, 0, 5))
    values = np.arange(8, dtype=np.float32)
    return write(
        tmp_path / "a.trk",
        trk_bytes(
            lines, scalars=np.stack([values, -values], axis=1), scalar_names=(b"fa", b"md"),
            properties=np.arange(3, dtype=np.float32)[:, None], property_names=(b"weight",),
        ),
    )  # fmt: skip


ALL = {
    "dps/weight", "dps/length", "dpv/fa", "dpv/md", "groups/CC", "groups/CST_L", "groups/none",
    "dpg/CC/volume", "dpg/CC/box",
}  # fmt: skip
CHOICES: list[tuple[dict[str, list[str]], set[str]]] = [
    ({"keep": ["dps/weight", "dpv/*"]}, {"dps/weight", "dpv/fa", "dpv/md"}),
    ({"keep": ["groups/CC", "dpg/*/volume"]}, {"groups/CC", "dpg/CC/volume"}),
    ({"keep": ["groups/*"]}, {"groups/CC", "groups/CST_L", "groups/none"}),
    ({"keep": []}, set()),
    ({"leave_out": ["dpv/fa", "dpv/fa"]}, ALL - {"dpv/fa"}),
    ({"leave_out": ["groups/C*"]}, {label for label in ALL if "/C" not in label}),
    ({"leave_out": ["*"]}, set()),
    ({"leave_out": ["dpg/CC/box"]}, ALL - {"dpg/CC/box"}),
]


@pytest.mark.parametrize(("choice", "expected"), CHOICES)
@pytest.mark.parametrize("command", ["convert", "merge", "folder"])
def test_what_is_named_is_there_and_nothing_else(trx, tmp_path, choice, expected, command):
    output = tmp_path / "out.trx"
    if command == "convert":
        convert(trx, output, **choice)
    elif command == "merge":
        merge([trx], output, **choice)
    else:
        convert(write_plain_folder(made(), tmp_path / "in"), output, **choice)
    assert labels_of(output) == expected
    before, after = read_plain(trx).by_label(), read_plain(output).by_label()
    for label in expected:
        np.testing.assert_array_equal(after[label], before[label])
    read = TRX.load(str(output))
    assert set(read.data_per_vertex) == {label[4:] for label in expected if label.startswith("dpv/")}
    assert set(read.groups) == {label[7:] for label in expected if label.startswith("groups/")}
    read.close()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"keep": ["dpv/md"]}, {"dpv/md"}),
        ({"leave_out": ["dpv/fa"]}, {"dpv/md", "dps/weight"}),
        ({"leave_out": ["*/*"]}, set()),
    ],
)
def test_a_stream_has_what_is_wanted(trk, tmp_path, choice, expected):
    convert(trk, tmp_path / "out.trx", **choice)
    found = read_plain(tmp_path / "out.trx")
    assert labels_of(tmp_path / "out.trx") == expected
    for label in expected:
        values = {"dpv/md": -np.arange(8), "dps/weight": np.arange(3)}[label]
        np.testing.assert_array_equal(found.by_label()[label].ravel(), values)
    convert(trk, tmp_path / "out.trk", **choice)
    read = nib.streamlines.load(tmp_path / "out.trk", lazy_load=True)
    assert set(read.tractogram.data_per_point) == {label[4:] for label in expected if label.startswith("dpv/")}
    with open_input(trk, ReadOptions(**choice)) as source:
        for chunk in source.chunks():
            assert {*chunk.dps, *chunk.dpv} == {label[4:] for label in expected}
        with open_input(trk) as whole:
            for _ in whole.chunks():
                pass
            assert source.fingerprint() == whole.fingerprint()


def test_the_eleventh_name_of_a_trk_is_left_out(tmp_path):
    arrays = make_trx_arrays(lengths=[2, 3], groups={}, dpg={}, dpv={f"v{n}": (1, "<f4") for n in range(11)}, dps={})
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    with pytest.raises(InputError, match=r"names for 10; leave some out \(leave_out= or keep= in Python, --leave-out"):
        convert(path, tmp_path / "out.trk")
    convert(path, tmp_path / "out.trk", leave_out=["dpv/v4"])
    read = nib.streamlines.load(tmp_path / "out.trk").tractogram
    assert set(read.data_per_point) == set(arrays.dpv) - {"v4"}
    np.testing.assert_array_equal(read.data_per_point["v10"].get_data(), arrays.dpv["v10"])


def test_what_is_left_out_on_request_is_no_warning_and_no_mistake(trx, tmp_path):
    other = write_plain_zip(make_trx_arrays(4, dps={"weight": (1, "<f4")}, dpv={"rgb": (3, "u1")}), tmp_path / "b.trx")
    with pytest.warns(DataLossWarning, match=r"leave_out=\[\"groups/\*\"\]"):
        export(trx, tmp_path / "warned.tck")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export(trx, tmp_path / "out.tck", leave_out=["groups/*"])
        convert([trx, other], tmp_path / "both.trx", keep=["dps/weight"])
        merge([trx, other], tmp_path / "merged.trx", leave_out=["dpv/*", "dps/length", "groups/*"])
    assert labels_of(tmp_path / "both.trx") == labels_of(tmp_path / "merged.trx") == {"dps/weight"}


def test_an_array_that_is_left_out_is_not_looked_at(tmp_path):
    arrays = made()
    arrays.groups |= {"CC": np.array([0, 99], "u4"), "CST_L": np.array([1, 6, 7], "u4")}
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    data = path.read_bytes()
    at = data.index(arrays.groups["CST_L"].tobytes())
    path.write_bytes(data[:at] + b"\2" + data[at + 1 :])
    with pytest.raises(ArchiveError, match=r"groups/CST_L\.uint32"):
        convert(path, tmp_path / "no.trx", leave_out=["groups/CC"])
    with pytest.raises(ValueError, match="streamline 99"):
        convert(path, tmp_path / "no.trx", leave_out=["groups/CST_L"])
    convert(path, tmp_path / "out.trx", leave_out=["groups/C*"])
    assert labels_of(tmp_path / "out.trx") == {"dps/weight", "dps/length", "dpv/fa", "dpv/md", "groups/none"}


@pytest.mark.parametrize("option", ["keep", "leave_out"])
def test_a_name_that_matches_nothing_is_an_error_that_lists_what_there_is(trx, trk, tmp_path, option):
    flag = "--" + option.replace("_", "-")
    for names in (["dps/wieght"], ["dpv/x*", "dps/weight"], ["weight"]):
        message = rf"{option} \({flag}\): no input has an array {names[0].replace('*', '.')}; there are .*dps/weight"
        for call in (convert, merge, extract_groups):
            with pytest.raises(InputError, match=message):
                call([trx] if call is merge else trx, tmp_path / "out", **{option: names})
        with pytest.raises(InputError, match=message):
            export(trk, tmp_path / "out.trk", **{option: names})
        with pytest.raises(InputError, match=message):
            plan_conversion([ConvertInput(trx)], ReadOptions(**{option: names}))
    assert {path.name for path in tmp_path.iterdir()} == {"a.trx", "a.trk"}
    # One input that has it is enough.
    plain = write_plain_zip(make_trx_arrays(3, dps={}, dpv={}), tmp_path / "plain.trx")
    merge([plain, trx], tmp_path / "out.trx", leave_out=["dps/*", "dpv/md", "dpv/fa"])
    assert labels_of(tmp_path / "out.trx") == {label for label in ALL if label[:4] not in ("dps/", "dpv/")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": ["dps/weight"], "leave_out": ["dpv/fa"]}, "keep and leave_out are both given"),
        ({"keep": "dps/weight"}, "expected a list of names; put a single one in brackets"),
        ({"leave_out": 5}, "leave_out is 5, expected a list of names"),
        ({"leave_out": [None]}, "leave_out holds None"),
        ({"keep": ["positions"]}, "keep names positions, without which there is no tractogram"),
        ({"keep": ["dpg/CC/*"]}, "dpg/CC/.* describes groups that are not kept; keep groups/<name>, too"),
    ],
)
def test_calls_that_make_no_sense_are_refused(trx, tmp_path, options, message):
    for call in (convert, merge):
        with pytest.raises(InputError, match=message):
            call([trx], tmp_path / "out.trx", **options)
    assert not (tmp_path / "out.trx").exists()


@pytest.mark.parametrize("choice", [{"keep": ["dpv/fa"]}, {"leave_out": ["groups/*", "dps/*", "dpv/md"]}])
def test_the_group_that_is_exported_need_not_be_named(trx, tmp_path, choice):
    info, _ = export(trx, tmp_path / "out.tck", group="CST_L", **choice)
    assert info.nb_streamlines == 4
    assert {path.name for path in tmp_path.glob("out*")} == {"out.tck", "out_fa.tsf"}
    with pytest.raises(GroupNotFoundError, match="no group 'nope'; it has CC"):
        export(trx, tmp_path / "out.tck", group="nope", **choice)


def test_groups_are_extracted_with_what_is_wanted(trx, tmp_path):
    extract_groups(trx, tmp_path / "keep", ["CC", "CST_L"], keep=["dpv/fa"])
    assert labels_of(tmp_path / "keep" / "CC.trx") == {"dpv/fa", "groups/CC"}
    assert labels_of(tmp_path / "keep" / "CST_L.trx") == {"dpv/fa", "groups/CST_L"}
    extract_groups(trx, tmp_path / "out", leave_out=["groups/CST_L", "dps/*"])
    assert labels_of(tmp_path / "out" / "CC.trx") == {"dpv/fa", "dpv/md", "groups/CC", "dpg/CC/volume", "dpg/CC/box"}
    assert run("groups", trx, "CC", "--extract", tmp_path / "cli", "--keep", "dpv/fa").exit_code == 0
    assert (tmp_path / "cli" / "CC.trx").read_bytes() == (tmp_path / "keep" / "CC.trx").read_bytes()
    assert run("groups", trx, "--keep", "dpv/fa").exit_code == 2


def test_a_plan_opens_its_inputs_with_the_same_choice(trx, trk, tmp_path):
    common = ReadOptions(keep=["dpv/*"])
    plan_conversion([ConvertInput(trx), ConvertInput(trk)], common, space="world").save(tmp_path / "plan.json")
    plan = Plan.load(tmp_path / "plan.json")
    write_container(plan, lambda _, item: open_input(item.path, item.options), tmp_path / "out.trx")
    assert labels_of(tmp_path / "out.trx") == {"dpv/fa", "dpv/md"}
    convert([trx, trk], tmp_path / "same.trx", keep=["dpv/*"], space="world")
    assert (tmp_path / "out.trx").read_bytes() == (tmp_path / "same.trx").read_bytes()


def test_the_record_says_what_was_left_out(trx, tmp_path):
    (plain,) = convert(trx, tmp_path / "all.trx")
    (chosen,) = convert(trx, tmp_path / "out.trx", leave_out=["dpv/*"], nonfinite="drop")
    assert "left_out" not in plain.record
    assert chosen.record["left_out"] == ["dpv/fa", "dpv/md"]
    assert chosen.fingerprint == plain.fingerprint


def test_the_command_line_names_arrays(trx, tmp_path):
    result = run("convert", trx, tmp_path / "out.trx", "--keep", "dps/weight", "--keep", "dpv/*")
    assert result.exit_code == 0, result.output
    assert labels_of(tmp_path / "out.trx") == {"dps/weight", "dpv/fa", "dpv/md"}
    assert run("merge", trx, tmp_path / "merged.trx", "--leave-out", "groups/*").exit_code == 0
    assert labels_of(tmp_path / "merged.trx") == {"dps/weight", "dps/length", "dpv/fa", "dpv/md"}
    result = run("convert", trx, tmp_path / "no.trx", "--keep", "dpv/*", "--leave-out", "dpv/fa")
    assert result.exit_code == 2
    assert "--keep and --leave-out are both given" in result.stderr
