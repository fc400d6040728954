"""nibabel Tractograms and dipy StatefulTractograms: coordinates right, arguments untouched."""

from __future__ import annotations

import builtins
import copy
import tracemalloc

import numpy as np
import pytest
from helpers import AFFINE, DIMENSIONS, assert_trx_equal, make_trx_arrays, write_plain_zip
from nibabel.streamlines import ArraySequence, LazyTractogram, Tractogram
from nibabel.streamlines.tractogram import TractogramItem

from trxlib.errors import DtypeError, HeaderError, InputError, MetadataMismatchError
from trxlib.trx_file_memmap import TrxFile, concatenate, load

REFERENCE = {"VOXEL_TO_RASMM": AFFINE, "DIMENSIONS": DIMENSIONS}
SPACES = ("vox", "voxmm", "rasmm", "lpsmm")
ORIGINS = ("center", "corner")


def make_tractogram(affine=None, seed=0):
    """Return a Tractogram with data of several types; streamlines 1 and 3 are empty."""
    arrays = make_trx_arrays(
        lengths=[3, 0, 2, 0, 4], seed=seed, dps={"w": (1, "<f8"), "n": (2, "<i4")}, dpv={"fa": (1, "<f4")}
    )
    starts, lengths = arrays.offsets[:-1].astype(np.int64), np.diff(arrays.offsets).astype(np.int64)

    def sequence(data):
        result = ArraySequence()
        result._data, result._offsets, result._lengths = data.copy(), starts.copy(), lengths.copy()
        return result

    tractogram = Tractogram(
        sequence(arrays.positions), arrays.dps, {key: sequence(array) for key, array in arrays.dpv.items()}, affine
    )
    return tractogram, arrays


def state_of(tractogram):
    """Return copies of everything in a tractogram."""
    return copy.deepcopy(
        (
            tractogram.streamlines._data,
            tractogram.streamlines._offsets,
            tractogram.streamlines._lengths,
            {key: values._data for key, values in tractogram.data_per_point.items()},
            dict(tractogram.data_per_streamline.items()),
        )
    )


def assert_same_state(tractogram, state):
    for now, before in zip(state_of(tractogram)[:3], state[:3], strict=True):
        np.testing.assert_array_equal(now, before)
        assert now.dtype == before.dtype
    for now, before in zip(state_of(tractogram)[3:], state[3:], strict=True):
        assert now.keys() == before.keys()
        for key in now:
            np.testing.assert_array_equal(now[key], before[key])
            assert now[key].dtype == before[key].dtype


def test_from_tractogram_copies_everything():
    tractogram, arrays = make_tractogram(np.eye(4))
    before = state_of(tractogram)
    trx = TrxFile.from_tractogram(tractogram, REFERENCE)
    assert_trx_equal(trx, make_like(arrays), header=False)
    np.testing.assert_array_equal(trx.header["VOXEL_TO_RASMM"], AFFINE)
    assert trx.header["NB_VERTICES"] == 9
    trx.streamlines._data[:] = 0
    assert_same_state(tractogram, before)


def make_like(arrays):
    arrays.groups, arrays.dpg = {}, {}
    return arrays


@pytest.mark.parametrize("affine", [None, np.eye(4)])
def test_no_affine_means_rasmm(affine):
    tractogram, arrays = make_tractogram(affine)
    np.testing.assert_array_equal(TrxFile.from_tractogram(tractogram, REFERENCE).streamlines._data, arrays.positions)


def test_affine_to_rasmm_is_applied_once():
    affine = np.array([[0, -2, 0, 10.0], [2, 0, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    tractogram, arrays = make_tractogram(affine)
    before = state_of(tractogram)
    trx = TrxFile.from_tractogram(tractogram, REFERENCE)
    x, y, z = arrays.positions.astype(np.float64).T
    expected = np.stack([10 - 2 * y, 20 + 2 * x, 30 + 3 * z], axis=1)
    np.testing.assert_allclose(trx.streamlines._data, expected, rtol=1e-6, atol=1e-5)
    assert_same_state(tractogram, before)
    np.testing.assert_array_equal(tractogram.affine_to_rasmm, affine)


def test_sliced_tractograms():
    tractogram, arrays = make_tractogram(np.eye(4))
    trx = TrxFile.from_tractogram(tractogram[[4, 0, 1]], REFERENCE)
    assert [len(streamline) for streamline in trx.streamlines] == [4, 3, 0]
    np.testing.assert_array_equal(trx.streamlines._data, arrays.positions[[5, 6, 7, 8, 0, 1, 2]])


def test_dtypes_wanted():
    tractogram, arrays = make_tractogram(np.eye(4))
    wanted = {"positions": "float16", "offsets": np.uint64, "dpv": {"fa": np.float64}, "dps": {"n": "int8"}}
    arrays.dps["n"][:] = 5
    tractogram.data_per_streamline["n"][:] = 5
    found = TrxFile.from_tractogram(tractogram, REFERENCE, wanted).get_dtype_dict()
    assert found["positions"] == np.float16
    assert found["offsets"] == np.uint64
    assert found["dpv"]["fa"] == np.float64
    assert found["dps"] == {"n": np.dtype("i1"), "w": np.dtype("<f8")}
    assert wanted["dps"] == {"n": "int8"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"positions": "int32"}, "positions are wanted as int32"),
        ({"offsets": "float32"}, "offsets are wanted as float32"),
        ({"dps": {"n": "uint8"}}, "does not fit uint8"),
        ({"dps": {"w": "int32"}}, "which int32 cannot hold"),
    ],
)
def test_dtypes_that_cannot_be(wanted, message):
    with pytest.raises(DtypeError, match=message):
        TrxFile.from_tractogram(make_tractogram(np.eye(4))[0], REFERENCE, wanted)


def test_defaults_are_not_shared_between_calls():
    TrxFile.from_tractogram(make_tractogram(np.eye(4))[0], REFERENCE)
    defaults = TrxFile.from_tractogram.__defaults__[0]
    assert defaults == {"positions": np.float32, "offsets": np.uint32, "dpv": {}, "dps": {}}


@pytest.mark.parametrize("index", [slice(None), [3, 1], slice(0, 0), [1]])
def test_to_tractogram_and_back(tmp_path, index):
    trx = load(write_plain_zip(make_trx_arrays(groups={}, extra={"X": 1}), tmp_path / "a.trx"))[index]
    tractogram = trx.to_tractogram()
    assert isinstance(tractogram, Tractogram)
    np.testing.assert_array_equal(tractogram.affine_to_rasmm, np.eye(4))
    assert len(tractogram) == len(trx)
    assert not np.shares_memory(tractogram.streamlines._data, trx.streamlines._data)
    wanted = trx.get_dtype_dict()
    assert_trx_equal(TrxFile.from_tractogram(tractogram, trx, wanted), trx, header=False)


def test_to_tractogram_leaves_room_out(tmp_path):
    trx = load(write_plain_zip(make_trx_arrays(), tmp_path / "a.trx"))
    trx.resize(nb_streamlines=50, nb_vertices=500)
    assert len(trx.to_tractogram()) == 12
    assert len(trx) == 50
    assert len(trx.to_tractogram(resize=True)) == len(trx) == 12


# ---- lazy


def lazy(tractogram, affine=None):
    result = LazyTractogram.from_tractogram(tractogram)
    result.affine_to_rasmm = affine
    return result


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 100])
@pytest.mark.parametrize("extra_buffer", [0, 50])
def test_lazy_equals_eager(chunk_size, extra_buffer):
    tractogram, _ = make_tractogram(np.eye(4))
    trx = TrxFile.from_lazy_tractogram(lazy(tractogram), REFERENCE, extra_buffer, chunk_size)
    assert_trx_equal(trx, TrxFile.from_tractogram(tractogram, REFERENCE))
    assert len(trx) == 5


def test_lazy_affine_is_applied():
    affine = np.diag([2.0, 3, 4, 1])
    tractogram, arrays = make_tractogram(np.eye(4))
    trx = TrxFile.from_lazy_tractogram(lazy(tractogram, affine), REFERENCE, chunk_size=2)
    np.testing.assert_allclose(trx.streamlines._data, arrays.positions * [2, 3, 4], rtol=1e-6)


def test_lazy_without_streamlines():
    trx = TrxFile.from_lazy_tractogram(LazyTractogram(lambda: iter(())), REFERENCE)
    assert len(trx) == 0
    np.testing.assert_array_equal(trx.header["VOXEL_TO_RASMM"], AFFINE)


def test_from_tractogram_takes_a_lazy_one():
    tractogram, _ = make_tractogram(np.eye(4))
    assert_trx_equal(
        TrxFile.from_tractogram(lazy(tractogram), REFERENCE), TrxFile.from_tractogram(tractogram, REFERENCE)
    )


def test_lazy_data_that_differ_are_named():
    def items():
        yield TractogramItem(np.zeros((2, 3)), {"w": [1]}, {})
        yield TractogramItem(np.zeros((2, 3)), {}, {})

    for chunk_size in (1, 10):
        with pytest.raises(MetadataMismatchError, match=r"streamline 1.*\['w'\]"):
            TrxFile.from_lazy_tractogram(LazyTractogram.from_data_func(items), REFERENCE, chunk_size=chunk_size)
    with pytest.raises(InputError, match="chunk_size is 0"):
        TrxFile.from_lazy_tractogram(LazyTractogram.from_data_func(items), REFERENCE, chunk_size=0)


def test_lazy_memory_is_bounded():
    def items():
        for _ in range(4000):
            yield TractogramItem(np.ones((400, 3), "f4"), {}, {})

    tracemalloc.start()
    trx = TrxFile.from_lazy_tractogram(LazyTractogram.from_data_func(items), REFERENCE, chunk_size=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trx.header["NB_VERTICES"] == 1_600_000
    assert peak < 6e6, "the streamlines are 19 MB; only chunks of 0.5 MB should be in memory"


# ---- StatefulTractogram


def make_sft(space="rasmm", origin="center", arrays=None):
    """Return a StatefulTractogram in a state, and the RASMM positions at the voxel's centre it stands for."""
    sft_module = pytest.importorskip("dipy.io.stateful_tractogram")
    _, made = make_tractogram()
    arrays = arrays or made
    trx = TrxFile.from_tractogram(make_tractogram(np.eye(4))[0], REFERENCE)
    sft = trx.to_sft()
    sft.to_space(sft_module.Space(space))
    if origin == "corner":
        sft.to_corner()
    return sft, arrays.positions


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("origin", ORIGINS)
def test_every_space_and_origin(space, origin):
    sft, positions = make_sft(space, origin)
    before = state_of(sft._tractogram)
    trx = TrxFile.from_sft(sft)
    np.testing.assert_allclose(trx.streamlines._data, positions, rtol=0, atol=2e-4)
    assert_same_state(sft._tractogram, before)
    assert sft.space.value == space
    assert sft.origin.name == ("TRACKVIS" if origin == "corner" else "NIFTI")
    if (space, origin) == ("rasmm", "center"):
        np.testing.assert_array_equal(trx.streamlines._data, positions)


def test_hand_computed_coordinates():
    sft_module = pytest.importorskip("dipy.io.stateful_tractogram")
    affine = np.array([[2.0, 0, 0, 100], [0, 3, 0, 200], [0, 0, 4, 300], [0, 0, 0, 1]], "f4")
    attributes = (affine, np.array([10, 10, 10], "i2"), np.array([2, 3, 4], "f4"), "RAS")
    expected = {
        ("vox", "nifti"): [102, 206, 312],
        ("vox", "trackvis"): [101, 204.5, 310],
        ("voxmm", "nifti"): [101, 202, 303],
        ("voxmm", "trackvis"): [100, 200.5, 301],
        ("rasmm", "nifti"): [1, 2, 3],
        ("rasmm", "trackvis"): [0, 0.5, 1],
        ("lpsmm", "nifti"): [-1, -2, 3],
    }
    for (space, origin), point in expected.items():
        sft = sft_module.StatefulTractogram(
            [np.array([[1, 2, 3]], "f4")], attributes, sft_module.Space(space), origin=sft_module.Origin[origin.upper()]
        )
        assert TrxFile.from_sft(sft).streamlines._data.tolist() == [point], (space, origin)


def test_to_sft_and_back(tmp_path):
    arrays = make_trx_arrays(groups={}, sidecars={})
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    sft = trx.to_sft()
    assert sft.space.value == "rasmm"
    assert sft.origin.name == "NIFTI"
    np.testing.assert_allclose(sft.affine, AFFINE, rtol=1e-6)
    assert sft.dimensions.tolist() == list(DIMENSIONS)
    assert_trx_equal(TrxFile.from_sft(sft), trx, header=False)


def test_from_sft_with_types_wanted():
    sft, _ = make_sft()
    found = TrxFile.from_sft(sft, {"positions": np.float16, "dpp": {"fa": np.float64}}).get_dtype_dict()
    assert found["positions"] == np.float16
    assert found["dpv"] == {"fa": np.dtype("<f8")}
    assert found["offsets"] == np.uint32


def test_append_of_tractograms(tmp_path):
    tractogram, _ = make_tractogram(np.eye(4))
    sft, _ = make_sft("vox", "corner")
    trx = TrxFile.from_tractogram(tractogram, REFERENCE)
    expected = concatenate([trx, trx])
    trx.append(tractogram)
    assert_trx_equal(trx, expected)
    trx.append(sft)
    assert len(trx) == 15
    np.testing.assert_allclose(trx.streamlines[14], tractogram.streamlines[4], rtol=0, atol=2e-4)


def test_missing_dipy_is_an_import_error_that_says_so(tmp_path, monkeypatch):
    trx = load(write_plain_zip(make_trx_arrays(), tmp_path / "a.trx"))
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("dipy"):
            raise ImportError("no dipy here")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match="to_sft needs the package dipy"):
        trx.to_sft()
    tractogram, _ = make_tractogram(np.eye(4))
    assert len(TrxFile.from_tractogram(tractogram, REFERENCE)) == 5


def test_bad_references_and_affines():
    tractogram, _ = make_tractogram(np.eye(4))
    with pytest.raises(HeaderError, match="singular"):
        TrxFile.from_tractogram(tractogram, {"VOXEL_TO_RASMM": np.diag([1, 1, 0, 1]), "DIMENSIONS": DIMENSIONS})
    with pytest.raises(InputError, match="no reference"):
        TrxFile.from_tractogram(tractogram, 5)
