"""Fill: copy inputs into their own rows of a planned container, and say which bytes were written.

Nobody else's rows are touched, so threads, processes and cluster jobs fill side by side, and a job that died is
simply run again. Every range written is told with its CRC-32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trxlib.container.partial import Target
from trxlib.engine.cursor import Ticker
from trxlib.engine.fill_input import InputFiller
from trxlib.engine.plan import InputPlan, Plan
from trxlib.engine.receipt import Range, ReadInput, Receipt, merge_ranges
from trxlib.engine.stamps import stamp_of
from trxlib.errors import FormatError, StaleError
from trxlib.model.source import Progress, Source
from trxlib.parallel import run_each

__all__ = ["Opener", "fill_inputs", "fill_shard"]

#: Opens an input when its turn comes; called with its number and plan, in the worker's thread.
Opener = Callable[[int, InputPlan], Source]


def fill_inputs(
    plan: Plan,
    target: Target,
    opener: Opener,
    *,
    shard: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Range]:
    """Copy inputs of a plan into the container under construction.

    Parameters
    ----------
    plan : Plan
        Says which rows each input owns.
    target : Target
        The container under construction.
    opener : callable
        Called with an input's number and plan, returns the opened source; called in the worker's thread.
    shard : int, optional
        Which part of the plan; by default all.
    workers : int
        Threads. The result does not depend on it.
    progress : callable, optional
        Called with vertex bytes done and in all.

    Returns
    -------
    list of Range
        What was written, neighbours joined.

    Raises
    ------
    StaleError
        If an input is not the one that was planned with.
    FormatError
        If an input is not what its header says.
    """
    filled = _fill_all(plan, target, opener, shard, workers, progress)
    return merge_ranges([piece for ranges in filled for piece in ranges])


def fill_shard(
    plan: Plan, target: Target, opener: Opener, shard: int, *, workers: int = 1, progress: Progress | None = None
) -> Receipt:
    """Fill one part of a plan whose inputs are files, and return the receipt for it.

    See `fill_inputs`. A shard may be filled again at any time, also beside another process that does the same: both
    write the same bytes.
    """
    read: dict[int, ReadInput] = {}

    def note(number: int, source: Source) -> None:
        stamp = plan.inputs[number].stamp
        if stamp is not None:
            read[number] = ReadInput(tuple(stamp), source.info.format, source.fingerprint(), source.record())

    filled = _fill_all(plan, target, opener, shard, workers, progress, note)
    ranges = merge_ranges([piece for ranges in filled for piece in ranges])
    parts = tuple(tuple(merge_ranges(part)) for part in filled)
    return Receipt(plan.id, shard, tuple(ranges), tuple(read[number] for number in sorted(read)), parts)


def _fill_all(
    plan: Plan,
    target: Target,
    opener: Opener,
    shard: int | None,
    workers: int,
    progress: Progress | None,
    note: Callable[[int, Source], object] | None = None,
) -> list[list[Range]]:
    """Fill inputs side by side; `note` is called with the number of each, and the source that it was filled from."""
    if shard is not None and not 0 <= shard < len(plan.shards):
        raise StaleError(f"the plan has {len(plan.shards)} shards, there is no shard {shard}; run the workflow again")
    low, high = (0, len(plan.inputs)) if shard is None else plan.shards[shard]
    total = sum(item.nb_vertices for item in plan.inputs[low:high]) * 3 * plan.positions_dtype.itemsize
    tick = Ticker(progress, total)
    share = max(1, min(workers, high - low))

    def fill_one(number: int) -> list[Range]:
        item = plan.inputs[number]
        _check_stamp(item)
        source = opener(number, item)
        try:
            with naming(item):
                _check_counts(item, source)
                ranges = InputFiller(plan, item, target, tick, share).fill(source)
            _check_stamp(item)  # replaced while it was read
            if note is not None:
                note(number, source)
            return ranges
        finally:
            if item.stamp is not None:
                source.close()

    filled: list[list[Range]] = []
    run_each(iter(range(low, high)), fill_one, filled.append, threads=share)
    return filled


def _check_stamp(item: InputPlan) -> None:
    if item.stamp is not None and stamp_of(item.path, item.options) != tuple(item.stamp):
        raise StaleError(f"{item.path}: was changed since the plan was made; plan again (run the workflow again)")


@contextmanager
def naming(item: InputPlan) -> Iterator[None]:
    """Put the input's file in front of an error's message."""
    try:
        yield
    except (FormatError, StaleError) as error:
        what = item.path or (f"input {item.name}" if item.name.isdigit() else item.name)
        if not str(error).startswith(what):
            error.args = (f"{what}: {error}",)
        raise


def _check_counts(item: InputPlan, source: Source) -> None:
    info = source.info
    if (info.nb_streamlines, info.nb_vertices) != (item.nb_streamlines, item.nb_vertices):
        raise StaleError(
            f"has {info.nb_streamlines} streamlines and {info.nb_vertices} vertices, {item.nb_streamlines} and "
            f"{item.nb_vertices} were planned; plan again"
        )
