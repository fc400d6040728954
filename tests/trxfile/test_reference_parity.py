"""Side by side with the reference package (trx-python): equal wherever it keeps its document.

Where it does not, and where we chose otherwise: ``docs/differences.md``, each with the test that shows what we do.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from nibabel.streamlines import LazyTractogram, Tractogram

import trxlib.trx_file_memmap as ours
from tests.helpers import (
    AFFINE,
    DIMENSIONS,
    assert_trx_equal,
    make_trx_arrays,
    read_plain,
    write_plain_folder,
    write_plain_zip,
)
from trxlib.errors import ClosedError, DataLossWarning

theirs = pytest.importorskip("trx.trx_file_memmap")

# The reference package leaves files open, and logs.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
#: What both can hold: no empty streamline at the end, no empty group, no sidecar.
PLAIN = {"lengths": [3, 0, 5, 1, 4, 2], "groups": {"CC": [0, 2, 5], "CST": [1, 4]}, "sidecars": {}}
REFERENCE = {"VOXEL_TO_RASMM": AFFINE, "DIMENSIONS": np.array(DIMENSIONS, "u2"), "NB_VERTICES": 0, "NB_STREAMLINES": 0}


def reference_tractogram():
    """A Tractogram whose data both convert alike."""
    arrays = make_trx_arrays(lengths=[3, 2, 4], dps={"w": (1, "<f4")}, dpv={"fa": (2, "<f4")}, groups={})
    pieces = np.split(np.arange(9), arrays.offsets[1:-1])
    return Tractogram(
        [arrays.positions[piece] for piece in pieces],
        arrays.dps,
        {key: [array[piece] for piece in pieces] for key, array in arrays.dpv.items()},
        np.eye(4),
    )


@pytest.fixture
def pair(tmp_path):
    """The same file, loaded by both."""
    path = write_plain_zip(make_trx_arrays(**PLAIN), tmp_path / "pair.trx")
    copy = write_plain_zip(make_trx_arrays(**PLAIN), tmp_path / "pair_of_theirs.trx")
    return ours.load(str(path)), theirs.load(str(copy))


def assert_same(mine, other):
    """Compare with a TrxFile of theirs: all arrays; group members as sets, their dtype differs."""
    assert_trx_equal(mine, other, dtypes=False, header=False)
    for key in ("NB_STREAMLINES", "NB_VERTICES"):
        assert mine.header[key] == other.header[key]
    np.testing.assert_allclose(mine.header["VOXEL_TO_RASMM"], other.header["VOXEL_TO_RASMM"], rtol=1e-6)
    assert list(mine.header["DIMENSIONS"]) == list(other.header["DIMENSIONS"])
    assert len(mine) == len(other)


# ---- files go both ways


@pytest.mark.parametrize("positions", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("offsets", ["<u4", "<u8"])
def test_both_load_the_same(tmp_path, positions, offsets):
    arrays = make_trx_arrays(positions_dtype=positions, offsets_dtype=offsets, **PLAIN)
    for path in (write_plain_zip(arrays, tmp_path / "a.trx"), write_plain_folder(arrays, tmp_path / "folder")):
        mine, other = ours.load(str(path)), theirs.load(str(path))
        assert_same(mine, other)
        assert_trx_equal(mine, other, header=False)


@pytest.mark.parametrize("name", ["a.trx", "folder", "packed.trx"])
def test_they_read_what_we_write(tmp_path, name):
    mine = ours.load(write_plain_zip(make_trx_arrays(**PLAIN), tmp_path / "in.trx"))
    ours.save(mine, tmp_path / name, 8 if name == "packed.trx" else 0)
    assert_same(mine, theirs.load(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["a.trx", "folder", "packed.trx"])
def test_we_read_what_they_write(tmp_path, pair, name):
    _, other = pair
    theirs.save(other, str(tmp_path / name), 8 if name == "packed.trx" else 0)
    mine = ours.load(tmp_path / name)
    assert_same(mine, other)
    ours.save(mine, tmp_path / "again.trx")
    assert_trx_equal(tmp_path / "again.trx", mine)


def test_they_read_selections_of_ours(tmp_path):
    mine = ours.load(write_plain_zip(make_trx_arrays(**PLAIN), tmp_path / "in.trx"))
    for number, index in enumerate(([2, 0], slice(2, 6, 2), np.array([True, False, True, True, False, True]))):
        ours.save(mine[index], tmp_path / f"{number}.trx")
        assert_same(mine[index], theirs.load(str(tmp_path / f"{number}.trx")))


def test_real_file(cohort_folder, tmp_path):
    (path,) = cohort_folder.glob("sub-01/dwi/*.trx")
    local = tmp_path / path.name
    local.write_bytes(path.read_bytes())
    mine = ours.load(path)
    assert_same(mine, theirs.load(str(local)))
    ours.save(mine, tmp_path / "ours.trx")
    assert_same(mine, theirs.load(str(tmp_path / "ours.trx")))
    assert_trx_equal(tmp_path / "ours.trx", path, dtypes=False)


# ---- operations


@pytest.mark.parametrize("index", [[0], [4, 2, 0], [1, 3], np.array([5, 4]), slice(0, 4), slice(5, None, -2), 3, -1])
def test_select(pair, index):
    mine, other = pair
    if isinstance(index, int | slice):
        assert_trx_equal(
            mine[index].to_memory(), streamlines_only(other[index], mine[index]), dtypes=False, header=False
        )
        return
    found, expected = mine.select(index), other.select(index)
    assert_trx_equal(found, expected, dtypes=False, header=False)
    assert found.header["NB_STREAMLINES"] == expected.header["NB_STREAMLINES"]


def streamlines_only(other, mine):
    """Give a result of theirs the groups of ours: their [] drops groups."""
    other.groups, other.data_per_group = mine.groups, mine.data_per_group
    return other


@pytest.mark.parametrize("name", ["CC", "CST"])
@pytest.mark.parametrize("keep_group", [True, False])
def test_get_group(pair, name, keep_group):
    mine, other = pair
    found = mine.get_group(name, keep_group=keep_group)
    assert_trx_equal(found, other.get_group(name, keep_group=keep_group), dtypes=False, header=False)


def test_deepcopy_and_to_memory(pair):
    mine, other = pair
    assert_same(mine.deepcopy(), other.deepcopy())
    assert_same(mine.to_memory(), other.to_memory())


def test_get_dtype_dict(pair):
    mine, other = pair
    found, expected = mine.get_dtype_dict(), other.get_dtype_dict()
    assert found.keys() == expected.keys()
    for key in ("positions", "offsets", "dpv", "dps", "dpg"):
        assert found[key] == expected[key]


@pytest.mark.parametrize("delete_groups", [True, False])
def test_concatenate(pair, delete_groups):
    mine, other = pair
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataLossWarning)
        found = ours.concatenate([mine, mine], delete_groups=delete_groups)
    expected = theirs.concatenate([other, other], delete_groups=delete_groups)
    expected.data_per_group = found.data_per_group  # theirs drops dpg
    assert_same(found, expected)


def test_preallocated_concatenation(pair):
    mine, other = pair
    results = []
    for package, trx in ((ours, mine), (theirs, other)):
        room = package.TrxFile(nb_vertices=100, nb_streamlines=50, init_as=trx)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataLossWarning)
            result = package.concatenate([room, trx, trx], preallocation=True, delete_groups=True)
        assert result._get_real_len() == (12, 30)
        result.resize()
        results.append(result)
    assert_same(*results)


@pytest.mark.parametrize("size", [{"nb_streamlines": 3}, {"nb_streamlines": 5, "delete_dpg": True}, {}])
def test_resize_down(pair, size):
    mine, other = pair
    mine.resize(**size)
    other.resize(**size)
    assert_same(mine, other)


@pytest.mark.parametrize("extra_buffer", [0, 10])
def test_append(pair, extra_buffer):
    mine, other = pair
    for trx in (mine, other):
        twin = trx.deepcopy()
        trx.append(twin, extra_buffer=extra_buffer)
        assert trx._get_real_len() == (12, 30)
        trx.resize()
    other.groups, other.data_per_group = mine.groups, mine.data_per_group  # theirs drops those appended
    assert_same(mine, other)


def test_from_and_to_tractogram():
    mine = ours.TrxFile.from_tractogram(reference_tractogram(), REFERENCE)
    other = theirs.TrxFile.from_tractogram(reference_tractogram(), REFERENCE)
    assert_same(mine, other)
    for found, expected in zip(mine.to_tractogram(), other.to_tractogram(), strict=True):
        np.testing.assert_array_equal(found.streamline, expected.streamline)
        np.testing.assert_array_equal(found.data_for_points["fa"], expected.data_for_points["fa"])
        np.testing.assert_array_equal(found.data_for_streamline["w"], expected.data_for_streamline["w"])


@pytest.mark.parametrize("chunk_size", [1, 2, 50])
def test_from_lazy_tractogram(chunk_size):
    results = [
        package.TrxFile.from_lazy_tractogram(
            LazyTractogram.from_tractogram(reference_tractogram()), REFERENCE, chunk_size=chunk_size
        )
        for package in (ours, theirs)
    ]
    assert_same(*results)


def test_from_and_to_sft(pair):
    pytest.importorskip("dipy")
    mine, other = pair
    assert mine.to_sft() == other.to_sft()
    found, expected = ours.TrxFile.from_sft(mine.to_sft()), theirs.TrxFile.from_sft(other.to_sft())
    assert_trx_equal(found, expected, header=False, dtypes=False)


def test_close(pair):
    for trx in pair:
        trx.close()
        trx.close()
    with pytest.raises(ClosedError):
        len(pair[0])
    assert len(pair[1]) == 0


# ---- helpers


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("_append_last_offsets", (np.array([0, 2, 2, 5], "u4"), 9)),
        ("_generate_filename_from_data", (np.zeros((3, 2), "f4"), "mean")),
        ("_generate_filename_from_data", (np.zeros((3, 1), bool), "mean.x")),
        ("_split_ext_with_dimensionality", ("a/color.3.uint8",)),
        ("_compute_lengths", (np.array([0, 2, 4, 9], "u4"),)),
        ("_is_dtype_valid", (".float32",)),
        ("_is_dtype_valid", ("txt",)),
        ("_dichotomic_search", (np.array([1, 2, 3, 0, 0]),)),
        ("_dichotomic_search", (np.array([0, 0]),)),
        ("_dichotomic_search", (np.array([4, 0, 2, 0, 1]), 1, 3)),
    ],
)
def test_helpers(name, arguments):
    found, expected = getattr(ours, name)(*arguments), getattr(theirs, name)(*arguments)
    np.testing.assert_array_equal(found, expected)
    assert type(found) is type(expected) or isinstance(found, bool | int | str)


# ---- the table of differences


def test_every_difference_names_a_test_that_is_there():
    root = Path(__file__).resolve().parents[2]
    rows = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (root / "docs" / "differences.md").read_text())
    assert len(rows) >= 20
    for file, name in rows:
        assert f"def {name}(" in (root / file).read_text(), f"{file} has no {name}"


def test_differences_that_only_a_comparison_shows(pair, tmp_path):
    mine, other = pair
    assert mine[[1, 2]].groups.keys() == {"CC", "CST"}
    assert other[[1, 2]].groups == {}, "the reference package keeps groups now: update docs/differences.md"
    assert mine.header["VOXEL_TO_RASMM"].dtype == np.float64
    mine.append(ours.load(tmp_path / "pair.trx"))
    assert mine.groups["CST"].tolist() == [1, 4, 7, 10]
    assert read_plain(tmp_path / "pair.trx").groups["CST"].tolist() == [1, 4]
