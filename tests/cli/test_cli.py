"""The command line: what it prints, where, and with which status."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import trxlib
from tests.helpers import AFFINE, DIMENSIONS, assert_trx_equal, make_trx_arrays, read_plain, write_plain_zip
from trxlib.cli import main
from trxlib.cli.main import COMMANDS, make_parser

TCK_HEADER = "mrtrix tracks\ndatatype: Float32LE\ncount: {count}\nfile: . {start}\nEND\n"
#: Snippets that importing `trxlib.commands.merge` may compile: a dataclass takes up to ten.
MOST_COMPILED = 200


class Result(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def run(*args: object) -> Result:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(arg) for arg in args])
    return Result(status, out.getvalue(), err.getvalue())


def write_tck(path: Path, streamlines: list[np.ndarray], count: int | None = None) -> Path:
    """Write a TCK by hand."""
    head = TCK_HEADER.format(count=len(streamlines) if count is None else count, start=128).encode()
    rows = [row for points in streamlines for row in (points, [[np.nan] * 3])]
    data = np.concatenate([*rows, [[np.inf] * 3]]).astype("<f4").tobytes()
    path.write_bytes(head.ljust(128, b"\0") + data)
    return path


@pytest.fixture
def trx(tmp_path):
    return write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")


@pytest.fixture
def tck(tmp_path):
    return write_tck(tmp_path / "a.tck", [np.arange(6).reshape(2, 3), np.arange(9).reshape(3, 3)])


def test_info_shows_counts_space_arrays_and_groups(trx):
    result = run("info", trx)
    assert result.exit_code == 0, result.output
    arrays = make_trx_arrays()
    for text in ("trx, ", f"streamlines  {arrays.header.nb_streamlines}", "80 x 96 x 64", "color: 3 x uint8"):
        assert text in result.stdout
    assert "CST_L: 6" in result.stdout
    assert "CC: box, volume" in result.stdout
    assert "MADE_BY: a test" in result.stdout


def test_info_as_json_is_one_list_for_all_files(trx, tck):
    result = run("info", "--json", trx, tck)
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)
    assert (first["format"], first["nb_streamlines"], first["groups"]["CC"]) == ("trx", 12, 12)
    assert first["voxel_to_rasmm"] == AFFINE.tolist()
    assert first["dimensions"] == list(DIMENSIONS)
    assert first["bytes"] == trx.stat().st_size
    assert (second["format"], second["nb_streamlines"], second["nb_vertices"]) == ("tck", 2, 5)
    assert second["voxel_to_rasmm"] is None


def test_info_of_a_folder_adds_up_its_files(trx, tmp_path):
    with zipfile.ZipFile(trx) as archive:
        archive.extractall(tmp_path / "folder")
        total = sum(info.file_size for info in archive.infolist())
    (facts,) = json.loads(run("info", "--json", tmp_path / "folder").stdout)
    assert facts["bytes"] == total


def test_convert_puts_named_inputs_into_groups(tck, trx, tmp_path):
    other = write_tck(tmp_path / "b.tck", [np.ones((4, 3))])
    output = tmp_path / "out.trx"
    result = run("convert", f"left={tck}", f"right={other}", output, "--reference", trx)
    assert result.exit_code == 0, result.output
    arrays = read_plain(output)
    assert arrays.groups["left"].tolist() == [0, 1]
    assert arrays.groups["right"].tolist() == [2]
    assert arrays.header.dimensions == DIMENSIONS


def test_convert_takes_an_affine_in_text(tck, tmp_path):
    affine, output = tmp_path / "aff.txt", tmp_path / "out.trx"
    affine.write_text("2 0 0 1\n0 2 0 1\n0 0 2 1\n0 0 0 1\n")
    result = run("convert", tck, output, "--reference", affine, "--dimensions", "50", "60", "70")
    assert result.exit_code == 0, result.output
    assert read_plain(output).header.dimensions == (50, 60, 70)
    assert run("convert", tck, tmp_path / "out.tck", "--reference", affine, "--dimensions", 50, 60, 70).exit_code == 0
    result = run("convert", tck, tmp_path / "no.trx", "--reference", affine)
    assert result.exit_code == 1
    assert "aff.txt has an affine and no dimensions" in result.stderr
    affine.write_text(affine.read_text() + "50 60 70\n")
    assert run("convert", tck, output, "--reference", affine, "--force").exit_code == 0
    assert run("convert", tck, output, "--dimensions", 50, 60, 70, "--force").exit_code == 2


def test_convert_gives_its_options_on(tck, trx, tmp_path):
    weights = tmp_path / "w.txt"
    weights.write_text("0.5\n2\n")
    output = tmp_path / "out.trx"
    result = run(
        "convert", tck, output, "--reference", trx, "--group", "CC", "--dps", f"sift={weights}",
        "--positions-dtype", "float16", "--compress", "--level", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    arrays = read_plain(output)
    assert arrays.positions.dtype == np.float16
    assert arrays.dps["sift"].tolist() == [[0.5], [2.0]]
    assert arrays.groups["CC"].tolist() == [0, 1]
    with zipfile.ZipFile(output) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}


def test_convert_takes_a_file_whose_name_has_an_equals_sign(tck, trx, tmp_path):
    odd = tck.rename(tmp_path / "a=b.tck")
    assert run("convert", odd, tmp_path / "out.trx", "--reference", trx).exit_code == 0
    assert read_plain(tmp_path / "out.trx").groups == {}


@pytest.mark.parametrize("suffix", [".trk", ".tck"])
def test_convert_writes_trk_and_tck(trx, tmp_path, suffix):
    result = run("convert", trx, tmp_path / f"out{suffix}")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("warning: ")
    assert "CST_L" in result.stderr
    (facts,) = json.loads(run("info", "--json", tmp_path / f"out{suffix}").stdout)
    assert (facts["format"], facts["nb_streamlines"]) == (suffix[1:], 12)


def test_convert_writes_one_group_as_tck(trx, tmp_path):
    result = run("convert", f"CST_L={trx}", tmp_path / "out.tck")
    assert (result.exit_code, result.stderr) == (0, "")
    (facts,) = json.loads(run("info", "--json", tmp_path / "out.tck").stdout)
    assert facts["nb_streamlines"] == 6


def test_warnings_are_a_line_on_stderr(tmp_path, trx):
    lying = write_tck(tmp_path / "lying.tck", [np.ones((2, 3))], count=7)
    result = run("convert", lying, tmp_path / "out.trx", "--reference", trx)
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("warning: ")
    assert "counts 7 streamlines" in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_merge_is_that_of_the_library(trx, tmp_path):
    other = write_plain_zip(make_trx_arrays(5, seed=1), tmp_path / "b.trx")
    result = run("merge", trx, other, tmp_path / "out.trx", "--name", "one", "--name", "two", "--workers", 2)
    assert result.exit_code == 0, result.output
    trxlib.merge([trx, other], tmp_path / "wanted.trx", names=["one", "two"])
    assert_trx_equal(tmp_path / "out.trx", tmp_path / "wanted.trx")
    assert (tmp_path / "out.trx").read_bytes() == (tmp_path / "wanted.trx").read_bytes()


def test_validate_lists_every_problem_and_fails(trx, tmp_path):
    arrays = make_trx_arrays(dps={}, dpv={}, groups={"far": [99], "farther": [100]}, dpg={})
    bad = write_plain_zip(arrays, tmp_path / "bad.trx")
    result = run("validate", trx, bad)
    assert result.exit_code == 1
    assert f"{trx}: good\n" in result.stdout
    assert result.stdout.count(f"{bad}: ") == 2
    assert "streamline 99" in result.stdout
    assert "streamline 100" in result.stdout


def test_validate_reads_the_data_unless_told_not_to(trx):
    data = bytearray(trx.read_bytes())
    at = data.index(read_plain(trx).positions.tobytes())
    data[at] ^= 1
    trx.write_bytes(data)
    assert run("validate", trx).exit_code == 1
    assert run("validate", "--no-crc", trx).exit_code == 0


def test_validate_says_as_json_what_was_found_and_goes_on_after_a_file_that_is_not_there(trx, tmp_path):
    arrays = make_trx_arrays(lengths=[1, 3], dps={}, dpv={}, groups={}, dpg={}, dimensions=(1000, 1000, 1000))
    odd = write_plain_zip(arrays, tmp_path / "odd.trx")
    far = write_plain_zip(make_trx_arrays(dps={}, dpv={}, groups={"far": [99]}, dpg={}), tmp_path / "far.trx")
    result = run("validate", "--json", trx, far)
    assert result.exit_code == 1
    good, bad = json.loads(result.stdout)
    assert good == {"path": str(trx), "good": True, "error": None, "problems": [], "findings": []}
    assert (bad["good"], bad["problems"][0]["kind"]) == (False, "ShapeError")
    assert "streamline 99" in bad["problems"][0]["message"]
    result = run("validate", "--json", "--content", tmp_path / "absent.trx", odd)
    assert result.exit_code == 2
    absent, odd_facts = json.loads(result.stdout)
    assert "absent.trx" in absent["error"]
    assert {"kind": "of one vertex", "array": "streamlines", "count": 1, "first": [0], "note": ""} in odd_facts[
        "findings"
    ]


def test_groups_lists_and_extracts(trx, tmp_path):
    assert run("groups", trx).stdout == "CC\t12\nCST_L\t6\nnone\t0\n"
    result = run("groups", trx, "CST_L", "--extract", tmp_path / "groups")
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "groups").iterdir()] == ["CST_L.trx"]
    assert read_plain(tmp_path / "groups" / "CST_L.trx").header.nb_streamlines == 6


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("info", "{folder}/nothing.trk"), "does not exist"),
        (("convert", "{tck}", "{folder}/out.trx"), "give a reference"),
        (("groups", "{trx}", "SLF"), "no group 'SLF'"),
        (("groups", "{trx}", "SLF", "--extract", "{folder}/g"), "no group 'SLF'"),
        (("merge", "{trx}", "{tck}", "{folder}/out.trx"), "a.tck"),
    ],
)
def test_an_error_is_one_message_on_stderr(args, text, trx, tck, tmp_path):
    result = run(*(arg.format(folder=tmp_path, trx=trx, tck=tck) for arg in args))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.trx").exists()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("convert", "only.trk"), "at least one INPUT"),
        (("merge", "only.trx"), "at least one INPUT"),
        (("merge", "a.trx", "b.trx", "out.trx", "--name", "x"), "--name is given 1 times for 2 inputs"),
        (("convert", "a.trk", "b.trk", "out.trx", "--dps", "w=w.txt"), "belong to one input"),
        (("convert", "a.trk", "out.trx", "--dps", "w.txt"), "KEY=FILE"),
        (("convert", "a.trk", "b.trk", "c.trk", "out.trx", "--group", "x", "--group", "y"), "--group is given 2 times"),
        (("convert", "g=a.trk", "out.trx", "--group", "x"), "use one of the two"),
        (("convert", "a.trk", "out.trx", "--positions-dtype", "int8"), "float16"),
    ],
)
def test_a_mistake_in_the_call_has_status_2(args, text):
    result = run(*args)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stderr.startswith("usage: trxlib ")


def test_the_command_as_a_process(trx, tmp_path):
    call = [sys.executable, "-c", "import sys; from trxlib.cli import main; sys.exit(main())"]
    root = Path(trxlib.__file__).parents[1]
    good = subprocess.run([*call, "info", trx], capture_output=True, text=True, cwd=root, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert "streamlines  12" in good.stdout
    bad = subprocess.run([*call, "info", tmp_path / "no.trx"], capture_output=True, text=True, cwd=root, check=False)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.startswith("error: ")
    assert bad.stderr.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_names_its_arguments(name):
    result = run(name, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: trxlib {name} [OPTIONS] ")
    assert COMMANDS[name].summary in result.stdout
    assert "%" not in result.stdout


def test_the_help_names_all_commands():
    for args in (["--help"], ["-h"]):
        result = run(*args)
        assert (result.exit_code, result.stderr) == (0, "")
        assert all(f"  {name} " in result.stdout and row.summary in result.stdout for name, row in COMMANDS.items())
    # Without a command it is an answer to a mistake.
    assert run() == (2, "", result.stdout)


def test_an_option_is_spelled_and_explained_once_over_all_commands():
    texts: dict[str, str] = {}
    for name in COMMANDS:
        for action in make_parser(name)._actions:
            for option in action.option_strings:
                own = "" if option == "--workers" else str(action.help)  # says whose workers they are
                assert texts.setdefault(option, own) == own, f"{name} {option}"
                assert option == "-h" or option.startswith("--")
    assert len(texts) > 20


@pytest.mark.parametrize("args", [(), ("fetch",), ("--fetch",), ("info",), ("merge", "a.trx", "b.trx", "--forc")])
def test_an_unknown_call_says_what_there_is(args):
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--help lists" in result.stderr


def test_options_may_stand_between_files_and_files_begin_with_a_dash(trx, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trx.rename("-a.trx")
    assert run("merge", "./-a.trx", "--name", "one", "--", "out.trx").exit_code == 0
    assert run("info", "--json", "--", "-a.trx").exit_code == 0
    assert read_plain(tmp_path / "out.trx").groups["one"].tolist() == list(range(12))


def test_names_from_files_never_steer_the_terminal(tmp_path):
    odd = "CST\x1b[2K\x9b31m\u202e"
    arrays = make_trx_arrays(dps={odd: (1, "<f4")}, dpv={}, groups={odd: [0]}, dpg={}, extra={"BY": f"me\n{odd}"})
    path = write_plain_zip(arrays, tmp_path / "a\x1b.trx")
    for args in (("info", path), ("groups", path), ("validate", path), ("info", "--json", path), ("groups", path, odd)):
        result = run(*args)
        text = result.output.replace("\n", "").replace("\t", "")
        assert text.isprintable(), args
    (facts,) = json.loads(run("info", "--json", path).stdout)
    assert facts["header"]["BY"] == f"me\n{odd}"
    result = run("info", tmp_path / "\x1b]0;no.trk")
    assert result.exit_code == 1
    assert r"\x1b]0;no.trk" in result.stderr
    assert "\x1b" not in result.stderr


def test_a_reader_who_has_seen_enough_is_no_error(trx):
    code = f"import sys; from trxlib.cli import main; sys.exit(main(['info', *[{str(trx)!r}] * 300]))"
    root = Path(trxlib.__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root) as p:
        assert p.stdout.readline()
        p.stdout.close()
        assert p.stderr.read() == b""
    assert p.returncode == 1


def modules_of(*args: object) -> list[str]:
    """Return the packages that a new process has imported once the command has run, without the standard library."""
    code = (
        "import sys; from trxlib.cli import main; status = main(sys.argv[1:])\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(status)"
    )
    call = [sys.executable, "-c", code, *map(str, args)]
    root = Path(trxlib.__file__).parents[1]
    done = subprocess.run(call, capture_output=True, text=True, cwd=root, check=True)
    return done.stderr.split()


@pytest.mark.parametrize(
    "command", ["--version", "--help", "convert --help", "info {trx}", "info {trk}", "info {folder}", "groups {trx}"]
)
def test_what_only_looks_starts_without_heavy_packages(command, trx, tmp_path):
    trk = tmp_path / "a.trk"
    trxlib.export(write_plain_zip(make_trx_arrays(groups={}, dps={}, dpv={}), tmp_path / "plain.trx"), trk)
    with zipfile.ZipFile(trx) as archive:
        archive.extractall(tmp_path / "folder")
    modules = modules_of(*command.format(trx=trx, trk=trk, folder=tmp_path / "folder").split(" "))
    assert "trxlib" in modules
    heavy = ("numpy", "nibabel", "dipy", "isal", "rich", "pydantic", "yaml", "jsonschema", "dataclasses", "asyncio")
    assert set(heavy).isdisjoint(modules)


def test_importing_the_library_compiles_little():
    """Code that is made when a module is imported (methods of a dataclass) is made anew by every process."""
    code = (
        "import sys, numpy\n"
        "made = []\n"
        "sys.addaudithook(lambda event, args: made.append(args) if event == 'compile' else None)\n"
        "import trxlib.commands.merge\n"
        "print(len(made))"
    )
    root = Path(trxlib.__file__).parents[1]
    call = [sys.executable, "-c", code]
    subprocess.run(call, capture_output=True, cwd=root, check=True)  # once, so that compiled modules are there
    done = subprocess.run(call, capture_output=True, text=True, cwd=root, check=True)
    assert int(done.stdout) < MOST_COMPILED


def test_version():
    assert run("--version").stdout == f"trxlib {trxlib.__version__}\n"


def test_an_output_that_exists_is_replaced_only_by_force(trx, tmp_path):
    """Who forgets the output has named an input last."""
    other = write_plain_zip(make_trx_arrays(5), tmp_path / "b.trx")
    before = other.read_bytes()
    for command in ("merge", "convert"):
        result = run(command, trx, other)
        assert result.exit_code == 1
        assert "exists, and would be replaced" in result.stderr
        assert "the last path is what is written" in result.stderr
        assert other.read_bytes() == before
    assert run("merge", "--force", trx, other).exit_code == 0
    assert read_plain(other).header.nb_streamlines == 12


def test_files_beside_a_tck_are_replaced_only_by_force(trx, tmp_path):
    beside = tmp_path / "k_weight.txt"
    arrays = make_trx_arrays(dps={"weight": (1, "<f4")}, dpv={}, groups={}, dpg={})
    source = write_plain_zip(arrays, tmp_path / "plain.trx")
    beside.write_text("precious")
    result = run("convert", source, tmp_path / "k.tck")
    assert result.exit_code == 1
    assert "k_weight.txt: exists" in result.stderr
    assert "--force" in result.stderr
    assert beside.read_text() == "precious"
    assert not (tmp_path / "k.tck").exists()
    assert run("convert", "--force", source, tmp_path / "k.tck").exit_code == 0
    assert beside.read_text() != "precious"
    result = run("convert", "--force", source, source)
    assert result.exit_code == 1
    assert "would replace the input" in result.stderr


def test_options_that_would_do_nothing_are_refused(trx, tmp_path):
    for option in (["--compress"], ["--missing", "fill"], ["--compress", "--level", 3]):
        result = run("convert", f"CST_L={trx}", tmp_path / "out.tck", *option)
        assert result.exit_code == 1
        assert f"{option[0]} has no meaning for this format" in result.stderr
        assert not (tmp_path / "out.tck").exists()
    assert run("convert", trx, tmp_path / "out.trx", "--level", 3).exit_code == 2


def test_a_cut_vtk_is_a_message(tmp_path):
    (tmp_path / "a.vtk").write_text("# vtk DataFile Version 3.0\n")
    result = run("info", tmp_path / "a.vtk")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "a.vtk: the file ends at byte 27, expected ASCII or BINARY" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_space_of_a_vtk_can_be_said(trx, tmp_path):
    head = "# vtk DataFile Version 3.0\nfibers\nASCII\nDATASET POLYDATA\n"
    (tmp_path / "a.vtk").write_text(f"{head}POINTS 2 float\n-1 -2 3 -2 -3 4\nLINES 1 3\n2 0 1\n")
    call = ("convert", tmp_path / "a.vtk", tmp_path / "out.trx", "--reference", trx, "--max-outside", 1)
    result = run(*call)
    assert result.exit_code == 0
    assert "RAS is assumed" in result.stderr
    assert "--vtk-space" in result.stderr
    result = run(*call, "--force", "--vtk-space", "LPS")
    assert result.exit_code == 0
    assert "assumed" not in result.stderr
    assert trxlib.load(tmp_path / "out.trx").streamlines[0].tolist() == [[1, 2, 3], [2, 3, 4]]


def test_info_of_a_dpy_needs_no_reference(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    with h5py.File(tmp_path / "a.dpy", "w") as file:
        file["streamlines/tracks"] = np.ones((5, 3), "f4")
        file["streamlines/offsets"] = np.array([0, 2, 5])
    result = run("info", tmp_path / "a.dpy")
    assert result.exit_code == 0, result.output
    assert "streamlines  2" in result.stdout
    assert "a reference is needed to convert it" in result.stdout


def test_python_m_trxlib_is_the_command():
    root = Path(trxlib.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "trxlib", "--version"], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout == f"trxlib {trxlib.__version__}\n"


def test_convert_attaches_what_lies_beside_and_says_so(tck, trx, tmp_path):
    (tmp_path / "a_sift.txt").write_text("0.5\n2\n")
    (tmp_path / "a_note.txt").write_text("three\nlines\nhere\n")
    result = run("convert", tck, tmp_path / "out.trx", "--reference", trx)
    assert result.exit_code == 0, result.output
    assert read_plain(tmp_path / "out.trx").dps["sift"].tolist() == [[0.5], [2.0]]
    said, left = sorted(result.stderr.splitlines())
    assert said == f"{tck}: found beside it and attached: dps/sift of {tmp_path / 'a_sift.txt'}"
    assert left.startswith(f"warning: {tmp_path / 'a_note.txt'} lies beside {tck} and is left out: ")
    result = run("convert", tck, tmp_path / "none.trx", "--reference", trx, "--companions", "none")
    assert (result.exit_code, result.output) == (0, "")
    assert read_plain(tmp_path / "none.trx").dps == {}


def test_convert_refuses_a_tsf_of_another_tck_unless_told(trx, tmp_path):
    lines = [np.zeros((2, 3)), np.ones((3, 3))]
    for name in ("a", "b"):
        write_tck(tmp_path / f"{name}.tck", [points + ord(name) for points in lines])
    other = tmp_path / "scalars.npy"
    np.save(other, np.arange(5, dtype=np.float32))
    common = ("--reference", trx, "--max-outside", 1, "--warn-outside", 1)
    for name in ("a", "b"):
        call = ("convert", tmp_path / f"{name}.tck", tmp_path / f"out_{name}.tck", "--dpv", f"fa={other}")
        assert run(*call, *common).exit_code == 0
    call = ("convert", tmp_path / "out_a.tck", tmp_path / "x.trx", "--dpv", f"fa={tmp_path / 'out_b_fa.tsf'}", *common)
    result = run(*call)
    assert result.exit_code == 1
    assert "out_b_fa.tsf has the timestamp" in result.stderr
    result = run(*call, "--accept-timestamp-mismatch")
    assert result.exit_code == 0
    assert "are accepted" in result.stderr
