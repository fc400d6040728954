"""Lines of progress in the log, for work that takes longer than a few seconds."""

from __future__ import annotations

import logging
import time

from trxlib.model.source import Progress

__all__ = ["log_progress"]

logger = logging.getLogger(__name__)
_TICK = 5.0  # seconds between two lines of progress


def log_progress(what: str) -> Progress:
    """Return a progress callback that writes a line every few seconds."""
    last = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _TICK:
            last = time.monotonic()
            logger.info("%s: %.0f of %.0f MB (%.0f %%)", what, done / 1e6, total / 1e6, 100 * done / max(total, 1))

    return tick
