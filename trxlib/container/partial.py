"""Containers under construction: bytes are written into their final place, names appear when all is there.

`PartialArchive` is a zip archive whose layout is known, `PartialFolder` the same entries as files. Ranges may be
written in any order, by several threads, processes or machines at once: none reads or moves what another writes.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from trxlib.container.atomic import (
    check_replaceable,
    final_path,
    private_name,
    replace_folder,
)
from trxlib.container.crc import crc_of_bytes, crc_of_range
from trxlib.container.durable import rename_durably, sync_fd
from trxlib.container.full_disk import full_disk_error, naming_full_disk
from trxlib.container.layout import Layout
from trxlib.container.owners import hold
from trxlib.container.scattered import write_at, write_each_at
from trxlib.errors import ArchiveError, InputError, StaleError

__all__ = ["PartialArchive", "PartialFolder", "Target"]

Buffer = Any
_BLOCK = 1 << 19  # read at a time, so that it is still in the cache when it is written
# A kernel or a pair of file systems that cannot copy inside the kernel says one of these.
_NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ETXTBSY}


class Target(Protocol):
    """A container under construction."""

    def write(self, path: str, start: int, data: Buffer) -> int:
        """Write `data` at byte `start` of an entry and return its CRC-32."""

    def copy(self, path: str, start: int, fd: int, fd_start: int, nbytes: int) -> None:
        """Copy bytes of an open file into an entry, inside the kernel where it can, without a look at them."""

    def copy_counted(self, path: str, start: int, fd: int, fd_start: int, nbytes: int) -> int:
        """Copy bytes of an open file into an entry and return the CRC-32 of what was written.

        A container that states no CRCs returns 0: nobody asks for what would take a while.
        """

    def seal(self, crcs: Mapping[str, int], *, verify: bool = False) -> None:
        """Complete the container and give it its final name."""

    def discard(self) -> None:
        """Remove everything; nothing was ever visible under the final name."""


class PartialArchive:
    """A zip archive being filled in place.

    Parameters
    ----------
    final : path
        The name it gets when sealed.
    layout : Layout
        Where each entry lies.
    partial : Path, optional
        The name until then; by default a private one. Give one to let several processes fill the same archive.
    create : bool
        Whether it is made if it is not there.
    durable : bool
        Whether the disk is waited for, see `trxlib.container.durable`; not for temporary data.
    """

    def __init__(
        self,
        final: str | os.PathLike[str],
        layout: Layout,
        partial: Path | None = None,
        *,
        create: bool = True,
        durable: bool = True,
    ) -> None:
        self.final = final_path(final)
        if self.final.is_dir():
            raise InputError(f"{final}: is a folder, expected the name of a file; remove it or choose another name")
        self.layout, self._durable = layout, durable
        self.partial = partial if partial is not None else private_name(self.final)
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | (os.O_CREAT if create else 0)
        self._fd = os.open(self.partial, flags, 0o666)
        if partial is None:
            hold(self._fd)
        # Sparse: costs nothing. Filling again after a crash finds the size right and changes nothing. Never made
        # smaller: another process may have written the directory behind the data just now.
        try:
            if os.fstat(self._fd).st_size < layout.directory_start:
                os.ftruncate(self._fd, layout.directory_start)
        except OSError as error:
            self.close() if partial is not None else self.discard()
            raise full_disk_error(final, error) from None

    def write(self, path: str, start: int, data: Buffer) -> int:
        """Write `data` at byte `start` of an entry and return its CRC-32."""
        view = memoryview(data).cast("B")
        with self._naming_full_disk():
            write_at(self._fd, view, self._place(path, start, len(view)))
        return crc_of_bytes(view)

    def copy(self, path: str, start: int, fd: int, fd_start: int, nbytes: int) -> None:
        """Copy bytes of an open file into an entry, inside the kernel where it can, without a look at them."""
        with self._naming_full_disk():
            _copy_range(fd, fd_start, self._fd, self._place(path, start, nbytes), nbytes)

    def copy_counted(self, path: str, start: int, fd: int, fd_start: int, nbytes: int) -> int:
        """Copy bytes of an open file into an entry and return the CRC-32 of what was written."""
        with self._naming_full_disk():
            return _copy_blocks(fd, fd_start, self._fd, self._place(path, start, nbytes), nbytes)

    def read_crc(self, path: str, start: int, nbytes: int) -> int:
        """Read bytes of an entry back and return their CRC-32."""
        return crc_of_range(self._fd, self._place(path, start, nbytes), nbytes)

    @contextmanager
    def _naming_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            needed = f"the complete archive takes {self.layout.directory_start / 1e9:.3f} GB"
            raise full_disk_error(self.partial, error, needed) from None

    def _place(self, path: str, start: int, nbytes: int) -> int:
        entry = self.layout.by_path[path]
        if start < 0 or start + nbytes > entry.nbytes:
            raise ArchiveError(f"{path}: bytes {start} to {start + nbytes} do not fit its {entry.nbytes} bytes")
        return entry.data_start + start

    def seal(self, crcs: Mapping[str, int], *, verify: bool = False) -> None:
        """Write all records and the directory, then rename.

        Parameters
        ----------
        crcs : mapping of str to int
            CRC-32 of every entry.
        verify : bool
            Read the data back and compare.

        Raises
        ------
        StaleError
            With `verify`, if the bytes on disk are not those that were written.
        """
        if verify:
            self._verify(crcs)
        directory = self.layout.directory(crcs)
        records = [*self.layout.local_records(crcs), (self.layout.directory_start, directory)]
        with self._naming_full_disk():
            write_each_at(self._fd, records)
            os.ftruncate(self._fd, self.layout.directory_start + len(directory))
        self.sync()
        try:
            if self._durable:
                rename_durably(self.partial, self.final, is_synced=True)
            else:
                self.partial.replace(self.final)
        except FileNotFoundError:
            # Another process that sealed the same archive was quicker: it is this very file.
            if not self.final.exists() or not os.path.samestat(os.fstat(self._fd), self.final.stat()):
                raise StaleError(f"{self.partial}: was taken away while it was sealed; fill it again") from None
        self.close()

    def _verify(self, crcs: Mapping[str, int]) -> None:
        for entry in self.layout.entries:
            crc = self.read_crc(entry.path, 0, entry.nbytes)
            if crc != crcs[entry.path]:
                raise StaleError(
                    f"{self.partial}: {entry.path} has CRC {crc:08x} on disk, {crcs[entry.path]:08x} was written; the "
                    "unfinished archive was damaged: fill it again"
                )

    def sync(self) -> None:
        """Wait until the disk holds what was written."""
        if self._durable:
            sync_fd(self._fd, self.partial)

    def close(self) -> None:
        """Close the file and leave it as it is, for others to go on with."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Remove the unfinished archive."""
        self.close()
        self.partial.unlink(missing_ok=True)


class PartialFolder:
    """A TRX folder being filled under a private name.

    Parameters
    ----------
    final : path
        The name it gets when sealed; an older TRX folder there is replaced, any other is refused.
    sizes : mapping of str to int
        Bytes of each entry.
    """

    def __init__(self, final: str | os.PathLike[str], sizes: Mapping[str, int]) -> None:
        self.final = final_path(final)
        check_replaceable(self.final)
        self.partial = private_name(self.final)
        self.sizes = sizes
        try:
            for path, nbytes in sizes.items():
                file = self.partial / path
                file.parent.mkdir(parents=True, exist_ok=True)
                with naming_full_disk(file), file.open("wb") as out:
                    out.truncate(nbytes)
        except BaseException:
            self.discard()
            raise

    def write(self, path: str, start: int, data: Buffer) -> int:
        """Write `data` at byte `start` of an entry and return its CRC-32."""
        view = memoryview(data).cast("B")
        with self._open(path) as fd:
            write_at(fd, view, start)
        return crc_of_bytes(view)

    def copy(self, path: str, start: int, fd: int, fd_start: int, nbytes: int) -> None:
        """Copy bytes of an open file into an entry, inside the kernel where it can, without a look at them."""
        with self._open(path) as out:
            _copy_range(fd, fd_start, out, start, nbytes)

    def copy_counted(self, path: str, start: int, fd: int, fd_start: int, nbytes: int) -> int:
        """Copy bytes of an open file into an entry; return 0, as a folder states no CRC."""
        self.copy(path, start, fd, fd_start, nbytes)
        return 0

    @contextmanager
    def _open(self, path: str) -> Iterator[int]:
        file = self.partial / path
        fd = os.open(file, os.O_WRONLY | getattr(os, "O_BINARY", 0))
        try:
            with naming_full_disk(file):
                yield fd
        finally:
            os.close(fd)

    def seal(self, crcs: Mapping[str, int], *, verify: bool = False) -> None:
        """Give the folder its final name; a folder states no CRCs, so there is nothing to write or verify."""
        replace_folder(self.partial, self.final)

    def discard(self) -> None:
        """Remove the unfinished folder."""
        shutil.rmtree(self.partial, ignore_errors=True)


def _copy_range(source: int, source_start: int, target: int, target_start: int, nbytes: int) -> None:
    """Copy between files inside the kernel where it can, through a buffer where it cannot."""
    done = 0
    try:
        while done < nbytes and hasattr(os, "copy_file_range"):
            count = os.copy_file_range(source, target, nbytes - done, source_start + done, target_start + done)
            if count == 0:
                break
            done += count
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY:
            raise
    _copy_blocks(source, source_start + done, target, target_start + done, nbytes - done)


def _copy_blocks(source: int, source_start: int, target: int, target_start: int, nbytes: int) -> int:
    """Copy between files through a buffer and return the CRC-32 of what was written."""
    crc = 0
    buffer = memoryview(bytearray(min(_BLOCK, nbytes)))
    for start in range(0, nbytes, _BLOCK):
        block = buffer[: min(_BLOCK, nbytes - start)]
        count = os.preadv(source, [block], source_start + start)
        if count != len(block):
            raise StaleError(
                f"an input ended {len(block) - count} bytes early while it was copied; was it replaced? run it again"
            )
        write_at(target, block, target_start + start)
        crc = crc_of_bytes(block, crc)
    return crc
