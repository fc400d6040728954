"""The 1000 bytes in front of a TRK file, read and checked as plain numbers: `trxlib.formats.trk.header` has matrices.

TrackVis documentation, "File format". What only looks at a header starts without numpy.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from trxlib.errors import HeaderError, HeaderWarning, warn
from trxlib.formats.trk.dsi_studio import has_made_up_place, is_dsi_studio, text_of
from trxlib.formats.trk.voxel_order import check_voxel_order, reorder_grid
from trxlib.model.header_fields import Rows, affine_rows, check_dimensions, check_invertible, edges_of
from trxlib.model.names import make_key
from trxlib.model.voxel_order import voxel_order_of

__all__ = [
    "FIELDS",
    "HEADER_BYTES",
    "MAGIC",
    "Column",
    "TrkFields",
    "are_edges",
    "read_order",
    "read_trk_fields",
    "unique_key",
]

MAGIC = b"TRACK"
HEADER_BYTES = 1000
#: Name, type of an item as `struct` writes it, and how many there are: () is one, (4, 4) are four rows of four.
FIELDS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("id_string", "6s", ()),
    ("dim", "h", (3,)),
    ("voxel_size", "f", (3,)),
    ("origin", "f", (3,)),
    ("n_scalars", "h", ()),
    ("scalar_name", "20s", (10,)),
    ("n_properties", "h", ()),
    ("property_name", "20s", (10,)),
    ("vox_to_ras", "f", (4, 4)),
    ("reserved", "444s", ()),
    ("voxel_order", "4s", ()),
    ("pad2", "4s", ()),
    ("image_orientation_patient", "f", (6,)),
    ("pad1", "2s", ()),
    ("flags", "6s", ()),  # invert_x, invert_y, invert_z, swap_xy, swap_yz, swap_zx: TrackVis's own, no reader uses them
    ("n_count", "i", ()),
    ("version", "i", ()),
    ("hdr_size", "i", ()),
)
_DEFAULT_ORDER = "LPS"
_SMALLEST_EDGE = 1e-6  # mm


class Column(NamedTuple):
    """Columns of scalars or properties with one name.

    Parameters
    ----------
    key : str
        As a TRX file can hold it.
    start, ncols : int
        Which columns.
    raw : bytes
        The 20 bytes of the header, trailing NULs removed.
    """

    key: str
    start: int
    ncols: int
    raw: bytes


class TrkFields(NamedTuple):
    """What a TRK header says.

    Parameters
    ----------
    path : str
        For messages.
    big_endian : bool
        Byte order of the whole file.
    record : mapping of str to any
        All `FIELDS`: numbers, bytes, and lists of these.
    scalars, properties : tuple of Column
        Names of the numbers per vertex and per streamline.
    order, affine_order : str
        The voxel orders of the coordinates and of the affine.
    dim : tuple of 3 int
        The grid along the axes of `order`; of the reference where the header has none.
    affine : list of 4 lists of 4 float
        Voxel indices in `affine_order` to RASMM.
    dimensions : tuple of 3 int
        The grid along the axes of `affine_order`.
    """

    path: str
    big_endian: bool
    record: Mapping[str, Any]
    scalars: tuple[Column, ...]
    properties: tuple[Column, ...]
    order: str
    affine_order: str
    dim: tuple[int, int, int]
    affine: Rows
    dimensions: tuple[int, int, int]

    @property
    def has_affine(self) -> bool:
        """Whether ``vox_to_ras`` is recorded, and not made up."""
        return _has_affine(self.record)

    @property
    def from_centre(self) -> bool:
        """Whether coordinates count from the centre of the first voxel, as those of DSI Studio do."""
        return is_dsi_studio(self.record)

    def expected_counts(self, nbytes: int) -> tuple[int, int] | None:
        """Return the numbers of streamlines and vertices of a file of this size, if they follow from it.

        None if the header counts no streamlines, or the rest of the file is no whole number of vertices.
        """
        nb_streamlines: int = self.record["n_count"]
        if nbytes == HEADER_BYTES and not nb_streamlines:
            return 0, 0
        rest = nbytes - HEADER_BYTES - nb_streamlines * 4 * (1 + self.record["n_properties"])
        nb_vertices, odd = divmod(rest, 4 * (3 + self.record["n_scalars"]))
        return (nb_streamlines, nb_vertices) if nb_streamlines and nb_vertices >= 0 and not odd else None

    def facts(self) -> dict[str, Any]:
        """Return what a TRX header has no field for, as JSON values; `trxlib.formats.trk.writer` reads it."""
        record = self.record
        numbers = ("voxel_size", "dim", "vox_to_ras", "origin", "image_orientation_patient")
        # What is written again counts from the corner, so that it must not look as if DSI Studio had written it.
        texts = ("pad2", "pad1", "flags") if self.from_centre else ("pad2", "pad1", "flags", "reserved")
        return {
            "version": record["version"],
            "voxel_order": _text(record["voxel_order"]),
            # JSON has no NaN, and one in a field that nobody reads says nothing.
            **{name: record[name] for name in numbers if all(map(math.isfinite, _flat(record[name])))},
            # Bytes without a meaning of ours, as hexadecimal digits; mostly there are none.
            **{name: record[name].hex() for name in texts if record[name].strip(b"\0")},
            "scalars": [[column.key, column.raw.hex()] for column in self.scalars],
            "properties": [[column.key, column.raw.hex()] for column in self.properties],
            **({"dsi_studio": text_of(record)} if self.from_centre else {}),
        }


def read_trk_fields(data: bytes, path: str, reference: tuple[Rows, tuple[int, int, int]] | None = None) -> TrkFields:
    """Read and check a header.

    Parameters
    ----------
    data : bytes
        The first 1000 bytes of the content.
    path : str
        For messages.
    reference : tuple, optional
        Affine and dimensions that complement a header which has none.

    Raises
    ------
    HeaderError
        If a field has an impossible value; the message names it.
    """
    if data[:5] != MAGIC:
        raise HeaderError(
            f"{path} does not start with {MAGIC.decode()}, as every TRK file does; it is damaged or no TRK file"
        )
    if len(data) < HEADER_BYTES:
        raise HeaderError(f"{path} has {len(data)} bytes, a TRK header has {HEADER_BYTES}; the file is truncated")
    big_endian, record = _byte_order(data, path)
    version = record["version"]
    if version not in (1, 2, 3):
        raise HeaderError(f"{path}: version is {version}, expected 1 or 2")
    if version == 3:
        _assume(path, "version is 3, which is not documented", "it is read as version 2")
    if is_dsi_studio(record):
        _assume(
            path,
            "it is a file of DSI Studio, by the mark in its header (reserved)",
            "coordinates count from the centre of the first voxel, as that program's do",
        )
    for name in ("n_scalars", "n_properties", "n_count"):
        if record[name] < 0:
            raise HeaderError(f"{path}: {name} is {record[name]}, expected 0 or more")
    order, affine_order, dim, affine, dimensions = _read_space(record, path, reference)
    scalars = _read_columns(record, "scalar", record["n_scalars"], path)
    properties = _read_columns(record, "property", record["n_properties"], path)
    return TrkFields(path, big_endian, record, scalars, properties, order, affine_order, dim, affine, dimensions)


def read_order(text: str, what: str) -> str:
    """Return the voxel order that a header's text stands for: LPS if it is empty, as in TrackVis.

    Raises
    ------
    HeaderError
        If it is none; `what` stands in the message.
    """
    return check_voxel_order(text.strip(" \0") or _DEFAULT_ORDER, what)


def are_edges(edges: Iterable[float]) -> bool:
    """Tell whether these can be the lengths of a voxel's edges, in mm."""
    return all(math.isfinite(edge) and _SMALLEST_EDGE < edge < 1 / _SMALLEST_EDGE for edge in edges)


def unique_key(name: str, taken: list[str], fallback: str) -> str:
    """Return a key that a TRX file can hold and that is not `taken` yet."""
    key = base = make_key(name) if name.strip() else fallback
    number = 2
    while key in taken:
        key = f"{base}_{number}"
        number += 1
    return key


def _assume(path: str, found: str, assumed: str) -> None:
    warn(f"{path}: {found}; {assumed}", HeaderWarning)


def _byte_order(data: bytes, path: str) -> tuple[bool, dict[str, Any]]:
    for big_endian in (False, True):
        record = _unpack(data, big_endian)
        if record["hdr_size"] == HEADER_BYTES:
            return big_endian, record
    found = _unpack(data, False)["hdr_size"]
    raise HeaderError(f"{path}: hdr_size is {found}, expected {HEADER_BYTES} in either byte order")


def _unpack(data: bytes, big_endian: bool) -> dict[str, Any]:
    codes = "".join(code * math.prod(shape) for _, code, shape in FIELDS)
    values = iter(struct.unpack_from((">" if big_endian else "<") + codes, data))
    record: dict[str, Any] = {}
    for name, _, shape in FIELDS:
        items = [next(values) for _ in range(math.prod(shape))]
        record[name] = items if shape else items[0]
        if len(shape) == 2:
            record[name] = [items[at : at + shape[1]] for at in range(0, len(items), shape[1])]
    return record


def _flat(value: list[Any]) -> list[float]:
    return [item for row in value for item in row] if isinstance(value[0], list) else value


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("latin1")


def _read_space(
    record: Mapping[str, Any], path: str, reference: tuple[Rows, tuple[int, int, int]] | None
) -> tuple[str, str, tuple[int, int, int], Rows, tuple[int, int, int]]:
    """Return both orders, the grid of the first, the affine, and the grid of the second."""
    sizes, dim = record["voxel_size"], record["dim"]
    _check_edges(sizes, f"{path}: voxel_size")
    if min(dim) < 0:
        raise HeaderError(f"{path}: dim is {dim}, expected three whole numbers from 0 to 32767")
    text = _text(record["voxel_order"])
    if not text.strip(" \0"):
        _assume(path, "voxel_order is empty", f"{_DEFAULT_ORDER} is assumed, as TrackVis does")
    order = read_order(text, f"{path}: voxel_order")
    affine = _read_affine(record, path, order, reference)
    affine_order = voxel_order_of(affine)
    if not any(dim) and reference is not None:
        dim = reorder_grid(voxel_order_of(reference[0]), order, reference[1])
    if not all(dim) and order != affine_order:
        raise HeaderError(
            f"{path}: dim is {list(dim)}, but voxel_order {order} differs from {affine_order} of vox_to_ras, and a "
            "flipped axis counts from the last voxel; give a reference"
        )
    grid = (dim[0], dim[1], dim[2])
    check_invertible(affine, f"{path}: affine")
    dimensions = check_dimensions(reorder_grid(order, affine_order, grid), f"{path}: dimensions")
    return order, affine_order, grid, affine, dimensions


def _check_edges(edges: list[float], what: str) -> None:
    if not are_edges(edges):
        raise HeaderError(f"{what}: {edges}, expected three lengths in mm above 0")


def _has_affine(record: Mapping[str, Any]) -> bool:
    return _is_recorded(record) and not (is_dsi_studio(record) and has_made_up_place(record))


def _is_recorded(record: Mapping[str, Any]) -> bool:
    return bool(record["version"] > 1 and record["vox_to_ras"][3][3] != 0)


def _read_affine(
    record: Mapping[str, Any], path: str, order: str, reference: tuple[Rows, tuple[int, int, int]] | None
) -> Rows:
    made_up = _is_recorded(record) and not _has_affine(record)
    if made_up and reference is None:
        _assume(
            path,
            "vox_to_ras is what DSI Studio writes for an image without a known place",
            "it is taken, and may be far from the scanner's space; give the image that was tracked in as the reference",
        )
    if _has_affine(record) or (made_up and reference is None):
        affine = affine_rows(record["vox_to_ras"], f"{path}: vox_to_ras")
        check_invertible(affine, f"{path}: vox_to_ras")
        _check_edges(edges_of(affine), f"{path}: vox_to_ras, voxel edges")
        return affine
    found = (
        "version 1 has no vox_to_ras"
        if record["version"] == 1
        else "vox_to_ras is what DSI Studio writes for an image without a known place"
        if made_up
        else "vox_to_ras is not recorded (its last element is 0)"
    )
    if reference is not None:
        _assume(path, found, "the affine of the reference is taken")
        return reference[0]
    _assume(path, found, "the voxel sizes are taken for the affine; give a reference to place it in world space")
    # RAS+ with the first voxel's centre at the origin.
    sizes = [record["voxel_size"][column] for column in reorder_grid(order, "RAS", (0, 1, 2))]
    return [[sizes[row] if row == column else 0.0 for column in range(4)] for row in range(3)] + [[0.0, 0.0, 0.0, 1.0]]


def _read_columns(record: Mapping[str, Any], kind: str, total: int, path: str) -> tuple[Column, ...]:
    """Read the names of scalars or properties; a name may carry its number of columns behind a NUL."""
    columns: list[Column] = []
    start = 0
    raws = [raw.rstrip(b"\0") for raw in record[f"{kind}_name"]]
    for number, raw in enumerate(raws, 1):
        if start == total:
            break
        text, ncols = _decode_name(raw, f"{path}: {kind}_name {number}")
        if start + ncols > total:
            raise HeaderError(
                f"{path}: {kind}_name {number} ({text!r}) has {ncols} columns from column {start + 1}, but there are "
                f"only {total} columns"
            )
        columns.append(_make_column(text, start, ncols, raw, columns, kind, path))
        start += ncols
    if start < total:
        columns.append(_make_column("", start, total - start, b"", columns, kind, path))
    return tuple(columns)


def _make_column(text: str, start: int, ncols: int, raw: bytes, columns: list[Column], kind: str, path: str) -> Column:
    key = unique_key(text, [column.key for column in columns], f"{kind}_{start + 1}")
    if key != text:
        _assume(path, f"{kind} {start + 1} has the name {text!r}", f"it becomes {key!r}")
    return Column(key, start, ncols, raw)


def _decode_name(raw: bytes, what: str) -> tuple[str, int]:
    name, _, suffix = raw.partition(b"\0")
    # Only digits are a number of columns; some programs leave other bytes behind the NUL.
    digits = suffix.strip(b"\0 ")
    ncols = int(digits) if digits.isdigit() else 1
    if ncols < 1:
        raise HeaderError(f"{what} says {ncols} columns, expected 1 or more")
    return name.decode("latin1"), ncols
