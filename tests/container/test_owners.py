"""What a killed writer left is removed by the next one; what somebody writes now is not."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time

from trxlib.container.atomic import TemporaryFolder, writing
from trxlib.container.owners import _listed, is_abandoned, token

WRITER = """
import sys, time
from trxlib.cohort.logs import start_logging
from trxlib.container.atomic import writing
if sys.argv[2:]:
    start_logging()
with writing(sys.argv[1]) as partial:
    print("writing", flush=True)
    time.sleep(60)
"""


def signalled(output, number, *words):
    """Start a writer, end it by a signal while it writes, and return its status."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, output, *words], stdout=subprocess.PIPE, text=True)
    with child.stdout:
        assert child.stdout.readline() == "writing\n"
        child.send_signal(number)
        return child.wait(20)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    assert signalled(tmp_path / "a", signal.SIGKILL) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert is_abandoned(left)
    _listed.clear()
    with writing(tmp_path / "other"):
        assert left.exists()
    _listed.clear()
    with writing(tmp_path / "a") as mine:
        assert not left.exists()
        assert mine.exists()
        assert not is_abandoned(mine)
    assert names(tmp_path) == ["a", "other"]


def test_our_programs_clean_up_when_they_are_told_to_end(tmp_path):
    for number in (signal.SIGTERM, signal.SIGHUP):
        assert signalled(tmp_path / "a", number, "program") == 128 + number
        assert names(tmp_path) == []


def test_of_another_machine_only_what_is_old_and_not_locked_is_abandoned(tmp_path):
    path = tmp_path / ".a.00000000-1-1-00000000.partial"
    path.write_bytes(b"half")
    assert not is_abandoned(path)
    os.utime(path, (time.time() - 2 * 86400,) * 2)
    assert is_abandoned(path)
    assert not is_abandoned(path, elsewhere=False)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not is_abandoned(path)
    for name in (".a.trx.0123456789abcdef.partial", "a.trx", ".a.partial"):
        assert not is_abandoned(tmp_path / name)  # of a plan, or of nobody we know


def test_temporary_folders_of_dead_processes_are_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("TRX_TMPDIR", str(tmp_path))
    dead = tmp_path / f"trxlib_{token().replace(f'-{os.getpid()}-', '-4194304-')}"  # beyond the highest number
    dead.mkdir()
    first = TemporaryFolder()
    assert not dead.exists()
    _listed.clear()
    second = TemporaryFolder()
    assert first.path.exists()
    for folder in (first, second):
        folder.close()
    assert names(tmp_path) == []
