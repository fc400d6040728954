"""``python -m benchmarks``: make the data, run every case side by side, write the tables and plots."""

from __future__ import annotations

import argparse
import fnmatch
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import CASES, ROOT, Case, Context, absent_peers
from benchmarks.data import SIZES, DataError, make_data, nbytes_of, nbytes_of_results, remove_data
from benchmarks.measure import Entry, run_once, run_side_by_side
from benchmarks.report import (
    ABSENT,
    MARKS,
    START,
    Row,
    folder_in_memory,
    machine_facts,
    rows_of,
    update_page,
    write_report,
)

#: What ``--quick`` means: on two cores the whole table of size M in about a quarter of an hour.
QUICK = {
    "repeat": 3,
    "patience": 2,
    "limit": 20,
    "cases": [case.key for case in CASES if not case.key.startswith("scale-")],
}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="S", help="of the data: S 100 MB, M 1 GB, L 10 GB per file")
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN", help="which cases; --list shows them")
    parser.add_argument("--repeat", type=int, default=5, help="runs after the warm-up")
    parser.add_argument("--limit", type=float, default=30, help="seconds after which a process is stopped")
    parser.add_argument(
        "--patience",
        type=float,
        default=4,
        help="peers that take more seconds run once, trxlib twice after its warm-up",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"other defaults: --repeat {QUICK['repeat']} --patience {QUICK['patience']} --limit {QUICK['limit']}, "
        "without the cases scale-*",
    )
    parser.add_argument("--only-trxlib", action="store_true", help="leave the peers out")
    parser.add_argument(
        "--data",
        type=Path,
        help="empty folder for data and outputs, or one with data of the same size; by default in memory (/dev/shm) if "
        "it has room, else the system's folder for temporary files",
    )
    parser.add_argument("--keep-data", action="store_true", help="do not remove the data at the end")
    parser.add_argument("--results", type=Path, default=ROOT / "results/benchmarks", help="folder for tables and plots")
    parser.add_argument("--update", type=Path, help="Markdown file: its table between the marks, its plots beside it")
    parser.add_argument("--list", action="store_true", help="show the cases and stop")
    options = parser.parse_args(arguments)
    if options.quick:
        parser.set_defaults(**QUICK)
        options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error(f"--repeat {options.repeat}: at least one run is measured")
    for pattern in options.cases:
        if not any(fnmatch.fnmatch(case.key, pattern) for case in CASES):
            parser.error(f"--cases {pattern}: no such case; --list shows them")
    if options.update and not (options.update.is_file() and MARKS[0] in options.update.read_text()):
        parser.error(f"--update {options.update}: no page with the line {MARKS[0]}")
    for name in ("data", "results", "update"):
        path = getattr(options, name)
        setattr(options, name, path and path.resolve())
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.list:
        print("\n".join(f"{case.key:<20} {case.title}" for case in CASES))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what follows is cleaned up
    os.chdir(ROOT)
    made = options.data is None or not options.data.exists()
    cases = [case for case in CASES if any(fnmatch.fnmatch(case.key, pattern) for pattern in options.cases)]
    data = options.data or _new_folder(cases, options.size)
    mine = made or not any(data.iterdir())
    try:
        return _measure(data, cases, options, arguments, remove=mine and not options.keep_data)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        # Only what this run has made: never a folder that somebody else has filled.
        if mine and not options.keep_data:
            shutil.rmtree(data, ignore_errors=True)
            if not made:
                data.mkdir(exist_ok=True)


def _new_folder(cases: Sequence[Case], size: str) -> Path:
    """Make a folder for data and outputs, in memory if there is room for what is there at once."""
    needed = max(nbytes_of(needs, size) + nbytes_of_results(needs, size) for needs, _ in data_needs(cases))
    place = folder_in_memory(needed)
    return Path(tempfile.mkdtemp(prefix="trxlib_benchmarks_", dir=place)).resolve()


def data_needs(cases: Sequence[Case]) -> list[tuple[set[str], set[str]]]:
    """Return, for each case in turn, the data that are there while it is measured, and those that can go after it.

    Single files hold the same streamlines and are made together, sets when a case needs them.
    """
    singles = {need for case in cases for need in case.needs if "." in need}
    there: set[str] = set()
    found = []
    for number, case in enumerate(cases):
        there |= singles if singles & set(case.needs) else set(case.needs)
        later = {need for other in cases[number + 1 :] for need in other.needs}
        gone = there - later
        found.append((set(there), gone))
        there -= gone
        singles -= gone
    return found


def _measure(data: Path, cases: list[Case], options: argparse.Namespace, arguments: list[str], *, remove: bool) -> int:
    facts = machine_facts(data)
    absent = [] if options.only_trxlib else absent_peers()
    if absent:
        facts[ABSENT] = ", ".join(absent)
        say(f"left out, because they are not installed: {facts[ABSENT]}")
    say(f"data of size {options.size} in {data}, {facts['data and results on']}")
    base = run_once([sys.executable, "-c", "import numpy, time; time.sleep(0.1)"], limit=60).anon
    command = shlex.join(["python", "-m", "benchmarks", *_without_paths(arguments)])
    rows: list[Row] = []
    for case, (needs, gone) in zip(cases, data_needs(cases), strict=True):
        rows += run_case(case, Context(data, make_data(data, options.size, needs)), base, options)
        if remove:
            for need in gone:
                remove_data(data, need)
        facts["load at the end"] = f"{os.getloadavg()[0]:.2f}"
        # After every case: what has been measured is there, whatever comes.
        write_report(options.results, options.size, facts, rows, command)
    if options.update:
        update_page(options.update, options.results)
    say(f"written: {', '.join(sorted(path.name for path in options.results.iterdir()))} in {options.results}")
    return 1 if any(row.verdict.startswith(("missed", "failed")) for row in rows) else 0


def run_case(case: Case, context: Context, base: int, options: argparse.Namespace) -> list[Row]:
    """Measure a case and return its rows; `base` is the anonymous memory of the interpreter with numpy, bytes."""
    say(f"{case.key}: {case.title}")
    entries: list[Entry] = case.make(context)
    if not any(entry.name == "import numpy" for entry in entries):
        entries.append(Entry(START, [sys.executable, "-c", "import numpy"], judged=False))
    if options.only_trxlib:
        entries = [entry for entry in entries if not entry.peer]
    # Write-back of the last case shall not be paid by this one.
    subprocess.run(["sync"], check=False)
    limit = options.limit * 10 if case.minutes else options.limit
    run_side_by_side(
        entries, context.folder / "out", repeat=options.repeat, limit=limit, patience=options.patience, say=say
    )
    # The start of a process is the same for all sizes of data, except where it is what is measured.
    judge = options.size in ("M", "L") or case.key == "import"
    rows = rows_of(case, entries, _streamlines_of(case, context), base, judge_time=judge)
    for row in rows:
        if row.median is not None:
            ratio = f"{row.ratio:.2f}" if row.ratio else "?"
            say(f"  {row.program}: {row.median:.3f} s, x {ratio}, {row.anonymous:.0f} MB {row.verdict}")
    return rows


def _streamlines_of(case: Case, context: Context) -> int:
    """Return how many streamlines a case reads at most."""
    found = [item["nb_streamlines"] for item in context.catalogue.values() if item["set"] == case.needs[0]]
    return max(found) if case.needs[0] == "scale" else sum(found)


def _without_paths(arguments: list[str]) -> list[str]:
    """Leave the folders out of the command that the table shows."""
    kept, skip = [], False
    for argument in arguments:
        name, _, value = argument.partition("=")
        is_path = name in ("--data", "--results", "--update")
        if not skip and not is_path and argument != "--keep-data":
            kept.append(argument)
        skip = is_path and not value
    return kept


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
