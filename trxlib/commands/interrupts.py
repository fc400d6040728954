"""Let a program that is told to end take its unfinished files with it.

Schedulers end a job with SIGTERM, a terminal that closes sends SIGHUP; both end a process on the spot, and what it was
writing would stay. Within `ending_cleanly`, which only the command line and the scripts of the workflow use, they are
raised in the main thread like an exception, so that whatever is being written is removed on the way out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["SIGNALS", "Ended", "end_cleanly", "ending_cleanly"]

#: Signals that end a program; SIGINT is a KeyboardInterrupt already.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_CLEANING_SECONDS = 5.0  # in which a further signal does not stop what is being removed


class Ended(SystemExit):
    """A signal told the program to end; its status is 128 and the number of the signal, as shells have it."""


def end_cleanly() -> dict[int, Any]:
    """Raise `Ended` for these signals from now on, and return what was done before; for the main thread.

    A signal that is ignored (``nohup``) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    last = -_CLEANING_SECONDS

    def end(number: int, _: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last < _CLEANING_SECONDS:
            return
        last = time.monotonic()
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no stream, or none of the system
            text = f"error: ended by {signal.Signals(number).name}; nothing unfinished is left\n"
            os.write(sys.stderr.fileno(), text.encode())
        raise Ended(128 + number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, end)
    return before


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Do what `end_cleanly` does, until the block ends."""
    before = end_cleanly()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
