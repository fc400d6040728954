"""Run a whole process and say how long it took and how much memory it had; run several side by side."""

from __future__ import annotations

import contextlib
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
_TEMPORARY = ("TMPDIR", "TRX_TMPDIR")
_SAMPLE = 0.004  # seconds between two looks at the memory of a process
_SAMPLE_TREE = 0.05  # the same of all processes of a session, which takes some milliseconds


#: Called with the output folder, what was printed, and whether to look at everything; raises BenchmarkError.
Check = Callable[[Path, str, bool], None]


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
        Looks at the result, thoroughly after the warm-up; its time does not count.
    limit : bool
        Whether this is the physical limit that others are compared with.
    peer : bool
        Whether it is somebody else's program.
    judged : bool
        Whether the case's target holds for it, if it is trxlib's.
    tree : bool
        Whether its memory is that of all processes that it starts together.
    """

    name: str
    command: Sequence[str]
    check: Check | None = None
    limit: bool = False
    peer: bool = False
    judged: bool = True
    tree: bool = False
    samples: list[Sample] = field(default_factory=list)
    error: str = ""


class _Watch(threading.Thread):
    """Reads the memory of a process until it is told to stop, and ends the process after `limit` seconds."""

    def __init__(self, pid: int, limit: float, tree: bool) -> None:
        super().__init__(daemon=True)
        self.pid, self.end, self.tree = pid, time.monotonic() + limit, tree
        self.rss = self.anon = 0
        self.stopped = threading.Event()
        self.late = False

    def run(self) -> None:
        while not self.stopped.wait(_SAMPLE_TREE if self.tree else _SAMPLE):
            pids = _session(self.pid) if self.tree else [self.pid]
            found = [_memory_of(pid, "VmRSS:" if self.tree else "VmHWM:") for pid in pids]
            self.rss = max(self.rss, sum(rss for rss, _ in found))
            self.anon = max(self.anon, sum(anon for _, anon in found))
            if time.monotonic() > self.end and not self.late:
                self.late = True
                _kill(self.pid)


def _session(leader: int) -> list[int]:
    """Return the processes of a session."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader:
            pids.append(int(entry.name))
    return pids


def _memory_of(pid: int, resident: str) -> tuple[int, int]:
    """Return resident and anonymous bytes; 0 of a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    fields = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith((resident, "RssAnon:"))}
    rss, anon = (int(fields[key][1]) << 10 if key in fields else 0 for key in (resident, "RssAnon:"))
    return rss, anon


def _kill(leader: int) -> None:
    """End a process and all that it has started."""
    for pid in [leader, *_session(leader)]:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def run_once(command: Sequence[str], *, limit: float, tree: bool = False, temporary: Path | None = None) -> Sample:
    """Run a process to its end; if this one is interrupted, the other and all that it has started end with it.

    Parameters
    ----------
    command : sequence of str
    limit : float
        Seconds after which it is stopped.
    tree : bool
        Whether its memory is that of all processes that it starts together.
    temporary : Path, optional
        Where it shall put temporary files, instead of the system's folder for them.

    Raises
    ------
    BenchmarkError
        If it fails, or takes longer than `limit` seconds.
    """
    environment = ENVIRONMENT if temporary is None else ENVIRONMENT | dict.fromkeys(_TEMPORARY, str(temporary))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, start_new_session=True)
        watch = _Watch(process.pid, limit, tree)
        watch.start()
        try:
            # A wait with a time limit would poll, and be late by up to 50 ms.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _kill(process.pid)
            process.wait()
            raise
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

    What takes longer than `patience` seconds is measured less often, as the table says: of a peer the warm-up is all,
    others run twice after it.
    """
    slow: set[int] = set()
    for number in range(repeat + 1):
        for entry in entries:
            if entry.error or (id(entry) in slow and number > (0 if entry.peer else 2)):
                continue
            _run_entry(entry, folder, limit, thorough=number == 0)
            if entry.error:
                say(f"    {entry.name}: {entry.error}")
            elif number == 0:
                say(f"    {entry.name}: {entry.samples[0].seconds:.3f} s")
                slow |= {id(entry)} if entry.samples[0].seconds > patience else set()
    for entry in entries:
        del entry.samples[: len(entry.samples) > 1]


def _run_entry(entry: Entry, folder: Path, limit: float, *, thorough: bool) -> None:
    temporary = folder.with_name("temporary")  # beside the output: a peer's temporary files are no slower than ours
    _empty(folder, temporary)
    for place in (folder, temporary):
        place.mkdir(parents=True)
    command = [part.replace("{out}", str(folder)) for part in entry.command]
    try:
        sample = run_once(command, limit=limit, tree=entry.tree, temporary=temporary)
        if entry.check is not None:
            entry.check(folder, sample.output, thorough)
        entry.samples.append(sample)
    except (BenchmarkError, OSError) as error:
        entry.error = str(error).replace(str(folder.parent), "data")
        entry.samples.clear()
    finally:
        _empty(folder, temporary)


def _empty(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
