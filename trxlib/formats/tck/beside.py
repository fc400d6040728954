"""Where the values of streamlines and vertices go that a TCK file cannot hold: files beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DataLossWarning, DtypeError, InputError, warn
from trxlib.formats.output_file import Float32Caster, name_without_gz, open_output
from trxlib.formats.tck.file import MrtrixFile
from trxlib.formats.tck.header import TSF_MAGIC
from trxlib.model.chunk import Chunk
from trxlib.model.dtypes import all_finite
from trxlib.model.source import ArraySpec, SourceInfo

__all__ = ["Companion", "NonfiniteError", "check_keys", "companion_paths", "open_companion"]

Array = npt.NDArray[Any]
StrPath = str | os.PathLike[str]
#: What happens to a file beside the tracks: called for chunks side by side (chunk, first streamline, first vertex),
#: then with the result in their order, and at the end with the number of vertices.
Companion = tuple[Callable[[Chunk, int, int], Any], Callable[[Any], object], Callable[[int], object]]


class NonfiniteError(DtypeError):
    """A value that a ``.tsf`` cannot hold: NaN ends a streamline there, and infinity the file.

    Parameters
    ----------
    message : str
        The text.
    key : str
        Of the dpv array.
    """

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def companion_paths(
    path: StrPath, info: SourceInfo, *, npy: Collection[str] = ()
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return where the dps and dpv of a TCK go: ``<name>_<key>.txt``, ``.tsf``, and ``.npy`` for several columns.

    Where dps and dpv of one key would share a file, that of the dpv is ``<name>_<key>_dpv.npy``.

    Parameters
    ----------
    path : path
        The TCK; a ``.gz`` behind its name does not count.
    info : SourceInfo
        Names its dps and dpv.
    npy : collection of str
        Keys of dpv that a ``.tsf`` cannot hold.

    Returns
    -------
    dict of str to Path
        dps key to file.
    dict of str to Path
        dpv key to file.
    """
    stem = name_without_gz(path).with_suffix("")
    taken: set[Path] = set()

    def place(key: str, suffix: str, section: str) -> Path:
        found = stem.with_name(f"{stem.name}_{key}{suffix}")
        while found in taken:
            key = f"{key}_{section}"
            found = stem.with_name(f"{stem.name}_{key}{suffix}")
        taken.add(found)
        return found

    dps = {key: place(key, ".txt" if spec.ncols == 1 else ".npy", "dps") for key, spec in info.dps.items()}
    is_tsf = {key: spec.ncols == 1 and key not in npy for key, spec in info.dpv.items()}
    return dps, {key: place(key, ".tsf" if is_tsf[key] else ".npy", "dpv") for key in info.dpv}


def check_keys(path: StrPath, section: str, specs: Mapping[str, ArraySpec], targets: Mapping[str, StrPath]) -> None:
    """Check that the arrays exist for which files are named, and warn of those that are named no file.

    Raises
    ------
    InputError
        If there is no such array.
    """
    unknown = [key for key in targets if key not in specs]
    if unknown:
        raise InputError(f"{path}: no {section} {', '.join(unknown)}; there are {', '.join(specs) or 'none'}")
    dropped = [key for key in specs if key not in targets]
    if dropped:
        warn(
            f"{path}: a TCK file holds no {section}, and no file beside it was named for {', '.join(dropped)}; they "
            "are left out",
            DataLossWarning,
        )


def open_companion(
    stack: ExitStack, target: StrPath, section: str, key: str, info: SourceInfo, fields: list[tuple[str, object]]
) -> Companion:
    """Start a file beside the tracks.

    Parameters
    ----------
    stack : ExitStack
        Gives the file its name when it is closed, or removes it after an error.
    target : path
        Its suffix says what it becomes.
    section, key : str
        Which array.
    info : SourceInfo
        Of the tracks.
    fields : list of (key, value)
        Header lines of the tracks, which a ``.tsf`` repeats: their time stamp is one of them.

    Raises
    ------
    InputError
        If such a file cannot hold the array.
    """
    if section == "dpv" and Path(target).suffix == ".tsf":
        return _open_tsf(stack, target, key, info, fields)
    return _open_rows(stack, target, section, key, info)


def _open_tsf(
    stack: ExitStack, target: StrPath, key: str, info: SourceInfo, fields: list[tuple[str, object]]
) -> Companion:
    if info.dpv[key].ncols != 1:
        raise InputError(f"{target}: dpv/{key} has {info.dpv[key].ncols} columns, a .tsf holds one; name a .npy")
    file = MrtrixFile(stack.enter_context(open_output(target)), TSF_MAGIC, fields, "<f4", 1)
    caster = Float32Caster(str(target))

    def prepare(chunk: Chunk, streamline: int, vertex: int) -> int:
        values = caster.cast(chunk.dpv[key], f"dpv/{key}")
        if not all_finite(values):
            raise NonfiniteError(_first_nonfinite(str(target), key, values, chunk, streamline), key)
        file.put(values, chunk, streamline, vertex)
        return len(chunk.lengths)

    def add(count: int) -> None:
        file.count += count

    def finish(vertices: int) -> None:
        file.finish(vertices)
        caster.report()

    return prepare, add, finish


def _first_nonfinite(target: str, key: str, values: Array, chunk: Chunk, streamline: int) -> str:
    row = int(np.argmin(np.isfinite(values[:, 0])))
    return (
        f"{target}: dpv/{key} of streamline {streamline + int(chunk.locate(row)[0])} is {values[row, 0]}, and a .tsf "
        "holds finite numbers only (NaN ends a streamline there, infinity the file); name a .npy"
    )


def _open_rows(stack: ExitStack, target: StrPath, section: str, key: str, info: SourceInfo) -> Companion:
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
        # Without the blank, two columns of whole numbers might be one with decimal commas.
        line = (", ".join if suffix == ".csv" else " ".join)([number] * spec.ncols) + "\n"

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
