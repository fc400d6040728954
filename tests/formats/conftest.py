"""Slices so small that records cross their borders, with and without threads."""

from __future__ import annotations

import pytest

from trxlib import parallel
from trxlib.formats.input_file import InputFile, Slices


@pytest.fixture(params=["one slice", "small slices", "threads"])
def slicing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a file is cut while it is read; the result may not depend on it."""
    if request.param != "one slice":
        monkeypatch.setitem(Slices.__init__.__kwdefaults__, "slice_bytes", 48)
    monkeypatch.setattr(InputFile, "is_big", property(lambda _: request.param == "threads"))
    monkeypatch.setattr(parallel, "_BIG_BYTES", 0 if request.param == "threads" else 1 << 40)
    monkeypatch.setattr(parallel, "_CORES", 3)
    return str(request.param)
