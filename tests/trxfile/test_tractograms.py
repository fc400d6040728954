"""nibabel Tractograms and dipy StatefulTractograms: coordinates right, arguments untouched."""

from __future__ import annotations

import builtins
import copy
import tracemalloc
import warnings

import nibabel
import numpy as np
import pytest
from nibabel.streamlines import ArraySequence, LazyTractogram, Tractogram
from nibabel.streamlines.tractogram import TractogramItem

from tests.helpers import AFFINE, DIMENSIONS, SHARED, assert_trx_equal, make_trx_arrays, write_plain_zip
from trxlib.errors import DtypeError, HeaderError, InputError, MetadataMismatchError, ShapeError, SpaceWarning
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


def test_no_dtype_dict_is_the_default():
    tractogram = Tractogram([np.ones((5, 3), "f8")], {"w": [[1.0]]}, affine_to_rasmm=np.eye(4))
    reference = {"VOXEL_TO_RASMM": AFFINE, "DIMENSIONS": DIMENSIONS}
    for convert in (TrxFile.from_tractogram, TrxFile.from_lazy_tractogram):
        lazy = LazyTractogram.from_tractogram(tractogram) if convert is TrxFile.from_lazy_tractogram else tractogram
        assert convert(lazy, reference, dtype_dict=None).streamlines._data.dtype == np.float32
    for wrong, error, message in (
        ("float32", InputError, "dtype_dict is 'float32', expected a dict"),
        ({"dps": ["w"]}, InputError, r"dtype_dict\['dps'\] is \['w'\], expected a dict"),
        ({"dps": {"w": "float33"}}, DtypeError, "dps/w are wanted as 'float33', which is no dtype"),
        ({"positions": "flaot32"}, DtypeError, "positions are wanted as 'flaot32'"),
    ):
        with pytest.raises(error, match=message):
            TrxFile.from_tractogram(tractogram, reference, dtype_dict=wrong)


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


@pytest.mark.filterwarnings("ignore::trxlib.errors.SpaceWarning")  # their affines lead anywhere
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


def items_of(*items):
    """Return a LazyTractogram that yields (positions, dps, dpv)."""
    return LazyTractogram.from_data_func(lambda: (TractogramItem(*item) for item in items))


CHUNK_SIZES = (1, 2, 3, 100)
ROWS = np.zeros((2, 3), "f4")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((np.float32(1), np.float64(0.1)), "<f8"),
        ((1, 0.5, 7), "<f8"),
        ((0.5, 1), "<f8"),
        ((np.int8(1), np.int16(300), np.uint16(60000)), "<i4"),
        ((np.uint16(1), np.int16(-1), np.float16(0.5)), "<f8"),
        ((np.float16(0.5), np.int16(-1), np.uint16(1)), "<f4"),
        ((True, np.int8(3)), "i1"),
    ],
)
@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
def test_lazy_data_become_as_wide_as_they_must(values, dtype, chunk_size):
    obj = items_of(*((ROWS, {"w": value}, {"v": [value] * 2}) for value in values))
    trx = TrxFile.from_lazy_tractogram(obj, REFERENCE, chunk_size=chunk_size)
    assert trx.data_per_streamline["w"].dtype == np.dtype(dtype)
    assert trx.data_per_vertex["v"]._data.dtype == np.dtype(dtype)
    assert trx.data_per_streamline["w"].ravel().tolist() == [float(value) for value in values]
    assert trx.data_per_vertex["v"]._data.ravel().tolist() == [float(value) for value in values for _ in range(2)]


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
def test_lazy_streamlines_without_vertices_say_nothing_of_the_width(chunk_size):
    obj = items_of(
        ([], {}, {"v": []}), (ROWS, {}, {"v": np.ones((2, 2), "f2")}), (np.zeros((0, 3)), {}, {"v": np.zeros((0, 5))})
    )
    trx = TrxFile.from_lazy_tractogram(obj, REFERENCE, chunk_size=chunk_size, dtype_dict={})
    assert [len(streamline) for streamline in trx.streamlines] == [0, 2, 0]
    assert trx.data_per_vertex["v"]._data.tolist() == [[1, 1], [1, 1]]
    assert trx.data_per_vertex["v"]._data.dtype == np.float16
    assert trx.streamlines._data.dtype == np.float32


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ((ROWS, {"w": [1.0, 2]}, {"v": [1.0, 2]}), MetadataMismatchError, "streamline 1 has 2 columns of dps/w, .* 1"),
        ((ROWS, {"w": 1.0}, {"v": np.ones((2, 3))}), MetadataMismatchError, "streamline 1 has 3 columns of dpv/v"),
        ((ROWS, {"w": 1.0}, {"v": [1.0]}), MetadataMismatchError, r"streamline 1 has dpv/v of shape \(1,\), .* 2 rows"),
        ((ROWS, {"w": "a"}, {"v": [1.0, 2]}), DtypeError, "cannot hold <U1"),
        ((ROWS, {"w": 2**60}, {"v": [1.0, 2]}), DtypeError, "dps/w holds integers, and 11529"),
        ((ROWS, {"w": np.eye(2)}, {"v": [1.0, 2]}), ShapeError, "streamline 1 has dps/w of shape"),
        ((ROWS, {"w": [[1, 2], [3]]}, {"v": [1.0, 2]}), ShapeError, "streamline 1 has dps/w that are no array"),
        ((np.zeros((3, 4)), {"w": 1.0}, {"v": [1.0]}), ShapeError, r"streamline 1 has positions of shape \(3, 4\)"),
        ((np.zeros((2, 2)), {"w": 1.0}, {"v": [1.0]}), ShapeError, r"streamline 1 has positions of shape \(2, 2\)"),
        (
            (np.zeros((2, 3), complex), {"w": 1.0}, {"v": [1.0, 2]}),
            DtypeError,
            "streamline 1 has positions of complex128",
        ),
    ],
)
@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
def test_lazy_streamlines_that_do_not_fit_are_named(bad, error, message, chunk_size):
    good = (ROWS, {"w": 1.0}, {"v": [0.5, 1]})
    with pytest.raises(error, match=message):
        TrxFile.from_lazy_tractogram(items_of(good, bad, good), REFERENCE, chunk_size=chunk_size)


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
def test_lazy_data_in_a_type_that_cannot_hold_them(chunk_size):
    obj = items_of((ROWS, {"w": 1}, {}), (ROWS, {"w": 0.5}, {}))
    with pytest.raises(DtypeError, match="dps/w holds float64, which int8 cannot hold"):
        TrxFile.from_lazy_tractogram(obj, REFERENCE, chunk_size=chunk_size, dtype_dict={"dps": {"w": "int8"}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_size": 2.5}, "chunk_size is 2.5, expected a whole number, 1 or more"),
        ({"extra_buffer": -100}, "extra_buffer is -100"),
        ({"extra_buffer": 2.5}, "extra_buffer is 2.5"),
    ],
)
def test_lazy_counts_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        TrxFile.from_lazy_tractogram(items_of((ROWS, {}, {})), REFERENCE, **options)


def lazily_read(path):
    return nibabel.streamlines.load(path, lazy_load=True).tractogram


def test_lazily_read_trk_is_converted_as_an_eagerly_read_one(tmp_path):
    """nibabel leaves the affine of a TRK file pending: iterating does not apply it, `.streamlines` does."""
    affine = np.array([[0, -2, 0.5, 10.0], [1.5, 0, 0, -20], [0.2, 0, 3, 30], [0, 0, 0, 1]])
    tractogram = make_tractogram(np.eye(4))[0][[0, 2, 4]]
    header = {"voxel_to_rasmm": affine, "dimensions": DIMENSIONS, "voxel_sizes": np.sqrt((affine[:3, :3] ** 2).sum(0)),
              "voxel_order": "".join(nibabel.aff2axcodes(affine))}  # fmt: skip
    path = str(tmp_path / "a.trk")
    nibabel.streamlines.save(nibabel.streamlines.TrkFile(tractogram, header), path)
    expected = TrxFile.from_tractogram(nibabel.streamlines.load(path).tractogram, path)
    np.testing.assert_allclose(expected.streamlines._data, tractogram.streamlines.get_data(), atol=1e-4)
    for trx in (
        TrxFile.from_lazy_tractogram(lazily_read(path), path, chunk_size=2),
        TrxFile.from_tractogram(lazily_read(path), path),
    ):
        np.testing.assert_allclose(trx.streamlines._data, expected.streamlines._data, rtol=0, atol=1e-5)
        assert trx.get_dtype_dict() == expected.get_dtype_dict()
    both = expected.deepcopy()
    both.append(lazily_read(path))
    np.testing.assert_allclose(both.streamlines._data[9:], expected.streamlines._data, rtol=0, atol=1e-5)


def test_lazily_read_tck(tmp_path):
    path = str(tmp_path / "a.tck")
    tractogram, arrays = make_tractogram(np.eye(4))
    nibabel.streamlines.save(Tractogram(tractogram.streamlines[[0, 2, 4]], affine_to_rasmm=np.eye(4)), path)
    trx = TrxFile.from_lazy_tractogram(lazily_read(path), REFERENCE)
    np.testing.assert_array_equal(trx.streamlines._data, arrays.positions)


@pytest.mark.filterwarnings("ignore::trxlib.errors.SpaceWarning")  # their affines lead anywhere
@pytest.mark.parametrize("by_items", [False, True])
@pytest.mark.parametrize("affine_to_rasmm", [None, np.eye(4), np.diag([2.0, 3, 4, 1])])
def test_pending_affines_are_applied_once(by_items, affine_to_rasmm):
    tractogram, arrays = make_tractogram(np.eye(4))
    obj = LazyTractogram.from_data_func(lambda: iter(tractogram)) if by_items else lazy(tractogram)
    obj.affine_to_rasmm = affine_to_rasmm
    moved = obj.apply_affine(np.array([[0, 2.0, 0, 5], [1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]]))
    # Where streamlines are said to be does not depend on what was applied to them, if that is known at all.
    x, y, z = arrays.positions.T
    expected = np.stack([2 * y + 5, x + 6, 3 * z + 7], 1)
    if affine_to_rasmm is not None:
        expected = arrays.positions @ affine_to_rasmm[:3, :3]
    trx = TrxFile.from_lazy_tractogram(moved, REFERENCE)
    np.testing.assert_allclose(trx.streamlines._data, expected, rtol=1e-5, atol=1e-4)


def test_lazily_read_files_of_the_cohort():
    files = sorted((SHARED / "data").rglob("*.trk"))[:2]
    if not files:
        pytest.skip("needs the TRK files of the shared data beside the repository")
    for path in files:
        eager = nibabel.streamlines.load(str(path)).tractogram
        trx = TrxFile.from_lazy_tractogram(lazily_read(str(path)), str(path))
        np.testing.assert_allclose(trx.streamlines._data, eager.streamlines._data, rtol=0, atol=1e-3)


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


@pytest.mark.parametrize("kind", ["eager", "lazy", "sft"])
def test_append_of_tractograms_widens_types(kind):
    tractogram, arrays = make_tractogram(np.eye(4))
    tractogram.streamlines._data = tractogram.streamlines._data.astype("f8") + 1e-9
    tractogram.data_per_streamline["n"][:] = 300
    trx = TrxFile.from_tractogram(make_tractogram(np.eye(4))[0], REFERENCE, {"positions": "f2"})
    trx.data_per_streamline["n"] = np.ones((5, 2), "i1")
    trx.data_per_streamline["w"] = np.ones((5, 1), "f2")
    added = lazy(tractogram) if kind == "lazy" else tractogram
    if kind == "sft":
        pytest.importorskip("dipy")
        added = trx.to_sft()
        added._tractogram = tractogram
    both = concatenate([trx, TrxFile.from_tractogram(tractogram, REFERENCE, {})])
    trx.append(added)
    assert_trx_equal(trx, both)
    assert trx.streamlines._data.dtype == np.float64
    assert trx.data_per_streamline["n"].dtype == np.int32
    assert trx.data_per_streamline["n"].max() == 300
    np.testing.assert_array_equal(trx.data_per_streamline["w"][5:], arrays.dps["w"])
    empty = TrxFile()
    empty.append(added)
    assert empty.streamlines._data.dtype == np.float64


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


def test_singular_affine_is_named(tmp_path):
    pytest.importorskip("dipy")
    trx = TrxFile(nb_vertices=1, nb_streamlines=1)
    trx.header["VOXEL_TO_RASMM"] = np.diag([2.0, 0, 2, 1])
    with pytest.raises(HeaderError, match="VOXEL_TO_RASMM is singular"):
        trx.to_sft()


@pytest.mark.parametrize(("dtype", "wanted"), [("i2", "float32"), ("u4", "float64"), ("i8", "float64")])
def test_voxels_in_whole_numbers_are_positions(dtype, wanted):
    voxels = np.array([[0, 1, 2], [30_000, 4, 5]], dtype)
    lazy = LazyTractogram(lambda: iter([voxels]), affine_to_rasmm=np.diag([2.0, 2, 2, 1]))
    trx = TrxFile.from_lazy_tractogram(lazy, (np.eye(4), (10, 10, 10)), dtype_dict={})
    assert trx.streamlines._data.dtype == wanted
    assert trx.streamlines[0].tolist() == (2.0 * voxels).tolist()


@pytest.mark.parametrize("twice", [False, True])
def test_an_affine_that_was_applied_already_is_warned_of(tmp_path, twice):
    affine = np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.zeros((10, 10, 10), np.uint8), affine)
    nibabel.save(image, tmp_path / "image.nii.gz")
    voxels = np.random.default_rng(0).uniform(0, 9, (4, 5, 3))
    given = voxels @ affine[:3, :3].T + affine[:3, 3] if twice else voxels
    lazy = LazyTractogram(lambda: iter(given.astype("f4")), affine_to_rasmm=affine)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trx = TrxFile.from_lazy_tractogram(lazy, str(tmp_path / "image.nii.gz"))
    assert [item.category for item in caught] == [SpaceWarning] * twice
    assert not twice or "are they in RASMM already" in str(caught[0].message)
    np.testing.assert_allclose(
        trx.streamlines._data, given.reshape(-1, 3) @ affine[:3, :3].T + affine[:3, 3], atol=1e-3
    )
