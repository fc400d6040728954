"""What a result must hold: kept when the data are made, compared with what any program has written.

Lengths are compared one by one, positions and data by their sums and at every thousandth place; so is the space that
the header tells. Files are read here by numpy and zipfile alone, so that no program is measured that writes nothing, or
zeros, or forgets where its streamlines are.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.measure import BenchmarkError

_EVERY = 1009  # a sample, prime, so that no period of the data is met
_NEAR = 2e-3  # mm: float32 coordinates of a grid of 320 mm, moved twice
_BLOCK = 1 << 20  # rows summed at a time


def _sums(rows: np.ndarray) -> np.ndarray:
    """Return the sum of each column; over the first axis of narrow rows numpy takes six times as long."""
    return np.array([rows[:, column].sum(dtype=np.float64) for column in range(rows.shape[1])])


@dataclass
class Rows:
    """The sum of some rows, and every so manieth of them with its place."""

    count: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(1))
    places: list[np.ndarray] = field(default_factory=list)
    samples: list[np.ndarray] = field(default_factory=list)

    def add(self, rows: np.ndarray) -> None:
        if not len(rows):
            return
        rows = rows.reshape(len(rows), -1)
        first = -self.count % _EVERY
        self.places.append(np.arange(self.count + first, self.count + len(rows), _EVERY))
        self.samples.append(np.array(rows[first::_EVERY], dtype=np.float64))
        self.total = self.total + _sums(rows)
        self.count += len(rows)

    def append(self, other: Rows) -> None:
        """Put other rows behind these."""
        self.places += [places + self.count for places in other.places]
        self.samples += other.samples
        self.total, self.count = self.total + other.total, self.count + other.count

    def check(self, rows: np.ndarray, what: str) -> None:
        """Raise if these are other rows."""
        if len(rows) != self.count:
            raise BenchmarkError(f"wrong: {what}: {len(rows)} rows, expected {self.count}")
        if not self.count:
            return
        rows = rows.reshape(self.count, -1)
        places, wanted = np.concatenate(self.places), np.concatenate(self.samples)
        far = ~(np.abs(rows[places] - wanted) <= _NEAR).all(axis=1)
        if far.any():
            row = int(np.argmax(far))
            found = rows[places[row]].tolist()
            raise BenchmarkError(f"wrong: {what}: row {places[row]} is {found}, expected {wanted[row].tolist()}")
        total = sum(_sums(rows[at : at + _BLOCK]) for at in range(0, self.count, _BLOCK))
        wrong = float(np.abs(total - self.total).max()) / self.count
        if not wrong <= _NEAR:
            raise BenchmarkError(f"wrong: {what}: the mean is wrong by {wrong:g}")


@dataclass
class Truth:
    """Streamlines: their lengths, positions (RASMM), and the data by name, e.g. ``dps/weight``."""

    lengths: list[np.ndarray] = field(default_factory=list)
    positions: Rows = field(default_factory=Rows)
    data: dict[str, Rows] = field(default_factory=dict)

    def add(self, lengths: np.ndarray, positions: np.ndarray, data: dict[str, np.ndarray]) -> None:
        self.lengths.append(lengths.astype(np.uint32))
        self.positions.add(positions)
        for name, values in data.items():
            self.data.setdefault(name, Rows()).add(values)

    def check(self, path: Path, data: Sequence[str] = (), space: Space | None = None) -> None:
        """Raise if a file holds other streamlines, or lacks some data; data beyond these are compared, too.

        Parameters
        ----------
        path : Path
        data : sequence of str
            What it must have besides streamlines, e.g. ``dps/weight``.
        space : (ndarray of shape (4, 4), tuple of int), optional
            VOXEL_TO_RASMM and DIMENSIONS that a TRX or TRK must tell; a TCK has none.

        Raises
        ------
        BenchmarkError
            Saying what is wrong.
        """
        lengths, positions, found = read_file(path)
        if space is not None:
            check_space(path, space)
        if not np.array_equal(lengths, np.concatenate([np.zeros(0, np.uint32), *self.lengths])):
            raise BenchmarkError(
                f"wrong: {path.name}: {len(lengths)} streamlines, whose lengths are others than those given"
            )
        self.positions.check(positions, f"{path.name}: positions")
        for name in dict.fromkeys([*data, *found]):
            if name not in found:
                raise BenchmarkError(f"wrong: {path.name} has no {name}")
            if name in self.data:
                self.data[name].check(found[name], f"{path.name}: {name}")

    def save(self, path: Path) -> None:
        arrays = {"lengths": np.concatenate([np.zeros(0, np.uint32), *self.lengths])}
        for name, rows in {"positions": self.positions, **self.data}.items():
            arrays |= {f"{name}:count": np.array(rows.count), f"{name}:total": rows.total}
            arrays[f"{name}:places"] = np.concatenate([np.zeros(0, np.int64), *rows.places])
            arrays[f"{name}:samples"] = np.concatenate([np.zeros((0, len(rows.total))), *rows.samples])
        np.savez(path, **arrays)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Truth:
        """Return that of some files, one behind the other, with the data that all of them have."""
        truth = cls()
        for number, path in enumerate(paths):
            with np.load(path) as arrays:
                truth.lengths.append(arrays["lengths"])
                names = [name[:-6] for name in arrays if name.endswith(":count")]
                for name in names:
                    parts = [arrays[f"{name}:{part}"] for part in ("count", "total", "places", "samples")]
                    rows = Rows(int(parts[0]), parts[1], [parts[2]], [parts[3]])
                    if name == "positions":
                        truth.positions.append(rows)
                    elif number == 0 or name in truth.data:
                        truth.data.setdefault(name, Rows()).append(rows)
                truth.data = {name: rows for name, rows in truth.data.items() if name in names}
        return truth


# What a file holds

#: VOXEL_TO_RASMM of shape (4, 4), and DIMENSIONS.
Space = tuple[np.ndarray, tuple[int, ...]]


def check_space(path: Path, wanted: Space) -> None:
    """Raise BenchmarkError if a TRX or TRK tells another space."""
    if path.suffix == ".tck":
        return
    if path.suffix == ".trx":
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("header.json"))
        affine, dimensions = np.array(header["VOXEL_TO_RASMM"]), tuple(header["DIMENSIONS"])
    else:
        head = _head(path, 1000)
        affine = np.frombuffer(head, "<f4", 16, 440).reshape(4, 4)
        dimensions = tuple(np.frombuffer(head, "<i2", 3, 6).tolist())
    if dimensions != wanted[1]:
        raise BenchmarkError(f"wrong: {path.name} tells a grid of {dimensions}, it is {wanted[1]}")
    if affine.shape != (4, 4) or not np.allclose(affine, wanted[0], atol=1e-3):
        raise BenchmarkError(f"wrong: {path.name} tells another affine, {np.round(affine, 2).tolist()}")


_Read = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]


def read_file(path: Path) -> _Read:
    """Return lengths, positions (RASMM) and data; a TCK has its data in a text beside it, ``<stem>_weight.txt``.

    Raises
    ------
    BenchmarkError
        If it is no TRX, TRK or TCK of streamlines.
    """
    try:
        return {".trx": _read_trx, ".trk": _read_trk, ".tck": _read_tck}[path.suffix](path)
    except (ValueError, KeyError, OSError, IndexError, StopIteration, zipfile.BadZipFile) as error:
        raise BenchmarkError(f"wrong: {path.name} cannot be read: {type(error).__name__} {error}") from None


def _read_trx(path: Path) -> _Read:
    arrays = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        header = json.loads(archive.read("header.json"))
        for info in archive.infolist():
            if info.filename == "header.json" or info.is_dir() or info.filename.startswith(("groups/", "dpg/")):
                continue
            name, *_, kind = info.filename.rsplit(".", 2) if info.filename.count(".") > 1 else info.filename.split(".")
            file.seek(info.header_offset + 26)
            start = info.header_offset + 30 + int(np.frombuffer(file.read(4), "<u2").sum())
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{info.filename} is compressed")
            dtype = np.dtype(kind).newbyteorder("<")
            count = info.file_size // dtype.itemsize
            arrays[name] = np.memmap(path, dtype, "r", start, (count,)) if count else np.zeros(0, dtype)
    offsets = np.asarray(arrays.pop("offsets"), dtype=np.int64)
    if len(offsets) == header["NB_STREAMLINES"]:
        offsets = np.append(offsets, header["NB_VERTICES"])
    return np.diff(offsets), arrays.pop("positions").reshape(-1, 3), arrays


def _read_trk(path: Path) -> _Read:
    head = _head(path, 1000)
    scalars, properties = (int(np.frombuffer(head, "<i2", 1, at)[0]) for at in (36, 238))
    words = np.memmap(path, "<i4", "r", 1000)
    view, width, lengths, at = words.data, 3 + scalars, [], 0
    while at < len(view):
        lengths.append(view[at])
        at += 1 + view[at] * width + properties
    if at != len(view) or len(lengths) != np.frombuffer(head, "<i4", 1, 988)[0]:
        raise ValueError(f"{len(lengths)} records")
    counts = np.array(lengths, dtype=np.int64)
    sizes = 1 + counts * width + properties
    starts = np.cumsum(sizes) - sizes
    kept = np.ones(len(words), dtype=bool)
    kept[starts] = False
    data = {}
    if properties:
        last = (starts + sizes)[:, None] - np.arange(properties, 0, -1)
        kept[last] = False
        data["dps/" + _name(head, 240)] = words[last].view("<f4")
    rows = words[kept].view("<f4").reshape(-1, width)
    if scalars:
        data["dpv/" + _name(head, 38)] = rows[:, 3:]
    affine = np.frombuffer(head, "<f4", 16, 440).reshape(4, 4).astype(np.float64)
    voxels = rows[:, :3] / np.frombuffer(head, "<f4", 3, 12) - np.float32(0.5)
    return counts, voxels @ affine[:3, :3].T.astype("f4") + affine[:3, 3].astype("f4"), data


def _head(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _name(head: bytes, at: int) -> str:
    return head[at : at + 20].split(b"\0")[0].decode()


def _read_tck(path: Path) -> _Read:
    lines = _head(path, 4000).split(b"\nEND\n")[0].decode().split("\n")
    start = next(int(line.split()[-1]) for line in lines if line.startswith("file:"))
    rows = np.memmap(path, "<f4", "r", start).reshape(-1, 3)
    if not np.isinf(rows[-1]).all():
        raise ValueError("no end marker")
    odd = np.isnan(rows[:-1, 0])
    beside = path.with_name(f"{path.stem}_weight.txt")
    data = {"dps/weight": np.loadtxt(beside, dtype=np.float32)} if beside.is_file() else {}
    return np.diff(np.flatnonzero(odd), prepend=-1) - 1, rows[:-1][~odd], data
