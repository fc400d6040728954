"""Write TCK files of MRtrix, with the files beside them, chunk by chunk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.outputs import check_outputs
from trxlib.errors import InputError
from trxlib.formats.output_file import cast_positions, open_output
from trxlib.formats.tck.beside import check_keys, companion_paths, open_companion
from trxlib.formats.tck.file import MrtrixFile, header_lines
from trxlib.formats.tck.header import TCK_MAGIC
from trxlib.formats.tck.timestamp import Timestamp
from trxlib.model.chunk import Chunk, placed
from trxlib.model.dtypes import check_float_dtype
from trxlib.model.source import Progress, SourceInfo
from trxlib.parallel import run_each, threads_for

__all__ = ["check_tck_dtype", "write_tck"]

Array = npt.NDArray[Any]
StrPath = str | os.PathLike[str]


def check_tck_dtype(dtype: npt.DTypeLike, path: StrPath) -> np.dtype[Any]:
    """Return float32 or float64, the types that a TCK has.

    Raises
    ------
    InputError
        For any other type.
    """
    found = check_float_dtype(dtype, "positions_dtype")
    if found.itemsize < 4:
        raise InputError(f"{path}: positions_dtype is {found.name}, and TCK holds float32 or float64; name one of them")
    return found


def write_tck(
    path: StrPath,
    info: SourceInfo,
    chunks: Iterable[Chunk],
    *,
    facts: Mapping[str, Any] | None = None,
    dps: Mapping[str, StrPath] | None = None,
    dpv: Mapping[str, StrPath] | None = None,
    positions_dtype: npt.DTypeLike | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a TCK file, little-endian.

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
        a TCK. The time stamp is none of them: it is made anew of what is written, see
        `trxlib.formats.tck.timestamp`.
    dps, dpv : mapping of str to path, optional
        Where values go: dps as text (one row per streamline), dpv as ``.tsf`` (one column), either as ``.npy``. By
        default as `trxlib.formats.tck.beside.companion_paths` says; a key that is not named is left out with a
        warning.
    positions_dtype : dtype, optional
        float32 or float64; by default float64 for float64 positions, else float32.
    progress : callable, optional
        Called with vertex bytes done and in all.

    Raises
    ------
    InputError
        If a file cannot hold its array, or two would have one name.
    NonfiniteError
        If a ``.tsf`` would have to hold NaN or infinity.
    DtypeError
        If a coordinate is beyond float32, where that is written.
    """
    facts = facts if facts is not None else info.facts if info.format == "tck" else {}
    default_dps, default_dpv = companion_paths(path, info)
    dps, dpv = default_dps if dps is None else dps, default_dpv if dpv is None else dpv
    check_keys(path, "dps", info.dps, dps)
    check_keys(path, "dpv", info.dpv, dpv)
    check_outputs([path, *dps.values(), *dpv.values()], [])
    own = "float64" if info.positions_dtype.itemsize == 8 else "float32"
    dtype = check_tck_dtype(own if positions_dtype is None else positions_dtype, path)
    # MRtrix compares the time stamps of a TCK and the TSF beside it; what it is, is known when all tracks have passed.
    stamp = Timestamp()
    fields = [("timestamp", stamp), *header_lines(facts, str(path))]
    with ExitStack() as stack:
        tracks = MrtrixFile(stack.enter_context(open_output(path)), TCK_MAGIC, fields, dtype, 3)
        others = [
            open_companion(stack, target, section, key, info, fields)
            for section, targets in (("dps", dps), ("dpv", dpv))
            for key, target in targets.items()
        ]
        vertices = 0

        def put(item: tuple[Chunk, int, int]) -> tuple[int, int, Any, list[Any]]:
            chunk = item[0]
            # Infinity would end the file.
            positions = cast_positions(chunk.positions, dtype, chunk, item[1], path)
            tracks.put(positions, *item)
            looked = stamp.look(positions, chunk.lengths)
            return len(chunk.lengths), chunk.nb_vertices, looked, [prepare(*item) for prepare, _, _ in others]

        def append(done: tuple[int, int, Any, list[Any]]) -> None:
            nonlocal vertices
            added, grown, looked, prepared = done
            stamp.add(looked)
            tracks.count += added
            for (_, add, _), data in zip(others, prepared, strict=True):
                add(data)
            vertices += grown
            if progress is not None:
                progress(3 * dtype.itemsize * vertices, 3 * dtype.itemsize * info.nb_vertices)

        run_each(placed(chunks), put, append, threads=threads_for(info.nbytes))
        tracks.finish(vertices)
        for _, _, finish in others:
            finish(vertices)
