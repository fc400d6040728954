"""What nobody was handed is what the file holds; what was handed out is compared with it, and damage stays visible."""

from __future__ import annotations

import copy
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trxlib
from tests.helpers import assert_trx_equal, make_trx_arrays, read_plain, write_plain_zip
from trxlib.errors import ArchiveError
from trxlib.trx_file_memmap import TrxFile, concatenate, load, save

#: Long enough that large arrays are copied from file to file.
LONG = {"lengths": [2, 9000, 0, 9000, 1] + [0] * 30_000, "dps": {"w": (1, "<f4")}, "dpv": {"fa": (2, "<f4")}}
GROUPS = {"CC": [0, 2, 1], "big": list(range(30_005))}
#: An array of each kind, and the byte of it that is damaged (where the offsets still ascend).
ENTRIES = {
    "positions": ("positions.3.float32", 100_000),
    "offsets": ("offsets.uint32", 4),
    "large dps": ("dps/w.float32", 2),
    "dpv": ("dpv/fa.2.float32", 70_002),
    "small group": ("groups/CC.uint32", 0),
    "large group": ("groups/big.uint32", 80_000),
    "dpg": ("dpg/CC/volume.float32", 2),
}
SMALL_ENTRIES = {
    "small positions": ("positions.3.float32", 6),
    "small dps": ("dps/weight.float32", 2),
    "small dpv": ("dpv/fa.float16", 1),
}


def damage(path: Path, entry: str, byte: int) -> None:
    """Turn the lowest bit of one byte of an entry's data."""
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(entry).header_offset
    data = bytearray(path.read_bytes())
    start += (
        30
        + int.from_bytes(data[start + 26 : start + 28], "little")
        + int.from_bytes(data[start + 28 : start + 30], "little")
    )
    data[start + byte] ^= 1
    path.write_bytes(data)


def make_file(path: Path, entry: str, byte: int, *, long: bool) -> Path:
    arrays = make_trx_arrays(**LONG, groups=GROUPS) if long else make_trx_arrays()
    write_plain_zip(arrays, path)
    damage(path, entry, byte)
    return path


def all_arrays(trx: TrxFile) -> list[Any]:
    """Every array that a file shows."""
    sequences = [trx.streamlines, *trx.data_per_vertex.values()]
    arrays = [array for sequence in sequences for array in (sequence._data, sequence._offsets)]
    arrays += [*trx.data_per_streamline.values(), *trx.groups.values()]
    return arrays + [array for table in trx.data_per_group.values() for array in table.values()]


def look(trx: TrxFile) -> None:
    all_arrays(trx)


def write_the_same(trx: TrxFile) -> None:
    for array in all_arrays(trx):
        array[...] = array.copy()


LOOKS = {"untouched": lambda trx: None, "looked at": look, "written as it was": write_the_same}
ROADS: dict[str, Callable[[TrxFile, Path], None]] = {
    "save": save,
    "concatenate": lambda trx, out: save(concatenate([trx]), out),
    "concatenate two": lambda trx, out: save(concatenate([trx, trx]), out),
    "copy": lambda trx, out: save(copy.copy(trx), out),
}


def outcome(path: Path, out: Path, road: str, how: str) -> bytes | str:
    """The bytes that were written, or the error."""
    trx = load(path)
    LOOKS[how](trx)
    try:
        ROADS[road](trx, out)
    except ArchiveError as error:
        return str(error)
    return out.read_bytes()


@pytest.mark.parametrize("what", ENTRIES | SMALL_ENTRIES)
@pytest.mark.parametrize("road", ROADS)
def test_damage_never_gets_a_matching_crc_whoever_has_looked(tmp_path, road, what):
    entry, byte = (ENTRIES | SMALL_ENTRIES)[what]
    path = make_file(tmp_path / "a.trx", entry, byte, long=what in ENTRIES)
    found = {how: outcome(path, tmp_path / "out.trx", road, how) for how in LOOKS}
    assert len(set(found.values())) == 1
    if isinstance(found["untouched"], str):
        assert entry in found["untouched"]
        assert not (tmp_path / "out.trx").exists()
    else:
        with pytest.raises(ArchiveError, match=entry.split(".")[0]):
            trxlib.validate(tmp_path / "out.trx")


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("how", LOOKS)
def test_a_good_file_gives_the_same_bytes_whoever_has_looked(tmp_path, road, how):
    for number, arrays in enumerate((make_trx_arrays(**LONG, groups=GROUPS), make_trx_arrays())):
        path = write_plain_zip(arrays, tmp_path / f"{number}.trx")
        expected = outcome(path, tmp_path / f"{number}a.trx", road, "untouched")
        assert outcome(path, tmp_path / f"{number}b.trx", road, how) == expected
        trxlib.validate(tmp_path / f"{number}b.trx")


@pytest.mark.parametrize("road", ["save", "concatenate"])
def test_what_was_changed_is_written_with_a_crc_of_its_own(tmp_path, road):
    path = make_file(tmp_path / "a.trx", "positions.3.float32", 100_000, long=True)
    trx = load(path)
    trx.streamlines._data[:] = 3
    trx.data_per_vertex["fa"]._data[-1] = 5
    trx.data_per_streamline["w"][7] = -1
    trx.groups["CC"][0] = 3
    trx.data_per_group["CC"]["volume"][:] = 9
    ROADS[road](trx, tmp_path / "out.trx")
    trxlib.validate(tmp_path / "out.trx")
    found = read_plain(tmp_path / "out.trx")
    assert (found.positions == 3).all()
    assert found.dpv["fa"][-1].tolist() == [5, 5]
    assert (found.dps["w"][7], found.groups["CC"][0], found.dpg["CC"]["volume"][0, 0]) == (-1, 3, 9)


def test_minus_zero_and_nan_are_changes_like_others(tmp_path):
    arrays = make_trx_arrays(**LONG)
    arrays.positions[:3] = 0
    arrays.positions[3] = np.nan
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    trx.streamlines._data[0] = -0.0
    save(trx, tmp_path / "b.trx")
    found = read_plain(tmp_path / "b.trx").positions
    assert np.signbit(found[:2]).tolist() == [[True] * 3, [False] * 3]
    assert np.isnan(found[3]).all()


READS = {
    "save": lambda trx, folder: save(trx, folder / "out.trx"),
    "concatenate": lambda trx, folder: save(concatenate([trx, trx]), folder / "out.trx"),
    "group": lambda trx, folder: save(trx.get_group("CC"), folder / "out.trx"),
    "select": lambda trx, folder: save(trx[::2], folder / "out.trx"),
    "copies": lambda trx, folder: (trx.deepcopy(), trx.to_memory(), trx.to_tractogram()),
    "append to another": lambda trx, folder: trx.to_memory().append(trx),
    "text": lambda trx, folder: (str(trx), len(trx), trx.get_dtype_dict(), trx.header),
    "assign": lambda trx, folder: setattr(trx, "groups", {}),
}


@pytest.mark.parametrize("read", READS)
def test_our_own_reading_hands_nothing_out(tmp_path, read):
    trx = load(write_plain_zip(make_trx_arrays(), tmp_path / "a.trx"))
    READS[read](trx, tmp_path)
    assert trx._content.container.exposed == set()


ACCESSES = {
    "streamlines": (lambda trx: trx.streamlines, {"positions", "offsets"}),
    "dpv": (lambda trx: trx.data_per_vertex, {"dpv", "offsets"}),
    "dps": (lambda trx: trx.data_per_streamline, {"dps"}),
    "groups": (lambda trx: trx.groups, {"groups"}),
    "dpg": (lambda trx: trx.data_per_group, {"dpg"}),
    "of a selection": (lambda trx: trx[:2].streamlines, {"positions", "offsets"}),
    "of a group": (lambda trx: trx.get_group("CC").data_per_vertex, {"dpv", "offsets"}),
    "of a copy": (lambda trx: copy.copy(trx).groups, {"groups"}),
    "pickled": (lambda trx: pickle.dumps(trx), {"positions", "offsets", "dps", "dpv", "groups", "dpg"}),
}


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("mode", ["c", "r"])
def test_every_access_to_an_array_that_can_be_written_to_is_noted(tmp_path, access, mode):
    trx = load(write_plain_zip(make_trx_arrays(), tmp_path / "a.trx"), mode=mode)
    call, sections = ACCESSES[access]
    call(trx)
    assert trx._content.container.exposed == (sections if mode == "c" else set())


def test_what_is_written_through_a_selection_or_a_pickle_is_saved(tmp_path):
    arrays = make_trx_arrays(**LONG)
    for write in (
        lambda trx: trx[1:2].streamlines._data.__setitem__(0, 7),
        lambda trx: copy.copy(trx).streamlines._data.__setitem__(0, 7),
        lambda trx: _write_through_a_pickle(trx, 7),
    ):
        trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
        write(trx)
        save(trx, tmp_path / "b.trx")
        save(concatenate([trx]), tmp_path / "c.trx")
        for name in ("b.trx", "c.trx"):
            trxlib.validate(tmp_path / name)
            assert read_plain(tmp_path / name).positions[0].tolist() == [7, 7, 7]


def _write_through_a_pickle(trx: TrxFile, value: float) -> None:
    """Write into the positions by the buffers that pickle hands on without a copy."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(trx, protocol=5, buffer_callback=buffers.append)
    pickle.loads(data, buffers=buffers).streamlines._data[0] = value


def test_offsets_changed_after_a_concatenation_do_not_change_it(tmp_path):
    arrays = make_trx_arrays(**LONG)
    trx = load(write_plain_zip(arrays, tmp_path / "a.trx"))
    result = concatenate([trx])
    trx.streamlines._offsets[:] = 0
    trx.streamlines._lengths[:] = 0
    assert_trx_equal(result, arrays)


def replaced(path: Path) -> None:
    write_plain_zip(make_trx_arrays(3), path.with_name("new")).replace(path)


@pytest.mark.parametrize("remove", [replaced, Path.unlink], ids=["replaced", "removed"])
@pytest.mark.parametrize("joined", [False, True], ids=["save", "concatenate"])
def test_damage_of_a_file_that_is_gone_is_an_error(tmp_path, remove, joined):
    for what in ("positions", "offsets", "large dps", "small group"):
        path = make_file(tmp_path / "a.trx", *ENTRIES[what], long=True)
        trx = load(path)
        trx = concatenate([trx]) if joined else trx
        remove(path)
        with pytest.raises(ArchiveError, match=rf"a\.trx.*{ENTRIES[what][0]}.* the file is damaged"):
            save(trx, tmp_path / "b.trx")
        assert not (tmp_path / "b.trx").exists()


@pytest.mark.parametrize("remove", [replaced, Path.unlink], ids=["replaced", "removed"])
def test_a_good_file_that_is_gone_is_saved_from_memory(tmp_path, remove):
    arrays = make_trx_arrays(**LONG)
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    trx = load(path)
    result = concatenate([trx])
    remove(path)
    for name, thing in (("b.trx", trx), ("c.trx", result), ("d.trx", concatenate([trx]))):
        save(thing, tmp_path / name)
        assert_trx_equal(tmp_path / name, arrays)
        trxlib.validate(tmp_path / name)


def test_a_copy_knows_the_file_when_the_first_is_closed(tmp_path):
    path = make_file(tmp_path / "a.trx", "positions.3.float32", 100_000, long=True)
    trx = load(path)
    other = copy.copy(trx)
    trx.close()
    save(other, tmp_path / "b.trx")
    with pytest.raises(ArchiveError, match="positions"):
        trxlib.validate(tmp_path / "b.trx")


def test_offsets_of_another_type_are_compared_as_well(tmp_path):
    arrays = make_trx_arrays()
    arrays.offsets = arrays.offsets.astype("<i8")
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    found = outcome(path, tmp_path / "b.trx", "save", "looked at")
    assert found == outcome(path, tmp_path / "b.trx", "save", "untouched")
    trxlib.validate(tmp_path / "b.trx")
    damage(path, "offsets.int64", 8)
    for how in LOOKS:
        assert "offsets" in outcome(path, tmp_path / "c.trx", "save", how)
