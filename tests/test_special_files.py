"""A pipe is never waited for, a device never read to its end, and none of them is ever replaced."""

from __future__ import annotations

import os
import pathlib
import threading

import pytest

import trxlib
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.errors import TrxError

ROADS = {
    "input": "trxlib.convert(P, O)",
    "input.trk": "trxlib.convert(P, O)",
    "input.vtk": "trxlib.convert(P, O, reference=A)",
    "describe.trx": "trxlib.describe(P)",
    "merge.trx": "trxlib.merge([A, P], O)",
    "reference": "trxlib.convert(A, O, reference=P)",
    "transform": "trxlib.convert(A, O, transform=P)",
    "dps.txt": "trxlib.convert(trxlib.ConvertInput(A, dps={'k': P}), O)",
    "sheet.tsv": "from trxlib.cohort.sheet import find_mistakes; find_mistakes(pathlib.Path(P), {}, ())",
    "receipt.json": "from trxlib.engine.receipt import Receipt; Receipt.load(P)",
    "out.trx": "trxlib.convert(A, P)",
    "out.trk": "trxlib.convert(A, P)",
    "merged.trx": "trxlib.merge([A], P)",
    "saved.trx": "trxlib.save(trxlib.load(A), P)",
}


@pytest.mark.filterwarnings("ignore")
def test_special_files_are_refused_on_every_road(tmp_path):
    """In a thread, which a pipe would keep waiting; devices of the system are no outputs of a test."""
    source, found = write_plain_zip(make_trx_arrays(), tmp_path / "a.trx"), []

    def try_all() -> None:
        for name, road in ROADS.items():
            names = {"P": str(tmp_path / name), "A": str(source), "O": str(tmp_path / "o.trx")}
            try:
                exec(road, {"pathlib": pathlib, "trxlib": trxlib, **names})
            except TrxError as error:
                found.append((name, names["P"] in str(error)))
            else:
                found.append((name, "let in"))

    for name in ROADS:
        os.mkfifo(tmp_path / name)
    thread = threading.Thread(target=try_all, daemon=True)
    thread.start()
    thread.join(30)
    assert found == [(name, True) for name in ROADS], f"the one behind {found[-1:]} waits, or was let in"
    assert all((tmp_path / name).is_fifo() for name in ROADS)
