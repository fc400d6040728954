"""Where entries lie: every reader finds the same bytes, at any size, and data are aligned."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trxlib.container.layout import ALIGNMENT, Entry, plan_layout

GIB = 1 << 30


def build(contents):
    """Write an archive in memory from a layout."""
    layout = plan_layout([(path, len(data)) for path, data in contents.items()])
    crcs = {path: zlib.crc32(data) for path, data in contents.items()}
    out = bytearray(layout.directory_start)
    for entry in layout.entries:
        record = entry.local_record(crcs[entry.path])
        assert len(record) == entry.data_start - entry.record_start
        out[entry.record_start : entry.data_start] = record
        out[entry.data_start : entry.data_start + entry.nbytes] = contents[entry.path]
    return layout, bytes(out) + layout.directory(crcs)


names = st.text(st.characters(exclude_characters="\0\\", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: not name.endswith("/") and name == name.lstrip("/")
)


@settings(max_examples=60, deadline=None)
@given(contents=st.dictionaries(names, st.binary(max_size=200), max_size=6))
def test_python_reads_every_layout(contents):
    layout, data = build(contents)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == list(contents)
        for info in archive.infolist():
            assert archive.read(info) == contents[info.filename]
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.compress_type == zipfile.ZIP_STORED
    for entry in layout.entries:
        assert entry.data_start % ALIGNMENT == 0


SIZES = [0, 1, 100, 2 * GIB - 2, 2 * GIB - 1, 2 * GIB, 4 * GIB - 2, 4 * GIB - 1, 4 * GIB, 25 * GIB, 1 << 50]


@pytest.mark.parametrize("first", SIZES)
@pytest.mark.parametrize("second", SIZES)
def test_large_entries_state_their_sizes(first, second):
    layout = plan_layout([("header.json", 99), ("positions.3.float16", first), ("dps/x.float32", second)])
    end = 0
    for entry in layout.entries:
        assert entry.record_start == end
        assert entry.data_start % ALIGNMENT == 0
        local = entry.local_record(7)
        assert len(local) == entry.data_start - entry.record_start
        check_extra(local[30 + len(entry.path) :])
        assert sizes_of(local, 18, 30, entry) == (entry.nbytes, entry.nbytes)
        end = entry.data_start + entry.nbytes
    assert layout.directory_start == end
    records = layout.directory(dict.fromkeys(layout.by_path, 7))
    infos = list(central_records(records))
    assert [info[0] for info in infos] == [entry.path for entry in layout.entries]
    for info, entry in zip(infos, layout.entries, strict=True):
        assert info[1:] == (entry.nbytes, entry.nbytes, entry.record_start)


@pytest.mark.parametrize("nbytes", SIZES)
def test_readers_that_rebuild_the_local_record_arrive_at_the_data(nbytes):
    """Old versions of the reference package find data with zipfile's FileHeader(), from the directory alone."""
    for length in range(1, 130):
        layout = plan_layout([("a" * length, nbytes)])
        (entry,) = layout.entries
        info = zipfile.ZipInfo(entry.path)
        info.file_size = info.compress_size = entry.nbytes
        info.extra = entry.central_record(0)[46 + length :]
        info.CRC = 0
        assert len(info.FileHeader()) + entry.record_start == entry.data_start


def check_extra(extra):
    """Every extra field has an id, a size, and ends where the next begins."""
    while extra:
        assert len(extra) >= 4
        _, size = struct.unpack_from("<2H", extra)
        assert len(extra) >= 4 + size
        extra = extra[4 + size :]


def sizes_of(record, at, name_at, entry):
    sizes = struct.unpack_from("<2L", record, at)
    if sizes[0] == 0xFFFFFFFF:
        return struct.unpack_from("<2Q", record, name_at + len(entry.path) + 4)
    return sizes


def central_records(data):
    place = 0
    while data[place : place + 4] == b"PK\1\2":
        fields = struct.unpack_from("<4s6H3L5H2L", data, place)
        stored, size, name_size, extra_size, start = fields[8], fields[9], fields[10], fields[11], fields[16]
        name = data[place + 46 : place + 46 + name_size].decode()
        extra = data[place + 46 + name_size : place + 46 + name_size + extra_size]
        check_extra(extra)
        numbers = [n for n in (stored, size, start) if n == 0xFFFFFFFF]
        values = list(struct.unpack_from(f"<{len(numbers)}Q", extra, 4)) if numbers else []
        yield (name, *(values.pop(0) if number == 0xFFFFFFFF else number for number in (stored, size, start)))
        place += 46 + name_size + extra_size


def test_more_entries_than_16_bits_count():
    contents = {f"dps/{number}.uint8": b"" for number in range(65_600)}
    _, data = build(contents)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.infolist()) == 65_600


def test_an_entry_knows_whether_it_is_big():
    assert Entry("x", 2**32 - 1, 0, 64).is_big
    assert not Entry("x", 2**32 - 2, 0, 64).is_big
