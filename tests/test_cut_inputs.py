"""An input that is cut or exchanged between the moment it is opened and the one it is read, and a disk that is full."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trxlib
from tests.helpers import make_trx_arrays, write_plain_folder, write_plain_zip
from trxlib.container.exchange import exchange
from trxlib.container.reader import _Opener
from trxlib.container.rows import OpenFile
from trxlib.errors import StaleError

MOVE = [[1, 0.01, 0, 1], [0, 1, 0.02, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
WIDE: dict[str, Any] = {"warn_outside": 1, "max_outside": 1}


def _moved(folder: Path) -> None:
    trxlib.convert(folder / "a.trx", folder / "out.trx", transform=MOVE, **WIDE)


def _merged(folder: Path) -> None:
    trxlib.merge([folder / "b.trx", folder / "a.trx"], folder / "out.trx", positions_dtype="float16", **WIDE)


def _extracted(folder: Path) -> None:
    trxlib.extract_groups(folder / "a.trx", folder / "out")


def _with_values(folder: Path) -> None:
    item = trxlib.ConvertInput(folder / "b.trx", dpv={"more": folder / "values.npy"})
    trxlib.convert(item, folder / "out.trx", **WIDE)


def _make_inputs(folder: Path) -> None:
    for name, seed in (("a.trx", 1), ("b.trx", 2)):
        arrays = make_trx_arrays(lengths=[300] * 1000, seed=seed, groups={"all": np.arange(1000)}, dpg={})
        write_plain_zip(arrays, folder / name)
    np.save(folder / "values.npy", np.zeros(300_000))


@pytest.mark.parametrize(
    ("run", "name"),
    [(_moved, "a.trx"), (_merged, "a.trx"), (_extracted, "a.trx"), (_with_values, "values.npy")],
    ids=["convert", "merge", "extract_groups", "values"],
)
def test_an_input_cut_behind_its_opening_is_named(
    run: Callable[[Path], None], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make_inputs(tmp_path)
    read_into, target = OpenFile.read_into, tmp_path / name

    def cut_and_read(self: OpenFile, view: memoryview, start: int) -> None:
        if self.path == str(target):
            os.truncate(target, 1000)
        read_into(self, view, start)

    monkeypatch.setattr(OpenFile, "read_into", cut_and_read)
    with pytest.raises(StaleError, match=name):
        run(tmp_path)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".npy"]
    assert sorted(path.name for path in left) == ["a.trx", "b.trx"]


def test_a_folder_exchanged_while_it_is_loaded_is_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path, seed, count in ((one, 1, 40), (two, 2, 60)):
        write_plain_folder(make_trx_arrays(count, seed=seed, groups={}, dpg={}), path)
    expected = trxlib.load(two).streamlines._data.tobytes()
    opener, moments = _Opener.open, []

    def exchange_and_open(self: _Opener, outline: Any) -> Any:
        if not moments:
            exchange(one, two)
        moments.append(1)
        return opener(self, outline)

    monkeypatch.setattr(_Opener, "open", exchange_and_open)
    trx = trxlib.load(one)
    assert len(moments) == 2
    assert len(trx.streamlines) == 60
    assert trx.streamlines._data.tobytes() == expected


FULL = """
import resource, signal, sys, trxlib
a, out = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for run in (lambda: trxlib.convert(a, out, warn_outside=1, max_outside=1),
            lambda: trxlib.merge([a, a], out, warn_outside=1, max_outside=1)):
    try:
        run()
    except OSError as error:
        print(out in str(error))
"""


def test_a_full_disk_is_an_error_that_names_the_output(tmp_path: Path) -> None:
    source = write_plain_zip(make_trx_arrays(lengths=[300] * 100, groups={}, dpg={}), tmp_path / "a.trx")
    output = tmp_path / "out" / "o.trx"
    output.parent.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", FULL, str(source), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "True"], done.stderr
    assert list(output.parent.iterdir()) == []
