"""The section "Space" of a page: in which grids the inputs were, what moved them, and where subjects differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

__all__ = ["describe_spaces", "find_differences"]

Row = Mapping[str, str]
_MANY_OUTSIDE = 0.05
_FEW = 5


def describe_spaces(inputs: Sequence[Row]) -> list[dict[str, str]]:
    """Return one line for each kind of input: the grid that it stated, what moved it, the grid of the result.

    Parameters
    ----------
    inputs : sequence of mapping
        Rows of ``provenance.tsv``, by column name.
    """
    kinds: dict[tuple[str, str, str], list[Row]] = {}
    for row in inputs:
        key = (_grid(row, "file_"), _moved_by(row), _grid(row, ""))
        kinds.setdefault(key, []).append(row)
    return [
        {
            "own": own,
            "moved": moved,
            "result": result,
            "files": f"{len(rows):,}",
            "subjects": _few(list(dict.fromkeys(row["subject"] for row in rows))),
        }
        for (own, moved, result), rows in kinds.items()
    ]


def find_differences(inputs: Sequence[Row]) -> list[str]:
    """Return what a person should look at: subjects of which only some were moved, vertices outside the grid."""
    found = []
    moved = {row["subject"] for row in inputs if row["transforms"] != "n/a"}
    others = {row["subject"] for row in inputs} - moved
    if moved and others:
        found.append(
            f"{len(moved):,} subjects were moved by a transform and {len(others):,} were not: {_few(sorted(others))}"
        )
    kinds = {_moved_by(row) for row in inputs if row["transforms"] != "n/a"}
    if len(kinds) > 1:
        found.append(f"subjects were moved by different kinds of transforms: {'; '.join(sorted(kinds))}")
    outside = [row for row in inputs if row["share_outside"] != "n/a" and float(row["share_outside"]) > _MANY_OUTSIDE]
    for row in sorted(outside, key=lambda row: -float(row["share_outside"]))[:_FEW]:
        share = 100 * float(row["share_outside"])
        found.append(f"{row['subject']}: {share:.3g} % of the vertices of {row['source']} lie outside the grid")
    if len(outside) > _FEW:
        found.append(f"{len(outside) - _FEW} more files have many vertices outside the grid: see provenance.tsv")
    return found


def _grid(row: Row, prefix: str) -> str:
    dimensions = row[f"{prefix}dimensions"]
    if dimensions == "n/a":
        return "none stated"
    sizes = " \N{MULTIPLICATION SIGN} ".join(row[f"{prefix}voxel_sizes"].split())
    grid = " \N{MULTIPLICATION SIGN} ".join(dimensions.split())
    return f"{grid} voxels of {sizes} mm, {row[f'{prefix}voxel_order']}"


def _moved_by(row: Row) -> str:
    if row["transforms"] == "n/a":
        return "nothing"
    names = []
    for record in json.loads(row["transforms"]):
        kinds = {step.get("kind", "linear") for step in record["steps"]}
        name = f"{record['format']} {'field' if kinds - {'linear'} else 'matrix'}"
        names.append(f"{name}, inverted" if record["inverse"] else name)
    return ", then ".join(names)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW:,} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
