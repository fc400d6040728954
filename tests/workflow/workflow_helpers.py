"""Runs of the workflow, as a user starts them: in a process of their own, in a folder of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


class Workflow:
    """A working directory, and Snakemake in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def new(cls, folder: Path) -> Workflow:
        """Make a folder with the configuration of the repository."""
        shutil.copytree(REPOSITORY / "config", folder / "config")
        return cls(folder)

    def copy(self, folder: Path) -> Workflow:
        """Copy everything, results and Snakemake's memory of them included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return type(self)(folder)

    def run(self, *arguments: str, fails: bool = False) -> str:
        """Run Snakemake and return all it wrote."""
        command = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile"), "--nocolor", *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs of each rule a dry run lists."""
        lines = iter(self.run("-n", *arguments).splitlines())
        counts: dict[str, int] = {}
        for line in lines:
            if line.startswith("Job stats:"):
                counts = {}
                for row in lines:
                    name, _, count = row.strip().rpartition(" ")
                    if not row.strip():
                        break
                    if count.isdigit():
                        counts[name.strip()] = int(count)
        counts.pop("total", None)
        return counts

    def write_sheet(self, text: str, path: str = "config/samples.tsv") -> None:
        """Write a sheet whose cells are separated by blanks here."""
        rows = ("\t".join(line.split()) + "\n" for line in text.strip().splitlines())
        (self.folder / path).write_text("".join(rows))

    def results(self) -> list[str]:
        """Return the files under results, without Snakemake's own."""
        found = (self.folder / "results").rglob("*")
        paths = [path.relative_to(self.folder / "results") for path in found if path.is_file()]
        return sorted(str(path) for path in paths if not path.name.startswith("."))
