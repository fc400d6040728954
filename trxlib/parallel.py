"""Work on a stream of items in several threads, with results in the order of the items.

Each thread takes an item, does all of its work, and takes the next: what is made of an item stays in the cache of
one core. numpy lets other threads run during its loops, the system during reading and writing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["run_each", "threads_for"]

T = TypeVar("T")
R = TypeVar("R")
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Work on fewer bytes is finished before a second thread has started.
_BIG_BYTES = 4 << 20
#: One thread at a time takes the next item (reads it, say), a third of the work on it: more than three would wait.
_MAX_THREADS = 3
#: Items that may be under way or wait for their turn.
_AHEAD = 8


def threads_for(nbytes: int, share: int = 1) -> int:
    """Return how many threads are worth their start.

    Parameters
    ----------
    nbytes : int
        To be worked on.
    share : int
        How many do the same at the same time.
    """
    return max(1, min(_MAX_THREADS, _CORES // share)) if nbytes > _BIG_BYTES else 1


def run_each(
    items: Iterator[T], work: Callable[[T], R], then: Callable[[R], object] | None = None, *, threads: int = 1
) -> None:
    """Do the work on every item.

    Parameters
    ----------
    items : iterator
        Asked for one item after the other, by whichever thread is free.
    work : callable
        Called with an item; calls for different items run side by side.
    then : callable, optional
        Called with the result of each item, in the order of the items, never twice at once.
    threads : int
        How many threads work, this one included.

    Raises
    ------
    BaseException
        Of the first item, in their order, that fails; all before it have been worked on.
    """
    if threads <= 1:
        for item in items:
            result = work(item)
            del item  # memory that is used again is free now
            if then is not None:
                then(result)
        return
    crew = _Crew(items, work, then)
    others = [threading.Thread(target=crew.work, daemon=True) for _ in range(threads - 1)]
    try:
        for other in others:
            other.start()
        crew.work()
    except BaseException as error:  # an interrupt between two items
        crew.fail(-1, error)
    for other in others:
        while other.is_alive():
            try:
                other.join()
            except BaseException as error:  # interrupted again: the files that they write to are still open
                crew.fail(-1, error)
    crew.end()


class _Crew(Generic[T, R]):
    """What the threads share."""

    def __init__(self, items: Iterator[T], work: Callable[[T], R], then: Callable[[R], object] | None) -> None:
        self._items, self._work, self._then = items, work, then
        self._taking, self._ending = threading.Lock(), threading.Lock()
        # While one item takes long, the results of others wait: no more than these.
        self._room = threading.Semaphore(_AHEAD)
        self._taken = self._ended = 0
        self._results: dict[int, R] = {}
        self._errors: list[tuple[int, BaseException]] = []
        self._stopped = False

    def work(self) -> None:
        """Take items until there are no more, or one has failed."""
        while True:
            self._room.acquire()
            with self._taking:
                if self._stopped:
                    self._room.release()  # for the next who waits
                    return
                number = self._taken
                try:
                    item = next(self._items)
                except StopIteration:
                    self._stopped = True
                    self._room.release()
                    return
                except BaseException as error:
                    self.fail(number, error)
                    return
                self._taken += 1
            try:
                result = self._work(item)
                del item
                self._end_in_order(number, result)
            except BaseException as error:
                self.fail(number, error)
                return

    def _end_in_order(self, number: int, result: R) -> None:
        with self._ending:
            self._results[number] = result
            while self._ended in self._results:
                ended = self._results.pop(self._ended)
                self._ended += 1
                if self._then is not None:
                    self._then(ended)
                self._room.release()

    def fail(self, number: int, error: BaseException) -> None:
        """Keep an error; no further item is taken."""
        self._errors.append((number, error))
        self._stopped = True
        self._room.release()

    def end(self) -> None:
        """Raise the first error."""
        if not self._errors:
            return
        close: Any = getattr(self._items, "close", None)
        if close is not None:
            close()
        try:
            raise min(self._errors, key=lambda entry: entry[0])[1]
        finally:
            # An error holds the frames that hold this: else files stay open until the next garbage collection.
            self._errors.clear()
            self._results.clear()
