"""An array whose bytes lie on disk as they are to be written: in a stored archive, or as a file of a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO

from trxlib.container.entries import Member
from trxlib.container.mapping import FileStamp
from trxlib.errors import StaleError
from trxlib.files import open_regular

__all__ = ["StoredMember"]


@dataclass(frozen=True)
class StoredMember:
    """An entry of a container as `trxlib.model.source.StoredBytes`.

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
        file = open_regular(self.member.file)
        if self.stamp is not None and FileStamp.of_status(os.fstat(file.fileno())) != self.stamp:
            file.close()
            raise StaleError(f"{self.member.file}: was changed or replaced while it was read; run it again")
        return file
