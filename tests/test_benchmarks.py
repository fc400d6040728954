"""The benchmarks measure what they say, their data are right, and the hot loops cost no more than they did."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import trxlib
from benchmarks import cases, counters, data, instructions
from benchmarks.__main__ import data_needs, parse
from benchmarks.cases import CASES, Case
from benchmarks.measure import BenchmarkError, Entry, Sample, run_once, run_side_by_side
from benchmarks.report import ABSENT, START, Row, folder_in_memory, markdown, rows_of, scaling_series, slope_of
from benchmarks.truth import Truth
from tests.helpers import read_plain

ROOT = Path(__file__).resolve().parents[1]
HAS_PROC = Path("/proc/self/io").is_file()


# Data


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    counters.make_inputs(folder, 300)
    return folder


@pytest.fixture(scope="module")
def walked():
    return next(data.walk(300, seed=7))


def test_the_same_seed_gives_the_same_streamlines_within_the_grid(walked):
    again = next(data.walk(300, seed=7))
    other = next(data.walk(300, seed=8))
    assert np.array_equal(walked.positions, again.positions)
    assert not np.array_equal(walked.positions[:100], other.positions[:100])
    assert 70 < walked.lengths.mean() < 90
    assert np.abs(walked.positions).max() <= 100


@pytest.mark.parametrize("name", ["whole.trk", "rotated.trk", "data.trk", "whole.tck"])
def test_nibabel_reads_the_generated_streamlines(inputs, walked, name):
    file = nib.streamlines.load(inputs / name)
    assert np.array_equal(file.streamlines._lengths, walked.lengths)
    np.testing.assert_allclose(file.streamlines._data, walked.positions, atol=1e-4)
    if name == "data.trk":
        assert np.array_equal(file.tractogram.data_per_point["fa"]._data[:, 0], walked.fa)
        assert np.array_equal(file.tractogram.data_per_streamline["weight"][:, 0], walked.weight)


def test_the_generated_trx_is_whole(inputs, walked):
    arrays = read_plain(inputs / "whole.trx")
    assert np.array_equal(arrays.positions, walked.positions)
    assert np.array_equal(np.diff(arrays.offsets), walked.lengths)
    assert np.array_equal(arrays.groups["part50"], np.flatnonzero(walked.draw < 0.5))
    assert np.array_equal(arrays.groups["runs50"], np.flatnonzero(np.arange(300) // 15 % 2 == 0))


def test_the_reference_is_the_grid_of_the_data(inputs):
    image = nib.load(inputs / "reference.nii")
    assert image.shape == data.DIMENSIONS
    assert np.array_equal(image.affine, data.AFFINES["axis-aligned"])


# Measuring


@pytest.mark.skipif(not HAS_PROC, reason="needs /proc of Linux")
def test_time_and_memory_are_those_of_the_process():
    code = "import time; data = bytearray(80_000_000); time.sleep(0.3); print(len(data))"
    sample = run_once([sys.executable, "-c", code], limit=30)
    assert 0.3 < sample.seconds < 10
    assert 80e6 < sample.anon < 160e6
    assert sample.rss >= sample.anon
    assert sample.output == "80000000\n"
    assert sample.cpu < sample.seconds + 1


def test_a_process_that_fails_says_why():
    with pytest.raises(BenchmarkError, match="ValueError: so it is"):
        run_once([sys.executable, "-c", "raise ValueError('so it is')"], limit=30)


@pytest.mark.skipif(not HAS_PROC, reason="needs /proc of Linux")
def test_a_process_that_takes_too_long_is_stopped():
    with pytest.raises(BenchmarkError, match="stopped after"):
        run_once([sys.executable, "-c", "import time; time.sleep(60)"], limit=0.3)


def run_entries(tmp_path, *entries, **options):
    settings = {"repeat": 2, "limit": 30, "patience": 10} | options
    run_side_by_side(entries, tmp_path / "out", say=lambda _: None, **settings)


def test_entries_take_turns_and_begin_in_an_empty_folder(tmp_path):
    log = tmp_path / "log"
    shell = 'test -z "$(ls -A "$1")" && echo "$2" >> "$3" && touch "$1/result"'
    first, second = (
        Entry(name, ["sh", "-c", shell, "_", "{out}", name, str(log)], lambda folder, *_: (folder / "result").stat())
        for name in "AB"
    )
    run_entries(tmp_path, first, second)
    assert log.read_text().split() == list("ABABAB")
    assert len(first.samples) == len(second.samples) == 2
    assert not (tmp_path / "out").exists()


def test_a_wrong_result_is_an_error_of_the_entry(tmp_path):
    def check(folder, output, thorough):
        raise BenchmarkError("has 3 streamlines")

    wrong, right = Entry("wrong", ["true"], check, peer=True), Entry("right", ["true"])
    run_entries(tmp_path, wrong, right)
    assert (wrong.error, wrong.samples) == ("has 3 streamlines", [])
    assert len(right.samples) == 2


def test_the_warm_up_of_a_slow_peer_is_all_and_results_are_looked_at_in_the_warm_up(tmp_path):
    looks = {"peer": [], "ours": [], "quick": []}

    def looking(name, seconds, **options):
        return Entry(name, ["sleep", seconds], lambda *arguments: looks[name].append(arguments[2]), **options)

    entries = [looking("peer", "0.5", peer=True), looking("ours", "0.5"), looking("quick", "0", peer=True)]
    run_entries(tmp_path, *entries, repeat=3, patience=0.4)
    assert looks == {"peer": [True], "ours": [True, False, False], "quick": [True, False, False, False]}
    assert [len(entry.samples) for entry in entries] == [1, 2, 3]


def test_temporary_files_lie_beside_the_output(tmp_path):
    shell = "echo $TMPDIR $TRX_TMPDIR; ls -d $TMPDIR"
    outputs = []
    place = tmp_path / "temporary"
    run_entries(tmp_path, Entry("sh", ["sh", "-c", shell], lambda _, output, __: outputs.append(output)), repeat=1)
    assert outputs == [f"{place} {place}\n{place}\n"] * 2
    assert not place.exists()


@pytest.mark.skipif(not HAS_PROC, reason="needs /proc of Linux")
def test_memory_of_a_workflow_is_that_of_all_its_processes():
    code = "import time; data = bytearray(60_000_000); time.sleep(1)"
    command = ["sh", "-c", f"{sys.executable} -c '{code}' & {sys.executable} -c '{code}'; wait"]
    sample = run_once(command, limit=30, tree=True)
    assert 120e6 < sample.anon < 250e6


@pytest.mark.skipif(not HAS_PROC, reason="needs /proc of Linux")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_process_and_no_data(tmp_path, number, status):
    command = [sys.executable, "-m", "benchmarks", "--size", "XS", "--cases", "import", "--repeat", "100000"]
    paths = ["--data", tmp_path / "data", "--results", tmp_path / "results"]
    run = subprocess.Popen([*command, *paths], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout is not None
    while b"trxlib, first use of merge" not in run.stdout.readline():
        assert run.poll() is None
    run.send_signal(number)
    run.communicate(timeout=30)
    assert run.returncode == status
    assert not (tmp_path / "data").exists()
    left = [path for path in Path("/proc").glob("[0-9]*/environ") if _has(path, f"{run.pid}")]
    assert not left


def _has(path, parent):
    try:
        return (path.parent / "stat").read_text().rpartition(")")[2].split()[1] == parent
    except OSError:
        return False


# What a result must hold


@pytest.mark.parametrize("name", ["whole.trk", "rotated.trk", "data.trk", "whole.tck", "whole.trx"])
def test_the_truth_holds_for_every_format(inputs, walked, name):
    truth = Truth()
    truth.add(walked.lengths, walked.positions, {"dpv/fa": walked.fa, "dps/weight": walked.weight})
    truth.check(inputs / name, {"data.trk": ["dps/weight", "dpv/fa"], "whole.trx": ["dps/weight"]}.get(name, []))
    if "data" not in name:
        with pytest.raises(BenchmarkError, match="has no dpv/fa"):
            truth.check(inputs / name, ["dpv/fa"])


def test_a_result_with_other_streamlines_is_no_result(inputs, walked, tmp_path):
    truth = Truth()
    truth.add(walked.lengths, walked.positions, {"dps/weight": walked.weight})
    (tmp_path / "empty.trx").write_bytes(b"PK")
    with pytest.raises(BenchmarkError, match=r"empty.trx cannot be read"):
        truth.check(tmp_path / "empty.trx")
    content = bytearray((inputs / "whole.trk").read_bytes())
    (tmp_path / "cut.trk").write_bytes(content[:1000])
    with pytest.raises(BenchmarkError, match=r"cut.trk"):
        truth.check(tmp_path / "cut.trk")
    words = np.frombuffer(content, "<i4", offset=1000)
    zeros = bytearray(content[:1000] + np.where(words < 1000, words, 0).astype("<i4").tobytes())
    (tmp_path / "zeros.trk").write_bytes(zeros)
    with pytest.raises(BenchmarkError, match="positions: row 0 is"):
        truth.check(tmp_path / "zeros.trk")
    other = Truth()
    other.add(walked.lengths, walked.positions, {"dps/weight": 1 - walked.weight})
    with pytest.raises(BenchmarkError, match="dps/weight: row 0 is"):
        other.check(inputs / "data.trk")
    swapped = Truth()
    swapped.add(walked.lengths[::-1], walked.positions, {})
    with pytest.raises(BenchmarkError, match="lengths"):
        swapped.check(inputs / "whole.tck")


def test_the_truth_of_several_files_is_that_of_one_behind_the_other(tmp_path):
    parts = list(itertools.islice(data.walk(60_000, seed=3), 3))
    whole = Truth()
    for number, block in enumerate(parts):
        for truth in (whole, part := Truth()):
            truth.add(block.lengths, block.positions, {"dps/weight": block.weight})
        part.save(tmp_path / f"{number}.npz")
    joined = Truth.load([tmp_path / f"{number}.npz" for number in range(3)])
    writer = data.TckWriter(tmp_path / "whole.tck")
    for block in parts:
        writer.add(block)
    writer.close()
    whole.check(tmp_path / "whole.tck")
    joined.check(tmp_path / "whole.tck")
    assert joined.data["dps/weight"].count == 60_000


def test_a_result_that_tells_another_space_is_wrong(inputs, walked):
    truth = Truth()
    truth.add(walked.lengths, walked.positions, {})
    aligned, rotated = ((affine, data.DIMENSIONS) for affine in data.AFFINES.values())
    for name in ("whole.trx", "whole.trk", "whole.tck"):
        truth.check(inputs / name, space=aligned)
    truth.check(inputs / "rotated.trk", space=rotated)
    for name in ("whole.trx", "whole.trk"):
        with pytest.raises(BenchmarkError, match=f"wrong: {name} tells another affine"):
            truth.check(inputs / name, space=rotated)
        with pytest.raises(BenchmarkError, match=f"wrong: {name} tells a grid of"):
            truth.check(inputs / name, space=(aligned[0], (1, 1, 1)))


# Which data are there, and where


def test_data_are_there_for_each_case_and_go_after_the_last_that_needs_them():
    found = data_needs(CASES)
    assert all(set(case.needs) <= there for case, (there, _) in zip(CASES, found, strict=True))
    gone = [need for _, needs in found for need in needs]
    assert sorted(gone) == sorted({need for case in CASES for need in case.needs})
    assert max(data.nbytes_of(there, "M") for there, _ in found) < 8e9


def test_data_that_no_case_needs_any_more_are_removed(tmp_path):
    data.make_data(tmp_path, "XS", {"pair", "folders10"})
    folders = [tmp_path / f"folders10/sub-{number:03d}" for number in range(1, 11)]
    assert all((folder / "header.json").is_file() for folder in folders)
    data.remove_data(tmp_path, "folders10")
    assert not any(folder.exists() for folder in folders)
    assert set(data.make_data(tmp_path, "XS", {"pair"})) == {
        f"pair/sub-{number}.{kind}" for number in ("001", "002") for kind in ("trk", "trx")
    }


def test_a_folder_in_memory_is_taken_only_if_it_has_room(tmp_path):
    assert folder_in_memory(10**18) is None
    assert folder_in_memory(0, tmp_path / "missing") is None
    found = folder_in_memory(1000)
    assert found in (None, Path("/dev/shm"))


def test_absent_programs_are_left_out_and_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    absent = cases.absent_peers()
    assert "trx-rs" in absent
    assert "nibabel" not in absent
    assert cases.peers(("trx-rs", "trxrs", ["trxrs", "info"], None)) == []
    program = tmp_path / "trxrs"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert "trx-rs" not in cases.absent_peers()
    (found,) = cases.peers(("trx-rs", "trxrs", ["trxrs", "info"], None))
    assert found.command == [str(program), "info"]
    text = markdown("S", {"date": "today", ABSENT: "trx-rs, MRtrix3"}, [], "python -m benchmarks")
    assert "Left out, because they are not installed here: trx-rs, MRtrix3." in text


# Reporting


def entry(name, seconds, anon=0, **options):
    return Entry(name, [], samples=[Sample(s, s, anon, anon, "") for s in seconds], **options)


def test_rows_compare_medians_with_the_limit_and_the_target():
    case = Case("x", "a case", ("whole.trk",), lambda _: [], 2.0, anonymous_mb=100)
    entries = [
        entry("cp", [1.0, 1.2, 5.0], limit=True),
        entry("trxlib", [2.0, 2.2, 2.3], 90_000_000),
        entry("trxlib, slow", [9.0], 200_000_000),
        entry("other", [6.0], peer=True),
        entry(START, [0.5], judged=False),
        Entry("broken", [], peer=True, error="no such thing"),
    ]
    rows = rows_of(case, entries, 1000, 10_000_000)
    assert [row.median for row in rows] == [1.2, 2.2, 9.0, 6.0, 0.5, None]
    assert rows[1].ratio == pytest.approx(2.2 / 1.2)
    assert [row.verdict for row in rows] == ["", "reached: time, memory", "missed: time, memory", "", "", ""]
    assert rows[1].work == pytest.approx((2.2 - 0.5) / 1.2)
    assert rows[5].error == "no such thing"
    text = markdown("S", {"date": "today"}, rows, "python -m benchmarks")
    assert "| a case | cp | 1.200 | 1.000 – 5.000 | 3 | 1.00 |" in text
    assert "no such thing" in text
    assert START not in text
    small = rows_of(case, entries, 1000, 10_000_000, judge_time=False)
    assert [row.verdict for row in small] == ["", "reached: memory", "missed: memory", "", "", ""]


def test_a_command_on_a_small_file_is_compared_with_the_start_of_numpy():
    case = Case("x", "a command", ("pair",), lambda _: [], beyond_numpy=0.1)
    entries = [
        entry("pass", [0.1], limit=True),
        entry("trxlib", [0.25]),
        entry("trxlib, slow", [0.35]),
        entry(START, [0.2], judged=False),
    ]
    rows = rows_of(case, entries, 1000, 0, judge_time=False)
    assert [row.verdict for row in rows] == ["", "reached: numpy + 0.1 s", "missed: numpy + 0.1 s", ""]
    assert [row.goal for row in rows] == ["", "numpy + 0.1 s", "numpy + 0.1 s", ""]


def test_the_slope_is_that_of_the_upper_points():
    def row(case, seconds):
        return Row(case, case, "trxlib", 1, *[seconds] * 3, 1.0, 1.0, seconds, 0.0, 0.0, None, "", "", "")

    rows = [row(f"scale-merge-{n}", max(1.0, n / 10)) for n in (1, 3, 10, 30, 100)]
    ((title, programs),) = scaling_series(rows).items()
    assert title.startswith("merge")
    assert slope_of(programs["trxlib"]) == pytest.approx(1.0)


def test_case_keys_are_unique():
    keys = [case.key for case in CASES]
    assert len(keys) == len(set(keys))


def test_one_command_makes_tables_and_plots(tmp_path):
    command = [
        sys.executable, "-m", "benchmarks", "--size", "XS", "--only-trxlib", "--repeat", "1",
        "--cases", "trk", "merge10", "info", "scale-merge-3", "scale-merge-10",
        "--data", tmp_path / "data", "--results", tmp_path / "results",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"table.tsv", "table.md", "machine.json", "cases.png", "scaling.png"}
    assert not (tmp_path / "data").exists()
    table = (tmp_path / "results" / "table.md").read_text()
    assert "| TRK → TRX, axis-aligned | cp |" in table
    assert str(tmp_path) not in table
    machine = json.loads((tmp_path / "results" / "machine.json").read_text())
    assert (machine["size"], machine["trxlib"].split()[0]) == ("XS", trxlib.__version__)


def run_benchmarks(*arguments):
    command = [sys.executable, "-m", "benchmarks", "--only-trxlib", "--repeat", "1", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_a_folder_with_other_files_is_neither_used_nor_removed(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    paths = ["--data", tmp_path / "data", "--results", tmp_path / "results"]
    done = run_benchmarks("--size", "XS", "--cases", "import", *paths)
    assert (done.returncode, done.stdout.count("written")) == (2, 0)
    assert "has other files" in done.stderr
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["thesis.txt"]


def test_data_of_another_size_are_not_measured(tmp_path):
    data.make_data(tmp_path / "data", "XS", {"tiny"})
    paths = ["--data", tmp_path / "data", "--results", tmp_path / "results"]
    done = run_benchmarks("--size", "S", "--cases", "import", *paths)
    assert done.returncode == 2
    assert "has data of" in done.stderr
    again = data.make_data(tmp_path / "data", "XS", {"tiny"})
    assert len(again) == data.TINY_FILES
    with pytest.raises(data.DataError, match="are free"):
        data.make_data(tmp_path / "huge", "L", {"merge10"}, free=10_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeat", "0"], "at least one run"),
        (["--cases", "import", "nothing*"], "no such case"),
        (["--update", "no/such.md"], "no page"),
    ],
)
def test_wrong_options_are_told_before_anything_is_made(arguments, message):
    done = run_benchmarks(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not done.stdout


def test_a_quick_run_is_a_matter_of_other_defaults():
    quick, mixed, plain = parse(["--quick"]), parse(["--quick", "--repeat", "7", "--cases", "trk"]), parse([])
    assert (quick.repeat, quick.patience, quick.limit) == (3, 2, 20)
    assert {case.key for case in CASES} - set(quick.cases) == {case.key for case in CASES if "scale-" in case.key}
    assert (mixed.repeat, mixed.patience, mixed.cases) == (7, 2, ["trk"])
    assert (plain.repeat, plain.cases) == (5, ["*"])


# The guard


def baseline():
    return json.loads(counters.BASELINE.read_text())


def test_the_baseline_has_every_loop_and_every_count():
    wanted = baseline()
    assert set(wanted["counts"]) == set(counters.LOOPS)
    assert set(wanted["instructions"]) == {*counters.LOOPS, instructions.PLAIN}
    assert all(set(counts) == set(counters.SLACK) for counts in wanted["counts"].values())
    assert set(wanted["versions"]) == set(instructions.versions())


@pytest.fixture(scope="module")
def counted_inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    counters.make_inputs(folder / "small", counters.SMALL)
    counters.make_inputs(folder / "large", counters.LARGE)
    return folder


@pytest.mark.skipif(not HAS_PROC, reason="needs /proc/self/io of Linux")
@pytest.mark.parametrize("name", counters.LOOPS)
def test_a_hot_loop_runs_no_more_lines_and_moves_no_more_bytes(name, counted_inputs):
    # In a process of its own: what other tests left in this one's memory decides how a file is saved.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        counting = pool.submit(counters.count_loop, name, counted_inputs / "small", counted_inputs / "large")
        found = counting.result()
    problems = counters.compare({name: found}, baseline()["counts"])
    assert not problems, "; ".join([*problems, "if this is meant, run `python -m benchmarks.counters --write`"])


@pytest.mark.skipif(not HAS_PROC, reason="needs /proc/self/io of Linux")
def test_the_guard_sees_a_loop_over_streamlines_and_each_further_pass(counted_inputs, monkeypatch):
    from trxlib.container import atomic

    def slow(folder, out):
        trxlib.validate(folder / "whole.trx")
        content = (folder / "whole.trx").read_bytes()
        zlib.crc32(content)
        keep = [np.zeros(8) for _ in range(counters.LARGE if "large" in str(folder) else counters.SMALL)]
        for _ in keep:
            trxlib.model.names.check_key("a", "key")
        atomic.final_path(out)  # a line of the package sees the memory of the content

    monkeypatch.setitem(counters.LOOPS, "validate", slow)
    found = counters.count_loop("validate", counted_inputs / "small", counted_inputs / "large")
    problems = counters.compare({"validate": found}, baseline()["counts"])
    seen = {problem.split()[1] for problem in problems}
    assert seen - {"resident"} == {"lines", "read", "crc", "allocated", "heap"}


def test_counts_of_another_environment_are_scaled_and_the_doubt_is_told(monkeypatch):
    wanted = {"instructions": {instructions.PLAIN: 100.0, "trk": 1000.0}, "versions": instructions.versions()}
    same = counters.expected_instructions({instructions.PLAIN: 110.0}, wanted)
    assert (same.counts["trk"], same.tolerance, same.doubt) == (1000.0, counters.INSTRUCTIONS_TOLERANCE, "")
    assert not counters.compare_instructions({"trk": 1100.0}, same)
    assert counters.compare_instructions({"trk": 1200.0}, same) == ["trk: 1200 instructions, 1000 in the baseline"]
    monkeypatch.setattr(counters, "versions", lambda: instructions.versions() | {"numpy": "9.9"})
    other = counters.expected_instructions({instructions.PLAIN: 110.0}, wanted)
    assert other.counts["trk"] == pytest.approx(1100.0)
    assert other.tolerance == counters.OTHER_TOLERANCE
    assert "numpy 9.9 instead of" in other.doubt


@pytest.mark.slow
def test_a_hot_loop_takes_no_more_instructions(counted_inputs):
    if not shutil.which("valgrind"):
        pytest.skip("needs valgrind")
    counters.make_inputs(counted_inputs / "large" / "warm", 10)
    found = instructions.count_instructions(counted_inputs / "large")
    expected = counters.expected_instructions(found, baseline())
    problems = counters.compare_instructions(found, expected)
    assert not problems, "; ".join([*problems, expected.doubt])
    if expected.doubt:
        pytest.skip(expected.doubt)  # said aloud: less has been compared than the name of this test says
