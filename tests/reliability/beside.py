"""Several at once, and many after each other: readers beside a writer, threads, fork, spawn, loads that are counted."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

import trxlib
from trxlib.errors import InputNotFoundError, StaleError


def _write(paths: list[Path], output: Path) -> int:
    trxlib.merge(paths, output, warn_outside=1, max_outside=1)
    return trxlib.load(output).header["NB_VERTICES"]


def readers_beside_a_writer(inputs: Path, out: Path, *, seconds: float = 1.0) -> None:
    """One of two contents is under the name at any time; whoever loads sees the whole of either."""
    a, b = inputs / "a.trx", inputs / "b.trx"
    firsts = {trxlib.load(path).streamlines._data[0].tobytes() for path in (a, b)}
    output = out / "beside.trx"
    _write([a, b], output)
    stop = threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            while not stop.is_set():
                _write([b, a], output)
                _write([a, b], output)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            trx = trxlib.load(output)
            trxlib.validate(output)
            data = trx.streamlines._data
            half = trx.header["NB_VERTICES"]
            assert {data[0].tobytes()} <= firsts, "the first vertex is of neither content"
            assert np.isfinite(data[half - 1]).all()
            trx.close()
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]


def folder_swapped_while_loading(inputs: Path, out: Path, *, loads: int = 200) -> None:
    """A folder is exchanged for another again and again; whoever loads sees the whole of one of both, or is told."""
    from tests.helpers import make_trx_arrays, write_plain_folder
    from trxlib.container.exchange import exchange

    one, two = out / "one", out / "two"
    for path, seed, count in ((one, 1, 40), (two, 2, 60)):
        arrays = make_trx_arrays(count, seed=seed, groups={}, dpg={})
        arrays.positions[:] = seed
        arrays.dps["weight"][:] = seed
        arrays.dpv["vector"][:] = seed
        write_plain_folder(arrays, path)
    stop = threading.Event()
    pid = os.fork()
    if not pid:
        while os.getppid() != 1:
            exchange(one, two)
            time.sleep(0.0005)
        os._exit(0)
    try:
        seen = set()
        for _ in range(loads):
            try:
                trx = trxlib.load(one)
            except (StaleError, InputNotFoundError):
                continue
            values = [trx.streamlines._data, trx.data_per_streamline["weight"], trx.data_per_vertex["vector"]._data]
            found = {float(value) for array in values for value in np.unique(array)}
            assert len(found) == 1, f"values of both folders: {found}"
            assert len(trx.streamlines) == {1.0: 40, 2.0: 60}[found.pop()]
            seen.add(len(trx.streamlines))
            trx.close()
        assert seen, "no load came through"
    finally:
        stop.set()
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def threads_and_processes(inputs: Path, out: Path) -> None:
    """Threads, forked and spawned processes write the same bytes, each under a name of its own."""
    paths = [inputs / "a.trx", inputs / "b.trx"]
    _write(paths, out / "expected.trx")
    names = []
    with ThreadPoolExecutor(4) as pool:
        names += [out / f"thread{row}.trx" for row in range(6)]
        list(pool.map(lambda name: _write(paths, name), names))
    for how in ("fork", "spawn"):
        own = [out / f"{how}{row}.trx" for row in range(4)]
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(how)) as pool:
            list(pool.map(_write, [paths] * len(own), own))
        names += own
    expected = (out / "expected.trx").read_bytes()
    for name in names:
        assert name.read_bytes() == expected, f"{name} is another"


def many_loads(inputs: Path, out: Path, *, loads: int = 300) -> None:
    """Descriptors and maps are as many behind as before; a load that is held takes one of each at most.

    The files are small, so that what counts is how often they are loaded. Each load may take 30 ms, and all together
    30 s more: then the process is ended.
    """
    from tests.helpers import make_trx_arrays, write_plain_folder, write_plain_zip

    signal.alarm(30 + loads * 30 // 1000)
    arrays = make_trx_arrays(40)
    write_plain_zip(arrays, out / "a.trx")
    write_plain_zip(arrays, out / "deflated.trx", 8)
    write_plain_folder(arrays, out / "folder")
    names, inputs = ("a.trx", "deflated.trx", "folder"), out

    def count() -> tuple[int, int]:
        gc.collect()
        maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(inputs) in line]
        return len(os.listdir("/proc/self/fd")), len(maps)  # noqa: PTH208

    for name in names:
        trxlib.load(inputs / name).close()
    before = count()
    for row in range(loads):
        trx = trxlib.load(inputs / names[row % 3])
        trx.streamlines._data[0]
        trx.close()
        del trx
    assert count() == before, f"{count()} descriptors and maps, before {before}"
    held = [trxlib.load(inputs / "a.trx") for _ in range(20)]
    fds, maps = count()
    assert fds <= before[0] + len(held), f"{fds} descriptors for {len(held)} loads"
    assert maps <= before[1] + len(held), f"{maps} maps for {len(held)} loads"
