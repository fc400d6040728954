"""What a tractogram of any format holds, by its headers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["describe"]

_UNKNOWN_SPACE = {"VOXEL_TO_RASMM": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "DIMENSIONS": [1, 1, 1]}


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what is known of a file from its headers, as JSON values."""
    from trxlib.formats.table import detect_format
    from trxlib.inputs import open_input
    from trxlib.ops.bundle import BundleSource

    path = Path(path)
    kind = detect_format(path)
    # Counts and keys of a TCK, VTK or DPY do not depend on the reference that it needs.
    placed = kind in ("trx", "trk")
    source = open_input(path, reference=None if placed else _UNKNOWN_SPACE)
    info = source.info
    facts: dict[str, Any] = {
        "path": str(path),
        "format": kind,
        "bytes": _size_of(path),
        "nb_streamlines": info.nb_streamlines,
        "nb_vertices": info.nb_vertices,
        "dimensions": [int(n) for n in info.space.dimensions] if placed else None,
        "voxel_sizes": [float(size) for size in info.space.voxel_sizes] if placed else None,
        # Adding 0 makes -0 a plain 0.
        "voxel_to_rasmm": (info.space.voxel_to_rasmm + 0.0).tolist() if placed else None,
        "positions_dtype": info.positions_dtype.name,
        "dps": {key: f"{spec.ncols} x {spec.dtype.name}" for key, spec in sorted(info.dps.items())},
        "dpv": {key: f"{spec.ncols} x {spec.dtype.name}" for key, spec in sorted(info.dpv.items())},
        "groups": {},
        "dpg": {},
        "header": dict(info.facts),
    }
    if isinstance(source, BundleSource):
        arrays = source.arrays
        facts["groups"] = {name: len(members) for name, members in sorted(arrays.groups.items())}
        facts["dpg"] = {name: sorted(values) for name, values in sorted(arrays.dpg.items())}
        facts["header"] = dict(arrays.header.extra)
        source.close()
    return facts


def _size_of(path: Path) -> int:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
