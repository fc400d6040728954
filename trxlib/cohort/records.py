"""What is written down of an input beside its counts: files read with it, its space and the result's, what moved it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trxlib.cohort.sheet import Row
from trxlib.model.space import Space

__all__ = ["RECORD_COLUMNS", "SPACE_COLUMNS", "record_cells", "space_cells"]

#: What `space_cells` tells, as names of columns.
SPACE_COLUMNS = ("dimensions", "voxel_sizes", "voxel_order", "affine")
#: What `record_cells` tells: the space that the file states has the prefix ``file_``.
RECORD_COLUMNS = (
    "reference",
    "transforms",
    "companions",
    *(f"file_{name}" for name in SPACE_COLUMNS),
    *SPACE_COLUMNS,
    "share_outside",
)


def record_cells(row: Row, record: Mapping[str, Any]) -> list[Any]:
    """Return the cells that say what was read beside a tractogram, where it was, and what moved it.

    Parameters
    ----------
    row : mapping
        Its row of the sample sheet; `reference`, `dps` and `dpv` count.
    record : mapping
        See `trxlib.model.source.Source.record`.
    """
    companions = [f"{section}_{key}={path}" for section in ("dps", "dpv") for key, path in row[section].items()]
    share = record["share_outside"]
    return [
        row["reference"],
        json.dumps(record["transforms"], ensure_ascii=False) if record["transforms"] else "",
        "; ".join(companions),
        *space_cells(record["own_space"]),
        *space_cells(record["space"]),
        "" if share is None else f"{share:.6g}",
    ]


def space_cells(space: Space | Mapping[str, Any] | None) -> list[str]:
    """Return dimensions, voxel sizes, voxel order and affine of a space as cells of a table; empty for none."""
    if space is None:
        return [""] * len(SPACE_COLUMNS)
    if not isinstance(space, Space):
        space = Space.create(space["voxel_to_rasmm"], space["dimensions"], "record")
    dimensions = " ".join(map(str, space.dimensions))
    sizes = " ".join(f"{size:.4g}" for size in space.voxel_sizes)
    affine = " ".join(f"{value + 0.0:.9g}" for value in space.voxel_to_rasmm[:3].ravel())
    return [dimensions, sizes, space.voxel_order, affine]
