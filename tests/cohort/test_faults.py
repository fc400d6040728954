"""What clusters do to the jobs of a cohort: each fault ends in a clear message or is mended, then in the same bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.cohort import archive
from trxlib.container.partial import PartialArchive
from trxlib.engine.plan import Plan
from trxlib.engine.receipt import Receipt
from trxlib.errors import StaleError

NAMES = ("sub-01", "sub-02", "sub-03", "sub-04")


class Study:
    """A cohort of four small subjects, its plan in two shards, and the steps of the workflow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archive = folder / "study.trx"
        self.provenance = folder / "provenance.tsv"
        self.plan_path = folder / "plan.json"
        self.subjects = [folder / "subjects" / f"{name}.trx" for name in NAMES]
        (folder / "subjects").mkdir(parents=True)
        for seed, path in enumerate(self.subjects):
            write_plain_zip(make_trx_arrays(2000, seed=seed), path)
            record = {"subject": path.stem, "session": "", "inputs": []}
            path.with_suffix(".json").write_text(json.dumps(record))

    def plan(self) -> Plan:
        groups = {name: [name] for name in NAMES}
        archive.plan_cohort(
            [str(path) for path in self.subjects],
            groups,
            self.plan_path,
            self.archive,
            missing_metadata="error",
            nb_shards=2,
        )
        return Plan.load(self.plan_path)

    def receipt(self, shard: int) -> Path:
        return self.folder / f"{shard}.json"

    def fill(self, *shards: int) -> None:
        for shard in shards or (0, 1):
            archive.fill_cohort(self.plan_path, self.archive, self.receipt(shard), shard=shard, workers=1)

    def seal(self) -> None:
        records = [path.with_suffix(".json") for path in self.subjects]
        receipts = [self.receipt(shard) for shard in (0, 1)]
        archive.seal_cohort(self.plan_path, receipts, self.archive, self.provenance, records=records)

    def partials(self) -> list[Path]:
        return list(self.folder.glob(".*.partial"))

    def digest(self) -> str:
        return hashlib.sha256(self.archive.read_bytes()).hexdigest()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    study = Study(tmp_path_factory.mktemp("undisturbed") / "study")
    study.plan()
    study.fill()
    study.seal()
    assert not study.partials()
    return study.digest()


def damage(path: Path, place: int, size: int = 4) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        data = file.read(size)
        file.seek(place)
        file.write(bytes(byte ^ 255 for byte in data))


# Receipts


def test_a_missing_receipt_is_named_with_its_inputs(study):
    study.plan()
    study.fill(0)
    with pytest.raises(StaleError, match=r"no receipt of shard 1 \(sub-03 to sub-04\); run the workflow again"):
        study.seal()
    assert study.receipt(0).exists()
    assert not study.archive.exists()


def test_a_receipt_of_another_plan_is_refused_and_only_its_shard_filled_again(study, undisturbed):
    plan = study.plan()
    study.fill()
    good = Receipt.load(study.receipt(1))
    Receipt("0" * 16, 1, good.ranges, good.inputs).save(study.receipt(1))
    with pytest.raises(StaleError, match=f"shard 1 belongs to another plan .*{plan.id}"):
        study.seal()
    assert [study.receipt(0).exists(), study.receipt(1).exists()] == [True, False]
    study.fill(1)
    study.seal()
    assert study.digest() == undisturbed


def test_a_receipt_of_other_inputs_is_refused(study):
    plan = study.plan()
    study.fill()
    good = Receipt.load(study.receipt(0))
    Receipt(plan.id, 0, good.ranges, good.inputs[::-1]).save(study.receipt(0))
    with pytest.raises(StaleError, match="receipt of shard 0 is of other inputs"):
        study.seal()
    assert not study.receipt(0).exists()


def test_a_receipt_that_was_cut_is_refused(study, undisturbed):
    study.plan()
    study.fill()
    study.receipt(0).write_text(study.receipt(0).read_text()[:50])
    with pytest.raises(StaleError, match=r"0\.json: is no receipt"):
        study.seal()
    study.fill(0)
    study.seal()
    assert study.digest() == undisturbed


def test_a_receipt_names_what_was_read(study):
    plan = study.plan()
    study.fill()
    receipt = Receipt.load(study.receipt(1))
    assert receipt.plan_id == plan.id
    assert [item.stamp for item in receipt.inputs] == [item.stamp for item in plan.inputs[2:]]
    assert all(item.fingerprint.startswith("crc32:") for item in receipt.inputs)


# Damage


@pytest.mark.parametrize(("entry", "shard"), [("positions.3.float32", 0), ("dps/weight.float32", 1)])
def test_damage_before_the_seal_is_found_and_only_its_shard_filled_again(study, undisturbed, caplog, entry, shard):
    plan = study.plan()
    study.fill()
    [partial] = study.partials()
    piece = next(piece for piece in Receipt.load(study.receipt(shard)).ranges if piece.path == entry)
    damage(partial, plan.layout.by_path[entry].data_start + piece.start + 8)
    for path in study.subjects[2:] if shard == 0 else study.subjects[:2]:
        path.unlink()  # the other shard is not filled again
    caplog.set_level(logging.WARNING)
    study.seal()
    assert f"shard {shard}" in caplog.text
    assert entry in caplog.text
    assert study.digest() == undisturbed


def test_a_shard_whose_bytes_never_arrived_is_filled_again(study, undisturbed):
    study.plan()
    study.fill()
    [partial] = study.partials()
    os.truncate(partial, 10_000)  # as by a node that went down with data in its memory
    study.seal()
    assert study.digest() == undisturbed


def test_damage_of_an_input_is_not_passed_on(study):
    study.plan()
    source = study.subjects[2].read_bytes()
    place = source.index(b"positions.3.float32") + 1000
    stamp = study.subjects[2].stat()
    damage(study.subjects[2], place)
    os.utime(study.subjects[2], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    study.fill()
    with pytest.raises(StaleError, match=r"shard 1 in positions\.3\.float32 .* the cause is in the inputs: .*sub-03"):
        study.seal()
    assert [study.receipt(0).exists(), study.receipt(1).exists()] == [True, False]
    assert not study.archive.exists()


# Twins


def test_a_fill_beside_its_twin_writes_the_same_bytes(study, undisturbed):
    study.plan()
    code = f"""
        from trxlib.cohort import archive
        archive.fill_cohort({str(study.plan_path)!r}, {str(study.archive)!r}, {str(study.receipt(0))!r},
                           shard=0, workers=1)
    """
    twins = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) for _ in range(2)]
    study.fill(1)
    assert [twin.wait(60) for twin in twins] == [0, 0]
    study.seal()
    assert study.digest() == undisturbed


def test_a_seal_after_its_twin_succeeds(study, undisturbed):
    study.plan()
    study.fill()
    study.seal()
    study.provenance.unlink()
    study.seal()
    assert study.digest() == undisturbed
    assert study.provenance.exists()


def test_a_seal_whose_twin_was_quicker_by_a_moment_succeeds(study, undisturbed, monkeypatch):
    study.plan()
    study.fill()
    monkeypatch.setattr(archive, "find_damage", lambda *_: monkeypatch.undo() or study.seal() or {})
    study.seal()
    assert study.digest() == undisturbed


def test_a_fill_that_is_late_does_no_harm(study, undisturbed):
    study.plan()
    study.fill()
    study.seal()
    study.fill(0)  # makes a new partial, since it cannot know
    assert study.digest() == undisturbed
    assert len(study.partials()) == 1
    study.plan()
    study.fill(1)
    study.seal()  # the receipt of shard 0 tells of the other file; its bytes are looked for and found
    assert study.digest() == undisturbed
    assert not study.partials()


def test_a_fill_that_opens_the_archive_during_the_seal_does_not_cut_it(study, undisturbed, monkeypatch):
    plan = study.plan()
    study.fill()
    [partial] = study.partials()
    replace = Path.replace

    def open_then_replace(self, target):
        if self == partial:
            PartialArchive(study.archive, plan.layout, partial).close()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", open_then_replace)
    study.seal()
    assert study.digest() == undisturbed


def test_a_fill_of_an_older_plan_leaves_no_receipt(study, undisturbed, monkeypatch):
    study.plan()
    fill_shard = archive.fill_shard

    def replanned(*args, **kwargs):
        os.utime(study.subjects[3])
        study.plan()
        return fill_shard(*args, **kwargs)

    monkeypatch.setattr(archive, "fill_shard", replanned)
    with pytest.raises(StaleError, match="was made anew while shard 0 was filled"):
        study.fill(0)
    assert not study.receipt(0).exists()
    monkeypatch.undo()
    study.fill()
    study.seal()
    assert study.digest() == undisturbed
    assert not study.partials()


def test_what_older_plans_left_is_removed_by_the_next(study):
    first = study.plan()
    study.fill(0)
    [left] = study.partials()
    os.utime(study.subjects[0])
    second = study.plan()
    assert first.id != second.id
    assert not left.exists()


def test_an_archive_under_construction_that_is_gone_is_filled_again(study, undisturbed):
    study.plan()
    study.fill()
    study.partials()[0].unlink()
    with pytest.raises(StaleError, match="under construction is gone; run the workflow again"):
        study.seal()
    assert not study.receipt(0).exists()
    assert not study.receipt(1).exists()
    study.fill()
    study.seal()
    assert study.digest() == undisturbed


# Inputs


def test_an_input_replaced_between_plan_and_fill_is_noticed(study, undisturbed):
    study.plan()
    shutil.copy(study.subjects[1], study.folder / "copy")
    (study.folder / "copy").replace(study.subjects[1])
    with pytest.raises(StaleError, match=r"sub-02\.trx: was changed since the plan was made; plan again"):
        study.fill(0)
    assert not study.receipt(0).exists()
    study.plan()
    study.fill()
    study.seal()
    assert study.digest() == undisturbed


def test_an_input_replaced_while_it_is_read_is_noticed(study, monkeypatch):
    study.plan()
    open_planned = archive._open_planned

    def opened_then_touched(number, item):
        os.utime(item.path)
        return open_planned(number, item)

    monkeypatch.setattr(archive, "_open_planned", opened_then_touched)
    with pytest.raises(StaleError, match=r"sub-01\.trx: was changed"):
        study.fill(0)
    assert not study.receipt(0).exists()


def test_an_input_that_is_gone_is_named(study):
    study.plan()
    study.subjects[3].unlink()
    with pytest.raises(StaleError, match=r"sub-04\.trx: was planned with and cannot be read now"):
        study.fill(1)


# Kills and full disks

FILL_SLOWLY = """
import sys, time
from trxlib.cohort import archive
from trxlib.container.partial import PartialArchive
write = PartialArchive.write
def slowly(self, *args):
    print("wrote", flush=True)
    time.sleep(0.05)
    return write(self, *args)
PartialArchive.write = slowly
archive.fill_cohort(sys.argv[1], sys.argv[2], sys.argv[3], shard=0, workers=1)
"""


@pytest.mark.parametrize("nb_writes", [1, 7])
def test_a_fill_that_was_killed_is_filled_again(study, undisturbed, nb_writes):
    study.plan()
    command = [sys.executable, "-c", FILL_SLOWLY, study.plan_path, study.archive, study.receipt(0)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for _ in range(nb_writes):
            assert process.stdout.readline() == b"wrote\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not study.receipt(0).exists()
    assert not study.archive.exists()
    study.fill()
    study.seal()
    assert study.digest() == undisturbed


def test_a_seal_that_was_killed_before_its_last_step_is_done_again(study, undisturbed, monkeypatch):
    study.plan()
    study.fill()

    def killed(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            study.seal()
    assert not study.archive.exists()
    study.seal()
    assert study.digest() == undisturbed


FILL_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
from trxlib.cohort import archive
from trxlib.cohort import steps
steps.start_logging()
archive.fill_cohort(sys.argv[1], sys.argv[2], sys.argv[3], shard=0, workers=1)
"""


def test_a_file_size_limit_is_told_with_the_size_that_is_needed(study, undisturbed):
    plan = study.plan()
    cut = plan.layout.directory_start // 2
    # The size is set at the beginning, which a limit forbids: a file of the full size is there already.
    PartialArchive(study.archive, plan.layout, study.folder / f".study.trx.{plan.id}.partial").close()
    command = [sys.executable, "-c", FILL_LIMITED, study.plan_path, study.archive, study.receipt(0), str(cut)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "File too large; the complete archive takes" in done.stderr
    assert ".partial" in done.stderr
    assert "Traceback" not in done.stderr
    assert not study.receipt(0).exists()
    study.fill()
    study.seal()
    assert study.digest() == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path):
    """A folder with room for 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root, to mount a small disk")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_fill_goes_on_once_there_is_room(study, undisturbed, small_disk, caplog):
    study.archive = small_disk / "study.trx"
    caplog.set_level(logging.WARNING)
    plan = study.plan()
    assert "MB are free" in caplog.text or "GB are free" in caplog.text
    with pytest.raises(OSError, match="No space left on device; the complete archive takes"):
        study.fill()
    assert not study.receipt(1).exists()
    assert not study.archive.exists()
    size = plan.layout.directory_start * 2 // 1024
    subprocess.run(["mount", "-o", f"remount,size={size}k", str(small_disk)], check=True)
    missing = [shard for shard in (0, 1) if not study.receipt(shard).exists()]
    study.fill(*missing)
    study.seal()
    assert study.digest() == undisturbed
