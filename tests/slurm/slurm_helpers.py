"""A SLURM cluster of two nodes on this machine, and runs of the workflow on it that can be held in the middle."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from formats.made import some_streamlines, trk_bytes

REPOSITORY = Path(__file__).parents[2]
NB_SHARDS = 3
SNAKEMAKE = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile"), "--nocolor"]
#: The profile with shorter waits: there is no NFS here, and no site to be kind to.
ON_SLURM = [
    "--workflow-profile", str(REPOSITORY / "workflow/profiles/slurm"), "--jobs", "4", "--latency-wait", "10",
    "--slurm-init-seconds-before-status-checks", "6", "--max-status-checks-per-second", "0.5",
]  # fmt: skip

# Python imports this at its start: fills (and nothing else) wait in the middle while a file named `hold` is there.
HOLD = """
import os, sys, time
pwrite = os.pwrite
seen = False
def held(fd, data, position):
    global seen
    if "fill_cohort" in sys.argv[0]:
        if not seen:
            seen = True
            with open("fills", "a") as file:
                file.write(f"{os.getpid()}\\n")
            return pwrite(fd, data, position)
        while os.path.exists("hold"):
            time.sleep(0.05)
    return pwrite(fd, data, position)
os.pwrite = held
"""


def wait_for(what: Callable[[], object], seconds: float, message: str) -> None:
    """Wait until `what` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"after {seconds:.0f} s: {message}"
        time.sleep(0.2)


class Cluster:
    """What the scripts of ../shared/slurm start."""

    def __init__(self, folder: Path, scripts: Path) -> None:
        self.folder = folder
        self.scripts = scripts
        self.conf = folder / "slurm.conf"
        path = f"{folder / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"
        self.env = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": path}

    def start(self) -> None:
        """Start all of it; nothing happens if it is up."""
        env = {**self.env, "CPUS": "8"}
        del env["SLURM_CONF"]
        done = subprocess.run(
            ["timeout", "90", self.scripts / "start_slurm.sh", self.folder], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> None:
        subprocess.run(
            ["timeout", "60", self.scripts / "stop_slurm.sh", self.folder], env=self.env, capture_output=True
        )

    def run(self, *command: str) -> str:
        """Run a command of SLURM and return what it says."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def running(self, rule: str) -> list[tuple[str, str]]:
        """Return job and node of each running job of a rule."""
        rows = [line.split("|") for line in self.run("squeue", "-h", "-t", "running", "-o", "%i|%N|%k").splitlines()]
        return [(job, node) for job, node, comment in rows if f"rule_{rule}" in comment]

    def cancel_all(self) -> None:
        self.run("scancel", "--quiet", "--user", self.run("id", "-un").strip())
        wait_for(lambda: not self.run("squeue", "-h", "-o", "%i"), 60, "jobs are left")

    def crash_node(self, node: str) -> None:
        """Kill a node and all its jobs, as a power cut would."""
        env = {**self.env, "SLURM_DIR": str(self.folder)}
        subprocess.run([self.scripts / "crash_node.sh", node], env=env, check=True, capture_output=True, timeout=30)

    def boot_node(self, node: str) -> None:
        self.run("slurmd", "-N", node, "-f", str(self.conf))

    def restart_controller(self, seconds: float) -> None:
        """Take the controller away for some seconds."""
        os.kill(int((self.folder / "slurmctld.pid").read_text()), signal.SIGTERM)
        time.sleep(seconds)
        self.run("slurmctld", "-f", str(self.conf))


class Study:
    """A working folder with a small cohort of six subjects, merged in three shards."""

    def __init__(self, folder: Path, cluster: Cluster | None = None) -> None:
        self.folder = folder
        self.cluster = cluster
        self.runs: list[subprocess.Popen[str]] = []

    @classmethod
    def new(cls, folder: Path, **config: object) -> Study:
        for name in ("config", "inputs", "site"):
            (folder / name).mkdir()
        (folder / "site/sitecustomize.py").write_text(HOLD)
        sheet = ["cohort\tsubject\tbundle\ttractogram"]
        for number in range(1, 7):
            for bundle in ("CC", "AF"):
                path = f"inputs/sub-0{number}_{bundle}.trk"
                streamlines = some_streamlines([30] * 300, seed=number)
                (folder / path).write_bytes(trk_bytes(streamlines, affine=np.eye(4), sizes=(1, 1, 1)))
                sheet.append(f"small\tsub-0{number}\t{bundle}\t{path}")
        (folder / "config/samples.tsv").write_text("\n".join(sheet) + "\n")
        size = sum(path.stat().st_size for path in (folder / "inputs").iterdir())
        values = {"extract_groups": "false", "shard_gb": f"{size / (NB_SHARDS - 0.5) / 1e9:.9f}", **config}
        (folder / "config/config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
        return cls(folder)

    @property
    def archive(self) -> Path:
        return self.folder / "results/small/small.trx"

    def digest(self) -> str:
        return hashlib.sha256(self.archive.read_bytes()).hexdigest()

    def provenance(self) -> str:
        return (self.folder / "results/small/provenance.tsv").read_text()

    def nb_fills(self) -> int:
        """Return how many fills have begun so far."""
        file = self.folder / "fills"
        return len(file.read_text().split()) if file.exists() else 0

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink(missing_ok=True)

    def run_locally(self, *arguments: str, fails: bool = False) -> str:
        """Run the workflow on this machine and return all that it said."""
        command = [*SNAKEMAKE, *arguments, "--workflow-profile", str(REPOSITORY / "workflow/profiles/default")]
        cores = [] if "--cores" in arguments else ["--cores", "2"]
        done = subprocess.run(
            ["timeout", "-s", "INT", "-k", "10", "200", *command, *cores],
            cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def start(self, *arguments: str, profile: Sequence[str] = ON_SLURM) -> subprocess.Popen[str]:
        """Start the workflow on the cluster, in a group of its own so that it can be killed."""
        assert self.cluster is not None
        log = (self.folder / f"run{len(self.runs)}.log").open("w")
        # SIGTERM does not end a run that hangs. A crashed node takes 3 minutes of these, and more on a busy machine.
        command = ["timeout", "-s", "INT", "-k", "10", "780", *SNAKEMAKE, *arguments, *profile]
        run = subprocess.Popen(
            command, cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            text=True, start_new_session=True,
        )  # fmt: skip
        log.close()
        self.runs.append(run)
        return run

    def finish(self, run: subprocess.Popen[str]) -> str:
        """Wait for the end of a run, which must be good, and return all that it said."""
        run.wait(800)
        text = (self.folder / f"run{self.runs.index(run)}.log").read_text()
        assert run.returncode == 0, text
        return text

    def wait_for_fills(self, count: int) -> None:
        """Wait until so many fills have begun."""
        wait_for(lambda: self.nb_fills() >= count, 120, f"{self.nb_fills()} fills have begun, {count} should have")

    def end(self) -> None:
        self.release()
        for run in self.runs:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait(30)

    def environment(self) -> dict[str, str]:
        """Return the variables of a run."""
        env = self.cluster.env if self.cluster is not None else dict(os.environ)
        return {**env, "PYTHONPATH": str(self.folder / "site")}
