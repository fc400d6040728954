"""Machine instructions of the hot loops, counted by valgrind: they see what numpy does below a line of Python.

One and the same environment gives the same count to a millionth. Another version of Python or numpy needs other
instructions for the same work; how many others is told by passes of plain numpy that are counted beside the loops.
"""

from __future__ import annotations

import compileall
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from benchmarks.hot_loops import LARGE, LOOPS, plain_passes, run_loop
from benchmarks.measure import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[1]
#: What is counted beside the loops: a process that runs none of them, and the passes to compare with.
NONE, PLAIN = "none", "plain"


def versions() -> dict[str, str]:
    """Return what the counts depend on."""
    found = {"machine": platform.machine(), "python": ".".join(platform.python_version_tuple()[:2])}
    return found | {name: ".".join(version(name).split(".")[:2]) for name in ("numpy", "isal")}


def count_instructions(data: Path, workers: int = 2) -> dict[str, float]:
    """Return the instructions per streamline of each hot loop, and of `PLAIN`.

    Parameters
    ----------
    data : Path
        Inputs of `LARGE` streamlines, with a folder ``warm`` of some few.
    workers : int
        Processes at a time; the counts do not depend on it.
    """
    # A process that compiles modules counts that, too.
    for module in ("trxlib", "benchmarks"):
        compileall.compile_dir(ROOT / module, quiet=2)
    names = [NONE, PLAIN, *LOOPS]
    with ThreadPoolExecutor(workers) as pool:
        totals = dict(zip(names, pool.map(lambda name: instructions_of(name, data), names), strict=True))
    return {name: round((totals[name] - totals[NONE]) / LARGE, 1) for name in names[1:]}


def instructions_of(name: str, data: Path) -> int:
    """Return the instructions of a process that runs all loops on a few streamlines, and then one on many."""
    settings = {
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "OPENBLAS_CORETYPE": "Haswell",
        # A string instruction counts once per byte for valgrind, and processors differ in when it is used.
        "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000",
    }
    command = [
        "valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
        sys.executable, "-m", "benchmarks.instructions", name, str(data),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT | settings, check=False)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"valgrind failed: {done.stderr[-500:]}")
    return int(found[1].replace(",", ""))


def main(name: str, data: Path) -> None:
    """Do what is counted."""
    for loop in LOOPS:
        run_loop(loop, data / "warm")
    plain_passes(data / "warm", data)
    if name == PLAIN:
        plain_passes(data, data)
    elif name != NONE:
        run_loop(name, data)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
