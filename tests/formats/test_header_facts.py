"""Header facts that come back out of a TRX file, and those that nobody can trust."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.formats.made import ANYWHERE, GRID, SIZES, open_source, read_all, some_streamlines, trk_bytes, write
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.commands.convert import convert
from trxlib.errors import HeaderWarning
from trxlib.formats.header_facts import sound_facts

FIELDS: dict[str, Any] = {
    "origin": (1, 2, 3),
    "pad2": b"RAS",
    "iop": (1, 0, 0, 0, 1, 0),
    "flags": b"\1\0\0\0\0\1",
    "reserved": b"kept",
}
#: What a header says of the world, beside an order.
NO_WORLD = {"version 1": {"version": 1}, "version 2 without an affine": {"affine": np.zeros((4, 4))}}


def facts_of(path: Path) -> dict[str, Any]:
    """Return the facts apart from the version and the affine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeaderWarning)
        facts = dict(open_source(path).info.facts)
    return {key: value for key, value in facts.items() if key not in ("version", "vox_to_ras")}


@pytest.mark.filterwarnings("ignore::trxlib.errors.HeaderWarning")
@pytest.mark.parametrize("order", [b"LAS", b"PIR", b"las", b"RAS"])
@pytest.mark.parametrize("kind", NO_WORLD)
@pytest.mark.parametrize("placed", [False, True])
def test_a_header_without_an_affine_comes_back_with_one(tmp_path: Path, order: bytes, kind: str, placed: bool) -> None:
    lines = some_streamlines((3, 0, 5))
    path = write(tmp_path / "a.trk", trk_bytes(lines, order=order, **NO_WORLD[kind], **FIELDS))
    turned = np.array([[0, -4.0, 0, 30], [1, 0, 0, -8], [0, 0, 2, 5], [0, 0, 0, 1]])
    reference = (turned, (8, 5, 6)) if placed and order == b"PIR" else None
    convert(path, tmp_path / "a.trx", reference=reference)
    for source in (tmp_path / "a.trx", path):
        convert(source, tmp_path / "b.trk", reference=reference if source == path else None)
        assert facts_of(tmp_path / "b.trk") == facts_of(path)
        assert (tmp_path / "b.trk").read_bytes()[1000:] == path.read_bytes()[1000:]
        expected = read_all(open_source(path, reference=reference))["positions"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it has an affine now
            again = open_source(tmp_path / "b.trk")
        np.testing.assert_array_equal(read_all(again)["positions"], expected)


@pytest.mark.filterwarnings("ignore:.*voxel_order is empty:trxlib.errors.HeaderWarning")
def test_an_empty_order_comes_back_empty(tmp_path: Path) -> None:
    data = trk_bytes(some_streamlines((3, 0, 5)), order=b"", **FIELDS)
    convert(write(tmp_path / "a.trk", data), tmp_path / "a.trx")
    for source in ("a.trx", "a.trk"):
        convert(tmp_path / source, tmp_path / "b.trk")
        assert (tmp_path / "b.trk").read_bytes() == data


@pytest.mark.parametrize(("shift", "fits"), [(1e-5, True), (0.5, False)])
def test_facts_fit_a_space_that_is_the_same_but_for_rounding(tmp_path: Path, shift: float, fits: bool) -> None:
    lines = some_streamlines((3, 0, 5))
    path = write(tmp_path / "a.trk", trk_bytes(lines, order=b"LPS", **FIELDS))
    affine = np.diag([*SIZES, 1.0])
    affine[:3, 3] = shift
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeaderWarning)  # the reference differs
        convert(path, tmp_path / "a.trx", reference=(affine, GRID), **ANYWHERE)
    convert(tmp_path / "a.trx", tmp_path / "b.trk", **ANYWHERE)
    assert (facts_of(tmp_path / "b.trk") == facts_of(path)) == fits
    # The header that is written is that of the TRX file, and the coordinates are right for it.
    again = open_source(tmp_path / "b.trk")
    np.testing.assert_allclose(again.info.space.voxel_to_rasmm, affine, rtol=1e-7)
    expected = read_all(open_source(path))["positions"]
    np.testing.assert_allclose(read_all(again)["positions"], expected, atol=2e-6)
    read = nib.streamlines.load(tmp_path / "b.trk").streamlines
    np.testing.assert_allclose(read.get_data(), expected, atol=2e-6)


GOOD = {
    "version": 2,
    "voxel_order": "LPS",
    "voxel_size": [2.0, 2.0, 2.0],
    "dim": [10, 11, 12],
    "vox_to_ras": np.diag([2.0, 2, 2, 1]).tolist(),
    "origin": [1, 2, 3],
    "pad2": "01",
    "flags": "010000000001",
    "properties": [["w", b"w".hex()]],
    "foreign": {"kept": [None]},
}


@pytest.mark.parametrize(
    "odd",
    [
        *({"pad1": "zz"}, {"flags": 5}, {"flags": "00" * 7}, {"reserved": None}),
        *({"voxel_size": value} for value in ("abc", [1, 2], [0, 0, 0], [1, 2, float("nan")], [1, [2], 3], ["1"] * 3)),
        *({"origin": value} for value in ([1, 2, 3, 4], [1, 2, 1e39], [1, 2, 10**400], {"x": 1})),
        *({"scalars": value} for value in (5, [["a"]], [["a", "zz"]], [["a", 5]], [["a", "00" * 21]], ["ab"])),
        *({"properties": None}, {"version": "2"}, {"version": []}),
        *({"dim": value} for value in ([1, 2], [-1, 2, 3], [70000, 2, 3], [1.5, 2, 3], None)),
        *({"voxel_order": value} for value in (5, "LPSX", "XYZ", "L\u00c4S", [], "LPS\0\0")),
        *({"vox_to_ras": value} for value in ([1], "a", [[1] * 4] * 3)),
        {"image_orientation_patient": [True] * 6},
    ],
)
def test_trk_facts_that_cannot_be_are_left_out_with_a_warning(tmp_path: Path, odd: dict[str, Any]) -> None:
    arrays = make_trx_arrays(
        lengths=[2, 3], affine=np.diag([2.0, 2, 2, 1]), dimensions=(10, 11, 12), groups={}, dpv={},
        dps={"w": (1, "<f4")}, extra={"TRK": GOOD | odd},
    )  # fmt: skip
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    (key,) = odd
    with pytest.warns(HeaderWarning) as caught:
        convert(path, tmp_path / "b.trk", **ANYWHERE)
    texts = [str(item.message) for item in caught if item.category is HeaderWarning]
    assert texts == [f"{path}: in the header key TRK, '{key}' cannot stand in a TRK header; left out"]
    facts = facts_of(tmp_path / "b.trk")
    if key not in ("voxel_order", "dim", "voxel_size", "flags"):
        assert (facts["voxel_order"], facts.get("flags")) == ("LPS", "010000000001")
    np.testing.assert_allclose(read_all(open_source(tmp_path / "b.trk"))["positions"], arrays.positions, atol=1e-5)
    nib.streamlines.load(tmp_path / "b.trk")


def test_a_key_that_holds_no_facts(tmp_path: Path) -> None:
    for name in ("trk", "tck"):
        arrays = make_trx_arrays(lengths=[2], groups={}, dps={}, dpv={}, extra={name.upper(): [1]})
        path = write_plain_zip(arrays, tmp_path / "a.trx")
        with pytest.warns(HeaderWarning, match=f"the header key {name.upper()} holds no facts"):
            convert(path, tmp_path / f"b.{name}")


def test_tck_facts_that_cannot_be_are_left_out_with_a_warning(tmp_path: Path) -> None:
    facts = {
        "a": "\ud800",
        "b\udc00": "x",
        "c": ["y", "\udfff"],
        "d": {"e": 1},
        "f": None,
        "step": 0.5,
        "roi": ["s", "m"],
    }
    path = write_plain_zip(make_trx_arrays(lengths=[2], groups={}, dps={}, dpv={}), tmp_path / "a.trx")
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["header.json"] = json.dumps(json.loads(entries["header.json"]) | {"TCK": facts}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.warns(HeaderWarning, match=r"key TCK, 'a', 'b\\udc00', 'c', 'd', 'f' cannot stand in a TCK header"):
        convert(path, tmp_path / "b.tck")
    found = open_source(tmp_path / "b.tck", reference=path).info.facts
    assert {key: found[key] for key in found if key != "timestamp"} == {"step": "0.5", "roi": ["s", "m"]}


def test_sound_facts_are_all_kept() -> None:
    assert sound_facts(GOOD, "trk", "a") == GOOD
    assert sound_facts({"a": "b", "c": ["d", 1]}, "tck", "a") == {"a": "b", "c": ["d", 1]}
