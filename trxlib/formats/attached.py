"""Values in files beside a tractogram of any format: text and CSV (SIFT2 weights), ``.tsf``, ``.npy``.

Files with a row per vertex are read beside the tractogram, chunk by chunk; those with a row per streamline are
small and read at once.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from trxlib.container.rows import StoredRows
from trxlib.errors import CountError, HeaderWarning, InputError, ShapeError, TrxError, warn
from trxlib.formats.found import FoundFile
from trxlib.formats.input_file import InputFile
from trxlib.formats.rows import read_rows
from trxlib.formats.table.text import MORE_ROWS
from trxlib.formats.tck.header import TSF_MAGIC, read_tck_header
from trxlib.formats.tck.reader import DelimitedRows
from trxlib.formats.tck.timestamp import check_timestamp
from trxlib.model.dtypes import DTYPES
from trxlib.model.names import check_key
from trxlib.model.options import StrPath
from trxlib.model.source import ArraySpec, Source

__all__ = ["attach"]

Array = npt.NDArray[Any]
logger = logging.getLogger(__name__)


def attach(
    source: Source,
    dps: Mapping[str, StrPath],
    dpv: Mapping[str, StrPath],
    *,
    found: Sequence[FoundFile] = (),
    accept_timestamp_mismatch: bool = False,
) -> Source:
    """Add the values of files to a source.

    Parameters
    ----------
    source : Source
        Not filtered yet: the files have a row for every streamline or vertex of the tractogram.
    dps, dpv : mapping of str to path
        Key to file. Text becomes float32; ``.npy`` keeps its type.
    found : sequence of FoundFile
        Further files, which nobody named. One that turns out not to fit is left out with a warning.
    accept_timestamp_mismatch : bool
        Whether a ``.tsf`` may have another time stamp than the TCK, with a warning.

    Raises
    ------
    InputError
        If a key is taken already.
    MetadataMismatchError
        If a ``.tsf`` has the time stamp of another TCK.
    ShapeError
        If a file has other rows than the tractogram; file and row are named.
    """
    if not dps and not dpv and not found:
        return source
    columns = _FileColumns(source, dps, dpv, found, accept_timestamp_mismatch)
    if found:
        names = [f"{item.section}/{item.key} of {item.path}" for item in columns.found]
        logger.info("%s: found beside it and attached: %s", source.info.path, ", ".join(names) or "nothing")
    attached = source.with_columns(columns)
    attached.info = replace(attached.info, companions=columns.companions)
    return attached


class _FileColumns:
    """dps and dpv of files beside a tractogram."""

    def __init__(
        self,
        source: Source,
        dps: Mapping[str, StrPath],
        dpv: Mapping[str, StrPath],
        found: Sequence[FoundFile],
        accept_timestamp_mismatch: bool,
    ) -> None:
        self._info, self._trusts_count = source.info, source.trusts_count
        self._accepts_timestamp = accept_timestamp_mismatch
        self._dps_rows: dict[str, Array | StoredRows] = {}
        self._dpv_rows: dict[str, Array | StoredRows | Path] = {}
        self.dps = {key: self._open("dps", key, Path(path)) for key, path in dps.items()}
        self.dpv = {key: self._open("dpv", key, Path(path)) for key, path in dpv.items()}
        #: Of the files that nobody named, those that fit.
        self.found = [item for item in found if self._open_found(item)]
        #: Section and key -> file.
        self.companions = {
            **{f"dps/{key}": str(path) for key, path in dps.items()},
            **{f"dpv/{key}": str(path) for key, path in dpv.items()},
            **{f"{item.section}/{item.key}": str(item.path) for item in self.found},
        }

    def reader(self) -> _Reader:
        """Begin with the first streamline."""
        return _Reader(self._info.path, self._dps_rows, self._dpv_rows, {item.path for item in self.found})

    def fingerprint(self, own: str) -> str:
        """Return a tractogram's fingerprint combined with those of the files."""
        text, _, nbytes = own.removeprefix("crc32:").partition(":")
        crc, total = int(text, 16), int(nbytes)
        for path in self.companions.values():
            file = InputFile(path)
            other = int(file.fingerprint().split(":")[1], 16)
            crc = isal_zlib.crc32_combine(crc, other, file.nbytes)
            total += file.nbytes
        return f"crc32:{crc:08x}:{total}"

    def _open_found(self, item: FoundFile) -> bool:
        """Open a file that nobody named, and tell whether it fits."""
        try:
            getattr(self, item.section)[item.key] = self._open(item.section, item.key, item.path)
        except TrxError as error:
            warn(f"{item.path} lies beside {self._info.path} and is left out: {error}", HeaderWarning)
            return False
        return True

    def _open(self, section: str, key: str, path: Path) -> ArraySpec:
        info = self._info
        check_key(key, f"{section} key")
        if key in getattr(info, section):
            raise InputError(f"{info.path}: {section}/{key} of {path} is in the tractogram already; rename it")
        if section == "dpv" and _is_tsf(path):
            header = read_tck_header(InputFile(path), TSF_MAGIC)
            check_timestamp(header, info, accept=self._accepts_timestamp)
            self._dpv_rows[key] = path
            return ArraySpec(1, DTYPES[header.dtype.newbyteorder("=").name])
        expected, what = (info.nb_streamlines, "streamlines") if section == "dps" else (info.nb_vertices, "vertices")
        values = read_rows(path, expected)
        if len(values) == 1 != expected:
            values = np.ascontiguousarray(values[:].T)  # MRtrix also writes all weights into one line
        if len(values) != expected:
            # A count that was trusted and not counted may be what is wrong.
            kind = CountError if self._trusts_count else ShapeError
            more = " or more" if len(values) > expected + MORE_ROWS else ""
            raise kind(
                f"{path}: {len(values)} rows{more}, but {info.path} has {expected} {what}; row "
                f"{min(len(values), expected)} is the first without its counterpart"
            )
        (self._dps_rows if section == "dps" else self._dpv_rows)[key] = values
        return ArraySpec(values.shape[1], values.dtype)


class _Reader:
    """Yields the values of all files for as many streamlines as are asked for."""

    def __init__(
        self,
        tracks: str,
        dps: Mapping[str, Array | StoredRows],
        dpv: Mapping[str, Array | StoredRows | Path],
        found: Collection[Path],
    ) -> None:
        self._tracks, self._dps = tracks, dps
        self._dpv = {key: rows for key, rows in dpv.items() if not isinstance(rows, Path)}
        self._scalars = {
            key: _TsfReader(path, is_found=path in found) for key, path in dpv.items() if isinstance(path, Path)
        }
        self._streamline = self._vertex = 0

    def take(self, lengths: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return dps and dpv of the next streamlines."""
        streamlines = slice(self._streamline, self._streamline + len(lengths))
        vertices = slice(self._vertex, self._vertex + int(lengths.sum(dtype=np.int64)))
        dps = {key: np.ascontiguousarray(rows[streamlines]) for key, rows in self._dps.items()}
        dpv = {key: np.ascontiguousarray(rows[vertices]) for key, rows in self._dpv.items()}
        for key, reader in self._scalars.items():
            dpv[key] = reader.take(lengths, self._streamline, self._tracks)
        self._streamline, self._vertex = streamlines.stop, vertices.stop
        return dps, dpv

    def check_end(self) -> None:
        """Check that no file goes on."""
        for rows in (*self._dps.values(), *self._dpv.values()):
            if isinstance(rows, StoredRows):
                rows.file.check()
        for reader in self._scalars.values():
            reader.check_end(self._streamline, self._tracks)


class _TsfReader:
    """Yields the values of a ``.tsf`` for as many streamlines as are asked for."""

    def __init__(self, path: Path, *, is_found: bool = False) -> None:
        file = InputFile(path)
        #: What is to be done if it does not fit.
        self._way_out = "; it was found there, not named: companions='none' (--companions none)" if is_found else ""
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
                f"the two files do not belong together{self._way_out}"
            )
        count = int(lengths.sum(dtype=np.int64))
        values, self._values = self._values[:count], self._values[count:]
        self._lengths = self._lengths[len(lengths) :]
        return values

    def check_end(self, nb_streamlines: int, tracks: str) -> None:
        """Check that nothing is left over."""
        if len(self._lengths) or self._read():
            raise ShapeError(f"{self._path}: more streamlines than the {nb_streamlines} of {tracks}{self._way_out}")

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
