"""Cohorts of ten thousand subjects, and archives larger than 32 bits can count."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from formats.made import some_streamlines, trk_bytes
from isal import isal_zlib

import trxlib
from tests.helpers import AFFINE, DIMENSIONS, make_trx_arrays, write_plain_zip
from trxlib.container.partial import PartialArchive
from trxlib.engine.fill import fill_inputs
from trxlib.engine.planning import plan_merge
from trxlib.engine.receipt import Range
from trxlib.engine.seal import seal_container
from trxlib.engine.trx_source import TrxSource
from trxlib.engine.write import write_container
from trxlib.model.source import SourceHeaders, SourceInfo
from trxlib.model.space import Space

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
MANY = 10_000


def small_cohort(folder: Path, count: int) -> None:
    """Write a sheet of so many subjects; one file under many names."""
    for name in ("config", "inputs", "subjects"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "one.trk").write_bytes(trk_bytes(some_streamlines(), affine=np.eye(4), sizes=(1, 1, 1)))
    trx = make_trx_arrays(5, groups={"CC": [0, 2]}, dpg={}, extra={}, sidecars={})
    write_plain_zip(trx, folder / "one.trx")
    rows = ["cohort\tsubject\tbundle\ttractogram"]
    for number in range(count):
        name = f"sub-{number:05d}"
        os.link(folder / "one.trk", folder / f"inputs/{name}.trk")
        os.link(folder / "one.trx", folder / f"subjects/{name}.trx")
        rows.append(f"many\t{name}\tCC\tinputs/{name}.trk")
    (folder / "config/samples.tsv").write_text("\n".join(rows) + "\n")
    (folder / "config/config.yaml").write_text("extract_groups: false\n")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    small_cohort(folder, MANY)
    return folder


@pytest.fixture(scope="module")
def fewer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenth of these, to compare with: how fast the machine is does not matter then."""
    folder = tmp_path_factory.mktemp("fewer")
    small_cohort(folder, MANY // 10)
    return folder


STEPS = """
import json, resource, sys, time, yaml
from pathlib import Path
from trxlib.cohort import steps
from trxlib.cohort.project import load_project

def read(name):
    return yaml.safe_load(Path(sys.argv[1], "workflow/schemas", name + ".schema.yaml").read_text())

project = load_project({"extract_groups": False}, read("config"), read("samples"))
rows = [sample.to_params() for sample in project.samples("many")]
groups = project.subject_groups("many")
steps.preflight(rows, "preflight.tsv", missing_metadata="error")
if sys.argv[2] == "subjects":
    paths = [f"subjects/{entity}.trx" for entity in groups]
    steps.plan_cohort(paths, groups, "plan.json", "many.trx", missing_metadata="error", nb_shards=10)
else:
    steps.plan_cohort_directly(
        rows, groups, "plan.json", "many.trx", nb_shards=10, bundles=True, positions_dtype="keep",
        missing_metadata="error", out_of_volume="keep", nonfinite="fail", empty_streamlines="keep",
    )
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": time.process_time(), "megabytes": peak}))
"""


def take_steps(folder: Path, road: str) -> dict[str, float]:
    """Return processor time, imports included, and memory of preflight and plan."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS, str(REPOSITORY), road],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("road", ["subjects", "directly"])
def test_ten_thousand_subjects_are_checked_and_planned(many, fewer, road):
    tenth, used = take_steps(fewer, road), take_steps(many, road)
    assert used["seconds"] < 15 * tenth["seconds"]
    assert used["megabytes"] < 500
    plan = trxlib.engine.plan.Plan.load(many / "plan.json")
    assert len(plan.inputs) == MANY
    assert plan.groups["CC"] == MANY * (2 if road == "subjects" else 4)
    assert len(plan.shards) == 10


def dry_run(folder: Path, *arguments: str) -> float:
    """Return the seconds of processor that a dry run takes."""
    begin = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-m", "snakemake", "archives", "-s", str(REPOSITORY / "Snakefile"), "-n", "-q", "all"]
    done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - begin


def test_a_dry_run_over_ten_thousand_subjects(many, fewer):
    assert dry_run(many) < 15 * dry_run(fewer)


def test_more_entries_than_16_bits_count(tmp_path):
    """One group with one dpg per streamline: 70,002 entries."""
    count = 35_000
    groups = {f"group{number:05d}": [number] for number in range(count)}
    dpg = {name: {"volume": [[1.0]]} for name in groups}
    arrays = make_trx_arrays(lengths=np.ones(count, int), dps={}, dpv={}, groups=groups, dpg=dpg, sidecars={})
    source = TrxSource(arrays)
    write_container(plan_merge([source]), [source], tmp_path / "many.trx", verify=True)
    with zipfile.ZipFile(tmp_path / "many.trx") as archive:
        assert len(archive.infolist()) == 2 * count + 3
    trx = trxlib.load(tmp_path / "many.trx")
    assert len(trx.groups) == count
    assert trx.groups["group34999"].tolist() == [34_999]
    assert float(trx.data_per_group["group34999"]["volume"].item()) == 1.0
    trx.close()


def crc_of_zeros(count: int) -> int:
    """Return the CRC-32 of so many zero bytes, without making them."""
    crc, block, size = 0, isal_zlib.crc32(b"\0"), 1
    while count:
        if count & 1:
            crc = isal_zlib.crc32_combine(crc, block, size)
        block, size, count = isal_zlib.crc32_combine(block, block, size), size * 2, count >> 1
    return int(crc)


def test_crc_of_zeros():
    assert crc_of_zeros(12_345) == isal_zlib.crc32(bytes(12_345))


def test_more_vertices_and_bytes_than_32_bits_count(tmp_path):
    """A first input of 2**32 vertices, all zero and never written (a sparse file), then two real ones."""
    nb_vertices = 1 << 32
    space = Space(AFFINE, DIMENSIONS)
    info = SourceInfo("huge", "trx", space, 2, nb_vertices, np.dtype("<f2"), dpv={}, dps={})
    real = [
        TrxSource(make_trx_arrays(8, seed=seed, positions_dtype="<f2", dps={}, dpv={}, dpg={}, groups={"CC": [1, 7]}))
        for seed in (1, 2)
    ]
    plan = plan_merge(
        [SourceHeaders(info), *(source.headers() for source in real)], names=["huge", "one", "two"], nb_shards=2
    )
    assert plan.offsets_dtype == np.dtype("<u8")
    assert plan.shards == ((0, 1), (1, 3))
    target = PartialArchive(tmp_path / "huge.trx", plan.layout)
    ranges = [Range("positions.3.float16", 0, nb_vertices * 6, crc_of_zeros(nb_vertices * 6))]
    offsets = np.array([0, nb_vertices // 2], dtype="<u8")
    ranges.append(Range("offsets.uint64", 0, 16, target.write("offsets.uint64", 0, offsets)))
    ranges += fill_inputs(plan, target, lambda number, _: real[number - 1], shard=1)
    seal_container(plan, target, ranges)
    assert (tmp_path / "huge.trx").stat().st_size > 6 << 32
    assert (tmp_path / "huge.trx").stat().st_blocks < 10_000, "the file should be sparse"
    with zipfile.ZipFile(tmp_path / "huge.trx") as archive:
        assert archive.getinfo("positions.3.float16").file_size > 6 << 32
        assert np.frombuffer(archive.read("offsets.uint64"), "<u8")[2] == nb_vertices
    trx = trxlib.load(tmp_path / "huge.trx")
    assert trx.header["NB_VERTICES"] > 1 << 32
    assert trx.groups["CC"].tolist() == [3, 9, 11, 17]
    lengths = np.diff(real[1].arrays.offsets)
    last = int(np.flatnonzero(lengths)[-1])
    expected = real[1].arrays.positions[real[1].arrays.offsets[last] : real[1].arrays.offsets[last + 1]]
    np.testing.assert_array_equal(np.asarray(trx.streamlines[10 + last]), expected)
    small = trx.select([2 + last, 10 + last])
    assert small.header["NB_STREAMLINES"] == 2
    trx.close()
    trxlib.validate(tmp_path / "huge.trx", check_crc=False)
