"""From samples to a table (TSV and Markdown) and plots, with the machine they were made on."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

import trxlib
from benchmarks.cases import ROOT, SCALE_FILES, SCALE_SUBJECTS, Case, find_program
from benchmarks.data import SCALE_PARTS
from benchmarks.measure import Entry

PACKAGES = ("numpy", "nibabel", "dipy", "trx-python", "isal", "snakemake")
PROGRAMS = {
    "MRtrix3": ["tckconvert", "-version"],
    "trx-rs": ["trxrs", "--version"],
    "cp": ["cp", "--version"],
}


#: What every process of Python with numpy pays, measured in turn with the others of each case.
START = "start of Python and numpy"
WORDS = {"missed": False, "reached": True}
ABSENT = "not installed"
MARKS = ("<!-- table of python -m benchmarks -->", "<!-- end of the table -->")


@dataclass
class Row:
    """A line of the table; times in seconds, memory in MB (10^6 bytes).

    `ratio` is to the limit, `work` the same of the time beyond the start of Python and numpy; `goal` are the numbers to
    reach, for people.
    """

    case: str
    title: str
    program: str
    runs: int
    median: float | None
    minimum: float | None
    maximum: float | None
    ratio: float | None
    work: float | None
    cpu: float | None
    resident: float | None
    anonymous: float | None
    target: float | None
    goal: str
    verdict: str
    error: str


def rows_of(
    case: Case, entries: Sequence[Entry], nb_streamlines: int, base_anon: int, *, judge_time: bool = True
) -> list[Row]:
    """Return the rows of a case.

    Parameters
    ----------
    case : Case
    entries : sequence of Entry
        With their samples.
    nb_streamlines : int
        That the case reads.
    base_anon : int
        Anonymous memory of the interpreter with numpy, bytes.
    judge_time : bool
        Whether the data are large enough for the case's target; small ones measure the start of a process.
    """
    limit = next((entry for entry in entries if entry.limit and entry.samples), None)
    reference = median(sample.seconds for sample in limit.samples) if limit else None
    start = next((median(sample.seconds for sample in entry.samples) for entry in entries if entry.name == START), 0)
    rows = []
    for entry in entries:
        if not entry.samples:
            blank = (None,) * 8
            verdict = "" if entry.peer else "failed"
            rows.append(Row(case.key, case.title, entry.name, 0, *blank, None, "", verdict, entry.error or "not run"))
            continue
        seconds = [sample.seconds for sample in entry.samples]
        middle = median(seconds)
        ratio = middle / reference if reference else None
        work = (middle - start) / reference if reference and entry.judged and not entry.limit else None
        resident, anonymous = (max(getattr(sample, name) for sample in entry.samples) for name in ("rss", "anon"))
        ours = entry.judged and not entry.peer and not entry.limit
        target = case.target if ours and judge_time else None
        beyond = anonymous - base_anon - 24 * nb_streamlines
        verdict = _verdict(case, target, ratio, middle, start, beyond) if ours else ""
        goal = _goal(case, target) if ours else ""
        rows.append(
            Row(
                case.key, case.title, entry.name, len(seconds), middle, min(seconds), max(seconds), ratio, work,
                median(sample.cpu for sample in entry.samples), resident / 1e6, anonymous / 1e6, target, goal,
                verdict, "",
            )
        )  # fmt: skip
    return rows


def _goal(case: Case, target: float | None) -> str:
    """Return what the column "to reach" shows."""
    goals = [f"{target:g}" if target else "", f"{case.seconds:g} s" if case.seconds else ""]
    goals += [f"numpy + {case.beyond_numpy:g} s" if case.beyond_numpy else ""]
    return ", ".join(filter(None, goals))


def _verdict(
    case: Case, target: float | None, ratio: float | None, seconds: float, start: float, anonymous: float
) -> str:
    """Say which of the case's numbers are reached, and which are missed."""
    judged = {}
    if target is not None and ratio is not None:
        judged["time"] = ratio <= target
    if case.seconds is not None:
        judged[f"{case.seconds:g} s"] = seconds <= case.seconds
    if case.beyond_numpy is not None:
        judged[f"numpy + {case.beyond_numpy:g} s"] = seconds <= start + case.beyond_numpy
    if case.anonymous_mb:
        judged["memory"] = anonymous <= case.anonymous_mb * 1e6
    found = {word: [name for name, good in judged.items() if good is wanted] for word, wanted in WORDS.items()}
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in found.items() if names)


# The machine


def machine_facts(folder: Path) -> dict[str, str]:
    """Return what a reader needs to compare with another machine."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    facts = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": f"{cpu or platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory / 1e6:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "data and results on": _filesystem(folder),
        "python": platform.python_version(),
        "load at the start": f"{os.getloadavg()[0]:.2f}",
    }
    for name in PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=ROOT
    ).stdout.strip()
    facts["trxlib"] = trxlib.__version__ + (f" (commit {commit})" if commit else "")
    for name, command in PROGRAMS.items():
        if path := find_program(command[0]):
            text = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False).stdout
            facts[name] = text.splitlines()[0].strip("= ") if text else "?"
    return facts


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def _filesystem(folder: Path) -> str:
    best = ("", "?")
    for line in _lines("/proc/mounts"):
        _, place, kind, *_ = line.split()
        if str(folder.resolve()).startswith(place) and len(place) >= len(best[0]):
            best = (place, kind)
    return f"{best[1]} (in memory)" if best[1] == "tmpfs" else best[1]


def in_memory(folder: Path) -> bool:
    return "in memory" in _filesystem(folder)


def _available() -> int:
    """Return the bytes of memory that new processes and files in memory can have; 0 where the system does not say."""
    found = [line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemAvailable")]
    return int(found[0]) << 10 if found else 0


#: What the largest program that is measured holds beside the files (dipy, 1 GB of positions), and some more.
_PROGRAMS = 5_000_000_000


def folder_in_memory(nbytes: int, place: Path = Path("/dev/shm")) -> Path | None:
    """Return a folder in memory that has room for some bytes beside the programs; None if there is none."""
    if not (place.is_dir() and os.access(place, os.W_OK) and in_memory(place)):
        return None
    room = min(shutil.disk_usage(place).free, _available() - _PROGRAMS)
    return place if nbytes <= room else None


# Files


def write_report(folder: Path, size: str, facts: dict[str, str], rows: Sequence[Row], command: str) -> None:
    """Write ``table.tsv``, ``table.md``, ``machine.json`` and the plots of what there is."""
    folder.mkdir(parents=True, exist_ok=True)
    for plot in PLOTS:
        (folder / plot).unlink(missing_ok=True)  # of a run before, perhaps of other cases
    names = list(Row.__dataclass_fields__)
    lines = ["\t".join(names)]
    lines += ["\t".join("" if value is None else str(value) for value in asdict(row).values()) for row in rows]
    (folder / "table.tsv").write_text("\n".join(lines) + "\n")
    (folder / "machine.json").write_text(json.dumps({"size": size, "command": command, **facts}, indent=1) + "\n")
    (folder / "table.md").write_text(markdown(size, facts, rows, command))
    draw_bars(folder / "cases.png", rows)
    draw_scaling(folder / "scaling.png", rows)


def update_page(page: Path, results: Path) -> None:
    """Put the table between the marks of a page, and the plots beside it as ``<page>_<plot>``."""
    before, _, rest = page.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    table = (results / "table.md").read_text()
    page.write_text(f"{before}{MARKS[0]}\n\n{table}\n{MARKS[1]}{after}")
    for plot in PLOTS:
        if (results / plot).is_file():
            shutil.copyfile(results / plot, page.with_name(f"{page.stem}_{plot}"))


PLOTS = ("cases.png", "scaling.png")
COLUMNS = (
    "case", "program", "median s", "min – max", "runs", "× limit", "less start", "to reach", "CPU s", "resident MB",
    "anonymous MB", "",
)  # fmt: skip


def markdown(size: str, facts: dict[str, str], rows: Sequence[Row], command: str) -> str:
    """Return the table for people."""
    text = [f"`{command}`, size {size}, {facts['date']}", ""]
    text += [", ".join(f"{key} {value}" for key, value in facts.items() if key not in ("date", ABSENT)), ""]
    if ABSENT in facts:
        text += [f"Left out, because they are not installed here: {facts[ABSENT]}.", ""]
    text += ["| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * (len(COLUMNS) - 3) + "---|"]
    last = ""
    for row in rows:
        # What every process pays is shown where it is most of what is paid.
        shown = row.program != START or row.case.startswith("command-")
        if shown and not row.case.startswith("scale-"):
            text.append("| " + " | ".join(_cells(row, "" if row.title == last else row.title)) + " |")
            last = row.title
    return "\n".join([*text, "", *scaling_lines(rows)]) + "\n"


def _cells(row: Row, title: str) -> list[str]:
    if row.error:
        return [title, row.program, "–", *[""] * (len(COLUMNS) - 4), f"{row.verdict} {row.error}".strip()]
    ours = row.program.startswith("trxlib")
    return [
        title,
        f"**{row.program}**" if ours else row.program,
        f"{row.median:.3f}",
        f"{row.minimum:.3f} – {row.maximum:.3f}",
        str(row.runs),
        f"{row.ratio:.2f}" if row.ratio else "",
        f"{row.work:.2f}" if ours and row.work is not None else "",
        row.goal,
        f"{row.cpu:.2f}",
        f"{row.resident:.0f}",
        f"{row.anonymous:.0f}",
        row.verdict,
    ]


def draw_bars(path: Path, rows: Sequence[Row]) -> None:
    """Draw the ratio to the limit of every program, a panel for all cases."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = [
        row
        for row in rows
        if row.ratio is not None and row.program != START and not row.case.startswith(("scale-", "workflow"))
    ]
    titles = list(dict.fromkeys(row.title for row in shown))
    if not titles:
        return
    figure, axes = plt.subplots(figsize=(10, 0.62 * len(titles) + 1.2))
    styles = {"limit": ("#888888", "|"), "trxlib": ("#c03020", "o"), "peer": ("#3060a0", "s")}
    labels: dict[str, int] = {}
    for row in shown:
        kind = "limit" if row.ratio == 1 else "trxlib" if row.program.startswith("trxlib") else "peer"
        color, marker = styles[kind]
        place = titles.index(row.title)
        axes.plot(row.ratio, place, marker, color=color, markersize=5)
        ends = [row.ratio * end / row.median for end in (row.minimum, row.maximum)]
        axes.plot(ends, [place, place], "-", color=color, linewidth=1)
        if kind == "peer":
            # Above and below in turn, so that neighbours can be read.
            number = labels[row.title] = labels.get(row.title, -1) + 1
            shift = (2, (4, -8, 10, -14)[number % 4])
            axes.annotate(row.program.split(",")[0], (row.ratio, place), shift, fontsize=5, textcoords="offset points")
        if row.target and row.program == "trxlib":
            axes.plot(row.target, place, "<", color="#208020", markerfacecolor="none")
    axes.set_xscale("log")
    axes.set_yticks(range(len(titles)), titles)
    axes.invert_yaxis()
    axes.set_xlim(right=3 * max(row.ratio for row in shown))
    axes.set_xlabel("time / time of the limit (grey line); red: trxlib, blue: others, green: to reach")
    axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def scaling_series(rows: Sequence[Row]) -> dict[str, dict[str, list[tuple[float, Row]]]]:
    """Return panel -> program -> (x, row), x ascending."""
    panels: dict[str, dict[str, list[tuple[float, Row]]]] = {}
    axes = {
        "TRK → TRX over the file's size (part of the size)": ("scale-file-", [*SCALE_PARTS], "trk"),
        "merge over the number of files": ("scale-merge-", [*SCALE_FILES], ""),
        "workflow over the number of subjects": ("scale-workflow-", [*SCALE_SUBJECTS], "workflow200"),
    }
    for title, (prefix, values, whole) in axes.items():
        points = {f"{prefix}{value:g}": float(value) for value in values}
        if whole:
            points[whole] = 200.0 if whole == "workflow200" else 1.0
        for row in rows:
            if row.case in points and row.median is not None and row.program != START:
                panels.setdefault(title, {}).setdefault(row.program, []).append((points[row.case], row))
    for programs in panels.values():
        for name in list(programs):
            programs[name].sort(key=lambda pair: pair[0])
            if len(programs[name]) < 2:
                del programs[name]
    return panels


def slope_of(pairs: Sequence[tuple[float, Row]]) -> float:
    """Return the slope of log time over log x, of the upper half of the points, where the start matters least."""
    upper = pairs[-max(2, (len(pairs) + 1) // 2) :]
    x, y = np.log([pair[0] for pair in upper]), np.log([pair[1].median for pair in upper])
    return float(np.polyfit(x, y, 1)[0])


def scaling_lines(rows: Sequence[Row]) -> list[str]:
    """Return the scaling table as Markdown."""
    text = []
    for title, programs in scaling_series(rows).items():
        values = sorted({x for pairs in programs.values() for x, _ in pairs})
        text += [f"{title}: seconds (anonymous MB), runs, and the slope of the upper half on log-log axes", ""]
        text += ["| program | " + " | ".join(f"{value:g}" for value in values) + " | slope |"]
        text += ["|---|" + "---:|" * (len(values) + 1)]
        for name, pairs in programs.items():
            cells = {x: f"{row.median:.3f} ({row.anonymous:.0f}), {row.runs}" for x, row in pairs}
            text.append(f"| {name} | " + " | ".join(cells.get(x, "") for x in values) + f" | {slope_of(pairs):.2f} |")
        if title.startswith("workflow") and len(programs) == 2:
            bare, whole = ({x: row.median for x, row in pairs} for pairs in programs.values())
            extra = [f"{(whole[x] - bare[x]) / x:.3f}" if x in whole and x in bare else "" for x in values]
            text.append("| s per subject beyond the bare work | " + " | ".join(extra) + " | |")
        text.append("")
    return text


def draw_scaling(path: Path, rows: Sequence[Row]) -> None:
    """Draw time over size on two logarithmic axes, with the slope."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    panels = scaling_series(rows)
    if not panels:
        return
    figure, all_axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.8), squeeze=False)
    for axes, (title, programs) in zip(all_axes[0], panels.items(), strict=True):
        for name, pairs in programs.items():
            label = f"{name}, slope {slope_of(pairs):.2f}"
            axes.plot([x for x, _ in pairs], [row.median for _, row in pairs], "o-", markersize=3, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(title, fontsize=9)
        axes.set_ylabel("s")
        if programs:
            axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
