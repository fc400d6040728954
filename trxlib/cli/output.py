"""What the commands print: results on stdout, errors and warnings a line each on stderr, a bar on a terminal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trxlib.errors import TrxError, TrxWarning
from trxlib.text import shown_lines

if TYPE_CHECKING:
    from trxlib.model.source import Progress

__all__ = [
    "FILE_ERRORS",
    "FileError",
    "reporting",
    "say",
    "say_error",
    "say_failure",
    "show_log",
    "show_progress",
]


class FileError(Exception):
    """An error that the command line itself finds in the files it was given."""


def say(text: str) -> None:
    """Print a result; what the terminal has no sign for is escaped."""
    _write(sys.stdout, text)


def say_error(text: str) -> None:
    """Print on stderr."""
    _write(sys.stderr, text)


def _write(stream: Any, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


#: Errors of files; a missing optional package is an ImportError that names it.
FILE_ERRORS = (TrxError, FileError, OSError, ImportError)


def reporting(run: Callable[[Any], int], status: int = 1) -> Callable[[Any], int]:
    """Make a command turn errors of files into messages and a status, and warnings into lines.

    Parameters
    ----------
    run : callable
        Takes the options that were given and returns a status.
    status : int
        What is returned after an error.
    """

    def run_reporting(options: Any) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("always", TrxWarning)
            warnings.showwarning = _show_warning
            try:
                return run(options)
            except BrokenPipeError:
                raise
            except FILE_ERRORS as error:
                say_failure(error)
                return status

    return run_reporting


def say_failure(error: Exception) -> None:
    """Print an error and its notes on stderr."""
    for text in [str(error), *getattr(error, "__notes__", [])]:
        say_error(f"error: {shown_lines(text)}")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say_error(f"warning: {shown_lines(str(message))}")


@contextmanager
def show_log(name: str) -> Iterator[None]:
    """Show what a module logs as lines on stderr: what it has found, for example."""
    import logging

    handler, logger = logging.Handler(logging.INFO), logging.getLogger(name)
    handler.emit = lambda record: say_error(shown_lines(record.getMessage()))  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def show_progress(what: str) -> Iterator[Progress | None]:
    """Give a callback that moves a bar, on a terminal; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
