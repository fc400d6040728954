"""The log of a job: what every script sets up first, and what the logs of a finished run warn of."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from trxlib.commands.interrupts import end_cleanly
from trxlib.errors import TrxError
from trxlib.text import shown_lines

__all__ = ["find_warnings", "start_logging"]

logger = logging.getLogger(__name__)
_WARNING = re.compile(r"\d\d:\d\d:\d\d WARNING: ")


def start_logging() -> None:
    """Send the library's messages and warnings to stderr, and end on a user's mistake with one message.

    A script that is told to end (SIGTERM, SIGHUP) removes what it has not finished.
    """
    end_cleanly()
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s: %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    warnings.showwarning = _log_warning
    sys.excepthook = _log_error


class _Formatter(logging.Formatter):
    """One message, one line that begins with a time: names of groups and files cannot forge another."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging calls it so)
        record.message = shown_lines(record.message)
        return super().formatMessage(record)


def _log_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    logger.warning("%s", message)


def _log_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, (TrxError, OSError)):
        logger.error("%s", "\n".join([str(error), *getattr(error, "__notes__", [])]))
    else:
        sys.__excepthook__(kind, error, trace)


def find_warnings(folder: str | Path) -> list[str]:
    """Return what the logs in a folder and below warn of, each text once, in the order of the files' names."""
    found: dict[str, None] = {}
    for path in sorted(Path(folder).rglob("*.log")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            mark = _WARNING.match(line)
            if mark:
                found[line[mark.end() :]] = None
    return list(found)
