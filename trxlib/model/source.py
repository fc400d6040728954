"""What the engine asks of an input of any format: counts from its header, then its streamlines chunk by chunk.

A source is opened with everything that changes its streamlines (reference, transform, positions type, what to
drop), so that the counts it states are those of the result. The engine never asks which format it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trxlib.model.space import Space, is_blank

__all__ = [
    "ArraySpec",
    "Chunk",
    "DeferredChunk",
    "DeferredChunks",
    "Headers",
    "Progress",
    "Source",
    "SourceInfo",
    "placed",
]

Array = npt.NDArray[Any]
#: Called as ``progress(done, total)`` with bytes.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ArraySpec:
    """Columns and type of a dps or dpv array."""

    ncols: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class SourceInfo:
    """What the headers of an input say; no streamline has been read.

    Parameters
    ----------
    path : str
        The file.
    format : str
        Key of the format table, e.g. ``"trk"``.
    space : Space
        Of the result: after the transform.
    nb_streamlines, nb_vertices : int
        Of the result: after anything dropped.
    positions_dtype : numpy.dtype
        float16, float32 or float64.
    dps, dpv : mapping of str to ArraySpec
        Keys as they will be written.
    nbytes : int
        Size of the file, for progress.
    facts : mapping
        What the header says and a TRX header has no field for; JSON values.
    """

    path: str
    format: str
    space: Space
    nb_streamlines: int
    nb_vertices: int
    positions_dtype: np.dtype[Any]
    dps: Mapping[str, ArraySpec] = field(default_factory=dict)
    dpv: Mapping[str, ArraySpec] = field(default_factory=dict)
    nbytes: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_space(self) -> bool:
        """Whether its space counts: not that of a new file without streamlines, which nobody has given one."""
        return self.nb_streamlines > 0 or not is_blank(self.space)


@dataclass(frozen=True)
class Headers:
    """All that a plan needs to know of an input. Holds no file open and no large array.

    Parameters
    ----------
    info : SourceInfo
        Counts, keys, types.
    groups : mapping of str to int
        Members of each group inside the input.
    dpg : mapping of str to mapping of str to ndarray
        Group, key, array of shape (1, k); copies.
    extra : mapping
        Header keys outside of the format.
    sidecars : mapping of str to bytes
        JSON files beside the header.
    """

    info: SourceInfo
    groups: Mapping[str, int] = field(default_factory=dict)
    dpg: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    sidecars: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class Chunk:
    """Some consecutive whole streamlines. The arrays hold as long as the source is open.

    Parameters
    ----------
    lengths : ndarray of integers, shape (n,)
        Vertices of each streamline; 0 is ordinary.
    positions : ndarray, shape (v, 3), C order
        RASMM in mm, in the source's ``positions_dtype``; v is the sum of `lengths`.
    dps, dpv : dict of str to ndarray
        Shapes (n, k) and (v, k), in the types the source stated.
    """

    lengths: Array
    positions: Array
    dps: dict[str, Array] = field(default_factory=dict)
    dpv: dict[str, Array] = field(default_factory=dict)

    @property
    def nb_vertices(self) -> int:
        """The sum of the lengths."""
        return int(self.lengths.sum(dtype=np.int64))


class DeferredChunk(Chunk):
    """A chunk whose positions, dps and dpv are made when one of them is first used, by the thread that uses it.

    Parameters
    ----------
    lengths : ndarray of integers, shape (n,)
        Known at once.
    make : callable
        Returns the chunk; called once, unless it fails.
    """

    def __init__(self, lengths: Array, make: Callable[[], Chunk]) -> None:
        self.lengths = lengths
        self._make: Callable[[], Chunk] | None = make
        self._lock = threading.Lock()

    @property
    def is_made(self) -> bool:
        """Whether the arrays are there."""
        return self._make is None

    def settle(self) -> Chunk:
        """Make the arrays now; what is wrong with them is raised here, or where they are first used."""
        with self._lock:
            if self._make is not None:
                made = self._make()
                vars(self).update({name: value for name, value in vars(made).items() if name[0] != "_"})
                self._make = None
        return self

    def __getattr__(self, name: str) -> Any:
        # Asked only for what is not there yet.
        if name.startswith("_") or name not in vars(self.settle()):
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return vars(self)[name]


class DeferredChunks:
    """The chunks that a source has handed out and that may not be made yet."""

    def __init__(self) -> None:
        self._chunks: list[DeferredChunk] = []

    def add(self, lengths: Array, make: Callable[[], Chunk]) -> DeferredChunk:
        """Return a new chunk and remember it until it is made."""
        self._chunks = [chunk for chunk in self._chunks if not chunk.is_made]
        self._chunks.append(DeferredChunk(lengths, make))
        return self._chunks[-1]

    def settle(self) -> None:
        """Wait until all are made; afterwards what was counted on the way is complete."""
        for chunk in self._chunks:
            chunk.settle()
        self._chunks = []


def placed(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, int, int]]:
    """Yield each chunk with the numbers of its first streamline and vertex."""
    streamline = vertex = 0
    for chunk in chunks:
        place = streamline, vertex
        streamline += len(chunk.lengths)
        vertex += chunk.nb_vertices
        yield chunk, *place
        del chunk  # what it holds is free as soon as its arrays are made


class Source(Protocol):
    """An opened input."""

    @property
    def info(self) -> SourceInfo:
        """What the headers say."""

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield all streamlines in order; raises FormatError if they are not what `info` said."""

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the file's content; free after `chunks` has ended."""
