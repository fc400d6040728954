"""The CRC-32 of a range of a file that is open, whatever name it has by now; `trxlib.container.crc` opens one by name."""

from __future__ import annotations

import os

from trxlib.container.crc import crc_of_bytes
from trxlib.errors import StaleError

__all__ = ["crc_of_range"]

_BLOCK = 1 << 20


def crc_of_range(fd: int, start: int, nbytes: int, block: int = _BLOCK) -> int:
    """Return the CRC-32 of a range of an open file, read piece by piece.

    Parameters
    ----------
    fd : int
        Descriptor of the file.
    start, nbytes : int
        The range.
    block : int
        Bytes of a piece. What was written just now is read in pieces that are in the cache still; large files take
        fewer calls in large pieces.

    Raises
    ------
    StaleError
        If the file ends before the range does.
    """
    buffer = memoryview(bytearray(min(block, max(1, nbytes))))
    crc = done = 0
    while done < nbytes:
        count = os.preadv(fd, [buffer[: min(block, nbytes - done)]], start + done)
        if not count:
            raise StaleError(f"{nbytes - done} of {nbytes} bytes at byte {start} are missing; was the file cut?")
        crc = crc_of_bytes(buffer[:count], crc)
        done += count
    return crc
