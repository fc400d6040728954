"""What the writers of all formats share: a file written in pieces in a thread of its own, and values as float32."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from trxlib.errors import DataLossWarning, DtypeError
from trxlib.storage.workspace import writing

__all__ = ["Float32Caster", "Output", "merge_rows", "open_output"]

Array = npt.NDArray[Any]
_PENDING = 2


class Output:
    """A file under a private name, written from front to back while the next piece is made."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()

    def write(self, data: Array | bytes) -> None:
        """Append `data`, which must not change any more."""
        if len(self._pending) >= _PENDING:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._write_all, data))

    def _write_all(self, data: Array | bytes) -> None:
        view = memoryview(data if isinstance(data, bytes) else data.data).cast("B")
        while view:  # the system may take a part only
            view = view[self._stream.write(view) :]

    def rewrite(self, data: bytes) -> None:
        """Put `data` over the beginning, now that all counts are known."""
        self.finish()
        self._stream.seek(0)
        self._write_all(data)

    def finish(self) -> None:
        """Wait until everything is written; raise what went wrong."""
        while self._pending:
            self._pending.popleft().result()

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def open_output(path: str | os.PathLike[str]) -> Iterator[Output]:
    """Give an `Output`; `path` appears when it is complete, and not at all after an error."""
    with writing(path) as partial, Path(partial).open("wb", buffering=0) as stream:
        output = Output(stream)
        try:
            yield output
            output.finish()
        finally:
            output.close()


class Float32Caster:
    """Turns values into float32, and warns once per array if that changes one.

    Parameters
    ----------
    path : str
        For the warning.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._warned: set[str] = set()

    def cast(self, values: Array, what: str) -> Array:
        """Return `values` as little-endian float32; they are not changed.

        Raises
        ------
        DtypeError
            If a finite value becomes infinite.
        """
        if values.dtype == np.float32:
            return values.astype("<f4", copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            result = values.astype("<f4")
            changed = (result != values) & ~np.isnan(result)
        if changed.any():
            if values.dtype.kind == "f" and (np.isinf(result) & np.isfinite(values)).any():
                raise DtypeError(f"{self._path}: {what} holds values beyond float32, the only type that the format has")
            if what not in self._warned:
                self._warned.add(what)
                warnings.warn(
                    f"{self._path}: {what} is {values.dtype}, and the format has float32 only; values are rounded",
                    DataLossWarning,
                    stacklevel=4,
                )
        return result


def merge_rows(rows: Array, lengths: Array, gap: int, lead: int = 0) -> tuple[Array, Array]:
    """Put free items behind each run of items.

    Parameters
    ----------
    rows : ndarray, 1-D
        The items of all runs, one behind the other.
    lengths : ndarray of integers, shape (n,)
        Items of each run.
    gap : int
        Free items for each run.
    lead : int
        How many of these stand in front of the run; the others follow it.

    Returns
    -------
    ndarray of shape (len(rows) + n * gap,)
        The items in their places; the free ones are not set.
    ndarray of shape (n,)
        Where each run begins with its free items.
    """
    counts = lengths.astype(np.int64) + gap
    starts = np.cumsum(counts) - counts
    merged = np.empty(len(rows) + gap * len(lengths), dtype=rows.dtype)
    mask = np.ones(len(merged), dtype=np.bool_)
    for item in range(gap):
        mask[starts + (item if item < lead else lengths.astype(np.int64) + item)] = False
    merged[mask] = rows
    return merged, starts
