"""Runs of rows written by one call of the system: the same bytes as joined by hand, whatever the system takes."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trxlib.container import scattered
from trxlib.container.scattered import RunsOfRows, write_runs
from trxlib.errors import StaleError

RNG = np.random.default_rng(5)


def some_runs(count: int, rows: int = 5000, ncols: int = 3, longest: int = 9) -> RunsOfRows:
    data = RNG.standard_normal((rows, ncols)).astype("<f4")
    starts = RNG.integers(0, rows - longest, count)
    return RunsOfRows(data, starts, RNG.integers(0, longest, count))


def joined(parts: list[RunsOfRows]) -> bytes:
    pieces = []
    for row in range(len(parts[0].starts)):
        for part in parts:
            start = int(part.starts[row])
            pieces.append(part.data[start : start + int(part.lengths[row])].tobytes())
    return b"".join(pieces)


@pytest.fixture(params=["by the system", "by Python"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "by Python":
        monkeypatch.setattr(scattered, "_pwritev", None)
    elif scattered._pwritev is None:
        pytest.skip("this system has no pwritev")
    return str(request.param)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("count", [0, 1, 2, 1023, 1024, 1025, 3000])
def test_runs_stand_one_behind_the_other(road: str, fd: int, count: int) -> None:
    runs = some_runs(count)
    expected = joined([runs])
    assert write_runs(fd, 7, [runs]) == len(expected)
    assert os.pread(fd, len(expected) + 100, 7) == expected


def test_several_arrays_take_turns(road: str, fd: int) -> None:
    count = 1500
    each, one = np.arange(count), np.ones(count, dtype=np.int64)
    parts = [
        RunsOfRows(RNG.integers(0, 99, count).astype("<i4"), each, one),
        some_runs(count),
        RunsOfRows(np.full((1, 5), np.nan), np.zeros(count, dtype=np.int64), one),
    ]
    expected = joined(parts)
    assert write_runs(fd, 0, parts) == len(expected)
    assert os.pread(fd, len(expected) + 100, 0) == expected


@pytest.mark.parametrize("most", [1, 4, 13, 1000, 100_000])
def test_a_system_that_takes_a_part_is_asked_again(monkeypatch: pytest.MonkeyPatch, fd: int, most: int) -> None:
    if scattered._pwritev is None:
        pytest.skip("this system has no pwritev")

    def stingy(fd: int, table: int, count: int, position: int) -> int:
        pieces = np.ctypeslib.as_array(ctypes.cast(table, ctypes.POINTER(ctypes.c_uint64)), (count, 2))
        data = b"".join(ctypes.string_at(int(address), int(size)) for address, size in pieces)
        return os.pwrite(fd, data[:most], position)

    monkeypatch.setattr(scattered, "_pwritev", stingy)
    runs = some_runs(40)
    expected = joined([runs])
    write_runs(fd, 3, [runs])
    assert os.pread(fd, len(expected) + 100, 3) == expected


def test_errors_of_the_system_are_raised(tmp_path: Path, road: str) -> None:
    (tmp_path / "out").write_bytes(b"")
    fd = os.open(tmp_path / "out", os.O_RDONLY)
    try:
        with pytest.raises(OSError) as caught:
            write_runs(fd, 0, [some_runs(3)])
        assert caught.value.errno == errno.EBADF
    finally:
        os.close(fd)


def test_a_mapped_file_that_was_cut_is_an_error_and_no_crash(tmp_path: Path, fd: int) -> None:
    if scattered._pwritev is None:
        pytest.skip("this system has no pwritev")
    source = tmp_path / "source"
    source.write_bytes(bytes(1 << 20))
    data = np.memmap(source, dtype="<f4", mode="r").reshape(-1, 4)
    os.truncate(source, 4096)
    runs = RunsOfRows(data, np.array([10, 60_000]), np.array([3, 3]))
    with pytest.raises(StaleError, match="was cut while it was read"):
        write_runs(fd, 0, [runs])


def test_a_system_that_takes_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch, fd: int) -> None:
    monkeypatch.setattr(scattered, "_pwritev", lambda *_: 0)
    with pytest.raises(OSError, match="takes no more bytes"):
        write_runs(fd, 0, [some_runs(3)])


def test_rows_that_do_not_lie_in_order_are_refused(road: str, fd: int) -> None:
    data = np.asfortranarray(RNG.standard_normal((10, 3)))
    with pytest.raises(ValueError, match="C order"):
        write_runs(fd, 0, [RunsOfRows(data, np.array([1]), np.array([2]))])
