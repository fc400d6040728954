"""Streamlines in motion: some of them at a time, with arrays that may be made by the thread that uses them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Chunk", "DeferredChunk", "DeferredChunks", "Place", "PositionsStep", "placed"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
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
    is_inside : bool
        The source has looked already: all vertices are finite and inside the grid. False says nothing.
    """

    lengths: Array
    positions: Array
    dps: dict[str, Array] = field(default_factory=dict)
    dpv: dict[str, Array] = field(default_factory=dict)
    is_inside: bool = False

    @property
    def nb_vertices(self) -> int:
        """The sum of the lengths."""
        return int(self.lengths.sum(dtype=np.int64))

    def locate(self, vertices: Any) -> tuple[Any, Any]:
        """Return which streamlines of the chunk some vertices belong to, and their places in these."""
        ends = np.cumsum(self.lengths, dtype=np.int64)
        rows = np.searchsorted(ends, vertices, side="right")
        return rows, vertices - (ends[rows] - self.lengths[rows])

    def take(self, kept: Array) -> Chunk:
        """Return a chunk of copies of the streamlines for which `kept` (bool, shape (n,)) is true."""
        rows = np.repeat(kept, self.lengths)
        return Chunk(
            self.lengths[kept],
            self.positions[rows],
            {key: values[kept] for key, values in self.dps.items()},
            {key: values[rows] for key, values in self.dpv.items()},
            self.is_inside,
        )


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
        self._lengths = lengths
        self._make: Callable[[], Chunk] | None = make
        self._made: Chunk | None = None
        self._lock = threading.Lock()

    @property
    def is_made(self) -> bool:
        """Whether the arrays are there."""
        return self._made is not None

    def settle(self) -> Chunk:
        """Return the chunk, made now if it is not yet; what is wrong with it is raised here."""
        made = self._made
        if made is None:
            with self._lock:
                made = self._made
                if made is None:
                    assert self._make is not None
                    made = self._made = self._make()
                    self._make = None  # and with it what the arrays were made of
        return made

    @property
    def lengths(self) -> Array:
        """Vertices of each streamline."""
        return self._lengths

    @property
    def positions(self) -> Array:
        """As in `Chunk`."""
        return self.settle().positions

    @property
    def dps(self) -> dict[str, Array]:
        """As in `Chunk`."""
        return self.settle().dps

    @property
    def dpv(self) -> dict[str, Array]:
        """As in `Chunk`."""
        return self.settle().dpv

    @property
    def is_inside(self) -> bool:
        """As in `Chunk`."""
        return self.settle().is_inside


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


@dataclass(frozen=True)
class Place:
    """Where some consecutive vertices stand in their tractogram.

    Parameters
    ----------
    locate : callable
        Takes rows of these vertices, and returns the numbers of the streamlines that they belong to and their places
        in these; numbers or arrays.
    is_inside : bool
        They are known to be finite and inside the grid.
    """

    locate: Callable[[Any], tuple[Any, Any]]
    is_inside: bool = False


class PositionsStep(Protocol):
    """Something that positions pass through on their way: moved, looked at, given another type."""

    def apply(self, positions: Array, place: Place) -> Array:
        """Return what goes on; `positions` are not modified. Called for blocks in any order, by any thread."""

    def end(self) -> None:
        """Log what was counted, now that all positions have passed."""
