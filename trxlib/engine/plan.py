"""Plan one TRX container from many inputs, by their headers alone: counts, keys, types, and who owns which rows.

The plan is complete: whoever has it and the inputs can fill any part of the result, in any order, and all get the
same bytes. It is a small JSON file, so that other processes and machines can.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from trxlib.container.atomic import writing
from trxlib.container.entries import iter_files
from trxlib.container.layout import Layout, plan_layout
from trxlib.engine.columns import MissingPolicy, unite_columns, united_positions_dtype
from trxlib.engine.unite import unite_small
from trxlib.errors import (
    CapacityError,
    DataLossWarning,
    FormatError,
    InputError,
    StaleError,
    warn,
)
from trxlib.model.dtypes import DTYPES
from trxlib.model.header import Header
from trxlib.model.names import HEADER_NAME, ArrayName, check_writable
from trxlib.model.offsets import UINT32_MAX, offsets_dtype
from trxlib.model.options import ReadOptions
from trxlib.model.source import ArraySpec, Source, SourceHeaders
from trxlib.model.space import Space, check_same_space, invert_affine

__all__ = ["InputPlan", "MissingPolicy", "Plan", "divide", "plan_merge", "stamp_of"]

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
        Size and time of change when planned, see `stamp_of`, so that a replaced input is noticed.
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
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
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


def plan_merge(
    sources: Sequence[Source | SourceHeaders],
    *,
    names: Sequence[str] | None = None,
    whole_groups: Sequence[Sequence[str]] | None = None,
    options: Sequence[ReadOptions | None] | None = None,
    positions_dtype: np.dtype[Any] | None = None,
    missing: MissingPolicy = "error",
    keep_groups: bool = True,
    check_space: bool = True,
    grid: Space | None = None,
    nb_shards: int = 1,
) -> Plan:
    """Plan the container that holds all streamlines of all sources, in their order.

    Parameters
    ----------
    sources : sequence of Source or SourceHeaders
        At least one. `SourceHeaders` of sources that are closed again spare open files where there are thousands.
    names : sequence of str, optional
        Name of each source; by default "1", "2", ...
    whole_groups : sequence of sequence of str, optional
        For each source, the groups that all its streamlines belong to.
    options : sequence of mapping, optional
        For each source, how to open it again (kept in the plan).
    positions_dtype : dtype, optional
        By default the widest of the sources'.
    missing : {"error", "drop", "fill"}
        dps and dpv keys that some sources lack: an error, left out with a warning, or NaN where they are missing.
        Sources without streamlines lack nothing.
    keep_groups : bool
        Whether the groups inside TRX sources, and their dpg, are kept.
    check_space : bool
        Whether all must have one affine and dimensions; else those of the first are taken. Sources without
        streamlines to which nobody gave a space do not count.
    grid : Space, optional
        Affine and dimensions of the result; the inputs may have others then, since all positions are RASMM.
    nb_shards : int
        Jobs to divide the filling between.

    Returns
    -------
    Plan

    Raises
    ------
    SpaceMismatchError, MetadataMismatchError
        List every source that does not fit.
    InputError
        If there is no source.
    """
    if not sources:
        raise InputError("nothing to merge: give at least one input")
    inputs = [source if isinstance(source, SourceHeaders) else source.headers() for source in sources]
    if not keep_groups:
        inputs = [replace(item, groups={}, dpg={}) for item in inputs]
    infos = [item.info for item in inputs]
    names = list(names) if names is not None else [str(number + 1) for number in range(len(infos))]
    whole = [tuple(groups) for groups in whole_groups] if whole_groups is not None else [()] * len(infos)
    # Numbered, since two inputs may be one file.
    spaces = {
        f"{info.path or name} (input {n + 1})": info.space
        for n, (name, info) in enumerate(zip(names, infos, strict=True))
        if info.has_space
    } or {infos[0].path or names[0]: infos[0].space}
    if check_space and grid is None:
        check_same_space(spaces)
    # Positions of any space can be written; what reads them needs the inverse.
    label, space = next(iter(spaces.items())) if grid is None else ("grid", grid)
    invert_affine(space.voxel_to_rasmm, f"{label}: VOXEL_TO_RASMM")
    nb_streamlines = sum(info.nb_streamlines for info in infos)
    nb_vertices = sum(info.nb_vertices for info in infos)
    small = unite_small(inputs, names)
    header = Header(space.voxel_to_rasmm, space.dimensions, nb_streamlines, nb_vertices, small.extra)
    places, group_sizes = _place(inputs, names, whole, options)
    if group_sizes and nb_streamlines > UINT32_MAX:
        raise CapacityError(
            f"{nb_streamlines} streamlines cannot be members of groups, whose type is uint32; merge fewer inputs or "
            "leave the groups out"
        )
    plan = Plan(
        header=header,
        positions_dtype=np.dtype(positions_dtype).newbyteorder("<")
        if positions_dtype
        else united_positions_dtype(inputs),
        offsets_dtype=offsets_dtype(nb_vertices),
        dps=unite_columns(inputs, names, "dps", missing),
        dpv=unite_columns(inputs, names, "dpv", missing),
        groups=group_sizes,
        small={HEADER_NAME: header.to_json(), **small.entries},
        inputs=tuple(places),
        shards=divide(places, nb_shards),
    )
    check_writable(plan.names.values())
    return plan


def stamp_of(path: str, options: ReadOptions | None = None) -> tuple[int, int]:
    """Return size and time of change of a file (or of all files of a folder), summed with those its options name.

    Raises
    ------
    StaleError
        If one is gone.
    """
    others = options.files() if options is not None else []
    stamps = [_stamp_of_one(os.fspath(file)) for file in (path, *others)]
    return sum(size for size, _ in stamps), sum(changed for _, changed in stamps)


def _stamp_of_one(path: str) -> tuple[int, int]:
    try:
        if not os.path.isdir(path):  # noqa: PTH112 (ten thousand times in a large cohort)
            status = os.stat(path)  # noqa: PTH116
            return status.st_size, status.st_mtime_ns
        found = [status for _, status in iter_files(path)]
        return sum(status.st_size for status in found), sum(status.st_mtime_ns for status in found)
    except OSError as error:
        why = error.strerror or error
        raise StaleError(f"{path}: was planned with and cannot be read now ({why}); plan again") from None


def _place(
    sources: Sequence[SourceHeaders],
    names: Sequence[str],
    whole: Sequence[tuple[str, ...]],
    options: Sequence[ReadOptions | None] | None,
) -> tuple[list[InputPlan], dict[str, int]]:
    """Give each input its rows; return the inputs and the size of each group."""
    inputs = []
    sizes: dict[str, int] = {}
    streamline = vertex = 0
    for number, source in enumerate(sources):
        info = source.info
        counts = dict(source.groups)
        for group in whole[number]:
            if counts.get(group, info.nb_streamlines) != info.nb_streamlines:
                warn(
                    f"{names[number]}: all streamlines are put into group {group!r}, which had {counts[group]} of "
                    f"{info.nb_streamlines} before",
                    DataLossWarning,
                )
            counts[group] = info.nb_streamlines
        places = {}
        for group, count in counts.items():
            places[group] = (sizes.get(group, 0), count)
            sizes[group] = sizes.get(group, 0) + count
        inputs.append(
            InputPlan(
                name=names[number],
                path=info.path,
                options=options[number] if options is not None else None,
                stamp=stamp_of(info.path, options[number]) if options is not None else None,
                first_streamline=streamline,
                nb_streamlines=info.nb_streamlines,
                first_vertex=vertex,
                nb_vertices=info.nb_vertices,
                groups=places,
                whole=whole[number],
            )
        )
        streamline += info.nb_streamlines
        vertex += info.nb_vertices
    return inputs, sizes


def divide(inputs: Sequence[InputPlan], nb_shards: int) -> tuple[tuple[int, int], ...]:
    """Divide inputs into ranges of about equal weight; none is empty unless there are too few inputs."""
    weights = [12 * item.nb_vertices + 4 * item.nb_streamlines + 1 for item in inputs]
    ends = np.cumsum([0, *weights], dtype=np.float64)
    cuts = [0]
    for number in range(1, nb_shards):
        nearest = int(np.abs(ends - ends[-1] * number / nb_shards).argmin())
        most = len(inputs) - (nb_shards - number)  # leaves one input for each shard to come
        cuts.append(min(max(nearest, cuts[-1] + 1), max(most, cuts[-1])))
    return tuple(pairwise([*cuts, len(inputs)]))


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
