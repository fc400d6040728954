"""Any sequence of edits of a preallocated file against plain arrays, one per streamline."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.errors import CapacityError
from trxlib.trx_file_memmap import TrxFile, concatenate, load


class Model:
    """What a file must hold: positions, dps and dpv of each streamline."""

    def __init__(self, trx):
        whole = concatenate([trx])
        self.positions = [np.array(streamline) for streamline in whole.streamlines]
        self.dps = [np.array(row) for row in whole.data_per_streamline["w"]]
        self.dpv = [np.array(rows) for rows in whole.data_per_vertex["v"]]

    def extend(self, other):
        for mine, added in zip(self.parts(), other.parts(), strict=True):
            mine.extend(added)

    def parts(self):
        return self.positions, self.dps, self.dpv

    def check(self, trx):
        assert trx._get_real_len() == (len(self.positions), sum(map(len, self.positions)))
        for mine, found in zip(self.parts(), Model(trx).parts(), strict=True):
            assert len(mine) == len(found)
            for expected, array in zip(mine, found, strict=True):
                np.testing.assert_array_equal(array, expected)


def append(trx, model, added, rng):
    trx.append(added, extra_buffer=int(rng.integers(0, 6)))
    model.extend(Model(added))
    return trx


def fill(trx, model, added, rng):
    del rng
    try:
        trx = concatenate([trx, added], delete_groups=True, preallocation=True)
    except CapacityError:
        return trx
    model.extend(Model(added))
    return trx


def assign_dps(trx, model, *_):
    trx.data_per_streamline["w"] = trx.data_per_streamline["w"] + 1
    model.dps = [row + 1 for row in model.dps]
    return trx


def assign_dpv(trx, model, *_):
    if len(trx):
        trx.data_per_vertex["v"] = trx.data_per_vertex["v"] * 2.0
        model.dpv = [rows * 2 for rows in model.dpv]
    return trx


def move_in_place(trx, model, *_):
    if len(trx):
        trx.streamlines += 1.0
        model.positions = [vertices + 1 for vertices in model.positions]
    return trx


def move(trx, model, *_):
    if len(trx):
        trx.streamlines = trx.streamlines + 1.0
        model.positions = [vertices + 1 for vertices in model.positions]
    return trx


COPIES = [
    lambda trx, *_: trx.deepcopy(),
    lambda trx, *_: trx.to_memory(),
    lambda trx, *_: copy.copy(trx),
    lambda trx, *_: pickle.loads(pickle.dumps(trx)),
]
EDITS = [append, append, append, fill, assign_dps, assign_dpv, move_in_place, move, *COPIES]


@pytest.mark.parametrize("seed", range(16))
def test_sequences_of_edits(tmp_path, seed):
    rng = np.random.default_rng(seed)

    def small(name):
        lengths = rng.integers(0, 4, int(rng.integers(0, 5))).tolist()
        columns = {"dps": {"w": (1, "<f4")}, "dpv": {"v": (1, "<f4")}, "groups": {}, "dpg": {}, "sidecars": {}}
        arrays = make_trx_arrays(lengths=lengths, seed=int(rng.integers(1000)), **columns)
        return load(write_plain_zip(arrays, tmp_path / f"{name}.trx"))

    trx = TrxFile(nb_vertices=int(rng.integers(1, 60)), nb_streamlines=int(rng.integers(1, 20)), init_as=small("model"))
    model = Model(trx)
    for step in range(8):
        edit = EDITS[int(rng.integers(len(EDITS)))]
        trx = edit(trx, model, small(step), rng)
        model.check(trx)
