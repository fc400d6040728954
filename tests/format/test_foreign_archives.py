"""Archives of other programs: their data are where the local records say."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import zipfile
import zlib

import numpy as np
import pytest

from tests.helpers import (
    assert_trx_equal,
    entries_of,
    make_trx_arrays,
    write_entries,
    write_plain_folder,
    write_plain_zip,
)
from trxlib.commands.validate import validate
from trxlib.container.entries import list_archive
from trxlib.errors import ArchiveError
from trxlib.trx_file_memmap import load, save


class Unseekable(io.RawIOBase):
    """A pipe: zipfile writes data descriptors behind the data then."""

    def __init__(self, path):
        super().__init__()
        self.file = open(path, "wb")  # noqa: SIM115, PTH123

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)

    def close(self):
        self.file.close()
        super().close()


def check_both_ways(path, arrays, tmp_path):
    """Load, compare, save, compare."""
    validate(path)
    with load(path) as trx:
        assert_trx_equal(trx, arrays)
        save(trx, tmp_path / "again.trx")
    assert_trx_equal(tmp_path / "again.trx", arrays)


@pytest.mark.parametrize("options", [[], ["-0"], ["-0", "-X"], ["-9"], ["-0", "-D"]])
def test_info_zip(arrays, tmp_path, options):
    if shutil.which("zip") is None:
        pytest.skip("needs Info-ZIP's `zip`")
    folder = write_plain_folder(arrays, tmp_path / "folder")
    subprocess.run(["zip", "-q", "-r", *options, "../a.trx", "."], cwd=folder, check=True)
    check_both_ways(tmp_path / "a.trx", arrays, tmp_path)


def test_info_zip_from_a_pipe(arrays, tmp_path):
    if shutil.which("zip") is None:
        pytest.skip("needs Info-ZIP's `zip`")
    folder = write_plain_folder(arrays, tmp_path / "folder")
    with (tmp_path / "a.trx").open("wb") as out:
        subprocess.run(["zip", "-q", "-0", "-r", "-", "."], cwd=folder, stdout=out, check=True)
    check_both_ways(tmp_path / "a.trx", arrays, tmp_path)


def test_info_zip_tests_what_we_write(arrays, tmp_path):
    if shutil.which("unzip") is None:
        pytest.skip("needs Info-ZIP's `unzip`")
    save(load(write_plain_zip(arrays, tmp_path / "in.trx")), tmp_path / "a.trx")
    done = subprocess.run(["unzip", "-t", tmp_path / "a.trx"], capture_output=True, text=True, check=True)
    assert "No errors detected" in done.stdout


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("seekable", [True, False])
def test_python_zipfile(arrays, tmp_path, method, seekable):
    path = tmp_path / "a.trx"
    with open(path, "wb") if seekable else Unseekable(path) as out:  # noqa: SIM117, PTH123
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, data in entries_of(arrays).items():
                archive.writestr(name, data)
    if not seekable:
        with zipfile.ZipFile(path) as archive:
            assert archive.infolist()[0].flag_bits & 0x8, "the test wants data descriptors"
    check_both_ways(path, arrays, tmp_path)


@pytest.mark.parametrize("seekable", [True, False])
def test_zip64_records_of_small_entries(arrays, tmp_path, seekable):
    path = tmp_path / "a.trx"
    with open(path, "wb") if seekable else Unseekable(path) as out, zipfile.ZipFile(out, "w") as archive:  # noqa: PTH123
        for name, data in entries_of(arrays).items():
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
    check_both_ways(path, arrays, tmp_path)


@pytest.mark.parametrize(
    "extra", [b"", b"UT\x05\x00\x03abcd", b"\xfe\xca\x00\x00", b"\x35\xd9" + struct.pack("<H", 100) + bytes(100)]
)
def test_local_extra_fields_that_the_directory_does_not_have(arrays, tmp_path, extra):
    path = write_by_hand(entries_of(arrays), tmp_path / "a.trx", local_extra=extra)
    check_both_ways(path, arrays, tmp_path)


def test_comments_preambles_folders_and_junk(arrays, tmp_path):
    entries = {"dps/": b"", "__MACOSX/._header.json": b"x", ".DS_Store": b"y", **entries_of(arrays)}
    path = write_entries(entries, tmp_path / "a.trx")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"made by hand"
    check_both_ways(path, arrays, tmp_path)
    self_extracting = tmp_path / "b.trx"
    self_extracting.write_bytes(b"#!/bin/sh\n" * 10 + path.read_bytes())
    check_both_ways(self_extracting, arrays, tmp_path)


@pytest.mark.parametrize("mixed", ["header.json", "positions.3.float32", "dps/weight.float32", "groups/CC.uint32"])
def test_some_entries_compressed_and_some_not(arrays, tmp_path, mixed):
    with zipfile.ZipFile(tmp_path / "a.trx", "w") as archive:
        for name, data in entries_of(arrays).items():
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if name == mixed else zipfile.ZIP_STORED)
    check_both_ways(tmp_path / "a.trx", arrays, tmp_path)


def test_names_beyond_ascii(tmp_path):
    arrays = make_trx_arrays(groups={"Faisceau arqué": [0], "束": [1]}, dpg={"束": {"größe": [1]}})
    check_both_ways(write_plain_zip(arrays, tmp_path / "a.trx"), arrays, tmp_path)


def test_entries_in_any_order(arrays, tmp_path):
    entries = entries_of(arrays)
    path = write_entries(dict(reversed(entries.items())), tmp_path / "a.trx")
    check_both_ways(path, arrays, tmp_path)
    save(load(path), tmp_path / "one.trx")
    save(load(write_entries(entries, tmp_path / "b.trx")), tmp_path / "two.trx")
    assert (tmp_path / "one.trx").read_bytes() == (tmp_path / "two.trx").read_bytes()


def test_changes_in_place_reach_the_records_of_every_program(arrays, tmp_path):
    for number, seekable in enumerate((True, False)):
        path = tmp_path / f"{number}.trx"
        with open(path, "wb") if seekable else Unseekable(path) as out, zipfile.ZipFile(out, "w") as archive:  # noqa: PTH123
            for name, data in entries_of(arrays).items():
                archive.writestr(name, data)
        with load(path, mode="r+") as trx:
            trx.streamlines._data[:] = 3
            trx.groups["CC"][0] = 0
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
        for member in list_archive(path):
            # The local record, or the descriptor behind the data, states it as well.
            raw = path.read_bytes()
            after = raw[member.start + member.nbytes :]
            record = raw[: member.start].rfind(b"PK\3\4")
            (local,) = struct.unpack_from("<L", raw, record + 14)
            (behind,) = struct.unpack_from("<L", after, 4)
            assert member.crc in (local, behind), member.path
        assert (load(path).streamlines._data == 3).all()


def write_by_hand(entries, path, *, local_extra=b"", flags=0):
    """Write a zip archive record by record, with extra fields in the local records only."""
    data, directory = b"", b""
    for name, content in entries.items():
        raw = name.encode()
        crc, size = zlib.crc32(content), len(content)
        start = len(data)
        head = struct.pack("<4s5H3L2H", b"PK\3\4", 20, flags, 0, 0, 33, crc, size, size, len(raw), len(local_extra))
        data += head + raw + local_extra + content
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, flags, 0, 0, 33, crc, size, size, len(raw), 0, 0, 0, 0, 0, start
        ) + raw  # fmt: skip
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(entries), len(entries), len(directory), len(data), 0)
    path.write_bytes(data + directory + end)
    return path


def test_sparse_archive_beyond_4_gib_and_beyond_32_bits(tmp_path):
    """2^32 + 10 vertices of float16, 25 GB of holes: Zip64 everywhere, offsets of uint64."""
    nb_vertices = 2**32 + 10
    header = {**make_trx_arrays().header.to_dict(), "NB_STREAMLINES": 3, "NB_VERTICES": nb_vertices}
    header |= {"VOXEL_TO_RASMM": header["VOXEL_TO_RASMM"].tolist(), "DIMENSIONS": header["DIMENSIONS"].tolist()}
    path = tmp_path / "big.trx"
    write_sparse_archive(path, header, np.array([0, 5, 2**32 + 7, nb_vertices], "<u8"))
    trx = load(path)
    assert [len(streamline) for streamline in trx.streamlines] == [5, 2**32 + 2, 3]
    assert trx.streamlines[2].tolist() == [[0, 0, 0], [0, 0, 0], [7, 8, 9]]
    part = trx[[2, 0]]
    save(part, tmp_path / "part.trx")
    assert load(tmp_path / "part.trx").streamlines[0][-1].tolist() == [7, 8, 9]
    assert load(tmp_path / "part.trx").streamlines._offsets.dtype == np.uint32
    assert trx.get_group("last").streamlines[0].shape == (3, 3)


def write_sparse_archive(path, header, offsets):
    """Write header, positions of zeros (a hole) but for the last vertex, offsets and a group, with Zip64 records."""
    last = np.array([7, 8, 9], "<f2").tobytes()
    nbytes = int(offsets[-1]) * 6
    entries = [
        ("header.json", json.dumps(header).encode(), None),
        ("positions.3.float16", last, nbytes),
        ("offsets.uint64", offsets.tobytes(), None),
        ("groups/last.uint32", np.array([2], "<u4").tobytes(), None),
    ]
    directory = b""
    with path.open("wb") as file:
        for name, content, size in entries:
            raw, start = name.encode(), file.tell()
            size = len(content) if size is None else size
            # The CRC of the hole is not computed: 25 GB of zeros.
            crc = zlib.crc32(content) if size == len(content) else 0
            extra = struct.pack("<2H2Q", 1, 16, size, size)
            head = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 33, crc, 2**32 - 1, 2**32 - 1, len(raw), len(extra))
            file.write(head + raw + extra)
            file.seek(size - len(content), 1)
            file.write(content)
            extra = struct.pack("<2H3Q", 1, 24, size, size, start)
            directory += struct.pack(
                "<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 33, crc, 2**32 - 1, 2**32 - 1, len(raw), len(extra), 0, 0, 0,
                0, 2**32 - 1,
            ) + raw + extra  # fmt: skip
        start = file.tell()
        file.write(directory)
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 4, 4, len(directory), start))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, start + len(directory), 1))
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 4, 4, 2**32 - 1, 2**32 - 1, 0))


@pytest.mark.parametrize("method", [0, 8])
def test_names_that_begin_with_a_dot_and_a_slash(arrays, tmp_path, method):
    entries = {f"./{name}": data for name, data in entries_of(arrays).items()}
    path = write_entries(entries, tmp_path / "a.trx", method)
    check_both_ways(path, arrays, tmp_path)
    validate(path)
    if not method:
        with load(path, mode="r+") as trx:
            trx.streamlines._data[:] = 3
        validate(path)
    with pytest.raises(ArchiveError, match=r"entry 'dps/weight.float32' is there twice"):
        load(write_entries({**entries, "dps/weight.float32": b""}, tmp_path / "b.trx"))
