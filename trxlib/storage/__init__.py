"""Containers on disk: zip archives and folders, mapped, laid out, written and sealed."""
