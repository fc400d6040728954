"""An archive that was damaged says which arrays, and the provenance, whose."""

from __future__ import annotations

import json
import warnings
import zipfile

import pytest

import trxlib
from tests.cohort.test_cohort import OPTIONS, by_subjects, directly
from tests.cohort.test_cohort import rows as rows  # a fixture
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.cli import main
from trxlib.cohort.tables import read_table
from trxlib.container import verify as rereading
from trxlib.container.entries import list_archive
from trxlib.errors import ArchiveError, DataLossWarning, FormatError, InputError


def flip(path, entry, at):
    """Change a bit of an entry's data."""
    (member,) = [member for member in list_archive(path) if member.path.startswith(entry)]
    content = bytearray(path.read_bytes())
    content[member.start + at % member.nbytes] ^= 1
    path.write_bytes(content)
    return member


def make(road, rows, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataLossWarning)
        return road(rows, folder, OPTIONS)


@pytest.fixture
def trx(tmp_path):
    return write_plain_zip(make_trx_arrays(), tmp_path / "a.trx")


@pytest.mark.parametrize("workers", [1, 3])
def test_every_damaged_array_is_named_whatever_the_pieces(trx, workers, monkeypatch):
    monkeypatch.setattr(rereading, "_PIECE", 7)
    assert trxlib.verify(trx, workers=workers).is_whole
    damaged = [flip(trx, "positions", 20).path, flip(trx, "offsets", -1).path]
    found = trxlib.verify(trx, workers=workers)
    assert sorted(item.array for item in found.damage) == sorted(damaged)
    assert all("a.trx" in item.message and "is stated" in item.message and not item.inputs for item in found.damage)


def test_damage_of_a_compressed_entry_does_not_hide_that_of_others(trx):
    with zipfile.ZipFile(trx) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(trx, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    for entry in ("positions", "offsets"):
        (member,) = [member for member in list_archive(trx) if member.path.startswith(entry)]
        data = bytearray(trx.read_bytes())
        data[member.start + member.packed // 2] ^= 255
        trx.write_bytes(data)
    assert {item.array.split(".")[0] for item in trxlib.verify(trx, workers=2).damage} == {"positions", "offsets"}


@pytest.mark.parametrize("road", [directly, by_subjects])
def test_the_inputs_are_named_whose_bytes_are_damaged_and_no_other(rows, tmp_path, road):
    archive = make(road, rows, tmp_path / "c")
    assert trxlib.verify(archive).is_whole
    lines = [line for line in read_table(tmp_path / "c/provenance.tsv") if line["first_vertex"] != "n/a"]
    wanted = lines[-1]
    member = flip(archive, "positions", -1)
    (found,) = trxlib.verify(archive, workers=2).damage
    assert (found.array, found.is_narrowed) == (member.path, True)
    assert any(wanted["source"] in name for name in found.inputs)
    subject = wanted["subject"]
    assert all(name.startswith(subject) for name in found.inputs)
    assert len(found.inputs) < len(lines)
    ranges = tmp_path / "c/ranges.tsv"
    crc = next(line["crc"] for line in read_table(ranges) if line["entry"] == member.path)
    ranges.write_text(ranges.read_text().replace(crc, f"{int(crc, 16) ^ 1:08x}"))
    (found,) = trxlib.verify(archive).damage
    assert not found.is_narrowed
    assert "does not fit" in found.note
    ranges.unlink()
    (found,) = trxlib.verify(archive).damage
    assert (found.is_narrowed, len(found.inputs)) == (False, len(read_table(tmp_path / "c/provenance.tsv")))
    assert "not known" in found.note


def test_a_damaged_crc_is_told_from_damaged_data(rows, tmp_path):
    archive = make(directly, rows, tmp_path / "c")
    (member,) = [member for member in list_archive(archive) if member.path.startswith("positions")]
    content = archive.read_bytes()
    stated = member.crc.to_bytes(4, "little")
    assert content.count(stated) >= 1
    archive.write_bytes(content.replace(stated, bytes(4)))
    (found,) = trxlib.verify(archive).damage
    assert found.inputs == ()
    assert "the CRC that the archive states is damaged" in found.note


def test_what_cannot_be_looked_at_is_an_error(trx, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        trxlib.verify(tmp_path / "folder")
    with pytest.raises(InputError, match="workers is 0"):
        trxlib.verify(trx, workers=0)
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(FormatError, match="no column subject"):
        trxlib.verify(trx, provenance=tmp_path / "other.tsv")
    trx.write_bytes(trx.read_bytes()[:-30])
    with pytest.raises(ArchiveError):
        trxlib.verify(trx)


def test_the_command_has_three_statuses_and_json(trx, tmp_path, capsys):
    assert main(["verify", str(trx)]) == 0
    assert "whole" in capsys.readouterr().out
    flip(trx, "positions", 3)
    assert main(["verify", "--json", "--workers", "2", str(trx)]) == 1
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["is_whole"], len(facts["damage"])) == (False, 1)
    assert main(["verify", str(tmp_path / "absent.trx")]) == 2
    assert main(["verify"]) == 2
