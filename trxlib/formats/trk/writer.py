"""Write TRK files, chunk by chunk: version 2, little-endian, with the header facts that the file came with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.scattered import RunsOfRows
from trxlib.errors import HeaderError, HeaderWarning, InputError, warn
from trxlib.formats.header_facts import facts_fit
from trxlib.formats.output_file import Float32Caster, cast_positions, open_output
from trxlib.formats.trk.header import HEADER_BYTES, HEADER_DTYPE, MAGIC, read_order, unique_key, voxmm_to_voxel
from trxlib.formats.trk.voxel_order import reorder_matrix
from trxlib.model.chunk import Chunk, placed
from trxlib.model.source import ArraySpec, Progress, SourceInfo
from trxlib.model.space import Space
from trxlib.model.voxel_order import voxel_order_of
from trxlib.parallel import run_each, threads_for
from trxlib.spaces.positions import PositionsMap

__all__ = ["write_trk"]

Array = npt.NDArray[Any]
_NAME_BYTES = 20
_MAX_NAMES = 10
_INT32_MAX = 2**31 - 1
_VERTEX_BYTES = 12  # of positions, for progress


def write_trk(
    path: str | os.PathLike[str],
    info: SourceInfo,
    chunks: Iterable[Chunk],
    *,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a TRK file.

    Parameters
    ----------
    path : path
        Appears when it is complete.
    info : SourceInfo
        Space, dps and dpv of what `chunks` yields; its counts serve `progress` only.
    chunks : iterable of Chunk
        Not modified.
    facts : mapping, optional
        What `SourceInfo.facts` of a TRK said: voxel order, voxel sizes, names and more come back, as far as they
        still fit the space. By default those of `info`, if it is a TRK.
    progress : callable, optional
        Called with vertex bytes done and in all.

    Raises
    ------
    InputError
        If there are more arrays than the format has names for.
    DtypeError
        If a value is beyond float32.
    """
    facts = facts if facts is not None else info.facts if info.format == "trk" else {}
    record = _make_record(info.space, facts, str(path))
    scalars = _write_names(record, "scalar", "scalars", info.dpv, facts, str(path))
    properties = _write_names(record, "property", "properties", info.dps, facts, str(path))
    record["n_scalars"] = sum(info.dpv[key].ncols for key in scalars)
    record["n_properties"] = sum(info.dps[key].ncols for key in properties)
    # float64 positions are moved as such: then coordinates of a TRK come back bit for bit under any affine.
    work = np.dtype("<f8" if info.positions_dtype.itemsize == 8 else "<f4")
    packer = _Packer(path, PositionsMap(_rasmm_to_voxmm(record), work), scalars, properties, record)
    streamlines = vertices = 0
    with open_output(path) as output:
        output.append(bytes(HEADER_BYTES))

        def put(item: tuple[Chunk, int, int]) -> tuple[int, int]:
            chunk, streamline, vertex = item
            words = streamline * (1 + packer.nb_properties) + vertex * packer.width
            output.put_runs(HEADER_BYTES + 4 * words, packer.pack(chunk, streamline))
            return len(chunk.lengths), chunk.nb_vertices

        def count(added: tuple[int, int]) -> None:
            nonlocal streamlines, vertices
            streamlines += added[0]
            vertices += added[1]
            if progress is not None:
                progress(_VERTEX_BYTES * vertices, _VERTEX_BYTES * info.nb_vertices)

        run_each(placed(chunks), put, count, threads=threads_for(info.nbytes))
        if streamlines > _INT32_MAX:
            raise HeaderError(f"{path}: {streamlines} streamlines, a TRK header counts {_INT32_MAX} at most; use TRX")
        record["n_count"] = streamlines
        output.put(0, record.tobytes())
        packer.report()


class _Packer:
    """Turns chunks into records."""

    def __init__(
        self, path: str | os.PathLike[str], to_voxmm: PositionsMap, scalars: Sequence[str], properties: Sequence[str],
        record: Any,
    ) -> None:  # fmt: skip
        self._map, self._scalars, self._properties = to_voxmm, scalars, properties
        #: Numbers of a vertex, and of a streamline behind its vertices.
        self.width, self.nb_properties = 3 + int(record["n_scalars"]), int(record["n_properties"])
        self._path, self._caster = str(path), Float32Caster(str(path))

    def pack(self, chunk: Chunk, streamline: int) -> list[RunsOfRows]:
        """Return the counts, the rows and the properties of a chunk's records; its first streamline is given."""
        lengths = chunk.lengths.astype(np.int64)
        each = np.arange(len(lengths))
        one = np.ones(len(lengths), dtype=np.int64)
        parts = [
            RunsOfRows(lengths.astype("<i4"), each, one),
            RunsOfRows(self._rows(chunk, streamline), np.cumsum(lengths) - lengths, lengths),
        ]
        properties = [self._caster.cast(chunk.dps[key], f"dps/{key}") for key in self._properties]
        if properties:
            parts.append(RunsOfRows(np.ascontiguousarray(np.concatenate(properties, axis=1)), each, one))
        return parts

    def report(self) -> None:
        """Warn of values that were rounded."""
        self._caster.report()

    def _rows(self, chunk: Chunk, streamline: int) -> Array:
        positions = np.asarray(chunk.positions, dtype=self._map.dtype)
        moved = self._map.apply(positions, keep=True)
        points = cast_positions(moved, "<f4", chunk, streamline, self._path)
        if not self._scalars:
            return points
        scalars = [self._caster.cast(chunk.dpv[key], f"dpv/{key}") for key in self._scalars]
        rows = np.empty((len(points), self.width), dtype="<f4")
        start = 0
        for values in (points, *scalars):
            for column in range(values.shape[1]):
                rows[:, start + column] = values[:, column]
            start += values.shape[1]
        return rows


def _make_record(space: Space, facts: Mapping[str, Any], path: str) -> Any:
    """Return a header for a space: with the facts' grid if it is the same, else one of our own."""
    if max(space.dimensions) > np.iinfo(np.int16).max:
        raise HeaderError(
            f"{path}: dimensions {list(space.dimensions)} do not fit a TRK header, at most 32767 each; use TRX"
        )
    record = np.zeros(1, dtype=HEADER_DTYPE)[0]
    record["id_string"], record["version"], record["hdr_size"] = MAGIC, 2, HEADER_BYTES
    record["vox_to_ras"] = space.voxel_to_rasmm
    order = voxel_order_of(record["vox_to_ras"].astype(np.float64))
    record["voxel_order"], record["dim"], record["voxel_size"] = order.encode(), space.dimensions, space.voxel_sizes
    record["pad2"] = np.void(order.encode().ljust(4, b"\0"))
    record["image_orientation_patient"] = 0
    if facts_fit(facts, space, order):
        for name in ("voxel_order", "voxel_size", "dim", "origin", "image_orientation_patient"):
            if name in facts:
                record[name] = facts[name].encode("latin1") if name == "voxel_order" else facts[name]
        for name in ("pad1", "pad2", "flags", "reserved"):
            size = HEADER_DTYPE[name].itemsize
            record[name] = np.void(bytes.fromhex(facts.get(name, ""))[:size].ljust(size, b"\0"))
    return record


def _rasmm_to_voxmm(record: Any) -> npt.NDArray[np.float64]:
    affine = record["vox_to_ras"].astype(np.float64)
    dim = record["dim"].tolist()
    order = read_order(record["voxel_order"].decode("latin1"), "voxel_order")
    reorder, _ = reorder_matrix(order, voxel_order_of(affine), (dim[0], dim[1], dim[2]))
    forward = affine @ reorder @ voxmm_to_voxel(record["voxel_size"])
    inverse = np.asarray(np.linalg.inv(forward))
    # An exact inverse keeps exact coordinates exact: rounding noise beside 1 and 0 would move them.
    rounded = np.round(inverse[:3, :3])
    inverse[:3, :3] = np.where(np.abs(inverse[:3, :3] - rounded) < 1e-12, rounded, inverse[:3, :3])
    return inverse


def _write_names(
    record: Any, kind: str, facts_key: str, specs: Mapping[str, ArraySpec], facts: Mapping[str, Any], path: str
) -> list[str]:
    """Put the names of arrays into the header; return their keys in the order in which they are written."""
    known = {str(key): bytes.fromhex(raw) for key, raw in facts.get(facts_key, [])}
    keys = [key for key in known if key in specs]
    keys += sorted(key for key in specs if key not in known)
    unnamed = _find_unnamed(keys, kind, specs, known)
    # Columns behind the last name are one array without a name.
    if len(keys) > _MAX_NAMES + bool(keys and keys[-1] in unnamed):
        raise InputError(
            f"{path}: {len(specs)} arrays ({', '.join(sorted(specs))}), a TRK file has names for {_MAX_NAMES}; leave "
            "some out (leave_out= or keep= in Python, --leave-out or --keep on the command line), or write TRX"
        )
    used: set[bytes] = set()
    for number, key in enumerate(keys):
        if key in unnamed:
            continue
        raw = known.get(key, b"")
        if not _says(raw, specs[key].ncols):
            raw = _encode_name(key, specs[key].ncols, used, path)
        used.add(raw)
        record[f"{kind}_name"][number] = np.void(raw.ljust(_NAME_BYTES, b"\0"))
    return keys


def _find_unnamed(
    keys: Sequence[str], kind: str, specs: Mapping[str, ArraySpec], known: Mapping[str, bytes]
) -> set[str]:
    """Return the arrays that had no name in the TRK they are from, and get the same key without one again."""
    unnamed = set()
    start = 0
    for number, key in enumerate(keys):
        ncols = specs[key].ncols
        fits = ncols == 1 if number < _MAX_NAMES else number == len(keys) - 1
        if known.get(key) == b"" and fits and key == unique_key("", list(keys[:number]), f"{kind}_{start + 1}"):
            unnamed.add(key)
        start += ncols
    return unnamed


def _says(raw: bytes, ncols: int) -> bool:
    """Tell whether a header's name stands for this number of columns."""
    _, _, suffix = raw.partition(b"\0")
    digits = suffix.strip(b"\0 ")
    return bool(raw) and (int(digits) if digits.isdigit() else 1) == ncols


def _encode_name(key: str, ncols: int, used: set[bytes], path: str) -> bytes:
    suffix = b"\0" + str(ncols).encode() if ncols > 1 else b""
    name = key.encode("latin1", "replace")
    raw = name[: _NAME_BYTES - len(suffix)] + suffix
    number = 2
    while raw in used:
        mark = b"_" + str(number).encode()
        raw = name[: _NAME_BYTES - len(suffix) - len(mark)] + mark + suffix
        number += 1
    if raw != name + suffix:
        warn(
            f"{path}: the name {key!r} does not fit the {_NAME_BYTES} bytes of a TRK header; it becomes "
            f"{raw[: len(raw) - len(suffix)].decode('latin1')!r}",
            HeaderWarning,
        )
    return raw
