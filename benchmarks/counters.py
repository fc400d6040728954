"""Counts that a noisy machine does not change, for a guard against slow-downs: ``python -m benchmarks.counters``.

Of each hot loop, from the difference of two sizes, so that start-up does not matter:

- lines of trxlib's Python code that are run (a loop over streamlines instead of over slices shows at once),
- bytes read and written by system calls (a second pass over a file, a copy through a buffer), bytes that a CRC is made
  of (a second CRC), bytes allocated (another copy of a slice), and bytes in memory at once (a mapped file that is
  looked at), each per byte of output,
- system calls (small reads and writes), and the peak of the heap (memory that grows with the file),
- with ``--instructions``, machine instructions by valgrind, which see what none of these do: what numpy, Python's own
  loops in C and a sort do within a line.

The counts of a good state are in ``baseline.json``; ``--write`` counts them anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.hot_loops import LARGE, LOOPS, SMALL, make_inputs, run_loop
from benchmarks.instructions import PLAIN, count_instructions, versions

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.20
#: Differences below these are nothing: lines and calls per 1000 streamlines, heap bytes per streamline, all others
#: per byte. A loop over streamlines runs 1000 lines and more, a copy allocates a byte per byte.
SLACK = {
    "lines": 4.0, "read": 0.02, "written": 0.02, "crc": 0.02, "allocated": 0.05, "resident": 0.05, "calls": 0.5,
    "heap": 4.0,
}  # fmt: skip
#: Counts of instructions differ by INSTRUCTIONS_SLACK at most, from run to run and between environments of the same
#: versions; what is above the tolerance is more work.
INSTRUCTIONS_TOLERANCE, INSTRUCTIONS_SLACK = 0.10, 25.0
#: numpy 1.26 takes 46 % more than 2.4 for a general affine, where plain passes differ by 2 %.
OTHER_TOLERANCE = 0.60


# Counts within this process

_LEAST_BYTES = 4096


@contextmanager
def _tracing(look: Callable[[str], None]) -> Iterator[None]:
    """Call `look` with the name of each event within trxlib's modules, in all threads."""
    import trxlib

    package = str(Path(trxlib.__file__).parent)

    def local(frame: Any, event: str, _: Any) -> Any:
        look(event)
        return local

    def trace(frame: Any, event: str, argument: Any) -> Any:
        code = frame.f_code
        return local(frame, event, argument) if code.co_filename.startswith(package) else None

    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(before)  # type: ignore[arg-type]


def count_lines(call: Callable[[], Any]) -> int:
    """Return how many lines of trxlib's modules a call runs, in all threads."""
    lines: list[None] = []
    with _tracing(lambda event: lines.append(None) if event == "line" else None):
        call()
    return len(lines)


def count_allocated(call: Callable[[], Any]) -> tuple[int, int]:
    """Return the bytes that lines of trxlib's modules allocate, each what it holds at its worst, and the peak."""
    total = before = highest = 0

    def look(_: str) -> None:
        nonlocal total, before, highest
        now, peak = tracemalloc.get_traced_memory()
        # Numbers, frames and short arrays are left to the other counts: they differ between Pythons.
        total += peak - before if peak - before >= _LEAST_BYTES else 0
        before, highest = now, max(highest, peak)
        tracemalloc.reset_peak()

    tracemalloc.start()
    try:
        with _tracing(look):
            call()
        look("end")
        return total, highest
    finally:
        tracemalloc.stop()


def count_crc(call: Callable[[], Any]) -> int:
    """Return the bytes that CRC-32s are made of."""
    from isal import isal_zlib

    sizes: list[int] = []

    def counted(crc32: Callable[..., int]) -> Callable[..., int]:
        def counting(data: Any, *start: int) -> int:
            sizes.append(memoryview(data).nbytes)
            return crc32(data, *start)

        return counting

    modules: list[Any] = [isal_zlib, zlib]
    functions = [module.crc32 for module in modules]
    try:
        for module in modules:
            module.crc32 = counted(module.crc32)
        call()
    finally:
        for module, function in zip(modules, functions, strict=True):
            module.crc32 = function
    return sum(sizes)


def count_moved(call: Callable[[], Any]) -> dict[str, int]:
    """Return bytes that system calls read and wrote, the calls, and by how much memory grew at its worst.

    Copies within the kernel count. Mapped pages count as memory, which is left out where the system cannot tell.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that from now on
        resident = _resident
    except OSError:
        resident = dict
    before = _io() | resident()
    call()
    after = _io() | resident()
    return {key: after[key] - value for key, value in before.items()}


def _io() -> dict[str, int]:
    pairs = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    values = {key: int(value) for key, value in pairs.items()}
    return {"read": values["rchar"], "written": values["wchar"], "calls": values["syscr"] + values["syscw"]}


def _resident() -> dict[str, int]:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return {"resident": int(line.split()[1]) << 10}


def count_loop(name: str, small: Path, large: Path) -> dict[str, float]:
    """Return the counts of one hot loop: what more streamlines cost."""
    sizes, found = [], []
    for folder in (small, large):
        call = partial(run_loop, name, folder)
        sizes.append(call())  # imports are done now
        counts = count_moved(call) | {"lines": count_lines(call), "crc": count_crc(call)}
        found.append(counts | dict(zip(("allocated", "heap"), count_allocated(call), strict=True)))
    nb_streamlines, nbytes = LARGE - SMALL, sizes[1] - sizes[0]
    units = {"lines": nb_streamlines / 1000, "calls": nb_streamlines / 1000, "heap": nb_streamlines}
    return {key: round((found[1][key] - value) / units.get(key, nbytes), 3) for key, value in found[0].items()}


# Instructions


@dataclass(frozen=True)
class Expected:
    """What instruction counts are compared with.

    Parameters
    ----------
    counts : dict
        Of each loop.
    tolerance : float
        How much more is too much, as a part.
    doubt : str
        Why these are no counts of the same environment; empty if they are.
    """

    counts: dict[str, float]
    tolerance: float
    doubt: str = ""


def expected_instructions(found: dict[str, float], baseline: dict[str, Any]) -> Expected:
    """Return what to compare with: the baseline, or in another environment its counts as far as plain passes tell."""
    wanted, here = baseline["instructions"], versions()
    if here == baseline["versions"]:
        return Expected(wanted, INSTRUCTIONS_TOLERANCE)
    factor = found[PLAIN] / wanted[PLAIN]
    other = ", ".join(
        f"{key} {here[key]} instead of {value}" for key, value in baseline["versions"].items() if here[key] != value
    )
    doubt = (
        f"instructions are compared with those of another environment ({other}): scaled by {factor:.2f}, as plain "
        f"passes are, and with a tolerance of {OTHER_TOLERANCE:.0%}"
    )
    return Expected({name: count * factor for name, count in wanted.items()}, OTHER_TOLERANCE, doubt)


def compare_instructions(found: dict[str, float], expected: Expected) -> list[str]:
    """Return a line for each loop that takes too many instructions."""
    return [
        f"{name}: {found[name]:g} instructions, {expected.counts[name]:g} in the baseline"
        for name in LOOPS
        if name in found and found[name] > expected.counts[name] * (1 + expected.tolerance) + INSTRUCTIONS_SLACK
    ]


# Together


def compare(found: dict[str, dict[str, float]], wanted: dict[str, dict[str, float]]) -> list[str]:
    """Return a line for each count that is higher than that of the baseline, by more than the tolerance."""
    return [
        f"{loop}: {key} {value:g}, {wanted[loop][key]:g} in the baseline"
        for loop, counts in found.items()
        for key, value in counts.items()
        if value > wanted[loop][key] + abs(wanted[loop][key]) * TOLERANCE + SLACK[key]
    ]


def measure(folder: Path, *, instructions: bool) -> dict[str, Any]:
    """Return all counts."""
    make_inputs(folder / "small", SMALL)
    make_inputs(folder / "large", LARGE)
    found: dict[str, Any] = {"counts": {name: count_loop(name, folder / "small", folder / "large") for name in LOOPS}}
    if instructions:
        if not shutil.which("valgrind"):
            raise SystemExit("--instructions needs valgrind")
        make_inputs(folder / "large" / "warm", 10)
        found["instructions"] = count_instructions(folder / "large")
        found["versions"] = versions()
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counters", description=__doc__.partition("\n")[0])
    parser.add_argument("--instructions", action="store_true", help="also count instructions (needs valgrind)")
    parser.add_argument("--write", action="store_true", help="make these counts the baseline")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), instructions=options.instructions)
    print(json.dumps(found, indent=1))
    baseline = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}
    if options.write:
        BASELINE.write_text(json.dumps(baseline | found, indent=1) + "\n")
        return 0
    problems = compare(found["counts"], baseline["counts"])
    if options.instructions:
        expected = expected_instructions(found["instructions"], baseline)
        problems += compare_instructions(found["instructions"], expected)
        print(expected.doubt, file=sys.stderr)
    print("\n".join(problems) or "no more than in the baseline")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
