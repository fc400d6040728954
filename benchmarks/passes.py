"""What each pass over the data costs: ``python -m benchmarks.passes`` prints a table of milliseconds per megabyte.

The passes of the hot loops, one by one, on slices of the size that trxlib works on, in one thread; the write goes to
a file and the read comes from the page cache, as in ``cp``, whose time stands beside them. A conversion cannot be
quicker than the sum of its passes over the number of cores, so that this table says how far a case is from its limit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from benchmarks.data import AFFINES, Block, walk

STREAMLINES = 2_000  # 1.9 MB, a slice
REPEAT = 200
#: Which passes a conversion needs; `cp` reads and writes, too.
CASES = {
    "TRK → TRX": ("read", "CRC", "find counts", "leave counts out", "add a shift", "box, one side", "CRC", "write"),
    "TRK → TRX, rotated": (
        "read", "CRC", "find counts", "leave counts out", "3 x 3 affine", "box, one side", "CRC", "write",
    ),
    "TCK → TRX": ("read", "CRC", "find delimiters", "leave delimiters out", "box, two sides", "CRC", "write"),
    "TRX → TRK": ("box, two sides", "add a shift", "write with counts between"),
    "TRX → TCK": ("box, two sides", "write with counts between"),
}  # fmt: skip


def milliseconds(call: Callable[[], Any]) -> float:
    """Return the median time of a call; the first ones, which find nothing in the cache, do not count."""
    times = []
    for _ in range(REPEAT):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[REPEAT // 10 :]) * 1e3


def passes(block: Block, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name of each pass and what does it."""
    from trxlib.formats.grid import VoxmmBox, _bounding_box
    from trxlib.formats.positions import PositionsMap
    from trxlib.storage.vectored import Runs, write_runs

    lengths = block.lengths
    starts = np.cumsum(1 + 3 * lengths) - (1 + 3 * lengths)
    kept = np.ones(int((1 + 3 * lengths).sum()), dtype=np.bool_)
    kept[starts] = False
    words = np.empty(len(kept), dtype="<i4")
    words[starts], words[kept] = lengths, (block.positions + 160).reshape(-1).view("<i4")
    delimited = np.full((len(block.positions) + len(lengths), 3), np.nan, dtype="<f4")
    between = np.ones(len(delimited), dtype=np.bool_)
    between[np.cumsum(lengths + 1) - 1] = False
    delimited[between] = block.positions
    rows = delimited.view("V12")[:, 0]
    shift = np.eye(4)
    shift[:3, 3] = -160
    (folder / "in").write_bytes(words)
    source = os.open(folder / "in", os.O_RDONLY)
    target = os.open(folder / "out", os.O_RDWR | os.O_CREAT)
    buffer, positions = bytearray(words.nbytes), block.positions.copy()
    written = iter(range(0, 1 << 60, words.nbytes))
    one = np.ones(len(lengths), dtype=np.int64)
    parts = [
        Runs(lengths.astype("<i4"), np.arange(len(lengths)), one),
        Runs(positions, np.cumsum(lengths) - lengths, lengths),
    ]
    box, add, turn = (
        VoxmmBox([320] * 3),
        PositionsMap(shift, positions.dtype),
        PositionsMap(AFFINES["rotated"], positions.dtype),
    )
    yield "read", lambda: os.preadv(source, [buffer], 0)
    yield "CRC", lambda: isal_zlib.crc32(words)
    yield "find counts", lambda: np.flatnonzero(np.less(words.view(np.uint32), np.uint32(1 << 20)))
    yield "leave counts out", lambda: words[kept]
    yield "find delimiters", lambda: np.flatnonzero(~np.isfinite(delimited[:, 0]))
    yield "leave delimiters out", lambda: rows[between]
    yield "add a shift", lambda: add.apply(positions)
    yield "3 x 3 affine", lambda: turn.apply(positions)
    yield "3 x 3 affine by BLAS, whose last bits differ", lambda: positions @ np.eye(3, dtype="<f4")
    yield "box, one side", lambda: box.contains(positions)
    yield "box, two sides", lambda: _bounding_box(positions)
    yield "write", lambda: os.pwrite(target, buffer, next(written))
    os.ftruncate(target, 0)
    written = iter(range(0, 1 << 60, words.nbytes))
    yield "write with counts between", lambda: write_runs(target, next(written), parts)
    os.close(source)
    os.close(target)


def time_of_cp(folder: Path) -> float:
    """Return the milliseconds per megabyte of `cp`, of a file as large as what the passes write."""
    (folder / "whole").write_bytes(bytes(400_000_000))
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run(["cp", folder / "whole", folder / "copy"], check=True)
        times.append(time.perf_counter() - begin)
        (folder / "copy").unlink()
    return statistics.median(times) * 1e3 / 400


def main() -> None:
    (block,) = walk(STREAMLINES, seed=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {what: milliseconds(call) / (block.positions.nbytes / 1e6) for what, call in passes(block, folder)}
        limit = time_of_cp(folder)
    print("| pass | ms per MB |\n|---|---:|")
    for what, value in (found | {"cp": limit}).items():
        print(f"| {what} | {value:.3f} |")
    print("\n| case | sum of its passes | over 2 cores, as a multiple of cp |\n|---|---:|---:|")
    for case, names in CASES.items():
        total = sum(found[name] for name in names)
        print(f"| {case} | {total:.2f} | {total / 2 / limit:.2f} |")


if __name__ == "__main__":
    main()
