"""Bundles to test with, containers written and read without trxlib's own writer and reader, and comparisons.

`make_trx_arrays` makes a bundle with every kind of array; `write_plain_zip` and `write_plain_folder` write it with
Python's zipfile or plain files; `read_plain` reads a container the same way; `assert_trx_equal` compares anything
that holds a tractogram and names the array that differs.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from trxlib.cohort.sheet import Sample, find_mistakes, raise_mistakes
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header
from trxlib.model.offsets import gather_rows, offsets_of
from trxlib.model.select import select_runs

#: Anisotropic, rotated a little, with an origin: no mistake of a space is hidden by it.
AFFINE = np.array([[1.96, 0.12, 0.0, -80.5], [-0.2, 2.2, 0.1, -101.25], [0.0, -0.1, 2.5, -60.0], [0, 0, 0, 1]])
DIMENSIONS = (80, 96, 64)
SHARED = Path(__file__).resolve().parents[2] / "shared"


def make_trx_arrays(
    nb_streamlines: int = 12,
    *,
    lengths: Any = None,
    seed: int = 0,
    positions_dtype: str = "<f4",
    offsets_dtype: str | None = None,
    dps: dict[str, tuple[int, str]] | None = None,
    dpv: dict[str, tuple[int, str]] | None = None,
    groups: dict[str, Any] | None = None,
    dpg: dict[str, dict[str, Any]] | None = None,
    extra: dict[str, Any] | None = None,
    sidecars: dict[str, bytes] | None = None,
    affine: Any = AFFINE,
    dimensions: tuple[int, int, int] = DIMENSIONS,
) -> TrxArrays:
    """Return a bundle of random arrays; by default one of every kind, with empty streamlines first and last.

    `dps` and `dpv` map a key to (columns, dtype), `groups` a name to members, `dpg` a group to {key: values}.
    """
    rng = np.random.default_rng(seed)
    if lengths is None:
        lengths = rng.integers(0, 9, nb_streamlines)
        lengths[:1] = lengths[-1:] = 0
    lengths = np.asarray(lengths, dtype=np.int64)
    n, v = len(lengths), int(lengths.sum())
    dps = {"weight": (1, "<f4"), "color": (3, "u1")} if dps is None else dps
    dpv = {"fa": (1, "<f2"), "flag": (1, "?"), "vector": (3, "<f8")} if dpv is None else dpv
    if groups is None:
        groups = {"CST_L": np.arange(0, n, 2), "CC": np.arange(n)[::-1], "none": []}
    if dpg is None:
        dpg = {"CC": {"volume": [[1.5]], "box": [[1, 2, 3]]}} if "CC" in groups else {}
    return TrxArrays(
        header=Header(np.array(affine, dtype=np.float64), dimensions, n, v, {"MADE_BY": "a test"} | (extra or {})),
        positions=(rng.random((v, 3)) * 100 - 50).astype(positions_dtype),
        offsets=offsets_of(lengths, offsets_dtype),
        dps={key: _random(rng, n, *spec) for key, spec in dps.items()},
        dpv={key: _random(rng, v, *spec) for key, spec in dpv.items()},
        groups={name: np.asarray(members, dtype="<u4") for name, members in groups.items()},
        dpg={
            group: {key: np.asarray(value, dtype="<f4").reshape(1, -1) for key, value in values.items()}
            for group, values in dpg.items()
        },
        sidecars={"notes.json": b'{"by": "hand"}'} if sidecars is None else sidecars,
    )


def _random(rng: np.random.Generator, rows: int, ncols: int, dtype: str) -> np.ndarray:
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random((rows, ncols)) < 0.5
    if kind == "f":
        return rng.standard_normal((rows, ncols)).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, (rows, ncols), dtype=dtype, endpoint=True)


def select_streamlines(arrays: TrxArrays, rows: Any) -> TrxArrays:
    """Return a bundle of copies of the streamlines at `rows`, in that order, with all that belongs to them."""
    selection, (starts, lengths) = select_runs(arrays, rows)
    selection.positions = gather_rows(arrays.positions, starts, lengths)
    selection.dpv = {key: gather_rows(array, starts, lengths) for key, array in arrays.dpv.items()}
    return selection


def read_samples(path: str | os.PathLike[str], schema: dict[str, Any], *, made: tuple[str, ...] = ()) -> list[Sample]:
    """Return the rows of a sample sheet, or raise an InputError that lists its mistakes."""
    samples, mistakes = find_mistakes(Path(path), schema, made)
    raise_mistakes(mistakes, "sample sheet")
    return samples


def entries_of(arrays: TrxArrays) -> dict[str, bytes]:
    """Return path -> bytes of every file of a container, spelled out here and not by trxlib."""
    header = arrays.header
    content = {
        "DIMENSIONS": list(header.dimensions),
        "VOXEL_TO_RASMM": np.asarray(header.voxel_to_rasmm).tolist(),
        "NB_VERTICES": header.nb_vertices,
        "NB_STREAMLINES": header.nb_streamlines,
        **header.extra,
    }
    entries = {"header.json": json.dumps(content).encode()}
    entries[f"positions.3.{_extension(arrays.positions)}"] = arrays.positions.tobytes()
    entries[f"offsets.{_extension(arrays.offsets)}"] = arrays.offsets.tobytes()
    for folder in ("dpv", "dps", "groups"):
        for key, array in getattr(arrays, folder).items():
            entries[f"{folder}/{key}{_columns(array)}.{_extension(array)}"] = array.tobytes()
    for group, values in arrays.dpg.items():
        for key, array in values.items():
            entries[f"dpg/{group}/{key}{_columns(array)}.{_extension(array)}"] = array.tobytes()
    return entries | arrays.sidecars


def _extension(array: np.ndarray) -> str:
    return "bit" if array.dtype == np.bool_ else array.dtype.name


def _columns(array: np.ndarray) -> str:
    return f".{array.shape[1]}" if array.ndim == 2 and array.shape[1] != 1 else ""


def write_entries(entries: dict[str, bytes], path: str | os.PathLike[str], method: int = zipfile.ZIP_STORED) -> Path:
    """Write files into a zip archive with Python's zipfile."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return Path(path)


def write_plain_zip(arrays: TrxArrays, path: str | os.PathLike[str], method: int = zipfile.ZIP_STORED) -> Path:
    """Write a bundle as an archive with Python's zipfile; `method` may be zipfile.ZIP_DEFLATED."""
    return write_entries(entries_of(arrays), path, method)


def write_plain_folder(arrays: TrxArrays, path: str | os.PathLike[str]) -> Path:
    """Write a bundle as a folder of plain files."""
    return write_entries_folder(entries_of(arrays), path)


def write_entries_folder(entries: dict[str, bytes], path: str | os.PathLike[str]) -> Path:
    """Write files below a folder."""
    for name, data in entries.items():
        file = Path(path, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return Path(path)


def read_entries(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """Return path -> bytes of every file of an archive (CRCs checked by zipfile) or folder."""
    if Path(path).is_dir():
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def read_plain(path: str | os.PathLike[str]) -> TrxArrays:
    """Read an archive or folder whole, with Python's zipfile and numpy alone."""
    entries = read_entries(path)
    content = json.loads(entries.pop("header.json"))
    affine = np.array(content.pop("VOXEL_TO_RASMM"), dtype=np.float64)
    dimensions = tuple(content.pop("DIMENSIONS"))
    header = Header(affine, dimensions, content.pop("NB_STREAMLINES"), content.pop("NB_VERTICES"), content)
    arrays = TrxArrays.empty(header)
    arrays.header = header
    for name, data in entries.items():
        if name.endswith(".json"):
            arrays.sidecars[name] = data
            continue
        *folders, file_name = name.split("/")
        parts = file_name.split(".")
        array = np.frombuffer(data, dtype="?" if parts[-1] == "bit" else np.dtype(parts[-1]).newbyteorder("<"))
        columns = array.reshape(-1, int(parts[-2]) if len(parts) > 2 else 1)
        if not folders:
            setattr(arrays, parts[0], columns if parts[0] == "positions" else array)
        elif folders[0] == "dpg":
            arrays.dpg.setdefault(folders[1], {})[parts[0]] = columns
        else:
            getattr(arrays, folders[0])[parts[0]] = array if folders[0] == "groups" else columns
    return arrays


def as_parts(thing: Any) -> dict[str, np.ndarray]:
    """Return label -> array for a path, a TrxArrays, a TrxFile (also trx-python's): the whole walk, in full."""
    if isinstance(thing, str | os.PathLike):
        thing = read_plain(thing)
    if hasattr(thing, "streamlines"):
        return _parts_of_trx_file(thing)
    arrays = getattr(thing, "arrays", thing)
    parts = {"positions": arrays.positions, "offsets": arrays.offsets}
    for folder in ("dpv", "dps", "groups"):
        parts |= {f"{folder}/{key}": array for key, array in getattr(arrays, folder).items()}
    return parts | {f"dpg/{g}/{key}": array for g, values in arrays.dpg.items() for key, array in values.items()}


def _parts_of_trx_file(trx: Any) -> dict[str, np.ndarray]:
    starts, lengths = np.asarray(trx.streamlines._offsets), np.asarray(trx.streamlines._lengths)
    starts = starts[: len(lengths)]
    parts = {
        "positions": gather_rows(trx.streamlines._data, starts, lengths).reshape(-1, 3),
        "offsets": offsets_of(lengths, trx.streamlines._offsets.dtype),
    }
    for key, values in trx.data_per_vertex.items():
        rows = gather_rows(np.asarray(values._data), starts, lengths)
        parts[f"dpv/{key}"] = rows if rows.ndim == 2 else rows.reshape(-1, 1)
    for key, values in trx.data_per_streamline.items():
        parts[f"dps/{key}"] = np.asarray(values) if np.ndim(values) == 2 else np.reshape(values, (-1, 1))
    parts |= {f"groups/{name}": np.asarray(members) for name, members in trx.groups.items()}
    for group, values in trx.data_per_group.items():
        parts |= {f"dpg/{group}/{key}": np.asarray(value).reshape(1, -1) for key, value in values.items()}
    return parts


def assert_trx_equal(actual: Any, expected: Any, *, dtypes: bool = True, header: bool = True) -> None:
    """Compare two tractograms array by array, bit for bit, and name the first array that differs.

    Each may be a path, a TrxArrays, something with `.arrays`, or a TrxFile. Group members are compared in order.
    `dtypes=False` compares values only; `header=False` leaves affine, dimensions, counts and extra keys out.
    """
    if header:
        left, right = _header_of(actual), _header_of(expected)
        for key in sorted(left.keys() | right.keys()):
            assert key in left, f"header: {key} is missing"
            assert key in right, f"header: {key} is not expected"
            assert np.array_equal(left[key], right[key]), f"header: {key} is {left[key]}, expected {right[key]}"
    found, wanted = as_parts(actual), as_parts(expected)
    assert sorted(found) == sorted(wanted), f"arrays {sorted(found)}, expected {sorted(wanted)}"
    for label, array in found.items():
        other = wanted[label]
        assert array.shape == other.shape, f"{label} has shape {array.shape}, expected {other.shape}"
        if dtypes:
            assert array.dtype == other.dtype, f"{label} has dtype {array.dtype}, expected {other.dtype}"
        np.testing.assert_array_equal(array, other, err_msg=f"{label} differs")


def _header_of(thing: Any) -> dict[str, Any]:
    if isinstance(thing, str | os.PathLike):
        thing = read_plain(thing)
    header = getattr(thing, "arrays", thing).header
    return header if isinstance(header, dict) else header.to_dict()


def make_row(tractogram: str | Path, subject: str = "sub-01", **more: Any) -> dict[str, Any]:
    """Return a row of a sample sheet as scripts get it."""
    if isinstance(more.get("transform"), str):
        more["transform"] = (more["transform"],) if more["transform"] else ()
    return Sample(line=2, cohort="cohort", subject=subject, tractogram=str(tractogram), **more).to_params()
