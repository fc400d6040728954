"""A plan: one TRX container that does not exist yet, and which rows of it each input owns.

`trxlib.engine.planning` makes it. It is complete: whoever has it and the inputs can fill any part of the result, in
any order, and all get the same bytes. It is a small JSON file, so that other processes and machines can.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from trxlib.container.atomic import writing
from trxlib.container.layout import Layout, plan_layout
from trxlib.errors import (
    FormatError,
)
from trxlib.files import read_regular
from trxlib.model.dtypes import DTYPES
from trxlib.model.header import Header
from trxlib.model.names import HEADER_NAME, ArrayName
from trxlib.model.options import ReadOptions
from trxlib.model.source import ArraySpec

__all__ = ["InputPlan", "Plan"]

_VERSION = 2


@dataclass(frozen=True)
class InputPlan:
    """What one input gives, and the rows of the result that it owns.

    Parameters
    ----------
    name : str
        What it is called in messages and in renamed keys.
    path : str
        The file; empty for an input in memory.
    options : ReadOptions, optional
        How it is opened; None for a TRX file that is taken as it is.
    stamp : tuple of 2 int, optional
        Size and time of change when planned, see `trxlib.engine.stamps`, so that a replaced input is noticed.
    first_streamline, nb_streamlines, first_vertex, nb_vertices : int
        Its rows in the result.
    groups : mapping of str to (int, int)
        For each group: its first member in the result's group, and how many it gives.
    whole : tuple of str
        Groups to which all its streamlines belong.
    """

    name: str
    path: str
    options: ReadOptions | None
    stamp: tuple[int, int] | None
    first_streamline: int
    nb_streamlines: int
    first_vertex: int
    nb_vertices: int
    groups: Mapping[str, tuple[int, int]]
    whole: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A container that does not exist yet.

    Parameters
    ----------
    header : Header
        Of the result.
    positions_dtype, offsets_dtype : numpy.dtype
        Types of those two.
    dps, dpv : mapping of str to ArraySpec
        Keys of the result.
    groups : mapping of str to int
        Members of each group.
    small : mapping of str to bytes
        Entries written whole: header, dpg, sidecars.
    inputs : tuple of InputPlan
        In the order of the result.
    shards : tuple of (int, int)
        Ranges of inputs that are filled by one job.
    """

    header: Header
    positions_dtype: np.dtype[Any]
    offsets_dtype: np.dtype[Any]
    dps: Mapping[str, ArraySpec]
    dpv: Mapping[str, ArraySpec]
    groups: Mapping[str, int]
    small: Mapping[str, bytes]
    inputs: tuple[InputPlan, ...]
    shards: tuple[tuple[int, int], ...] = field(default=())

    @cached_property
    def names(self) -> dict[tuple[str, str], ArrayName]:
        """The large arrays, by section and key, in the order of the container."""
        names = [
            ArrayName("positions", "positions", 3, self.positions_dtype),
            ArrayName("offsets", "offsets", 1, self.offsets_dtype),
        ]
        for section, columns in (("dpv", self.dpv), ("dps", self.dps)):
            names += [ArrayName(section, key, columns[key].ncols, columns[key].dtype) for key in sorted(columns)]
        names += [ArrayName("groups", group, 1, DTYPES["uint32"]) for group in sorted(self.groups)]
        return {(name.section, name.name): name for name in names}

    def nb_rows(self, name: ArrayName) -> int:
        """Return how many rows an array of the result has."""
        match name.section:
            case "positions" | "dpv":
                return self.header.nb_vertices
            case "dps":
                return self.header.nb_streamlines
            case "offsets":
                return self.header.nb_streamlines + 1
            case _:
                return self.groups[name.name]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Bytes of every entry, in the order of the container: header, arrays, dpg, sidecars."""
        small = {path: len(data) for path, data in self.small.items()}
        large = {name.path: self.nb_rows(name) * name.row_nbytes for name in self.names.values()}
        return {HEADER_NAME: small.pop(HEADER_NAME), **large, **small}

    @cached_property
    def layout(self) -> Layout:
        """Where each entry lies in a zip archive."""
        return plan_layout(self.sizes.items())

    @property
    def nbytes(self) -> int:
        """Bytes of data."""
        return sum(self.sizes.values())

    @cached_property
    def id(self) -> str:
        """A name that two plans share only if they are equal: 16 hexadecimal digits."""
        import hashlib  # OpenSSL, which merging in memory does not need

        return hashlib.blake2b(self.to_json().encode(), digest_size=8).hexdigest()

    def to_json(self) -> str:
        """Return the plan as JSON text; equal plans give equal text."""
        return self._json

    @cached_property
    def _json(self) -> str:
        content: dict[str, Any] = {
            "version": _VERSION,
            "header": self.header.to_json().decode(),
            "positions": self.names["positions", "positions"].extension,
            "offsets": self.names["offsets", "offsets"].extension,
            "dps": self._specs_to_json("dps"),
            "dpv": self._specs_to_json("dpv"),
            "groups": dict(sorted(self.groups.items())),
            "small": {path: data.hex() for path, data in self.small.items()},
            "shards": self.shards,
            # Not asdict, which copies all that is inside: a minute for ten thousand inputs.
            "inputs": [_input_to_json(item) for item in self.inputs],
        }
        # One line for each input: a person can read it and `diff` it.
        inputs = ",\n".join(json.dumps(item, ensure_ascii=False) for item in content.pop("inputs"))
        return json.dumps(content, ensure_ascii=False)[:-1] + f', "inputs": [\n{inputs}\n]}}\n'

    def _specs_to_json(self, wanted: str) -> dict[str, list[Any]]:
        return {key: [name.ncols, name.extension] for (section, key), name in self.names.items() if section == wanted}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan; the name appears when it is complete."""
        with writing(path) as partial:
            partial.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan.

        Raises
        ------
        FormatError
            If the file is no plan of this version.
        """
        data = read_regular(path)
        try:
            content = json.loads(data)
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']}, expected {_VERSION}")
            return cls(
                header=Header.from_json(content["header"].encode()),
                positions_dtype=DTYPES[content["positions"]],
                offsets_dtype=DTYPES[content["offsets"]],
                dps=_specs_from_json(content["dps"]),
                dpv=_specs_from_json(content["dpv"]),
                groups=content["groups"],
                small={name: bytes.fromhex(data) for name, data in content["small"].items()},
                shards=tuple((low, high) for low, high in content["shards"]),
                inputs=tuple(_input_from_json(item) for item in content["inputs"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{path}: is no plan that this version can read ({error}); plan again") from None


def _specs_from_json(content: Mapping[str, Any]) -> dict[str, ArraySpec]:
    return {key: ArraySpec(ncols, DTYPES[extension]) for key, (ncols, extension) in content.items()}


def _input_to_json(item: InputPlan) -> dict[str, Any]:
    return {**vars(item), "options": None if item.options is None else item.options.to_json()}


def _input_from_json(item: dict[str, Any]) -> InputPlan:
    item["groups"] = {group: (first, count) for group, (first, count) in item["groups"].items()}
    item["stamp"] = tuple(item["stamp"]) if item["stamp"] else None
    item["whole"] = tuple(item["whole"])
    item["options"] = None if item["options"] is None else ReadOptions.from_json(item["options"])
    return InputPlan(**item)
