"""The trouble: each function does one kind to one work, some times, and returns what went wrong."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.reliability.work import INPUTS, Work, bytes_of, in_child, remove

GOOD = {0, 1}


class Place:
    """A folder of inputs, one for outputs, and what each work writes when nothing troubles it."""

    def __init__(self, root: Path, inputs: Path, rng: random.Random) -> None:
        self.root, self.inputs, self.rng = root, inputs, rng
        self.out = root / "out"
        self.tmp = root / "tmp"
        self.log = root / "log"
        for folder in (self.out, self.tmp):
            folder.mkdir()
        os.environ.update(self.environment())
        self.stamps = self._stamps()
        self._expected: dict[str, tuple[dict[str, bytes], float]] = {}

    def environment(self) -> dict[str, str]:
        """Return the variables that a work needs to be looked after."""
        return {"TRX_TMPDIR": str(self.tmp), "RELIABILITY_LOG": str(self.log)}

    def expected(self, work: Work) -> tuple[dict[str, bytes], float]:
        """Bytes, and seconds."""
        if work.name not in self._expected:
            seconds = 9e9
            for _ in range(2):
                begin = time.perf_counter()
                status = wait(in_child(lambda: work.run(self.inputs, self.out / work.output)))
                seconds = min(seconds, time.perf_counter() - begin)
                assert status == 0, f"{work.name}: {self.log.read_text()}"
            found = bytes_of(self.out / work.output)
            assert found is not None
            self._expected[work.name] = found, seconds
            self.clean()
        return self._expected[work.name]

    def clean(self) -> None:
        for folder in (self.out, self.tmp):
            shutil.rmtree(folder)
            folder.mkdir()
        self.log.unlink(missing_ok=True)

    def unfinished(self) -> list[str]:
        """What should not be there: private names, temporary folders."""
        hidden = [path for path in self.out.rglob("*") if path.name.startswith((".", "trxlib_"))]
        return [path.name for path in (*hidden, *self.tmp.iterdir())]

    def said(self) -> str:
        text = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return text

    def changed_inputs(self) -> list[str]:
        return [] if self._stamps() == self.stamps else ["inputs were changed"]

    def _stamps(self) -> list[tuple[str, int, int]]:
        paths = sorted(path for name in INPUTS for path in (self.inputs / name, *(self.inputs / name).rglob("*")))
        return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


def wait(pid: int) -> int:
    """The status of a child; below 0 for the signal that it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(place: Place, work: Work, status: int, allowed: set[int]) -> Iterator[str]:
    """What is wrong behind a run that was troubled."""
    said, found = place.said(), bytes_of(place.out / work.output)
    if status not in allowed:
        yield f"{work.name}: status {status}: {said[-300:]}"
    if status == 1 and "error: " not in said:
        yield f"{work.name}: no message"
    expected, _ = place.expected(work)
    is_many = work.output in ("groups", "out.tck")  # several files, each whole
    if found is None:
        if status == 0:
            yield f"{work.name}: no output"
    elif is_many and status != 0:
        yield from (f"{work.name}: half of {k}" for k, v in found.items() if k[0] != "." and expected.get(k) != v)
    elif found != expected:
        yield f"{work.name}: another output"


def killed(place: Place, work: Work, number: int, tries: int) -> Iterator[str]:
    """A signal at a random moment; the next run leaves nothing behind."""
    _, seconds = place.expected(work)
    output = place.out / work.output
    for _ in range(tries):
        pid = in_child(lambda: work.run(place.inputs, output))
        time.sleep(place.rng.uniform(0, seconds))
        os.kill(pid, number)
        status = wait(pid)
        yield from check(place, work, status, {0, -number, 128 + number})
        is_clean = work.is_program and number != signal.SIGKILL and status == 128 + number
        if is_clean and place.unfinished():
            yield f"{work.name}: left {place.unfinished()}"
        remove(output) if place.rng.random() < 0.5 else None  # half of the runs replace what is there
    status = wait(in_child(lambda: work.run(place.inputs, output)))
    yield from check(place, work, status, {0})
    if place.unfinished():
        yield f"{work.name}: left {place.unfinished()} behind the next run"
    yield from place.changed_inputs()
    place.clean()


def file_limit(place: Place, work: Work, tries: int) -> Iterator[str]:
    """A limit on the size of files near the need."""
    expected, _ = place.expected(work)
    need = max(len(data) for data in expected.values())
    for _ in range(tries):
        limit = max(0, need + place.rng.choice([place.rng.randint(-(64 << 10), 4096), place.rng.randint(-need, 0)]))

        def before(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        # The log of the child is shorter than any limit that lets it say something.
        status = wait(in_child(lambda: work.run(place.inputs, place.out / work.output), before))
        yield from check_refused(place, work, status)


def check_refused(place: Place, work: Work, status: int) -> Iterator[str]:
    said = place.log.read_text() if place.log.exists() else ""
    yield from check(place, work, status, GOOD)
    if status == 1 and str(place.root) not in said:
        yield f"{work.name}: names no file: {said}"
    if place.unfinished():
        yield f"{work.name}: left {place.unfinished()}"
    remove(place.out / work.output)
    yield from place.changed_inputs()
    place.clean()


def full_disk(place: Place, work: Work, tries: int) -> Iterator[str]:
    """A disk of a size within 64 kB of the need."""
    expected, _ = place.expected(work)
    need = sum(-(-len(data) // 4096) * 4096 for data in expected.values())
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place.out)], check=True)
    try:
        for _ in range(tries):
            size = max(4096, need + place.rng.randint(-16, 16) * 4096)
            subprocess.run(["mount", "-o", f"remount,size={size}", str(place.out)], check=True)
            status = wait(in_child(lambda: work.run(place.inputs, place.out / work.output)))
            found = place.said()
            if status == 1 and str(place.out) not in found and str(place.tmp) not in found:
                yield f"{work.name}: names no file: {found}"
            place.log.write_text(found)
            yield from check(place, work, status, GOOD)
            if place.unfinished():
                yield f"{work.name}: left {place.unfinished()}"
            for path in place.out.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        subprocess.run(["umount", str(place.out)], check=True)


def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=False, capture_output=True)
        except OSError:
            return False
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return done.returncode == 0


def cut_or_replaced(place: Place, work: Work, tries: int, *, cut: bool) -> Iterator[str]:
    """The input is cut, or another takes its name, at a random moment: an error, or the right result."""
    _, seconds = place.expected(work)
    own = place.root / "own"
    for _ in range(tries):
        shutil.rmtree(own, ignore_errors=True)
        shutil.copytree(place.inputs, own)
        target = own / work.reads
        other = own / "other"
        size = target.stat().st_size
        other.write_bytes(target.read_bytes()[: size // 2])
        pid = in_child(lambda: work.run(own, place.out / work.output))
        time.sleep(place.rng.uniform(0, seconds))
        if cut:
            os.truncate(target, place.rng.randrange(size))
        else:
            other.replace(target)
        yield from check(place, work, wait(pid), GOOD)
        if place.unfinished():
            yield f"{work.name}: left {place.unfinished()}"
        remove(place.out / work.output)
    place.clean()


def two_writers(place: Place, work: Work, tries: int) -> Iterator[str]:
    """Two processes write one output."""
    place.expected(work)
    for _ in range(tries):
        pids = []
        for _ in range(2):
            pids.append(in_child(lambda: work.run(place.inputs, place.out / work.output)))
            time.sleep(place.rng.uniform(0, 0.02))
        for status in map(wait, pids):
            yield from check(place, work, status, {0})
        if place.unfinished():
            yield f"{work.name}: left {place.unfinished()}"
        remove(place.out / work.output)
    place.clean()


def repeated(run: Callable[[], int | None], place: Place, tries: int) -> Iterator[str]:
    """Something that checks itself, in a process of its own, some times."""
    for _ in range(tries):
        status = wait(in_child(run))
        if status:
            yield f"status {status}: {place.said()[-400:]}"
    place.clean()
