"""A pipe is never waited for, a device never read to its end, and none of them is ever replaced."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.helpers import make_trx_arrays, write_plain_zip

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


def test_special_files_are_refused_on_every_road(tmp_path):
    """One child for all roads, which a pipe would keep waiting; devices of the system are no outputs of a test."""
    source = write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")
    lines = [
        "import pathlib, warnings, trxlib",
        "warnings.simplefilter('ignore')",
        f"A, O = {str(source)!r}, {str(tmp_path / 'o.trx')!r}",
    ]
    for name, road in ROADS.items():
        os.mkfifo(tmp_path / name)
        lines += [f"P = {str(tmp_path / name)!r}", "try:", f"    {road}", f"    print('let in', {name!r})"]
        lines += ["except trxlib.errors.TrxError as error:", f"    print('refused', {name!r}, P in str(error))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [f"refused {name} True" for name in ROADS], done.stderr
    assert all((tmp_path / name).is_fifo() for name in ROADS)
