"""Trouble of every kind, many times over, for each command that writes: ``python -m tests.reliability``.

Not collected by pytest; a short version of it is `tests/test_reliability.py`. What is promised, and what was found, is
in ``docs/reliability.md``.
"""
