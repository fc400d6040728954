"""Some damaged files of one target in a process of their own, with little memory: a line of JSON for each finding."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

#: Seconds for one reader of one file of some kilobytes; a hundredth is usual.
TIME_LIMIT = 10
#: Bytes that may be mapped beyond what the process has when it starts.
MEMORY = 600 << 20


class _TooLongError(BaseException):
    """A reader does not come back."""


def _ring(number: int, frame: FrameType | None) -> None:
    raise _TooLongError(f"longer than {TIME_LIMIT} s")


def limit_memory() -> None:
    """Let the process map so much more than now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def judge(read: Any, path: Path) -> dict[str, str] | None:
    """Return what is wrong with the way in which a reader takes a file; None if nothing is."""
    from trxlib.errors import TrxError, TrxWarning

    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a RuntimeWarning of numpy is none of ours
            warnings.simplefilter("ignore", TrxWarning)
            read(path)
    except TrxError as error:
        if path.name in str(error):
            return None
        where, text = "no name", f"the message does not name {path.name}: {error}"
        place = _innermost(error)
        return {"kind": f"{where} {type(error).__name__} {place}", "text": text + "\n" + traceback.format_exc()}
    except (Exception, _TooLongError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            return None
        return {"kind": f"{type(error).__name__} {_innermost(error)}", "text": traceback.format_exc()}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _innermost(error: BaseException) -> str:
    """Return the last line of this project that an exception passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "trxlib" in frame.filename or "fuzz" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def make_input(name: str, seed: int, number: int, folder: Path, files: Any) -> Path:
    """Write one damaged file; the same arguments make the same file."""
    from tests.fuzz.targets import TARGETS

    rng = random.Random(f"{seed}/{name}/{number}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return TARGETS[name].make(folder, rng, files)


def run(name: str, seed: int, first: int, seconds: float, place: Path) -> None:
    """Try files from number `first` on until the time is over; their last number stands in ``place/number``."""
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    files = target.seeds()
    signal.signal(signal.SIGALRM, _ring)
    limit_memory()
    end, number = time.monotonic() + seconds, first
    while time.monotonic() < end:
        (place / "number").write_text(str(number))
        path = make_input(name, seed, number, place / "input", files)
        for read in target.readers:
            found = judge(read, path)
            if found is not None:
                shown = getattr(read, "__name__", "reader")
                print(json.dumps({"number": number, "reader": shown, **found}), flush=True)
        number += 1
    (place / "number").write_text(str(number))


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
