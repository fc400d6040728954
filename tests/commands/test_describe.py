"""What is said of a file without numpy is what is found when it is opened, and so are errors."""

from __future__ import annotations

import gzip
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.formats.made import trk_bytes, write
from tests.helpers import entries_of, make_trx_arrays, write_entries, write_plain_folder, write_plain_zip
from trxlib.commands.describe import _describe_other, _describe_trk
from trxlib.errors import HeaderWarning, TrxError

POINTS = [np.arange(6.0).reshape(2, 3), np.zeros((0, 3)), np.ones((3, 3))]


@pytest.mark.parametrize("kind", ["stored", "deflated", "folder"])
def test_what_is_said_of_a_trx_file_is_what_it_holds(tmp_path: Path, kind: str) -> None:
    arrays = make_trx_arrays(positions_dtype="<f2", extra={"A": [1, None]})
    path = tmp_path / "a.trx"
    if kind == "folder":
        write_plain_folder(arrays, path)
    else:
        write_plain_zip(arrays, path, zipfile.ZIP_DEFLATED if kind == "deflated" else zipfile.ZIP_STORED)
    facts = trxlib.describe(path)
    with trxlib.load(path) as trx:
        assert facts["nb_streamlines"] == len(trx.streamlines)
        assert facts["nb_vertices"] == len(trx.streamlines._data)
        assert facts["groups"] == {name: len(members) for name, members in sorted(trx.groups.items())}
        assert facts["voxel_to_rasmm"] == trx.header["VOXEL_TO_RASMM"].tolist()
    assert facts["positions_dtype"] == "float16"
    assert facts["dps"] == {"color": "3 x uint8", "weight": "1 x float32"}
    assert facts["dpv"] == {"fa": "1 x float16", "flag": "1 x bool", "vector": "3 x float64"}
    assert facts["dpg"] == {"CC": ["box", "volume"]}
    assert facts["header"] == {"MADE_BY": "a test", "A": [1, None]}
    np.testing.assert_array_equal(facts["voxel_sizes"], arrays.space.voxel_sizes)


def test_names_that_cannot_be_written_are_shown_as_they_will_be_extracted(tmp_path: Path) -> None:
    arrays = make_trx_arrays(groups={"AF.L": [0, 1]}, dpg={"AF.L": {"v.a": [[1.0]]}})
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    with pytest.warns(HeaderWarning, match="AF.L becomes AF_L"):
        facts = trxlib.describe(path)
    assert (facts["groups"], facts["dpg"]) == ({"AF_L": 2}, {"AF_L": ["v_a"]})
    with pytest.warns(HeaderWarning):
        (part,) = trxlib.extract_groups(path, tmp_path / "groups", ["AF_L"])
    assert part.nb_streamlines == 2


DAMAGE = {
    "no header": lambda entries: entries.pop("header.json"),
    "no JSON": lambda entries: entries.update({"header.json": b"{"}),
    "no counts": lambda entries: entries.update({"header.json": b'{"NB_VERTICES": 1}'}),
    "no positions": lambda entries: entries.pop("positions.3.float32"),
    "cut": lambda entries: entries.update({"positions.3.float32": entries["positions.3.float32"][:-3]}),
    "rows": lambda entries: entries.update({"dps/weight.float32": b"1234"}),
    "type": lambda entries: entries.update({"dps/other.complex64": b"12345678"}),
    "place": lambda entries: entries.update({"other/weight.float32": b"1234"}),
    "twice": lambda entries: entries.update({"dps/weight.1.float32": entries["dps/weight.float32"]}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_has_the_error_that_opening_it_has(tmp_path: Path, damage: str) -> None:
    entries = entries_of(make_trx_arrays())
    DAMAGE[damage](entries)
    path = write_entries(entries, tmp_path / "a.trx")
    with pytest.raises(TrxError) as opened:
        trxlib.load(path)
    with pytest.raises(TrxError) as described:
        trxlib.describe(path)
    assert type(opened.value) is type(described.value)
    assert str(opened.value) == str(described.value)
    assert str(path) in str(opened.value)


@pytest.mark.parametrize("order", ["LPS", "RAS", "SLA", "PIR"])
@pytest.mark.parametrize("version", [1, 2])
def test_what_is_said_of_a_trk_is_what_is_found_when_it_is_opened(tmp_path: Path, order: str, version: int) -> None:
    path = write(tmp_path / "a.trk", trk_bytes(POINTS, order=order.encode(), version=version))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        light = _describe_trk(path)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert light == _describe_other(path, placed=True)
    assert light is not None
    assert (light["nb_streamlines"], light["nb_vertices"]) == (3, 5)
    assert [str(warning.message) for warning in said] == [str(warning.message) for warning in found]
    assert len(said) == 2 - version


def test_a_trk_of_which_the_size_does_not_tell_the_vertices_is_opened(tmp_path: Path) -> None:
    data = trk_bytes(POINTS, count=0)
    for path in (write(tmp_path / "a.trk", data), write(tmp_path / "b.trk.gz", gzip.compress(data))):
        assert _describe_trk(path) is None
        facts = trxlib.describe(path)
        assert (facts["nb_streamlines"], facts["nb_vertices"]) == (3, 5)


@pytest.mark.parametrize("nbytes", [3, 500, 999, 1010])
def test_a_cut_trk_has_the_error_that_opening_it_has(tmp_path: Path, nbytes: int) -> None:
    path = write(tmp_path / "a.trk", trk_bytes(POINTS)[:nbytes])
    with pytest.raises(TrxError) as opened:
        _describe_other(path, placed=True)
    with pytest.raises(TrxError) as described:
        trxlib.describe(path)
    assert str(opened.value) == str(described.value)
