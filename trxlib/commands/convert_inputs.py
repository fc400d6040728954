"""The inputs of a conversion: what is particular to each file, and where its streamlines are in the result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trxlib.engine.plan import InputPlan
from trxlib.errors import InputError
from trxlib.model.options import ReadOptions, StrPath
from trxlib.model.source import Findings, SourceInfo

__all__ = ["ConvertInput", "ConvertedInput", "names_of", "own_options", "read_inputs"]


@dataclass(frozen=True)
class ConvertInput:
    """One file to convert, with what is particular to it.

    Parameters
    ----------
    path : path
        The tractogram.
    group : str, optional
        A group that all its streamlines belong to, e.g. the bundle's name.
    reference : optional
        See `convert`; overrides the common one.
    transform, transform_format, transform_inverse, transform_source : optional
        See `convert`; override the common ones, all together.
    dps, dpv : mapping of str to path
        Files with a row per streamline or vertex, by the key they get.

    Examples
    --------
    >>> np.savetxt("sub-01_length.txt", [2.0, 1.0, 3.0, 0.0])
    >>> tracts = trxlib.ConvertInput("sub-01.tck", reference="b0.nii.gz", dps={"length": "sub-01_length.txt"})
    >>> inputs = trxlib.convert(tracts, "with_length.trx")
    >>> trxlib.load("with_length.trx").data_per_streamline["length"].ravel().tolist()
    [2.0, 1.0, 3.0, 0.0]
    """

    path: StrPath
    group: str | None = None
    reference: Any = None
    transform: Any = None
    transform_format: str | Sequence[str | None] | None = None
    transform_inverse: bool | Sequence[bool] = False
    transform_source: Any = None
    dps: Mapping[str, StrPath] = field(default_factory=dict)
    dpv: Mapping[str, StrPath] = field(default_factory=dict)


@dataclass(frozen=True)
class ConvertedInput:
    """Where one input's streamlines are in the result.

    Parameters
    ----------
    info : SourceInfo
        What its headers said.
    group : str
        The group of all its streamlines; empty for none.
    place : InputPlan
        Its first streamline and vertex, and their numbers.
    fingerprint : str
        Of its content: ``crc32:<8 hex digits>:<bytes>``.
    findings : Findings, optional
        How many of its vertices were looked at, and how many lie outside the grid of the result.
    record : mapping
        How it was read: see `trxlib.model.source.Source.record`.
    """

    info: SourceInfo
    group: str
    place: InputPlan
    fingerprint: str
    findings: Findings | None = None
    record: Mapping[str, Any] = field(default_factory=dict)


def read_inputs(source: Any) -> list[ConvertInput]:
    """Turn every form that `convert` accepts into a list of ConvertInput."""
    if isinstance(source, Mapping):
        raise InputError(
            "the inputs are given as a dict, of which only the keys would be read; give a list of (path, group) or of "
            "ConvertInput"
        )
    if isinstance(source, (str, os.PathLike, ConvertInput)):
        source = [source]
    if not isinstance(source, Iterable):
        raise InputError(f"{source!r} is no input; expected a path, (path, group), a ConvertInput, or a list of them")
    items = []
    for entry in source:
        if isinstance(entry, ConvertInput):
            items.append(entry)
        elif isinstance(entry, (str, os.PathLike)):
            items.append(ConvertInput(entry))
        elif isinstance(entry, (tuple, list)) and len(entry) == 2:
            items.append(ConvertInput(entry[0], entry[1]))
        else:
            raise InputError(f"{entry!r} is no input; expected a path, (path, group), or a ConvertInput")
    if not items:
        raise InputError("nothing to convert: give at least one input")
    return items


def own_options(item: ConvertInput, common: ReadOptions) -> ReadOptions:
    """Return how one file is opened: what is particular to it comes before what is common."""
    names = ("transform", "transform_format", "transform_inverse", "transform_source")
    own = {name: getattr(item, name) for name in names} if item.transform is not None else {}
    return replace(
        common,
        reference=item.reference if item.reference is not None else common.reference,
        dps=item.dps,
        dpv=item.dpv,
        **own,
    )


def names_of(items: Sequence[ConvertInput]) -> list[str]:
    """Name each input by its file, numbered where names repeat."""
    stems = [Path(item.path).name.split(".")[0] or "input" for item in items]
    return [stem if stems.count(stem) == 1 else f"{stem}_{n + 1}" for n, stem in enumerate(stems)]
