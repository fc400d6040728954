"""A tractogram in motion, whatever its format: what its headers say, then its streamlines chunk by chunk.

A reader yields what is in the file. What happens to that on its way (values of other files, a transform, rules on
odd streamlines, another type) is put around it, and the counts that the outermost source states are those of the
result. Whoever writes a source asks its methods for what it can do, never what class it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from trxlib.model.chunk import Chunk, PositionsStep
from trxlib.model.space import Space, is_blank

__all__ = [
    "ArrayBlocks",
    "ArraySpec",
    "Columns",
    "Findings",
    "Progress",
    "Runs",
    "Source",
    "SourceHeaders",
    "SourceInfo",
    "StoredBytes",
]

Array = npt.NDArray[Any]
#: Called as ``progress(done, total)`` with bytes.
Progress = Callable[[int, int], None]
#: First row and number of rows of each run, two arrays of shape (n,).
Runs = tuple[Array, Array]


@dataclass(frozen=True)
class ArraySpec:
    """Columns and type of a dps or dpv array."""

    ncols: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class SourceInfo:
    """What the headers of an input say; no streamline has been read.

    Parameters
    ----------
    path : str
        The file.
    format : str
        Key of the format table, e.g. ``"trk"``.
    space : Space
        Of the result: after the transform.
    nb_streamlines, nb_vertices : int
        Of the result: after anything dropped.
    positions_dtype : numpy.dtype
        float16, float32 or float64.
    dps, dpv : mapping of str to ArraySpec
        Keys as they will be written.
    nbytes : int
        Bytes that are read, for progress: the size of the file, or of the positions of a TRX.
    facts : mapping
        What the header says and a TRX header has no field for; JSON values.
    own_space : Space, optional
        What the file's own header says; None if it says nothing.
    transforms : tuple of mapping
        What moved the positions, as `trxlib.spaces.transforms.Transform.records` tells it.
    left_out : tuple of str
        Labels of the arrays that are left out on request, e.g. ``dpv/fa``.
    chosen_from : tuple of str
        Labels of all that there was, if something could be left out on request.
    companions : mapping of str to str
        ``dps/<key>`` or ``dpv/<key>`` to the file beside the tractogram that it is from.
    """

    path: str
    format: str
    space: Space
    nb_streamlines: int
    nb_vertices: int
    positions_dtype: np.dtype[Any]
    dps: Mapping[str, ArraySpec] = field(default_factory=dict)
    dpv: Mapping[str, ArraySpec] = field(default_factory=dict)
    nbytes: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    own_space: Space | None = None
    transforms: tuple[Mapping[str, Any], ...] = ()
    left_out: tuple[str, ...] = ()
    chosen_from: tuple[str, ...] = ()
    companions: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_space(self) -> bool:
        """Whether its space counts: not that of a new file without streamlines, which nobody has given one."""
        return self.nb_streamlines > 0 or not is_blank(self.space)


@dataclass(frozen=True)
class SourceHeaders:
    """All that a plan needs to know of an input. Holds no file open and no large array.

    Parameters
    ----------
    info : SourceInfo
        Counts, keys, types.
    groups : mapping of str to int
        Members of each group inside the input.
    dpg : mapping of str to mapping of str to ndarray
        Group, key, array of shape (1, k); copies.
    extra : mapping
        Header keys outside of the format.
    sidecars : mapping of str to bytes
        JSON files beside the header.
    """

    info: SourceInfo
    groups: Mapping[str, int] = field(default_factory=dict)
    dpg: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    sidecars: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class Findings:
    """What was seen of the vertices of a source while they passed; complete when all have.

    Parameters
    ----------
    vertices : int
        How many were looked at.
    outside : int
        How many of them lie outside the grid of the result.
    """

    vertices: int = 0
    outside: int = 0

    @property
    def share_outside(self) -> float | None:
        """Share of the vertices outside the grid; None if none was looked at."""
        return self.outside / self.vertices if self.vertices else None


class StoredBytes(Protocol):
    """A range of a file that holds an array's bytes as they are to be written."""

    @property
    def path(self) -> str:
        """Name of the array, for messages."""

    @property
    def start(self) -> int:
        """First byte."""

    @property
    def nbytes(self) -> int:
        """How many."""

    @property
    def crc(self) -> int | None:
        """CRC-32 that the file states of them; None if it states none."""

    def open(self) -> IO[bytes]:
        """Open the file.

        Raises
        ------
        StaleError
            If it is not, or not any more, the one that the array was read from.
        """


@dataclass(frozen=True)
class ArrayBlocks:
    """An array whose rows can be had block by block, apart from the other arrays.

    Parameters
    ----------
    parts : iterator of (int, callable)
        The rows in order, as they lie in the file: how many a part has, and what returns it. The thread that writes a
        part calls this, once, so that parts are made side by side and are in the cache of the core that uses them.
    convert : callable
        Takes such a part and the number of its first row, and returns the rows as they are to be written, perhaps
        the same array. Safe in any thread and order.
    end : callable
        To be called when all parts have been converted.
    stated : StoredBytes, optional
        Where the parts are from, if it is one range of a file that states the CRC of all of them.
    """

    parts: Iterator[tuple[int, Callable[[], Array]]]
    convert: Callable[[Array, int], Array]
    end: Callable[[], None]
    stated: StoredBytes | None = None


class ColumnsReader(Protocol):
    """Reads values for one streamline after the other."""

    def take(self, lengths: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return dps and dpv of the next streamlines, of which the numbers of vertices are given."""

    def check_end(self) -> None:
        """Check that nothing is left over."""


class Columns(Protocol):
    """dps and dpv of a tractogram that lie in other files."""

    @property
    def dps(self) -> Mapping[str, ArraySpec]:
        """What they give each streamline."""

    @property
    def dpv(self) -> Mapping[str, ArraySpec]:
        """What they give each vertex."""

    def reader(self) -> ColumnsReader:
        """Begin with the first streamline."""

    def fingerprint(self, own: str) -> str:
        """Return a tractogram's fingerprint combined with those of the files."""


class Source(ABC):
    """An opened tractogram.

    What only some sources can do has the defaults of those that cannot: they are read from front to back, see
    `trxlib.formats.stream.Stream`, which readers of formats extend.

    Examples
    --------
    What the header says is there at once; streamlines come some at a time, so that memory stays flat:

    >>> from trxlib.formats.open import open_input
    >>> from trxlib.model.options import ReadOptions
    >>> with open_input("sub-01.tck", ReadOptions(reference="b0.nii.gz")) as source:
    ...     print(source.info.format, source.info.nb_streamlines, source.info.space.dimensions)
    ...     for chunk in source.chunks():
    ...         print(chunk.lengths.tolist(), chunk.positions.shape)
    tck 4 (80, 96, 64)
    [3, 2, 4, 1] (10, 3)
    """

    #: What the headers say.
    info: SourceInfo
    #: Whether the counts are those that a header states, not counted: reading may end in a CountError.
    trusts_count: bool = False
    #: What was seen of its vertices; None if nobody looks.
    findings: Findings | None = None

    @property
    def default_dtype(self) -> np.dtype[Any]:
        """Type that the positions are written in unless another is asked for."""
        return self.info.positions_dtype

    @abstractmethod
    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield all streamlines in order.

        Parameters
        ----------
        progress : callable, optional
            Called with bytes done and in all.

        Yields
        ------
        Chunk
            Positions in RASMM, mm, with the values that belong to them. Its arrays hold as long as the source is open.

        Raises
        ------
        FormatError
            If they are not what `info` said.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the content; free after `chunks` has ended.

        Returns
        -------
        str
        """

    def close(self) -> None:  # noqa: B027 (a stream holds no file open)
        """Release what was opened."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def record(self) -> dict[str, Any]:
        """Return what is to be written down of how it was read; complete when it has been read.

        Returns
        -------
        dict
            JSON values: ``own_space`` is what the file's header says, ``space`` that of the result, ``transforms`` what
            moved the positions, ``companions`` which files its values are from, ``share_outside`` the share of vertices
            outside the grid of the result, and ``left_out`` the arrays that are left out on request, if there are any.
        """
        share = self.findings.share_outside if self.findings is not None else None
        return {
            "own_space": None if self.info.own_space is None else self.info.own_space.to_json(),
            "space": self.info.space.to_json(),
            "transforms": [dict(item) for item in self.info.transforms],
            "companions": dict(self.info.companions),
            "share_outside": None if share is None else round(share, 6),
            **({"left_out": list(self.info.left_out)} if self.info.left_out else {}),
        }

    def headers(self) -> SourceHeaders:
        """Return what a plan needs to know; it holds nothing open.

        What a header says and a TRX header has no field for becomes a header key of the format's name (``TRK``).

        Returns
        -------
        SourceHeaders
        """
        facts = dict(self.info.facts)
        return SourceHeaders(self.info, extra={self.info.format.upper(): facts} if facts else {})

    def facts_of(self, format_name: str) -> Any:
        """Return what a header of this format said: the file's own, or one it was made of (and may be unsound then).

        Parameters
        ----------
        format_name : str
            Key of the format table, e.g. ``"trk"``.

        Returns
        -------
        mapping
            JSON values; empty if there are none. What a TRX file has kept of another header may be anything.
        """
        return self.info.facts if self.info.format == format_name else {}

    @property
    def groups(self) -> Mapping[str, Array]:
        """Members of each group: streamlines of this source, integers of shape (members,)."""
        return {}

    def labels(self) -> list[str]:
        """Return the label of every array but positions and offsets.

        Returns
        -------
        list of str
            Such as ``dps/weight``, as `trxlib.model.names.ArrayName.label` has them.
        """
        headers = self.headers()
        found = [f"{section}/{key}" for section in ("dpv", "dps") for key in getattr(self.info, section)]
        found += [f"groups/{name}" for name in headers.groups]
        return found + [f"dpg/{group}/{key}" for group, values in headers.dpg.items() for key in values]

    @abstractmethod
    def without(self, labels: Sequence[str]) -> Source:
        """Return a source that lacks some arrays.

        Parameters
        ----------
        labels : sequence of str
            Of arrays that this source has, see `labels`.

        Returns
        -------
        Source
            Made of this one: both read one file, which either closes. Its fingerprint is that of the whole file.
        """

    @abstractmethod
    def with_columns(self, columns: Columns) -> Source:
        """Return a source with further dps and dpv.

        Parameters
        ----------
        columns : Columns
            With a row for each streamline or vertex of this source.

        Returns
        -------
        Source
            Made of this one: both read one file, which either closes.
        """

    @abstractmethod
    def through(
        self, step: PositionsStep | None, *, dtype: np.dtype[Any] | None = None, space: Space | None = None
    ) -> Source:
        """Return a source whose positions pass through a further step on their way.

        Parameters
        ----------
        step : PositionsStep, optional
            By default only what follows is changed.
        dtype : numpy.dtype, optional
            Of positions behind it, if another.
        space : Space, optional
            Of the result, if another.

        Returns
        -------
        Source
            Made of this one: both read one file, which either closes.
        """

    @abstractmethod
    def select(self, rows: Array, *, nb_vertices: int | None = None, keep_groups: bool = True) -> Source:
        """Return a source of some streamlines.

        Parameters
        ----------
        rows : ndarray, int of shape (n,) or bool of shape (nb_streamlines,)
            Which ones. A stream can only leave some out, so that its numbers have to increase.
        nb_vertices : int, optional
            How many they have; a stream counts them if it is not told.
        keep_groups : bool
            Whether the groups come along, renumbered.

        Returns
        -------
        Source
            Made of this one: both read one file, which either closes.

        Raises
        ------
        UnsupportedFormatError
            If a stream is to give its streamlines in another order.
        """

    def file_rows(self, rows: Any) -> Any:
        """Return by which numbers the file knows some streamlines of this source, for messages; by default the same.

        Parameters
        ----------
        rows : int or ndarray of int
            Of this source.

        Returns
        -------
        int or ndarray of int
        """
        return rows

    def check_entries(self) -> None:  # noqa: B027 (a stream states no CRCs)
        """Compare what is read only in part, or changed on its way, with the CRCs that the file states.

        Raises
        ------
        ArchiveError
            If it is damaged. Large arrays are looked at where they are read.
        """

    def stored(self, section: str, key: str) -> StoredBytes | None:
        """Return where an array's bytes lie just as they are to be written.

        Parameters
        ----------
        section, key : str
            Which array: ``"positions"`` twice, or ``"dps"`` or ``"dpv"`` and the key.

        Returns
        -------
        StoredBytes or None
            None if they lie nowhere.
        """
        return None

    def blocks(self, section: str, key: str) -> ArrayBlocks | None:
        """Return an array's rows block by block.

        Parameters
        ----------
        section, key : str
            Which array, as for `stored`.

        Returns
        -------
        ArrayBlocks or None
            None if they only come with all others, from `chunks`.
        """
        return None

    def starts(self) -> Iterator[Array] | None:
        """Return the first vertex of each streamline, some streamlines at a time.

        Returns
        -------
        iterator of ndarray, or None
            int64 of shape (n,). None if only `chunks` tells how long streamlines are.
        """
        return None
