"""CRC-32 of bytes in memory and of a range of a file, in pieces that stay in the cache of one core."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.errors import StaleError

__all__ = ["crc_of_bytes", "crc_of_file"]

_BLOCK = 1 << 18


def crc_of_bytes(data: memoryview | npt.NDArray[Any] | bytes, crc: int = 0) -> int:
    """Return the CRC-32 of bytes in memory.

    Parameters
    ----------
    data : bytes, memoryview or ndarray
        An array counts in C order; it is copied only if its bytes do not lie so.
    crc : int
        Of what stands in front of `data`.
    """
    if isinstance(data, np.ndarray):
        data = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
    return int(isal_zlib.crc32(data, crc))


def crc_of_file(path: str, start: int, nbytes: int, crc: int = 0) -> int:
    """Return the CRC-32 of a range of a file, read piece by piece.

    Parameters
    ----------
    path : str
        The file; only opened for reading.
    start, nbytes : int
        The range.
    crc : int
        Of what stands in front of it.

    Raises
    ------
    StaleError
        If the file ends before the range does.
    """
    buffer = memoryview(bytearray(min(_BLOCK, max(1, nbytes))))
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a str)
        file.seek(start)
        left = nbytes
        while left:
            count = file.readinto(buffer[: min(len(buffer), left)])
            if not count:
                raise StaleError(
                    f"{path}: ends {left} bytes before its last array; was it cut or replaced? read it again"
                )
            crc = isal_zlib.crc32(buffer[:count], crc)
            left -= count
    return int(crc)
