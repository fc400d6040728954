"""Tractogram formats: one module each, and the table that picks one."""
