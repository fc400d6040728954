"""What a tractogram of any format holds, by its headers.

For a TRX file header, names and sizes say it all, for a TRK mostly header and size: no numpy, no array is needed.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from trxlib.container.outline import Outline, read_outline
from trxlib.errors import warn
from trxlib.formats.heads import is_gzip, read_head
from trxlib.formats.registry import detect_format
from trxlib.formats.trk.fields import HEADER_BYTES, read_trk_fields
from trxlib.model.header_fields import Rows, edges_of
from trxlib.model.names import ArrayName, fit_names

__all__ = ["describe"]

#: Any grid will do: no streamline is looked at.
_UNKNOWN_SPACE = {"VOXEL_TO_RASMM": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "DIMENSIONS": [2, 2, 2]}


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a tractogram holds, as JSON values.

    Of a TRX file the header and the names and sizes of its arrays are read, which have to agree; the values of no
    array are looked at (`trxlib.validate` does that). Of a TRK the header is read, and its count taken where the file's
    size agrees. Other formats are opened, which counts a small TCK. A TinyTrack file is read once to count it, and
    the affine is what it says itself, None if it says nothing.

    Parameters
    ----------
    path : path
        The file, or a TRX folder.

    Returns
    -------
    dict
        ``path``, ``format``, ``bytes``, ``nb_streamlines``, ``nb_vertices``, ``dimensions``, ``voxel_sizes`` in mm,
        ``voxel_to_rasmm`` (these three are None for a format without a space), ``positions_dtype``, ``dps`` and
        ``dpv`` (key to columns and type), ``groups`` (name to number of streamlines), ``dpg`` (group to keys),
        ``header`` (what else the header says).

    Raises
    ------
    InputNotFoundError, UnsupportedFormatError, FormatError
        If the file is not there, of no known format, or if its header, names or sizes are wrong.

    Examples
    --------
    >>> facts = trxlib.describe("cohort.trx")
    >>> facts["nb_streamlines"], facts["dimensions"], facts["voxel_sizes"]
    (8, [80, 96, 64], [2.0, 2.0, 2.0])
    >>> facts["dps"], facts["groups"]
    ({'weight': '1 x float32'}, {'AF_L': 3, 'CST_R': 4})
    >>> print(trxlib.describe("sub-01.tck")["dimensions"])
    None
    """
    path = Path(path)
    kind = detect_format(path)
    facts = {"path": str(path), "format": kind, "bytes": _size_of(path)}
    if kind == "trx":
        return facts | _describe_trx(path)
    if kind == "tt":
        return facts | _describe_tt(path)
    return facts | ((_describe_trk(path) if kind == "trk" else None) or _describe_other(path, placed=kind == "trk"))


class _Tables:
    """What is known of the arrays of an outline, under names that can be written."""

    def __init__(self, outline: Outline, path: str) -> None:
        self.dps: dict[str, Any] = {}
        self.dpv: dict[str, Any] = {}
        self.groups: dict[str, Any] = {}
        self.dpg: dict[str, dict[str, Any]] = {}
        self.positions_dtype = "float32"  # of a file without streamlines and without the array
        for name, shape in outline.shapes.items():
            self._add(name, shape)
        fit_names(self, path)

    def _add(self, name: ArrayName, shape: tuple[int, ...]) -> None:
        text = f"{name.ncols} x {name.type.name}"
        if name.section == "positions":
            self.positions_dtype = name.type.name
        elif name.section == "groups":
            self.groups[name.name] = shape[0]
        elif name.section == "dpg":
            self.dpg.setdefault(name.group, {})[name.name] = text
        elif name.section in ("dps", "dpv"):
            getattr(self, name.section)[name.name] = text


def _describe_trx(path: Path) -> dict[str, Any]:
    outline = read_outline(path)
    header, tables = outline.header, _Tables(outline, str(path))
    return {
        "nb_streamlines": header.nb_streamlines,
        "nb_vertices": header.nb_vertices,
        **_describe_space(header.dimensions, header.voxel_to_rasmm),
        "positions_dtype": tables.positions_dtype,
        "dps": dict(sorted(tables.dps.items())),
        "dpv": dict(sorted(tables.dpv.items())),
        "groups": dict(sorted(tables.groups.items())),
        "dpg": {name: sorted(values) for name, values in sorted(tables.dpg.items())},
        "header": dict(header.extra),
    }


def _describe_trk(path: Path) -> dict[str, Any] | None:
    """Describe a TRK by its header and size; None if these do not tell how many vertices there are."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fields = read_trk_fields(read_head(path, HEADER_BYTES), str(path))
    counts = None if is_gzip(path) else fields.expected_counts(path.stat().st_size)
    if counts is None:
        return None
    for warning in caught:  # else they come when the file is opened
        warn(warning.message)
    return {
        "nb_streamlines": counts[0],
        "nb_vertices": counts[1],
        **_describe_space(fields.dimensions, fields.affine),
        "positions_dtype": "float32",
        "dps": {column.key: f"{column.ncols} x float32" for column in sorted(fields.properties)},
        "dpv": {column.key: f"{column.ncols} x float32" for column in sorted(fields.scalars)},
        "groups": {},
        "dpg": {},
        "header": fields.facts(),
    }


def _describe_tt(path: Path) -> dict[str, Any]:
    from trxlib.formats.tinytrack.reader import TinyTrackFile

    content = TinyTrackFile(path)
    header = content.header
    header.warn_of_place()
    return {
        "nb_streamlines": content.nb_streamlines,
        "nb_vertices": content.nb_vertices,
        "dimensions": list(header.dimensions),
        "voxel_sizes": header.voxel_sizes.tolist(),
        "voxel_to_rasmm": None if header.space is None else (header.space.voxel_to_rasmm + 0.0).tolist(),
        "positions_dtype": "float32",
        "dps": {},
        "dpv": {},
        "groups": {name: len(members) for name, members in sorted(content.groups().items())},
        "dpg": {name: sorted(values) for name, values in sorted(content.dpg().items())},
        "header": content.facts,
    }


def _describe_space(dimensions: tuple[int, int, int], affine: Rows) -> dict[str, Any]:
    # Adding 0 makes -0 a plain 0.
    matrix = [[value + 0.0 for value in row] for row in affine]
    return {"dimensions": list(dimensions), "voxel_sizes": edges_of(affine), "voxel_to_rasmm": matrix}


def _describe_other(path: Path, *, placed: bool) -> dict[str, Any]:
    from trxlib.formats.open import open_input
    from trxlib.model.options import ReadOptions

    # Counts and keys of a TCK, VTK or DPY do not depend on the reference that it needs.
    with open_input(path, ReadOptions(reference=None if placed else _UNKNOWN_SPACE, companions="none")) as source:
        info = source.info
    space: dict[str, Any] = {"dimensions": None, "voxel_sizes": None, "voxel_to_rasmm": None}
    if placed:
        space = _describe_space(info.space.dimensions, info.space.voxel_to_rasmm.tolist())
    return {
        "nb_streamlines": info.nb_streamlines,
        "nb_vertices": info.nb_vertices,
        **space,
        "positions_dtype": info.positions_dtype.name,
        "dps": {key: f"{spec.ncols} x {spec.dtype.name}" for key, spec in sorted(info.dps.items())},
        "dpv": {key: f"{spec.ncols} x {spec.dtype.name}" for key, spec in sorted(info.dpv.items())},
        "groups": {},
        "dpg": {},
        "header": dict(info.facts),
    }


def _size_of(path: Path) -> int:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
