"""TinyTrack files of DSI Studio (`.tt`, `.tt.gz`) as a source: counted in one pass, yielded in the next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, FormatError, HeaderWarning, InputError, StaleError, warn
from trxlib.formats.input_file import InputFile, counted_chunks
from trxlib.formats.stream import Stream
from trxlib.formats.tinytrack.header import TinyTrackHeader
from trxlib.formats.tinytrack.mat4 import Matrices, Matrix
from trxlib.formats.tinytrack.records import STEPS_PER_VOXEL, Records, decode_records, find_records
from trxlib.model.chunk import Chunk
from trxlib.model.source import Progress, SourceHeaders, SourceInfo
from trxlib.model.space import Space
from trxlib.spaces.grid import Grid
from trxlib.spaces.placing import place_result
from trxlib.spaces.positions import PositionsMap, working_dtype

__all__ = ["TinyTrackFile", "TinyTrackSource"]

Array = npt.NDArray[Any]
#: Matrices beside `track`, and how many numbers each may have: nobody writes more.
_MOST = {
    **{"dimension": 3, "voxel_size": 3, "trans_to_mni": 16},
    **{"report": 1 << 20, "parameter_id": 1 << 20, "color": 1 << 16, "cluster": 1 << 27},
}
_SLICE = 3 * 160_000  # bytes of records at a time; what is made of them stays in the cache of one core


class TinyTrackFile:
    """A TinyTrack file that has been read once: its small matrices, its counts, its clusters.

    Parameters
    ----------
    path : str or Path
        Plain or gzip.

    Raises
    ------
    FormatError
        If it is cut or damaged, or no TinyTrack file.
    """

    def __init__(self, path: str | Path) -> None:
        self.file = InputFile(path)
        self.nb_streamlines = self.nb_vertices = 0
        self._values: dict[str, Array] = {}
        self._others: list[str] = []
        for found, _ in self.records(keep=True):
            self.nb_streamlines += len(found.lengths)
            self.nb_vertices += int(found.lengths.sum())
        self.header = TinyTrackHeader(self._values, self.file.path)
        self._cluster = self._check_cluster(self._values.pop("cluster", None))
        self.facts = self.header.facts(with_color=self._cluster is None)

    def records(self, *, keep: bool = False) -> Iterator[tuple[Records, int]]:
        """Yield the records of each slice, and the bytes of the file read so far.

        Parameters
        ----------
        keep : bool
            Keep the other matrices.
        """
        number = blocks = 0
        with Matrices(self.file) as matrices:
            for matrix in matrices:
                if matrix.name == (f"track{blocks}" if blocks else "track"):
                    blocks += 1
                    for found in self._records_of(matrices, matrix, number):
                        number += len(found.lengths)
                        yield found, matrices.file_done
                elif matrix.name.rstrip("0123456789") == "track":
                    raise FormatError(
                        f"{self.file.path}: {matrix.name} follows after {blocks} blocks of tracks; the file is damaged"
                    )
                elif keep:
                    self._keep(matrices, matrix)
        if not blocks:
            self._check_empty()

    def groups(self) -> dict[str, Array]:
        """Return the streamlines of each cluster, uint32, by the name ``cluster_<number>``."""
        if self._cluster is None:
            return {}
        order = np.argsort(self._cluster, kind="stable")
        numbers, starts = np.unique(self._cluster[order], return_index=True)
        parts = np.split(order.astype(np.uint32), starts[1:]) if len(numbers) else []
        return {f"cluster_{number}": part for number, part in zip(numbers.tolist(), parts, strict=True)}

    def dpg(self) -> dict[str, dict[str, Array]]:
        """Return the colour of each cluster, uint8 of shape (1, 3): red, green and blue."""
        colors = self.header.colors
        if self._cluster is None or not len(colors):
            return {}
        # As DSI Studio shows them: a cluster without a colour of its own has the first one.
        numbers = np.unique(self._cluster).tolist()
        return {f"cluster_{n}": {"color": colors[[n if n < len(colors) else 0]]} for n in numbers}

    def _records_of(self, matrices: Matrices, matrix: Matrix, number: int) -> Iterator[Records]:
        if matrix.dtype != np.uint8:
            raise DtypeError(f"{self.file.path}: {matrix.name} is {matrix.dtype.name}, expected bytes (uint8)")
        left, needed = matrix.nbytes, 0
        carry = np.empty(0, dtype=np.uint8)
        while left:
            part = matrices.take(matrix, min(left, max(_SLICE, needed - len(carry))))
            left -= len(part)
            found = find_records(np.concatenate((carry, part)) if len(carry) else part, self.file.path, number)
            number += len(found.lengths)
            rest = len(carry) - len(found.data)
            carry = np.concatenate((carry, part))[len(found.data) :] if rest > 0 else part[-rest:]
            needed = found.needed
            yield found
        if len(carry):
            raise FormatError(
                f"{self.file.path}: record {number} needs {needed or 4} bytes, and {matrix.name} ends after "
                f"{len(carry)} of them; the file is cut or damaged"
            )

    def _keep(self, matrices: Matrices, matrix: Matrix) -> None:
        if matrix.name not in _MOST:
            self._others.append(matrix.name)
        elif matrix.name in self._values:
            raise FormatError(f"{self.file.path}: there are two matrices {matrix.name!r}; the file is damaged")
        else:
            self._values[matrix.name] = matrices.read(matrix, _MOST[matrix.name])

    def _check_empty(self) -> None:
        """Take a file without `track` for one without streamlines only where it cannot be another or a cut one."""
        path = self.file.path
        if self._others:
            raise FormatError(
                f"{path}: there is no matrix 'track', and there are {', '.join(map(ascii, self._others[:4]))}; it is a "
                "MATLAB 4 file, but no TinyTrack file (DSI Studio's .fib, .fz and .src hold no streamlines)"
            )
        if not self.file.is_gzip:
            raise FormatError(f"{path}: there is no matrix 'track'; the file is cut, or no TinyTrack file")
        warn(
            f"{path}: there is no matrix 'track', and the file is whole; it is read as one without streamlines",
            HeaderWarning,
        )

    def _check_cluster(self, cluster: Array | None) -> Array | None:
        """Return the cluster of each streamline; None if there are none."""
        path = self.file.path
        if cluster is None or not cluster.size:
            return None
        if cluster.dtype.kind not in "iu" or int(cluster.min()) < 0:
            raise DtypeError(f"{path}: cluster holds other values than whole numbers from 0")
        if len(cluster) != self.nb_streamlines:
            warn(
                f"{path}: cluster has {len(cluster)} entries for {self.nb_streamlines} streamlines; clusters are left "
                "out, as DSI Studio does",
                HeaderWarning,
            )
            return None
        return cluster


class TinyTrackSource(Stream):
    """A TinyTrack file of DSI Studio.

    Parameters
    ----------
    path : str or Path
        The file, plain or gzip.
    reference : Space, optional
        Space of the result; without a transform it says where the grid is if the file does not.
    transform : ndarray, float64 of shape (4, 4), optional
        RASMM to RASMM, applied in the same pass.
    native : Space, optional
        With a transform, the image that was tracked in, for a file that does not say where its grid is.
    positions_dtype : dtype, optional
        float16, float32 (default) or float64: what the positions will become. They are yielded as float32, or as
        float64 if that is wanted.

    Raises
    ------
    FormatError
        If the file is cut or damaged.
    HeaderError, SpaceMismatchError
        If nothing tells where its grid is; see `TinyTrackHeader.place`.

    Examples
    --------
    A record counts its coordinates; then come the first vertex and a step for each further coordinate, in 1/32 voxel:

    >>> import struct
    >>> def matrix(code, name, data, count):
    ...     return struct.pack("<5I", code, 1, count, 0, len(name) + 1) + name.encode() + bytes(1) + data
    >>> place = [-2.0, 0, 0, 90, 0, -2.0, 0, 90, 0, 0, 2.0, -72, 0, 0, 0, 1]
    >>> record = struct.pack("<I3i3b", 6, 320, 640, 960, 32, 16, 0)
    >>> _ = Path("a.tt").write_bytes(
    ...     matrix(20, "dimension", struct.pack("<3I", 91, 109, 91), 3)
    ...     + matrix(10, "voxel_size", struct.pack("<3f", 2, 2, 2), 3)
    ...     + matrix(10, "trans_to_mni", struct.pack("<16f", *place), 16)
    ...     + matrix(50, "track", record, len(record))
    ... )
    >>> with TinyTrackSource("a.tt") as source:
    ...     print(source.info.nb_streamlines, [chunk.positions.tolist() for chunk in source.chunks()])
    1 [[[70.0, 50.0, -12.0], [68.0, 49.0, -12.0]]]
    """

    def __init__(
        self,
        path: str | Path,
        *,
        reference: Space | None = None,
        transform: npt.NDArray[np.float64] | None = None,
        native: Space | None = None,
        positions_dtype: npt.DTypeLike | None = None,
    ) -> None:
        self._content = content = TinyTrackFile(path)
        header, name = content.header, content.file.path
        if transform is not None and native is None and not header.has_place:
            raise InputError(
                f"{name}: nothing says where in the world its voxels are, and with a transform the reference is "
                "that of the result; name the image that was tracked in (transform_source)"
            )
        own, matrix = header.place(native or (reference if transform is None else None))
        space, moved = place_result(name, own, reference, transform)
        steps = np.diag([*[1 / STEPS_PER_VOXEL] * 3, 1.0])
        self._map = PositionsMap(moved @ matrix @ steps, working_dtype(positions_dtype, np.float32), name)
        self._grid = Grid(space, name)
        self._groups = content.groups()
        self.info = SourceInfo(
            path=name,
            format="tt",
            space=space,
            nb_streamlines=content.nb_streamlines,
            nb_vertices=content.nb_vertices,
            positions_dtype=self._map.dtype,
            nbytes=content.file.nbytes,
            facts=content.facts,
            own_space=header.space if header.has_place else None,
        )

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield all streamlines in order.

        Raises
        ------
        StaleError
            If there are more or fewer than when the file was opened.
        """
        found = yield from counted_chunks(self._parts(), self._content.file, self.info, progress)
        if found != (self.info.nb_streamlines, self.info.nb_vertices):
            raise StaleError(f"{self.info.path} has changed since it was opened; start again")

    def headers(self) -> SourceHeaders:
        """Return what a plan needs to know, with the sizes of the clusters and their colours."""
        groups = {name: len(members) for name, members in self._groups.items()}
        return SourceHeaders(self.info, groups=groups, dpg=self._content.dpg(), extra={"TT": dict(self.info.facts)})

    @property
    def groups(self) -> Mapping[str, Array]:
        """Streamlines of each cluster."""
        return self._groups

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the file; free, since it has been read."""
        return self._content.file.fingerprint()

    def _parts(self) -> Generator[tuple[Array, Callable[[], Chunk], int], None, None]:
        first = 0
        for found, done in self._content.records():
            yield found.lengths, partial(self._make_chunk, found, first), done
            first += len(found.lengths)

    def _make_chunk(self, found: Records, first: int) -> Chunk:
        if not len(found.lengths):
            return Chunk(found.lengths, np.empty((0, 3), dtype=self._map.dtype))
        steps = decode_records(found, self.info.path, first)
        positions = self._map.apply(steps.astype(self._map.dtype))
        return Chunk(found.lengths, positions, is_inside=self._grid.contains(positions))
