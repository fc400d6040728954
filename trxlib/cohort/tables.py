"""The tables that the workflow writes: one line of column names, cells separated by tabs, ``n/a`` for no value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trxlib.container.atomic import writing
from trxlib.files import read_regular

__all__ = ["read_table", "write_table"]


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with tabs; the name appears when it is complete. Empty cells become ``n/a``."""
    with writing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        for row in (columns, *rows):
            stream.write("\t".join("n/a" if cell in ("", None) else str(cell) for cell in row) + "\n")


def read_table(path: str | Path) -> list[dict[str, str]]:
    """Read a table with tabs; a pipe or device is refused, see `trxlib.files.open_regular`."""
    # splitlines() would also divide at characters that a path may have.
    lines = read_regular(path).decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
    columns, *rows = (line.split("\t") for line in lines)
    return [dict(zip(columns, row, strict=True)) for row in rows]
