"""Slices of files: nothing is overwritten while somebody looks at it."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.formats.made import write
from trxlib.errors import InputNotFoundError, StaleError
from trxlib.formats.input_file import InputFile, Slices

CONTENT = np.random.default_rng(0).bytes(10_007)


@pytest.mark.parametrize("gz", [False, True])
def test_all_bytes_in_order_and_kept_while_held(tmp_path: Path, slicing: str, gz: bool) -> None:
    """Slices that are still worked on keep their bytes, however many follow them."""
    file = InputFile(write(tmp_path / "a", CONTENT, gz=gz))
    with Slices(file) as slices:
        head = slices.take(100)
        parts = []
        while not slices.ended:
            parts.append(slices.next(np.empty(0, np.uint8)))
        assert slices.position == len(CONTENT)
    assert bytes(head) + b"".join(map(bytes, parts)) == CONTENT


def test_what_is_left_over_stands_before_the_next_slice(tmp_path: Path, slicing: str) -> None:
    file = InputFile(write(tmp_path / "a", CONTENT))
    found = []
    with Slices(file) as slices:
        carry = np.empty(0, np.uint8)
        while not slices.ended:
            part = slices.next(carry, at_least=1000)
            used = len(part) if slices.ended else len(part) * 2 // 3
            found.append(bytes(part[:used]))
            carry = part[used:]
    assert b"".join(found) == CONTENT


@pytest.mark.parametrize("gz", [False, True])
def test_skipping_holds_no_more_than_a_slice(tmp_path: Path, gz: bool) -> None:
    file = InputFile(write(tmp_path / "a", CONTENT, gz=gz))
    for count in (0, 1, 48, 5000, len(CONTENT)):
        with Slices(file, slice_bytes=48) as slices:
            slices.skip(count)
            assert slices.position == count
            assert b"".join(map(bytes, slices)) == CONTENT[count:]
    tracemalloc.start()
    try:
        with Slices(file) as slices:
            slices.skip(10**17)
            assert slices.position == len(CONTENT)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_buffers_are_used_again(tmp_path: Path) -> None:
    with Slices(InputFile(write(tmp_path / "a", CONTENT)), slice_bytes=48) as slices:
        for _ in slices:
            pass
        assert len(slices._buffers) < 5


def test_fingerprints(tmp_path: Path, slicing: str) -> None:
    for gz in (False, True):
        path = write(tmp_path / "a", CONTENT, gz=gz)
        raw = path.read_bytes()
        assert InputFile(path).fingerprint() == f"crc32:{zlib.crc32(raw):08x}:{len(raw)}"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="gone cannot be read"):
        InputFile(tmp_path / "gone")
    with pytest.raises(InputNotFoundError, match="is a folder"):
        InputFile(tmp_path)
    path = write(tmp_path / "a", CONTENT)
    file = InputFile(path)
    write(path, CONTENT + b"more")
    with pytest.raises(StaleError, match="was changed or replaced while it was read"):
        file.fingerprint()
