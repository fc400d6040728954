"""TinyTrack files of DSI Studio: made here by the format's description, or by scipy; read whole, cut and damaged."""

from __future__ import annotations

import gzip
import io
import struct
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import scipy.io

import trxlib
from tests.formats.made import open_source, read_all, write
from trxlib.errors import (
    DataLossWarning,
    DtypeError,
    FormatError,
    HeaderError,
    HeaderWarning,
    InputError,
    ShapeError,
    SpaceMismatchError,
    TrxError,
    UnsupportedFormatError,
)
from trxlib.formats.registry import detect_format
from trxlib.formats.tinytrack import reader
from trxlib.model.space import Space

GRID = (40, 50, 30)
SIZES = (1.0, 2.0, 1.5)
#: Voxels to the left, back and top, a little oblique, to RAS mm.
AFFINE = np.array([[-1, 0, 0, 17.5], [0, -2, 0, 42.25], [0, 0, 1.5, -9], [0, 0, 0, 1]])
_CODES = {"<f8": 0, "<f4": 10, "<u4": 20, "<i4": 20, "<i2": 30, "<u2": 40, "|u1": 50}


def matrix(name: str, values: Any, dtype: str = "<f4", *, rows: int = 1, code: int | None = None) -> bytes:
    """Return a matrix of a MATLAB 4 file."""
    data = np.asarray(values, dtype=dtype)
    head = struct.pack(
        "<5I", _CODES[data.dtype.str] if code is None else code, rows, data.size // rows, 0, len(name) + 1
    )
    return head + name.encode() + b"\0" + data.tobytes()


def records(lines: list[np.ndarray]) -> bytes:
    """Return the records of streamlines in whole steps of 1/32 voxel, one coordinate after the other."""
    parts = []
    for line in lines:
        parts.append(struct.pack("<I3i", line.size, *line[0].tolist()))
        for before, after in zip(line[:-1].tolist(), line[1:].tolist(), strict=True):
            parts.append(struct.pack("<3b", *(b - a for a, b in zip(before, after, strict=True))))
    return b"".join(parts)


def some_steps(lengths: Any = (3, 1, 5, 70), seed: int = 0) -> list[np.ndarray]:
    """Streamlines in 1/32 voxel, with steps of the largest size among them."""
    rng = np.random.default_rng(seed)
    lines = [np.cumsum(rng.integers(-30, 31, (length, 3)), axis=0) + np.array([640, 700, 480]) for length in lengths]
    for line in lines:
        line[2:] += [127 - 30, -128 + 30, 0]
    return lines


def parts_of(lines: list[np.ndarray], **changes: bytes | None) -> dict[str, bytes]:
    """Return the matrices of a file by name; `changes` replaces some, or leaves them out (None)."""
    parts = {
        "dimension": matrix("dimension", GRID, "<u4"),
        "voxel_size": matrix("voxel_size", SIZES),
        "trans_to_mni": matrix("trans_to_mni", AFFINE.ravel()),
        "report": matrix("report", list(b"Made by a test.\0"), "u1"),
        "parameter_id": matrix("parameter_id", list(b"c9A99193F\0"), "u1"),
        "color": matrix("color", [0xFFA03C], "<u4"),
        "track": matrix("track", np.frombuffer(records(lines), "u1"), "u1", rows=max(1, len(records(lines)))),
    }
    return {name: data for name, data in {**parts, **changes}.items() if data is not None}


def tt_bytes(lines: list[np.ndarray], **changes: bytes | None) -> bytes:
    return b"".join(parts_of(lines, **changes).values())


def rasmm_of(lines: list[np.ndarray], affine: np.ndarray = AFFINE) -> np.ndarray:
    return np.concatenate(lines) / 32 @ affine[:3, :3].T + affine[:3, 3]


def stand_in(sizes: Any = SIZES, grid: Any = GRID) -> np.ndarray:
    """The affine that DSI Studio writes for an image without one, spelled out."""
    return np.array(
        [
            [-sizes[0], 0, 0, sizes[0] * (grid[0] - 1)],
            [0, -sizes[1], 0, sizes[1] * (grid[1] - 1)],
            [0, 0, sizes[2], 0],
            [0, 0, 0, 1],
        ]
    )


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vertices_are_where_the_formula_of_the_format_puts_them(tmp_path: Path, gz: bool, dtype: str) -> None:
    lines = some_steps()
    path = write(tmp_path / "a.tt.gz", tt_bytes(lines), gz=gz)
    source = open_source(path, positions_dtype=dtype)
    found = read_all(source)
    assert found["lengths"].tolist() == [3, 1, 5, 70]
    assert found["positions"].dtype == dtype
    np.testing.assert_allclose(found["positions"], rasmm_of(lines), rtol=0, atol=1e-5 if dtype == "float32" else 1e-12)
    assert (source.info.format, source.info.space.dimensions) == ("tt", GRID)
    np.testing.assert_array_equal(source.info.space.voxel_to_rasmm, AFFINE)
    assert source.record()["own_space"] == source.info.space.to_json()
    assert source.fingerprint() == f"crc32:{zlib.crc32(path.read_bytes()):08x}:{path.stat().st_size}"
    assert source.info.facts == {
        "dimension": list(GRID),
        "voxel_size": list(SIZES),
        "trans_to_mni": AFFINE.tolist(),
        "report": "Made by a test.",
        "parameter_id": "c9A99193F",
        "color": [[255, 160, 60]],
    }


def test_an_oblique_affine_is_applied_as_it_is(tmp_path: Path) -> None:
    affine = AFFINE.copy()
    affine[:3, :3] = AFFINE[:3, :3] @ np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    lines = some_steps()
    data = tt_bytes(
        lines,
        trans_to_mni=matrix("trans_to_mni", affine.ravel(), "<f8"),
        voxel_size=matrix("voxel_size", np.sqrt((affine[:3, :3] ** 2).sum(axis=0))),
    )
    found = read_all(open_source(write(tmp_path / "a.tt", data), positions_dtype="float64"))
    np.testing.assert_allclose(found["positions"], rasmm_of(lines, affine), rtol=0, atol=1e-12)


def test_streamlines_across_slices_and_blocks_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = some_steps(np.random.default_rng(1).integers(1, 40, 200))
    first, second = records(lines[:90]), records(lines[90:])
    data = tt_bytes(lines, track=matrix("track", list(first), "u1") + matrix("track1", list(second), "u1", rows=1))
    path = write(tmp_path / "a.tt.gz", data, gz=True)
    whole = read_all(open_source(path))
    np.testing.assert_allclose(whole["positions"], rasmm_of(lines), rtol=0, atol=1e-4)
    for nbytes in (1, 7, 50, 333):
        monkeypatch.setattr(reader, "_SLICE", nbytes)
        source = open_source(path)
        assert len(list(source.chunks())) > 2
        found = read_all(source)
        np.testing.assert_array_equal(found["positions"], whole["positions"])
        assert found["lengths"].tolist() == [len(line) for line in lines]


def test_scipy_and_trxlib_read_one_file_alike(tmp_path: Path) -> None:
    lines = some_steps()
    path = write(tmp_path / "a.tt", tt_bytes(lines))
    values = scipy.io.loadmat(path)
    assert values["track"].ravel().tobytes() == records(lines)
    assert values["dimension"].ravel().tolist() == list(GRID)
    # Written by scipy, the matrices have other types and shapes, and another order.
    stream = io.BytesIO()
    names = ("track", "trans_to_mni", "voxel_size", "dimension")
    scipy.io.savemat(stream, {name: values[name] for name in names}, format="4")
    again = write(tmp_path / "b.tt", stream.getvalue())
    assert detect_format(again) == "tt"
    np.testing.assert_array_equal(read_all(open_source(again))["positions"], read_all(open_source(path))["positions"])


def test_the_format_is_told_by_content_as_well(tmp_path: Path) -> None:
    data = tt_bytes(some_steps())
    assert detect_format(write(tmp_path / "a.trk", data)) == "tt"
    assert detect_format(write(tmp_path / "a.trk.gz", data, gz=True)) == "tt"


def test_clusters_become_groups_with_their_colours(tmp_path: Path) -> None:
    lines = some_steps((2, 3, 1, 4))
    data = tt_bytes(
        lines,
        color=matrix("color", [0xFFA03C, 0x010203], "<u4"),
        cluster=matrix("cluster", [1, 0, 7, 1], "<u2"),
    )
    path = write(tmp_path / "a.tt.gz", data, gz=True)
    trxlib.convert(path, tmp_path / "a.trx")
    with trxlib.load(tmp_path / "a.trx") as trx:
        assert {name: members.tolist() for name, members in trx.groups.items()} == {
            "cluster_0": [1],
            "cluster_1": [0, 3],
            "cluster_7": [2],
        }
        colors = {name: values["color"].tolist() for name, values in trx.data_per_group.items()}
        assert trx.header["TT"]["report"] == "Made by a test."
    # A cluster without a colour of its own is shown in the first one.
    assert colors == {"cluster_0": [[255, 160, 60]], "cluster_1": [[1, 2, 3]], "cluster_7": [[255, 160, 60]]}
    facts = trxlib.describe(path)
    assert facts["groups"] == {"cluster_0": 1, "cluster_1": 2, "cluster_7": 1}
    assert (facts["nb_streamlines"], facts["nb_vertices"], facts["voxel_sizes"]) == (4, 10, list(SIZES))


def test_groups_of_what_stays_are_renumbered(tmp_path: Path) -> None:
    lines = some_steps((2, 3, 1, 4))
    lines[1][0] = [-3200, 0, 0]
    lines[1][1:] = lines[1][0]
    data = tt_bytes(lines, cluster=matrix("cluster", [1, 0, 0, 1], "<u2"))
    path = write(tmp_path / "a.tt", data)
    options = {"out_of_volume": "drop", "warn_outside": 1, "max_outside": 1}
    with pytest.warns(DataLossWarning, match="1 of 4 streamlines are left out"):
        trxlib.convert(path, tmp_path / "a.trx", **options)
    with trxlib.load(tmp_path / "a.trx") as trx:
        groups = {name: members.tolist() for name, members in trx.groups.items()}
    assert groups == {"cluster_0": [1], "cluster_1": [0, 2]}
    source = open_source(path)
    assert source.select(np.array([0, 2]), keep_groups=False).headers().groups == {}


def test_clusters_of_other_streamlines_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tt", tt_bytes(some_steps(), cluster=matrix("cluster", [0, 1], "<u2")))
    with pytest.warns(HeaderWarning, match="cluster has 2 entries for 4 streamlines"):
        assert open_source(path).groups == {}
    for bad in (matrix("cluster", [0, 1, -1, 0], "<i2"), matrix("cluster", [0, 1, 1, 0.5])):
        with pytest.raises(DtypeError, match="cluster holds other values"):
            open_source(write(tmp_path / "b.tt", tt_bytes(some_steps(), cluster=bad)))


def test_a_file_without_streamlines_is_one_if_it_is_whole(tmp_path: Path) -> None:
    none = tt_bytes([], track=None)
    with pytest.warns(HeaderWarning, match="read as one without streamlines"):
        source = open_source(write(tmp_path / "a.tt.gz", none, gz=True))
    with pytest.warns(HeaderWarning, match="read as one without streamlines"):
        assert read_all(source)["lengths"].tolist() == []
    with pytest.raises(FormatError, match="no matrix 'track'"):
        open_source(write(tmp_path / "a.tt", none))
    empty = write(tmp_path / "b.tt", tt_bytes([], track=matrix("track", [], "u1")))
    assert read_all(open_source(empty))["lengths"].tolist() == []
    for data in (b"", gzip.compress(b"")):
        with pytest.raises(UnsupportedFormatError, match=r"c\.tt is no .*: it is (an empty file|a file of zeros)"):
            open_source(write(tmp_path / "c.tt", data))


def test_other_files_of_dsi_studio_are_no_tractogram(tmp_path: Path) -> None:
    data = tt_bytes([], track=None) + matrix("fa0", [1, 2, 3]) + matrix("index0", [1, 2, 3], "<i2")
    with pytest.raises(FormatError, match=r"there are 'fa0', 'index0'; .*hold no streamlines"):
        open_source(write(tmp_path / "a.fib.gz", data, gz=True))


def test_one_streamline_of_one_vertex_is_read(tmp_path: Path) -> None:
    lines = [np.array([[320, 640, 480]])]
    found = read_all(open_source(write(tmp_path / "a.tt", tt_bytes(lines))))
    assert found["positions"].tolist() == [[7.5, 2.25, 13.5]]


def with_place(lines: list[np.ndarray], kind: str) -> bytes:
    return tt_bytes(lines, trans_to_mni=None if kind == "missing" else matrix("trans_to_mni", stand_in().ravel()))


@pytest.mark.parametrize("order", ["LPS", "RAS", "PIR"])
@pytest.mark.parametrize("kind", ["missing", "made up"])
def test_the_image_says_where_the_grid_is_if_the_file_does_not(tmp_path: Path, kind: str, order: str) -> None:
    """The same image, its axes turned by nibabel: DSI Studio counts voxels to the left, back and top in all of them."""
    image = nib.Nifti1Image(np.zeros(GRID, np.float32), AFFINE)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(("L", "P", "S")), nib.orientations.axcodes2ornt(tuple(order))
    )
    nib.save(image.as_reoriented(turn), tmp_path / "fa.nii.gz")
    lines = some_steps()
    path = write(tmp_path / "a.tt.gz", with_place(lines, kind), gz=True)
    with pytest.warns(HeaderWarning, match="the affine of the image given is taken") as caught:
        source = open_source(path, reference=tmp_path / "fa.nii.gz")
    assert len(caught) == 1
    np.testing.assert_allclose(read_all(source)["positions"], rasmm_of(lines), rtol=0, atol=1e-4)
    assert source.info.space.voxel_order == order
    assert source.info.own_space is None


def test_a_place_that_nobody_knows_is_an_error_and_a_made_up_one_a_warning(tmp_path: Path) -> None:
    lines = some_steps()
    missing = write(tmp_path / "a.tt", with_place(lines, "missing"))
    with pytest.raises(HeaderError, match=r"trans_to_mni is missing.*name the image that was tracked in"):
        open_source(missing)
    made_up = write(tmp_path / "b.tt", with_place(lines, "made up"))
    with pytest.warns(HeaderWarning, match="may be far from the scanner's space"):
        found = read_all(open_source(made_up))
    np.testing.assert_allclose(found["positions"], rasmm_of(lines, stand_in()), rtol=0, atol=1e-4)
    assert trxlib.describe(missing)["voxel_to_rasmm"] is None
    for path in (missing, made_up):
        with pytest.raises(SpaceMismatchError, match="its grid is another than that of the image given"):
            open_source(path, reference=Space(AFFINE, (40, 50, 31)))
        with pytest.raises(SpaceMismatchError, match="its grid is another than that of the image given"):
            open_source(path, reference=Space(AFFINE @ np.diag([2, 2, 2, 1]), GRID))
        with pytest.raises(InputError, match="transform_source"):
            open_source(path, transform=np.diag([1, 1, 1, 1.0]), reference=Space(AFFINE, GRID))


def test_a_transform_leads_from_the_image_that_was_tracked_in(tmp_path: Path) -> None:
    lines = some_steps()
    path = write(tmp_path / "a.tt", with_place(lines, "missing"))
    moved = np.eye(4)
    moved[:3, 3] = [1, 2, 3]
    transform = {"matrix": moved, "source": Space(AFFINE, GRID)}
    with pytest.warns(HeaderWarning, match="the affine of the image given is taken"):
        source = open_source(path, transform=transform, reference=Space(np.eye(4), (90, 90, 90)))
    np.testing.assert_allclose(read_all(source)["positions"], rasmm_of(lines) + moved[:3, 3], rtol=0, atol=1e-4)
    stated = write(tmp_path / "b.tt", tt_bytes(lines))
    found = read_all(open_source(stated, transform=moved))
    np.testing.assert_allclose(found["positions"], rasmm_of(lines) + moved[:3, 3], rtol=0, atol=1e-4)


def test_sizes_that_are_not_those_of_the_affine_are_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tt", tt_bytes(some_steps(), voxel_size=matrix("voxel_size", (2, 2, 2))))
    with pytest.warns(HeaderWarning, match=r"voxel_size is \[2.0, 2.0, 2.0\].*trans_to_mni is taken"):
        open_source(path)


def records_matrix(count: int, nbytes: int, byte: bytes = b"\0") -> bytes:
    """A record that counts so many coordinates, and has so many bytes behind its count."""
    return matrix("track", np.frombuffer(struct.pack("<I", count) + byte * nbytes, "u1"), "u1")


WRONG: dict[str, tuple[dict[str, bytes | None], type[TrxError], str]] = {
    "no dimension": ({"dimension": None}, FormatError, "no matrix 'dimension'"),
    "no voxel size": ({"voxel_size": None}, FormatError, "no matrix 'voxel_size'"),
    "two dimensions": ({"dimension": matrix("dimension", (4, 5), "<u4")}, ShapeError, "has 2 numbers, expected 3"),
    "four dimensions": ({"dimension": matrix("dimension", (4, 5, 6, 7))}, FormatError, "expected at most 3"),
    "half a voxel": ({"dimension": matrix("dimension", (4.5, 5, 6))}, HeaderError, "dimension is"),
    "no voxels": ({"dimension": matrix("dimension", (4, 0, 6))}, HeaderError, "3 whole numbers from 1 to 65535"),
    "negative edge": ({"voxel_size": matrix("voxel_size", (1, -1, 1))}, HeaderError, "lengths in mm above 0"),
    "no edge": ({"voxel_size": matrix("voxel_size", (1, np.nan, 1))}, HeaderError, "lengths in mm above 0"),
    "singular": ({"trans_to_mni": matrix("trans_to_mni", np.zeros(16))}, HeaderError, "trans_to_mni: affine"),
    "transposed": ({"trans_to_mni": matrix("trans_to_mni", AFFINE.T.ravel())}, HeaderError, "last row"),
    "not finite": ({"trans_to_mni": matrix("trans_to_mni", np.full(16, np.inf))}, HeaderError, "not finite"),
    "colour": ({"color": matrix("color", [0.5])}, DtypeError, "color is float32"),
    "track type": ({"track": matrix("track", [1, 2], "<f8")}, DtypeError, "track is float64, expected bytes"),
    "track order": ({"track": matrix("track1", [1, 2], "u1")}, FormatError, "track1 follows after 0 blocks"),
    "twice": ({"color": matrix("report", [1], "u1")}, FormatError, "two matrices 'report'"),
    "sparse": ({"color": matrix("color", [1], code=12)}, FormatError, "its type is 12"),
    "no type": ({"color": matrix("color", [1], code=70)}, FormatError, "its type is 70"),
    "big-endian": ({"color": matrix("color", [1], code=1010)}, DtypeError, "big-endian"),
    "VAX": ({"color": matrix("color", [1], code=2010)}, DtypeError, "of a VAX"),
    "swapped": ({"dimension": matrix("dimension", GRID, code=0xF2030000)}, DtypeError, "big-endian"),
    "count 0": ({"track": records_matrix(0, 20)}, FormatError, "record 0 counts 0"),
    "count 4": ({"track": records_matrix(4, 20)}, FormatError, "record 0 counts 4"),
    "long": ({"track": records_matrix(3 << 29, 0)}, FormatError, "record 0 counts"),
    "cut record": ({"track": records_matrix(99, 20)}, FormatError, "needs 112 bytes"),
    "far": ({"track": records_matrix(3, 12, b"\x7f")}, FormatError, "record 0 begins at"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, name: str) -> None:
    changes, kind, text = WRONG[name]
    path = write(tmp_path / "a.tt", tt_bytes(some_steps(), **changes))
    with pytest.raises(kind, match=text) as raised:
        read_all(open_source(path))
    assert str(path) in str(raised.value)


def test_complex_numbers_and_bad_names_are_no_matrix(tmp_path: Path) -> None:
    data = bytearray(tt_bytes(some_steps()))
    for place, value in ((12, 1), (16, 0), (17, 1)):
        broken = data.copy()
        broken[place] = value
        with pytest.raises(FormatError, match="that of no matrix"):
            open_source(write(tmp_path / "a.tt", bytes(broken)))


def test_a_file_that_is_cut_is_an_error_wherever_it_is_cut(tmp_path: Path) -> None:
    parts = parts_of(some_steps(), cluster=matrix("cluster", [0, 1, 1, 0], "<u2"))
    parts["track"] = parts.pop("track")  # the last one, as today's DSI Studio writes it
    data = b"".join(parts.values())
    borders = np.cumsum([len(part) for part in parts.values()])
    begin = borders[-2]
    ends = begin + 26 + np.cumsum([13 + 3 * length for length in (3, 1, 5, 70)])
    rng = np.random.default_rng(0)
    places = {0, 1, *borders[:-1].tolist(), *(borders[:-1] + 20).tolist(), *ends[:-1].tolist(),
              *rng.integers(0, len(data), 100).tolist()}  # fmt: skip
    packed = gzip.compress(data)
    for place in sorted(places):
        with pytest.raises(TrxError, match=r"a\.tt"):
            read_all(open_source(write(tmp_path / "a.tt", data[:place])))
        if place not in borders:  # what ends at one is a whole gzip, and a case of its own
            with pytest.raises(TrxError, match=r"a\.tt"):
                read_all(open_source(write(tmp_path / "a.tt", data[:place], gz=True)))
        with pytest.raises(TrxError, match=r"a\.tt\.gz"):
            read_all(open_source(write(tmp_path / "a.tt.gz", packed[: place * len(packed) // len(data)])))


def test_bytes_that_are_changed_are_an_error_of_ours_or_other_vertices(tmp_path: Path) -> None:
    data = tt_bytes(some_steps(), cluster=matrix("cluster", [0, 1, 1, 0], "<u2"))
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(data), 300):
        broken = bytearray(data)
        broken[place] ^= int(rng.integers(1, 256))
        path = write(tmp_path / "a.tt", bytes(broken))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_all(open_source(path))
            except TrxError as error:
                refused += "a.tt" in str(error)
    assert 0 < refused < 300


def test_sizes_that_a_file_cannot_hold_take_no_memory(tmp_path: Path) -> None:
    start = tt_bytes([], track=None)
    huge = struct.pack("<5I", 50, 1 << 31, 1 << 31, 0, 6) + b"track\0"
    more = struct.pack("<5I", 50, 1, 1 << 30, 0, 6) + b"other\0"
    zeros = struct.pack("<5I", 50, 1, 300 << 20, 0, 6) + b"track\0" + bytes(300 << 20)
    tracemalloc.start()
    try:
        for data in (start + huge, start + more):
            for gz in (False, True):
                with pytest.raises(FormatError, match="bytes are left; the file is cut or damaged"):
                    open_source(write(tmp_path / "a.tt", data, gz=gz))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
        path = write(tmp_path / "b.tt.gz", gzip.compress(start + zeros, 1))
        del zeros
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(FormatError, match="record 0 counts 0 coordinates"):
            open_source(path)
        assert tracemalloc.get_traced_memory()[1] - before < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_million_vertices_are_read_in_less_than_a_second_of_work(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(-20, 21, (10_000, 99 * 3)).astype(np.int8)
    heads = np.tile(np.array([300, 640, 700, 480], "<i4"), (10_000, 1)).view(np.int8)
    data = np.hstack([heads, steps]).ravel().view(np.uint8)
    path = write(tmp_path / "a.tt.gz", tt_bytes([], track=matrix("track", data, "u1")), gz=True)
    start = time.process_time()
    source = open_source(path)
    vertices = sum(len(chunk.positions) for chunk in source.chunks())
    assert vertices == 1_000_000
    assert time.process_time() - start < 1
