"""Run all kinds of trouble and print a table: what, tries, failures, seconds."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.reliability import beside, trouble
from tests.reliability.work import WORKS, Work, make_inputs

_SIDE_BY_SIDE = (beside.readers_beside_a_writer, beside.folder_swapped_while_loading, beside.threads_and_processes)


class Row(NamedTuple):
    """A line of the table.

    `run` takes a place and a number of tries, and yields what went wrong; `tries` is how many there are if the line
    has a number of its own.
    """

    what: str
    run: Callable[[trouble.Place, int], Iterator[str]]
    tries: int | None = None


def rows_of(loads: int) -> list[Row]:
    """Return every kind of trouble with every work; `loads` is how often files are loaded where that is counted."""
    rows: list[Row] = []

    def add(what: str, kind: Callable[..., Iterator[str]], works: list[Work], **options: object) -> None:
        for work in works:
            rows.append(Row(f"{what}: {work.name}", partial(_trouble, kind, work, options)))

    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        add(number.name, trouble.killed, WORKS, number=number)
    add("file size limit", trouble.file_limit, WORKS)
    add("full disk", trouble.full_disk, WORKS)
    reading = [work for work in WORKS if work.reads]
    add("input cut", trouble.cut_or_replaced, reading, cut=True)
    add("input replaced", trouble.cut_or_replaced, reading, cut=False)
    add("two writers", trouble.two_writers, [work for work in WORKS if work.output != "groups"])
    rows += [Row(run.__name__.replace("_", " "), partial(_repeated, run)) for run in _SIDE_BY_SIDE]
    rows.append(Row("many loads", lambda place, _: _repeated(partial(beside.many_loads, loads=loads), place, 1), loads))
    return rows


def _trouble(
    kind: Callable[..., Iterator[str]], work: Work, options: dict[str, object], place: trouble.Place, tries: int
) -> Iterator[str]:
    return kind(place, work, tries=tries, **options)


def _repeated(run: Callable[[Path, Path], None], place: trouble.Place, tries: int) -> Iterator[str]:
    return trouble.repeated(lambda: run(place.inputs, place.out), place, tries)


def run(rounds: int, minutes: float, folder: Path, seed: int, only: str, size: int, loads: int) -> int:
    """Run the table once, or again and again until the minutes are over; return the number of failures."""
    root = Path(tempfile.mkdtemp(prefix="reliability_", dir=folder))
    totals: dict[str, list[float]] = {}
    problems: list[str] = []
    try:
        make_inputs(root / "inputs", size)
        place = trouble.Place(root, root / "inputs", random.Random(seed))
        rows = [row for row in rows_of(loads) if only in row.what]
        if not trouble.can_mount():
            print("full disk: left out, since it takes the right to mount", file=sys.stderr)
            rows = [row for row in rows if not row.what.startswith("full disk")]
        end = time.monotonic() + 60 * minutes
        while True:
            for what, kind, tries in rows:
                begin = time.perf_counter()
                found = list(kind(place, rounds))
                total = totals.setdefault(what, [0, 0, 0.0])
                total[0] += rounds if tries is None else tries
                total[1] += len(found)
                total[2] += time.perf_counter() - begin
                problems += found
                print(f"{what:55} {int(total[0]):6} {int(total[1]):5} {total[2]:7.1f} s", flush=True)
                if found:
                    print(f"    {found[0]}", flush=True)
            if time.monotonic() >= end:
                break
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return _sum_up(totals)


def _sum_up(totals: dict[str, list[float]]) -> int:
    kinds: dict[str, list[float]] = {}
    for what, total in totals.items():
        kind = kinds.setdefault(what.partition(":")[0], [0, 0, 0.0])
        for row in range(3):
            kind[row] += total[row]
    print("\n| what | tries | failures | seconds |\n|---|---:|---:|---:|")
    for what, (tries, failures, seconds) in kinds.items():
        print(f"| {what} | {int(tries)} | {int(failures)} | {seconds:.0f} |")
    return int(sum(total[1] for total in totals.values()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="tries of each row (10)")
    parser.add_argument("--minutes", type=float, default=0, help="go through the table until these are over")
    parser.add_argument("--quick", action="store_true", help="two tries of each row, on small files")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where files are made (/dev/shm)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    options = parser.parse_args()
    rounds, size, loads = (2, 5000, 300) if options.quick else (options.rounds, 30_000, 10_000)
    folder = options.folder if options.folder.is_dir() else Path(tempfile.gettempdir())
    return 1 if run(rounds, options.minutes, folder, options.seed, options.only, size, loads) else 0


if __name__ == "__main__":
    sys.exit(main())
