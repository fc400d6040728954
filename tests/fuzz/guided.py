"""The same targets with atheris, which looks at what code a file reaches: ``python -m tests.fuzz --atheris``."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trxlib"]):
    from tests.fuzz import batch
    from tests.fuzz.targets import TARGETS


def run(name: str, seed: int, seconds: float, place: Path) -> None:
    """Let atheris damage files of a target; findings are printed, with the bytes in ``place/<number>``."""
    target = TARGETS[name]
    files = target.seeds()
    names = sorted(files)
    corpus = place / "corpus"
    corpus.mkdir()
    for number, good in enumerate(names):
        (corpus / good.replace("/", "_")).write_bytes(bytes([number]) + files[good])
    count = 0

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        folder = place / "input"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        file = names[data[0] % len(names)] if data else names[0]
        path = folder / file
        if target.put is None:
            path.write_bytes(data[1:])
        else:
            path = target.put(folder, file, data[1:], random.Random(count))
        (place / "number").write_text(str(count))
        for read in target.readers:
            found = batch.judge(read, path)
            if found is not None:
                kept = place / str(count)
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                shown = getattr(read, "__name__", "reader")
                print(json.dumps({"number": count, "reader": shown, "kept": str(kept), **found}), flush=True)

    limits = [f"-max_total_time={max(1, int(seconds))}", f"-timeout={3 * batch.TIME_LIMIT}", "-rss_limit_mb=1500"]
    atheris.Setup([sys.argv[0], *limits, f"-seed={seed + 1}", "-max_len=20000", "-verbosity=0", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), float(sys.argv[4]), Path(sys.argv[5]))
