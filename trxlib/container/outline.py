"""What a TRX archive or folder holds, by its header and the names and sizes of its entries: no array is read.

Opening a file begins here, and so does a command that only shows what is there, which starts without numpy.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from trxlib.container.entries import Member, list_archive, list_folder, open_member
from trxlib.container.unpack import crc_error, iter_unpacked
from trxlib.errors import HeaderError, ShapeError, TrxError, open_error
from trxlib.files import open_regular
from trxlib.kinds import describe_kind, missing, zip_kind
from trxlib.model.header_fields import HeaderFields
from trxlib.model.names import HEADER_NAME, ArrayName
from trxlib.model.paths import arrays_of_entries

__all__ = ["Outline", "naming", "opened", "read_header", "read_outline"]

#: A header has some hundred bytes, with what TRK and TCK files state some thousand. What is larger is made to fill
#: memory: as Python objects, text takes up to thirty times as much, here at most half a gigabyte.
_LARGEST_HEADER = 16 << 20
#: Of all JSON files beside the header, which are kept as they are.
_LARGEST_SIDECARS = 64 << 20


class Outline(NamedTuple):
    """What is known of a TRX file before any array is read.

    Parameters
    ----------
    header : HeaderFields
        Its header.
    members : dict of ArrayName to Member
        Where the bytes of each array lie.
    shapes : dict of ArrayName to tuple of int
        By header, names and sizes, which agree.
    sidecars : dict of str to bytes
        JSON files beside the header.
    entries : list of Member
        All that the archive or folder holds.
    """

    header: HeaderFields
    members: dict[ArrayName, Member]
    shapes: dict[ArrayName, tuple[int, ...]]
    sidecars: dict[str, bytes]
    entries: list[Member]


def read_outline(path: str | os.PathLike[str], file: IO[bytes] | None = None) -> Outline:
    """Read header, names and sizes, and check that they agree.

    Parameters
    ----------
    path : path
        ``.trx`` archive (stored or deflated, of any zip program) or folder.
    file : binary file, optional
        The archive, if it is open already (see `opened`).

    Raises
    ------
    FormatError
        If a rule of the format is broken; the message names file and array. No array's values are looked at.
    InputNotFoundError
        If there is no such file.
    """
    if file is None and not Path(path).is_dir():
        with opened(path) as own:
            return read_outline(path, own)
    entries = list_folder(path) if file is None else list_archive(path, file)
    with naming(path):
        header = _read_header(path, entries, file)
        arrays = [member for member in entries if not member.path.endswith(".json")]
        shapes = arrays_of_entries([(member.path, member.nbytes) for member in arrays], header)
        for name, member in zip(shapes, arrays, strict=True):
            if name.section == "groups" and not member.is_stored and shapes[name][0] > header.nb_streamlines:
                # A packed group of some megabytes may unpack to as many gigabytes.
                raise ShapeError(
                    f"{member.path} has {shapes[name][0]} members, NB_STREAMLINES is {header.nb_streamlines}; a packed "
                    "group has no streamline twice"
                )
        beside = [member for member in entries if member.path.endswith(".json") and member.path != HEADER_NAME]
        _check_small(beside, _LARGEST_SIDECARS)
        sidecars = {member.path: _read_small(path, member, file) for member in beside}
    return Outline(header, dict(zip(shapes, arrays, strict=True)), shapes, sidecars, entries)


def read_header(path: str | os.PathLike[str]) -> HeaderFields:
    """Read the header alone, of a file whose arrays may be whatever they are.

    Parameters
    ----------
    path : path
        ``.trx`` archive or folder.

    Raises
    ------
    FormatError
        If the archive or the header breaks a rule; the message names the file.
    InputNotFoundError
        If there is no such file.
    """
    with opened(path) as file, naming(path):
        if file is not None:
            return _read_header(path, list_archive(path, file), file)
        header = Path(path, HEADER_NAME)
        is_there = header.is_file()
        members = [Member(HEADER_NAME, str(header), 0, header.stat().st_size)] if is_there else []
        return _read_header(path, members, file)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file's path before messages that do not begin with it."""
    try:
        yield
    except TrxError as error:
        if not str(error).startswith(str(path)):
            error.args = (f"{path}: {error}",)
        raise


@contextmanager
def opened(path: str | os.PathLike[str], *, for_change: bool = False) -> Iterator[IO[bytes] | None]:
    """Open an archive once, for all that is read of it; None for a folder."""
    if Path(path).is_dir():
        yield None
        return
    if not Path(path).exists():
        raise missing(path, f"{path}: no such file or folder")
    with open_regular(path, for_change=for_change) as file:
        yield file


def _read_header(path: str | os.PathLike[str], members: list[Member], file: IO[bytes] | None) -> HeaderFields:
    for member in members:
        if member.path == HEADER_NAME:
            _check_small([member], _LARGEST_HEADER)
            return HeaderFields.from_json(_read_small(path, member, file))
    message = f"{path}: no {HEADER_NAME}, so this is no TRX file"
    if file is None:
        nested = [member.path for member in members if member.path.endswith("/" + HEADER_NAME)]
        hint = f"; found {nested[0]!r}: name that folder instead, or pack the content of that folder" if nested else ""
        raise HeaderError(message + hint)
    kind = zip_kind([member.entry_name for member in members])
    raise HeaderError(f"{message}; {describe_kind(path, kind, 'trx')}")


def _check_small(members: list[Member], limit: int) -> None:
    """Check that JSON files together are no larger than any that a tractogram needs."""
    nbytes = sum(member.nbytes for member in members)
    if nbytes > limit:
        largest = max(members, key=lambda member: member.nbytes)
        together = f"; with all others of its kind {nbytes}" if len(members) > 1 else ""
        raise ShapeError(
            f"{largest.path} has {largest.nbytes} bytes{together}; JSON text of a tractogram has {limit} at most"
        )


def _read_small(path: str | os.PathLike[str], member: Member, file: IO[bytes] | None) -> bytes:
    """Read a whole JSON entry, whose size has been checked."""
    if file is None:
        try:
            with open_member(member) as opened:
                return opened.read()
        except OSError as error:
            raise open_error(member.file, error) from None
    if not member.is_stored:
        return b"".join(iter_unpacked(file, path, member))
    file.seek(member.start)
    data = file.read(member.nbytes)
    if zlib.crc32(data) != member.crc:
        raise crc_error(path, member, zlib.crc32(data))
    return data
