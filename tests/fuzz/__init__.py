"""Damaged files without end, for every reader: ``python -m tests.fuzz [--minutes N] [--target NAME] [--seed S]``.

Not collected by pytest; `tests/format/test_fuzz.py` (marked slow) runs every target for some seconds. What was found is
in ``docs/reliability.md``.
"""
