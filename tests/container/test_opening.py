"""Opening is one descriptor: what is read comes from one file, whatever takes its name meanwhile."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import trxlib
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.container.entries import list_archive
from trxlib.container.mapping import MappedFile
from trxlib.container.reader import check_crcs
from trxlib.errors import InputError, InputNotFoundError
from trxlib.trx_file_memmap import load, load_from_zip

_SECONDS = 2.0


@contextmanager
def swapping(name: Path, files: list[Path]):
    """Give one name to several files in turn, as fast as it goes, as a program does that replaces its output."""
    stop = threading.Event()

    def swap() -> None:
        number = 1  # a link renamed to itself would stay
        while not stop.is_set():
            link = name.with_name("link")
            os.link(files[number % len(files)], link)
            link.replace(name)
            number += 1

    thread = threading.Thread(target=swap)
    os.link(files[0], name)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("method", [0, 8], ids=["stored", "deflated"])
def test_all_that_is_loaded_comes_from_one_file(tmp_path, method):
    # Of one size and shape, entry by entry: nothing else tells them apart.
    bundles = [
        make_trx_arrays(lengths=[3, 2, 5], groups={"g": [1]}, seed=seed, extra={"NUMBER": seed}) for seed in (1, 2)
    ]
    files = [write_plain_zip(arrays, tmp_path / f"{n}.trx", method) for n, arrays in enumerate(bundles, 1)]
    seen = set()
    end = time.monotonic() + _SECONDS
    with swapping(tmp_path / "a.trx", files):
        while time.monotonic() < end:
            with load(tmp_path / "a.trx") as trx:
                number = trx.header["NUMBER"]
                arrays = bundles[number - 1]
                np.testing.assert_array_equal(trx.streamlines._data, arrays.positions)
                np.testing.assert_array_equal(trx.data_per_streamline["weight"], arrays.dps["weight"])
                seen.add(number)
            check_crcs(tmp_path / "a.trx")
    assert seen == {1, 2}


def test_damage_found_on_opening_is_that_of_the_file_that_is_mapped(tmp_path):
    good = write_plain_zip(make_trx_arrays(), tmp_path / "1.trx")
    data = bytearray(good.read_bytes())
    data[data.find(make_trx_arrays().positions.tobytes())] ^= 1
    bad = tmp_path / "2.trx"
    bad.write_bytes(data)
    end = time.monotonic() + _SECONDS / 2
    with swapping(tmp_path / "a.trx", [good, bad]):
        while time.monotonic() < end:
            load(tmp_path / "a.trx", mode="r+").close()
    assert bad.read_bytes() == data  # nobody took its damage for a change
    trxlib.validate(good)


READS = {
    "load": load,
    "load to change": lambda path: load(path, mode="r+"),
    "load_from_zip": load_from_zip,
    "validate": trxlib.validate,
    "find_problems": trxlib.find_problems,
    "check_crcs": check_crcs,
    "list_archive": list_archive,
    "map": MappedFile,
}


@pytest.mark.parametrize("read", READS)
def test_a_pipe_or_device_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.trx")
    (tmp_path / "zero.trx").symlink_to("/dev/zero")
    for name in ("pipe.trx", "zero.trx"):
        with pytest.raises(InputError, match=rf"{name}: is no file but a folder, a device or a pipe"):
            READS[read](tmp_path / name)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputNotFoundError, match=r"a\.trx: no such file or folder"):
        load(tmp_path / "a.trx")
    with pytest.raises(InputNotFoundError, match=r"a\.trx: cannot be read"):
        list_archive(tmp_path / "a.trx")
