"""Tractograms to measure with: seeded, written by numpy alone, the same streamlines in every format.

Nothing of trxlib is used, so that a mistake of a writer cannot hide one of a reader. Streamlines are smooth random
walks of about 80 vertices, 0.75 mm apart, generated and written a chunk at a time.
"""

from __future__ import annotations

import functools
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.truth import Truth

SIZES = {"XS": 1_000, "S": 100_000, "M": 1_000_000, "L": 10_000_000}
#: Streamlines in each file of a set, as parts of the size: 10 files of 128 MB and 100 of 13 MB for size M.
SETS = {"merge10": (10, 0.133), "folders10": (10, 0.133), "merge100": (100, 0.0133)}
#: What each file of a set is written as; the same name without a suffix is a TRX as a folder.
KINDS = {
    "merge10": ("trx", "tck"),
    "folders10": ("",),
    "merge100": ("trx",),
    "tiny": ("trk",),
    "pair": ("trk", "trx"),
    "groups4000": ("trx",),
}
SCALE_PARTS = (0.01, 0.03, 0.1, 0.3)
TINY_FILES, TINY_STREAMLINES = 200, 14  # 13 kB each
#: Of the file with many small groups, whatever the size: groups, and streamlines in each.
SMALL_GROUPS, GROUP_STREAMLINES = 4000, 10
BUNDLES = ("AF_L", "CC", "CST_R")
STEP = 0.75  # mm between vertices
DIMENSIONS = (160, 160, 160)
_CHUNK = 20_000
_AXIS_ALIGNED = np.array([[2, 0, 0, -160], [0, 2, 0, -160], [0, 0, 2, -160], [0, 0, 0, 1]], dtype=np.float64)


def _rotated() -> np.ndarray:
    """The same grid turned by 11 degrees about two axes, as that of an oblique scan."""
    cos, sin = np.cos(0.2), np.sin(0.2)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    affine = np.eye(4)
    affine[:3, :3] = 2 * turn
    affine[:3, 3] = -2 * turn @ [80, 80, 80]
    return affine


AFFINES = {"axis-aligned": _AXIS_ALIGNED, "rotated": _rotated()}


def affine_of(name: str) -> np.ndarray:
    """Return VOXEL_TO_RASMM of the file of a name, of shape (4, 4)."""
    return AFFINES["rotated" if name == "rotated.trk" else "axis-aligned"]


@dataclass
class Block:
    """Some streamlines: lengths (n,), positions (v, 3) float32 RASMM, fa (v,), weight (n,), and for groups (n,): draw
    at random and place in the whole, both from 0 to 1."""

    lengths: np.ndarray
    positions: np.ndarray
    fa: np.ndarray
    weight: np.ndarray
    draw: np.ndarray
    place: np.ndarray


#: Who is in a group: a part drawn at random, or ten runs, as in a merge of ten subjects with two bundles each.
GROUPS: dict[str, Callable[[Block], np.ndarray]] = {
    "part01": lambda block: block.draw < 0.01,
    "part10": lambda block: block.draw < 0.10,
    "part50": lambda block: block.draw < 0.50,
    "runs50": lambda block: block.place * 20 % 2 < 1,
}


def walk(nb_streamlines: int, seed: int) -> Iterator[Block]:
    """Yield random streamlines a chunk at a time; they stay within the grid."""
    rng = np.random.default_rng(seed)
    for start in range(0, nb_streamlines, _CHUNK):
        stop = min(start + _CHUNK, nb_streamlines)
        yield _block(rng, np.arange(start, stop) / nb_streamlines)


def _block(rng: np.random.Generator, place: np.ndarray) -> Block:
    n = len(place)
    lengths = np.clip(rng.normal(80, 20, n), 10, 160).astype(np.int64)
    ends = np.cumsum(lengths)
    total = int(ends[-1])
    where = np.repeat(np.arange(n), lengths)
    step = (np.arange(total) - np.repeat(ends - lengths, lengths)).astype(np.float32)[:, None] * np.float32(STEP)
    direction = rng.standard_normal((n, 3), dtype=np.float32)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    bend = rng.standard_normal((n, 3), dtype=np.float32) * np.float32(0.004)
    seed = rng.random((n, 3), dtype=np.float32) * np.float32(60) - np.float32(30)
    positions = seed[where] + step * (direction[where] + step * bend[where] / 2)
    positions += rng.standard_normal((total, 3), dtype=np.float32) * np.float32(0.05)
    np.clip(positions, -100, 100, out=positions)
    return Block(
        lengths,
        positions,
        rng.random(total, dtype=np.float32),
        rng.random(n, dtype=np.float32),
        rng.random(n, dtype=np.float32),
        place,
    )


# Writers: add(block) as often as needed, then close()


class TrkWriter:
    """TRK version 2, voxel order RAS, with or without the scalar ``fa`` and the property ``weight``."""

    def __init__(self, path: Path, affine: np.ndarray, *, with_data: bool = False) -> None:
        self.path, self.affine, self.with_data = path, affine, with_data
        self.count = 0
        self.file = path.open("wb")
        self.file.write(bytes(1000))
        # TRK counts from the corner of the first voxel, in mm along the voxel's axes.
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        self.to_voxmm = np.diag([*sizes, 1]) @ (np.linalg.inv(affine) + np.array([[0, 0, 0, 0.5]] * 3 + [[0] * 4]))
        self.sizes = sizes

    def add(self, block: Block) -> None:
        rows = block.positions @ self.to_voxmm[:3, :3].T.astype("f4") + self.to_voxmm[:3, 3].astype("f4")
        if self.with_data:
            rows = np.column_stack([rows, block.fa])
        n, width, extra = len(block.lengths), rows.shape[1], int(self.with_data)
        sizes = 1 + block.lengths * width + extra
        starts = np.cumsum(sizes) - sizes
        words = np.empty(int(sizes.sum()), dtype="<f4")
        is_row = np.ones(len(words), dtype=bool)
        is_row[starts] = False
        words.view("<i4")[starts] = block.lengths
        if extra:
            last = starts + sizes - 1
            is_row[last] = False
            words[last] = block.weight
        words[is_row] = rows.reshape(-1)
        self.file.write(words.data)
        self.count += n

    def close(self) -> None:
        header = np.zeros((), dtype=[("b", "V1000")])
        data = bytearray(header.tobytes())

        def put(at: int, values: object, dtype: str) -> None:
            raw = np.asarray(values).astype(dtype).tobytes()
            data[at : at + len(raw)] = raw

        data[0:5] = b"TRACK"
        put(6, DIMENSIONS, "<i2")
        put(12, self.sizes, "<f4")
        put(36, self.with_data, "<i2")
        put(238, self.with_data, "<i2")
        if self.with_data:
            data[38:40], data[240:246] = b"fa", b"weight"
        put(440, self.affine, "<f4")
        data[948:951] = b"RAS"
        put(988, [self.count, 2, 1000], "<i4")
        self.file.seek(0)
        self.file.write(data)
        self.file.close()


class TckWriter:
    """TCK, Float32LE."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.file = path.open("wb")
        self.file.write(bytes(128))

    def add(self, block: Block) -> None:
        ends = np.cumsum(block.lengths + 1) - 1
        rows = np.empty((len(block.positions) + len(ends), 3), dtype="<f4")
        is_row = np.ones(len(rows), dtype=bool)
        is_row[ends] = False
        rows[is_row] = block.positions
        rows[ends] = np.nan
        self.file.write(rows.data)
        self.count += len(ends)

    def close(self) -> None:
        self.file.write(np.full(3, np.inf, dtype="<f4").data)
        self.file.seek(0)
        head = f"mrtrix tracks\ndatatype: Float32LE\ncount: {self.count}\nfile: . 128\nEND\n"
        self.file.write(head.encode())
        self.file.close()


class TrxWriter:
    """TRX as today's programs write it: arrays in a folder, then, if there is a suffix, a stored zip by zipfile."""

    def __init__(
        self,
        path: Path,
        affine: np.ndarray,
        groups: Iterable[str] = (),
        *,
        with_data: bool = True,
        nb_small_groups: int = 0,
    ) -> None:
        self.path, self.affine, self.with_data, self.nb_small_groups = path, affine, with_data, nb_small_groups
        self.folder = path.with_suffix(".parts") if path.suffix else path
        shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was interrupted
        self.folder.mkdir(parents=True)
        self.positions = (self.folder / "positions.3.float32").open("wb")
        self.lengths: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []
        self.masks: dict[str, list[np.ndarray]] = {name: [] for name in groups}

    def add(self, block: Block) -> None:
        self.positions.write(block.positions.data)
        self.lengths.append(block.lengths)
        self.weights.append(block.weight)
        for name, masks in self.masks.items():
            masks.append(GROUPS[name](block))

    def close(self) -> None:
        self.positions.close()
        ends = np.cumsum(np.concatenate(self.lengths))
        kind = "uint32" if ends[-1] < 1 << 32 else "uint64"
        np.concatenate([[0], ends]).astype(kind).tofile(self.folder / f"offsets.{kind}")
        if self.with_data:
            (self.folder / "dps").mkdir()
            np.concatenate(self.weights).tofile(self.folder / "dps" / "weight.float32")
        for name, masks in self.masks.items():
            (self.folder / "groups").mkdir(exist_ok=True)
            np.flatnonzero(np.concatenate(masks)).astype("<u4").tofile(self.folder / "groups" / f"{name}.uint32")
        if self.nb_small_groups:
            (self.folder / "groups").mkdir(exist_ok=True)
            parts = np.array_split(np.arange(len(ends), dtype="<u4"), self.nb_small_groups)
            for number, part in enumerate(parts):
                part.tofile(self.folder / "groups" / f"small{number:04d}.uint32")
        content = {
            "DIMENSIONS": DIMENSIONS,
            "VOXEL_TO_RASMM": self.affine.tolist(),
            "NB_VERTICES": int(ends[-1]),
            "NB_STREAMLINES": len(ends),
        }
        (self.folder / "header.json").write_text(json.dumps(content))
        if self.folder == self.path:
            return
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(path for path in self.folder.rglob("*") if path.is_file()):
                archive.write(file, file.relative_to(self.folder))
        shutil.rmtree(self.folder)


def write_reference(path: Path) -> None:
    """Write a NIfTI image of the grid; the voxels are a hole in the file."""
    header = np.zeros(352, dtype=np.uint8)

    def put(at: int, values: object, dtype: str) -> None:
        raw = np.frombuffer(np.asarray(values).astype(dtype).tobytes(), dtype=np.uint8)
        header[at : at + len(raw)] = raw

    put(0, 348, "<i4")
    put(40, [3, *DIMENSIONS, 1, 1, 1, 1], "<i2")
    put(70, [2, 8], "<i2")  # uint8
    put(76, [1, 2, 2, 2, 0, 0, 0, 0], "<f4")
    put(108, 352, "<f4")
    put(254, 1, "<i2")  # sform: scanner
    put(280, _AXIS_ALIGNED[:3], "<f4")
    put(344, [ord(char) for char in "n+1\0"], "u1")
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.truncate(352 + int(np.prod(DIMENSIONS)))


# Whole sets

#: Changes with the content of the files: those of another version are made anew.
VERSION = 4
_CATALOGUE = "catalogue.json"


class DataError(Exception):
    """The data cannot be made, or are others than those asked for."""


def make_data(folder: Path, size: str, needs: set[str], free: int | None = None) -> dict[str, dict[str, Any]]:
    """Write what is needed and not there yet; return path -> counts of every file.

    `needs` are the names of single files (``whole.trk``), or of sets: merge10, folders10, merge100, groups4000, tiny,
    pair, scale; `free` are the bytes that may be used, by default what the disk has.

    Raises
    ------
    DataError
        If the folder has data of another size, or other files, or the disk has no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _CATALOGUE
    mark = {"size": size, "version": VERSION}
    catalogue: dict[str, dict[str, Any]] = {}
    if path.is_file():
        content = json.loads(path.read_text())
        if content.get("data") != mark:
            raise DataError(f"{folder} has data of {content.get('data')}, expected {mark}; choose another folder")
        catalogue = content["files"]
    elif any(folder.iterdir()):
        raise DataError(f"{folder} has other files; choose an empty folder for the data")
    missing = needs - {entry["set"] for entry in catalogue.values()}
    needed = nbytes_of(missing, size) + nbytes_of_results(missing, size)
    free = shutil.disk_usage(folder).free if free is None else free
    if needed > free:
        raise DataError(
            f"{folder}: the data take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; name another disk"
        )
    path.write_text(json.dumps({"data": mark, "files": catalogue}))
    singles = sorted(missing & set(_WRITERS))
    makers = [functools.partial(_make_whole, folder, SIZES[size], singles)] if singles else []
    makers += [functools.partial(_make_set, folder, SIZES[size], need) for need in sorted(missing - set(_WRITERS))]
    for make in makers:
        catalogue |= make()
        path.write_text(json.dumps({"data": mark, "files": catalogue}, indent=1))
    write_reference(folder / "reference.nii")
    return catalogue


def remove_data(folder: Path, need: str) -> None:
    """Remove a file or set, which no case needs any more; what it held stays known to nobody."""
    path = folder / _CATALOGUE
    content = json.loads(path.read_text())
    gone = {name: entry for name, entry in content["files"].items() if entry["set"] == need}
    content["files"] = {name: entry for name, entry in content["files"].items() if name not in gone}
    path.write_text(json.dumps(content, indent=1))
    for name in gone:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


#: Bytes per streamline of about 80 vertices, all arrays and groups of a TRX included, rounded up.
_NBYTES = {"data.trk": 1300, "merge10": 2000, "pair": 2000}


def nbytes_of(needs: Iterable[str], size: str) -> int:
    """Return what files and sets take on disk at most."""
    total = 0
    for need in needs:
        if need == "groups4000":
            total += 100_000_000
            continue
        number, part = SETS.get(need, (1, {"tiny": 0.01, "pair": 0.01, "scale": sum(SCALE_PARTS)}.get(need, 1)))
        total += int(SIZES[size] * number * part * _NBYTES.get(need, 1000)) + 5_000_000
    return total


def nbytes_of_results(needs: Iterable[str], size: str) -> int:
    """Return what the largest output of a case takes, with a peer's temporary files."""
    return max((3 * nbytes_of([need], size) for need in needs), default=0)


def _add_truth(truth: Truth, group: str, block: Block) -> None:
    """Add what a group of some streamlines holds; no name: all of them."""
    if not group:
        truth.add(block.lengths, block.positions, {"dpv/fa": block.fa, "dps/weight": block.weight})
        return
    chosen = GROUPS[group](block)
    rows = np.repeat(chosen, block.lengths)
    data = {"dpv/fa": block.fa[rows], "dps/weight": block.weight[chosen]}
    truth.add(block.lengths[chosen], block.positions[rows], data)


def _write(
    stem: str, folder: Path, writers: dict[str, Any], nb_streamlines: int, seed: int, sets: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Write the same streamlines to some files, and what they are to ``truth/<stem>``; one for each group, too."""
    groups = GROUPS if stem == "whole" else {}  # those of the other files are not looked at
    truth = {name: Truth() for name in ("", *groups)}
    adds = [writer.add for writer in writers.values()]
    adds += [functools.partial(_add_truth, part, name) for name, part in truth.items()]
    with ThreadPoolExecutor() as pool:  # each writer has a file of its own, and numpy lets other threads run
        for block in walk(nb_streamlines, seed):
            for added in [pool.submit(add, block) for add in adds]:
                added.result()
    for writer in writers.values():
        writer.close()
    places = {name: f"truth/{stem}{name and '_' + name}.npz" for name in truth}
    for name, place in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        truth[name].save(folder / place)
    whole = truth.pop("")
    entry = {
        "nb_streamlines": nb_streamlines,
        "nb_vertices": whole.positions.count,
        "members": {name: sum(map(len, part.lengths)) for name, part in truth.items()},
        "inside": {name: part.positions.count for name, part in truth.items()},
        "truth": places,
    }
    return {name: {"set": sets[name], **entry} for name in writers}


_WRITERS: dict[str, Callable[[Path], Any]] = {
    "whole.trk": lambda path: TrkWriter(path, AFFINES["axis-aligned"]),
    "rotated.trk": lambda path: TrkWriter(path, AFFINES["rotated"]),
    "data.trk": lambda path: TrkWriter(path, AFFINES["axis-aligned"], with_data=True),
    "whole.tck": TckWriter,
    "whole.trx": lambda path: TrxWriter(path, AFFINES["axis-aligned"], GROUPS),
    "plain.trx": lambda path: TrxWriter(path, AFFINES["axis-aligned"], with_data=False),
}


def _make_whole(folder: Path, size: int, names: list[str]) -> dict[str, dict[str, Any]]:
    writers = {name: _WRITERS[name](folder / name) for name in names}
    return _write("whole", folder, writers, size, 1, {name: name for name in names})


def _make_set(folder: Path, size: int, need: str) -> dict[str, dict[str, Any]]:
    (folder / need).mkdir(exist_ok=True)
    aligned = AFFINES["axis-aligned"]
    catalogue = {}
    for stem, kinds, count, seed in _files_of(need, size):
        writers: dict[str, Any] = {}
        for kind in kinds:
            name = f"{stem}.{kind}" if kind else stem
            path = folder / name
            writers[name] = (
                TckWriter(path)
                if kind == "tck"
                else TrkWriter(path, aligned)
                if kind == "trk"
                else TrxWriter(path, aligned, nb_small_groups=SMALL_GROUPS)
                if need == "groups4000"
                else TrxWriter(path, aligned, GROUPS)
            )
        catalogue |= _write(stem, folder, writers, count, seed, dict.fromkeys(writers, need))
    return catalogue


def _files_of(need: str, size: int) -> Iterator[tuple[str, tuple[str, ...], int, int]]:
    """Yield stem, formats, streamlines and seed of each file of a set."""
    if need in ("tiny", "pair"):
        for index in range(TINY_FILES if need == "tiny" else 2):
            yield f"{need}/sub-{index + 1:03d}", KINDS[need], TINY_STREAMLINES, 1000 + index
    elif need == "groups4000":
        yield "groups4000/whole", KINDS[need], SMALL_GROUPS * GROUP_STREAMLINES, 99
    elif need == "scale":
        for part in SCALE_PARTS:
            yield f"scale/{part:g}", ("trk",), max(10, int(size * part)), int(part * 1e6)
    else:
        number, part = SETS[need]
        for index in range(number):
            yield f"{need}/sub-{index + 1:03d}", KINDS[need], max(10, int(size * part)), 100 + index
