"""The entries of an opened TRX file as a source uses them: under names that can be written, copied, told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO

from isal import isal_zlib

from trxlib.container.crc import crc_of_file
from trxlib.container.entries import Member
from trxlib.container.mapping import FileStamp, open_stamped
from trxlib.files import open_regular
from trxlib.model.arrays import TrxArrays
from trxlib.model.names import ArrayName, fit_names

__all__ = ["StoredMember", "fingerprint_of", "fit_members"]


@dataclass(frozen=True)
class StoredMember:
    """An entry whose bytes lie on disk as they are to be written, as `trxlib.model.source.StoredBytes`.

    Parameters
    ----------
    member : Member
        Its place.
    stamp : FileStamp, optional
        What the file was when the array was mapped; None if nobody knows.
    """

    member: Member
    stamp: FileStamp | None = None

    @property
    def path(self) -> str:
        """Name of the array, for messages."""
        return self.member.path

    @property
    def start(self) -> int:
        """First byte."""
        return self.member.start

    @property
    def nbytes(self) -> int:
        """How many."""
        return self.member.nbytes

    @property
    def crc(self) -> int | None:
        """CRC-32 that the container states; None if it states none."""
        return self.member.crc

    def open(self) -> IO[bytes]:
        """Open the file.

        Raises
        ------
        StaleError
            If it is not, or not any more, the one that was mapped.
        """
        return open_regular(self.member.file) if self.stamp is None else open_stamped(self.member.file, self.stamp)


def fit_members(arrays: TrxArrays, members: Mapping[ArrayName, Member], path: str) -> dict[ArrayName, Member]:
    """Rename, in `arrays`, the keys and groups that cannot be written; return the members under the new names."""
    renamed = fit_names(arrays, path)
    if not any(renamed.values()):
        return dict(members)
    return {
        name if name.group else name.renamed(renamed.get(name.section, {}).get(name.name, name.name)): member
        for name, member in members.items()
    }


def fingerprint_of(members: Iterable[Member]) -> str:
    """Return ``crc32:<8 hex digits>:<bytes>`` of the arrays' stated CRCs; the container itself does not count."""
    ordered = sorted(members, key=lambda member: member.path)
    crc = 0
    for member in ordered:
        own = crc_of_file(member.file, member.start, member.nbytes) if member.crc is None else member.crc
        text = f"{member.path}:{member.nbytes}:{own:08x};"
        crc = isal_zlib.crc32(text.encode(errors="surrogateescape"), crc)
    return f"crc32:{crc:08x}:{sum(member.nbytes for member in ordered)}"
