"""Run a whole process and say how long it took and how much memory it had; run several side by side."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: As a user's: modules are compiled once (by the warm-up), not in every process.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
_SAMPLE = 0.004  # seconds between two looks at the memory of a process


class BenchmarkError(Exception):
    """A process failed, or its result is wrong."""


@dataclass(frozen=True)
class Sample:
    """One run of a process.

    Parameters
    ----------
    seconds : float
        From its start to its end.
    cpu : float
        Seconds of processor time, of the process and its children.
    rss, anon : int
        Peaks of resident and of anonymous memory of the process itself, bytes; 0 where it ended too soon.
    output : str
        What it printed.
    """

    seconds: float
    cpu: float
    rss: int
    anon: int
    output: str


@dataclass
class Entry:
    """A process to measure.

    Parameters
    ----------
    name : str
        Of the program.
    command : sequence of str
        Arguments; ``{out}`` is a folder of its own that is emptied before each run.
    check : callable, optional
        Called with the folder and what was printed; raises if the result is wrong.
    limit : bool
        Whether this is the physical limit that others are compared with.
    peer : bool
        Whether it is somebody else's program.
    judged : bool
        Whether the case's target holds for it, if it is trxlib's.
    """

    name: str
    command: Sequence[str]
    check: Callable[[Path, str], None] | None = None
    limit: bool = False
    peer: bool = False
    judged: bool = True
    samples: list[Sample] = field(default_factory=list)
    error: str = ""


class _Watch(threading.Thread):
    """Reads the memory of a process until it is told to stop, and ends the process after `limit` seconds."""

    def __init__(self, pid: int, limit: float) -> None:
        super().__init__(daemon=True)
        self.pid, self.end = pid, time.monotonic() + limit
        self.rss = self.anon = 0
        self.stopped = threading.Event()
        self.late = False

    def run(self) -> None:
        while not self.stopped.wait(_SAMPLE):
            try:
                text = Path(f"/proc/{self.pid}/status").read_text()
            except OSError:
                return
            for line in text.splitlines():
                if line.startswith("VmHWM:"):
                    self.rss = max(self.rss, int(line.split()[1]) << 10)
                elif line.startswith("RssAnon:"):
                    self.anon = max(self.anon, int(line.split()[1]) << 10)
            if time.monotonic() > self.end and not self.late:
                self.late = True
                os.killpg(self.pid, signal.SIGKILL)


def run_once(command: Sequence[str], *, limit: float, cwd: Path | None = None) -> Sample:
    """Run a process to its end.

    Raises
    ------
    BenchmarkError
        If it fails, or takes longer than `limit` seconds.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=cwd, env=ENVIRONMENT, start_new_session=True)
        watch = _Watch(process.pid, limit)
        watch.start()
        # A wait with a time limit would poll, and be late by up to 50 ms.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.stopped.set()
        watch.join()
        out.seek(0)
        err.seek(0)
        if watch.late:
            raise BenchmarkError(f"stopped after {limit:.0f} s")
        if status:
            lines = err.read().strip().splitlines() or [f"status {process.returncode}"]
            raise BenchmarkError(lines[-1][:200])
        return Sample(seconds, usage.ru_utime + usage.ru_stime, watch.rss, watch.anon, out.read())


def run_side_by_side(
    entries: Sequence[Entry], folder: Path, *, repeat: int, limit: float, patience: float, say: Callable[[str], None]
) -> None:
    """Run every entry once to warm up, then all in turn, `repeat` times; fill their samples.

    A peer that takes longer than `patience` seconds is run fewer times, as the table says: once more if it takes up
    to three times as long, else its first run counts. So is anything that takes ten times as long.
    """
    for number in range(repeat + 1):
        for entry in entries:
            if entry.error or _enough(entry, number, patience):
                continue
            _run_entry(entry, folder, limit)
            if number == 0 and not entry.error:
                say(f"    {entry.name}: {entry.samples[0].seconds:.3f} s")
            elif entry.error:
                say(f"    {entry.name}: {entry.error}")
    for entry in entries:
        if len(entry.samples) > 1:
            del entry.samples[0]


def _enough(entry: Entry, number: int, patience: float) -> bool:
    if number == 0 or not entry.samples:
        return False
    if not entry.peer:
        patience *= 10
    first = entry.samples[0].seconds
    return first > 3 * patience or (first > patience and number > 1)


def _run_entry(entry: Entry, folder: Path, limit: float) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [part.replace("{out}", str(folder)) for part in entry.command]
    try:
        sample = run_once(command, limit=limit)
        if entry.check is not None:
            entry.check(folder, sample.output)
        entry.samples.append(sample)
    except (BenchmarkError, OSError) as error:
        entry.error = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
