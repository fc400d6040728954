"""The 1000 bytes in front of a TRK file: read, checked, and turned into a space and an affine.

TrackVis documentation, "File format". Coordinates in the file are ``voxmm``: mm along the axes of the voxel order,
from the corner of the first voxel.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, HeaderWarning
from trxlib.formats.trk.voxel_order import check_voxel_order, reorder_matrix, voxel_order_of
from trxlib.model.header import check_affine
from trxlib.model.names import make_key
from trxlib.model.space import Space, invert_affine

__all__ = [
    "HEADER_BYTES",
    "HEADER_DTYPE",
    "MAGIC",
    "Column",
    "TrkHeader",
    "are_edges",
    "read_order",
    "read_trk_header",
    "unique_key",
    "voxmm_to_voxel",
]

MAGIC = b"TRACK"
HEADER_BYTES = 1000
HEADER_DTYPE = np.dtype(
    [
        ("id_string", "S6"),
        ("dim", "<i2", 3),
        ("voxel_size", "<f4", 3),
        ("origin", "<f4", 3),
        ("n_scalars", "<i2"),
        ("scalar_name", "V20", 10),
        ("n_properties", "<i2"),
        ("property_name", "V20", 10),
        ("vox_to_ras", "<f4", (4, 4)),
        ("reserved", "V444"),
        ("voxel_order", "S4"),
        ("pad2", "V4"),
        ("image_orientation_patient", "<f4", 6),
        ("pad1", "V2"),
        ("flags", "V6"),  # invert_x, invert_y, invert_z, swap_xy, swap_yz, swap_zx: TrackVis's own, no reader uses them
        ("n_count", "<i4"),
        ("version", "<i4"),
        ("hdr_size", "<i4"),
    ]
)
_DEFAULT_ORDER = "LPS"
_SMALLEST_EDGE = 1e-6  # mm


@dataclass(frozen=True)
class Column:
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


@dataclass(frozen=True)
class TrkHeader:
    """What a TRK header says, in native types.

    Parameters
    ----------
    path : str
        For messages.
    big_endian : bool
        Byte order of the whole file.
    record : numpy.void
        All fields, of type `HEADER_DTYPE` in the file's byte order.
    nb_scalars, nb_properties : int
        Numbers per vertex and per streamline.
    scalars, properties : tuple of Column
        Their names.
    nb_streamlines : int
        0 where it is not stored.
    space : Space
        Of the file: its affine, and the grid along the affine's axes.
    voxmm_to_rasmm : ndarray, float64 of shape (4, 4)
        The coordinates' way.
    """

    path: str
    big_endian: bool
    record: Any
    nb_scalars: int
    nb_properties: int
    scalars: tuple[Column, ...]
    properties: tuple[Column, ...]
    nb_streamlines: int
    space: Space
    voxmm_to_rasmm: npt.NDArray[np.float64]

    @property
    def has_affine(self) -> bool:
        """Whether ``vox_to_ras`` is recorded."""
        return _has_affine(self.record)

    @property
    def edges(self) -> list[float]:
        """Lengths of the grid along the file's own axes, in mm."""
        return [float(edge) for edge in self.record["dim"] * self.record["voxel_size"].astype(np.float64)]

    def facts(self) -> dict[str, Any]:
        """Return what a TRX header has no field for, as JSON values; `trxlib.formats.trk.writer` reads it."""
        record = self.record
        texts = {name: bytes(record[name]) for name in ("pad2", "pad1", "flags", "reserved")}
        numbers = ("voxel_size", "dim", "vox_to_ras", "origin", "image_orientation_patient")
        return {
            "version": int(record["version"]),
            "voxel_order": record["voxel_order"].decode("latin1"),
            # JSON has no NaN, and one in a field that nobody reads says nothing.
            **{name: record[name].tolist() for name in numbers if np.isfinite(record[name]).all()},
            # Bytes without a meaning of ours, as hexadecimal digits; mostly there are none.
            **{name: value.hex() for name, value in texts.items() if value.strip(b"\0")},
            "scalars": [[column.key, column.raw.hex()] for column in self.scalars],
            "properties": [[column.key, column.raw.hex()] for column in self.properties],
        }


def read_trk_header(data: bytes, path: str, reference: Space | None = None) -> TrkHeader:
    """Read and check a header.

    Parameters
    ----------
    data : bytes
        The first 1000 bytes of the content.
    path : str
        For messages.
    reference : Space, optional
        Complements a header that has no affine, or no dimensions.

    Raises
    ------
    HeaderError
        If a field has an impossible value; the message names it.
    """
    if data[:5] != MAGIC:
        raise HeaderError(f"{path} starts with {data[:5]!r}, expected {MAGIC!r}; it is no TRK file")
    if len(data) < HEADER_BYTES:
        raise HeaderError(f"{path} has {len(data)} bytes, a TRK header has {HEADER_BYTES}; the file is truncated")
    big_endian, record = _byte_order(data, path)
    version = int(record["version"])
    if version not in (1, 2, 3):
        raise HeaderError(f"{path}: version is {version}, expected 1 or 2")
    if version == 3:
        _assume(path, "version is 3, which is not documented", "it is read as version 2")
    counts = {name: int(record[name]) for name in ("n_scalars", "n_properties", "n_count")}
    for name, count in counts.items():
        if count < 0:
            raise HeaderError(f"{path}: {name} is {count}, expected 0 or more")
    space, matrix = _read_space(record, path, reference)
    return TrkHeader(
        path,
        big_endian,
        record,
        counts["n_scalars"],
        counts["n_properties"],
        _read_columns(record, "scalar", counts["n_scalars"], path),
        _read_columns(record, "property", counts["n_properties"], path),
        counts["n_count"],
        space,
        matrix,
    )


def voxmm_to_voxel(voxel_sizes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the way from voxmm (origin at the corner) to voxel indices (integer at the centre)."""
    matrix = np.diag([*(1 / np.asarray(voxel_sizes, dtype=np.float64)), 1.0])
    matrix[:3, 3] = -0.5
    return matrix


def read_order(text: str, what: str) -> str:
    """Return the voxel order that a header's text stands for: LPS if it is empty, as in TrackVis.

    Raises
    ------
    HeaderError
        If it is none; `what` stands in the message.
    """
    return check_voxel_order(text.strip(" \0") or _DEFAULT_ORDER, what)


def are_edges(edges: npt.NDArray[np.float64]) -> bool:
    """Tell whether these can be the lengths of a voxel's edges, in mm."""
    return bool(np.isfinite(edges).all() and edges.min() > _SMALLEST_EDGE and edges.max() < 1 / _SMALLEST_EDGE)


def unique_key(name: str, taken: list[str], fallback: str) -> str:
    """Return a key that a TRX file can hold and that is not `taken` yet."""
    key = base = make_key(name) if name.strip() else fallback
    number = 2
    while key in taken:
        key = f"{base}_{number}"
        number += 1
    return key


def _assume(path: str, found: str, assumed: str) -> None:
    warnings.warn(f"{path}: {found}; {assumed}", HeaderWarning, stacklevel=4)


def _byte_order(data: bytes, path: str) -> tuple[bool, Any]:
    for big_endian, dtype in ((False, HEADER_DTYPE), (True, HEADER_DTYPE.newbyteorder(">"))):
        record = np.frombuffer(data, dtype=dtype, count=1)[0]
        if int(record["hdr_size"]) == HEADER_BYTES:
            return big_endian, record
    found = int(np.frombuffer(data, dtype=HEADER_DTYPE, count=1)[0]["hdr_size"])
    raise HeaderError(f"{path}: hdr_size is {found}, expected {HEADER_BYTES} in either byte order")


def _read_space(record: Any, path: str, reference: Space | None) -> tuple[Space, npt.NDArray[np.float64]]:
    sizes = record["voxel_size"].astype(np.float64)
    _check_edges(sizes, f"{path}: voxel_size")
    dim = record["dim"].tolist()
    if min(dim) < 0:
        raise HeaderError(f"{path}: dim is {dim}, expected three whole numbers from 0 to 32767")
    text = record["voxel_order"].decode("latin1")
    if not text.strip(" \0"):
        _assume(path, "voxel_order is empty", f"{_DEFAULT_ORDER} is assumed, as TrackVis does")
    order = read_order(text, f"{path}: voxel_order")
    affine = _read_affine(record, path, order, sizes, reference)
    affine_order = voxel_order_of(affine)
    if not any(dim) and reference is not None:
        _, grid = reorder_matrix(voxel_order_of(reference.voxel_to_rasmm), order, reference.dimensions)
        dim = list(grid)
    if not all(dim) and order != affine_order:
        raise HeaderError(
            f"{path}: dim is {dim}, but voxel_order {order} differs from {affine_order} of vox_to_ras, and a flipped "
            "axis counts from the last voxel; give a reference"
        )
    reorder, grid = reorder_matrix(order, affine_order, (dim[0], dim[1], dim[2]))
    return Space.create(affine, grid, path), affine @ reorder @ voxmm_to_voxel(sizes)


def _check_edges(edges: npt.NDArray[np.float64], what: str) -> None:
    if not are_edges(edges):
        raise HeaderError(f"{what}: {edges.tolist()}, expected three lengths in mm above 0")


def _has_affine(record: Any) -> bool:
    return int(record["version"]) > 1 and float(record["vox_to_ras"][3, 3]) != 0


def _read_affine(
    record: Any, path: str, order: str, sizes: npt.NDArray[np.float64], reference: Space | None
) -> npt.NDArray[np.float64]:
    if _has_affine(record):
        affine = check_affine(record["vox_to_ras"], f"{path}: vox_to_ras")
        invert_affine(affine, f"{path}: vox_to_ras")
        _check_edges(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)), f"{path}: vox_to_ras, voxel edges")
        return affine
    found = (
        "version 1 has no vox_to_ras"
        if int(record["version"]) == 1
        else "vox_to_ras is not recorded (its last element is 0)"
    )
    if reference is not None:
        _assume(path, found, "the affine of the reference is taken")
        return reference.voxel_to_rasmm
    _assume(path, found, "the voxel sizes are taken for the affine; give a reference to place it in world space")
    # RAS+ with the first voxel's centre at the origin.
    to_ras, _ = reorder_matrix(order, "RAS", (1, 1, 1))
    return np.diag([*(np.abs(to_ras[:3, :3]) @ sizes), 1.0])


def _read_columns(record: Any, kind: str, total: int, path: str) -> tuple[Column, ...]:
    """Read the names of scalars or properties; a name may carry its number of columns behind a NUL."""
    columns: list[Column] = []
    start = 0
    raws = [bytes(raw).rstrip(b"\0") for raw in record[f"{kind}_name"]]
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
