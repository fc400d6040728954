"""Time stamps of TCK and TSF: written so that they differ between tractograms, and compared as MRtrix does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.formats.made import ANYWHERE, GRID, SIZES, open_source, read_all, some_streamlines, tck_bytes, write
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.commands.convert import ConvertInput, convert
from trxlib.commands.export import export
from trxlib.errors import HeaderWarning, MetadataMismatchError
from trxlib.formats.input_file import InputFile
from trxlib.formats.tck.header import TSF_MAGIC, read_tck_header
from trxlib.model.space import Space

SPACE = Space(np.diag([*SIZES, 1.0]), GRID)
LENGTHS = (3, 0, 5, 60)
REFERENCE = (np.diag([*SIZES, 1.0]), GRID)
needs_mrtrix = pytest.mark.skipif(shutil.which("tsfvalidate") is None, reason="needs MRtrix3's tsfvalidate")


def tck(path: Path, *lines: str, seed: int = 0) -> Path:
    return write(path, tck_bytes(some_streamlines(LENGTHS, seed), fields=lines))


def tsf(path: Path, *lines: str) -> Path:
    values = [np.full(length, 0.5) for length in LENGTHS]
    return write(path, tck_bytes(values, magic="mrtrix track scalars", ncols=1, fields=lines))


def written_stamp(path: Path) -> str:
    (stamp,) = re.findall(rb"\ntimestamp: (.*)\n", path.read_bytes()[:4096])
    return stamp.decode()


@pytest.mark.parametrize(
    "other",
    [
        ("timestamp: 1580289707.4327952863",),
        ("timestamp: 1580289707.43279528620",),  # MRtrix compares texts, not numbers
        ("timestamp: 0",),
        ("timestamp: 1580289707.4327952862", "timestamp: 1580289707.4327952862"),  # and joins repeated lines
    ],
)
def test_a_tsf_with_another_time_stamp_is_refused(tmp_path: Path, other: tuple[str, ...]) -> None:
    tracks = tck(tmp_path / "a.tck", "timestamp: 1580289707.4327952862")
    scalars = tsf(tmp_path / "b_fa.tsf", *other)
    said = r"b_fa\.tsf has the timestamp '.*', .*a\.tck has '1580289707\.4327952862': .*--accept-timestamp-mismatch"
    with pytest.raises(MetadataMismatchError, match=said):
        open_source(tracks, reference=SPACE, dpv={"fa": scalars})
    with pytest.warns(HeaderWarning, match="made of other tracks, and are accepted"):
        source = open_source(tracks, reference=SPACE, dpv={"fa": scalars}, accept_timestamp_mismatch=True)
    assert read_all(source)["dpv"]["fa"].ravel().tolist() == [0.5] * sum(LENGTHS)


def test_the_same_time_stamp_is_accepted_as_mrtrix_reads_it(tmp_path: Path) -> None:
    tracks = tck(tmp_path / "a.tck", "timestamp: 1580289707.4327952862")
    scalars = tsf(tmp_path / "fa.tsf", "timestamp:   1580289707.4327952862  # of a.tck", "note: x")
    assert len(read_all(open_source(tracks, reference=SPACE, dpv={"fa": scalars}))["dpv"]["fa"]) == sum(LENGTHS)


@pytest.mark.parametrize(
    ("own", "other", "lacking"),
    [((), ("timestamp: 1.5",), "a.tck"), (("timestamp: 1.5",), (), "fa.tsf"), ((), (), "fa.tsf and .*a.tck")],
)
def test_a_missing_time_stamp_is_warned_of(
    tmp_path: Path, own: tuple[str, ...], other: tuple[str, ...], lacking: str
) -> None:
    tracks, scalars = tck(tmp_path / "a.tck", *own), tsf(tmp_path / "fa.tsf", *other)
    with pytest.warns(HeaderWarning, match=rf"{lacking}: no timestamp in the header"):
        source = open_source(tracks, reference=SPACE, dpv={"fa": scalars})
    assert "fa" in source.info.dpv


def test_what_a_trx_has_kept_of_an_earlier_tck_is_not_compared(tmp_path: Path) -> None:
    """It may have been selected from since, and exported for MRtrix to sample an image along it."""
    arrays = make_trx_arrays(lengths=LENGTHS, groups={}, dps={}, dpv={})
    arrays.header.extra["TCK"] = {"timestamp": "1.5"}
    bundle = write_plain_zip(arrays, tmp_path / "a.trx")
    convert(
        ConvertInput(bundle, dpv={"fa": tsf(tmp_path / "fa.tsf", "timestamp: 2.5")}), tmp_path / "b.trx", **ANYWHERE
    )
    assert (tmp_path / "b.trx").is_file()


def test_time_stamps_are_made_of_the_tracks(tmp_path: Path, slicing: str) -> None:
    """Neither the time, nor the header, nor the way that led here has a part in them."""
    for name, seed, line in (("a", 0, "timestamp: 1580289707.4327952862"), ("b", 0, "note: x"), ("c", 1, "note: x")):
        source = tck(tmp_path / f"{name}.tck", line, seed=seed)
        export(source, tmp_path / f"out_{name}.tck", reference=REFERENCE, **ANYWHERE)
    stamps = [written_stamp(tmp_path / f"out_{name}.tck") for name in "abc"]
    assert stamps[0] == stamps[1] != stamps[2]
    assert all(re.fullmatch(r"[12]\d{9}\.\d{10}", stamp) for stamp in stamps)  # as 1580289707.4327952862
    export(tmp_path / "out_a.tck", tmp_path / "again.tck", reference=REFERENCE, **ANYWHERE)
    assert (tmp_path / "again.tck").read_bytes() == (tmp_path / "out_a.tck").read_bytes()


def test_the_borders_of_streamlines_count_for_a_time_stamp(tmp_path: Path) -> None:
    points = some_streamlines((7,))[0]
    stamps = set()
    for name, at in (("a", []), ("b", [3]), ("c", [4]), ("d", [3, 3])):
        path = write(tmp_path / f"{name}.tck", tck_bytes(np.split(points, at)))
        export(path, tmp_path / f"out_{name}.tck", reference=REFERENCE, **ANYWHERE)
        stamps.add(written_stamp(tmp_path / f"out_{name}.tck"))
    assert len(stamps) == 4


def test_what_is_written_beside_a_tck_belongs_to_it_alone(tmp_path: Path) -> None:
    values = tsf(tmp_path / "fa.tsf", "timestamp: 1.5")
    for name, seed in (("a", 0), ("b", 1)):
        tracks = tck(tmp_path / f"{name}.tck", "timestamp: 1.5", seed=seed)
        export(tracks, tmp_path / f"out_{name}.tck", reference=REFERENCE, dpv={"fa": values}, **ANYWHERE)
    own = read_tck_header(InputFile(tmp_path / "out_a_fa.tsf"), TSF_MAGIC)
    assert own.timestamp == written_stamp(tmp_path / "out_a.tck")
    found = open_source(tmp_path / "out_a.tck", reference=SPACE, dpv={"fa": tmp_path / "out_a_fa.tsf"})
    assert len(read_all(found)["dpv"]["fa"]) == sum(LENGTHS)
    with pytest.raises(MetadataMismatchError, match=r"out_b_fa\.tsf has the timestamp"):
        open_source(tmp_path / "out_a.tck", reference=SPACE, dpv={"fa": tmp_path / "out_b_fa.tsf"})


@needs_mrtrix
def test_mrtrix_agrees_on_what_belongs_together(tmp_path: Path) -> None:
    values = tsf(tmp_path / "fa.tsf", "timestamp: 1.5")
    for name, seed in (("a", 0), ("b", 1)):
        tracks = tck(tmp_path / f"{name}.tck", "timestamp: 1.5", seed=seed)
        export(tracks, tmp_path / f"out_{name}.tck", reference=REFERENCE, dpv={"fa": values}, **ANYWHERE)
    for own, other, fits in (("a", "a", True), ("b", "b", True), ("a", "b", False), ("b", "a", False)):
        call = ["tsfvalidate", "-quiet", tmp_path / f"out_{own}_fa.tsf", tmp_path / f"out_{other}.tck"]
        assert (subprocess.run(call, check=False, capture_output=True).returncode == 0) is fits
    info = subprocess.run(["tsfinfo", tmp_path / "out_a_fa.tsf"], check=True, capture_output=True, text=True).stdout
    assert written_stamp(tmp_path / "out_a.tck") in info
    # What MRtrix makes of our tracks is read with the tracks.
    call = ["tsfsmooth", "-quiet", tmp_path / "out_a_fa.tsf", tmp_path / "smooth.tsf"]
    subprocess.run(call, check=True, capture_output=True)
    source = open_source(tmp_path / "out_a.tck", reference=SPACE, dpv={"fa": tmp_path / "smooth.tsf"})
    assert len(read_all(source)["dpv"]["fa"]) == sum(LENGTHS)
