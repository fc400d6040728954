"""The work that is troubled: each command that writes, on files large enough to be met in the middle."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import trxlib
from tests.helpers import make_trx_arrays, write_plain_folder, write_plain_zip
from trxlib.cli import main

MATRIX = [[1, 0.01, 0, 1], [0, 1, 0.02, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
INPUTS = ("a.trx", "b.trx", "deflated.trx", "folder", "a.trk", "a.tck", "move.txt", "values.npy")


class Work(NamedTuple):
    """A command that writes.

    `run` takes the folder of the inputs and the output, and returns a status; `is_program` tells whether it is our
    program, which also cleans up when it is told to end; `reads` names the input that is troubled.
    """

    name: str
    output: str
    run: Callable[[Path, Path], int | None]
    is_program: bool
    reads: str


def _cli(*words: str) -> Callable[[Path, Path], int]:
    def run(inputs: Path, output: Path) -> int:
        names = [str(inputs / word) if word in INPUTS else word for word in words]
        return main([str(output) if name == "OUT" else name for name in names])

    return run


def _convert(source: str, **options: object) -> Callable[[Path, Path], None]:
    def run(inputs: Path, output: Path) -> None:
        trxlib.convert(inputs / source, output, warn_outside=1, max_outside=1, **options)

    return run


def _convert_tck(inputs: Path, output: Path) -> None:
    trxlib.convert(inputs / "a.tck", output, reference=inputs / "a.trx", warn_outside=1, max_outside=1)


def _merge(inputs: Path, output: Path) -> None:
    trxlib.merge([inputs / "a.trx", inputs / "b.trx"], output, warn_outside=1, max_outside=1)


def _merge_cast(inputs: Path, output: Path) -> None:
    paths = [inputs / "a.trx", inputs / "folder"]
    trxlib.merge(paths, output, positions_dtype="float16", warn_outside=1, max_outside=1)


def _extract(inputs: Path, output: Path) -> None:
    trxlib.extract_groups(inputs / "a.trx", output)


def _with_values(inputs: Path, output: Path) -> None:
    item = trxlib.ConvertInput(inputs / "a.trx", dpv={"more": inputs / "values.npy"})
    trxlib.convert(item, output, warn_outside=1, max_outside=1)


def _save(source: str) -> Callable[[Path, Path], None]:
    def run(inputs: Path, output: Path) -> None:
        trx = trxlib.load(inputs / source)
        trxlib.save(trx, output)
        trx.close()

    return run


_WIDE = ("--warn-outside", "1", "--max-outside", "1")
_MOVE = ("--transform", "move.txt", "--transform-format", "ras", "--reference", "a.trx")
WORKS = [
    Work(
        "trxlib convert, TRX moved",
        "out.trx",
        _cli("convert", "a.trx", "OUT", *_MOVE, *_WIDE, "--force"),
        True,
        "a.trx",
    ),
    Work("trxlib convert, TRK", "out.trx", _cli("convert", "a.trk", "OUT", *_WIDE, "--force"), True, "a.trk"),
    Work("trxlib merge", "out.trx", _cli("merge", "a.trx", "b.trx", "OUT", *_WIDE, "--force"), True, "b.trx"),
    Work("convert, TCK", "out.trx", _convert_tck, False, "a.tck"),
    Work("convert with values of a .npy", "out.trx", _with_values, False, "values.npy"),
    Work("convert, deflated result", "out.trx", _convert("a.trx", compression=8, level=1), False, "a.trx"),
    Work("convert to a folder", "out", _convert("a.trx"), False, "a.trx"),
    Work("merge", "out.trx", _merge, False, "a.trx"),
    Work("merge with a cast", "out.trx", _merge_cast, False, "a.trx"),
    Work("export, TRK", "out.trk", _convert("a.trx"), False, "a.trx"),
    Work("export, TCK", "out.tck", _convert("a.trx"), False, "a.trx"),
    Work("extract_groups", "groups", _extract, False, "a.trx"),
    Work("save", "out.trx", _save("a.trx"), False, ""),
    Work("save of a deflated file", "out.trx", _save("deflated.trx"), False, ""),
    Work("save as a folder", "out", _save("a.trx"), False, ""),
]


def make_inputs(folder: Path, nb_streamlines: int = 30_000) -> None:
    """Make the inputs; about 20 MB each."""
    folder.mkdir(parents=True)
    for name, seed in (("a.trx", 1), ("b.trx", 2)):
        arrays = _arrays(nb_streamlines, seed)
        write_plain_zip(arrays, folder / name)
        if seed == 1:
            write_plain_folder(arrays, folder / "folder")
            write_plain_zip(arrays, folder / "deflated.trx", 8)
            np.save(folder / "values.npy", np.arange(arrays.header.nb_vertices, dtype=np.float32))
    np.savetxt(folder / "move.txt", MATRIX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("a.trk", "a.tck"):
            trxlib.convert(folder / "a.trx", folder / name, warn_outside=1, max_outside=1)
    for path in folder.glob("a_*"):  # dps and dpv beside the TCK
        path.unlink()


def _arrays(nb_streamlines: int, seed: int):
    lengths = np.random.default_rng(seed).integers(20, 80, nb_streamlines)
    groups = {name: np.arange(row, nb_streamlines, 3) for row, name in enumerate("ABC")}
    return make_trx_arrays(
        lengths=lengths, seed=seed, dps={"weight": (1, "<f4")}, dpv={"fa": (1, "<f2")}, groups=groups, dpg={}
    )


def bytes_of(output: Path) -> dict[str, bytes] | None:
    """All that is under a final name, or None; what lies beside a TCK counts."""
    if output.is_dir():
        return {p.relative_to(output).as_posix(): p.read_bytes() for p in sorted(output.rglob("*")) if p.is_file()}
    if not output.exists():
        return None
    return {p.name: p.read_bytes() for p in sorted(output.parent.glob(f"{output.stem}*"))}


def remove(output: Path) -> None:
    if output.is_dir():
        shutil.rmtree(output)
    for path in output.parent.glob(f"{output.stem}*"):
        path.unlink()


def in_child(run: Callable[[], int | None], before: Callable[[], None] | None = None) -> int:
    """Fork, run, and return the number of the process; what it says goes nowhere, or to a file for the parent."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        from trxlib.container import owners

        owners._listed.clear()
        log = os.open(os.environ["RELIABILITY_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for fd in (1, 2):
            os.dup2(log, fd)
        # Where a test runner has put files of its own in their place.
        sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))  # noqa: SIM115
        warnings.simplefilter("ignore")
        if before is not None:
            before()
        status = _status_of(run)
    finally:
        os._exit(status)


def _status_of(run: Callable[[], int | None]) -> int:
    try:
        return run() or 0
    except SystemExit as end:
        return int(end.code or 0)
    except (trxlib.errors.TrxError, OSError) as error:
        os.write(2, f"error: {error}\n".encode(errors="replace"))
        return 1
    except BaseException as error:
        os.write(2, f"not said well: {type(error).__name__}: {error}\n".encode(errors="replace"))
        return 71
