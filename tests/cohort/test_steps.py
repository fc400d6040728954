"""Steps of the workflow, called without it."""

import gzip
import json
import logging
import sys
import warnings

import nibabel as nib
import numpy as np
import pytest

from tests.helpers import make_row, make_trx_arrays, write_plain_zip
from trxlib.cohort import steps
from trxlib.cohort.tables import read_table, write_table
from trxlib.commands.interrupts import ending_cleanly
from trxlib.commands.progress import log_progress
from trxlib.errors import InputError


def row(tractogram, subject="sub-01", **more):
    return make_row(tractogram, subject, **more)


def write_tck(path):
    streamlines = [np.ones((3, 3), "f4")]
    nib.streamlines.save(nib.streamlines.Tractogram(streamlines, affine_to_rasmm=np.eye(4)), str(path))


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 3):
        write_plain_zip(make_trx_arrays(seed=number), tmp_path / f"{number}.trx")
    return tmp_path


def test_preflight_writes_what_the_headers_say(folder):
    steps.preflight(
        [row(folder / f"{n}.trx", f"sub-0{n}", session="ses-1") for n in (1, 2)],
        folder / "p.tsv",
        missing_metadata="error",
    )
    first = read_table(folder / "p.tsv")[0]
    assert (first["subject"], first["session"], first["bundle"], first["format"]) == ("sub-01", "ses-1", "n/a", "trx")
    assert (first["streamlines"], first["dimensions"]) == ("12", "80 96 64")
    assert first["dps"] == "color weight"


def test_preflight_lists_every_misfit_at_once(folder):
    write_plain_zip(make_trx_arrays(affine=np.diag([3.0, 3, 3, 1])), folder / "2.trx")
    write_plain_zip(make_trx_arrays(dps={"weight": (1, "<f4")}), folder / "3.trx")
    (folder / "4.trk").write_bytes(b"TRACK" + b"\0" * 2000)
    write_tck(folder / "5.tck")
    files = [f"{n}.trx" for n in (1, 2, 3)] + ["4.trk", "5.tck", "missing.trk"]
    rows = [row(folder / name, f"sub-0{n}") for n, name in enumerate(files, start=1)]
    with pytest.raises(InputError) as caught:
        steps.preflight(rows, folder / "p.tsv", missing_metadata="error", warn_outside=1, max_outside=1)
    text = str(caught.value)
    assert "sub-02" in text
    assert "`space: world`" in text or "space: world" in text
    assert "dps/color is lacking in sub-03" in text
    assert "sub-04: " in text
    assert "sub-05: " in text
    assert "reference" in text
    assert "sub-06: " in text
    assert not (folder / "p.tsv").exists()


def test_preflight_names_a_broken_reference(folder):
    whole = gzip.compress(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).to_bytes())
    (folder / "ref.nii.gz").write_bytes(whole[:40])
    write_tck(folder / "5.tck")
    with pytest.raises(InputError, match="sub-01: "):
        steps.preflight(
            [row(folder / "5.tck", reference=str(folder / "ref.nii.gz"))], folder / "p.tsv", missing_metadata="error"
        )


def test_convert_subject_records_where_everything_is(folder):
    rows = [row(folder / "1.trx", bundle="AF"), row(folder / "2.trx", bundle="CST")]
    options = {"positions_dtype": "keep", "missing_metadata": "error", "out_of_volume": "keep"}
    options |= {"nonfinite": "fail", "empty_streamlines": "keep"}
    steps.convert_subject(rows, folder / "s.trx", folder / "s.json", bundles=True, **options)
    record = json.loads((folder / "s.json").read_text())
    first, second = record["inputs"]
    assert (record["subject"], first["bundle"], second["first_streamline"]) == ("sub-01", "AF", 12)
    assert second["first_vertex"] == first["nb_vertices"]
    assert first["fingerprint"].startswith("crc32:")


def test_tables_keep_their_cells(tmp_path):
    write_table(tmp_path / "t.tsv", ("a", "b"), [("x", 1), ("", None)])
    assert read_table(tmp_path / "t.tsv") == [{"a": "x", "b": "1"}, {"a": "n/a", "b": "n/a"}]
    assert (tmp_path / "t.tsv").read_bytes() == b"a\tb\nx\t1\nn/a\tn/a\n"


def test_progress_is_a_line_now_and_then(caplog, monkeypatch):
    monkeypatch.setattr("trxlib.commands.progress._TICK", 0.0)
    with caplog.at_level(logging.INFO):
        log_progress("merge")(1_000_000, 4_000_000)
    assert caplog.messages == ["merge: 1 of 4 MB (25 %)"]


def test_mistakes_are_logged_without_a_traceback(caplog, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with ending_cleanly():  # which puts the handlers of signals back
        steps.start_logging()
    error = InputError("sheet: line 3 is wrong")
    error.add_note("look there")
    sys.excepthook(InputError, error, None)
    assert caplog.messages == ["sheet: line 3 is wrong\nlook there"]
    assert caplog.records[0].exc_info is None
