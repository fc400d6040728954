"""The cases: for each, the physical limit, trxlib, and the programs that people use, all as whole processes."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import BUNDLES, DIMENSIONS, SCALE_PARTS, SMALL_GROUPS, affine_of
from benchmarks.measure import BenchmarkError, Check, Entry
from benchmarks.truth import Space, Truth, read_file

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """What is measured side by side.

    Parameters
    ----------
    key, title : str
        For the command line and for the table.
    needs : tuple of str
        The data: names of files, or of sets of files; the first is what is read.
    make : callable
        Takes a Context and returns entries; the first is the limit.
    target : float, optional
        What trxlib may take, as a multiple of the limit.
    minutes : bool
        Whether it takes minutes, and is given ten times as long.
    seconds : float, optional
        What trxlib may take, whatever the limit takes.
    beyond_numpy : float, optional
        Seconds that trxlib may take beyond the start of Python and numpy.
    anonymous_mb : int
        Anonymous memory (10^6 bytes) that it may have beyond the interpreter with numpy and 24 bytes per
        streamline; 0 for any.
    """

    key: str
    title: str
    needs: tuple[str, ...]
    make: Callable[[Context], list[Entry]]
    target: float | None = None
    minutes: bool = False
    seconds: float | None = None
    beyond_numpy: float | None = None
    anonymous_mb: int = 0


@dataclass(frozen=True)
class Context:
    """Where the data are, and what is in them."""

    folder: Path
    catalogue: dict[str, dict[str, Any]]

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def files(self, need: str, suffix: str) -> list[str]:
        """Return all files of a set, sorted; with no suffix, its folders."""
        of_set = [name for name, entry in self.catalogue.items() if entry["set"] == need]
        names = [name for name in of_set if Path(name).suffix == suffix]
        return [self.path(name) for name in sorted(names)]

    def truth(self, names: Iterable[str], group: str = "") -> Callable[[], Truth]:
        """Return what gives the truth of some files together, or of a group of them."""
        places = [self.catalogue[str(Path(name).relative_to(self.folder))]["truth"][group] for name in names]
        return functools.partial(Truth.load, [self.folder / place for place in places])

    def expect(self, name: str, paths: Sequence[str], group: str = "", data: Iterable[str] = ()) -> Check:
        """Return a check that an output holds these files' streamlines, or a group of them, with some data."""
        counts = self.group(group) if group else self.counts(paths)
        space = affine_of(Path(paths[0]).name), DIMENSIONS
        return expect_file(name, self.truth(paths, group), counts, tuple(data), space)

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


def expect_file(
    name: str,
    truth: Callable[[], Truth],
    counts: tuple[int, int],
    data: tuple[str, ...] = (),
    space: Space | None = None,
) -> Check:
    """Return a check of a file's streamlines, space, and some data; thorough after the warm-up only."""

    def check(folder: Path, _: str, thorough: bool) -> None:
        path = folder / name
        if not path.is_file():
            raise BenchmarkError(f"{name} was not written")
        if path.stat().st_size < 12 * counts[1]:
            raise BenchmarkError(f"{name} has {path.stat().st_size} bytes, {12 * counts[1]} of positions were expected")
        if thorough:
            truth().check(path, data, space)

    return check


def expect_groups(folder: str, truth: Callable[[], Truth]) -> Check:
    """Return a check that every small group has a file; thorough: with the lengths of its streamlines."""

    def check(place: Path, _: str, thorough: bool) -> None:
        paths = sorted((place / folder).glob("*.trx"))
        if len(paths) != SMALL_GROUPS:
            raise BenchmarkError(f"{len(paths)} files of groups, expected {SMALL_GROUPS}")
        if thorough:
            lengths = [read_file(path)[0] for path in paths]
            if not np.array_equal(np.concatenate(lengths), np.concatenate(truth().lengths)):
                raise BenchmarkError("wrong: the streamlines of the groups are others than those given")

    return check


def expect_cohort(archive: Check, names: list[str]) -> Check:
    """Return a check of what the workflow makes for a cohort: the archive, its groups, tables and pages."""

    def check(folder: Path, output: str, thorough: bool) -> None:
        archive(folder, output, thorough)
        for name in names:
            path = folder / name
            if not path.is_file() or not path.stat().st_size:
                raise BenchmarkError(f"{name} was not written")

    return check


def expect_size(name: str, nbytes: int) -> Check:
    def check(folder: Path, _: str, thorough: bool) -> None:
        if (folder / name).stat().st_size != nbytes:
            raise BenchmarkError(f"{name} has {(folder / name).stat().st_size} bytes, expected {nbytes}")

    return check


def expect_printed(counts: tuple[int, int]) -> Check:
    """Return a check of the counts that a process printed."""

    def check(_: Path, output: str, thorough: bool) -> None:
        found = json.loads(output or "{}")
        found = found[0] if isinstance(found, list) else found
        if (found.get("nb_streamlines"), found.get("nb_vertices")) != counts:
            raise BenchmarkError(f"printed {output.strip()[:100]!r}, expected {counts}")

    return check


def expect_numbers(counts: tuple[int, int]) -> Check:
    """Return a check that both counts stand somewhere in what a process printed."""

    def check(_: Path, output: str, thorough: bool) -> None:
        numbers = re.findall(r"\d+", output.replace(",", ""))
        if any(str(count) not in numbers for count in counts):
            raise BenchmarkError(f"printed {output.strip()[:100]!r}, without {counts}")

    return check


def expect_text(text: str) -> Check:
    def check(_: Path, output: str, thorough: bool) -> None:
        if text not in output:
            raise BenchmarkError(f"printed {output.strip()[:100]!r}, without {text!r}")

    return check


# Entries

#: What an output must have besides streamlines, where the input has it.
DATA = {"data.trk": ("dps/weight", "dpv/fa"), "whole.trx": ("dps/weight",)}


def work(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.work", *arguments]


@functools.cache
def has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


#: Programs of others: how to see that they are there.
PEERS = {
    "nibabel": "module:nibabel", "dipy": "module:dipy", "trx-python": "module:trx", "trx-rs": "trxrs",
    "MRtrix3": "tckconvert",
}  # fmt: skip


def find_program(name: str) -> str | None:
    """Return the path of a program: beside this Python, also where its folder is not on the PATH, or on the PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def is_there(what: str) -> bool:
    """Return whether there is a program, or a ``module:``."""
    return has_module(what[7:]) if what.startswith("module:") else find_program(what) is not None


def absent_peers() -> list[str]:
    return [name for name, what in PEERS.items() if not is_there(what)]


def peers(*candidates: tuple[str, str, list[str], Check | None]) -> list[Entry]:
    """Return an entry for each peer that is there: (name, module or program, command, check).

    A command that begins with the program's name is given its path; of a shell the memory is that of what it starts.
    """
    found = []
    for name, what, command, check in candidates:
        if is_there(what):
            program = find_program(what) if command[0] == what else None
            whole = [program or command[0], *command[1:]]
            found.append(Entry(name, whole, check, peer=True, tree=command[0] == "sh"))
    return found


def cp(path: str) -> Entry:
    return Entry("cp", ["cp", path, "{out}/copy"], expect_size("copy", Path(path).stat().st_size), limit=True)


def cat(paths: list[str]) -> Entry:
    """`cat` of files, and of all files of folders, to one file."""
    files = [str(file) for path in paths for file in (_files_in(Path(path)) if Path(path).is_dir() else [path])]
    total = sum(Path(file).stat().st_size for file in files)
    command = ["sh", "-c", 'cat "$@" > "$0"', "{out}/copy", *files]
    return Entry("cat", command, expect_size("copy", total), limit=True)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def to_trx(name: str, *, all_peers: bool = True) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        path, out = context.path(name), "{out}/out.trx"
        # A TRK has its own space.
        is_tck = name.endswith(".tck")
        reference = context.reference if is_tck else ""
        counts = context.counts([path])
        good = context.expect("out.trx", [path])
        whole = context.expect("out.trx", [path], data=DATA.get(name, ()))
        # Of the slow ones some are measured on one TRK only.
        others = [
            ("nibabel, read alone", "module:nibabel", work("nibabel-load", path), expect_printed(counts)),
            ("trx-python", "module:trx", work("trx-python-convert", path, out, context.reference), good),
            ("dipy", "module:dipy", work("dipy-convert", path, out, context.reference), good),
        ]
        trxrs = [("trx-rs", "trxrs", ["trxrs", "convert", path, out], whole)]
        if is_tck:
            # It takes no reference for a TCK: the space comes by a second command.
            both = '"$0" convert "$1" "$3" && "$0" update-affine "$3" "$2" "$4"'
            places = [find_program("trxrs") or "", path, reference, "{out}/first.trx", out]
            trxrs.append(("trx-rs, convert + update-affine", "trxrs", ["sh", "-c", both, *places], whole))
        mrtrix = ("tckconvert, TCK to TCK", "tckconvert", ["tckconvert", "-quiet", path, "{out}/out.tck"])
        return [
            cp(path),
            Entry("trxlib", work("convert", out, reference, path), whole),
            *peers(*trxrs, *(others if all_peers else [])),
            *(peers((*mrtrix, context.expect("out.tck", [path]))) if is_tck else []),
        ]

    return make


def from_trx(name: str, suffix: str, *, all_peers: bool = True) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        path, out = context.path(name), "{out}/out" + suffix
        whole = context.expect("out" + suffix, [path], data=DATA.get(name, ()))
        others = [
            ("trx-python", "module:trx", work("trx-python-convert", path, out, context.reference), whole),
            ("dipy", "module:dipy", work("dipy-convert", path, out, context.reference), whole),
        ]
        if suffix == ".tck":
            others.insert(0, ("trx-rs", "trxrs", ["trxrs", "convert", path, out], whole))  # it writes no TRK
        return [
            cp(path),
            Entry("trxlib", work("convert", out, "", path), whole),
            *peers(*(others if all_peers else [])),
        ]

    return make


def many_small(context: Context) -> list[Entry]:
    paths = context.files("tiny", ".trk")
    return [
        cat(paths),
        Entry(
            "trxlib",
            work("convert", "{out}/out.trx", "", *paths),
            context.expect("out.trx", paths),
        ),
    ]


def merge(need: str) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        paths, out = context.files(need, "" if need == "folders10" else ".trx"), "{out}/out.trx"
        whole = context.expect("out.trx", paths, data=["dps/weight"])
        tcks = context.files(need, ".tck")
        mrtrix = ("tckedit, TCK to TCK", "tckedit", ["tckedit", "-quiet", *tcks, "{out}/out.tck"])
        return [
            cat(paths),
            Entry("trxlib", work("merge", out, *paths), whole),
            *peers(
                ("trx-rs", "trxrs", ["trxrs", "concatenate", *paths, "--output", out], whole),
                ("trx-python", "module:trx", work("concatenate-save", "trx.trx_file_memmap", out, *paths), whole),
            ),
            *(peers((*mrtrix, context.expect("out.tck", tcks))) if tcks else []),
        ]

    return make


def extract(group: str) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        path, weight = context.path("whole.trx"), ["dps/weight"]
        return [
            _cp_of_output(context, group),
            Entry(
                "trxlib",
                work("extract", path, "{out}/groups", group),
                context.expect(f"groups/{group}.trx", [path], group, weight),
            ),
            Entry(
                "trxlib, get_group + save",
                work("get-group-save", "trxlib", path, group, "{out}/out.trx"),
                context.expect("out.trx", [path], group, weight),
            ),
            *peers(
                (
                    "trx-rs", "trxrs", ["trxrs", "subset", path, "{out}/out.trx", "--group", group],
                    context.expect("out.trx", [path], group, weight),
                ),
                (
                    "trx-python, get_group + save", "module:trx",
                    work("get-group-save", "trx.trx_file_memmap", path, group, "{out}/out.trx"),
                    context.expect("out.trx", [path], group, weight),
                ),
            ),
        ]  # fmt: skip

    return make


def small_groups(context: Context) -> list[Entry]:
    """Every group of a file with thousands, each to a file of its own."""
    (path,) = context.files("groups4000", ".trx")
    good = expect_groups("groups", context.truth([path]))
    export = ["trxrs", "subset", path, "--group-export", "{out}/groups/{groupname}.trx"]
    shell = ["sh", "-c", 'mkdir "$0" && "$@"', "{out}/groups", find_program("trxrs") or "", *export[1:]]
    return [
        cp(path),
        Entry("trxlib", work("extract-all", path, "{out}/groups"), good),
        *peers(("trx-rs", "trxrs", shell, good)),
    ]


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
    good = context.expect("out.trx", [path], data=["dps/weight"])
    return [
        cp(path),
        Entry("trxlib", work("load-save", "trxlib", path, "{out}/out.trx"), good),
        *peers(("trx-python", "module:trx", work("load-save", "trx.trx_file_memmap", path, "{out}/out.trx"), good)),
    ]


def api_concatenate(context: Context) -> list[Entry]:
    paths, out = context.files("merge10", ".trx"), "{out}/out.trx"
    good = context.expect("out.trx", paths, data=["dps/weight"])
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
        *_info_of(path, context.counts([path])),
    ]


def _info_of(path: str, counts: tuple[int, int]) -> list[Entry]:
    good = expect_numbers(counts)
    return [
        Entry("trxlib", command_line("info", "--json", path), expect_printed(counts)),
        *peers(
            ("trx-rs", "trxrs", ["trxrs", "info", path], good),
            ("trx-python", "trx_info", ["trx_info", path], good),
        ),
    ]


# Commands on files of some kB: what is measured is the start of a program


def start_of_python() -> Entry:
    return Entry("python -c pass", [sys.executable, "-c", "pass"], limit=True)


def command_version(_: Context) -> list[Entry]:
    return [
        start_of_python(),
        Entry("trxlib", command_line("--version"), expect_text(".")),
        *peers(("trx-rs", "trxrs", ["trxrs", "--version"], expect_text("."))),
    ]


def command_info(context: Context) -> list[Entry]:
    path = context.files("pair", ".trx")[0]
    return [start_of_python(), *_info_of(path, context.counts([path]))]


def command_merge(context: Context) -> list[Entry]:
    paths, out = context.files("pair", ".trx"), "{out}/out.trx"
    good = context.expect("out.trx", paths, data=["dps/weight"])
    concatenate = "trx_concatenate_tractograms"
    return [
        start_of_python(),
        Entry("trxlib", command_line("merge", *paths, out), good),
        *peers(
            ("trx-rs", "trxrs", ["trxrs", "concatenate", *paths, "--output", out], good),
            ("trx-python", concatenate, [concatenate, *paths, out], good),
        ),
    ]


def command_convert(context: Context) -> list[Entry]:
    path, out = context.files("pair", ".trk")[0], "{out}/out.trx"
    good = context.expect("out.trx", [path])
    convert = "trx_convert_tractogram"
    return [
        start_of_python(),
        Entry("trxlib", command_line("convert", path, out), good),
        *peers(
            ("trx-rs", "trxrs", ["trxrs", "convert", path, out], good),
            ("trx-python", convert, [convert, path, out], good),
        ),
    ]


def validate(context: Context) -> list[Entry]:
    path = context.path("whole.trx")
    return [
        Entry("cat > /dev/null", ["sh", "-c", 'cat "$1" > /dev/null', "_", path], limit=True),
        Entry("trxlib", work("validate", path), expect_printed(context.counts([path]))),
        *peers(("unzip -t", "unzip", ["unzip", "-tq", path], expect_text("No errors detected"))),
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
        paths = [path for _, _, path in rows]
        sheet = context.folder / f"samples_{nb_subjects}.tsv"
        lines = ["cohort\tsubject\tbundle\ttractogram", *("\t".join(["all", *row]) for row in rows)]
        sheet.write_text("\n".join(lines) + "\n")
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", "--quiet", "all",
            "--configfile", str(ROOT / "config" / "config.yaml"), "--directory", "{out}",
            "--config", f"samples={sheet}", "results={out}/results",
        ]  # fmt: skip
        bare = work("cohort", "{out}", *("=".join(row) for row in rows))
        made = [f"results/all/{name}" for name in ("provenance.tsv", "summary.tsv", "index.html", "mosaic.png")]
        made += [f"results/all/groups/{name}.trx" for name in BUNDLES[:nb_bundles]]
        return [
            Entry("bare work, one process", bare, context.expect("all.trx", paths), limit=True, tree=True),
            Entry("trxlib", command, expect_cohort(context.expect("results/all/all.trx", paths), made), tree=True),
        ]

    return make


# Scaling


def scale_file(part: float) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        path = context.path(f"scale/{part:g}.trk")
        counts, good = context.counts([path]), context.expect("out.trx", [path])
        return [
            cp(path),
            Entry("trxlib", work("convert", "{out}/out.trx", "", path), good),
            *peers(
                ("nibabel, read alone", "module:nibabel", work("nibabel-load", path), expect_printed(counts)),
                (
                    "trx-python", "module:trx", work("trx-python-convert", path, "{out}/out.trx", context.reference),
                    good,
                ),
            ),
        ]  # fmt: skip

    return make


def scale_merge(number: int) -> Callable[[Context], list[Entry]]:
    def make(context: Context) -> list[Entry]:
        paths, out = context.files("merge100", ".trx")[:number], "{out}/out.trx"
        good = context.expect("out.trx", paths)
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
    Case("trk", "TRK → TRX, axis-aligned", ("whole.trk",), to_trx("whole.trk"), 2.5, anonymous_mb=150),
    Case(
        "trk-rotated",
        "TRK → TRX, rotated affine",
        ("rotated.trk",),
        to_trx("rotated.trk", all_peers=False),
        4.0,
        anonymous_mb=150,
    ),
    Case(
        "trk-data",
        "TRK → TRX, one scalar, one property",
        ("data.trk",),
        to_trx("data.trk", all_peers=False),
        3.75,
        anonymous_mb=150,
    ),
    Case("tck", "TCK → TRX, with a reference", ("whole.tck",), to_trx("whole.tck"), 2.5, anonymous_mb=150),
    Case("to-trk", "TRX → TRK, one property", ("whole.trx",), from_trx("whole.trx", ".trk"), 2.5, anonymous_mb=150),
    Case("to-tck", "TRX → TCK", ("plain.trx",), from_trx("plain.trx", ".tck"), 2.5, anonymous_mb=150),
    Case(
        "to-tck-weights",
        "TRX → TCK, weights as text",
        ("whole.trx",),
        from_trx("whole.trx", ".tck", all_peers=False),  # the others leave the weights out
        3.75,
        anonymous_mb=150,
    ),
    Case("group01", "one group of 1 %", ("whole.trx",), extract("part01"), anonymous_mb=150),
    Case("group10", "one group of 10 %", ("whole.trx",), extract("part10"), 4.0, anonymous_mb=150),
    Case("group50", "one group of 50 %", ("whole.trx",), extract("part50"), 2.0, anonymous_mb=150),
    Case("group50-runs", "one group of 50 %, in ten runs", ("whole.trx",), extract("runs50"), 2.0, anonymous_mb=150),
    Case("load", "load", ("whole.trx",), api_load, anonymous_mb=150),
    Case("load-save", "load + save", ("whole.trx",), api_load_save, 1.5, anonymous_mb=150),
    Case("info", "info", ("whole.trx",), info),
    Case("validate", "validate, every byte", ("whole.trx",), validate),
    Case("load-small", "load, 0.13 of the size", ("merge10",), api_load_small, anonymous_mb=150),
    Case("merge10", "merge of 10 TRX", ("merge10",), merge("merge10"), 1.3, anonymous_mb=150),
    Case("concatenate", "concatenate + save of 10", ("merge10",), api_concatenate, 1.5, anonymous_mb=150),
    Case("folders10", "merge of 10 TRX, folders", ("folders10",), merge("folders10"), 1.3, anonymous_mb=150),
    Case("merge100", "merge of 100 TRX", ("merge100",), merge("merge100"), anonymous_mb=150),
    *(
        Case(f"scale-merge-{number}", f"merge of {number}", ("merge100",), scale_merge(number))
        for number in SCALE_FILES
    ),
    *(Case(f"scale-file-{part:g}", f"TRK → TRX, {part:.0%}", ("scale",), scale_file(part)) for part in SCALE_PARTS),
    Case("groups4000", "4000 groups of 10 streamlines", ("groups4000",), small_groups, seconds=5, anonymous_mb=150),
    Case("small", "200 TRK of 13 kB → one TRX", ("tiny",), many_small),
    Case("import", "import", ("tiny",), import_time, 1.5),
    Case("command-version", "`trxlib --version`", ("pair",), command_version, seconds=0.1),
    Case("command-info", "`trxlib info`, TRX of 14 kB", ("pair",), command_info, beyond_numpy=0.1),
    Case("command-merge", "`trxlib merge`, two TRX of 14 kB", ("pair",), command_merge, beyond_numpy=0.1),
    Case("command-convert", "`trxlib convert`, TRK of 13 kB", ("pair",), command_convert, beyond_numpy=0.1),
    Case("workflow5", "workflow, 5 subjects x 3 bundles of 13 kB", ("tiny",), workflow(5), minutes=True, seconds=60),
    Case("workflow200", "workflow, 200 subjects of 13 kB", ("tiny",), workflow(200, 1), minutes=True),
    *(
        Case(f"scale-workflow-{number}", f"workflow, {number}", ("tiny",), workflow(number, 1))
        for number in SCALE_SUBJECTS
    ),
]
