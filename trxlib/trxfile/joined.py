"""Concatenation that costs nothing until it is looked at or saved.

The result keeps its inputs as they were: an array that is mapped from a file, and that still holds what the file
holds, is kept as a range of the file (mapped anew, read-only); anything else is copied. Saving then copies each byte
once, from file to file.

An array that nobody was handed (`Container.exposed`) holds what its file holds. One that was handed out is compared
with the file, byte by byte: where it is the same, the result keeps the CRC that the file states of it, so that damage
stays visible; where it differs, somebody has changed it, and it gets a CRC of its own.
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

from trxlib.container.atomic import TemporaryFolder
from trxlib.container.crc import crc_of_bytes
from trxlib.container.entries import Member
from trxlib.container.mapping import FileStamp, MappedFile, files_open_for_change, is_open_for_change
from trxlib.container.reader import Container, open_container
from trxlib.container.temporary import scratch_arrays
from trxlib.container.unpack import crc_error
from trxlib.engine.compression import Compressions
from trxlib.engine.plan import Plan
from trxlib.engine.trx_source import TrxSource
from trxlib.engine.write import write_container
from trxlib.errors import StaleError
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header, header_with_counts
from trxlib.model.names import HEADER_NAME, ArrayName
from trxlib.model.select import Selection
from trxlib.model.source import Progress

__all__ = ["Joined", "kept_members", "pin_source"]

Array = npt.NDArray[Any]
_BLOCK = 1 << 18
#: Arrays of fewer bytes are copied: that is quicker than to map them.
_WORTH_MAPPING = 1 << 16
#: Sections whose arrays can be copied from file to file.
_COPIED = ("positions", "dps", "dpv")


@dataclass
class PinnedSource:
    """An input that nobody can change any more.

    Parameters
    ----------
    source : TrxSource
        Arrays of its own: copies, or read-only mappings. Its members are the entries whose stated CRCs the result
        keeps.
    stamps : dict of str to FileStamp
        The files that are mapped or copied from.
    origins : tuple of str
        Files and folders that it was loaded from.
    """

    source: TrxSource
    stamps: dict[str, FileStamp] = field(default_factory=dict)
    origins: tuple[str, ...] = ()

    def current(self) -> TrxSource:
        """Return the source with those members whose files are still there.

        Raises
        ------
        StaleError
            If a file was changed in place; one that was replaced or removed does no harm, since it is mapped.
        ArchiveError
            If a file was replaced, and what it held had not the CRC that it stated.
        """
        source, members = self.source, dict(self.source.members)
        arrays = source.arrays.by_label()
        for file, stamp in self.stamps.items():
            now = FileStamp.of(file)
            if now is not None and now != stamp and (now.device, now.inode) == (stamp.device, stamp.inode):
                raise StaleError(
                    f"{file}: was overwritten in place after it was concatenated; load it and concatenate again, and "
                    "replace files instead of overwriting them"
                )
            if now != stamp or is_open_for_change(now):  # then the mapping is read, and its CRC with it
                for name in [name for name, member in members.items() if member.file == file]:
                    member = members.pop(name)
                    if now != stamp and name.label in arrays:
                        _check_stated(source.path, member, arrays[name.label])
        if len(members) == len(source.members):
            return source
        return TrxSource(source.arrays, members=members, runs=source.runs, path=source.path)


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
        header: Header | Mapping[str, Any] | None = None,
        *,
        compression: Compressions = zipfile.ZIP_STORED,
        level: int | None = None,
        offsets_dtype: np.dtype[Any] | None = None,
        workers: int = 1,
        verify: bool = False,
        progress: Progress | None = None,
        durable: bool = True,
    ) -> None:
        """Write the result; the counts of `header` are not looked at."""
        plan = self.plan if offsets_dtype is None else replace(self.plan, offsets_dtype=offsets_dtype)
        if header is not None:
            new = header_with_counts(header, plan.header.nb_streamlines, plan.header.nb_vertices)
            if new is not plan.header and new != plan.header:
                plan = replace(plan, header=new, small={**plan.small, HEADER_NAME: new.to_json()})
        sources = [source.current() for source in self.sources]
        write_container(
            plan, sources, output, compression=compression, level=level, workers=workers, verify=verify,
            progress=progress, durable=durable,
        )  # fmt: skip

    @property
    def origins(self) -> tuple[str, ...]:
        """Files and folders that the inputs were loaded from, each once."""
        return tuple(dict.fromkeys(path for source in self.sources for path in source.origins))

    def materialise(self) -> Container:
        """Carry the concatenation out into a temporary archive, and open it."""
        folder = TemporaryFolder()
        try:
            self.write(folder.file, durable=False)
            container = open_container(folder.file)
        except BaseException:
            folder.close()
            raise
        container.folder, container.origins = folder, self.origins
        return container


def kept_members(arrays: TrxArrays, container: Container | None) -> dict[ArrayName, Member]:
    """Return the entries whose stated CRCs the arrays keep when they are saved.

    Parameters
    ----------
    arrays : TrxArrays
        May share arrays with `container`. Its streamlines lie as its offsets say.
    container : Container, optional
        The file that it was loaded from.

    Returns
    -------
    dict of ArrayName to Member
        Large arrays that are what the file holds, to be copied from there; and arrays that are what the file holds,
        but not what it states.

    Raises
    ------
    ArchiveError
        If the file was replaced, and an array that nobody was handed has not the CRC that was stated.
    """
    originals, by_label = _Originals(container), arrays.by_label()
    found = [originals.kept(label, by_label[label]) for label in originals.places if label in by_label]
    return dict(place for place in found if place is not None)


def pin_source(selection: Selection, container: Container | None) -> PinnedSource:
    """Keep streamlines as they are now.

    Parameters
    ----------
    selection : Selection
        Not modified. May share arrays with `container`.
    container : Container, optional
        The file that they were loaded from.

    Raises
    ------
    ArchiveError
        As `kept_members`.
    """
    arrays, runs = selection
    originals = _Originals(container)
    pinned, copied = {}, {}
    members, stamps = {}, {}
    for label, array in arrays.by_label().items():
        kept = originals.kept(label, array)
        if kept is not None:
            members[kept[0]] = kept[1]
            stamps[kept[1].file] = originals.stamps[kept[1].file]
        mapped = originals.map_again(label, array)
        if mapped is None:
            copied[label] = array
        else:
            file, pinned[label] = mapped
            stamps[file] = originals.stamps[file]
    copies = scratch_arrays([(array.dtype, array.shape) for array in copied.values()])
    for (label, array), copy in zip(copied.items(), copies, strict=True):
        np.copyto(copy, array)
        pinned[label] = copy
    own_runs = None if runs is None else (np.array(runs[0]), np.array(runs[1]))
    path, origins = (container.path, container.origins) if container is not None else ("", ())
    source = TrxSource(arrays.with_arrays(pinned), members=members, runs=own_runs, path=path)
    return PinnedSource(source, stamps, origins)


class _Originals:
    """What the file of a container holds of the arrays that were loaded from it.

    Attributes
    ----------
    places : dict of str to (ArrayName, Member)
        By label, the entries that are mapped from a file that nobody writes to.
    stamps : dict of str to FileStamp
        Of the container's files, as they were when it was opened.
    """

    def __init__(self, container: Container | None) -> None:
        self.places: dict[str, tuple[ArrayName, Member]] = {}
        self.stamps: dict[str, FileStamp] = {}
        # Changes of "r+" go to the file, so that the file is no safe place.
        if container is None or container.mode == "r+":
            return
        self.container = container
        changing = files_open_for_change()
        for file, mapped in container.files.items():
            if (mapped.stamp.device, mapped.stamp.inode) not in changing:
                self.stamps[file] = mapped.stamp
        self._is_there = {file: FileStamp.of(file) == stamp for file, stamp in self.stamps.items()}
        self._shown = container.arrays.by_label()
        for name, member in container.members.items():
            if member.file in self.stamps:
                self.places[name.label] = (name, member)
        self._fresh: dict[str, MappedFile | None] = {}
        self._same: dict[str, bool] = {}

    def kept(self, label: str, array: Array) -> tuple[ArrayName, Member] | None:
        """Return the entry whose stated CRC an array keeps; None where its own CRC says the same, or it was changed."""
        place = self._find(label, array)
        if place is None or place[1].crc is None or array.shape != self._shown[label].shape:
            return None
        name, member = place
        is_there = self._is_there[member.file]
        if is_there and name.section in _COPIED and array.nbytes >= _WORTH_MAPPING:
            return place if self._is_same(name, member) else None
        # It is read anyway, or small: to compare its CRC costs less than another road.
        is_comparable = array.dtype == name.dtype and array.nbytes == member.nbytes
        if is_comparable and crc_of_bytes(array) == member.crc:
            return None
        if is_there:
            return place if self._is_same(name, member) else None
        if is_comparable and name.section not in self.container.exposed:
            _check_stated(self.container.path, member, array)
        return None

    def map_again(self, label: str, array: Array) -> tuple[str, Array] | None:
        """Return the file that holds the values of an array, and an array mapped from it that nobody can change.

        None if there is no such file, or the array is so small that it is better copied.
        """
        place = self._find(label, array) if array.nbytes >= _WORTH_MAPPING else None
        if place is None or array.dtype != place[0].dtype or array.nbytes > place[1].nbytes:
            return None
        file = self._mapped(place[1].file)
        if file is None or not self._is_same(*place):
            return None
        return place[1].file, file.array(array.dtype, array.shape, place[1].start)

    def _find(self, label: str, array: Array) -> tuple[ArrayName, Member] | None:
        """Return the entry that an array was loaded from, or the front of an array."""
        place = self.places.get(label)
        if place is None:
            return None
        shown = self._shown[label]
        if label == "offsets":  # made anew of the lengths of the streamlines, once somebody has looked at them
            return place if np.array_equal(array, shown) else None
        return place if array.dtype == shown.dtype and _same_start(array, shown) else None

    def _is_same(self, name: ArrayName, member: Member) -> bool:
        """Tell whether the container's array still holds what the file holds."""
        if name.section not in self.container.exposed:
            return True
        if name.label not in self._same:
            file = self._mapped(member.file)
            count = member.nbytes // name.dtype.itemsize
            shown = self._shown[name.label].reshape(-1)[:count]
            self._same[name.label] = file is not None and _same_bytes(
                shown, file.array(name.dtype, (count,), member.start).astype(shown.dtype, copy=False)
            )
        return self._same[name.label]

    def _mapped(self, path: str) -> MappedFile | None:
        """Return a file mapped anew, read-only; None if it is not, or not any more, the one that was loaded."""
        if path not in self._fresh:
            file = MappedFile(path, "r") if self._is_there[path] else None
            self._fresh[path] = file if file is not None and file.stamp == self.stamps[path] else None
        return self._fresh[path]


def _same_start(array: Array, shown: Array) -> bool:
    """Tell whether an array is the front of another, in the same memory."""
    same = array.__array_interface__["data"][0] == shown.__array_interface__["data"][0]
    return same and array.flags.c_contiguous and array.shape[1:] == shown.shape[1:] and len(array) <= len(shown)


def _same_bytes(one: Array, other: Array) -> bool:
    """Tell whether two arrays of one dimension and one type hold the same bytes: NaN is NaN, and 0 is not -0."""
    one, other = one.view(np.uint8), other.view(np.uint8)
    return len(one) == len(other) and all(
        np.array_equal(one[start : start + _BLOCK], other[start : start + _BLOCK])
        for start in range(0, len(one), _BLOCK)
    )


def _check_stated(path: str, member: Member, array: Array) -> None:
    found = crc_of_bytes(array)
    if found != member.crc:
        raise crc_error(path, member, found)
