"""Unpack compressed entries of an archive, never to more than they state.

Python's zipfile hands what it read to bzip2 and LZMA whole, and some kilobytes of these unpack to gigabytes of memory.
Here every block that comes out is bounded, and so is the memory that LZMA is told to take.
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from trxlib.container.entries import Member
from trxlib.errors import ArchiveError

__all__ = ["crc_error", "iter_unpacked"]

_BLOCK = 4 << 20
_READ = 1 << 18  # packed bytes read at a time
_DEFLATED, _BZIP2, _LZMA = 8, 12, 14
#: Bytes that LZMA looks back at most, as its strongest setting does; a file may state 4 GB, and they would be taken.
_LOOKED_BACK = 64 << 20
_DAMAGED = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, struct.error)


def iter_unpacked(file: IO[bytes], path: str | os.PathLike[str], member: Member) -> Iterator[bytes]:
    """Yield the data of a compressed entry in blocks of some megabytes, and check size and CRC-32.

    Parameters
    ----------
    file : binary file
        The archive; its position stays where it is.
    path : path
        Of the archive, for messages.
    member : Member
        The entry.

    Raises
    ------
    ArchiveError
        If it is damaged, packed in a way that is not read, or holds more or less than it states.
    """
    crc, done = 0, 0
    for block in _blocks(file, path, member):
        done += len(block)
        if done > member.nbytes:
            raise ArchiveError(
                f"{path}: entry {member.path!r} unpacks to more than the {member.nbytes} bytes that it states; the "
                "file is damaged, or made to fill disks"
            )
        crc = zlib.crc32(block, crc)
        yield block
    if done != member.nbytes:
        raise ArchiveError(f"{path}: entry {member.path!r} unpacks to {done} bytes, {member.nbytes} are stated")
    if crc != member.crc:
        raise crc_error(path, member, crc)


def crc_error(path: str | os.PathLike[str], member: Member, found: int | None) -> ArchiveError:
    """Return what to raise for an entry whose CRC is not the one that is stated."""
    return ArchiveError(
        f"{path}: entry {member.path!r} has CRC {found or 0:08x}, {member.crc or 0:08x} is stated; the file is damaged"
    )


def _blocks(file: IO[bytes], path: str | os.PathLike[str], member: Member) -> Iterator[bytes]:
    """Yield what comes out, at most a byte more than stated."""
    start, left = member.start, member.packed
    packed = b""
    limit = member.nbytes + 1
    unpacker: Callable[[bytes, int], tuple[bytes, bytes, bool]] | None = None
    while limit:
        if not packed and left:
            packed = os.pread(file.fileno(), min(_READ, left), start)
            start, left = start + len(packed), left - len(packed)
            if not packed:
                raise ArchiveError(f"{path}: entry {member.path!r} ends {left} bytes too early; the file was cut")
        try:
            if unpacker is None:
                unpacker, packed = _unpacker(path, member, packed)
            block, rest, is_end = unpacker(packed, min(_BLOCK, limit))
        except _DAMAGED as error:  # bz2 says OSError for damaged data
            raise ArchiveError(
                f"{path}: entry {member.path!r} cannot be unpacked ({error}); the file is damaged"
            ) from None
        packed = rest
        limit -= len(block)
        if block:
            yield block
        if is_end or not (block or packed or left):
            return


def _unpacker(
    path: str | os.PathLike[str], member: Member, packed: bytes
) -> tuple[Callable[[bytes, int], tuple[bytes, bytes, bool]], bytes]:
    """Return a function (packed bytes, most bytes to return) -> (block, packed bytes not used, end), and its input."""
    if member.method == _DEFLATED:
        inflater = zlib.decompressobj(-15)

        def inflate(data: bytes, most: int) -> tuple[bytes, bytes, bool]:
            block = inflater.decompress(data, most)
            return block, inflater.unconsumed_tail, inflater.eof

        return inflate, packed
    if member.method == _BZIP2:
        return _from_object(bz2.BZ2Decompressor()), packed
    if member.method == _LZMA:
        size = struct.unpack_from("<H", packed, 2)[0]
        return _from_object(_lzma(packed[4 : 4 + size])), packed[4 + size :]
    raise ArchiveError(
        f"{path}: entry {member.path!r} is packed by method {member.method} of zip, which is not read; pack it anew, "
        "stored or by deflate, bzip2 or LZMA"
    )


def _from_object(unpacker: Any) -> Callable[[bytes, int], tuple[bytes, bytes, bool]]:
    def unpack(data: bytes, most: int) -> tuple[bytes, bytes, bool]:
        block = unpacker.decompress(data, most)  # keeps what it has not used itself
        return block, b"", unpacker.eof

    return unpack


def _lzma(properties: bytes) -> lzma.LZMADecompressor:
    """Return an unpacker with the settings that an entry begins with (ZIP application note, 5.8.8)."""
    code, looked_back = struct.unpack("<BL", properties)
    if looked_back > _LOOKED_BACK:
        raise ValueError(f"it asks for {looked_back} bytes of memory, {_LOOKED_BACK} are the most")
    rest, lc = divmod(code, 9)
    pb, lp = divmod(rest, 5)
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": max(looked_back, 4096), "lc": lc, "lp": lp, "pb": pb}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
