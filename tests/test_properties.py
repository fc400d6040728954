"""Random bundles through every operation: what holds for all of them."""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trxlib
from tests.helpers import (
    as_parts,
    assert_trx_equal,
    make_trx_arrays,
    select_streamlines,
    write_plain_folder,
    write_plain_zip,
)
from tests.strategies import bundles, columns, indices, several_bundles
from trxlib.commands.validate import find_problems
from trxlib.errors import DataLossWarning
from trxlib.trx_file_memmap import TrxFile, concatenate, load, save


@pytest.fixture(scope="module")
def scratch():
    """A folder for the files of one module; examples overwrite each other's by replacing them."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def loaded(arrays, folder, name="in.trx"):
    """Load a bundle from an archive made without trxlib; an older file is replaced, not overwritten."""
    return load(write_plain_zip(arrays, folder / "new").replace(folder / name))


def written(trx, folder, name="out.trx"):
    """Save, and return the bytes; the file is checked against every rule."""
    save(trx, folder / name)
    assert find_problems(folder / name) == []
    return (folder / name).read_bytes()


def assert_parts_equal(actual, expected, *, skip=("offsets",), members=np.sort):
    """Compare arrays; offsets may be wider in memory than in a file, so their values only."""
    found, wanted = as_parts(actual), as_parts(expected)
    assert found.keys() == wanted.keys()
    for label in found:
        # With repeated rows, members of a selection of a selection come in another order.
        order = members if label.startswith("groups/") else np.asarray
        np.testing.assert_array_equal(order(found[label]), order(wanted[label]), err_msg=label)
        assert label in skip or found[label].dtype == wanted[label].dtype, label


@given(arrays=bundles())
def test_round_trip(arrays, scratch):
    trx = loaded(arrays, scratch)
    assert_trx_equal(trx, arrays)
    first = written(trx, scratch)
    assert_parts_equal(scratch / "out.trx", arrays)
    again = load(scratch / "out.trx")
    assert written(again, scratch) == first
    assert written(again.deepcopy(), scratch) == first
    assert written(copy.deepcopy(again.to_memory()), scratch) == first
    assert trx._content.selection().arrays.sidecars == arrays.sidecars


@given(arrays=bundles())
def test_folder_and_archive_hold_the_same(arrays, scratch):
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = write_plain_folder(arrays, Path(folder, "in"))
        (path / "header.json").touch()
        assert_trx_equal(load(path), loaded(arrays, scratch))
        assert written(load(path), scratch) == written(loaded(arrays, scratch), scratch)
        save(load(path), Path(folder, "out"))
        assert_parts_equal(Path(folder, "out"), arrays)


@given(data=st.data(), arrays=bundles())
def test_selecting_twice_is_selecting_once(data, arrays, scratch):
    trx = loaded(arrays, scratch)
    first = data.draw(indices(len(trx)))
    part = trx[first]
    rows = np.atleast_1d(np.arange(len(trx))[first])
    second = data.draw(indices(len(part)))
    both = np.atleast_1d(rows[second])
    # Groups are sets: where a streamline is selected twice, they name each copy once.
    assert_parts_equal(part[second], trx[both], members=np.unique)
    assert_parts_equal(part[second].deepcopy(), trx[both], members=np.unique)
    assert written(part[second], scratch) == written(part[second].to_memory(), scratch)
    assert_parts_equal(part, select_streamlines(arrays, rows))
    assert_trx_equal(trx, arrays)


@given(arrays=bundles())
def test_everything_selected_is_the_same_file(arrays, scratch):
    trx = loaded(arrays, scratch)
    assert written(trx[:], scratch) == written(trx, scratch)
    assert written(trx[::-1][::-1], scratch) == written(trx, scratch)


@given(inputs=several_bundles())
def test_all_roads_of_joining_give_the_same_bytes(inputs, scratch):
    paths = []
    for number, arrays in enumerate(inputs):
        paths.append(write_plain_zip(arrays, scratch / "new").replace(scratch / f"{number}.trx"))
    trxlib.merge(paths, scratch / "merged.trx")
    expected = (scratch / "merged.trx").read_bytes()
    files = [load(path) for path in paths]
    joined = concatenate(files)
    assert written(joined, scratch) == expected
    assert len(joined.streamlines) == sum(arrays.header.nb_streamlines for arrays in inputs)
    assert written(joined, scratch) == expected
    for trx, arrays in zip(files, inputs, strict=True):
        assert_trx_equal(trx, arrays)


@given(inputs=several_bundles(), buffer=st.integers(0, 9))
def test_appending_one_by_one_joins_the_streamlines(inputs, buffer, scratch):
    files = [loaded(arrays, scratch, f"{number}.trx") for number, arrays in enumerate(inputs)]
    expected = concatenate(files)
    trx = files[0].deepcopy()
    for other in files[1:]:
        trx.append(other, extra_buffer=buffer)
    trx.resize()
    found, wanted = as_parts(trx), as_parts(expected)
    # dpg and header keys get the numbers of each append; all else is the same.
    for label in wanted:
        if not label.startswith("dpg/"):
            np.testing.assert_array_equal(found[label], wanted[label], err_msg=label)
    assert {label for label in found if not label.startswith("dpg/")} == {
        label for label in wanted if not label.startswith("dpg/")
    }
    for number, arrays in enumerate(inputs):
        assert_trx_equal(files[number], arrays)


@given(inputs=several_bundles(), room=st.tuples(st.integers(0, 9), st.integers(0, 50)))
def test_preallocated_road_gives_the_same_bytes(inputs, room, scratch):
    files = [loaded(arrays, scratch, f"{number}.trx") for number, arrays in enumerate(inputs)]
    widest = concatenate(files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataLossWarning)
        expected = concatenate(files, delete_groups=True)
        target = TrxFile(
            nb_vertices=expected.header["NB_VERTICES"] + room[1],
            nb_streamlines=len(expected) + room[0],
            init_as=widest,
        )
        result = concatenate([target, *files], preallocation=True, delete_groups=True)
    assert result._get_real_len() == (len(expected), expected.header["NB_VERTICES"])
    assert written(result, scratch) == written(expected, scratch)
    result.resize()
    assert written(result, scratch) == written(expected, scratch)


@given(data=st.data(), arrays=bundles())
def test_resize_keeps_the_front(data, arrays, scratch):
    trx = loaded(arrays, scratch)
    count = data.draw(st.integers(0, len(trx)))
    front = loaded(arrays, scratch, "front.trx")[:count]
    trx.resize(nb_streamlines=count)
    assert len(trx) == count
    found, wanted = as_parts(trx), as_parts(front)
    for label in wanted:
        np.testing.assert_array_equal(found[label], wanted[label], err_msg=label)
    trx.resize(nb_streamlines=count + 5, nb_vertices=1000)
    assert trx._get_real_len() == (count, front.header["NB_VERTICES"])
    trx.resize()
    assert trx.header["NB_VERTICES"] == front.header["NB_VERTICES"]


plain = columns.map(lambda specs: {key: spec for key, spec in specs.items() if spec[1] != "?"})


@given(arrays=bundles(with_groups=False))
def test_tractograms_and_back(arrays, scratch):
    trx = loaded(arrays, scratch)
    tractogram = trx.to_tractogram()
    wanted = trx.get_dtype_dict()
    assert_trx_equal(TrxFile.from_tractogram(tractogram, trx, wanted), trx, header=False)


@settings(max_examples=20)
@given(arrays=bundles(with_groups=False))
def test_stateful_tractograms_and_back(arrays, scratch):
    pytest.importorskip("dipy")
    trx = loaded(arrays, scratch)
    found = TrxFile.from_sft(trx.to_sft())
    assert_parts_equal(found, trx)


def test_the_comparison_sees_differences():
    one, two = make_trx_arrays(), make_trx_arrays()
    two.dps["weight"] = two.dps["weight"].copy()
    two.dps["weight"][3] += 1
    with pytest.raises(AssertionError, match="dps/weight differs"):
        assert_trx_equal(one, two)
    two = make_trx_arrays(positions_dtype="<f8")
    with pytest.raises(AssertionError, match="positions has dtype float32, expected float64"):
        assert_trx_equal(one, two)
    del two.groups["CC"]
    with pytest.raises(AssertionError, match="arrays "):
        assert_trx_equal(one, two)
