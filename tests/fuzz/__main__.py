"""Run targets in turns, keep what fails, and print a table: inputs and findings of each target."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.batch import TIME_LIMIT, make_input
from tests.fuzz.targets import TARGETS

_ROOT = Path(__file__).parents[2]


@dataclass
class Fuzzing:
    """What was tried and found.

    Parameters
    ----------
    seed : int
        Of all damage.
    keep : Path
        Folder for files that fail, each in a folder of its own with a traceback.
    module : str
        What the child runs.
    """

    seed: int
    keep: Path
    counts: dict[str, int] = field(default_factory=dict)
    module: str = "tests.fuzz.batch"
    found: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def run(self, name: str, seconds: float) -> None:
        """Try one target for some seconds, in a child."""
        first = self.counts.get(name, 0)
        with tempfile.TemporaryDirectory(dir=_quick_folder()) as place:
            command = [sys.executable, "-m", self.module, name, str(self.seed), str(first), str(seconds), place]
            paths = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": paths}
            child = subprocess.Popen(
                command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            try:
                output, errors = child.communicate(timeout=seconds + 60 + 3 * TIME_LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
                output, errors = child.communicate()
                errors = f"did not come back\n{errors}"
            number = int((Path(place) / "number").read_text()) if (Path(place) / "number").exists() else first
            for line in output.splitlines():
                self._note(name, json.loads(line))
            if child.returncode:
                kind = f"ended with status {child.returncode}"
                self._note(name, {"number": str(number), "reader": "child", "kind": kind, "text": errors})
                number += 1
            self.counts[name] = number

    def _note(self, name: str, finding: dict[str, Any]) -> None:
        kinds = self.found.setdefault(name, {})
        if finding["kind"] in kinds:
            return
        kinds[finding["kind"]] = finding
        folder = self.keep / name / f"{len(kinds)}"
        if "kept" in finding:
            shutil.copytree(finding["kept"], folder / "input", dirs_exist_ok=True)
        else:
            make_input(name, self.seed, int(finding["number"]), folder / "input", TARGETS[name].seeds())
        text = f"target {name}, seed {self.seed}, number {finding['number']}, reader {finding['reader']}\n"
        (folder / "traceback.txt").write_text(f"{text}{finding['kind']}\n{finding['text']}")
        print(f"{name}: {finding['kind']}; kept in {folder}", file=sys.stderr, flush=True)


def _quick_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def fuzz(names: list[str], minutes: float, seed: int, keep: Path, *, guided: bool = False) -> Fuzzing:
    """Try targets in turns for so many minutes in sum; with atheris (`guided`) each has one turn."""
    result = Fuzzing(seed, keep)
    if guided:
        result.module = "tests.fuzz.guided"
    end = time.monotonic() + 60 * minutes
    turn = max(1.0, min(3600.0 if guided else 10.0, 60 * minutes / len(names)))
    while True:
        for name in names:
            result.run(name, turn)
        if time.monotonic() + turn * len(names) / 2 >= end:
            return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1, help="in sum (1); each target has a second at least")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same files (0)")
    parser.add_argument("--keep", type=Path, help="folder for files that fail (a new one in the temporary folder)")
    parser.add_argument("--atheris", action="store_true", help="damage that looks for new code (pip install atheris)")
    options = parser.parse_args()
    keep = options.keep or Path(tempfile.mkdtemp(prefix="fuzz_"))
    result = fuzz(options.target or list(TARGETS), options.minutes, options.seed, keep, guided=options.atheris)
    print("| target | inputs | findings |\n|---|---:|---:|")
    for name, count in result.counts.items():
        print(f"| {name} | {count} | {len(result.found.get(name, {}))} |")
    if not result.found:
        if options.keep is None:
            shutil.rmtree(keep)
        return 0
    print(f"files that failed, each with its traceback: {keep}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
