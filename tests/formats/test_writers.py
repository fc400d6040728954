"""TRK and TCK writers: bit-for-bit round trips, other programs as readers, and nothing half-written."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.formats.made import GRID, ORDERS, SIZES, open_source, read_all, some_streamlines, tck_bytes, trk_bytes, write
from trxlib.errors import DataLossWarning, DtypeError, HeaderError, HeaderWarning, InputError
from trxlib.formats.tck.beside import companion_paths
from trxlib.formats.tck.writer import write_tck
from trxlib.formats.trk.writer import write_trk
from trxlib.model.chunk import Chunk
from trxlib.model.source import ArraySpec, SourceInfo
from trxlib.model.space import Space

SPACE = Space(np.diag([*SIZES, 1.0]), GRID)
F4 = np.dtype("<f4")


def chunk_of(lines: list[np.ndarray], **arrays: Any) -> Chunk:
    lengths = np.array([len(line) for line in lines], dtype=np.int64)
    return Chunk(lengths, np.concatenate([np.zeros((0, 3), np.float32), *lines]), **arrays)


def info_of(chunk: Chunk, path: str = "made", **changes: Any) -> SourceInfo:
    specs = {
        section: {key: ArraySpec(values.shape[1], values.dtype) for key, values in getattr(chunk, section).items()}
        for section in ("dps", "dpv")
    }
    info = SourceInfo(path, "made", SPACE, len(chunk.lengths), len(chunk.positions), chunk.positions.dtype, **specs)
    return replace(info, **changes)


@pytest.mark.parametrize("lengths", [(), (0,), (3,), (0, 3, 0, 5, 0), (1, 40, 2, 0, 0, 7)])
@pytest.mark.parametrize("values", [False, True])
def test_trk_comes_back_byte_for_byte(tmp_path: Path, slicing: str, lengths: Any, values: bool) -> None:
    total = sum(lengths)
    options: dict[str, Any] = {}
    if values:
        # Not in alphabetical order, and with a name that no TRX file can hold.
        options |= {"scalars": np.arange(total * 4, dtype=np.float32).reshape(-1, 4)}
        options |= {"scalar_names": (b"rgb\x003", b"f.a"), "property_names": (b"w", b"length")}
        options |= {"properties": np.arange(len(lengths) * 2, dtype=np.float32).reshape(-1, 2)}
    data = trk_bytes(
        some_streamlines(lengths),
        order=b"LPS",
        origin=(1, 2, 3),
        pad2=b"RAS",
        flags=b"\1\0\0\0\0\1",
        reserved=b"kept",
        iop=(1, 0, 0, 0, 1, 0),
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeaderWarning)
        source = open_source(write(tmp_path / "a.trk", data))
    write_trk(tmp_path / "b.trk", source.info, source.chunks())
    assert (tmp_path / "b.trk").read_bytes() == data


@pytest.mark.parametrize("order", ORDERS)
def test_trk_of_every_voxel_order_comes_back(tmp_path: Path, order: str) -> None:
    axes = [["LR", "PA", "IS"].index(pair) for letter in order for pair in ("LR", "PA", "IS") if letter in pair]
    dim, sizes = tuple(np.array(GRID)[axes]), tuple(np.array(SIZES)[axes])
    data = trk_bytes(
        some_streamlines((4, 3)), order=order.encode(), affine=np.diag([*SIZES, 1.0]), dim=dim, sizes=sizes
    )
    source = open_source(write(tmp_path / "a.trk", data))
    write_trk(tmp_path / "b.trk", source.info, source.chunks())
    assert (tmp_path / "b.trk").read_bytes() == data


@pytest.mark.filterwarnings("ignore::trxlib.errors.HeaderWarning")
@pytest.mark.parametrize(
    ("names", "columns"),
    [(0, 1), (0, 3), (1, 3), (0, 10), (3, 10), (9, 10), (0, 11), (10, 11), (0, 12), (1, 12), (10, 12)],
)
def test_columns_without_a_name_come_back_without(tmp_path: Path, names: int, columns: int) -> None:
    lines = some_streamlines((3, 0, 2))
    texts = tuple(f"n{number}".encode() for number in range(names))
    data = trk_bytes(
        lines,
        scalars=np.arange(5 * columns, dtype=np.float32).reshape(5, -1),
        scalar_names=texts,
        properties=np.arange(3 * columns, dtype=np.float32).reshape(3, -1),
        property_names=texts[:1],
    )
    source = open_source(write(tmp_path / "a.trk", data))
    write_trk(tmp_path / "b.trk", source.info, source.chunks())
    assert (tmp_path / "b.trk").read_bytes() == data
    # Without one of them the others keep their keys.
    info = replace(source.info, dpv={key: spec for key, spec in source.info.dpv.items() if key != "scalar_2"})
    if len(info.dpv) < len(source.info.dpv) and len(info.dpv) <= 10:
        write_trk(tmp_path / "c.trk", info, source.chunks())
        found, wanted = read_all(open_source(tmp_path / "c.trk"))["dpv"], read_all(source)["dpv"]
        assert found.keys() == wanted.keys() - {"scalar_2"}
        for key, values in found.items():
            np.testing.assert_array_equal(values, wanted[key])


@pytest.mark.parametrize("datatype", ["Float32LE", "Float64LE"])
@pytest.mark.parametrize("lengths", [(), (0,), (3,), (0, 3, 0, 5, 0), (1, 40, 2, 0, 0, 7)])
def test_tck_comes_back(tmp_path: Path, slicing: str, lengths: Any, datatype: str) -> None:
    fields = ("timestamp: 1795334666.4219169617", "roi: seed a.mif", "roi: mask b.mif", "step_size: 0.5")
    data = tck_bytes(some_streamlines(lengths), fields=fields, datatype=datatype)
    source = open_source(write(tmp_path / "a.tck", data), reference=SPACE)
    write_tck(tmp_path / "b.tck", source.info, source.chunks())
    written = (tmp_path / "b.tck").read_bytes()
    again = open_source(tmp_path / "b.tck", reference=SPACE)
    stamp = again.info.facts["timestamp"]
    assert again.info.facts == {**source.info.facts, "timestamp": stamp}
    assert stamp != "1795334666.4219169617"  # it is made of the tracks
    assert again.info.positions_dtype == source.info.positions_dtype
    assert written[-len(data) + 4096 :] == data[4096:]
    # A second generation is the same file.
    write_tck(tmp_path / "c.tck", again.info, again.chunks())
    assert (tmp_path / "c.tck").read_bytes() == written


def test_values_beside_a_tck_come_back(tmp_path: Path, slicing: str) -> None:
    lines = some_streamlines((3, 0, 5, 1))
    rng = np.random.default_rng(0)
    chunk = chunk_of(
        lines,
        dps={"weight": rng.random((4, 1), np.float32), "index": np.arange(8, dtype=np.int16).reshape(4, 2)},
        dpv={"fa": rng.random((9, 1), np.float32), "rgb": rng.integers(0, 255, (9, 3)).astype(np.uint8)},
    )
    info = info_of(chunk)
    write_tck(tmp_path / "a.tck", info, [chunk])
    dps, dpv = companion_paths(tmp_path / "a.tck", info)
    assert [path.name for path in (*dps.values(), *dpv.values())] == [
        "a_weight.txt",
        "a_index.npy",
        "a_fa.tsf",
        "a_rgb.npy",
    ]
    source = open_source(tmp_path / "a.tck", reference=SPACE, dps=dps, dpv=dpv)
    found = read_all(source)
    for section in ("dps", "dpv"):
        for key, values in getattr(chunk, section).items():
            np.testing.assert_array_equal(found[section][key], values)
            assert getattr(source.info, section)[key].dtype == values.dtype
    write_tck(
        tmp_path / "b.tck", info, [chunk], dps={"index": tmp_path / "i.csv", "weight": tmp_path / "w.txt"}, dpv=dpv
    )
    assert (tmp_path / "i.csv").read_text() == "0, 1\n2, 3\n4, 5\n6, 7\n"
    found = read_all(open_source(tmp_path / "b.tck", reference=SPACE, dps={"index": tmp_path / "i.csv"}))
    np.testing.assert_array_equal(found["dps"]["index"], chunk.dps["index"])


def test_what_a_tck_cannot_hold(tmp_path: Path) -> None:
    chunk = chunk_of(some_streamlines((2,)), dps={"w": np.ones((1, 1), F4)}, dpv={"rgb": np.ones((2, 3), F4)})
    info = info_of(chunk)
    with pytest.warns(DataLossWarning, match=r"a\.tck: a TCK file holds no dps.*w; they are left out"):
        write_tck(tmp_path / "a.tck", info, [chunk], dps={}, dpv={"rgb": tmp_path / "rgb.npy"})
    with pytest.raises(InputError, match="has 3 columns, a .tsf holds one"):
        write_tck(tmp_path / "b.tck", info, [chunk], dpv={"rgb": tmp_path / "rgb.tsf"})
    with pytest.raises(InputError, match=r"dps/w can go to .npy, .txt or .csv"):
        write_tck(tmp_path / "b.tck", info, [chunk], dps={"w": tmp_path / "w.doc"})
    with pytest.raises(InputError, match="no dps gone; there are w"):
        write_tck(tmp_path / "b.tck", info, [chunk], dps={"gone": tmp_path / "w.txt"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tck", "rgb.npy"]


def test_dps_and_dpv_of_one_key_have_files_of_their_own(tmp_path: Path) -> None:
    arrays = {"dps": {"c": np.ones((1, 3), F4), "c_dpv": np.ones((1, 2), F4)}, "dpv": {"c": np.ones((2, 3), F4)}}
    chunk = chunk_of(some_streamlines((2,)), **arrays)
    dps, dpv = companion_paths(tmp_path / "a.tck", info_of(chunk))
    assert {path.name for path in (*dps.values(), *dpv.values())} == {"a_c.npy", "a_c_dpv.npy", "a_c_dpv_dpv.npy"}
    chunk = chunk_of(some_streamlines((2,)), dps={"c": np.ones((1, 3), F4)}, dpv={"c": np.ones((2, 3), F4)})
    same = {"c": tmp_path / "same.npy"}
    for name in ("a.tck", "same.npy"):
        with pytest.raises(InputError, match=r"same\.npy is to be written twice"):
            write_tck(tmp_path / name, info_of(chunk), [chunk], dps=same, dpv=same)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tsf_cannot_hold_nan_and_infinity(tmp_path: Path, value: float) -> None:
    values = np.array([[1], [2], [3], [value]], F4)
    chunk = chunk_of(some_streamlines((2, 0, 2)), dpv={"fa": values})
    with pytest.raises(DtypeError, match=r"fa\.tsf: dpv/fa of streamline 2 is .*name a \.npy"):
        write_tck(tmp_path / "a.tck", info_of(chunk), [chunk], dpv={"fa": tmp_path / "fa.tsf"})
    assert not list(tmp_path.iterdir())
    write_tck(tmp_path / "a.tck", info_of(chunk), [chunk], dpv={"fa": tmp_path / "fa.npy"})
    np.testing.assert_array_equal(np.load(tmp_path / "fa.npy"), values)


def test_a_tck_is_float32_or_float64(tmp_path: Path) -> None:
    chunk = chunk_of(some_streamlines((2, 3)))
    for dtype, name in (("float64", b"Float64LE"), ("float32", b"Float32LE")):
        write_tck(tmp_path / "a.tck", info_of(chunk), [chunk], positions_dtype=dtype)
        assert name in (tmp_path / "a.tck").read_bytes()
        found = read_all(open_source(tmp_path / "a.tck", reference=SPACE))["positions"]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, chunk.positions)
    with pytest.raises(InputError, match=r"b\.tck: positions_dtype is float16, and TCK holds float32 or float64"):
        write_tck(tmp_path / "b.tck", info_of(chunk), [chunk], positions_dtype="float16")
    chunk = replace(chunk, positions=chunk.positions.astype("<f8"))
    chunk.positions[3, 1] = 1e300
    for writer, name, options in ((write_tck, "b.tck", {"positions_dtype": "float32"}), (write_trk, "b.trk", {})):
        with pytest.raises(DtypeError, match=rf"{name}: streamline 1 has the vertex .*1e\+300.*beyond float32"):
            writer(tmp_path / name, info_of(chunk), [chunk], **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tck"]


def test_a_trk_of_another_space_gets_a_header_of_its_own(tmp_path: Path) -> None:
    lines = some_streamlines((3, 2))
    source = open_source(write(tmp_path / "a.trk", trk_bytes(lines, order=b"LPS", origin=(1, 2, 3))))
    moved = Space(np.array([[0.0, -2, 0, 5], [3, 0, 0, -6], [0, 0, 1, 7], [0, 0, 0, 1]]), (9, 8, 7))
    info = replace(source.info, space=moved)
    write_trk(tmp_path / "b.trk", info, source.chunks())
    again = open_source(tmp_path / "b.trk")
    np.testing.assert_array_equal(read_all(again)["positions"], read_all(source)["positions"])
    assert again.info.space.dimensions == (9, 8, 7)
    np.testing.assert_array_equal(again.info.space.voxel_to_rasmm, moved.voxel_to_rasmm)
    assert again.info.facts["voxel_order"] == "ALS"
    assert again.info.facts["origin"] == [0, 0, 0]
    np.testing.assert_allclose(
        nib.streamlines.load(tmp_path / "b.trk").streamlines.get_data(), read_all(source)["positions"], atol=1e-5
    )


def test_values_that_float32_cannot_hold(tmp_path: Path) -> None:
    chunk = chunk_of(
        some_streamlines((2,)),
        dps={"id": np.array([[2**24 + 1]], np.int32), "small": np.array([[7]], np.uint8)},
        dpv={"t": np.array([[0.1], [np.nan]])},
    )
    with pytest.warns(DataLossWarning) as caught:
        write_trk(tmp_path / "a.trk", info_of(chunk), [chunk, chunk])
    assert sorted(str(item.message).split(": ")[1].split(" ")[0] for item in caught) == ["dps/id", "dpv/t"]
    found = read_all(open_source(tmp_path / "a.trk"))
    assert found["dps"]["small"].ravel().tolist() == [7, 7]
    assert found["dps"]["id"].ravel().tolist() == [2**24] * 2
    big = np.array([[2**53 + 1], [2**63 - 1], [2**53]])
    for dtype, number in (("int64", 0), ("uint64", 0), ("int64", 1), ("uint64", 1)):
        other = chunk_of(some_streamlines((2,)), dps={"id": big[number : number + 1].astype(dtype)})
        with pytest.warns(DataLossWarning, match=f"dps/id is {dtype}"):
            write_trk(tmp_path / "b.trk", info_of(other), [other])
    other = chunk_of(some_streamlines((2,)), dps={"id": big[2:]})
    write_trk(tmp_path / "b.trk", info_of(other), [other])
    chunk.dpv["t"][0] = 1e300
    with pytest.raises(DtypeError, match=r"c\.trk: dpv/t holds values beyond float32"):
        write_trk(tmp_path / "c.trk", info_of(chunk), [chunk])


def test_names_that_a_trk_header_cannot_hold(tmp_path: Path) -> None:
    ones = np.ones((1, 1), F4)
    dps = {
        "a_name_of_more_than_20_bytes": ones,
        "a_name_of_more_than_20_too": ones,
        "seed_of_the_streamline": np.ones((1, 3), F4),
    }
    chunk = chunk_of(some_streamlines((2,)), dps=dps)
    with pytest.warns(HeaderWarning, match="does not fit the 20 bytes"):
        write_trk(tmp_path / "a.trk", info_of(chunk), [chunk])
    specs = open_source(tmp_path / "a.trk").info.dps
    assert {key: spec.ncols for key, spec in specs.items()} == {
        "a_name_of_more_than_": 1,
        "a_name_of_more_tha_2": 1,
        "seed_of_the_stream": 3,
    }
    chunk = chunk_of(some_streamlines((2,)), dps={f"k{number}": ones for number in range(11)})
    with pytest.raises(InputError, match="11 arrays .* a TRK file has names for 10"):
        write_trk(tmp_path / "b.trk", info_of(chunk), [chunk])
    with pytest.raises(HeaderError, match=r"b\.trk: dimensions \[40000, 1, 1\] do not fit a TRK header"):
        write_trk(tmp_path / "b.trk", info_of(chunk, dps={}, space=Space(np.eye(4), (40000, 1, 1))), [chunk])
    assert not (tmp_path / "b.trk").exists()


@pytest.mark.parametrize("kind", ["trk", "tck"])
def test_after_an_error_nothing_is_there(tmp_path: Path, kind: str) -> None:
    chunk = chunk_of(some_streamlines((2,)), dps={"w": np.ones((1, 1), F4)}, dpv={"fa": np.ones((2, 1), F4)})

    def broken() -> Any:
        yield chunk
        raise RuntimeError("the disk is gone")

    writer = write_trk if kind == "trk" else write_tck
    (tmp_path / f"a.{kind}").write_bytes(b"what was there before")
    with pytest.raises(RuntimeError, match="the disk is gone"):
        writer(tmp_path / f"a.{kind}", info_of(chunk), broken())
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{kind}"]
    assert (tmp_path / f"a.{kind}").read_bytes() == b"what was there before"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_inputs_are_not_changed(tmp_path: Path, dtype: str) -> None:
    chunk = chunk_of(some_streamlines((3, 2)))
    chunk = replace(chunk, positions=chunk.positions.astype(dtype))
    chunk.positions.flags.writeable = False
    info = info_of(chunk, space=Space(np.diag([-1.0, -2, 4, 1]), GRID))
    progress: list[tuple[int, int]] = []
    for writer, name in ((write_trk, "a.trk"), (write_tck, "a.tck")):
        writer(tmp_path / name, info, [chunk], progress=lambda *done: progress.append(done))
        found = read_all(open_source(tmp_path / name, reference=info.space))["positions"]
        np.testing.assert_array_equal(found, chunk.positions)
    assert progress == [(60, 60), (120, 120) if dtype == "float64" else (60, 60)]  # bytes of vertices


@pytest.mark.skipif(shutil.which("tckinfo") is None, reason="needs MRtrix3's tckinfo")
def test_mrtrix_reads_what_we_write(tmp_path: Path) -> None:
    lines = some_streamlines((3, 5, 1, 60))
    chunk = chunk_of(lines, dps={"w": np.array([[0.5], [1], [2], [4]], F4)}, dpv={"fa": np.ones((69, 1), F4)})
    write_tck(tmp_path / "a.tck", info_of(chunk), [chunk], facts={"step_size": "0.5"})
    count = subprocess.run(
        ["tckinfo", "-quiet", "-count", tmp_path / "a.tck"], check=True, capture_output=True, text=True
    ).stdout
    assert "actual count in file: 4" in count
    assert "step_size" in count
    subprocess.run(["tsfvalidate", "-quiet", tmp_path / "a_fa.tsf", tmp_path / "a.tck"], check=True)
    weights = ["-tck_weights_in", tmp_path / "a_w.txt", "-tck_weights_out", tmp_path / "b.txt", "-minweight", "1.5"]
    subprocess.run(["tckedit", "-quiet", tmp_path / "a.tck", tmp_path / "b.tck", *weights], check=True)
    found = read_all(open_source(tmp_path / "b.tck", reference=SPACE, dps={"w": tmp_path / "b.txt"}))
    assert found["lengths"].tolist() == [1, 60]
    assert found["dps"]["w"].ravel().tolist() == [2, 4]


@pytest.mark.skipif(shutil.which("tckinfo") is None, reason="needs MRtrix3's tckinfo")
def test_header_lines_without_a_value_are_left_out(tmp_path: Path) -> None:
    """MRtrix 3.0 crashes on them, with and without the blank."""
    chunk = chunk_of(some_streamlines((3,)), dpv={"fa": np.ones((3, 1), F4)})
    facts = {"empty": "", "roi": ["seed a.mif", " "], "timestamp": "", "step_size": "0.5"}
    with pytest.warns(HeaderWarning, match=r"a\.tck: header lines without a value are left out.*empty, roi"):
        write_tck(tmp_path / "a.tck", info_of(chunk), [chunk], facts=facts)
    found = open_source(tmp_path / "a.tck", reference=SPACE, companions="none").info.facts
    assert found == {"timestamp": found["timestamp"], "roi": "seed a.mif", "step_size": "0.5"}
    subprocess.run(["tckinfo", "-quiet", tmp_path / "a.tck"], check=True, capture_output=True)
    subprocess.run(["tsfvalidate", "-quiet", tmp_path / "a_fa.tsf", tmp_path / "a.tck"], check=True)


def test_nibabel_reads_what_we_write(tmp_path: Path) -> None:
    lines = some_streamlines((3, 5, 1, 60))
    chunk = chunk_of(lines, dps={"w": np.ones((4, 1), F4)}, dpv={"rgb": np.arange(207, dtype=F4).reshape(69, 3)})
    space = Space(np.array([[0.9, -0.4, 0.1, -3], [0.5, 1.7, 0.2, 4], [-0.1, 0.3, 3.9, 2], [0, 0, 0, 1]]), GRID)
    for writer, name in ((write_trk, "a.trk"), (write_tck, "a.tck")):
        writer(tmp_path / name, info_of(chunk, space=space), [chunk])
        found = nib.streamlines.load(tmp_path / name)
        np.testing.assert_allclose(found.streamlines.get_data(), chunk.positions, atol=1e-4)
    tractogram = nib.streamlines.load(tmp_path / "a.trk").tractogram
    np.testing.assert_array_equal(tractogram.data_per_point["rgb"].get_data(), chunk.dpv["rgb"])
    np.testing.assert_array_equal(tractogram.data_per_streamline["w"], chunk.dps["w"])
