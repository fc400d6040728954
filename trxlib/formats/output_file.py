"""What the writers of all formats share: a file written at given places, float32."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.atomic import private_name, writing
from trxlib.container.full_disk import naming_full_disk
from trxlib.container.gzipped import gzip_file
from trxlib.container.scattered import RunsOfRows, write_at, write_runs
from trxlib.errors import DataLossWarning, DtypeError, warn
from trxlib.model.chunk import Chunk
from trxlib.model.dtypes import cast

__all__ = ["Float32Caster", "Output", "cast_positions", "name_without_gz", "open_output"]

Array = npt.NDArray[Any]
StrPath = str | os.PathLike[str]


class Output:
    """A file under a private name: appended to, or written at given places by several threads at once."""

    def __init__(self, fd: int, path: str = "") -> None:
        self._fd, self._path = fd, path
        self._end = 0

    def append(self, data: Array | bytes) -> None:
        """Write `data` behind what was appended before."""
        self._end += self.put(self._end, data)

    def put(self, position: int, data: Array | bytes) -> int:
        """Write `data` from byte `position` on and return its size."""
        view = memoryview(data if isinstance(data, bytes) else data.data).cast("B")
        with naming_full_disk(self._path):
            write_at(self._fd, view, position)
        return len(view)

    def put_runs(self, position: int, parts: Sequence[RunsOfRows]) -> int:
        """Write the first runs of all parts, then the second, and so on, and return their size."""
        with naming_full_disk(self._path):
            return write_runs(self._fd, position, parts)


@contextmanager
def open_output(path: StrPath) -> Iterator[Output]:
    """Give an `Output`; `path` appears when it is complete, and not at all after an error.

    A name that ends in ``.gz`` gets the same content compressed. Writers put the count of streamlines into the header
    last, and several threads write side by side, so that it is compressed when all is there: until then the plain file
    stands beside it, under a private name.
    """
    with writing(path) as partial:
        if name_without_gz(path) == Path(path):
            with _open_plain(partial, path) as output:
                yield output
            return
        plain = private_name(partial)
        try:
            with _open_plain(plain, path) as output:
                yield output
            with naming_full_disk(path):
                gzip_file(plain, partial)
        finally:
            plain.unlink(missing_ok=True)


@contextmanager
def _open_plain(file: Path, path: StrPath) -> Iterator[Output]:
    with file.open("wb", buffering=0) as stream:
        yield Output(stream.fileno(), os.fspath(path))


def name_without_gz(path: StrPath) -> Path:
    """Return the name that a compressed file has without ``.gz``; any other name is returned as it is."""
    return Path(path).with_suffix("") if Path(path).suffix.lower() == ".gz" else Path(path)


def cast_positions(positions: Array, dtype: npt.DTypeLike, chunk: Chunk, streamline: int, path: StrPath) -> Array:
    """Return the positions of a chunk in the type of a file.

    Parameters
    ----------
    positions : ndarray of floats, shape (v, 3)
        Those of the chunk, perhaps in other coordinates.
    dtype : dtype
        The type.
    chunk : Chunk
        Says which streamline is to blame.
    streamline : int
        The first of the chunk.
    path : path
        The file, for the message.

    Raises
    ------
    DtypeError
        Naming the streamline with a vertex that would become infinite.
    """
    try:
        return cast(positions, dtype, "positions")
    except DtypeError:
        with np.errstate(over="ignore"):
            lost = np.isinf(positions.astype(dtype)) & np.isfinite(positions)
        vertex = int(np.argmax(lost.any(axis=1)))
        raise DtypeError(
            f"{path}: streamline {streamline + int(chunk.locate(vertex)[0])} has the vertex "
            f"{chunk.positions[vertex].tolist()}, which is beyond {np.dtype(dtype).name}; repair or drop it"
        ) from None


class Float32Caster:
    """Turns values into float32, and tells once per array if that changed one.

    Parameters
    ----------
    path : str
        For the warning.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._rounded: dict[str, np.dtype[Any]] = {}
        self._lock = threading.Lock()

    def cast(self, values: Array, what: str) -> Array:
        """Return `values` as little-endian float32; they are not changed.

        Raises
        ------
        DtypeError
            If a finite value becomes infinite.
        """
        if values.dtype == np.float32:
            return values.astype("<f4", copy=False)
        try:
            result = cast(values, "<f4", what, integers="round")
        except DtypeError:
            raise DtypeError(
                f"{self._path}: {what} holds values beyond float32, the only type that the format has"
            ) from None
        with np.errstate(invalid="ignore"):
            is_rounded = bool(_differs(result, values).any())
        if is_rounded:
            with self._lock:
                self._rounded[what] = values.dtype
        return result

    def report(self) -> None:
        """Warn of every array that was rounded; called once, when all is written."""
        for what, dtype in sorted(self._rounded.items()):
            warn(
                f"{self._path}: {what} is {dtype}, and the format has float32 only; values are rounded",
                DataLossWarning,
            )


def _differs(result: Array, values: Array) -> Array:
    """Return where a float32 is not the value it was made of; NaN stays NaN."""
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        # numpy would compare in float64, which rounds such integers itself; what left their range cannot come back.
        beyond: Array = result >= np.float32(2.0 ** (64 - (values.dtype.kind == "i")))
        differs: Array = beyond | (result.astype(values.dtype) != values)
    else:
        differs = (result != values) & ~np.isnan(result)
    return differs
