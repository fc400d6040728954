"""What is written for people, and found again."""

from trxlib.cohort.logs import find_warnings


def test_warnings_are_found_once_each_in_all_logs(tmp_path):
    (tmp_path / "rule").mkdir()
    (tmp_path / "rule" / "b.log").write_text("10:00:00 INFO: good\n10:00:01 WARNING: two\n10:00:02 WARNING: one\n")
    (tmp_path / "a.log").write_bytes(b"10:00:00 WARNING: one\n\xff\nWARNING: no line of a log\n")
    (tmp_path / "table.tsv").write_text("10:00:00 WARNING: no log\n")
    assert find_warnings(tmp_path) == ["one", "two"]
    assert find_warnings(tmp_path / "missing") == []
