"""What a measured process does: ``python -m benchmarks.work VERB ARGUMENT...`` prints its counts as JSON.

A verb is one call of one library, imported inside, so that a process pays for what it uses and for nothing else.
``api`` is the module that has `load`, `save` and `concatenate`: ``trxlib`` or ``trx.trx_file_memmap``.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

VERBS: dict[str, Callable[..., Any]] = {}


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    VERBS[function.__name__.replace("_", "-")] = function
    return function


def _counts(trx: Any) -> dict[str, int]:
    return {key: int(trx.header[key.upper()]) for key in ("nb_streamlines", "nb_vertices")}


# trxlib, file to file


@verb
def convert(output: str, reference: str, *inputs: str) -> None:
    import trxlib

    trxlib.convert(list(inputs), output, reference=reference or None)


@verb
def merge(output: str, *inputs: str) -> None:
    import trxlib

    trxlib.merge(list(inputs), output)


@verb
def extract(path: str, folder: str, *groups: str) -> dict[str, int]:
    import trxlib

    (part,) = trxlib.extract_groups(path, folder, list(groups))
    return {"nb_streamlines": part.nb_streamlines, "nb_vertices": part.nb_vertices}


@verb
def extract_all(path: str, folder: str) -> dict[str, int]:
    import trxlib

    parts = trxlib.extract_groups(path, folder)
    return {name: sum(getattr(part, name) for part in parts) for name in ("nb_streamlines", "nb_vertices")}


@verb
def validate(path: str) -> dict[str, int]:
    import trxlib

    header = trxlib.validate(path)
    return {"nb_streamlines": header.nb_streamlines, "nb_vertices": header.nb_vertices}


@verb
def cohort(folder: str, *inputs: str) -> dict[str, int]:
    """The work of the workflow without the workflow: convert each subject, merge, extract the groups."""
    import trxlib

    subjects: dict[str, list[tuple[str, str]]] = {}
    for text in inputs:
        subject, bundle, path = text.split("=", 2)
        subjects.setdefault(subject, []).append((path, bundle))
    for subject, files in subjects.items():
        trxlib.convert(files, f"{folder}/{subject}.trx")
    archive = f"{folder}/all.trx"
    plan = trxlib.merge([f"{folder}/{subject}.trx" for subject in subjects], archive, names=list(subjects))
    trxlib.extract_groups(archive, f"{folder}/groups")
    return {"nb_streamlines": plan.header.nb_streamlines, "nb_vertices": plan.header.nb_vertices}


# The API of the reference package, by either library


@verb
def load(api: str, path: str) -> dict[str, int]:
    trx = importlib.import_module(api).load(path)
    return _counts(trx)


@verb
def load_save(api: str, path: str, output: str) -> None:
    tmm = importlib.import_module(api)
    trx = tmm.load(path)
    tmm.save(trx, output)
    trx.close()


@verb
def concatenate_save(api: str, output: str, *inputs: str) -> None:
    tmm = importlib.import_module(api)
    files = [tmm.load(path) for path in inputs]
    whole = tmm.concatenate(files, preallocation=False)
    tmm.save(whole, output)
    whole.close()


@verb
def get_group_save(api: str, path: str, group: str, output: str) -> None:
    tmm = importlib.import_module(api)
    trx = tmm.load(path)
    part = trx.get_group(group)
    tmm.save(part, output)
    trx.close()


# Peers


@verb
def trx_python_convert(path: str, output: str, reference: str) -> None:
    from trx.workflows import convert_tractogram

    convert_tractogram(path, output, reference)


@verb
def nibabel_load(path: str) -> dict[str, int]:
    import nibabel as nib

    streamlines = nib.streamlines.load(path).streamlines
    return {"nb_streamlines": len(streamlines), "nb_vertices": int(streamlines._lengths.sum())}


@verb
def dipy_load(path: str, reference: str) -> dict[str, int]:
    from dipy.io.streamline import load_tractogram

    sft = load_tractogram(path, reference, bbox_valid_check=False)
    return {"nb_streamlines": len(sft), "nb_vertices": int(sft.streamlines._lengths.sum())}


@verb
def dipy_convert(path: str, output: str, reference: str) -> None:
    from dipy.io.streamline import load_tractogram, save_tractogram

    save_tractogram(load_tractogram(path, reference, bbox_valid_check=False), output, bbox_valid_check=False)


def main(arguments: list[str]) -> None:
    warnings.simplefilter("ignore")
    result = VERBS[arguments[0]](*arguments[1:])
    if result:
        print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
