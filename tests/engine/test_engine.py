"""The engine: plan -> allocate -> fill -> seal. One result on every road, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import make_trx_arrays, read_entries, read_plain, write_plain_folder, write_plain_zip
from trxlib.commands.extract import extract_groups
from trxlib.commands.merge import merge
from trxlib.container.partial import PartialArchive
from trxlib.engine.fill import fill_inputs, fill_shard
from trxlib.engine.plan import Plan
from trxlib.engine.planning import plan_merge
from trxlib.engine.receipt import Receipt
from trxlib.engine.seal import check_receipts, seal_container
from trxlib.engine.trx_source import TrxSource
from trxlib.engine.write import write_container
from trxlib.errors import (
    DataLossWarning,
    FormatError,
    HeaderWarning,
    InputError,
    InputNotFoundError,
    MetadataMismatchError,
    ShapeError,
    SpaceMismatchError,
    StaleError,
)


def merge_in_python(bundles, names=None):
    """The merge as a plain loop over streamlines: what the engine must agree with."""
    positions, lengths, members, done = [], [], {}, 0
    for number, bundle in enumerate(bundles):
        for i in range(bundle.header.nb_streamlines):
            low, high = int(bundle.offsets[i]), int(bundle.offsets[i + 1])
            positions += bundle.positions[low:high].tolist()
            lengths.append(high - low)
        for group, indices in bundle.groups.items():
            members.setdefault(group, []).extend(int(index) + done for index in indices)
        if names:
            members.setdefault(names[number], []).extend(range(done, done + bundle.header.nb_streamlines))
        done += bundle.header.nb_streamlines
    offsets = [0]
    for length in lengths:
        offsets.append(offsets[-1] + length)
    return positions, offsets, members


@pytest.fixture
def three(tmp_path):
    bundles = [make_trx_arrays(n, seed=seed, sidecars={}) for seed, n in enumerate((12, 5, 9))]
    bundles[1].groups = {"CST_L": np.array([4, 0], "<u4"), "only here": np.array([1], "<u4")}
    bundles[1].dpg = {}
    paths = [write_plain_zip(bundle, tmp_path / f"in{n}.trx") for n, bundle in enumerate(bundles)]
    return bundles, paths


def test_merge_agrees_with_a_loop_over_streamlines(three, tmp_path):
    bundles, paths = three
    merge(paths, tmp_path / "out.trx", names=["a", "b", "c"])
    positions, offsets, members = merge_in_python(bundles, ["a", "b", "c"])
    result = read_plain(tmp_path / "out.trx")
    assert result.positions.tolist() == positions
    assert result.offsets.tolist() == offsets
    assert result.offsets.dtype == np.uint32
    assert {group: array.tolist() for group, array in result.groups.items()} == members
    for key in bundles[0].dps:
        np.testing.assert_array_equal(result.dps[key], np.concatenate([bundle.dps[key] for bundle in bundles]))
    for key in bundles[0].dpv:
        np.testing.assert_array_equal(result.dpv[key], np.concatenate([bundle.dpv[key] for bundle in bundles]))


def test_every_road_gives_the_same_bytes(three, tmp_path):
    bundles, paths = three
    merge(paths, tmp_path / "one.trx")
    expected = (tmp_path / "one.trx").read_bytes()
    merge(paths, tmp_path / "threads.trx", workers=4)
    folders = [write_plain_folder(bundle, tmp_path / f"folder{n}") for n, bundle in enumerate(bundles)]
    merge(folders, tmp_path / "folders.trx")
    deflated = [write_plain_zip(b, tmp_path / f"d{n}.trx", zipfile.ZIP_DEFLATED) for n, b in enumerate(bundles)]
    merge(deflated, tmp_path / "deflated.trx")
    sources = [TrxSource(bundle) for bundle in bundles]
    write_container(plan_merge(sources), sources, tmp_path / "memory.trx", verify=True)
    for name in ("threads", "folders", "deflated", "memory"):
        assert (tmp_path / f"{name}.trx").read_bytes() == expected, name
    merge(paths, tmp_path / "out_folder")
    assert read_entries(tmp_path / "out_folder") == read_entries(tmp_path / "one.trx")
    merge(paths, tmp_path / "packed.trx", compression=zipfile.ZIP_DEFLATED)
    assert read_entries(tmp_path / "packed.trx") == read_entries(tmp_path / "one.trx")
    assert {info.compress_type for info in zipfile.ZipFile(tmp_path / "packed.trx").infolist()} == {8}


@pytest.mark.parametrize("nb_shards", [1, 2, 3, 7])
def test_shards_filled_in_any_order_and_twice_give_the_same_bytes(three, tmp_path, nb_shards):
    _, paths = three
    merge(paths, tmp_path / "expected.trx")

    def opener(number, item):
        return TrxSource.open(item.path)

    sources = [TrxSource.open(path) for path in paths]
    plan = plan_merge(sources, options=[None] * 3, nb_shards=nb_shards)
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert again == plan
    assert again.id == plan.id
    partial = tmp_path / "x.partial"
    receipts = []
    for shard in [*reversed(range(nb_shards)), 0]:  # shard 0 twice, as by a job and its twin
        target = PartialArchive(tmp_path / "out.trx", again.layout, partial)
        receipt = fill_shard(again, target, opener, shard)
        target.close()
        receipt.save(tmp_path / f"{shard}.json")
        assert Receipt.load(tmp_path / f"{shard}.json") == receipt
        receipts.append(Receipt.load(tmp_path / f"{shard}.json"))
    assert not (tmp_path / "out.trx").exists()
    target = PartialArchive(tmp_path / "out.trx", again.layout, partial)
    seal_container(again, target, check_receipts(again, receipts), verify=True)
    assert (tmp_path / "out.trx").read_bytes() == (tmp_path / "expected.trx").read_bytes()
    assert not partial.exists()


def test_receipts_of_another_plan_and_missing_ones_are_refused(three):
    sources = [TrxSource(bundle) for bundle in three[0]]
    plan = plan_merge(sources, nb_shards=2)
    with pytest.raises(StaleError, match="no receipt of shard 1"):
        check_receipts(plan, [Receipt(plan.id, 0, ())])
    with pytest.raises(StaleError, match="shard 1 belongs to another plan"):
        check_receipts(plan, [Receipt(plan.id, 0, ()), Receipt("0" * 16, 1, ())])


def test_seal_refuses_gaps_and_damage(three, tmp_path):
    sources = [TrxSource(bundle) for bundle in three[0]]
    plan = plan_merge(sources)
    target = PartialArchive(tmp_path / "out.trx", plan.layout)
    ranges = fill_inputs(plan, target, lambda number, _: sources[number])
    with pytest.raises(StaleError, match="dps/weight.float32: 0 of"):
        seal_container(plan, target, [piece for piece in ranges if "weight" not in piece.path])
    target.write("dps/weight.float32", 8, b"damage")
    with pytest.raises(StaleError, match="dps/weight.float32 has CRC"):
        seal_container(plan, target, ranges, verify=True)
    target.discard()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in0.trx", "in1.trx", "in2.trx"]


def test_an_input_that_changed_after_the_plan_is_refused(three, tmp_path):
    _, paths = three
    plan = plan_merge([TrxSource.open(path) for path in paths], options=[None] * 3)
    os.utime(paths[1], ns=(1, 1))
    target = PartialArchive(tmp_path / "out.trx", plan.layout)
    with pytest.raises(StaleError, match="in1.trx: was changed since the plan was made"):
        fill_inputs(plan, target, lambda _, item: TrxSource.open(item.path))
    target.discard()


def test_missing_keys_error_drop_and_fill(tmp_path):
    first = make_trx_arrays(4, dps={"w": (1, "<f4"), "x": (2, "<f8")}, dpv={})
    second = make_trx_arrays(3, seed=1, dps={"w": (1, "<f8")}, dpv={"fa": (1, "<f2")})
    empty = make_trx_arrays(0, lengths=[], dps={}, dpv={}, groups={})
    paths = [write_plain_zip(bundle, tmp_path / f"{n}.trx") for n, bundle in enumerate((first, second, empty))]
    with pytest.raises(MetadataMismatchError, match=r"dps/x is lacking in 2"):
        merge(paths, tmp_path / "out.trx")
    with pytest.raises(InputError, match="missing is 'dropp', expected"):
        merge(paths, tmp_path / "out.trx", missing="dropp")
    assert not (tmp_path / "out.trx").exists()
    with pytest.warns(DataLossWarning) as caught:
        merge(paths, tmp_path / "out.trx", missing="drop")
    assert "dps/x (lacking in 2)" in str(caught[0].message)
    assert "dpv/fa (lacking in 1)" in str(caught[1].message)
    assert list(read_plain(tmp_path / "out.trx").dps) == ["w"]
    merge(paths, tmp_path / "out.trx", missing="fill")
    result = read_plain(tmp_path / "out.trx")
    assert result.dps["w"].dtype == np.float64  # widest
    np.testing.assert_array_equal(result.dps["x"][:4], first.dps["x"])
    assert np.isnan(result.dps["x"][4:]).all()
    assert np.isnan(result.dpv["fa"][: first.header.nb_vertices]).all()


def test_misfits_are_listed_all_at_once(tmp_path):
    bundles = [make_trx_arrays(3, seed=n, dps={"w": (1 + n % 2, "<f4")}, dpv={}) for n in range(3)]
    paths = [write_plain_zip(bundle, tmp_path / f"{n}.trx") for n, bundle in enumerate(bundles)]
    with pytest.raises(MetadataMismatchError, match="different numbers of columns"):
        merge(paths, tmp_path / "out.trx")
    moved = np.array(bundles[0].header.voxel_to_rasmm)
    moved[0, 3] += 5
    others = [
        write_plain_zip(make_trx_arrays(3, affine=moved), tmp_path / "moved.trx"),
        write_plain_zip(make_trx_arrays(3, dimensions=(1, 2, 3)), tmp_path / "small.trx"),
    ]
    with pytest.raises(SpaceMismatchError) as caught:
        merge([paths[0], *others, paths[2]], tmp_path / "out.trx", max_outside=1, warn_outside=1)
    assert "moved.trx" in str(caught.value)
    assert "small.trx" in str(caught.value)
    assert not (tmp_path / "out.trx").exists()


def test_dpg_sidecars_and_header_keys_are_united_and_none_is_lost(tmp_path):
    first = make_trx_arrays(3, dpg={"CC": {"volume": [[1]], "same": [[7]]}}, extra={"SCAN": 1, "BOTH": "x"})
    second = make_trx_arrays(
        3, dpg={"CC": {"volume": [[2]], "same": [[7]], "new": [[3]]}}, extra={"SCAN": 2, "BOTH": "x"}
    )
    second.sidecars = {"notes.json": b"{}", "more.json": b"[]"}
    paths = [write_plain_zip(bundle, tmp_path / f"{n}.trx") for n, bundle in enumerate((first, second))]
    merge(paths, tmp_path / "out.trx", names=["sub-01", "sub-02"])
    result = read_plain(tmp_path / "out.trx")
    values = {key: array.ravel().tolist() for key, array in result.dpg["CC"].items()}
    assert values == {"volume_sub-01": [1], "volume_sub-02": [2], "same": [7], "new": [3]}
    assert result.sidecars == {
        "notes_sub-01.json": b'{"by": "hand"}',
        "notes_sub-02.json": b"{}",
        "more.json": b"[]",
    }
    assert {key: value for key, value in result.header.extra.items() if key != "MADE_BY"} == {
        "SCAN_sub-01": 1,
        "SCAN_sub-02": 2,
        "BOTH": "x",
    }


def test_a_group_member_out_of_range_is_refused_and_named(tmp_path):
    bad = make_trx_arrays(3)
    bad.groups["CC"] = np.array([0, 3], "<u4")
    path = write_plain_zip(bad, tmp_path / "bad.trx")
    with pytest.raises(ShapeError, match=r"bad.trx: groups/CC row 1 is streamline 3, but NB_STREAMLINES is 3"):
        merge([path], tmp_path / "out.trx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.trx"]


def test_names_with_dots_are_changed_with_a_warning(tmp_path):
    bundle = make_trx_arrays(4, dps={"a.b": (1, "<f4")}, groups={"CST.left": [1]}, dpg={"CST.left": {"x": [[1]]}})
    path = write_plain_zip(bundle, tmp_path / "dots.trx")
    with pytest.warns(HeaderWarning, match="dps/a.b becomes a_b, groups/CST.left becomes CST_left"):
        merge([path], tmp_path / "out.trx")
    result = read_plain(tmp_path / "out.trx")
    np.testing.assert_array_equal(result.dps["a_b"], bundle.dps["a.b"])
    assert result.dpg["CST_left"]["x"] == 1
    assert result.groups["CST_left"].tolist() == [1]


def test_nothing_remains_after_a_failure_and_the_old_file_is_whole(three, tmp_path, monkeypatch):
    _, paths = three
    output = tmp_path / "out.trx"
    output.write_bytes(b"precious")
    monkeypatch.setattr(PartialArchive, "seal", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        merge(paths, output)
    assert output.read_bytes() == b"precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in0.trx", "in1.trx", "in2.trx", "out.trx"]


def test_wrong_calls_are_refused(three, tmp_path):
    _, paths = three
    with pytest.raises(InputError, match="give at least one"):
        merge([], tmp_path / "out.trx")
    with pytest.raises(InputError, match="2 names are given for 3"):
        merge(paths, tmp_path / "out.trx", names=["a", "b"])
    with pytest.raises(InputError, match="same name"):
        merge(paths, tmp_path / "out.trx", names=["a", "b", "a"])
    with pytest.raises(InputNotFoundError, match="does not exist; create it"):
        merge(paths, tmp_path / "no" / "out.trx")
    with pytest.raises(InputNotFoundError, match="no such file"):
        merge([tmp_path / "nothing.trx"], tmp_path / "out.trx")
    with pytest.raises(InputError, match="put a single one in brackets"):
        merge(str(paths[0]), tmp_path / "out.trx")
    with pytest.raises(InputError, match="expected texts"):
        merge(paths, tmp_path / "out.trx", names=[1, 2, 3])
    with pytest.raises(InputError, match="positions_dtype is 'foo', expected float16"):
        merge(paths, tmp_path / "out.trx", positions_dtype="foo")
    with pytest.raises(InputError, match="put a single name in brackets"):
        extract_groups(paths[0], tmp_path / "groups", "CC")
    with pytest.raises(InputError, match="is a file, expected the name of a folder"):
        extract_groups(paths[0], paths[1])
    (tmp_path / "dir.trx").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        merge(paths, tmp_path / "dir.trx")


def test_no_input_is_merged_onto_itself_and_read_only_inputs_are_read(three, tmp_path):
    bundles, paths = three
    for path in paths:
        path.chmod(0o444)
    before = paths[0].read_bytes()
    with pytest.raises(InputError, match="would replace the input"):
        merge([paths[0], paths[1]], paths[0])
    assert paths[0].read_bytes() == before
    merge([paths[0], paths[1]], tmp_path / "out.trx")
    result = read_plain(tmp_path / "out.trx")
    assert result.header.nb_streamlines == 17
    np.testing.assert_array_equal(result.positions[: len(bundles[0].positions)], bundles[0].positions)


def test_data_are_aligned_dates_fixed_and_order_as_designed(three, tmp_path):
    _, paths = three
    plan = merge(paths, tmp_path / "out.trx")
    assert all(entry.data_start % 64 == 0 for entry in plan.layout.entries)
    with zipfile.ZipFile(tmp_path / "out.trx") as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
        # The reference package finds the data this way, from the central directory.
        rebuilt = [info.header_offset + len(info.FileHeader()) for info in infos]
    assert rebuilt == [entry.data_start for entry in plan.layout.entries]
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    sections = [info.filename.split("/")[0].split(".")[0] for info in infos]
    order = ["header", "positions", "offsets", "dpv", "dps", "groups", "dpg"]
    assert [section for section in dict.fromkeys(sections) if section in order] == order


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs Info-ZIP's unzip")
def test_info_zip_finds_no_fault(three, tmp_path):
    merge(three[1], tmp_path / "out.trx")
    done = subprocess.run(["unzip", "-tq", tmp_path / "out.trx"], capture_output=True, text=True, check=False)
    assert "No errors detected" in done.stdout
    assert done.returncode == 0


def test_extracted_groups_hold_their_streamlines(three, tmp_path):
    merge(three[1], tmp_path / "all.trx", names=["a", "b", "c"])
    whole = read_plain(tmp_path / "all.trx")
    extracted = extract_groups(tmp_path / "all.trx", tmp_path / "groups", workers=2)
    assert [item.name for item in extracted] == sorted(whole.groups)
    for item in extracted:
        part = read_plain(item.path)
        rows = np.unique(whole.groups[item.name]).astype(int)
        assert (part.header.nb_streamlines, part.header.nb_vertices) == (item.nb_streamlines, item.nb_vertices)
        lines = [whole.positions[whole.offsets[i] : whole.offsets[i + 1]] for i in rows]
        np.testing.assert_array_equal(part.positions, np.concatenate([*lines, np.zeros((0, 3), "f4")]))
        for key, array in part.dps.items():
            np.testing.assert_array_equal(array, whole.dps[key][rows])
        assert sorted(part.groups[item.name].tolist()) == list(range(len(rows)))
        for group, members in part.groups.items():
            assert set(rows[members]) == set(rows) & set(whole.groups[group])
        for group, values in part.dpg.items():
            assert {key: value.tolist() for key, value in values.items()} == {
                key: value.tolist() for key, value in whole.dpg[group].items()
            }


def test_an_unknown_group_is_named_before_anything_is_written(three, tmp_path):
    with pytest.raises(KeyError, match="no group 'nope'; it has CC, CST_L, none"):
        extract_groups(three[1][0], tmp_path / "groups", ["CC", "nope"])
    assert not (tmp_path / "groups").exists()


def test_a_group_of_the_name_of_its_own_file_does_not_replace_it(three, tmp_path):
    archive = tmp_path / "CC.trx"
    shutil.copy(three[1][0], archive)
    before = archive.read_bytes()
    with pytest.raises(InputError, match=r"CC\.trx: would replace the input"):
        extract_groups(archive, tmp_path)
    assert archive.read_bytes() == before
    assert not (tmp_path / "CST_L.trx").exists()
    extract_groups(archive, tmp_path, ["CST_L"])


def test_a_plan_of_another_version_or_a_broken_receipt_is_refused(tmp_path):
    file = Path(tmp_path, "x.json")
    file.write_text('{"version": 99}')
    with pytest.raises(FormatError, match="no plan that this version can read"):
        Plan.load(file)
    with pytest.raises(FormatError, match="no receipt of a fill"):
        Receipt.load(file)
