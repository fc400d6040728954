"""TRK files that DSI Studio wrote: they count from the centre of the first voxel, and may make up their affine.

TrackVis counts from the corner of the first voxel. DSI Studio writes voxel indices, an integer at a voxel's centre,
times the voxel size; its TCK files show which place it means. Since 2019 it leaves a mark in `reserved`: a colour in
the last four bytes, or a text. Starts without numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["has_made_up_place", "is_dsi_studio", "text_of"]

_ORDER = b"LPS\0"
_SIDES = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
_COLOR_BYTES = 4
_TOLERANCE = 1e-3  # mm


def is_dsi_studio(record: Mapping[str, Any]) -> bool:
    """Tell whether a header is one that DSI Studio writes, with its mark; files older than the mark look like others.

    Parameters
    ----------
    record : mapping
        `FIELDS` of a TRK header.

    Examples
    --------
    >>> record = {"version": 2, "voxel_order": b"LPS", "pad2": b"LPS", "image_orientation_patient": [1, 0, 0, 0, 1, 0]}
    >>> is_dsi_studio(record | {"reserved": bytes(440) + b"(<0f"}), is_dsi_studio(record | {"reserved": bytes(444)})
    (True, False)
    """
    orders = {record[name].ljust(4, b"\0") for name in ("voxel_order", "pad2")}
    return bool(
        record["version"] == 2
        and orders == {_ORDER}
        and list(record["image_orientation_patient"]) == _SIDES
        and record["reserved"].strip(b"\0")
    )


def has_made_up_place(record: Mapping[str, Any]) -> bool:
    """Tell whether ``vox_to_ras`` is one of those that DSI Studio writes for an image without a known place.

    Parameters
    ----------
    record : mapping
        `FIELDS` of a TRK header of that program.

    Examples
    --------
    >>> record = {"dim": [8, 6, 5], "voxel_size": [2.0, 2.0, 2.0]}
    >>> has_made_up_place(record | {"vox_to_ras": [[-2, 0, 0, 14], [0, -2, 0, 10], [0, 0, 2, 0], [0, 0, 0, 1]]})
    True
    >>> has_made_up_place(record | {"vox_to_ras": [[-2, 0, 0, 90], [0, -2, 0, 90], [0, 0, 2, -72], [0, 0, 0, 1]]})
    False
    """
    sizes, (nx, ny, _) = record["voxel_size"], record["dim"]
    # Before 2021, in 2021 (voxels for mm), and since then.
    shifts = ([0, 0, 0], [nx - 1, ny - 1, 0], [sizes[0] * (nx - 1), sizes[1] * (ny - 1), 0])
    edges = [[-sizes[0], 0, 0], [0, -sizes[1], 0], [0, 0, sizes[2]]]
    return any(
        all(
            abs(value - wanted) < _TOLERANCE
            for row, edge, start in zip(record["vox_to_ras"], edges, shift, strict=False)
            for value, wanted in zip(row, [*edge, start], strict=True)
        )
        for shift in shifts
    )


def text_of(record: Mapping[str, Any]) -> str:
    """Return the text that DSI Studio put into ``reserved``: the parameters of the tracking, or a report."""
    text: str = record["reserved"][:-_COLOR_BYTES].partition(b"\0")[0].decode("latin1").strip()
    return text
