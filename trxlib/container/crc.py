"""CRC-32 of bytes in memory and of a range of a file, in pieces that stay in the cache of one core."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.errors import StaleError
from trxlib.files import open_regular

__all__ = ["crc_of_bytes", "crc_of_file", "crc_of_range"]

_BLOCK = 1 << 20


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
    """Return the CRC-32 of a range of a file; see `crc_of_range`."""
    with open_regular(path) as file:
        return crc_of_range(file.fileno(), start, nbytes, crc, path)


def crc_of_range(fd: int, start: int, nbytes: int, crc: int = 0, path: str = "", block: int = _BLOCK) -> int:
    """Return the CRC-32 of a range of an open file, whatever name it has by now, read piece by piece.

    Parameters
    ----------
    fd : int
        Of the file; its own position stays where it is.
    start, nbytes : int
        The range.
    crc : int
        Of what stands in front of it.
    path : str
        For the message.
    block : int
        Bytes of a piece. What was written just now is read in pieces that are in the cache still; large files take
        fewer calls in large pieces.

    Raises
    ------
    StaleError
        If the file ends before the range does.
    """
    buffer = memoryview(bytearray(min(block, max(1, nbytes))))
    done = 0
    while done < nbytes:
        count = os.preadv(fd, [buffer[: min(block, nbytes - done)]], start + done)
        if not count:
            raise StaleError(
                f"{path or 'file'}: ends {nbytes - done} bytes before its last array; was it cut or replaced? read it "
                "again"
            )
        crc = isal_zlib.crc32(buffer[:count], crc)
        done += count
    return int(crc)
