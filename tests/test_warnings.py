"""A warning points at the line of the caller, from however deep inside of the package it comes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trxlib
from tests.formats.made import trk_bytes
from tests.helpers import make_trx_arrays, write_plain_folder, write_plain_zip
from trxlib.errors import DataLossWarning, HeaderWarning, warn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of files of which something has to be left out, or assumed."""
    folder = tmp_path_factory.mktemp("warned")
    for name, dps in (("a", {"weight": (1, "<f4")}), ("b", {})):
        arrays = make_trx_arrays(4, lengths=[2, 3, 2, 2], dps=dps, dpv={}, seed=len(dps))
        write_plain_zip(arrays, folder / f"{name}.trx")
        write_plain_folder(arrays, folder / name)
    line = np.array([[1, 1, 1], [900, 900, 900]], np.float32)
    (folder / "far.trk").write_bytes(trk_bytes([line], order=b""))
    return folder


CALLS: dict[str, Callable[[Path], Any]] = {
    "convert": lambda at: trxlib.convert([str(at / "a.trx"), str(at / "b.trx")], at / "out.trx", missing="drop"),
    "merge": lambda at: trxlib.merge([str(at / "a.trx"), str(at / "b.trx")], at / "out.trx", missing="drop"),
    "merge folders": lambda at: trxlib.merge([str(at / "a"), str(at / "b")], at / "out", missing="drop"),
    "concatenate": lambda at: trxlib.concatenate(
        [trxlib.load(at / "a.trx"), trxlib.load(at / "b.trx")], delete_dps=True
    ),
    "concatenate nothing": lambda at: trxlib.concatenate([]),
    "export": lambda at: trxlib.export(at / "a.trx", at / "out.tck"),
    "drop": lambda at: trxlib.convert(at / "far.trk", at / "out.trx", out_of_volume="drop"),
    "describe": lambda at: trxlib.describe(at / "far.trk"),
}


def caught_in(call: Callable[[Path], Any], folder: Path) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(folder)
    return [item for item in caught if issubclass(item.category, trxlib.errors.TrxWarning)]


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_points_at_the_callers_line(name: str, folder: Path) -> None:
    call = CALLS[name]
    found = caught_in(call, folder)
    assert found
    assert {(item.filename, item.lineno) for item in found} == {(__file__, call.__code__.co_firstlineno)}


def test_what_another_library_calls_points_at_that_library(folder: Path) -> None:
    # dipy's load_trx() for instance calls load() and to_sft(): its line is the first that is not of this package.
    text = "import trxlib\ndef load_trx():\n    return trxlib.concatenate([])\n"
    names: dict[str, Any] = {}
    exec(compile(text, "/elsewhere/dipy/io/streamline.py", "exec"), names)
    (found,) = caught_in(lambda _: names["load_trx"](), folder)
    assert (found.filename, found.lineno) == ("/elsewhere/dipy/io/streamline.py", 3)
    assert found.category is HeaderWarning


def test_a_context_manager_in_between_is_no_caller() -> None:
    @contextmanager
    def warned() -> Iterator[None]:
        warn("left out", DataLossWarning)
        yield

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with warned():
            pass
    assert [(item.filename, str(item.message)) for item in caught] == [(__file__, "left out")]
