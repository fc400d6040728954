"""Bytes of an input file in big slices: plain or gzip, with a CRC-32 of the file's own bytes.

Every format that is streamed reads through here, so that a file is read once and its fingerprint costs nothing.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib

from trxlib.container.mapping import FileStamp, open_stamped
from trxlib.container.rows import keep_freed_memory
from trxlib.errors import FormatError, InputNotFoundError
from trxlib.formats.heads import bad_gzip_errors, is_gzip, read_head
from trxlib.kinds import missing
from trxlib.model.chunk import Chunk, DeferredChunks
from trxlib.model.source import Progress, SourceInfo

__all__ = ["SLICE_BYTES", "InputFile", "Slices", "counted_chunks"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
#: A slice and what is made of it stay in the cache of one core. A multiple of 4, 12 and 24.
SLICE_BYTES = 24 * 80_000
_HEADROOM = 1 << 16
_BAD_GZIP = bad_gzip_errors()


def _count_lone_references() -> int | None:
    """Return how many references an array has in a list and in the loop over it; this differs between Pythons.

    More of them mean that somebody still looks at a buffer. PyPy counts none and gives None: then each slice gets a
    new buffer.
    """
    if not hasattr(sys, "getrefcount"):
        return None
    count = 0
    for buffer in [np.empty(1, dtype=np.uint8)]:
        count = sys.getrefcount(buffer)
    return count


_LONE_REFERENCES = _count_lone_references()


class _RawFile(io.RawIOBase):
    """The file itself, with a running CRC-32 of what was read and a count of it."""

    def __init__(self, path: str, stamp: FileStamp) -> None:
        super().__init__()
        with open_stamped(path, stamp) as file:
            self._file = os.fdopen(os.dup(file.fileno()), "rb", buffering=0)
        self.crc = 0
        self.done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self.crc = isal_zlib.crc32(memoryview(buffer)[:count], self.crc)
        self.done += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class InputFile:
    """A file to be read from front to back, perhaps more than once.

    Parameters
    ----------
    path : str or Path
        Plain or gzip, known by its first bytes.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        try:
            if Path(self.path).is_dir():
                raise InputNotFoundError(f"{self.path} is a folder, expected a file")
            status = os.stat(self.path)  # noqa: PTH116
            self.is_gzip = is_gzip(self.path)
            #: What it was at first; whatever is read later is of this file, or a StaleError.
            self.stamp = FileStamp.of_status(status)
            self.nbytes = self.stamp.nbytes
        except OSError as error:
            if isinstance(error, InputNotFoundError):
                raise
            raise missing(self.path, f"{self.path} cannot be read: {error.strerror}; check the path") from None
        #: Bytes of the content, or None where only reading can tell.
        self.content_nbytes: int | None = None if self.is_gzip else self.nbytes
        self._crc: int | None = None

    @property
    def is_big(self) -> bool:
        """Whether it takes more than a few slices."""
        return self.nbytes > 4 * SLICE_BYTES

    def head(self, count: int) -> bytes:
        """Return the first `count` bytes of the content, or fewer at its end."""
        return read_head(self.path, count)

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>``; read now unless a whole pass has ended already."""
        if self._crc is None:
            with Slices(self, plain=True) as slices:
                for _ in slices:
                    pass
        return f"crc32:{self._crc:08x}:{self.nbytes}"

    def set_crc(self, crc: int, nbytes: int) -> None:
        """Keep the CRC of a whole pass over `nbytes`."""
        if nbytes != self.nbytes:
            raise FormatError(
                f"{self.path} had {self.nbytes} bytes and now has {nbytes}; it is being written to, start again later"
            )
        self._crc = crc


class Slices:
    """The content of an `InputFile` in slices; what a slice leaves over stands before the next one.

    A slice's memory is used again once no array refers to it.

    Parameters
    ----------
    file : InputFile
        What to read.
    slice_bytes : int
        Read at a time; keep it a multiple of the rows' size.
    swap_dtype : numpy.dtype, optional
        Items of this type are byte-swapped in place (big-endian files), counted from the end of the part that
        `take` returned or `skip` passed over.
    plain : bool
        Do not look through gzip.
    """

    def __init__(
        self,
        file: InputFile,
        *,
        slice_bytes: int = SLICE_BYTES,
        swap_dtype: np.dtype[Any] | None = None,
        plain: bool = False,
    ) -> None:
        self.file = file
        self._raw = _RawFile(file.path, file.stamp)
        self._stream: BinaryIO = self._raw  # type: ignore[assignment]
        if file.is_gzip and not plain:
            self._stream = igzip.IGzipFile(fileobj=io.BufferedReader(self._raw, 1 << 18), mode="rb")
        self._swap = swap_dtype
        self._slice = slice_bytes
        self._buffers: list[Bytes] = []
        if file.is_big:
            keep_freed_memory()
        self._ended = False
        #: Content bytes handed out so far.
        self.position = 0

    def __enter__(self) -> Slices:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stream.close()
        self._raw.close()

    @property
    def ended(self) -> bool:
        """Whether the last slice has been handed out."""
        return self._ended

    @property
    def file_done(self) -> int:
        """Bytes of the file read so far, for progress."""
        return self._raw.done

    def take(self, count: int) -> Bytes:
        """Return the next `count` bytes, or fewer at the end, as a new array of that size; before the first slice."""
        part: Bytes = np.empty(count, dtype=np.uint8)
        got = self._fill(part)
        self.position += got
        return part[:got]

    def skip(self, count: int) -> None:
        """Pass over the next `count` bytes, or fewer at the end; only before the first slice."""
        part: Bytes = np.empty(min(count, self._slice), dtype=np.uint8)
        while count > 0 and (got := self._fill(part[:count])):
            self.position += got
            count -= got

    def __iter__(self) -> Iterator[Bytes]:
        """Yield the slices without carrying anything over."""
        empty: Bytes = np.empty(0, dtype=np.uint8)
        while not self._ended:
            yield self.next(empty)

    def next(self, carry: Bytes, at_least: int = 0) -> Bytes:
        """Return `carry` followed by the next slice; without a slice left, `carry` as it is.

        Parameters
        ----------
        carry : ndarray of uint8
            The unused end of what was returned last.
        at_least : int
            Read on until the result has this many bytes, or the file ends. The caller has compared it with the
            file's size.
        """
        if self._ended:
            return carry
        buffer, got = self._next_buffer()
        start = _HEADROOM - len(carry)
        if start >= 0:
            buffer[start:_HEADROOM] = carry
            part = buffer[start : _HEADROOM + got]
        else:
            part = np.concatenate((carry, buffer[_HEADROOM : _HEADROOM + got]))
        return self._extend(part, at_least) if at_least > len(part) else part

    def _extend(self, part: Bytes, at_least: int) -> Bytes:
        """Read one record that is longer than a slice into memory of its own."""
        pieces = [part.copy()]
        missing = at_least - len(part)
        while missing > 0 and not self._ended:
            buffer, got = self._next_buffer()
            pieces.append(buffer[_HEADROOM : _HEADROOM + got].copy())
            missing -= got
        return np.concatenate(pieces)

    def _next_buffer(self) -> tuple[Bytes, int]:
        buffer = self._free_buffer()
        part = buffer[_HEADROOM:]
        got = self._fill(part)
        if self._swap is not None:
            whole = got - got % self._swap.itemsize
            part[:whole].view(self._swap).byteswap(inplace=True)
        self.position += got
        if got < self._slice:
            self._finish()
        return buffer, got

    def _free_buffer(self) -> Bytes:
        """Return a buffer that nobody looks at any more, however long some slices are worked on.

        With a new buffer for each slice, the same file takes half as long again.
        """
        if _LONE_REFERENCES is None:
            return np.empty(_HEADROOM + self._slice, dtype=np.uint8)
        for buffer in self._buffers:
            # Every view of it would be one reference more.
            if sys.getrefcount(buffer) <= _LONE_REFERENCES:
                return buffer
        self._buffers.append(np.empty(_HEADROOM + self._slice, dtype=np.uint8))
        return self._buffers[-1]

    def _fill(self, part: Bytes) -> int:
        """Read until `part` is full or the file ends."""
        view = part.data
        got = 0
        try:
            while got < len(part) and (count := self._stream.readinto(view[got:])):  # type: ignore[attr-defined]
                got += count
        except _BAD_GZIP as error:
            raise FormatError(
                f"{self.file.path}: reading stops after byte {self._raw.done}: {error}; the file is truncated or "
                "damaged"
            ) from None
        return got

    def _finish(self) -> None:
        self._ended = True
        # What stands behind a gzip stream still counts for the fingerprint.
        while self._raw.read(1 << 16):
            pass
        self.file.set_crc(self._raw.crc, self._raw.done)


def counted_chunks(
    parts: Generator[tuple[Array, Callable[[], Chunk], int], None, None],
    file: InputFile,
    info: SourceInfo,
    progress: Progress | None,
) -> Generator[Chunk, None, tuple[int, int]]:
    """Yield chunks that are made where they are used, until there are more streamlines than the header states.

    Parameters
    ----------
    parts : generator of (lengths, callable, int)
        Lengths of some streamlines, what makes a chunk of them, and the bytes of the file done by then; closed at
        the end.
    file : InputFile
        What is read.
    info : SourceInfo
        What its header states.
    progress : callable, optional
        Called with bytes done and in all.

    Returns
    -------
    tuple of 2 int
        Streamlines and vertices found, for the caller to compare; all chunks are made by then.
    """
    streamlines = vertices = 0
    deferred = DeferredChunks()
    with closing(parts):
        for lengths, make, done in parts:
            chunk = deferred.add(lengths, make)
            streamlines += len(lengths)
            vertices += chunk.nb_vertices
            if streamlines > info.nb_streamlines or vertices > info.nb_vertices:
                break
            if len(lengths):
                yield chunk
            del chunk, make  # the slice behind them is free as soon as they are made
            if progress is not None:
                progress(done, file.nbytes)
    deferred.settle()
    return streamlines, vertices
