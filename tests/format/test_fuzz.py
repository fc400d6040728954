"""Every reader meets damaged files, and the harness that damages them sees what it has to see."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.batch import judge, make_input
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS
from trxlib.errors import FormatError, InputNotFoundError


@pytest.mark.slow
def test_a_minute_of_damaged_files_for_every_reader(tmp_path: Path) -> None:
    result = fuzz(list(TARGETS), 1.0, 20261129, tmp_path)
    assert result.found == {}
    assert all(result.counts[name] > 5 for name in TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_good_files_of_every_target_are_read_by_all_its_readers(tmp_path: Path, name: str) -> None:
    target = TARGETS[name]
    for file, data in target.seeds().items():
        folder = tmp_path / file.replace("/", "_")
        folder.mkdir()
        path = folder / file
        if target.put is None:
            path.write_bytes(data)
        else:
            never_renamed = random.Random(0)
            never_renamed.random = lambda: 1.0  # type: ignore[method-assign]
            path = target.put(folder, file, data, never_renamed)
        for read in target.readers:
            assert judge(read, path) is None


def test_the_same_seed_makes_the_same_file(tmp_path: Path) -> None:
    files = TARGETS["trk"].seeds()
    first, again, other = (
        make_input("trk", 3, number, tmp_path / str(turn), files) for turn, number in enumerate((1, 1, 2))
    )
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()
    data = b"x 1 y 2\n" * 10
    assert mutate(data, random.Random(1), [data], text=0.5) == mutate(data, random.Random(1), [data], text=0.5)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FormatError("a.trk: bad"), None),
        (InputNotFoundError("a.trk: gone"), None),
        (OSError(errno.EACCES, "not allowed"), None),
        (FormatError("bad"), "no name FormatError"),
        (OSError("not a real one"), "OSError"),
        (ValueError("a.trk"), "ValueError"),
        (RuntimeWarning("overflow"), "RuntimeWarning"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_only_errors_that_name_the_file_may_come_out(tmp_path: Path, error: Exception, kind: str | None) -> None:
    def read(path: Path) -> None:
        raise error

    found = judge(read, tmp_path / "a.trk")
    assert found is None if kind is None else found is not None and found["kind"].startswith(kind)


def test_much_memory_and_long_times_are_findings() -> None:
    code = (
        "import signal, time, tests.fuzz.batch as b\nfrom pathlib import Path\n"
        "b.TIME_LIMIT = 0.2\nsignal.signal(signal.SIGALRM, b._ring)\nb.limit_memory()\n"
        "for read in (lambda p: bytearray(1 << 30), lambda p: time.sleep(5)):\n"
        "    print(b.judge(read, Path('a'))['kind'].split()[0])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.stdout.split() == ["MemoryError", "_TooLongError"], run.stderr
