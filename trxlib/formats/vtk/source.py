"""VTK files as a source: legacy (.vtk, .fib) and XML (.vtp), their lines with the values of points and lines."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError, HeaderError, HeaderWarning, InputError, warn
from trxlib.files import open_regular
from trxlib.formats.input_file import SLICE_BYTES, InputFile
from trxlib.formats.stream import Stream
from trxlib.formats.vtk.legacy import LEGACY_MAGIC, read_legacy
from trxlib.formats.vtk.polydata import PolyData
from trxlib.formats.vtk.tractogram import lines_of
from trxlib.formats.vtk.xml import XML_MAGIC, read_xml
from trxlib.model.chunk import Chunk, DeferredChunks
from trxlib.model.source import ArraySpec, Progress, SourceInfo
from trxlib.model.space import Space
from trxlib.spaces.placing import place_result
from trxlib.spaces.positions import PositionsMap, working_dtype

__all__ = ["VtkSource"]

Array = npt.NDArray[Any]
_TO_RAS = {"RAS": np.eye(4), "LPS": np.diag([-1.0, -1.0, 1.0, 1.0])}


class VtkSource(Stream):
    """The lines of a VTK file.

    The file is mapped: arrays of binary files are read where they are used, all others when the file is opened.

    Parameters
    ----------
    path : str or Path
        The file.
    reference : Space
        Space of the result; the format has none of its own.
    transform : ndarray, float64 of shape (4, 4), optional
        RASMM to RASMM, applied in the same pass.
    positions_dtype : dtype, optional
        What the positions will become, by default the type of the file, float32 or float64.
    vtk_space : {"RAS", "LPS"}, optional
        Where the axes of the file lead; by default what it says of itself.

    Raises
    ------
    InputError
        Without a reference.
    FormatError
        If the file is cut or damaged; section and numbers are named.

    Warns
    -----
    HeaderWarning
        If the file does not say where its axes lead.
    DataLossWarning
        Names what a tractogram cannot hold.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        reference: Space | None = None,
        transform: npt.NDArray[np.float64] | None = None,
        positions_dtype: npt.DTypeLike | None = None,
        vtk_space: str | None = None,
    ) -> None:
        self._file = InputFile(path)
        if reference is None:
            raise InputError(
                f"{self._file.path}: a VTK file has no affine and no dimensions; give a reference (an image, or a TRK "
                "or TRX file in the same space)"
            )
        if self._file.is_gzip:
            raise InputError(f"{self._file.path}: a compressed VTK file is not read; unpack it first (gunzip)")
        mesh = _read(self._file)
        to_ras = _TO_RAS[_space_of(mesh, vtk_space, self._file.path)]
        self._lines = lines_of(mesh, self._file.path)
        self._ends = np.cumsum(self._lines.lengths)
        space, matrix = place_result(self._file.path, reference, reference, transform)
        given = _float_type(self._lines.points.dtype)
        # Moved in float64 whatever the file holds; a change of signs alone is exact in any type.
        work = given if np.array_equal(matrix, np.eye(4)) else np.dtype(np.float64)
        self._map = PositionsMap(matrix @ to_ras, working_dtype(positions_dtype, work), self._file.path)
        self._default = given
        self.info = SourceInfo(
            path=self._file.path,
            format="vtk",
            space=space,
            nb_streamlines=len(self._lines.lengths),
            nb_vertices=int(self._ends[-1]) if len(self._ends) else 0,
            positions_dtype=self._map.dtype,
            dps=_specs(self._lines.dps),
            dpv=_specs(self._lines.dpv),
            nbytes=self._file.nbytes,
        )

    @property
    def default_dtype(self) -> np.dtype[Any]:
        """float64 for points of that type and for integers beyond float32, else float32."""
        return self._default

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield all streamlines in order."""
        total, lengths = max(1, self.info.nb_vertices), self._lines.lengths
        deferred = DeferredChunks()
        first = vertex = 0
        while first < len(lengths):
            last = int(np.searchsorted(self._ends, vertex + SLICE_BYTES // 12, side="right"))
            last = max(first + 1, last)
            end = int(self._ends[last - 1])
            yield deferred.add(lengths[first:last], partial(self._make, first, last, vertex, end))
            first, vertex = last, end
            if progress is not None:
                progress(self.info.nbytes * vertex // total, self.info.nbytes)
        deferred.settle()

    def fingerprint(self) -> str:
        """Return ``crc32:<8 hex digits>:<bytes>`` of the file."""
        return self._file.fingerprint()

    def _make(self, first: int, last: int, vertex: int, end: int) -> Chunk:
        """Return a chunk of some streamlines, and of their vertices."""
        lines, info = self._lines, self.info
        positions = self._map.apply(lines.take(lines.points, vertex, end, self._map.dtype))
        dps = {key: np.array(values[first:last], dtype=info.dps[key].dtype) for key, values in lines.dps.items()}
        dpv = {key: lines.take(values, vertex, end, info.dpv[key].dtype) for key, values in lines.dpv.items()}
        return Chunk(lines.lengths[first:last], positions, dps, dpv)


def _read(file: InputFile) -> PolyData:
    """Return what a file holds."""
    if not file.nbytes:
        raise FormatError(f"{file.path} is empty; fetch or write it anew")
    with open_regular(file.path) as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    head = bytes(data[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(XML_MAGIC):
        return read_xml(data, file.path)
    if head.startswith(LEGACY_MAGIC):
        mesh = read_legacy(data, file.path)
        mesh.only_lines()
        return mesh
    raise FormatError(
        f"{file.path}: begins with {head[:24]!r}, expected '# vtk DataFile Version' or '<VTKFile'; it is no VTK file"
    )


def _space_of(mesh: PolyData, wanted: str | None, path: str) -> str:
    """Return where the axes lead, RAS or LPS."""
    said = list(dict.fromkeys(name.strip().upper() for name in mesh.space))
    mend = 'say which it is (vtk_space="RAS" or "LPS", --vtk-space)'
    if wanted is not None:
        if said and said != [wanted]:
            warn(
                f"{path}: says that its space is {' and '.join(said)}, and is read as {wanted}, as asked for",
                HeaderWarning,
            )
        _warn_of_directions(mesh, wanted, path)
        return wanted
    if not said and not len(mesh.points):
        return "RAS"
    if not said:
        warn(
            f"{path}: does not say whether its axes lead to the right, front and top (RAS) or to the left, back and "
            f"top (LPS); RAS is assumed, as 3D Slicer does. MITK, MI-Brain and dipy before 1.12 write LPS: {mend}",
            HeaderWarning,
        )
        return "RAS"
    if len(said) > 1 or said[0] not in _TO_RAS:
        raise HeaderError(f"{path}: says that its space is {' and '.join(said)[:80]!r}, expected RAS or LPS; {mend}")
    _warn_of_directions(mesh, said[0], path)
    return said[0]


def _warn_of_directions(mesh: PolyData, space: str, path: str) -> None:
    """Warn of values with axes, which stay those of the file."""
    names = [*mesh.point_data.directions, *mesh.cell_data.directions]
    if names and space == "LPS":
        warn(
            f"{path}: its positions turn from LPS to RAS; the values of vectors and tensors ({', '.join(names)}) stay "
            "as they are, in LPS",
            HeaderWarning,
        )


def _float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of positions that holds what a file has: float32 or float64."""
    return np.dtype(np.float64 if np.result_type(dtype, np.float32).itemsize > 4 else np.float32)


def _specs(arrays: dict[str, Array]) -> dict[str, ArraySpec]:
    return {key: ArraySpec(values.shape[1], values.dtype.newbyteorder("=")) for key, values in arrays.items()}
