"""The table of formats: magic number first, extension second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.formats.made import GRID, SIZES, open_source, read_all, some_streamlines, tck_bytes, trk_bytes, write
from tests.helpers import make_trx_arrays, write_plain_folder, write_plain_zip
from trxlib.errors import FormatError, InputError, InputNotFoundError, UnsupportedFormatError
from trxlib.formats.registry import FORMATS, detect_format
from trxlib.model.space import Space

SPACE = Space(np.diag([*SIZES, 1.0]), GRID)


@pytest.mark.parametrize("gz", [False, True])
def test_the_magic_number_decides(tmp_path: Path, gz: bool) -> None:
    for name, data in (("trk", trk_bytes([])), ("tck", tck_bytes([])), ("vtk", b"# vtk DataFile Version 4.2\n")):
        assert detect_format(write(tmp_path / "misleading.vtp", data, gz=gz)) == name
    arrays = make_trx_arrays()
    assert detect_format(write_plain_zip(arrays, tmp_path / "a.trk")) == "trx"
    assert detect_format(write_plain_folder(arrays, tmp_path / "folder")) == "trx"


def test_trx_is_a_row_like_any_other(tmp_path: Path) -> None:
    arrays = make_trx_arrays()
    for path in (write_plain_zip(arrays, tmp_path / "a.trx"), write_plain_folder(arrays, tmp_path / "folder")):
        with open_source(path) as source:
            found = read_all(source)
            assert source.info.format == "trx"
            assert found["lengths"].tolist() == np.diff(arrays.offsets).tolist()
            np.testing.assert_array_equal(found["positions"], arrays.positions)
            assert found["dps"].keys() == arrays.dps.keys()


@pytest.mark.parametrize(
    ("name", "expected"), [("a.TRK", "trk"), ("a.b.tck.gz", "tck"), ("a.fib", "vtk"), ("a.dpy", "dpy")]
)
def test_the_extension_decides_otherwise(tmp_path: Path, name: str, expected: str) -> None:
    assert detect_format(write(tmp_path / name, b"something else")) == expected


def test_what_is_no_tractogram(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"a\.trk does not exist"):
        detect_format(tmp_path / "a.trk")
    with pytest.raises(UnsupportedFormatError, match=f"known formats are {', '.join(FORMATS)}"):
        detect_format(write(tmp_path / "a.png", b"\x89PNG"))
    with pytest.raises(UnsupportedFormatError, match="folder without header.json"):
        detect_format(tmp_path)
    with pytest.raises(FormatError, match="damaged"):
        detect_format(write(tmp_path / "a.trk.gz", b"\x1f\x8b\x08broken"))


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a.trk.gz", trk_bytes(some_streamlines((300,))), gz=True).read_bytes()
    for cut in (20, len(data) // 2, len(data) - 3):
        with pytest.raises(FormatError, match=r"a\.trk\.gz: .*(truncated|damaged)"):
            read_all(open_source(write(tmp_path / "a.trk.gz", data[:cut])))


def test_every_row_names_a_module_that_can_be_loaded() -> None:
    for name, row in FORMATS.items():
        assert row.name == name
        if name == "trx":
            continue
        module, _, attribute = row.source.partition(":")
        assert module.startswith("trxlib.formats.")
        assert attribute.endswith("Source")


def test_dpy_files_are_read(tmp_path: Path) -> None:
    lines = some_streamlines((3, 0, 2))
    with h5py.File(tmp_path / "a.dpy", "w") as file:
        group = file.create_group("streamlines")
        group["tracks"] = np.concatenate(lines)
        group["offsets"] = np.array([0, 3, 3, 5])
    source = open_source(tmp_path / "a.dpy", reference=SPACE)
    found = read_all(source)
    assert found["lengths"].tolist() == [3, 0, 2]
    np.testing.assert_array_equal(found["positions"], np.concatenate(lines))
    assert source.fingerprint().startswith("crc32:")
    with pytest.raises(InputError, match="give a reference"):
        open_source(tmp_path / "a.dpy")
    with h5py.File(tmp_path / "none.dpy", "w") as file:
        file.create_group("streamlines").create_dataset("tracks", shape=(0, 3), dtype="f4")
        file["streamlines"]["offsets"] = np.zeros(1, np.int64)
    assert read_all(open_source(tmp_path / "none.dpy", reference=SPACE))["lengths"].size == 0
    with pytest.raises(FormatError, match=r"bad\.dpy is no DPY file"):
        open_source(write(tmp_path / "bad.dpy", b"\x89HDF broken"), reference=SPACE)


@pytest.mark.parametrize(
    ("tracks", "offsets", "text"),
    [
        (np.ones((5, 2)), [0, 5], r"tracks has shape \(5, 2\), expected \(vertices, 3\)"),
        (np.ones(15), [0, 5], r"tracks has shape \(15,\)"),
        (np.ones(()), [0, 5], r"tracks has shape \(\)"),
        (np.full((5, 3), 1 + 1j), [0, 5], "tracks is complex128, expected real numbers"),
        (np.full((5, 3), b"1"), [0, 5], "tracks is .*S1.*, expected real numbers"),
        (np.ones((5, 3)), [[0, 5]], r"offsets has shape \(1, 2\)"),
        (np.ones((5, 3)), 5, r"offsets has shape \(\)"),
        (np.ones((5, 3)), [0, 2.5, 5], "offsets is float64 with other values than whole numbers"),
        (np.ones((5, 3)), [0, np.nan], "other values than whole numbers"),
        (np.ones((5, 3)), [0, np.inf], "offsets decreases|there are only 5"),
        (np.ones((5, 3)), [b"0", b"5"], "other values than whole numbers"),
        (np.ones((5, 3)), [0, 4], "offsets ends at 4, but tracks has 5 vertices"),
        (np.ones((5, 3)), [0, 6], "there are only 5 vertices"),
        (np.ones((5, 3)), np.zeros(0, int), "offsets ends at 0, but tracks has 5 vertices"),
        (None, None, "is no DPY file"),
        (None, [0, 5], "is no DPY file"),
    ],
)
def test_odd_dpy_files_are_one_error(tmp_path: Path, tracks: Any, offsets: Any, text: str) -> None:
    with h5py.File(tmp_path / "a.dpy", "w") as file:
        if offsets is None:
            file["streamlines"] = np.ones((5, 3))
        else:
            file["streamlines/offsets"] = offsets
            if tracks is None:
                file.create_group("streamlines/tracks")
            else:
                file["streamlines/tracks"] = tracks
    with pytest.raises(FormatError, match=rf"a\.dpy.*({text})"):
        open_source(tmp_path / "a.dpy", reference=SPACE)


def test_dpy_offsets_may_be_whole_floats(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.dpy", "w") as file:
        file["streamlines/tracks"], file["streamlines/offsets"] = np.ones((5, 3), "i2"), np.array([0.0, 0, 5])
    assert read_all(open_source(tmp_path / "a.dpy", reference=SPACE))["lengths"].tolist() == [0, 5]
