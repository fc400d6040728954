"""The hot loops whose costs are guarded, their inputs, and plain passes of numpy to compare with.

A loop is called with the folder of the inputs and a folder for outputs.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import AFFINES, GROUPS, TckWriter, TrkWriter, TrxWriter, walk, write_reference

SMALL, LARGE = 10_000, 30_000  # both take several slices


def make_inputs(folder: Path, nb_streamlines: int) -> None:
    """Write one file of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    writers: list[Any] = [
        TrkWriter(folder / "whole.trk", AFFINES["axis-aligned"]),
        TrkWriter(folder / "rotated.trk", AFFINES["rotated"]),
        TrkWriter(folder / "data.trk", AFFINES["axis-aligned"], with_data=True),
        TckWriter(folder / "whole.tck"),
        TrxWriter(folder / "whole.trx", AFFINES["axis-aligned"], GROUPS),
        TrxWriter(folder / "other.trx", AFFINES["axis-aligned"], GROUPS),
    ]
    for block in walk(nb_streamlines, seed=7):
        for writer in writers:
            writer.add(block)
    for writer in writers:
        writer.close()
    write_reference(folder / "reference.nii")


def _convert(name: str, suffix: str = ".trx") -> Callable[[Path, Path], None]:
    def loop(data: Path, out: Path) -> None:
        import trxlib

        trxlib.convert(data / name, out / f"out{suffix}", reference=data / "reference.nii")

    return loop


def _merge(data: Path, out: Path) -> None:
    import trxlib

    trxlib.merge([data / "whole.trx", data / "other.trx"], out / "out.trx")


def _extract(group: str) -> Callable[[Path, Path], None]:
    def loop(data: Path, out: Path) -> None:
        import trxlib

        trxlib.extract_groups(data / "whole.trx", out, [group])

    return loop


def _validate(data: Path, _: Path) -> None:
    import trxlib

    trxlib.validate(data / "whole.trx")


def _load_save(data: Path, out: Path) -> None:
    import trxlib

    with trxlib.load(str(data / "whole.trx")) as trx:
        trxlib.save(trx, str(out / "out.trx"))


def _convert_large_tck(data: Path, out: Path) -> None:
    """Convert a TCK as one beyond 64 MB is: without counting its streamlines first."""
    from trxlib.formats.tck import reader

    limit, reader._COUNT_BYTES = reader._COUNT_BYTES, 0
    try:
        _convert("whole.tck")(data, out)
    finally:
        reader._COUNT_BYTES = limit


LOOPS: dict[str, Callable[[Path, Path], None]] = {
    "trk": _convert("whole.trk"),
    "trk-rotated": _convert("rotated.trk"),
    "trk-data": _convert("data.trk"),
    "tck": _convert_large_tck,
    "to-trk": _convert("whole.trx", ".trk"),
    "to-tck": _convert("whole.trx", ".tck"),
    "merge": _merge,
    "extract": _extract("part50"),
    "extract-runs": _extract("runs50"),
    "validate": _validate,
    "load-save": _load_save,
}


def run_loop(name: str, data: Path) -> int:
    """Run a hot loop and return the bytes that it wrote, or read where it writes nothing."""
    from trxlib import parallel

    threads, parallel._MAX_THREADS = parallel._MAX_THREADS, 1  # the work is counted, and not who does it
    try:
        with tempfile.TemporaryDirectory(dir=data) as out, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            LOOPS[name](data, Path(out))
            written = sum(path.stat().st_size for path in Path(out).iterdir())
    finally:
        parallel._MAX_THREADS = threads
    return written or (data / "whole.trx").stat().st_size


def plain_passes(data: Path, _: Path) -> None:
    """Pass over a file with nothing but numpy and a CRC: what this machine's versions need for work that never changes.

    The loops make the same passes. Nothing of trxlib is used.
    """
    from isal import isal_zlib

    with (data / "whole.trk").open("rb", buffering=0) as stream:
        stream.seek(1000)
        buffer = np.empty(24 * 20_000, dtype="<i4")
        while count := stream.readinto(buffer.data.cast("B")):
            words = buffer[: count // 12 * 3]
            isal_zlib.crc32(words)
            starts = np.flatnonzero(np.less(words.view(np.uint32), np.uint32(1 << 20)))
            mask = np.ones(len(words), dtype=np.bool_)
            mask[starts] = False
            kept = words[mask].view("<f4")
            np.cumsum(words[starts], dtype=np.int64)
            moved = kept + np.float32(0.5)
            np.multiply(kept[::3], np.float32(0.8), out=moved[::3])
            np.less(moved, np.float32(0)).any()
            np.isfinite(moved).all()
            isal_zlib.crc32(moved)
