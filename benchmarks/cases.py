"""The cases: for each, the physical limit, trxlib, and the programs that people use, all as whole processes."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import BUNDLES, SCALE_PARTS
from benchmarks.measure import BenchmarkError, Entry

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """What is measured side by side.

    Parameters
    ----------
    key, title : str
        For the command line and for the table.
    needs : str
        The set of data files.
    make : callable
        Takes a Context and returns entries; the first is the limit.
    target : float, optional
        What trxlib may take, as a multiple of the limit.
    minutes : bool
        Whether it takes minutes, and is given ten times as long.
    anonymous_mb : int
        Anonymous memory (10^6 bytes) that it may have beyond the interpreter with numpy and 24 bytes per
        streamline; 0 for any.
    """

    key: str
    title: str
    needs: str
    make: Callable[[Context], list[Entry]]
    target: float | None = None
    minutes: bool = False
    anonymous_mb: int = 0


@dataclass(frozen=True)
class Context:
    """Where the data are, and what is in them."""

    folder: Path
    catalogue: dict[str, dict[str, Any]]

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def files(self, need: str, suffix: str) -> list[str]:
        """Return all files of a set, sorted."""
        names = [name for name, entry in self.catalogue.items() if entry["set"] == need and name.endswith(suffix)]
        return [self.path(name) for name in sorted(names)]

    def counts(self, names: Iterable[str]) -> tuple[int, int]:
        """Return streamlines and vertices of some files together."""
        found = [self.catalogue[str(Path(name).relative_to(self.folder))] for name in names]
        return sum(item["nb_streamlines"] for item in found), sum(item["nb_vertices"] for item in found)

    def group(self, name: str) -> tuple[int, int]:
        """Return streamlines and vertices of a group of the whole file."""
        entry = self.catalogue["whole.trx"]
        return entry["members"][name], entry["inside"][name]

    @property
    def reference(self) -> str:
        return self.path("reference.nii")


# Checks of results, by other means than the library that is measured


def counts_of(path: Path) -> tuple[int, int | None]:
    """Return streamlines and vertices of a file, from its header."""
    if path.suffix == ".trx":
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read("header.json"))
            positions = next(info for info in archive.infolist() if info.filename.startswith("positions.3.float32"))
        if positions.file_size != 12 * content["NB_VERTICES"]:
            raise BenchmarkError(f"{path.name}: positions have {positions.file_size} bytes")
        return content["NB_STREAMLINES"], content["NB_VERTICES"]
    with path.open("rb") as file:
        head = file.read(4000)
    if path.suffix == ".trk":
        return int(np.frombuffer(head, "<i4", 1, 988)[0]), None
    line = next(line for line in head.split(b"\n") if line.startswith(b"count:"))
    return int(line.split()[1]), None


def expect_file(name: str, counts: tuple[int, int]) -> Callable[[Path, str], None]:
    """Return a check that a file is there with so many streamlines (and vertices, where its header has them)."""

    def check(folder: Path, _: str) -> None:
        path = folder / name
        if not path.is_file():
            raise BenchmarkError(f"{name} was not written")
        streamlines, vertices = counts_of(path)
        if streamlines != counts[0] or vertices not in (None, counts[1]):
            raise BenchmarkError(f"{name} has {streamlines} streamlines, {vertices} vertices, expected {counts}")

    return check


def expect_size(name: str, nbytes: int) -> Callable[[Path, str], None]:
    def check(folder: Path, _: str) -> None:
        if (folder / name).stat().st_size != nbytes:
            raise BenchmarkError(f"{name} has {(folder / name).stat().st_size} bytes, expected {nbytes}")

    return check


def expect_printed(counts: tuple[int, int]) -> Callable[[Path, str], None]:
    """Return a check of the counts that a process printed."""

    def check(_: Path, output: str) -> None:
        found = json.loads(output or "{}")
        found = found[0] if isinstance(found, list) else found
        if (found.get("nb_streamlines"), found.get("nb_vertices")) != counts:
            raise BenchmarkError(f"printed {output.strip()[:100]!r}, expected {counts}")

    return check


# Entries


def work(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.work", *arguments]


@functools.cache
def has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def peers(*candidates: tuple[str, str, list[str], Callable[[Path, str], None] | None]) -> list[Entry]:
    """Return an entry for each peer that is there: (name, module or program, command, check)."""
    found = []
    for name, what, command, check in candidates:
        there = has_module(what[7:]) if what.startswith("module:") else shutil.which(what)
        if there:
            found.append(Entry(name, command, check, peer=True))
    return found


def cp(path: str) -> Entry:
    return Entry("cp", ["cp", path, "{out}/copy"], expect_size("copy", Path(path).stat().st_size), limit=True)


def cat(paths: list[str]) -> Entry:
    total = sum(Path(path).stat().st_size for path in paths)
    command = ["sh", "-c", 'cat "$@" > "$0"', "{out}/copy", *paths]
    return Entry("cat", command, expect_size("copy", total), limit=True)


def to_trx(name: str, *, all_peers: bool = True) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        path, out = context.path(name), "{out}/out.trx"
        # A TRK has its own space.
        reference = context.reference if name.endswith(".tck") else ""
        counts = context.counts([path])
        good = expect_file("out.trx", counts)
        read = ("nibabel, read alone", "module:nibabel", work("nibabel-load", path), expect_printed(counts))
        others = [
            ("trx-python", "module:trx", work("trx-python-convert", path, out, context.reference), good),
            ("dipy", "module:dipy", work("dipy-convert", path, out, context.reference), good),
            ("trxrs", "trxrs", ["trxrs", "convert", path, out], good),
            ("trx-cpp", "trx-convert", ["trx-convert", path, out], good),
        ]
        return [
            cp(path),
            Entry("trxlib", work("convert", out, reference, path), good),
            *peers(read, *(others if all_peers else [])),
            *(tckconvert(path) if name.endswith(".tck") else []),
        ]

    return make


def tckconvert(path: str) -> list[Entry]:
    command = ["tckconvert", "-quiet", path, "{out}/out.tck"]
    return peers(("tckconvert, TCK to TCK", "tckconvert", command, None))


def from_trx(name: str, suffix: str) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        path, out = context.path(name), "{out}/out" + suffix
        good = expect_file("out" + suffix, context.counts([path]))
        other = context.path("whole.tck" if suffix == ".trk" else "whole.trk")
        return [
            cp(path),
            Entry("trxlib", work("convert", out, "", path), good),
            *peers(
                ("trx-python", "module:trx", work("trx-python-convert", path, out, context.reference), good),
                ("dipy", "module:dipy", work("dipy-convert", path, out, context.reference), good),
                ("trxrs", "trxrs", ["trxrs", "convert", path, out], good),
            ),
            *(
                peers(("nibabel, TRK to TCK", "module:nibabel", work("nibabel-convert", other, out), good))
                if suffix == ".tck" and name == "plain.trx"
                else []
            ),
        ]

    return make


def many_small(context: Context) -> list[Entry]:
    paths = context.files("tiny", ".trk")
    return [
        cat(paths),
        Entry(
            "trxlib",
            work("convert", "{out}/out.trx", "", *paths),
            expect_file("out.trx", context.counts(paths)),
        ),
    ]


def merge(need: str) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        paths, out = context.files(need, ".trx"), "{out}/out.trx"
        good = expect_file("out.trx", context.counts(paths))
        tcks = context.files(need, ".tck")
        return [
            cat(paths),
            Entry("trxlib", work("merge", out, *paths), good),
            *peers(
                ("trx-python", "module:trx", work("concatenate-save", "trx.trx_file_memmap", out, *paths), good),
                ("trxrs", "trxrs", ["trxrs", "concatenate", *paths, "--output", out], good),
                (
                    "scilpy", "scil_tractogram_math",
                    ["scil_tractogram_math", "concatenate", *paths, out, "--no_metadata"], good,
                ),
            ),
            *(
                peers(("tckedit, TCK to TCK", "tckedit", ["tckedit", "-quiet", *tcks, "{out}/out.tck"], None))
                if tcks
                else []
            ),
        ]  # fmt: skip

    return make


def extract(group: str) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        path, counts = context.path("whole.trx"), context.group(group)
        return [
            _cp_of_output(context, group),
            Entry(
                "trxlib",
                work("extract", path, "{out}/groups", group),
                expect_file(f"groups/{group}.trx", counts),
            ),
            Entry(
                "trxlib, get_group + save",
                work("get-group-save", "trxlib", path, group, "{out}/out.trx"),
                expect_file("out.trx", counts),
            ),
            *peers(
                (
                    "trx-python, get_group + save", "module:trx",
                    work("get-group-save", "trx.trx_file_memmap", path, group, "{out}/out.trx"),
                    expect_file("out.trx", counts),
                ),
            ),
        ]  # fmt: skip

    return make


def _cp_of_output(context: Context, group: str) -> Entry:
    """`cp` of a file as long as the output: that many bytes of the whole file, put aside once."""
    sample = context.folder / f"like_{group}.bin"
    nbytes = 12 * context.group(group)[1] + 8 * context.group(group)[0]
    if not sample.is_file() or sample.stat().st_size != nbytes:
        with Path(context.path("whole.trx")).open("rb") as source, sample.open("wb") as target:
            left = nbytes
            while left > 0:
                left -= target.write(source.read(min(left, 1 << 24)))
    return cp(str(sample))


def api_load(context: Context) -> list[Entry]:
    return _api_load(context, context.path("whole.trx"))


def api_load_small(context: Context) -> list[Entry]:
    return _api_load(context, context.files("merge10", ".trx")[0])


def _api_load(context: Context, path: str) -> list[Entry]:
    good = expect_printed(context.counts([path]))
    return [
        Entry("import numpy", [sys.executable, "-c", "import numpy"], limit=True),
        Entry("trxlib", work("load", "trxlib", path), good),
        *peers(
            ("trx-python", "module:trx", work("load", "trx.trx_file_memmap", path), good),
            ("dipy", "module:dipy", work("dipy-load", path, "same"), good),
        ),
    ]


def api_load_save(context: Context) -> list[Entry]:
    path = context.path("whole.trx")
    good = expect_file("out.trx", context.counts([path]))
    return [
        cp(path),
        Entry("trxlib", work("load-save", "trxlib", path, "{out}/out.trx"), good),
        *peers(("trx-python", "module:trx", work("load-save", "trx.trx_file_memmap", path, "{out}/out.trx"), good)),
    ]


def api_concatenate(context: Context) -> list[Entry]:
    paths, out = context.files("merge10", ".trx"), "{out}/out.trx"
    good = expect_file("out.trx", context.counts(paths))
    return [
        cat(paths),
        Entry("trxlib", work("concatenate-save", "trxlib", out, *paths), good),
        *peers(("trx-python", "module:trx", work("concatenate-save", "trx.trx_file_memmap", out, *paths), good)),
    ]


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from trxlib.cli import main; main()", *arguments]


def info(context: Context) -> list[Entry]:
    path = context.path("whole.trx")
    return [
        Entry("import numpy", [sys.executable, "-c", "import numpy"], limit=True),
        Entry("trxlib", command_line("info", "--json", path), expect_printed(context.counts([path]))),
        *peers(
            ("trx-python", "trx_info", ["trx_info", path], None),
            ("trxrs", "trxrs", ["trxrs", "info", path], None),
            ("trx-cpp", "trxinfo", ["trxinfo", path], None),
        ),
    ]


def validate(context: Context) -> list[Entry]:
    path = context.path("whole.trx")
    return [
        Entry("cat > /dev/null", ["sh", "-c", 'cat "$1" > /dev/null', "_", path], limit=True),
        Entry("trxlib", work("validate", path), expect_printed(context.counts([path]))),
        *peers(("unzip -t", "unzip", ["unzip", "-tqq", path], None)),
    ]


def import_time(_: Context) -> list[Entry]:
    python = [sys.executable, "-c"]
    return [
        Entry("import numpy", [*python, "import numpy"], limit=True),
        Entry("trxlib", [*python, "import trxlib"]),
        Entry("trxlib, first use of load", [*python, "from trxlib import load"], judged=False),
        Entry("trxlib, first use of merge", [*python, "from trxlib import merge"], judged=False),
        *peers(
            ("nibabel.streamlines", "module:nibabel", [*python, "import nibabel.streamlines"], None),
            ("trx-python", "module:trx", [*python, "import trx.trx_file_memmap"], None),
        ),
    ]


# The workflow


def cohort_rows(context: Context, nb_subjects: int, nb_bundles: int) -> list[tuple[str, str, str]]:
    """Return (subject, bundle, path); the tiny files, in turn."""
    paths = context.files("tiny", ".trk")
    pairs = [(subject, bundle) for subject in range(nb_subjects) for bundle in range(nb_bundles)]
    return [
        (f"sub-{subject + 1:03d}", BUNDLES[bundle], paths[number % len(paths)])
        for number, (subject, bundle) in enumerate(pairs)
    ]


def workflow(nb_subjects: int, nb_bundles: int = 3) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        rows = cohort_rows(context, nb_subjects, nb_bundles)
        counts = context.counts(path for _, _, path in rows)
        sheet = context.folder / f"samples_{nb_subjects}.tsv"
        lines = ["cohort\tsubject\tbundle\ttractogram", *("\t".join(["all", *row]) for row in rows)]
        sheet.write_text("\n".join(lines) + "\n")
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", "--quiet", "all",
            "--configfile", str(ROOT / "config" / "config.yaml"), "--directory", "{out}",
            "--config", f"samples={sheet}", "results={out}/results",
        ]  # fmt: skip
        bare = work("cohort", "{out}", *("=".join(row) for row in rows))
        return [
            Entry("bare work, one process", bare, expect_file("all.trx", counts), limit=True),
            Entry("trxlib", command, expect_file("results/all/all.trx", counts)),
        ]

    return make


# Scaling


def scale_file(part: float) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        path = context.path(f"scale/{part:g}.trk")
        counts = context.counts([path])
        return [
            cp(path),
            Entry("trxlib", work("convert", "{out}/out.trx", "", path), expect_file("out.trx", counts)),
            *peers(
                ("nibabel, read alone", "module:nibabel", work("nibabel-load", path), expect_printed(counts)),
                (
                    "trx-python", "module:trx", work("trx-python-convert", path, "{out}/out.trx", context.reference),
                    expect_file("out.trx", counts),
                ),
            ),
        ]  # fmt: skip

    return make


def scale_merge(number: int) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        paths, out = context.files("merge100", ".trx")[:number], "{out}/out.trx"
        good = expect_file("out.trx", context.counts(paths))
        return [
            cat(paths),
            Entry("trxlib", work("merge", out, *paths), good),
            *peers(
                ("trx-python", "module:trx", work("concatenate-save", "trx.trx_file_memmap", out, *paths), good),
            ),
        ]  # fmt: skip

    return make


SCALE_FILES = (1, 3, 10, 30, 100)
SCALE_SUBJECTS = (5, 20, 50)

CASES = [
    Case("trk", "TRK → TRX, axis-aligned", "whole", to_trx("whole.trk"), 2.5, anonymous_mb=150),
    Case(
        "trk-rotated",
        "TRK → TRX, rotated affine",
        "whole",
        to_trx("rotated.trk", all_peers=False),
        4.0,
        anonymous_mb=150,
    ),
    Case(
        "trk-data",
        "TRK → TRX, one scalar, one property",
        "whole",
        to_trx("data.trk", all_peers=False),
        3.75,
        anonymous_mb=150,
    ),
    Case("tck", "TCK → TRX", "whole", to_trx("whole.tck"), 2.5, anonymous_mb=150),
    Case("to-trk", "TRX → TRK, one property", "whole", from_trx("whole.trx", ".trk"), 2.5, anonymous_mb=150),
    Case("to-tck", "TRX → TCK", "whole", from_trx("plain.trx", ".tck"), 2.5, anonymous_mb=150),
    Case(
        "to-tck-weights",
        "TRX → TCK, weights as text",
        "whole",
        from_trx("whole.trx", ".tck"),
        3.75,
        anonymous_mb=150,
    ),
    Case("small", "200 TRK of 13 kB → one TRX", "tiny", many_small),
    Case("merge10", "merge of 10 TRX", "merge10", merge("merge10"), 1.3, anonymous_mb=150),
    Case("merge100", "merge of 100 TRX", "merge100", merge("merge100"), anonymous_mb=150),
    Case("group01", "one group of 1 %", "whole", extract("part01"), anonymous_mb=150),
    Case("group10", "one group of 10 %", "whole", extract("part10"), 2.0, anonymous_mb=150),
    Case("group50", "one group of 50 %", "whole", extract("part50"), 2.0, anonymous_mb=150),
    Case("load", "load", "whole", api_load, anonymous_mb=150),
    Case("load-small", "load, 0.13 of the size", "merge10", api_load_small, anonymous_mb=150),
    Case("load-save", "load + save", "whole", api_load_save, 1.5, anonymous_mb=150),
    Case("concatenate", "concatenate + save of 10", "merge10", api_concatenate, 1.5, anonymous_mb=150),
    Case("info", "info", "whole", info),
    Case("validate", "validate, every byte", "whole", validate),
    Case("import", "import", "tiny", import_time, 1.5),
    Case("workflow5", "workflow, 5 subjects x 3 bundles", "tiny", workflow(5), minutes=True),
    Case("workflow200", "workflow, 200 subjects", "tiny", workflow(200, 1), minutes=True),
    *(Case(f"scale-file-{part:g}", f"TRK → TRX, {part:.0%}", "scale", scale_file(part)) for part in SCALE_PARTS),
    *(Case(f"scale-merge-{number}", f"merge of {number}", "merge100", scale_merge(number)) for number in SCALE_FILES),
    *(
        Case(f"scale-workflow-{number}", f"workflow, {number}", "tiny", workflow(number, 1))
        for number in SCALE_SUBJECTS
    ),
]
