"""TRK: every kind of header and record, in any slicing; and what is refused."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.made import GRID, SIZES, open_source, read_all, some_streamlines, trk_bytes, write
from trxlib.errors import CountError, FormatError, HeaderError, HeaderWarning, InputError, TrxError
from trxlib.formats.trk.reader import TrkSource, _Records
from trxlib.model.space import Space

HALF = np.array(SIZES) / 2


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("end", ["<", ">"])
@pytest.mark.parametrize("lengths", [(), (0,), (3,), (0, 3, 0, 5, 0), (1, 40, 2, 0, 0, 7)])
def test_coordinates_counts_and_values(tmp_path: Path, slicing: str, end: str, gz: bool, lengths: Any) -> None:
    lines = some_streamlines(lengths)
    total = sum(lengths)
    scalars = np.arange(total * 3, dtype=np.float32).reshape(-1, 3)
    properties = np.arange(len(lengths) * 2, dtype=np.float32).reshape(-1, 2)
    data = trk_bytes(
        lines,
        scalars=scalars,
        properties=properties,
        scalar_names=(b"fa", b"rgb\x002"),
        property_names=(b"seed\x002",),
        end=end,
    )
    source = TrkSource(write(tmp_path / "a.trk", data, gz=gz))
    found = read_all(source)
    assert found["lengths"].tolist() == list(lengths)
    np.testing.assert_array_equal(found["positions"], np.concatenate([np.zeros((0, 3)), *lines]) - HALF)
    assert {key: (spec.ncols, spec.dtype.str) for key, spec in source.info.dpv.items()} == {
        "fa": (1, "<f4"),
        "rgb": (2, "<f4"),
    }
    assert source.info.dps["seed"].ncols == 2
    if total:
        np.testing.assert_array_equal(np.hstack([found["dpv"]["fa"], found["dpv"]["rgb"]]), scalars)
    if lengths:
        np.testing.assert_array_equal(found["dps"]["seed"], properties)


def test_a_record_longer_than_all_slices(tmp_path: Path, slicing: str) -> None:
    lines = some_streamlines((2, 20_000, 3))
    found = read_all(TrkSource(write(tmp_path / "a.trk", trk_bytes(lines))))
    np.testing.assert_array_equal(found["positions"], np.concatenate(lines) - HALF)


@pytest.mark.parametrize("gz", [False, True])
def test_a_count_that_is_not_stored_is_counted(tmp_path: Path, slicing: str, gz: bool) -> None:
    lines = some_streamlines((4, 0, 2))
    properties = np.ones((3, 1), np.float32)
    path = write(tmp_path / "a.trk", trk_bytes(lines, count=0, properties=properties, property_names=(b"w",)), gz=gz)
    source = TrkSource(path)
    assert (source.info.nb_streamlines, source.info.nb_vertices) == (3, 6)
    assert read_all(source)["lengths"].tolist() == [4, 0, 2]


def test_fingerprint_is_the_crc_of_the_file(tmp_path: Path, slicing: str) -> None:
    import zlib

    for gz in (False, True):
        path = write(tmp_path / "a.trk", trk_bytes(some_streamlines((30, 2))), gz=gz)
        content = path.read_bytes()
        source = TrkSource(path)
        expected = f"crc32:{zlib.crc32(content):08x}:{len(content)}"
        assert source.fingerprint() == expected
        source = TrkSource(path)
        read_all(source)
        path.unlink()  # nothing is read again
        assert source.fingerprint() == expected


def test_progress_ends_at_the_size_of_the_file(tmp_path: Path, slicing: str) -> None:
    path = write(tmp_path / "a.trk", trk_bytes(some_streamlines((30, 2))))
    calls: list[tuple[int, int]] = []
    for _ in TrkSource(path).chunks(lambda done, total: calls.append((done, total))):
        pass
    assert calls[-1] == (path.stat().st_size, path.stat().st_size)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize(
    ("names", "count", "keys", "warned"),
    [
        ((b"fa", b"md"), 2, {"fa": 1, "md": 1}, []),
        ((b"rgb\x003", b"fa"), 4, {"rgb": 3, "fa": 1}, []),
        ((), 2, {"scalar_1": 1, "scalar_2": 1}, ["scalar_1", "scalar_2"]),
        ((b"a.b/c",), 1, {"a_b_c": 1}, ["a_b_c"]),
        ((b"fa", b"fa"), 2, {"fa": 1, "fa_2": 1}, ["fa_2"]),
        (
            (b"fa",) + (b"",) * 9,
            12,
            {"fa": 1} | {f"scalar_{n}": 1 for n in range(2, 11)} | {"scalar_11": 2},
            ["scalar_11"],
        ),
    ],
)
def test_names_of_scalars(tmp_path: Path, names: Any, count: int, keys: dict[str, int], warned: list[str]) -> None:
    scalars = np.arange(3 * count, dtype=np.float32).reshape(3, count)
    path = write(tmp_path / "a.trk", trk_bytes(some_streamlines((3,)), scalars=scalars, scalar_names=names))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = TrkSource(path)
    assert {key: spec.ncols for key, spec in source.info.dpv.items()} == keys
    texts = " ".join(str(item.message) for item in caught)
    assert all(key in texts for key in warned)
    assert bool(caught) == bool(warned)
    np.testing.assert_array_equal(np.hstack(list(read_all(source)["dpv"].values())), scalars)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"id_string": b"TRICK"}, HeaderError, "no TRK file"),
        ({"hdr_size": 999}, HeaderError, "hdr_size is 999"),
        ({"version": 7}, HeaderError, "version is 7"),
        ({"n_scalars": -1}, HeaderError, "n_scalars is -1"),
        ({"n_properties": -3}, HeaderError, "n_properties is -3"),
        ({"count": -5}, HeaderError, "n_count is -5"),
        ({"dim": (-8, 6, 5)}, HeaderError, r"dim is \[-8, 6, 5\]"),
        ({"sizes": (0.0, 2.0, 4.0), "affine": np.eye(4)}, HeaderError, "voxel_size"),
        ({"sizes": (np.nan, 2.0, 4.0), "affine": np.eye(4)}, HeaderError, "voxel_size"),
        ({"order": b"LLS"}, HeaderError, "voxel_order is 'LLS'"),
        ({"order": b"RA"}, HeaderError, "voxel_order is 'RA'"),
        ({"affine": np.diag([1.0, 0.0, 4.0, 1.0])}, HeaderError, "singular"),
        ({"affine": np.diag([1.0, np.inf, 4.0, 1.0])}, HeaderError, "not finite"),
        ({"affine": np.eye(4) + np.eye(4)[[1, 2, 3, 0]]}, HeaderError, "last row"),
        ({"n_scalars": 2, "scalar_names": (b"rgb\x003",)}, HeaderError, "only 2 columns"),
        ({"scalar_names": (b"rgb\x000",), "n_scalars": 1}, HeaderError, "0 columns"),
        ({"dim": (0, 0, 0), "order": b"LAS"}, HeaderError, "give a reference"),
        # The data do not fit the header.
        ({"n_scalars": 1, "scalar_names": (b"fa",)}, FormatError, "record 1 at byte 1052"),
        ({"n_properties": 1, "property_names": (b"w",)}, FormatError, "record"),
        ({"count": 3}, CountError, "header counts 3 streamlines"),
        ({"count": 5}, CountError, "header counts 5 streamlines"),
    ],
)
def test_broken_headers(tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str) -> None:
    path = write(tmp_path / "bad.trk", trk_bytes(some_streamlines((3, 0, 5, 1)), **change))
    with pytest.raises(error, match=message) as caught:
        read_all(TrkSource(path))
    assert "bad.trk" in str(caught.value)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("count", [-1, -(2**31), 2**31 - 1, 1000])
def test_a_lying_record_is_refused_without_allocating(tmp_path: Path, slicing: str, count: int, gz: bool) -> None:
    data = trk_bytes(some_streamlines((3, 2)))
    data = data[:1040] + count.to_bytes(4, "little", signed=True) + data[1044:]
    path = write(tmp_path / "bad.trk", data, gz=gz)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="bad.trk: record 1 at byte 1040"):
            read_all(TrkSource(path))
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("stored", [True, False])
def test_every_truncation_is_refused(tmp_path: Path, stored: bool) -> None:
    lines = some_streamlines((2, 0, 1))
    data = trk_bytes(lines, count=None if stored else 0)
    ends = {1000, 1000 + 28, 1000 + 32}  # at a record's border only the stored count tells
    for size in [*range(0, 1000, 37), *range(998, len(data))]:
        path = write(tmp_path / "cut.trk", data[:size])
        if not stored and size in ends:
            assert len(read_all(TrkSource(path))["lengths"]) == sorted(ends).index(size)
            continue
        with pytest.raises(FormatError, match=r"cut\.trk"):
            read_all(TrkSource(path))


def test_bytes_after_the_end_are_refused(tmp_path: Path) -> None:
    data = trk_bytes(some_streamlines((2, 1)))
    for extra in (b"\0", b"\xff" * 3, b"\xff" * 8, b"\0" * 4, b"garbage!" * 9):
        with pytest.raises(FormatError, match=r"bad\.trk.*(record|byte)"):
            read_all(TrkSource(write(tmp_path / "bad.trk", data + extra)))


def test_a_cut_file_is_accepted_on_request(tmp_path: Path, slicing: str) -> None:
    path = write(tmp_path / "a.trk", trk_bytes(some_streamlines((3, 0, 5)), count=9))
    with pytest.raises(CountError, match=r"header counts 9 .* holds fewer \(3 records up to byte 1108\)"):
        read_all(TrkSource(path))
    for count in (1, 2):
        lying = write(tmp_path / "b.trk", trk_bytes(some_streamlines((3, 0, 5)), count=count))
        with pytest.raises(
            CountError, match=rf"header counts {count} streamlines, the file holds more \(\d records up"
        ):
            read_all(TrkSource(lying))
    with pytest.warns(HeaderWarning, match="counts 9 streamlines, the file holds 3"):
        source = TrkSource(path, accept_count_mismatch=True)
    assert read_all(source)["lengths"].tolist() == [3, 0, 5]
    path = write(tmp_path / "whole.trk", trk_bytes(some_streamlines((3, 0, 5))))
    assert read_all(TrkSource(path, accept_count_mismatch=True))["lengths"].tolist() == [3, 0, 5]


def test_one_wrong_byte_never_does_more_than_raise(tmp_path: Path) -> None:
    data = trk_bytes(
        some_streamlines((2, 1)),
        scalars=np.ones((3, 1), np.float32),
        scalar_names=(b"fa",),
        properties=np.ones((2, 1), np.float32),
        property_names=(b"w",),
    )
    path = tmp_path / "a.trk"
    messages = []
    for position in [*range(40), 236, 238, 239, *range(440, 504), *range(940, len(data))]:
        for value in (0, 0x7F, 0xFF):
            path.write_bytes(data[:position] + bytes([value]) + data[position + 1 :])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", HeaderWarning)
                try:
                    read_all(TrkSource(path))
                except TrxError as error:
                    messages.append(str(error))
    assert len(messages) > 100
    assert [message for message in messages if "a.trk" not in message] == []


def test_version_1_and_missing_affines_are_assumed_with_a_warning(tmp_path: Path) -> None:
    lines = some_streamlines((3,))
    for change in ({"version": 1}, {"affine": np.zeros((4, 4))}):
        path = write(tmp_path / "a.trk", trk_bytes(lines, **change))
        with pytest.warns(HeaderWarning, match="voxel sizes are taken for the affine"):
            source = TrkSource(path)
        np.testing.assert_array_equal(source.info.space.voxel_to_rasmm, np.diag([*SIZES, 1.0]))
        np.testing.assert_array_equal(read_all(source)["positions"], lines[0] - HALF)
        affine = np.diag([*SIZES, 1.0])
        affine[:3, 3] = (10, 20, 30)
        with pytest.warns(HeaderWarning, match="affine of the reference is taken"):
            source = TrkSource(path, reference=Space(affine, GRID))
        np.testing.assert_array_equal(read_all(source)["positions"], lines[0] - HALF + (10, 20, 30))
        with pytest.raises(InputError, match="no affine"):
            TrkSource(path, reference=Space(affine, GRID), transform=np.eye(4))


test_version_1_and_missing_affines_are_assumed_with_a_warning = pytest.mark.filterwarnings(
    "ignore::trxlib.errors.HeaderWarning"
)(test_version_1_and_missing_affines_are_assumed_with_a_warning)


def test_an_empty_voxel_order_is_lps(tmp_path: Path) -> None:
    lines = some_streamlines((3,))
    with pytest.warns(HeaderWarning, match="LPS is assumed"):
        source = TrkSource(write(tmp_path / "a.trk", trk_bytes(lines, order=b"")))
    extent = np.array(GRID) * SIZES
    expected = lines[0] * (-1, -1, 1) + (extent[0], extent[1], 0) - HALF
    np.testing.assert_array_equal(read_all(source)["positions"], expected)


def test_version_3_is_read_as_2(tmp_path: Path) -> None:
    with pytest.warns(HeaderWarning, match="version is 3"):
        source = TrkSource(write(tmp_path / "a.trk", trk_bytes(some_streamlines((3,)), version=3)))
    assert read_all(source)["lengths"].tolist() == [3]


def test_reference_and_transform_say_where_the_result_is(tmp_path: Path) -> None:
    lines = some_streamlines((3, 2))
    path = write(tmp_path / "a.trk", trk_bytes(lines))
    points = np.concatenate(lines) - HALF
    move = np.array([[0.0, -1, 0, 5], [1, 0, 0, -6], [0, 0, 1, 7], [0, 0, 0, 1]])
    source = TrkSource(path, transform=move)
    np.testing.assert_allclose(read_all(source)["positions"], points @ move[:3, :3].T + move[:3, 3], atol=1e-5)
    np.testing.assert_array_equal(source.info.space.voxel_to_rasmm, move @ np.diag([*SIZES, 1.0]))
    other = Space(np.diag([3.0, 3, 3, 1]), (9, 9, 9))
    source = TrkSource(path, transform=move, reference=other)
    assert source.info.space is other
    np.testing.assert_allclose(read_all(source)["positions"], points @ move[:3, :3].T + move[:3, 3], atol=1e-5)
    with pytest.warns(HeaderWarning, match="the reference's go into the result"):
        source = TrkSource(path, reference=other)
    np.testing.assert_array_equal(read_all(source)["positions"], points)
    assert source.info.space is other


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.01), ("float32", 1e-5), ("float64", 1e-12)])
def test_positions_dtype(tmp_path: Path, dtype: str, tolerance: float) -> None:
    lines = some_streamlines((3, 2))
    affine = np.array([[0.9, -0.1, 0, 5], [0.1, 1.8, 0.3, -6], [0, -0.2, 4, 7], [0, 0, 0, 1]]).astype(np.float32)
    path = write(tmp_path / "a.trk", trk_bytes(lines, affine=affine))
    points = np.concatenate(lines).astype(np.float64) / SIZES - 0.5
    found = read_all(open_source(path, positions_dtype=dtype))["positions"]
    assert found.dtype == dtype
    np.testing.assert_allclose(found, points @ affine[:3, :3].astype(float).T + affine[:3, 3], atol=tolerance)


def test_float16_refuses_what_does_not_fit_and_says_what_it_costs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.trk", trk_bytes([np.array([[70000.0, 1, 1]])]))
    with pytest.raises(FormatError, match="a.trk: streamline . has the vertex .* does not fit float16"):
        read_all(open_source(path, positions_dtype="float16"))
    path = write(tmp_path / "a.trk", trk_bytes([np.array([[100.53, 1, 1]])]))
    with caplog.at_level("INFO", "trxlib"):
        read_all(open_source(path, positions_dtype="float16"))
    assert "float16 moved vertices by at most 0.03" in caplog.text


def test_facts_say_what_a_trx_header_has_no_field_for(tmp_path: Path) -> None:
    data = trk_bytes(some_streamlines((1,)), origin=(1, 2, 3), pad2=b"LPS", flags=b"\1\0\0\0\0\1", order=b"ras")
    facts = open_source(write(tmp_path / "a.trk", data)).info.facts
    assert facts["voxel_order"] == "ras"
    assert facts["voxel_size"] == list(SIZES)
    assert facts["origin"] == [1, 2, 3]
    assert facts["pad2"] == b"LPS\0".hex()
    assert facts["flags"] == "010000000001"


@pytest.mark.parametrize(("nb_scalars", "nb_properties"), [(0, 0), (1, 0), (0, 2), (2, 1)])
def test_records_are_found_at_once_just_as_one_after_the_other(nb_scalars: int, nb_properties: int) -> None:
    rng = np.random.default_rng(0)
    records = _Records.__new__(_Records)
    records.width, records.nb_properties = 3 + nb_scalars, nb_properties
    found_at_once = 0
    for _ in range(300):
        parts = [np.zeros(0, dtype="<i4")]
        for length in rng.integers(0, 6, rng.integers(0, 20)):
            numbers = rng.random((3 + nb_scalars) * length + nb_properties, dtype=np.float32)
            numbers[rng.random(len(numbers)) < 0.005] = 0  # as small as a count
            parts += [np.array([length], dtype="<i4"), numbers.view("<i4")]
        words = np.concatenate(parts)
        words = words[: rng.integers(0, len(words) + 1)]
        records._failures = 1 << 20  # one after the other
        plain = records._find(words)
        quick = records._find_at_once(words)
        if quick is not None:
            found_at_once += 1
            assert quick.starts.tolist() == plain.starts.tolist()
            assert quick.lengths.tolist() == plain.lengths.tolist()
            assert len(quick.words) == len(plain.words)
    assert found_at_once > 80
