"""Counts that a noisy machine does not change, for a guard against slow-downs: ``python -m benchmarks.counters``.

Per streamline of each hot loop, from the difference of two sizes, so that start-up does not matter:

- lines of trxlib's Python code that are run (a loop over streamlines instead of over slices shows at once),
- bytes read and written by system calls, per byte of output (a second pass over a file, a copy through a buffer),
- system calls (small reads and writes), and the peak of the heap (memory that grows with the file),
- with ``--instructions``, machine instructions by valgrind, which see what numpy does below a line of Python.

The counts of a good state are in ``baseline.json``; ``--write`` counts them anew.
"""

from __future__ import annotations

import argparse
import compileall
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import AFFINES, GROUPS, TckWriter, TrkWriter, TrxWriter, walk, write_reference
from benchmarks.measure import ENVIRONMENT

BASELINE = Path(__file__).with_name("baseline.json")
ROOT = Path(__file__).resolve().parents[1]
SMALL, LARGE = 10_000, 30_000  # both take several slices
TOLERANCE = 0.20
#: Differences below these are nothing: lines, bytes per byte, calls per 1000 streamlines, heap bytes per streamline.
#: A loop over streamlines runs 1000 lines and more. What Python does at its start differs by 450 instructions for each
#: streamline of these small inputs from one environment to another.
SLACK = {"lines": 60.0, "read": 0.02, "written": 0.02, "calls": 1.0, "heap": 4.0, "instructions": 600.0}


def make_inputs(folder: Path, nb_streamlines: int) -> None:
    """Write one file of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    writers: list[Any] = [
        TrkWriter(folder / "whole.trk", AFFINES["axis-aligned"]),
        TrkWriter(folder / "rotated.trk", AFFINES["rotated"]),
        TrkWriter(folder / "data.trk", AFFINES["axis-aligned"], with_data=True),
        TckWriter(folder / "whole.tck"),
        TrxWriter(folder / "whole.trx", AFFINES["axis-aligned"], GROUPS),
        TrxWriter(folder / "other.trx", AFFINES["axis-aligned"], GROUPS),
    ]
    for block in walk(nb_streamlines, seed=7):
        for writer in writers:
            writer.add(block)
    for writer in writers:
        writer.close()
    write_reference(folder / "reference.nii")


# The hot loops: called with the folder of the inputs and a folder for outputs


def _convert(name: str, suffix: str = ".trx") -> Callable[[Path, Path], None]:
    def loop(data: Path, out: Path) -> None:
        import trxlib

        trxlib.convert(data / name, out / f"out{suffix}", reference=data / "reference.nii")

    return loop


def _merge(data: Path, out: Path) -> None:
    import trxlib

    trxlib.merge([data / "whole.trx", data / "other.trx"], out / "out.trx")


def _extract(data: Path, out: Path) -> None:
    import trxlib

    trxlib.extract_groups(data / "whole.trx", out, ["part50"])


def _validate(data: Path, _: Path) -> None:
    import trxlib

    trxlib.validate(data / "whole.trx")


def _load_save(data: Path, out: Path) -> None:
    import trxlib

    with trxlib.load(str(data / "whole.trx")) as trx:
        trxlib.save(trx, str(out / "out.trx"))


def _convert_large_tck(data: Path, out: Path) -> None:
    """Convert a TCK as one beyond 64 MB is: without counting its streamlines first."""
    from trxlib.formats import tck

    limit, tck._COUNT_BYTES = tck._COUNT_BYTES, 0
    try:
        _convert("whole.tck")(data, out)
    finally:
        tck._COUNT_BYTES = limit


LOOPS: dict[str, Callable[[Path, Path], None]] = {
    "trk": _convert("whole.trk"),
    "trk-rotated": _convert("rotated.trk"),
    "trk-data": _convert("data.trk"),
    "tck": _convert_large_tck,
    "to-trk": _convert("whole.trx", ".trk"),
    "to-tck": _convert("whole.trx", ".tck"),
    "merge": _merge,
    "extract": _extract,
    "validate": _validate,
    "load-save": _load_save,
}


def run_loop(name: str, data: Path) -> int:
    """Run a hot loop and return the bytes that it wrote, or read where it writes nothing."""
    from trxlib import parallel

    threads, parallel._MAX_THREADS = parallel._MAX_THREADS, 1  # the work is counted, and not who does it
    try:
        with tempfile.TemporaryDirectory(dir=data) as out, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            LOOPS[name](data, Path(out))
            written = sum(path.stat().st_size for path in Path(out).iterdir())
    finally:
        parallel._MAX_THREADS = threads
    return written or (data / "whole.trx").stat().st_size


# Counts within this process

#: Functions whose lines grow with the mappings of this process (pytest's, too), not with the streamlines.
_NOT_COUNTED = {"_parse_smaps"}


def count_lines(call: Callable[[], Any]) -> int:
    """Return how many lines of trxlib's modules a call runs, in all threads."""
    import trxlib

    package = str(Path(trxlib.__file__).parent)
    counts: dict[int, int] = {}

    def local(frame: Any, event: str, _: Any) -> Any:
        if event == "line":
            thread = threading.get_ident()
            counts[thread] = counts.get(thread, 0) + 1
        return local

    def trace(frame: Any, event: str, argument: Any) -> Any:
        code = frame.f_code
        is_counted = code.co_filename.startswith(package) and code.co_name not in _NOT_COUNTED
        return local(frame, event, argument) if is_counted else None

    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        threading.settrace(before)  # type: ignore[arg-type]
    return sum(counts.values())


def count_io(call: Callable[[], Any]) -> tuple[int, int, int]:
    """Return bytes read and written by system calls, and the calls; kernel copies count, mapped pages do not."""
    before = _io()
    call()
    after = _io()
    return tuple(after[key] - before[key] for key in ("rchar", "wchar", "calls"))  # type: ignore[return-value]


def _io() -> dict[str, int]:
    pairs = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    values = {key: int(value) for key, value in pairs.items()}
    return values | {"calls": values["syscr"] + values["syscw"]}


def peak_heap(call: Callable[[], Any]) -> int:
    """Return the peak of what Python and numpy allocate."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def count_loop(name: str, small: Path, large: Path) -> dict[str, float]:
    """Return the counts of one hot loop: what more streamlines cost."""
    per_thousand = (LARGE - SMALL) / 1000
    sizes = [run_loop(name, folder) for folder in (small, large)]  # imports are done now
    lines = [count_lines(lambda folder=folder: run_loop(name, folder)) for folder in (small, large)]
    moved = [count_io(lambda folder=folder: run_loop(name, folder)) for folder in (small, large)]
    heaps = [peak_heap(lambda folder=folder: run_loop(name, folder)) for folder in (small, large)]
    grown = sizes[1] - sizes[0]
    counts = {
        "lines": (lines[1] - lines[0]) / per_thousand,
        "read": (moved[1][0] - moved[0][0]) / grown,
        "written": (moved[1][1] - moved[0][1]) / grown,
        "calls": (moved[1][2] - moved[0][2]) / per_thousand,
        "heap": (heaps[1] - heaps[0]) / (LARGE - SMALL),
    }
    return {key: round(value, 3) for key, value in counts.items()}


# Instructions


def instructions_of(name: str, data: Path) -> int:
    """Return the instructions of a process that imports everything and runs one hot loop; ``none`` runs none."""
    settings = {
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "OPENBLAS_CORETYPE": "Haswell",
        # A string instruction counts once per byte for valgrind, and processors differ in when it is used.
        "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000",
    }
    command = [
        "valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
        sys.executable, "-m", "benchmarks.counters", "--loop", name, "--data", str(data),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT | settings, check=False)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"valgrind failed: {done.stderr[-500:]}")
    return int(found[1].replace(",", ""))


def count_instructions(data: Path, workers: int = 2) -> dict[str, float]:
    """Return the instructions per streamline of each hot loop."""
    # A process that compiles modules counts that, too.
    for module in ("trxlib", "benchmarks"):
        compileall.compile_dir(Path(__file__).resolve().parents[1] / module, quiet=2)
    names = ["none", *LOOPS]
    with ThreadPoolExecutor(workers) as pool:
        totals = dict(zip(names, pool.map(lambda name: instructions_of(name, data), names), strict=True))
    return {name: round((totals[name] - totals["none"]) / LARGE, 1) for name in LOOPS}


# Together


def versions() -> dict[str, str]:
    """Return what instruction counts depend on."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), "numpy": ".".join(np.__version__.split(".")[:2])}


def compare(found: dict[str, dict[str, float]], wanted: dict[str, dict[str, float]], tolerance: float) -> list[str]:
    """Return a line for each count that is higher than that of the baseline, by more than the tolerance."""
    return [
        f"{loop}: {key} {value:g}, {wanted[loop][key]:g} in the baseline"
        for loop, counts in found.items()
        for key, value in counts.items()
        if loop in wanted and key in wanted[loop] and value > wanted[loop][key] * (1 + tolerance) + SLACK[key]
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counters", description=__doc__.partition("\n")[0])
    parser.add_argument("--instructions", action="store_true", help="also count instructions (needs valgrind)")
    parser.add_argument("--write", action="store_true", help="make these counts the baseline")
    parser.add_argument("--loop", choices=["none", *LOOPS], help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.loop:
        for name in LOOPS:
            run_loop(name, options.data / "warm")
        if options.loop != "none":
            run_loop(options.loop, options.data)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        baseline = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {"counts": {}, "instructions": {}}
        found = measure(Path(folder), instructions=options.instructions)
    print(json.dumps(found, indent=1))
    if options.write:
        BASELINE.write_text(json.dumps(baseline | found, indent=1) + "\n")
        return 0
    problems = compare(found["counts"], baseline["counts"], TOLERANCE)
    problems += compare(found.get("instructions", {}), baseline["instructions"], TOLERANCE)
    print("\n".join(problems) or "no more than in the baseline")
    return bool(problems)


def measure(folder: Path, *, instructions: bool) -> dict[str, Any]:
    """Return all counts."""
    make_inputs(folder / "small", SMALL)
    make_inputs(folder / "large", LARGE)
    found: dict[str, Any] = {"versions": versions()}
    found["counts"] = {name: count_loop(name, folder / "small", folder / "large") for name in LOOPS}
    if instructions:
        if not shutil.which("valgrind"):
            raise SystemExit("--instructions needs valgrind")
        make_inputs(folder / "large" / "warm", 10)
        totals = count_instructions(folder / "large")
        found["instructions"] = {name: {"instructions": value} for name, value in totals.items()}
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
