"""What is fuzzed: good files, how a damaged one is put on the disk, and how it is read."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import trxlib
from tests.formats.made import open_source, read_all
from tests.fuzz import seeds
from tests.fuzz.mutate import mutate
from tests.helpers import write_entries, write_entries_folder
from trxlib.cohort.sheet import find_mistakes
from trxlib.commands.findings import find_odd
from trxlib.container.outline import read_header
from trxlib.formats.reference import space_from
from trxlib.spaces.transforms import read_transforms

_SCHEMA = Path(__file__).parents[2] / "workflow" / "schemas" / "samples.schema.yaml"
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """A kind of file and its readers.

    Parameters
    ----------
    seeds : callable
        Returns good files by name.
    readers : tuple of callable
        Each reads a path; what they raise is judged one by one.
    text : float
        Share of changes made to words and lines.
    put : callable
        Writes damaged bytes of a name into a folder and returns the path that is read.
    packed : bool
        Whether the file is compressed behind the damage.
    """

    seeds: Callable[[], seeds.Files]
    readers: tuple[Read, ...]
    text: float = 0.1
    put: Callable[[Path, str, bytes, random.Random], Path] | None = None

    def make(self, folder: Path, rng: random.Random, files: seeds.Files) -> Path:
        """Write a damaged file into an empty folder; the generator decides which and how."""
        name = rng.choice(sorted(files))
        data = mutate(files[name], rng, list(files.values()), text=self.text)
        if self.put is not None:
            return self.put(folder, name, data, rng)
        path = folder / name
        path.write_bytes(data)
        return path


def read_tractogram(path: Path) -> None:
    """Read all streamlines and values, and their counts."""
    read_all(open_source(path, reference=None if path.suffix in (".trx", ".trk") else seeds.SPACE))


def read_what_fits(path: Path) -> None:
    """Read with every rule that leaves something out; what stays has to be what was counted."""
    drop: dict[str, Any] = {"nonfinite": "drop", "out_of_volume": "drop", "drop_empty": True}
    reference = None if path.suffix in (".trx", ".trk") else seeds.SPACE
    found = read_all(open_source(path, reference=reference, accept_count_mismatch=True, **drop))
    assert np.isfinite(found["positions"]).all()
    assert (found["lengths"] > 0).all()


def read_trx(path: Path) -> None:
    """Load a TRX and look at every array."""
    trx = trxlib.load(path)
    try:
        assert len(trx.streamlines) == len(trx)
        for table in (trx.data_per_streamline, trx.data_per_vertex, trx.groups, trx.data_per_group):
            assert all(values is not None for values in table.values())
        for streamline in trx.streamlines:
            assert streamline.shape[1:] == (3,)
    finally:
        trx.close()


def as_values(section: str) -> Read:
    """Return a reader of a file beside a tractogram."""

    def read(path: Path) -> None:
        tck = path.with_name("sub.tck")
        tck.write_bytes(seeds.tck()["a.tck"])
        source = open_source(tck, reference=seeds.SPACE, **{section: {"key": path}})
        assert len(read_all(source)[section]["key"]) == (4 if section == "dps" else 10)

    return read


def read_reference(path: Path) -> None:
    """Read a space, which has to be whole."""
    space = space_from(path)
    assert np.isfinite(space.voxel_to_rasmm).all()
    assert np.isfinite(space.rasmm_to_voxel).all()
    assert all(size >= 0 for size in space.dimensions)


def read_transform(path: Path) -> None:
    """Read a transform and move points: none becomes NaN without being told."""
    more: dict[str, Any] = {}
    spec: Any = path
    if path.name in ("ras.txt", "fsl.mat"):
        spec = {"path": path, "format": path.stem}
        if path.name == "fsl.mat":
            more = {"reference": seeds.SPACE, "source": seeds.SPACE}
    points = np.random.default_rng(0).uniform(-5, 5, (20, 3))
    moved, outside = read_transforms(spec, **more).apply(points)
    lost = np.isnan(moved).any(axis=1)
    assert not lost.any() if outside is None else np.array_equal(lost, outside)


def read_sheet(path: Path) -> None:
    """Read a sample sheet: each mistake is one of this file."""
    schema = yaml.safe_load(_SCHEMA.read_text())
    _, mistakes = find_mistakes(path, schema, ())
    for mistake in mistakes:
        assert path.name in mistake.text, mistake.text


def find_trx_problems(path: Path) -> None:
    """List what is wrong; each has a text."""
    assert all(str(problem) for problem in trxlib.find_problems(path))


def header_seed() -> seeds.Files:
    """The header alone."""
    return {"header.json": seeds.entries()["header.json"]}


def archive_seed(method: int) -> Callable[[], seeds.Files]:
    """Return a function that makes a whole archive."""
    return lambda: seeds.made("a.trx", lambda path: write_entries(seeds.entries(), path, method))


def put_folder(folder: Path, name: str, data: bytes, rng: random.Random) -> Path:
    """Write a TRX folder with one file damaged, and sometimes another name for it."""
    return write_entries_folder(_with_one(name, data, rng), folder / "a_folder.trx")


def put_archive(folder: Path, name: str, data: bytes, rng: random.Random) -> Path:
    """Write a good archive with one damaged entry, and sometimes another name for it."""
    return write_entries(_with_one(name, data, rng), folder / "a.trx", rng.choice((0, 0, 8, 12, 14)))


def _with_one(name: str, data: bytes, rng: random.Random) -> seeds.Files:
    """Return all entries, one with other bytes or, sometimes, under another name."""
    entries = seeds.entries()
    if rng.random() < 0.3:
        data = entries.pop(name)
        damaged = mutate(name.encode(), rng, [other.encode() for other in entries], text=0.7)
        parts = [part for part in damaged.decode("latin1").replace("\0", "").split("/") if part not in ("", ".", "..")]
        name = "/".join(part[:60] for part in parts) or "x"
        if any(other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in entries):
            name = "x"
    entries[name] = data
    return entries


def put_gzip(folder: Path, name: str, data: bytes, rng: random.Random) -> Path:
    """Compress what was damaged."""
    import gzip

    path = folder / f"{name}.gz"
    path.write_bytes(gzip.compress(data, 1, mtime=0))
    return path


TRX: tuple[Read, ...] = (
    read_tractogram,
    read_what_fits,
    read_trx,
    find_trx_problems,
    trxlib.validate,
    trxlib.describe,
    find_odd,
    read_reference,
)
TRACTOGRAM: tuple[Read, ...] = (read_tractogram, read_what_fits, trxlib.describe, find_odd)


def _gz(files: Callable[[], seeds.Files]) -> Callable[[], seeds.Files]:
    return lambda: seeds.zipped(files())


TARGETS: dict[str, Target] = {
    "trx-stored": Target(archive_seed(0), TRX),
    "trx-deflated": Target(archive_seed(8), TRX),
    "trx-entries": Target(seeds.entries, TRX, put=put_archive),
    "trx-folder": Target(seeds.entries, TRX, put=put_folder),
    "header": Target(header_seed, (*TRX, read_header), 0.9, put=put_folder),
    "trk": Target(seeds.trk, (*TRACTOGRAM, read_reference)),
    "tck": Target(seeds.tck, TRACTOGRAM, 0.5),
    "tinytrack": Target(seeds.tinytrack, TRACTOGRAM),
    "vtk": Target(seeds.legacy_vtk, TRACTOGRAM, 0.6),
    "vtp": Target(seeds.vtp, TRACTOGRAM, 0.6),
    "dpy": Target(seeds.dpy, TRACTOGRAM, 0),
    "gzip": Target(_gz(lambda: seeds.trk() | seeds.tck() | seeds.tinytrack()), TRACTOGRAM, 0),
    "gzip-inside": Target(lambda: seeds.trk() | seeds.tck() | seeds.tinytrack(), TRACTOGRAM, put=put_gzip),
    "tsf": Target(seeds.tsf, (as_values("dpv"),), 0.5),
    "npy": Target(seeds.npy, (as_values("dps"),), 0.5),
    "text": Target(seeds.tables, (as_values("dps"),), 0.9),
    "text-gzip": Target(_gz(seeds.tables), (as_values("dps"),), 0),
    "json": Target(seeds.json_values, (as_values("dps"),), 0.9),
    "reference": Target(seeds.references, (read_reference,), 0.4),
    "transform": Target(seeds.transforms, (read_transform,), 0.4),
    "sheet": Target(seeds.sheets, (read_sheet,), 0.8),
}
