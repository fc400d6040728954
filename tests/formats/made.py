"""TRK and TCK files made byte by byte, without trxlib's own writers, and a way to read a source whole."""

from __future__ import annotations

import gzip
import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np

from trxlib.formats.open import open_input
from trxlib.model.options import ReadOptions
from trxlib.model.source import Source

#: Along the file's own axes: different sizes and numbers, so that no axis can pass for another.
SIZES = (1.0, 2.0, 4.0)
GRID = (8, 6, 5)
#: For data that lie outside their grids on purpose, or wherever chance has put them: no share of them is too much.
ANYWHERE = {"warn_outside": 1, "max_outside": 1}
#: All 48: six permutations with eight flips each.
ORDERS = [
    "".join(pair[sign] for pair, sign in zip(pairs, signs, strict=True))
    for pairs in itertools.permutations(("LR", "PA", "IS"))
    for signs in itertools.product((0, 1), repeat=3)
]


def some_streamlines(lengths: Any = (3, 0, 5, 1), seed: int = 0) -> list[np.ndarray]:
    """Coordinates that float32 holds exactly, also after moves by multiples of 1/64 mm."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(1, 64 * 4, (length, 3)) / 64).astype(np.float32) for length in lengths]


def trk_bytes(
    streamlines: list[np.ndarray],
    *,
    scalars: np.ndarray | None = None,
    properties: np.ndarray | None = None,
    scalar_names: tuple[bytes, ...] = (),
    property_names: tuple[bytes, ...] = (),
    affine: Any = None,
    order: bytes = b"RAS",
    sizes: Any = SIZES,
    dim: Any = GRID,
    version: int = 2,
    count: int | None = None,
    end: str = "<",
    **fields: Any,
) -> bytes:
    """Return a TRK file; coordinates are written as they are (voxmm). `fields` overrides n_scalars and such."""
    affine = np.diag([*sizes, 1.0]) if affine is None else np.asarray(affine)
    nb_scalars = 0 if scalars is None else scalars.shape[1]
    nb_properties = 0 if properties is None else properties.shape[1]
    header = struct.pack(
        f"{end}6s3h3f3fh200sh200s16f444s4s4s6f2s6siii",
        fields.get("id_string", b"TRACK"),
        *dim,
        *sizes,
        *fields.get("origin", (0, 0, 0)),
        fields.get("n_scalars", nb_scalars),
        b"".join(name.ljust(20, b"\0") for name in scalar_names),
        fields.get("n_properties", nb_properties),
        b"".join(name.ljust(20, b"\0") for name in property_names),
        *affine.ravel(),
        fields.get("reserved", b""),
        order,
        fields.get("pad2", b""),
        *fields.get("iop", (0,) * 6),
        b"",
        fields.get("flags", b""),
        len(streamlines) if count is None else count,
        version,
        fields.get("hdr_size", 1000),
    )
    assert len(header) == 1000
    parts = [header]
    vertex = 0
    for number, points in enumerate(streamlines):
        rows = np.asarray(points, dtype=np.float32).reshape(-1, 3)
        if scalars is not None:
            rows = np.hstack([rows, scalars[vertex : vertex + len(rows)]])
        vertex += len(rows)
        parts += [struct.pack(f"{end}i", len(rows)), rows.astype(f"{end}f4").tobytes()]
        if properties is not None:
            parts.append(properties[number].astype(f"{end}f4").tobytes())
    return b"".join(parts)


def tck_bytes(
    streamlines: list[np.ndarray],
    *,
    datatype: str = "Float32LE",
    count: int | str | None = -1,
    fields: tuple[str, ...] = (),
    marker: bool = True,
    offset: int | None = None,
    magic: str = "mrtrix tracks",
    ncols: int = 3,
) -> bytes:
    """Return a TCK file; `count` -1 means the true one, None leaves the line out."""
    dtype = np.dtype(("<" if datatype.endswith("LE") else ">") + ("f8" if "64" in datatype else "f4"))
    lines = [magic, *fields, f"datatype: {datatype}"]
    if count is not None:
        lines.append(f"count: {len(streamlines) if count == -1 else count}")
    start = 4096 if offset is None else offset
    head = ("\n".join([*lines, f"file: . {start}", "END"]) + "\n").encode()
    rows = []
    for points in streamlines:
        rows += [np.asarray(points, dtype=np.float64).reshape(-1, ncols), np.full((1, ncols), np.nan)]
    if marker:
        rows.append(np.full((1, ncols), np.inf))
    data = np.concatenate(rows) if rows else np.zeros((0, ncols))
    return head.ljust(start, b"\0") + data.astype(dtype).tobytes()


def write(path: Path, data: bytes, *, gz: bool = False) -> Path:
    """Write bytes, perhaps compressed."""
    path.write_bytes(gzip.compress(data) if gz else data)
    return path


def open_source(path: Path, **options: Any) -> Source:
    """Open a tractogram with the options of `ReadOptions`; its vertices may lie anywhere."""
    return open_input(path, ReadOptions(**{**ANYWHERE, **options}))


def read_all(source: Source) -> dict[str, Any]:
    """Return lengths, positions, dps and dpv of a whole source, and check its counts."""
    lengths, positions = [np.zeros(0, np.int64)], [np.zeros((0, 3), source.info.positions_dtype)]
    dps: dict[str, list[np.ndarray]] = {key: [] for key in source.info.dps}
    dpv: dict[str, list[np.ndarray]] = {key: [] for key in source.info.dpv}
    for chunk in source.chunks():
        assert int(chunk.lengths.sum()) == len(chunk.positions)
        assert chunk.positions.dtype == source.info.positions_dtype
        lengths.append(chunk.lengths.astype(np.int64))
        positions.append(chunk.positions.copy())
        for key, values in chunk.dps.items():
            dps[key].append(values.copy())
        for key, values in chunk.dpv.items():
            dpv[key].append(values.copy())
    result = {
        "lengths": np.concatenate(lengths),
        "positions": np.concatenate(positions),
        "dps": {key: np.concatenate(parts) for key, parts in dps.items() if parts},
        "dpv": {key: np.concatenate(parts) for key, parts in dpv.items() if parts},
    }
    assert len(result["lengths"]) == source.info.nb_streamlines
    assert len(result["positions"]) == source.info.nb_vertices
    return result
