"""Containers under construction: any order of writes, one result, no half-written name."""

from __future__ import annotations

import errno
import os
import zipfile
import zlib

import pytest

from trxlib.container.layout import plan_layout
from trxlib.container.partial import PartialArchive, PartialFolder
from trxlib.errors import ArchiveError, InputError, StaleError

CONTENTS = {"header.json": b"{}", "positions.3.float32": bytes(range(240)), "dps/x.uint8": b"abcdef", "empty": b""}
CRCS = {path: zlib.crc32(data) for path, data in CONTENTS.items()}
SIZES = {path: len(data) for path, data in CONTENTS.items()}


@pytest.fixture(params=["archive", "folder"])
def target(request, tmp_path):
    """A container under construction, of either kind."""
    if request.param == "archive":
        made = PartialArchive(tmp_path / "out.trx", plan_layout(SIZES.items()))
    else:
        made = PartialFolder(tmp_path / "out", SIZES)
    yield made
    made.discard()


def contents_of(final):
    if final.is_dir():
        return {p.relative_to(final).as_posix(): p.read_bytes() for p in final.rglob("*") if p.is_file()}
    with zipfile.ZipFile(final) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_pieces_in_any_order(target):
    for path, data in reversed(CONTENTS.items()):
        middle = len(data) // 2
        for start, piece in ((middle, data[middle:]), (0, data[:middle])):
            assert target.write(path, start, piece) == zlib.crc32(piece)
    assert not target.final.exists()
    target.seal(CRCS)
    assert contents_of(target.final) == CONTENTS
    assert [path.name for path in target.final.parent.iterdir()] == [target.final.name]


@pytest.mark.parametrize("is_counted", [False, True])
@pytest.mark.parametrize("kernel", ["copies", "refuses", "lacks it", "stops"])
def test_copies_from_files(target, tmp_path, monkeypatch, kernel, is_counted):
    (tmp_path / "source").write_bytes(b"xx" + b"".join(CONTENTS.values()))
    if kernel == "refuses":
        monkeypatch.setattr(os, "copy_file_range", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "other disk")))
    elif kernel == "lacks it":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    elif kernel == "stops":
        monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    place = 2
    for path, data in CONTENTS.items():
        if is_counted:
            crc = target.copy_counted(path, 0, fd, place, len(data))
            assert crc == (zlib.crc32(data) if isinstance(target, PartialArchive) else 0)
        else:
            target.copy(path, 0, fd, place, len(data))
        place += len(data)
    os.close(fd)
    (tmp_path / "source").unlink()
    target.seal(CRCS)
    assert contents_of(target.final) == CONTENTS


def test_errors_of_the_kernel_are_passed_on(target, tmp_path, monkeypatch):
    if not hasattr(os, "copy_file_range"):
        pytest.skip("this system copies through memory")
    monkeypatch.setattr(os, "copy_file_range", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken disk")))
    (tmp_path / "source").write_bytes(bytes(10))
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="broken disk"):
            target.copy("dps/x.uint8", 0, fd, 0, 6)
    finally:
        os.close(fd)


def test_a_source_that_ends_early(target, tmp_path):
    (tmp_path / "source").write_bytes(bytes(3))
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    try:
        with pytest.raises(StaleError, match="ended 3 bytes early"):
            target.copy("dps/x.uint8", 0, fd, 0, 6)
    finally:
        os.close(fd)


def test_discarding_leaves_nothing(target, tmp_path):
    target.write("dps/x.uint8", 0, b"abc")
    target.discard()
    target.discard()
    assert not list(tmp_path.iterdir())


def test_writes_beyond_an_entry_are_refused(tmp_path):
    target = PartialArchive(tmp_path / "out.trx", plan_layout(SIZES.items()))
    for start in (-1, 1, 100):
        with pytest.raises(ArchiveError, match="do not fit its 6 bytes"):
            target.write("dps/x.uint8", start, b"abcdef")
    target.discard()


def test_verify_finds_damage(tmp_path):
    target = PartialArchive(tmp_path / "out.trx", plan_layout(SIZES.items()))
    for path, data in CONTENTS.items():
        target.write(path, 0, data)
    target.write("dps/x.uint8", 2, b"X")
    with pytest.raises(StaleError, match=r"dps/x\.uint8"):
        target.seal(CRCS, verify=True)
    target.discard()
    assert not list(tmp_path.iterdir())


def test_two_processes_fill_one_archive(tmp_path):
    layout = plan_layout(SIZES.items())
    shared = tmp_path / "out.trx.partial"
    first = PartialArchive(tmp_path / "out.trx", layout, shared)
    second = PartialArchive(tmp_path / "out.trx", layout, shared)
    for number, (path, data) in enumerate(CONTENTS.items()):
        (first, second)[number % 2].write(path, 0, data)
    second.close()
    first.seal(CRCS, verify=True)
    assert contents_of(tmp_path / "out.trx") == CONTENTS


def test_a_folder_is_no_archive(tmp_path):
    (tmp_path / "out.trx").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        PartialArchive(tmp_path / "out.trx", plan_layout([]))
