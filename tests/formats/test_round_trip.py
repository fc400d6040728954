"""TRK -> TRX -> TRK and TCK -> TRX -> TCK give the same bytes; any slicing gives the same archive."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.formats.made import ANYWHERE, GRID, SIZES, some_streamlines, tck_bytes, trk_bytes, write
from trxlib import parallel
from trxlib.commands.convert import convert
from trxlib.commands.export import export
from trxlib.formats.input_file import Slices

REFERENCE = (np.diag([*SIZES, 1.0]), GRID)


@pytest.mark.filterwarnings("ignore::trxlib.errors.HeaderWarning")
@pytest.mark.parametrize("lengths", [(), (0,), (0, 3, 0, 5, 0), (1, 40, 2, 0, 0, 7)])
def test_trk_to_trx_and_back(tmp_path: Path, slicing: str, lengths: tuple[int, ...]) -> None:
    data = trk_bytes(
        some_streamlines(lengths),
        scalars=np.arange(sum(lengths) * 4, dtype=np.float32).reshape(-1, 4),
        scalar_names=(b"rgb\x003", b"f.a"),
        properties=np.arange(len(lengths) * 2, dtype=np.float32).reshape(-1, 2),
        property_names=(b"w", b"length"),
        order=b"LPI",
        origin=(1, 2, 3),
        flags=b"\1\0\0\0\0\1",
    )
    convert(write(tmp_path / "a.trk", data), tmp_path / "a.trx")
    export(tmp_path / "a.trx", tmp_path / "b.trk")
    assert (tmp_path / "b.trk").read_bytes() == data


@pytest.mark.filterwarnings("ignore::trxlib.errors.HeaderWarning")
@pytest.mark.parametrize("names", [0, 1, 10])
def test_trk_of_twelve_scalars_to_trx_and_back(tmp_path: Path, names: int) -> None:
    data = trk_bytes(
        some_streamlines((3, 0, 5)),
        scalars=np.arange(8 * 12, dtype=np.float32).reshape(8, 12),
        scalar_names=tuple(f"n{number}".encode() for number in range(names)),
    )
    convert(write(tmp_path / "a.trk", data), tmp_path / "a.trx")
    export(tmp_path / "a.trx", tmp_path / "b.trk")
    assert (tmp_path / "b.trk").read_bytes() == data


@pytest.mark.parametrize("datatype", ["Float32LE", "Float64LE"])
def test_tck_to_trx_and_back(tmp_path: Path, slicing: str, datatype: str) -> None:
    fields = ("timestamp: 1795334666.4219169617", "roi: seed a.mif", "roi: mask b.mif", "step_size: 0.5")
    lines = some_streamlines((0, 3, 0, 50, 0))
    tck = write(tmp_path / "a.tck", tck_bytes(lines, fields=fields, datatype=datatype))
    export(tck, tmp_path / "direct.tck", reference=REFERENCE)
    convert(tck, tmp_path / "a.trx", reference=REFERENCE)
    export(tmp_path / "a.trx", tmp_path / "b.tck")
    assert (tmp_path / "b.tck").read_bytes() == (tmp_path / "direct.tck").read_bytes()
    data = tck.read_bytes()
    assert (tmp_path / "b.tck").read_bytes().endswith(data[4096:])


def test_float64_positions_bring_a_trk_back_under_any_affine(tmp_path: Path) -> None:
    affine = np.array([[0.9, -0.4, 0.1, -3], [0.5, 1.7, 0.2, 4], [-0.1, 0.3, 3.9, 2], [0, 0, 0, 1]], np.float32)
    lines = [np.random.default_rng(0).uniform(0, 20, (5000, 3)).astype(np.float32)]
    data = trk_bytes(lines, affine=affine, origin=(np.nan, 0, 0))
    convert(write(tmp_path / "a.trk", data), tmp_path / "a.trx", positions_dtype="float64", **ANYWHERE)
    export(tmp_path / "a.trx", tmp_path / "b.trk", **ANYWHERE)
    assert (tmp_path / "b.trk").read_bytes()[1000:] == data[1000:]


def test_header_texts_that_are_not_utf8(tmp_path: Path) -> None:
    data = tck_bytes(some_streamlines((3,)), fields=("who: Jo",)).replace(b"who: Jo", b"who: J\xf6")
    convert(write(tmp_path / "a.tck", data), tmp_path / "a.trx", reference=REFERENCE)
    export(tmp_path / "a.trx", tmp_path / "b.tck")
    assert "who: J\u00f6".encode() in (tmp_path / "b.tck").read_bytes()


def test_the_slicing_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a general affine, where vertices are multiplied in blocks that slices cut elsewhere."""
    affine = np.array([[0.9, -0.4, 0.1, -3], [0.5, 1.7, 0.2, 4], [-0.1, 0.3, 3.9, 2], [0, 0, 0, 1]], np.float32)
    lines = some_streamlines((0, 3, 2000, 5, 0, 7, 900), seed=3)
    path = write(tmp_path / "a.trk", trk_bytes(lines, affine=affine))
    digests = set()
    for slice_bytes, threads in ((1 << 20, False), (48, False), (480, True), (9600, True)):
        monkeypatch.setitem(Slices.__init__.__kwdefaults__, "slice_bytes", slice_bytes)
        monkeypatch.setattr(parallel, "_BIG_BYTES", 0 if threads else 1 << 40)
        monkeypatch.setattr(parallel, "_CORES", 3)
        convert(path, tmp_path / "a.trx")
        digests.add(hashlib.sha256((tmp_path / "a.trx").read_bytes()).hexdigest())
    assert len(digests) == 1
