"""Write TCK and TSF files of MRtrix, and text and npy files beside them, chunk by chunk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DataLossWarning, InputError
from trxlib.formats.output import Float32Caster, Output, open_output
from trxlib.formats.tck_header import TCK_MAGIC, TSF_MAGIC
from trxlib.parallel import run_each, threads_for
from trxlib.source import ArraySpec, Chunk, Progress, SourceInfo, placed
from trxlib.storage.vectored import Runs

__all__ = ["companion_paths", "write_tck"]

Array = npt.NDArray[Any]
#: What happens to a file beside the tracks: called for chunks side by side (chunk, first streamline, first vertex),
#: then with the result in their order, and at the end with the number of vertices.
_Companion = tuple[Callable[[Chunk, int, int], Any], Callable[[Any], object], Callable[[int], object]]
_COUNT_DIGITS = 10


def companion_paths(path: str | os.PathLike[str], info: SourceInfo) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return where the dps and dpv of a TCK go: ``<name>_<key>.txt``, ``.tsf``, and ``.npy`` for several columns.

    Returns
    -------
    dict of str to Path
        dps key to file.
    dict of str to Path
        dpv key to file.
    """
    stem = Path(path).with_suffix("")

    def place(key: str, spec: ArraySpec, suffix: str) -> Path:
        return stem.with_name(f"{stem.name}_{key}{suffix if spec.ncols == 1 else '.npy'}")

    return (
        {key: place(key, spec, ".txt") for key, spec in info.dps.items()},
        {key: place(key, spec, ".tsf") for key, spec in info.dpv.items()},
    )


def write_tck(
    path: str | os.PathLike[str],
    info: SourceInfo,
    chunks: Iterable[Chunk],
    *,
    facts: Mapping[str, Any] | None = None,
    dps: Mapping[str, str | os.PathLike[str]] | None = None,
    dpv: Mapping[str, str | os.PathLike[str]] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a TCK file, float32 or (for float64 positions) float64, little-endian.

    Parameters
    ----------
    path : path
        Appears when it is complete, as do the files beside it.
    info : SourceInfo
        Of what `chunks` yields.
    chunks : iterable of Chunk
        Not modified.
    facts : mapping, optional
        MRtrix's header properties, as `SourceInfo.facts` of a TCK has them. By default those of `info`, if it is
        a TCK.
    dps, dpv : mapping of str to path, optional
        Where values go: dps as text (one row per streamline), dpv as ``.tsf`` (one column), either as ``.npy``. By
        default as `companion_paths` says; a key that is not named is left out with a warning.
    progress : callable, optional
        Called with vertices done and in all.

    Raises
    ------
    InputError
        If a file cannot hold its array.
    """
    facts = facts if facts is not None else info.facts if info.format == "tck" else {}
    default_dps, default_dpv = companion_paths(path, info)
    dps, dpv = default_dps if dps is None else dps, default_dpv if dpv is None else dpv
    _check_keys(path, "dps", info.dps, dps)
    _check_keys(path, "dpv", info.dpv, dpv)
    double = info.positions_dtype.itemsize == 8
    # MRtrix compares the time stamps of a TCK and the TSF beside it.
    fields = _lines(facts) if "timestamp" in facts else [("timestamp", "0"), *_lines(facts)]
    with ExitStack() as stack:
        tracks = _MrtrixFile(stack.enter_context(open_output(path)), TCK_MAGIC, fields, "<f8" if double else "<f4", 3)
        others: list[_Companion] = []
        for key, target in dps.items():
            others.append(_open_rows(stack, target, key, "dps", info))
        for key, target in dpv.items():
            is_tsf = Path(target).suffix == ".tsf"
            others.append((_open_tsf if is_tsf else _open_rows)(stack, target, key, "dpv", info, fields))
        vertices = 0

        def put(item: tuple[Chunk, int, int]) -> tuple[int, int, list[Any]]:
            chunk = item[0]
            tracks.put(chunk.positions, *item)
            return len(chunk.lengths), chunk.nb_vertices, [prepare(*item) for prepare, _, _ in others]

        def append(done: tuple[int, int, list[Any]]) -> None:
            nonlocal vertices
            added, grown, prepared = done
            tracks.count += added
            for (_, add, _), data in zip(others, prepared, strict=True):
                add(data)
            vertices += grown
            if progress is not None:
                progress(vertices, info.nb_vertices)

        run_each(placed(chunks), put, append, threads=threads_for(info.nbytes))
        tracks.finish(vertices)
        for _, _, finish in others:
            finish(vertices)


class _MrtrixFile:
    """A TCK or TSF under construction."""

    def __init__(self, output: Output, magic: bytes, fields: list[tuple[str, str]], dtype: str, ncols: int) -> None:
        self._output, self._magic, self._fields = output, magic, fields
        self._dtype, self._ncols = np.dtype(dtype), ncols
        #: Streamlines written, for the header.
        self.count = 0
        self._row_bytes = ncols * self._dtype.itemsize
        self._start = output.put(0, self._header())

    def put(self, rows: Array, chunk: Chunk, streamline: int, vertex: int) -> None:
        """Write the rows of a chunk's streamlines, a NaN row behind each, to their place."""
        values = np.ascontiguousarray(rows, dtype=self._dtype)
        lengths = chunk.lengths.astype(np.int64)
        none, one = np.zeros(len(lengths), dtype=np.int64), np.ones(len(lengths), dtype=np.int64)
        delimiter = np.full((1, self._ncols), np.nan, dtype=self._dtype)
        parts = [Runs(values, np.cumsum(lengths) - lengths, lengths), Runs(delimiter, none, one)]
        self._output.put_runs(self._start + (streamline + vertex) * self._row_bytes, parts)

    def finish(self, vertices: int) -> None:
        """Write the end marker of tracks (scalars have none), and the count into the header."""
        if self._ncols > 1:
            end = np.full(self._ncols, np.inf, dtype=self._dtype)
            self._output.put(self._start + (self.count + vertices) * self._row_bytes, end)
        self._output.put(0, self._header())

    def _header(self) -> bytes:
        datatype = "Float64LE" if self._dtype.itemsize == 8 else "Float32LE"
        lines = [self._magic.decode(), *(f"{key}: {value}" for key, value in self._fields), f"datatype: {datatype}"]
        lines.append(f"count: {self.count:0{_COUNT_DIGITS}d}")
        text = "\n".join(lines).encode() + b"\nfile: . "
        # The offset counts its own digits.
        offset = len(text) + len(b"\nEND\n")
        while offset != (total := len(text) + len(str(offset)) + len(b"\nEND\n")):
            offset = total
        return text + f"{offset}\nEND\n".encode()


def _lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return header lines: a list gives a repeated key, and so does a value of several lines."""
    lines = []
    for key, value in facts.items():
        if key in ("datatype", "file", "count") or ":" in key or "\n" in key:
            continue
        for item in value if isinstance(value, list) else [value]:
            lines += [(key, part) for part in str(item).split("\n")]
    return lines


def _check_keys(path: Any, section: str, specs: Mapping[str, ArraySpec], targets: Mapping[str, Any]) -> None:
    unknown = [key for key in targets if key not in specs]
    if unknown:
        raise InputError(f"{path}: no {section} {', '.join(unknown)}; there are {', '.join(specs) or 'none'}")
    dropped = [key for key in specs if key not in targets]
    if dropped:
        warnings.warn(
            f"{path}: a TCK file holds no {section}, and no file beside it was named for {', '.join(dropped)}; they "
            "are left out",
            DataLossWarning,
            stacklevel=4,
        )


def _open_tsf(
    stack: ExitStack, target: Any, key: str, section: str, info: SourceInfo, fields: list[tuple[str, str]]
) -> _Companion:
    if info.dpv[key].ncols != 1:
        raise InputError(f"{target}: dpv/{key} has {info.dpv[key].ncols} columns, a .tsf holds one; name a .npy")
    file = _MrtrixFile(stack.enter_context(open_output(target)), TSF_MAGIC, fields, "<f4", 1)
    caster = Float32Caster(str(target))

    def prepare(chunk: Chunk, streamline: int, vertex: int) -> int:
        file.put(caster.cast(chunk.dpv[key], f"{section}/{key}"), chunk, streamline, vertex)
        return len(chunk.lengths)

    def add(count: int) -> None:
        file.count += count

    return prepare, add, file.finish


def _open_rows(
    stack: ExitStack, target: Any, key: str, section: str, info: SourceInfo, fields: object = None
) -> _Companion:
    suffix = Path(target).suffix.lower()
    if suffix not in (".npy", ".txt", ".csv"):
        raise InputError(f"{target}: {section}/{key} can go to .npy, .txt or .csv, and a column of dpv to .tsf")
    spec = getattr(info, section)[key]
    output = stack.enter_context(open_output(target))
    if suffix == ".npy":
        rows = info.nb_streamlines if section == "dps" else info.nb_vertices
        output.append(_npy_header(spec, rows))

        def prepare(chunk: Chunk, streamline: int, vertex: int) -> bytes:
            return np.ascontiguousarray(getattr(chunk, section)[key], dtype=spec.dtype).tobytes()

    else:
        # As many digits as it takes to read the same number back.
        number = "%d" if spec.dtype.kind in "iub" else "%.17g" if spec.dtype.itemsize == 8 else "%.9g"
        line = (",".join if suffix == ".csv" else " ".join)([number] * spec.ncols) + "\n"

        def prepare(chunk: Chunk, streamline: int, vertex: int) -> bytes:
            values = getattr(chunk, section)[key]
            return (line * len(values) % tuple(values.reshape(-1).tolist())).encode()

    return prepare, output.append, lambda vertices: None


def _npy_header(spec: ArraySpec, rows: int) -> bytes:
    """Return the header of a .npy file of shape (rows, ncols)."""
    shape = f"({rows}, {spec.ncols})"
    text = f"{{'descr': '{np.lib.format.dtype_to_descr(spec.dtype)}', 'fortran_order': False, 'shape': {shape}, }}"
    padding = -(10 + len(text) + 1) % 64
    body = text.encode() + b" " * padding + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body
