"""DPY files of dipy, which are HDF5 (needs h5py) and are read whole."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, FormatError, InputError, OffsetsError, ShapeError
from trxlib.formats.input_file import SLICE_BYTES, InputFile
from trxlib.formats.stream import Stream
from trxlib.model.chunk import Chunk
from trxlib.model.offsets import check_offsets
from trxlib.model.source import Progress, SourceInfo
from trxlib.model.space import Space
from trxlib.spaces.placing import place_result
from trxlib.spaces.positions import PositionsMap, working_dtype

__all__ = ["DpySource"]

Array = npt.NDArray[Any]


class _MemorySource(Stream):
    """A file whose streamlines have all been loaded, in RASMM.

    Parameters
    ----------
    path : str or Path
        The file.
    reference : Space
        Space of the result; none of these formats has one of its own.
    transform : ndarray, float64 of shape (4, 4), optional
        RASMM to RASMM.
    positions_dtype : dtype, optional
        What the positions will become, by default float32. They are yielded in the wider one of that and the file's.

    Raises
    ------
    InputError
        Without a reference.
    ImportError
        Without the package that reads the format.
    """

    format = ""

    def __init__(
        self,
        path: str | Path,
        *,
        reference: Space | None = None,
        transform: npt.NDArray[np.float64] | None = None,
        positions_dtype: npt.DTypeLike | None = None,
    ) -> None:
        self._file = InputFile(path)
        if reference is None:
            raise InputError(
                f"{self._file.path}: a {self.format.upper()} file has no affine and no dimensions; give a reference "
                "(an image, or a TRK or TRX file in the same space)"
            )
        if self._file.is_gzip:
            raise InputError(f"{self._file.path}: a compressed {self.format.upper()} file is not read; unpack it first")
        self._streamlines = self._load(self._file.path)
        self._lengths = np.array([len(streamline) for streamline in self._streamlines], dtype=np.int64)
        space, matrix = place_result(self._file.path, reference, reference, transform)
        # Moved in float64 whatever the file holds.
        given = _float_type_of(self._streamlines) if np.array_equal(matrix, np.eye(4)) else np.dtype(np.float64)
        self._map = PositionsMap(matrix, working_dtype(positions_dtype, given), self._file.path)
        self.info = SourceInfo(
            path=self._file.path,
            format=self.format,
            space=space,
            nb_streamlines=len(self._lengths),
            nb_vertices=int(self._lengths.sum()),
            positions_dtype=self._map.dtype,
            nbytes=self._file.nbytes,
        )

    @property
    def default_dtype(self) -> np.dtype[Any]:
        """float32, whatever the file holds."""
        return np.dtype("<f4")

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield all streamlines in order."""
        total = max(1, self.info.nb_vertices)
        step = max(1, SLICE_BYTES // 12 * len(self._lengths) // total)
        vertices = 0
        for start in range(0, len(self._lengths), step):
            lengths = self._lengths[start : start + step]
            parts = [np.asarray(part).reshape(-1, 3) for part in self._streamlines[start : start + step]]
            rows = np.concatenate(parts)
            yield Chunk(lengths, self._map.apply(rows.astype(self._map.dtype)))
            vertices += len(rows)
            if progress is not None:
                progress(self.info.nbytes * vertices // total, self.info.nbytes)

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the file."""
        return self._file.fingerprint()

    @abstractmethod
    def _load(self, path: str) -> Sequence[Any]:
        """Return all streamlines."""


class DpySource(_MemorySource):
    """A DPY file of dipy, in RASMM."""

    format = "dpy"

    def _load(self, path: str) -> Sequence[Any]:
        # Opened here and not by dipy's class, which would create what is missing and keep the file open.
        try:
            import h5py
        except ImportError:
            raise ImportError(f"{path}: DPY files are read by h5py; install it: pip install h5py") from None
        try:
            with h5py.File(path, "r") as file:
                rows, ends = (np.asarray(file["streamlines"][name][()]) for name in ("tracks", "offsets"))
        # What h5py raises depends on what stands where the arrays should: on a dataset, a group, a damaged block.
        except (OSError, LookupError, ValueError, TypeError, RuntimeError, MemoryError) as error:
            raise FormatError(f"{path} is no DPY file: {error}") from None
        return _split_tracks(rows, ends, path)


def _float_type_of(streamlines: Sequence[Any]) -> np.dtype[Any]:
    """Return the type that holds the coordinates of all streamlines."""
    dtypes = {np.asarray(streamline).dtype for streamline in streamlines}
    return min(np.result_type(np.float32, *dtypes), np.dtype(np.float64), key=lambda dtype: dtype.itemsize)


def _split_tracks(rows: Array, ends: Array, path: str) -> list[Array]:
    """Check the arrays of a DPY file and return its streamlines."""
    if rows.ndim != 2 or rows.shape[1] != 3:
        raise ShapeError(f"{path}: tracks has shape {rows.shape}, expected (vertices, 3)")
    if rows.dtype.kind not in "fiu":
        raise DtypeError(f"{path}: tracks is {rows.dtype}, expected real numbers")
    if ends.ndim != 1:
        raise ShapeError(f"{path}: offsets has shape {ends.shape}, expected (streamlines + 1,)")
    if ends.dtype.kind not in "fiu" or (ends.dtype.kind == "f" and (ends != np.floor(ends)).any()):
        raise DtypeError(f"{path}: offsets is {ends.dtype} with other values than whole numbers")
    with np.errstate(invalid="ignore"):  # infinity; what becomes of it is no offset
        offsets = ends.astype(np.int64)
    check_offsets(offsets, len(rows), f"{path}: offsets")
    last = int(offsets[-1]) if len(offsets) else 0
    if last != len(rows):
        raise OffsetsError(f"{path}: offsets ends at {last}, but tracks has {len(rows)} vertices")
    return np.split(rows, offsets[1:-1]) if len(offsets) > 1 else []
