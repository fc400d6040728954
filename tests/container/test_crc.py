"""CRC-32 of ranges: the one of zlib, whatever the size, the start and the layout of the bytes."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from trxlib.container.crc import crc_of_bytes, crc_of_file
from trxlib.errors import StaleError

DATA = np.random.default_rng(0).integers(0, 256, (1 << 18) + 777, dtype=np.uint8).tobytes()


@pytest.mark.parametrize(
    ("start", "nbytes"), [(0, 0), (0, 1), (5, 1 << 18), (7, (1 << 18) + 3), (0, len(DATA)), (len(DATA), 0)]
)
def test_a_range_of_a_file_has_the_crc_of_its_bytes(tmp_path: Path, start: int, nbytes: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    expected = zlib.crc32(DATA[start : start + nbytes], 99)
    assert crc_of_file(str(path), start, nbytes, 99) == expected
    assert crc_of_bytes(DATA[start : start + nbytes], 99) == expected
    assert crc_of_bytes(memoryview(DATA)[start : start + nbytes], 99) == expected


def test_a_file_that_ends_early_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with pytest.raises(StaleError, match=r"data: ends 3 bytes before .* was it cut or replaced\?"):
        crc_of_file(str(path), 10, len(DATA) - 7)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_counts_in_c_order(order: str) -> None:
    array = np.asarray(np.arange(12, dtype="<f4").reshape(4, 3), order=order)
    assert crc_of_bytes(array) == zlib.crc32(array.tobytes())
    assert crc_of_bytes(array[::2]) == zlib.crc32(array[::2].tobytes())
    assert crc_of_bytes(array[:0]) == 0
