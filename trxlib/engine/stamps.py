"""What tells an input from one that was changed since it was planned: its size and time of change."""

from __future__ import annotations

import os

from trxlib.container.entries import iter_files
from trxlib.errors import StaleError
from trxlib.model.options import ReadOptions

__all__ = ["stamp_of"]


def stamp_of(path: str, options: ReadOptions | None = None) -> tuple[int, int]:
    """Return size and time of change of a file (or of all files of a folder), summed with those its options name.

    Raises
    ------
    StaleError
        If one is gone.
    """
    others = options.files() if options is not None else []
    stamps = [_stamp_of_one(os.fspath(file)) for file in (path, *others)]
    return sum(size for size, _ in stamps), sum(changed for _, changed in stamps)


def _stamp_of_one(path: str) -> tuple[int, int]:
    try:
        if not os.path.isdir(path):  # noqa: PTH112 (ten thousand times in a large cohort)
            status = os.stat(path)  # noqa: PTH116
            return status.st_size, status.st_mtime_ns
        found = [status for _, status in iter_files(path)]
        return sum(status.st_size for status in found), sum(status.st_mtime_ns for status in found)
    except OSError as error:
        why = error.strerror or error
        raise StaleError(f"{path}: was planned with and cannot be read now ({why}); plan again") from None
