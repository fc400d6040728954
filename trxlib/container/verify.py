"""Read an archive again, several pieces side by side, and compare each entry with the CRC-32 that it states."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from isal import isal_zlib

from trxlib.container.crc import crc_of_range
from trxlib.container.entries import Member, list_archive
from trxlib.container.unpack import crc_error, iter_unpacked
from trxlib.errors import ArchiveError, InputError
from trxlib.files import open_regular
from trxlib.parallel import run_each

__all__ = ["Reread", "crcs_of_ranges", "reread"]

_PIECE = 64 << 20
_BLOCK = 4 << 20


class Reread(NamedTuple):
    """What reading an archive again has found.

    Parameters
    ----------
    members : list of Member
        All entries.
    damaged : list of tuple of (Member, str)
        Those that do not hold what they state, in the order of the file, and what was found.
    """

    members: list[Member]
    damaged: list[tuple[Member, str]]


class _Piece(NamedTuple):
    member: Member
    start: int
    nbytes: int


def reread(path: str | os.PathLike[str], workers: int) -> Reread:
    """Read every byte of an archive and compare it with the CRC-32 of its entry.

    Parameters
    ----------
    path : path
        The archive; not changed.
    workers : int
        Threads. Each holds some megabytes.

    Raises
    ------
    ArchiveError
        If its directory cannot be read.
    InputError
        If it is a folder, which states no CRC.
    """
    if os.path.isdir(path):  # noqa: PTH112
        raise InputError(f"{path}: is a folder, which states no CRC to compare with; name an archive")
    errors: dict[str, str] = {}
    crcs: dict[str, int] = {}
    with open_regular(path) as file:
        members = list_archive(path, file)

        def look(piece: _Piece) -> tuple[_Piece, int, str]:
            if piece.member.is_stored:
                begin = piece.member.start + piece.start
                return piece, crc_of_range(file.fileno(), begin, piece.nbytes, 0, str(path), _BLOCK), ""
            try:
                for _ in iter_unpacked(file, path, piece.member):
                    pass
            except ArchiveError as error:
                return piece, 0, str(error)
            return piece, piece.member.crc or 0, ""

        def note(result: tuple[_Piece, int, str]) -> None:
            piece, crc, error = result
            before = crcs.get(piece.member.path, 0)  # the CRC of nothing is 0
            crcs[piece.member.path] = isal_zlib.crc32_combine(before, crc, piece.nbytes) if piece.start else crc
            if error:
                errors[piece.member.path] = error

        pieces = (piece for member in members for piece in _pieces(member))
        run_each(pieces, look, note, threads=workers)
    for member in members:
        if member.path not in errors and crcs[member.path] != member.crc:
            errors[member.path] = str(crc_error(path, member, crcs[member.path]))
    return Reread(members, [(member, errors[member.path]) for member in members if member.path in errors])


def _pieces(member: Member) -> list[_Piece]:
    if not member.is_stored:
        return [_Piece(member, 0, member.nbytes)]
    starts = range(0, member.nbytes, _PIECE) or [0]
    return [_Piece(member, start, min(_PIECE, member.nbytes - start)) for start in starts]


def crcs_of_ranges(
    path: str | os.PathLike[str], member: Member, ranges: Sequence[tuple[int, int]], workers: int
) -> list[int]:
    """Return the CRC-32 of some ranges of a stored entry, each a start and a number of bytes."""
    found: list[int] = []
    with open_regular(path) as file:

        def look(place: tuple[int, int]) -> int:
            return crc_of_range(file.fileno(), member.start + place[0], place[1], 0, str(path), _BLOCK)

        run_each(iter(ranges), look, found.append, threads=workers)
    return found
