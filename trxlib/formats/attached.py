"""Values in files beside a tractogram: text and CSV (SIFT2 weights), ``.tsf``, ``.npy``; attached to its chunks.

Files with a row per vertex are read beside the tractogram, chunk by chunk; those with a row per streamline are
small and read at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.errors import CountError, InputError, ShapeError
from trxlib.formats.input_file import InputFile
from trxlib.formats.rows import read_rows
from trxlib.formats.tck.header import TSF_MAGIC, read_tck_header
from trxlib.formats.tck.reader import DelimitedRows
from trxlib.model.dtypes import DTYPES
from trxlib.model.names import check_key
from trxlib.model.source import ArraySpec, Chunk, DeferredChunk, Progress, Source, SourceInfo

__all__ = ["AttachedSource", "attach_companions"]

Array = npt.NDArray[Any]


def attach_companions(source: Source, dps: Mapping[str, str | Path], dpv: Mapping[str, str | Path]) -> AttachedSource:
    """Add the values of files to a source.

    Parameters
    ----------
    source : Source
        Not filtered yet: the files have a row for every streamline or vertex of the tractogram.
    dps, dpv : mapping of str to path
        Key to file. Text becomes float32; ``.npy`` keeps its type.

    Raises
    ------
    InputError
        If a key is taken already.
    ShapeError
        If a file has other rows than the tractogram; file and row are named.
    """
    return AttachedSource(source, dps, dpv)


class AttachedSource:
    """A source with further dps and dpv; see `attach_companions`."""

    def __init__(self, source: Source, dps: Mapping[str, str | Path], dpv: Mapping[str, str | Path]) -> None:
        self._source = source
        self._paths = [str(path) for path in (*dps.values(), *dpv.values())]
        self._dps: dict[str, Array] = {}
        self._dpv: dict[str, Array | Path] = {}
        info = source.info
        specs: dict[str, dict[str, ArraySpec]] = {"dps": dict(info.dps), "dpv": dict(info.dpv)}
        for section, files in (("dps", dps), ("dpv", dpv)):
            for key, path in files.items():
                check_key(key, f"{section} key")
                if key in specs[section]:
                    raise InputError(f"{info.path}: {section}/{key} of {path} is in the tractogram already; rename it")
                specs[section][key] = self._open(section, key, Path(path))
        self.info: SourceInfo = replace(info, dps=specs["dps"], dpv=specs["dpv"])

    def chunks(self, progress: Progress | None = None) -> Iterator[Chunk]:
        """Yield the chunks of the tractogram with all values.

        Raises
        ------
        ShapeError
            If a ``.tsf`` has other streamlines than the tractogram.
        """
        scalars = {key: _TsfReader(path) for key, path in self._dpv.items() if isinstance(path, Path)}
        streamline = vertex = 0
        for chunk in self._source.chunks(progress):
            stop = streamline + len(chunk.lengths), vertex + chunk.nb_vertices
            dps = {key: np.ascontiguousarray(values[streamline : stop[0]]) for key, values in self._dps.items()}
            dpv = {
                key: scalars[key].take(chunk.lengths, streamline, self.info.path)
                if isinstance(rows, Path)
                else np.ascontiguousarray(rows[vertex : stop[1]])
                for key, rows in self._dpv.items()
            }
            streamline, vertex = stop
            yield DeferredChunk(chunk.lengths, partial(_with_values, chunk, dps, dpv))
        for reader in scalars.values():
            reader.check_end(streamline, self.info.path)

    def fingerprint(self) -> str:
        """Return that of the tractogram, combined with those of the files beside it."""
        own, _, nbytes = self._source.fingerprint().removeprefix("crc32:").partition(":")
        crc, total = int(own, 16), int(nbytes)
        for path in self._paths:
            file = InputFile(path)
            other = int(file.fingerprint().split(":")[1], 16)
            crc = isal_zlib.crc32_combine(crc, other, file.nbytes)
            total += file.nbytes
        return f"crc32:{crc:08x}:{total}"

    def _open(self, section: str, key: str, path: Path) -> ArraySpec:
        if section == "dpv" and _is_tsf(path):
            self._dpv[key] = path
            return ArraySpec(1, DTYPES[read_tck_header(InputFile(path), TSF_MAGIC).dtype.newbyteorder("=").name])
        info = self._source.info
        values = read_rows(path)
        expected, what = (info.nb_streamlines, "streamlines") if section == "dps" else (info.nb_vertices, "vertices")
        if len(values) == 1 != expected:
            values = np.ascontiguousarray(values.T)  # MRtrix also writes all weights into one line
        if len(values) != expected:
            # A count that was trusted and not counted may be what is wrong.
            kind = CountError if getattr(self._source, "trusts_count", False) else ShapeError
            raise kind(
                f"{path}: {len(values)} rows, but {info.path} has {expected} {what}; row {min(len(values), expected)} "
                "is the first without its counterpart"
            )
        (self._dps if section == "dps" else self._dpv)[key] = values
        return ArraySpec(values.shape[1], values.dtype)


def _with_values(chunk: Chunk, dps: dict[str, Array], dpv: dict[str, Array]) -> Chunk:
    chunk.dps.update(dps)
    chunk.dpv.update(dpv)
    return chunk


class _TsfReader:
    """Yields the values of a ``.tsf`` for as many streamlines as are asked for."""

    def __init__(self, path: Path) -> None:
        file = InputFile(path)
        self._path = path
        self._rows = DelimitedRows(file, read_tck_header(file, TSF_MAGIC), 1)
        self._slices = self._rows.iterate()
        self._lengths = np.zeros(0, dtype=np.int64)
        self._values: Array = np.zeros((0, 1))

    def take(self, lengths: Array, first: int, tracks: str) -> Array:
        """Return the values of the next streamlines, shape (v, 1)."""
        while len(self._lengths) < len(lengths) and self._read():
            pass
        own = self._lengths[: len(lengths)]
        if len(own) < len(lengths) or (own != lengths).any():
            differing = np.flatnonzero(own != lengths[: len(own)])
            row = int(differing[0]) if len(differing) else len(own)
            found = f"{int(own[row])} values" if row < len(own) else "no values"
            raise ShapeError(
                f"{self._path}: streamline {first + row} has {found}, in {tracks} it has {int(lengths[row])} vertices; "
                "the two files do not belong together"
            )
        count = int(lengths.sum(dtype=np.int64))
        values, self._values = self._values[:count], self._values[count:]
        self._lengths = self._lengths[len(lengths) :]
        return values

    def check_end(self, nb_streamlines: int, tracks: str) -> None:
        """Check that nothing is left over."""
        if len(self._lengths) or self._read():
            raise ShapeError(f"{self._path}: more streamlines than the {nb_streamlines} of {tracks}")

    def _read(self) -> bool:
        part = next(self._slices, None)
        if part is None:
            return False
        lengths, values = self._rows.split(part[0], part[1])
        self._lengths = np.concatenate((self._lengths, lengths))
        self._values = np.concatenate((self._values, values)) if len(self._values) else values
        return True


def _is_tsf(path: Path) -> bool:
    return path.is_file() and InputFile(path).head(len(TSF_MAGIC)) == TSF_MAGIC
