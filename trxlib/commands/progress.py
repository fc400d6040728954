"""What steps write for people: lines of progress in the log, and tables with tabs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trxlib.container.atomic import writing
from trxlib.model.source import Progress

__all__ = ["find_warnings", "log_progress", "read_table", "write_table"]

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


def find_warnings(folder: str | Path) -> list[str]:
    """Return what the logs in a folder and below warn of, each text once, in the order of the files' names."""
    found: dict[str, None] = {}
    for path in sorted(Path(folder).rglob("*.log")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            _, mark, text = line.partition(" WARNING: ")
            if mark:
                found[text] = None
    return list(found)


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with tabs; the name appears when it is complete. Empty cells become ``n/a``."""
    with writing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        for row in (columns, *rows):
            stream.write("\t".join("n/a" if cell in ("", None) else str(cell) for cell in row) + "\n")


def read_table(path: str | Path) -> list[dict[str, str]]:
    """Read a table with tabs."""
    columns, *rows = (line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [dict(zip(columns, row, strict=True)) for row in rows]
