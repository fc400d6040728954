"""Benchmarks of trxlib: ``python -m benchmarks --help``."""
