"""Files that are cut: an error that names the file, a warning, or all that the whole file has; never silently less."""

from __future__ import annotations

import gzip
import io
import random
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trxlib
from tests.formats.made import ANYWHERE, some_streamlines, tck_bytes, trk_bytes, write
from tests.helpers import as_parts, assert_trx_equal, entries_of, make_trx_arrays, write_plain_folder, write_plain_zip
from trxlib.commands.convert import ConvertInput
from trxlib.errors import TrxError, TrxWarning
from trxlib.model.space import Space

SPACE = Space(np.eye(4), (64, 64, 64))
LINES = some_streamlines((3, 1, 5, 2))
NB_VERTICES = 11
READING: dict[str, Any] = {**ANYWHERE, "companions": "none"}


def cuts(data: bytes, borders: Iterable[int], count: int = 200) -> list[int]:
    """Every border, the byte before and behind it, and places by chance."""
    near = {border + shift for border in (0, *borders) for shift in (-1, 0, 1)}
    chance = random.Random(7).sample(range(len(data)), min(count, len(data)))
    return sorted(place for place in {*near, *chance} if 0 <= place < len(data))


def is_less(work: Callable[[], Any], whole: Any, name: str, usual: Iterable[str] = ()) -> bool:
    """Tell whether `work` gives other arrays than `whole` without a word; its errors are ours and name the file.

    `usual` are the warnings of the whole file: they tell nothing of a cut.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = as_parts(work())
        except TrxError as error:
            assert name in str(error), f"the file is not named: {error}"  # noqa: PT017 (or it is whole, or warned of)
            return False
    wanted = as_parts(whole)
    same = result.keys() == wanted.keys() and all(np.array_equal(result[key], wanted[key]) for key in wanted)
    return not same and not any(
        issubclass(item.category, TrxWarning) and str(item.message) not in usual for item in caught
    )


def silent_cuts(
    folder: Path, name: str, data: bytes, places: Iterable[int], convert: Callable[[Path, Path], Any]
) -> list[int]:
    """Return the places where a file that is cut there gives less, and nobody says so."""
    whole, target = folder / "whole.trx", folder / "out.trx"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        convert(write(folder / name, data), whole)
    usual = {str(item.message) for item in caught}

    def work() -> Path:
        target.unlink(missing_ok=True)
        convert(folder / name, target)
        return target

    found = []
    for place in places:
        write(folder / name, data[:place])
        if is_less(work, whole, name, usual):
            found.append(place)
    return found


def plain(path: Path, out: Path) -> None:
    trxlib.convert(path, out, **READING)


def with_space(path: Path, out: Path) -> None:
    trxlib.convert(path, out, reference=SPACE, **READING)


def trk_borders(data: bytes) -> list[int]:
    steps = np.cumsum([4 + 16 * len(points) + 4 for points in LINES])
    return [6, 12, 24, 36, 988, 992, 996, 1000, *(1000 + steps).tolist(), *(1000 + steps - 4).tolist()]


def make_trk() -> bytes:
    return trk_bytes(
        LINES,
        scalars=np.arange(NB_VERTICES, dtype=np.float32)[:, None],
        properties=np.arange(len(LINES), dtype=np.float32)[:, None],
        scalar_names=(b"fa",),
        property_names=(b"weight",),
    )


@pytest.mark.parametrize("name", ["cut.trk", "cut.trk.gz"])
def test_no_cut_trk_is_silently_less(tmp_path: Path, name: str) -> None:
    data = make_trk()
    packed = gzip.compress(data, mtime=0)
    if name.endswith(".gz"):
        assert silent_cuts(tmp_path, name, packed, cuts(packed, (2, 10, len(packed) - 8)), plain) == []
    else:
        assert silent_cuts(tmp_path, name, data, cuts(data, trk_borders(data)), plain) == []


@pytest.mark.parametrize("name", ["cut.tck", "cut.tck.gz"])
def test_no_cut_tck_is_silently_less(tmp_path: Path, name: str) -> None:
    data = tck_bytes(LINES)
    places = [match.end() for match in re.finditer(rb"\n", data[:100])]
    places += [4096, *(4096 + 12 * np.cumsum([len(points) + 1 for points in LINES])).tolist()]
    if name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)
        places = [2, 10, len(data) - 8, len(data) - 4]
    assert silent_cuts(tmp_path, name, data, cuts(data, places), with_space) == []


def beside(section: str, folder: Path) -> Callable[[Path, Path], None]:
    tracks = write(folder / "tracks.tck", tck_bytes(LINES))

    def convert(path: Path, out: Path) -> None:
        trxlib.convert(ConvertInput(tracks, **{section: {"value": path}}), out, reference=SPACE, **READING)

    return convert


def test_no_cut_tsf_is_silently_less(tmp_path: Path) -> None:
    values = [np.arange(1, len(points) + 1, dtype=np.float32)[:, None] for points in LINES]
    data = tck_bytes(values, magic="mrtrix track scalars", ncols=1)
    places = [4096, *(4096 + 4 * np.cumsum([len(points) + 1 for points in LINES])).tolist()]
    assert silent_cuts(tmp_path, "cut.tsf", data, cuts(data, places), beside("dpv", tmp_path)) == []


@pytest.mark.parametrize(("section", "rows"), [("dps", len(LINES)), ("dpv", NB_VERTICES)])
def test_no_cut_npy_is_silently_less(tmp_path: Path, section: str, rows: int) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(rows, dtype=np.float32) + 0.5)
    data = buffer.getvalue()
    places = cuts(data, (6, 8, 10, 128, *range(128, len(data), 4)))
    assert silent_cuts(tmp_path, "cut.npy", data, places, beside(section, tmp_path)) == []


@pytest.mark.parametrize(("section", "rows"), [("dps", len(LINES)), ("dpv", NB_VERTICES)])
def test_a_cut_text_is_silently_less_only_inside_its_last_number(tmp_path: Path, section: str, rows: int) -> None:
    """A text without a last end of line is usual, so nothing tells that its last number went on."""
    data = b"".join(b"%d.125\n" % (row + 10) for row in range(rows))
    found = silent_cuts(tmp_path, "cut.txt", data, range(len(data)), beside(section, tmp_path))
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    assert all(last < place < len(data) - 1 for place in found)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("way", ["convert", "load", "merge"])
def test_no_cut_trx_is_silently_less(tmp_path: Path, method: int, way: str) -> None:
    arrays = make_trx_arrays()
    whole = write_plain_zip(arrays, tmp_path / "whole_input.trx", method)
    data = whole.read_bytes()
    with zipfile.ZipFile(whole) as archive:
        places = [entry.header_offset for entry in archive.infolist()] + [archive.start_dir, len(data) - 22]
    path, target = tmp_path / "cut.trx", tmp_path / "out.trx"
    found = []
    for place in cuts(data, places, 200 if way == "load" else 60):
        write(path, data[:place])
        target.unlink(missing_ok=True)
        if is_less(lambda: use_trx(path, target, way), arrays, path.name):
            found.append(place)
    assert found == []


def use_trx(path: Path, target: Path, way: str) -> Any:
    """Return what holds the tractogram of a file, by one of three ways."""
    if way == "load":
        return trxlib.load(path)
    if way == "merge":
        trxlib.merge([path], target)
    else:
        plain(path, target)
    return target


@pytest.mark.parametrize("way", ["convert", "load", "merge"])
def test_no_folder_with_a_cut_file_is_silently_less(tmp_path: Path, way: str) -> None:
    arrays = make_trx_arrays(sidecars={})
    folder = write_plain_folder(arrays, tmp_path / "cut")
    found = []
    for name, data in entries_of(arrays).items():
        for place in sorted({0, 1, len(data) // 2, len(data) - 4, len(data) - 1} & set(range(len(data)))):
            (folder / name).write_bytes(data[:place])
            (tmp_path / "out.trx").unlink(missing_ok=True)
            if is_less(lambda: use_trx(folder, tmp_path / "out.trx", way), arrays, "cut"):
                found.append((name, place))
        (folder / name).write_bytes(data)
    # A group's members are counted nowhere but in the size of their file: whole members fewer are a smaller group.
    assert all(name.startswith("groups/") and place % 4 == 0 for name, place in found), found


@pytest.mark.parametrize("name", ["OUT.TRX", "Out.Trx"])
def test_archives_with_capitals_in_the_suffix_are_written(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "a.trk", make_trk())
    plain(source, tmp_path / "low.trx")
    plain(source, tmp_path / name)
    assert_trx_equal(tmp_path / name, tmp_path / "low.trx")


@pytest.mark.parametrize("name", ["OUT.TRK", "Out.Trk.GZ", "OUT.TCK", "OUT.VTP", "Out.Vtk"])
def test_exports_with_capitals_in_the_suffix_are_as_in_lower_case(tmp_path: Path, name: str) -> None:
    source = write_plain_zip(make_trx_arrays(groups={}, sidecars={}, dps={}, dpv={}), tmp_path / "a.trx")
    (tmp_path / "low").mkdir()
    trxlib.export(source, tmp_path / name)
    trxlib.export(source, tmp_path / "low" / name.lower())
    assert (tmp_path / name).read_bytes() == (tmp_path / "low" / name.lower()).read_bytes()
