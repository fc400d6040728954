"""The header of a TRK file as a space and a way of its coordinates to RASMM.

TrackVis documentation, "File format". Coordinates in the file are ``voxmm``: mm along the axes of the voxel order,
from the corner of the first voxel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.formats.trk.fields import (
    FIELDS,
    HEADER_BYTES,
    MAGIC,
    Column,
    TrkFields,
    are_edges,
    read_order,
    read_trk_fields,
    unique_key,
)
from trxlib.formats.trk.voxel_order import reorder_matrix
from trxlib.model.space import Space

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


#: Texts that a writer sets as texts; the other bytes keep their NULs.
_TEXTS = ("id_string", "voxel_order")


def _type_of(name: str, code: str) -> str:
    """Return what numpy calls an item of the table."""
    letter, size = code[-1], code[:-1]
    return {"h": "<i2", "i": "<i4", "f": "<f4"}.get(letter) or f"{'S' if name in _TEXTS else 'V'}{size}"


#: The same as `FIELDS`, for a writer.
HEADER_DTYPE = np.dtype([(name, _type_of(name, code), shape) for name, code, shape in FIELDS])


class TrkHeader:
    """What a TRK header says, with its space.

    Parameters
    ----------
    fields : TrkFields
        As read.
    """

    def __init__(self, fields: TrkFields) -> None:
        self.path = fields.path
        #: Byte order of the whole file.
        self.big_endian = fields.big_endian
        #: Numbers per vertex and per streamline.
        self.nb_scalars: int = fields.record["n_scalars"]
        self.nb_properties: int = fields.record["n_properties"]
        #: Their names.
        self.scalars, self.properties = fields.scalars, fields.properties
        #: 0 where it is not stored.
        self.nb_streamlines: int = fields.record["n_count"]
        self.fields = fields
        affine = np.array(fields.affine)
        #: Of the file: its affine, and the grid along the affine's axes.
        self.space = Space(affine, fields.dimensions)
        sizes = np.array(fields.record["voxel_size"])
        reorder, _ = reorder_matrix(fields.order, fields.affine_order, fields.dim)
        #: The coordinates' way, float64 of shape (4, 4).
        self.voxmm_to_rasmm: npt.NDArray[np.float64] = affine @ reorder @ self._to_voxel(sizes)

    @property
    def has_affine(self) -> bool:
        """Whether ``vox_to_ras`` is recorded, and not made up."""
        return self.fields.has_affine

    def _to_voxel(self, sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.diag([*(1 / sizes), 1.0]) if self.fields.from_centre else voxmm_to_voxel(sizes)

    @property
    def edges(self) -> list[float]:
        """Lengths of the grid along the file's own axes, in mm."""
        record = self.fields.record
        return [nb * size for nb, size in zip(record["dim"], record["voxel_size"], strict=True)]

    def facts(self) -> dict[str, Any]:
        """Return what a TRX header has no field for, as JSON values; `trxlib.formats.trk.writer` reads it."""
        return self.fields.facts()


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
    given = None if reference is None else (reference.voxel_to_rasmm.tolist(), reference.dimensions)
    return TrkHeader(read_trk_fields(data, path, given))


def voxmm_to_voxel(voxel_sizes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the way from voxmm (origin at the corner) to voxel indices (integer at the centre)."""
    matrix = np.diag([*(1 / np.asarray(voxel_sizes, dtype=np.float64)), 1.0])
    matrix[:3, 3] = -0.5
    return matrix
