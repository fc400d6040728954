"""``python -m benchmarks``: make the data, run every case side by side, write the tables and plots."""

from __future__ import annotations

import argparse
import fnmatch
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import CASES, ROOT, Case, Context
from benchmarks.data import SIZES, make_data
from benchmarks.measure import Entry, run_once, run_side_by_side
from benchmarks.report import START, Row, machine_facts, rows_of, update_page, write_report


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="S", help="of the data: S 100 MB, M 1 GB, L 10 GB per file")
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN", help="which cases; --list shows them")
    parser.add_argument("--repeat", type=int, default=5, help="runs after the warm-up")
    parser.add_argument("--limit", type=float, default=120, help="seconds after which a process is stopped")
    parser.add_argument("--patience", type=float, default=10, help="peers that take more seconds run fewer times")
    parser.add_argument("--only-trxlib", action="store_true", help="leave the peers out")
    parser.add_argument("--data", type=Path, help="folder for the data; by default a temporary one")
    parser.add_argument("--keep-data", action="store_true", help="do not remove the data at the end")
    parser.add_argument("--results", type=Path, default=Path("results/benchmarks"), help="folder for tables and plots")
    parser.add_argument("--update", type=Path, help="Markdown file: its table between the marks, its plots beside it")
    parser.add_argument("--list", action="store_true", help="show the cases and stop")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    cases = [case for case in CASES if any(fnmatch.fnmatch(case.key, pattern) for pattern in options.cases)]
    if options.list or not cases:
        print("\n".join(f"{case.key:<20} {case.title}" for case in CASES))
        return 0 if options.list else 2
    os.chdir(ROOT)
    data = options.data or Path(tempfile.mkdtemp(prefix="trxlib_benchmarks_"))
    try:
        facts = machine_facts(data)
        say(f"data of size {options.size} in {data}")
        context = Context(data.resolve(), make_data(data, options.size, {case.needs for case in cases}))
        rows = run_cases(cases, context, options)
        facts["load at the end"] = f"{os.getloadavg()[0]:.2f}"
        command = shlex.join(["python", "-m", "benchmarks", *_without_paths(arguments)])
        write_report(options.results, options.size, facts, rows, command)
        if options.update:
            update_page(options.update, options.results)
        say(f"written: {options.results}/table.md, table.tsv, machine.json, cases.png, scaling.png")
    finally:
        if not options.keep_data:
            shutil.rmtree(data, ignore_errors=True)
    return 1 if any(row.verdict.startswith(("missed", "failed")) for row in rows) else 0


def run_cases(cases: list[Case], context: Context, options: argparse.Namespace) -> list[Row]:
    """Measure every case and return all rows."""
    base = run_once([sys.executable, "-c", "import numpy, time; time.sleep(0.1)"], limit=60).anon
    rows: list[Row] = []
    for case in cases:
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
        new = rows_of(case, entries, _streamlines_of(case, context), base, judge_time=judge)
        rows += new
        for row in new:
            if row.median is not None:
                ratio = f"{row.ratio:.2f}" if row.ratio else "?"
                say(f"  {row.program}: {row.median:.3f} s, x {ratio}, {row.anonymous:.0f} MB {row.verdict}")
    return rows


def _streamlines_of(case: Case, context: Context) -> int:
    """Return how many streamlines a case reads at most."""
    found = [item["nb_streamlines"] for item in context.catalogue.values() if item["set"] == case.needs]
    return max(found) if case.needs in ("whole", "scale") else sum(found)


def _without_paths(arguments: list[str]) -> list[str]:
    """Leave the folders out of the command that the table shows."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument not in ("--data", "--results", "--update", "--keep-data"):
            kept.append(argument)
        skip = argument in ("--data", "--results", "--update")
    return kept


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
