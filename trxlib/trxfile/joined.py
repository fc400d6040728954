"""Concatenation that costs nothing until it is looked at or saved.

The result keeps its inputs as they were: an array that is mapped from a file, and whose bytes are still those of the
file, is kept as a range of the file (mapped anew, read-only); anything else is copied. Saving then copies each byte
once, from file to file.
"""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.container.atomic import TemporaryFolder
from trxlib.container.entries import Member
from trxlib.container.mapping import FileStamp, MappedFile, changed_ranges, is_open_for_change
from trxlib.container.reader import Container, open_container
from trxlib.container.temporary import scratch_arrays
from trxlib.engine.plan import Plan
from trxlib.engine.trx_source import BundleSource
from trxlib.engine.write import write_container
from trxlib.errors import StaleError
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header
from trxlib.model.names import HEADER_NAME, ArrayName
from trxlib.model.select import Runs
from trxlib.model.source import Progress

__all__ = ["Joined", "PinnedSource", "pin_source", "untouched_members"]

Array = npt.NDArray[Any]
_BLOCK = 1 << 18
_MANY = 1 << 16  # smaller arrays are copied: that is quicker than to check them


@dataclass
class PinnedSource:
    """An input that nobody can change any more.

    Parameters
    ----------
    source : BundleSource
        Arrays of its own: copies, or read-only mappings.
    members : dict of ArrayName to (Member, FileStamp)
        Where the same bytes lie on disk, as long as the file is the one that was stamped.
    origins : tuple of str
        Files and folders that it was loaded from.
    """

    source: BundleSource
    members: dict[ArrayName, tuple[Member, FileStamp]] = field(default_factory=dict)
    origins: tuple[str, ...] = ()

    def current(self) -> BundleSource:
        """Return the source with those members whose files are still there.

        Raises
        ------
        StaleError
            If a file was changed in place; one that was replaced or removed does no harm, since it is mapped.
        """
        found = {member.file: FileStamp.of(member.file) for member, _ in self.members.values()}
        members = {}
        for name, (member, stamp) in self.members.items():
            now = found[member.file]
            if now == stamp:
                if not is_open_for_change(now):  # else the mapping is read, and its CRC with it
                    members[name] = member
            elif now is not None and (now.device, now.inode) == (stamp.device, stamp.inode):
                raise StaleError(
                    f"{member.file}: was overwritten in place after it was concatenated; load it and concatenate "
                    "again, and replace files instead of overwriting them"
                )
        return BundleSource(self.source.arrays, members=members, runs=self.source.runs, path=self.source.path)


@dataclass
class Joined:
    """A concatenation that was planned and not carried out yet.

    Parameters
    ----------
    plan : Plan
        Of the result.
    sources : sequence of PinnedSource
        As planned with.
    lock : Lock
        Held by who carries it out, so that one of several threads does.
    """

    plan: Plan
    sources: Sequence[PinnedSource]
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def write(
        self,
        output: str | os.PathLike[str],
        header: Mapping[str, Any] | None = None,
        *,
        compression: int = zipfile.ZIP_STORED,
        level: int | None = None,
        workers: int = 1,
        verify: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Write the result; the counts of `header` are not looked at."""
        plan = self.plan
        if header is not None:
            counts = {"NB_STREAMLINES": plan.header.nb_streamlines, "NB_VERTICES": plan.header.nb_vertices}
            new = Header.from_dict({**header, **counts})
            if new != plan.header:
                plan = replace(plan, header=new, small={**plan.small, HEADER_NAME: new.to_json()})
        sources = [source.current() for source in self.sources]
        write_container(
            plan, sources, output, compression=compression, level=level, workers=workers, verify=verify,
            progress=progress,
        )  # fmt: skip

    @property
    def origins(self) -> tuple[str, ...]:
        """Files and folders that the inputs were loaded from, each once."""
        return tuple(dict.fromkeys(path for source in self.sources for path in source.origins))

    def materialise(self) -> Container:
        """Carry the concatenation out into a temporary archive, and open it."""
        folder = TemporaryFolder()
        try:
            self.write(folder.file)
            container = open_container(folder.file)
        except BaseException:
            folder.close()
            raise
        container.folder, container.origins = folder, self.origins
        return container


def untouched_members(arrays: TrxArrays, container: Container | None) -> dict[ArrayName, Member]:
    """Return where the bytes of a bundle's arrays lie on disk, for those that are still what the file holds.

    Parameters
    ----------
    arrays : TrxArrays
        May share arrays with `container`.
    container : Container, optional
        The file that it was loaded from.
    """
    if container is None:
        return {}
    pinner = _Pinner(container, None)
    stamps = {file: FileStamp.of(file) for file in container.files}
    found: dict[ArrayName, tuple[Member, Array]] = {}
    for key, (name, member) in pinner.places.items():
        array, shown, old = _array_of(arrays, *key), _array_of(container.arrays, *key), container.files.get(member.file)
        if array is None or shown is None or old is None or stamps[member.file] != old.stamp or member.crc is None:
            continue
        if is_open_for_change(old.stamp):
            continue
        if array.nbytes >= _MANY and array.shape == shown.shape and _same_start(array, shown):
            found[name] = (member, array)
    if found:  # asking the system takes a moment
        pinner.changed = changed_ranges()
    return {name: member for name, (member, array) in found.items() if pinner.is_untouched(array)}


def pin_source(
    arrays: TrxArrays, runs: Runs | None, container: Container | None, changed: list[tuple[int, int]] | None
) -> PinnedSource:
    """Keep a bundle as it is now.

    Parameters
    ----------
    arrays : TrxArrays
        Not modified. May share arrays with `container`.
    runs : tuple of two ndarray, optional
        Where its streamlines lie, if not as its offsets say.
    container : Container, optional
        The file that it was loaded from.
    changed : list of (int, int), optional
        See `changed_ranges`; without it the CRCs of arrays are compared with those of the file.
    """
    pinner = _Pinner(container, changed)
    pinned = replace(
        arrays,
        positions=pinner.pin(("positions", "positions"), arrays.positions),
        dps={key: pinner.pin(("dps", key), array) for key, array in arrays.dps.items()},
        dpv={key: pinner.pin(("dpv", key), array) for key, array in arrays.dpv.items()},
        groups={key: pinner.pin(("groups", key), array) for key, array in arrays.groups.items()},
        dpg={group: {key: np.array(value) for key, value in values.items()} for group, values in arrays.dpg.items()},
    )
    own_runs = None if runs is None else (np.array(runs[0]), np.array(runs[1]))
    source = BundleSource(pinned, runs=own_runs, path=container.path if container is not None else "")
    return PinnedSource(source, pinner.members, container.origins if container is not None else ())


class _Pinner:
    """Pins the arrays of one bundle."""

    def __init__(self, container: Container | None, changed: list[tuple[int, int]] | None) -> None:
        self.changed = changed
        self.members: dict[ArrayName, tuple[Member, FileStamp]] = {}
        self.container = container
        self.fresh: dict[str, MappedFile | None] = {}
        self.places: dict[tuple[str, str], tuple[ArrayName, Member]] = {}
        # Changes of "r+" go to the file, so that the file is no safe place.
        if container is not None and container.mode != "r+":
            self.places = {
                (name.section, name.name): (name, m) for name, m in container.members.items() if not name.group
            }

    def pin(self, key: tuple[str, str], array: Array) -> Array:
        """Return an array with the same values that nobody can change."""
        if array.nbytes >= _MANY and key in self.places:
            pinned = self._map(*self.places[key], array)
            if pinned is not None:
                return pinned
        (copy,) = scratch_arrays([(array.dtype, array.shape)])
        np.copyto(copy, array)
        return copy

    def _map(self, name: ArrayName, member: Member, array: Array) -> Array | None:
        """Return the array mapped anew from its file, or None if it is not, or not any more, the file's."""
        container = self.container
        assert container is not None
        old = container.files.get(member.file)
        shown = _array_of(container.arrays, name.section, name.name)
        if old is None or shown is None or array.dtype != shown.dtype or not _same_start(array, shown):
            return None
        if is_open_for_change(old.stamp):
            return None
        if member.file not in self.fresh:
            self.fresh[member.file] = MappedFile(member.file, "r") if FileStamp.of(member.file) == old.stamp else None
        file = self.fresh[member.file]
        if file is None or file.stamp != old.stamp:
            return None
        fresh = file.array(shown.dtype, shown.shape, member.start)[: len(array)]
        crc = member.crc
        if len(array) == len(shown) and crc is not None and self.is_untouched(array):
            # A wrong CRC that the file states stays visible, as in a merge from file to file.
            self.members[name] = (member, old.stamp)
            return fresh
        if crc is None or len(array) != len(shown):
            crc = _crc(fresh)
        if _crc(array) != crc:
            return None
        if len(array) == len(shown):
            self.members[name] = (replace(member, crc=crc), old.stamp)
        return fresh

    def is_untouched(self, array: Array) -> bool:
        """Tell whether no page of an array was written to since it was mapped, as far as the system tells."""
        low = array.__array_interface__["data"][0]
        return self.changed is not None and not any(
            first < low + array.nbytes and low < end for first, end in self.changed
        )


def _array_of(arrays: TrxArrays, section: str, name: str) -> Array | None:
    if section == "positions":
        return arrays.positions
    return getattr(arrays, section).get(name) if section != "offsets" else None


def _same_start(array: Array, shown: Array) -> bool:
    """Tell whether an array is the front of another, in the same memory."""
    same = array.__array_interface__["data"][0] == shown.__array_interface__["data"][0]
    return same and array.flags.c_contiguous and array.shape[1:] == shown.shape[1:] and len(array) <= len(shown)


def _crc(array: Array) -> int:
    view = array.reshape(-1).view(np.uint8).data
    crc = 0
    for start in range(0, len(view), _BLOCK):
        crc = isal_zlib.crc32(view[start : start + _BLOCK], crc)
    return crc
