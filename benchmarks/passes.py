"""What the passes of a conversion cost: ``python -m benchmarks.passes`` prints tables of milliseconds per megabyte.

The passes of each hot loop one after the other, on slices as trxlib takes them, of a file larger than the caches, and
nothing else: no plan, no checks of counts, no errors, one thread. Measured alone, and in two processes at once, which
share memory and caches. A conversion by numpy on two cores cannot be quicker than half of the latter and the start
of Python: that is set against `cp` of the same bytes.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from benchmarks.data import AFFINES, Block, walk

STREAMLINES = 2_000  # of a slice: 1.9 MB
SLICES = 200
REPEAT = 3
_SHIFT = 160.0  # mm, from the corner of the grid to RASMM


class Slice:
    """What the passes of a slice hand on."""

    def __init__(self, block: Block, source: int, target: int, kind: str) -> None:
        from trxlib.spaces.grid import VoxmmBox, _bounding_box
        from trxlib.spaces.positions import PositionsMap

        shift = np.eye(4)
        shift[:3, 3] = -_SHIFT
        dtype = np.dtype("<f4")
        self.lengths, self.source, self.target = block.lengths, source, target
        self.add, self.turn = PositionsMap(shift, dtype), PositionsMap(AFFINES["rotated"], dtype)
        self.box, self.bounds = VoxmmBox([2 * _SHIFT] * 3), _bounding_box
        self.rows = self.found = np.zeros(0)
        self.nbytes = _nbytes(block, kind)
        self.buffer = np.empty(self.nbytes, dtype=np.uint8)
        self.mapped = np.memmap(f"/dev/fd/{source}", dtype, "r").reshape(-1, 3) if kind == "trx" else None
        self.number = self.written = 0
        self.ones = np.ones(len(block.lengths), dtype=np.int64)
        self.firsts = np.cumsum(block.lengths) - block.lengths

    def read(self) -> None:
        os.preadv(self.source, [self.buffer], self.number * self.nbytes)

    def crc_in(self) -> None:
        isal_zlib.crc32(self.buffer)

    def find_counts(self) -> None:
        self.found = np.flatnonzero(np.less(self.buffer.view(np.uint32), np.uint32(1 << 20)))

    def leave_counts_out(self) -> None:
        words = self.buffer.view("<f4")
        kept = np.ones(len(words), dtype=np.bool_)
        kept[self.found] = False
        self.rows = words[kept].reshape(-1, 3)

    def find_delimiters(self) -> None:
        self.found = np.flatnonzero(~np.isfinite(self.buffer.view("<f4").reshape(-1, 3)[:, 0]))

    def leave_delimiters_out(self) -> None:
        rows = self.buffer.view("V12")
        kept = np.ones(len(rows), dtype=np.bool_)
        kept[self.found] = False
        self.rows = rows[kept].view("<f4").reshape(-1, 3)

    def map_pages(self) -> None:
        assert self.mapped is not None
        count = self.nbytes // 12
        self.rows = self.mapped[self.number * count : (self.number + 1) * count]
        self.rows[:: 4096 // 12].max()  # one row of every page

    def box_one_side(self) -> None:
        self.box.contains(self.rows)

    def box_two_sides(self) -> None:
        self.bounds(self.rows)

    def add_shift(self) -> None:
        self.rows = self.add.apply(self.rows, keep=self.mapped is not None)

    def affine(self) -> None:
        self.rows = self.turn.apply(self.rows)

    def crc_out(self) -> None:
        isal_zlib.crc32(self.rows)

    def write(self) -> None:
        self.written += os.pwrite(self.target, self.rows, self.written)

    def write_between(self) -> None:
        from trxlib.container.scattered import RunsOfRows, write_runs

        lengths = self.lengths
        counts = RunsOfRows(lengths.astype("<i4"), np.arange(len(lengths)), self.ones)
        self.written += write_runs(self.target, self.written, [counts, RunsOfRows(self.rows, self.firsts, lengths)])


_TRK = ["read", "crc_in", "find_counts", "leave_counts_out"]
#: What is read, and the passes.
CASES = {
    "TRK → TRX": ("trk", [*_TRK, "box_one_side", "add_shift", "crc_out", "write"]),
    "TRK → TRX, rotated": ("trk", [*_TRK, "box_one_side", "affine", "crc_out", "write"]),
    "TCK → TRX": (
        "tck", ["read", "crc_in", "find_delimiters", "leave_delimiters_out", "box_two_sides", "crc_out", "write"],
    ),
    "TRX → TRK": ("trx", ["map_pages", "box_two_sides", "add_shift", "write_between"]),
    "TRX → TCK": ("trx", ["map_pages", "box_two_sides", "write_between"]),
}  # fmt: skip


def _nbytes(block: Block, kind: str) -> int:
    return len(_content(block, kind)) * 4


def _content(block: Block, kind: str) -> np.ndarray:
    """Return the words of some streamlines in a format."""
    if kind == "trx":
        return block.positions.reshape(-1)
    ends = np.cumsum(3 * block.lengths + (1 if kind == "trk" else 3))
    words = np.full(int(ends[-1]), np.nan, dtype="<f4")
    kept = np.ones(len(words), dtype=np.bool_)
    if kind == "trk":
        starts = ends - 1 - 3 * block.lengths
        words.view("<i4")[starts] = block.lengths
        kept[starts] = False
        words[kept] = (block.positions + np.float32(_SHIFT)).reshape(-1)
    else:
        for back in (1, 2, 3):
            kept[ends - back] = False
        words[kept] = block.positions.reshape(-1)
    return words


def measure(case: str, folder: str, name: str) -> dict[str, float]:
    """Return the milliseconds per megabyte of positions of each pass of a case; each file is written anew."""
    np.empty(24 << 20, dtype=np.uint8)  # the C library keeps freed arrays up to this size, as in a conversion
    kind, passes = CASES[case]
    (block,) = walk(STREAMLINES, seed=1)
    times: dict[str, list[float]] = {what: [] for what in passes}
    source = os.open(Path(folder) / f"in.{kind}", os.O_RDONLY)
    for _ in range(REPEAT):
        path = Path(folder) / f"out_{name}"
        target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        part = Slice(block, source, target, kind)
        spent = dict.fromkeys(passes, 0.0)
        for part.number in range(SLICES):
            for what in passes:
                begin = time.perf_counter()
                getattr(part, what)()
                spent[what] += time.perf_counter() - begin
        os.close(target)
        path.unlink()
        for what, seconds in spent.items():
            times[what].append(seconds * 1e3 / (SLICES * block.positions.nbytes / 1e6))
    os.close(source)
    return {what: statistics.median(values) for what, values in times.items()}


def _seconds(command: list[str], after: Callable[[], Any] = lambda: None) -> float:
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        times.append(time.perf_counter() - begin)
        after()
    return statistics.median(times)


def tables(folder: Path) -> Iterator[str]:
    """Measure, and yield the lines of the tables."""
    (block,) = walk(STREAMLINES, seed=1)
    for kind in ("trk", "tck", "trx"):
        with (folder / f"in.{kind}").open("wb") as file:
            for _ in range(SLICES):
                file.write(_content(block, kind).data)
    megabytes = SLICES * block.positions.nbytes / 1e6
    copy = folder / "copy"
    cp = _seconds(["cp", str(folder / "in.trx"), str(copy)], copy.unlink) * 1e3 / megabytes
    start = _seconds([sys.executable, "-c", "import numpy"])
    yield f"`cp` {cp:.3f} ms per MB; start of Python and numpy {start:.3f} s"
    rows = []
    for case in CASES:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            alone = pool.submit(measure, case, str(folder), "one").result()
            both = list(pool.map(measure, [case] * 2, [str(folder)] * 2, ["one", "two"]))
        shared = {what: statistics.mean(found[what] for found in both) for what in alone}
        yield ""
        yield f"| {case}: pass | alone | two processes at once |"
        yield "|---|---:|---:|"
        for what in alone:
            yield f"| {what.replace('_', ' ')} | {alone[what]:.3f} | {shared[what]:.3f} |"
        rows.append((case, sum(alone.values()), sum(shared.values())))
    yield ""
    yield "| case | ms per MB alone | at once | least time for 1 GB on two cores: s | with the start | × `cp` |"
    yield "|---|---:|---:|---:|---:|---:|"
    for case, alone_sum, shared_sum in rows:
        least = shared_sum / 2
        ratio = (least + start) / cp
        yield f"| {case} | {alone_sum:.2f} | {shared_sum:.2f} | {least:.2f} | {least + start:.2f} | {ratio:.1f} |"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for line in tables(Path(name)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
