"""The streamlines in the bytes of a `track` matrix, found one after the other and decoded all at once.

A record is a word that counts its coordinates, three words with the first vertex, and a signed byte for each further
coordinate, by how much it differs from that of the vertex before; all in 1/32 of a voxel.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError

__all__ = ["STEPS_PER_VOXEL", "Records", "decode_records", "find_records"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
STEPS_PER_VOXEL = 32
_COUNT = struct.Struct("<I")
#: Bytes of a record beside one for each coordinate: a count and three words, of which the first vertex counts three.
_EXTRA = 13
_MOST_COORDINATES = 3 << 23  # of a streamline: beyond them, sums could leave 32 bits
_MOST_STEPS = 1 << 24  # from the first voxel: half a million voxels, which float32 holds exactly


class Records(NamedTuple):
    """Whole records.

    Parameters
    ----------
    data : ndarray of uint8
        All of their bytes, and no others.
    starts, lengths : ndarray of int64, shape (n,)
        The byte where each begins, and its number of vertices.
    needed : int
        Bytes of the record that begins behind them, 0 if its count is not there yet.
    """

    data: Bytes
    starts: Array
    lengths: Array
    needed: int


def find_records(data: Bytes, where: str, first: int) -> Records:
    """Return the whole records at the beginning of some bytes.

    Parameters
    ----------
    data : ndarray of uint8
        The first record begins at its first byte.
    where : str
        The file, for messages.
    first : int
        The number of the first record, for messages.

    Raises
    ------
    FormatError
        If a count is impossible; the record is named.
    """
    view, total, read = data.data, len(data), _COUNT.unpack_from
    starts: list[int] = []
    counts: list[int] = []
    position = needed = 0
    while position + 4 <= total:
        (count,) = read(view, position)
        if not 0 < count <= _MOST_COORDINATES or count % 3:
            raise FormatError(
                f"{where}: record {first + len(starts)} counts {count} coordinates, expected a multiple of 3 from 3 to "
                f"{_MOST_COORDINATES}; the file is damaged"
            )
        end = position + _EXTRA + count
        if end > total:
            needed = end - position
            break
        starts.append(position)
        counts.append(count)
        position = end
    return Records(data[:position], np.array(starts, np.int64), np.array(counts, np.int64) // 3, needed)


def decode_records(records: Records, where: str, first: int) -> Array:
    """Return the vertices of all records.

    Parameters
    ----------
    records : Records
        At least one.
    where : str
        The file, for messages.
    first : int
        The number of the first record, for messages.

    Returns
    -------
    ndarray, int32 of shape (v, 3)
        Voxels times `STEPS_PER_VOXEL`, an array of its own.

    Raises
    ------
    FormatError
        If a first vertex is absurd; the record is named.
    """
    data, starts, lengths, _ = records
    heads = data[starts[:, None] + np.arange(4, 16)].view("<i4")
    absurd = ((heads > _MOST_STEPS) | (heads < -_MOST_STEPS)).any(axis=1)
    if absurd.any():
        row = int(np.argmax(absurd))
        raise FormatError(
            f"{where}: record {first + row} begins at voxel {(heads[row] / STEPS_PER_VOXEL).tolist()}; the file is "
            "damaged"
        )
    mask = np.ones(len(data), dtype=np.bool_)
    mask[starts[:, None] + np.arange(_EXTRA)] = False
    # Of each head three bytes stay, in the place of the first vertex, so that there is one row for each vertex.
    steps = data[mask].view(np.int8).reshape(-1, 3).astype(np.int32)
    rows = np.cumsum(lengths) - lengths
    steps[rows] = 0
    ends = heads + np.add.reduceat(steps, rows, axis=0)
    # One sum over all streamlines: a first vertex is a step from where the streamline before has ended.
    steps[rows] = heads
    steps[rows[1:]] -= ends[:-1].astype(np.int32)
    return np.cumsum(steps, axis=0, dtype=np.int32, out=steps)
