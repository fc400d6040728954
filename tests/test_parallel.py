"""Threads over a stream of items: every item once, results in order, and the first error."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hot_loops import LOOPS, make_inputs
from trxlib import parallel
from trxlib.engine import fill_input
from trxlib.formats.tck import writer as tck_writer
from trxlib.formats.trk import writer as trk_writer
from trxlib.parallel import run_each, threads_for


def uneven(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    found: list[int] = []
    run_each(iter(range(30)), uneven, found.append, threads=threads)
    assert found == list(range(30))


@pytest.mark.parametrize("threads", [1, 3])
def test_no_items_at_all(threads: int) -> None:
    found: list[int] = []
    run_each(iter(()), uneven, found.append, threads=threads)
    assert found == []


def test_several_threads_are_at_work() -> None:
    meeting = threading.Barrier(3, timeout=10)
    names = set()

    def work(_: int) -> None:
        meeting.wait()
        names.add(threading.get_ident())

    run_each(iter(range(3)), work, threads=3)
    assert len(names) == 3


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_first_error_in_the_order_of_the_items_is_raised(threads: int) -> None:
    """Also where a later item fails sooner."""
    done: list[int] = []

    def work(number: int) -> int:
        if number == 7:
            time.sleep(0.05)
            raise ValueError("item 7")
        if number > 7:
            raise KeyError(number)
        return number

    with pytest.raises(ValueError, match="item 7"):
        run_each(iter(range(30)), work, done.append, threads=threads)
    assert done == list(range(7))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_items_comes_after_the_work_on_those_before(threads: int) -> None:
    done: list[int] = []

    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        run_each(items(), uneven, done.append, threads=threads)
    assert done == list(range(5))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_what_follows_stops_everything(threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    def then(number: int) -> None:
        if number == 3:
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        run_each(items(), uneven, then, threads=threads)
    assert len(taken) < 20


def test_items_are_closed_after_an_error() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(30)
        finally:
            closed.append(True)

    with pytest.raises(ZeroDivisionError):
        run_each(items(), lambda number: 1 // (number - 4), threads=2)
    assert closed == [True]


def test_small_work_and_few_cores_get_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_CORES", 8)
    assert threads_for(1000) == 1
    assert threads_for(1 << 30) == 3
    assert threads_for(1 << 30, share=8) == 1
    monkeypatch.setattr(parallel, "_CORES", 1)
    assert threads_for(1 << 30) == 1


def test_results_that_wait_for_a_slow_one_are_few() -> None:
    started: list[int] = []
    most: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        if number == 0:
            time.sleep(0.2)
            most.append(len(started))
        return number

    run_each(iter(range(500)), work, lambda _: None, threads=3)
    assert len(started) == 500
    assert most[0] <= parallel._AHEAD


def test_a_second_interrupt_still_waits_for_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """They write to files that are closed afterwards."""
    join = threading.Thread.join
    interrupts = iter([KeyboardInterrupt(), KeyboardInterrupt()])

    def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
        for error in interrupts:
            raise error
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    at_work = threading.Event()
    ended: list[int] = []

    def work(number: int) -> None:
        if threading.current_thread() is threading.main_thread():
            at_work.wait(5)
            raise KeyboardInterrupt
        at_work.set()
        time.sleep(0.1)
        ended.append(number)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_each(iter(range(50)), work, threads=2)
    assert len(ended) == 1
    assert threading.active_count() == before


def test_an_error_leaves_nothing_behind() -> None:
    class Held:
        pass

    found = []

    def work(number: int) -> None:
        held = Held()
        found.append(weakref.ref(held))
        if number == 3:
            raise ValueError("no")

    def run() -> None:
        with pytest.raises(ValueError, match="no"):
            run_each(iter(range(10)), work, threads=2)

    gc.disable()
    try:
        run()
        assert [reference() for reference in found] == [None] * len(found)
    finally:
        gc.enable()


# Who really works in threads


@pytest.fixture(scope="module", params=[10_000, 300], ids=["large", "small"])
def inputs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    """A folder of files, and whether they are large: also half of one is beyond the limit for threads."""
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder, request.param)
    is_large = request.param > 1000
    assert (folder.joinpath("whole.trk").stat().st_size > 2 * parallel._BIG_BYTES) == is_large
    return folder, is_large


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["trk", "trk-rotated", "trk-data", "tck", "to-trk", "to-tck", "extract"])
def test_a_large_file_is_worked_on_by_two_threads_and_a_small_one_by_one(
    name: str, inputs: tuple[Path, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, is_large = inputs
    at_work: set[int] = set()
    met = threading.Event()
    calls: list[int] = []

    def spy(
        items: Iterator[Any], work: Callable[[Any], Any], then: Callable[[Any], object] | None = None, *, threads: int
    ) -> None:
        def meet(item: Any) -> Any:
            at_work.add(threading.get_ident())
            if len(at_work) > 1 or not met.wait(10):  # nobody takes all items while the other is starting
                met.set()
            return work(item)

        calls.append(threads)
        run_each(items, work if threads == 1 else meet, then, threads=threads)

    for module in (fill_input, trk_writer, tck_writer):
        monkeypatch.setattr(module, "run_each", spy)
    monkeypatch.setattr(parallel, "_CORES", 2)
    LOOPS[name](data, tmp_path)
    assert calls
    assert len(at_work) == (2 if is_large else 0)
