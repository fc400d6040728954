"""Whatever a file is, each road refuses it by its path, by what it is, and with the way out; never by its bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import trxlib
from tests.formats.made import GRID, SIZES, some_streamlines, tck_bytes, trk_bytes, write
from tests.helpers import make_row, make_trx_arrays, write_plain_zip
from trxlib.cli.main import main
from trxlib.cohort.preflight import preflight
from trxlib.cohort.sheet import find_mistakes
from trxlib.errors import ArrayNameError, HeaderError, InputNotFoundError, TrxError, UnsupportedFormatError
from trxlib.formats.open import open_input
from trxlib.kinds import kind_of

TCK = tck_bytes(some_streamlines())
SPACE = (np.diag([*SIZES, 1.0]), GRID)


def zipped(*names: str) -> bytes:
    """A zip archive with some entries."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return stream.getvalue()


def tarred() -> bytes:
    """An archive of tar with one file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sub-01/a.trk"))
    return stream.getvalue()


def nifti() -> bytes:
    """A small image."""
    return nib.Nifti1Image(np.zeros(GRID, np.uint8), np.diag([*SIZES, 1.0])).to_bytes()


#: Content, name, what it is, the way out as a tractogram.
KINDS: dict[str, tuple[bytes, str, str, str]] = {
    "annex": (b"/annex/objects/SHA256E-s9--0f.trk\n", "a.trk", "pointer of git-annex", "git annex get .*datalad get"),
    "checked out link": (b"../.git/annex/objects/4f/SHA256E-s9.trk", "a.trk", "git-annex", "git annex get"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a.trk",
        "Git LFS",
        "git lfs pull --include",
    ),
    "dvc": (b"outs:\n- md5: 0f\n  path: a.trk\n", "a.trk.dvc", "DVC", "dvc pull"),
    "icloud": (b"bplist00\xd3", ".a.trk.icloud", "iCloud", "brctl download"),
    "part": (trk_bytes([], count=0), "a.trk.part", "download that is not complete", "wait for its end"),
    "chrome": (TCK, "a.tck.crdownload", "download that is not complete", "wait for its end"),
    "html": (b"\n<!DOCTYPE html><html><title>Sign in</title>", "a.trk", "HTML page", "sign in, and fetch"),
    "xhtml": (b'<?xml version="1.0"?>\n<html xmlns="x">', "a.vtp", "HTML page", "sign in, and fetch"),
    "appledouble": (b"\0\5\x16\7\0\2\0\0Mac OS X", "._a.trk", "macOS writes beside", "name the file itself"),
    "dsstore": (b"\0\0\0\1Bud1\0\0", ".DS_Store", "DS_Store", "name the tractogram"),
    "lnk": (b"\x4c\0\0\0\1\x14\2\0\0", "a.trk.lnk", "shortcut of Windows", "name the file that it leads to"),
    "bzip2": (bz2.compress(TCK), "a.tck.bz2", "bzip2", "bunzip2 -k"),
    "xz": (lzma.compress(TCK), "a.tck.xz", "packed by xz", "unxz -k"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00", "a.tck.zst", "zstd", "unzstd"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "a.7z", "7-Zip", "7z x"),
    "tar": (tarred(), "a.tar", "archive of tar", "tar -xf"),
    "tar.gz": (gzip.compress(tarred()), "a.tar.gz", "archive of tar", "tar -xf"),
    "trx.gz": (gzip.compress(zipped("header.json")), "a.trx.gz", "zip archive packed by gzip", "gunzip -k"),
    "docx": (zipped("[Content_Types].xml", "word/document.xml"), "a.trx", "Word document", "TRX archive"),
    "xlsx": (zipped("xl/workbook.xml"), "a.trx", "spreadsheet", "TRX archive"),
    "npz": (zipped("positions.npy"), "a.trx", r"\.npz", "TRX archive"),
    "zip": (zipped("sub-01.trk"), "a.zip", "zip archive without header.json", "unzip"),
    "nested": (zipped("s/header.json"), "a.trx", "zip archive with a TRX folder", "pack the content of that folder"),
    "nifti": (nifti(), "a.nii", "NIfTI image", "give it as the reference"),
    "nifti.gz": (gzip.compress(nifti()), "a.nii.gz", "NIfTI image", "give it as the reference"),
    "nifti named trk": (nifti(), "a.trk", "NIfTI image", "give it as the reference"),
    "mif": (b"mrtrix image\ndim: 1,1,1\n", "a.mif", "MRtrix image", "give it as the reference"),
    "nrrd": (b"NRRD0004\n", "a.nrrd", "NRRD image", "give it as the reference"),
    "mgh": (b"\0\0\0\1\0\0\0\2" + bytes(300), "a.mgh", "MGH image", "give it as the reference"),
    "dicom": (bytes(128) + b"DICM\2\0", "a.dcm", "DICOM", "dcm2niix"),
    "mat": (b"MATLAB 5.0 MAT-file", "a.mat", "MATLAB", "TRX archive|formats are"),
    "npy": (b"\x93NUMPY\1\0", "a.npy", "NumPy", "--dps"),
    "tsf": (b"mrtrix track scalars\nEND\n", "a.tsf", "TSF", "--dpv"),
    "json": (b'{"a": 1}', "a.json", "JSON", "TRX archive|formats are"),
    "pdf": (b"%PDF-1.7\n\xff\xfe", "a.pdf", "PDF", "TRX archive|formats are"),
    "png": (b"\x89PNG\r\n\x1a\n\0", "a.png", "PNG", "TRX archive|formats are"),
    "jpeg": (b"\xff\xd8\xff\xe0\0", "a.jpg", "JPEG", "TRX archive|formats are"),
    "text": (b"dear colleague", "a.txt", "a text", "TRX archive|formats are"),
    "empty": (b"", "a.trk", "an empty file", "fetch it again"),
    "zeros": (bytes(5000), "a.trk", "a file of zeros", "fetch it again"),
}
ROADS: dict[str, Callable[[Path, Path], Any]] = {
    "open_input": lambda path, out: open_input(path),
    "convert": lambda path, out: trxlib.convert(path, out / "o.trx", reference=SPACE),
    "convert to trk": lambda path, out: trxlib.convert(path, out / "o.trk", reference=SPACE),
    "export": lambda path, out: trxlib.export(path, out / "o.tck"),
    "merge": lambda path, out: trxlib.merge([path], out / "o.trx", reference=SPACE),
    "describe": lambda path, out: trxlib.describe(path),
    "load": lambda path, out: trxlib.load(path),
    "validate": lambda path, out: trxlib.validate(path),
    "extract": lambda path, out: trxlib.extract_groups(path, out / "o"),
}


def check(message: str, path: Path, kind: str, *, what: str = "", way: str = "") -> None:
    """The message names path and kind and the way out, and shows no bytes."""
    _, _, own_what, own_way = KINDS[kind]
    assert str(path) in message
    assert re.search(what or own_what, message), message
    assert re.search(way or own_way, message, re.DOTALL), message
    assert "\\x" not in message
    assert "b'" not in message
    assert message.replace("\n", "").isprintable()


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_road_says_what_a_file_is(tmp_path: Path, kind: str, road: str) -> None:
    content, name, _, _ = KINDS[kind]
    path = write(tmp_path / name, content)
    with pytest.raises(TrxError) as caught:
        ROADS[road](path, tmp_path)
    check(str(caught.value), path, kind)
    assert [item.name for item in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", ["annex", "lfs", "html", "bzip2", "xz", "pdf", "npy", "docx", "tar.gz"])
def test_a_reference_says_what_it_is(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "b0.nii", KINDS[kind][0])
    tck = write(tmp_path / "a.tck", TCK)
    with pytest.raises(TrxError) as caught:
        trxlib.convert(tck, tmp_path / "o.trx", reference=path)
    check(str(caught.value), path, kind, way="NIfTI" if kind in ("pdf", "npy", "docx") else "")


@pytest.mark.parametrize("kind", ["annex", "lfs", "html", "bzip2", "pdf", "npy", "tar.gz"])
def test_a_transform_says_what_it_is(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "w.mat", KINDS[kind][0])
    tck = write(tmp_path / "a.tck", TCK)
    with pytest.raises(TrxError) as caught:
        trxlib.convert(tck, tmp_path / "o.trx", reference=SPACE, transform=path)
    check(str(caught.value), path, kind, way="ITK, ANTs, FSL" if kind in ("pdf", "npy") else "")


@pytest.mark.parametrize("section", ["dps", "dpv"])
@pytest.mark.parametrize("kind", ["annex", "lfs", "html", "bzip2", "pdf", "nifti", "zeros", "xlsx", "tar.gz"])
def test_values_say_what_they_are(tmp_path: Path, kind: str, section: str) -> None:
    path = write(tmp_path / "w.txt", KINDS[kind][0])
    item = trxlib.ConvertInput(write(tmp_path / "a.tck", TCK), **{section: {"w": path}})
    with pytest.raises(TrxError) as caught:
        trxlib.convert(item, tmp_path / "o.trx", reference=SPACE)
    own = kind in ("pdf", "xlsx", "nifti")
    check(str(caught.value), path, kind, way=r"text, \.tsf or \.npy" if own else "")


@pytest.mark.parametrize("kind", ["annex", "lfs", "dvc", "icloud", "part"])
def test_the_sheet_names_what_is_not_there_before_any_job(tmp_path: Path, kind: str) -> None:
    content, name, _, _ = KINDS[kind]
    path = write(tmp_path / name, content)
    sheet = write(tmp_path / "s.tsv", f"cohort\tsubject\ttractogram\nx\t01\t{path}\n".encode())
    schema = {"properties": {key: {} for key in ("cohort", "subject", "tractogram")}, "required": ["tractogram"]}
    _, mistakes = find_mistakes(sheet, schema, ())
    (mistake,) = mistakes
    check(mistake.text, path, kind)


@pytest.mark.parametrize("kind", ["annex", "html", "xz", "nifti", "zeros", "part"])
def test_preflight_lists_what_each_file_is(tmp_path: Path, kind: str) -> None:
    content, name, _, _ = KINDS[kind]
    path = write(tmp_path / name, content)
    with pytest.raises(TrxError) as caught:
        preflight([make_row(path)], tmp_path / "t.tsv", missing_metadata="error")
    check(str(caught.value), path, kind)


@pytest.mark.parametrize(
    "words", [["info", "PATH"], ["validate", "PATH"], ["convert", "PATH", "OUT"], ["groups", "PATH"]]
)
@pytest.mark.parametrize("kind", ["annex", "html", "nifti.gz", "png"])
def test_the_command_line_says_it(tmp_path: Path, capsys: Any, kind: str, words: list[str]) -> None:
    content, name, _, _ = KINDS[kind]
    path = write(tmp_path / name, content)
    given = {"PATH": str(path), "OUT": str(tmp_path / "o.trx")}
    is_unread = (kind, words[0]) == ("annex", "validate")  # a file whose content is not there, see docs/reliability.md
    assert main([given.get(word, word) for word in words]) == (2 if is_unread else 1)
    said = capsys.readouterr()
    check(said.out + said.err, path, kind)


@pytest.mark.parametrize("road", ["load", "validate", "extract"])
@pytest.mark.parametrize(
    ("name", "what"), [("a.trk", "a TRK file"), ("a.tck", "a TCK file"), ("A.TRK.GZ", "a TRK file")]
)
def test_what_takes_trx_only_says_how_to_make_one(tmp_path: Path, road: str, name: str, what: str) -> None:
    data = TCK if "tck" in name else trk_bytes(some_streamlines(), count=4)
    path = write(tmp_path / name, data, gz=name.endswith("GZ"))
    with pytest.raises(TrxError) as caught:
        ROADS[road](path, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path} is no TRX file: it is {what};")
    assert "trxlib.convert(" in message
    assert "trxlib convert " in message


@pytest.mark.parametrize("road", ROADS)
def test_a_broken_link_says_where_it_points(tmp_path: Path, road: str) -> None:
    path = tmp_path / "a.trk"
    path.symlink_to("gone.trk")
    with pytest.raises(InputNotFoundError, match=r"a\.trk is a symbolic link to gone\.trk, which is not there; mend"):
        ROADS[road](path, tmp_path)
    path.unlink()
    path.symlink_to("../.git/annex/objects/0f/SHA256E-s9.trk")
    with pytest.raises(InputNotFoundError, match=r"symbolic link to \.\./\.git.*git annex get .*a\.trk"):
        ROADS[road](path, tmp_path)


@pytest.mark.parametrize(
    ("name", "way"), [(".a.trk.icloud", "brctl"), ("a.trk.dvc", "dvc pull"), ("a.trk.part", "wait")]
)
def test_what_lies_beside_a_missing_file_is_named(tmp_path: Path, name: str, way: str) -> None:
    write(tmp_path / name, b"something")
    with pytest.raises(InputNotFoundError, match=rf"a\.trk does not exist, and .*{re.escape(name)} is .*{way}"):
        open_input(tmp_path / "a.trk")


def test_a_path_of_windows_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="does not exist; .*folders are parted by /"):
        open_input("data\\sub-01.trk")
    odd = write_plain_zip(make_trx_arrays(), tmp_path / "a\\b.trx")
    assert len(trxlib.load(odd)) == 12


def test_names_in_capitals_are_read(tmp_path: Path) -> None:
    for name, gz in (("a.TRK", False), ("b.Trk.GZ", True)):
        path = write(tmp_path / name, trk_bytes(some_streamlines(), count=4), gz=gz)
        assert trxlib.describe(path)["format"] == "trk"


def test_backslashes_in_a_zip_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.trx", "w") as archive:
        archive.writestr("header.json", json.dumps({}))
        info = zipfile.ZipInfo("x")
        info.filename = "dps\\weight.float32"
        archive.writestr(info, b"")
    with pytest.raises(ArrayNameError, match="backslashes in its name.*Windows.*pack it with another"):
        trxlib.load(tmp_path / "a.trx")


def test_leftovers_of_macos_are_no_content(tmp_path: Path) -> None:
    path = write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("__MACOSX/._header.json", "dps/._weight.float32", ".DS_Store"):
            archive.writestr(name, b"\0\5\x16\7")
    assert len(trxlib.load(path)) == 12


def test_a_header_of_another_kind_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(UnsupportedFormatError, match=r"photos is a folder without header\.json"):
        trxlib.describe(tmp_path / "photos")
    with pytest.raises(HeaderError, match=r"photos: no header\.json"):
        trxlib.load(tmp_path / "photos")


def test_text_before_numbers_is_no_pointer(tmp_path: Path) -> None:
    for content in (b"weight\n1\n2\n", b"[FA]\n1\n", b"# /annex/objects/ was here\n1\n"):
        assert kind_of(write(tmp_path / "w.txt", content)).use == "unknown"
