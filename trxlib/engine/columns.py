"""Unite the dps and dpv keys of many inputs: which the result has, how wide, of which type.

Only names and types are united here; the rows are filled in later. Entries that a plan holds whole (dpg, header keys,
sidecars) are united by `trxlib.engine.unite`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from trxlib.errors import DataLossWarning, DtypeError, FormatError, InputError, MetadataMismatchError, ShapeError, warn
from trxlib.model.dtypes import widest_dtype
from trxlib.model.source import ArraySpec, SourceHeaders

__all__ = ["MissingPolicy", "unite_columns", "united_positions_dtype"]

#: What to do with a dps or dpv key that some inputs lack.
MissingPolicy = Literal["error", "drop", "fill"]


def united_positions_dtype(sources: Sequence[SourceHeaders]) -> np.dtype[Any]:
    """Return the widest type of all positions; sources without vertices do not count."""
    dtypes = [source.info.positions_dtype for source in sources if source.info.nb_vertices]
    return widest_dtype(dtypes or [sources[0].info.positions_dtype], "positions")


def unite_columns(
    sources: Sequence[SourceHeaders],
    names: Sequence[str],
    section: str,
    missing: MissingPolicy,
    dtypes: Mapping[str, np.dtype[Any]] | None = None,
) -> dict[str, ArraySpec]:
    """Return the dps or dpv keys of the result with their widths and types.

    Parameters
    ----------
    sources : sequence of SourceHeaders
        Those without streamlines lack nothing.
    names : sequence of str
        What messages call them.
    section : {"dps", "dpv"}
        Which keys.
    missing : {"error", "drop", "fill"}
        What to do with a key that some lack.
    dtypes : mapping of str to dtype, optional
        Label (``dps/weight``) and the type that is asked for; by default the narrowest that holds all values.

    Raises
    ------
    MetadataMismatchError
        Lists all misfits at once.
    """
    if missing not in ("error", "drop", "fill"):
        raise InputError(f"missing is {missing!r}, expected 'error' or 'drop' or 'fill'")
    tables: list[Mapping[str, ArraySpec]] = [getattr(source.info, section) for source in sources]
    filled = [number for number, source in enumerate(sources) if source.info.nb_streamlines]
    columns: dict[str, ArraySpec] = {}
    problems: list[str] = []
    dropped: list[str] = []
    for key in sorted({key for table in tables for key in table}):
        lacking = [names[number] for number in filled if key not in tables[number]]
        if lacking and missing == "drop":
            dropped.append(f"{section}/{key} (lacking in {_few(lacking)})")
            continue
        if lacking and missing == "error":
            problems.append(f"{section}/{key} is lacking in {_few(lacking)}")
            continue
        # Where only inputs without streamlines have the key, they decide.
        holders = [number for number in filled if key in tables[number]] or [*range(len(tables))]
        specs = {names[number]: tables[number][key] for number in holders if key in tables[number]}
        try:
            columns[key] = _unite_specs(specs, f"{section}/{key}", lacking, (dtypes or {}).get(f"{section}/{key}"))
        except FormatError as error:
            problems.append(str(error))
    if dropped:
        warn(f"left out, since not all inputs have them: {', '.join(dropped)}", DataLossWarning)
    if problems:
        raise MetadataMismatchError(
            "the inputs have different data:\n  "
            + "\n  ".join(problems)
            + "\n  add what is missing, leave out what not all have ('drop'), or fill it with NaN ('fill'): "
            "missing_metadata in the configuration of the workflow, --missing on the command line, missing= in Python "
            f"(delete_{section}=True in concatenate); {section} of unlike widths must be renamed"
        )
    return columns


def _unite_specs(
    specs: Mapping[str, ArraySpec], what: str, lacking: Sequence[str], wanted: np.dtype[Any] | None
) -> ArraySpec:
    """Return width and type of one key; `lacking` are the inputs whose rows will be NaN."""
    ncols = next(iter(specs.values())).ncols
    if any(spec.ncols != ncols for spec in specs.values()):
        found = _few([f"{name}: {spec.ncols}" for name, spec in specs.items()])
        raise ShapeError(f"{what} has different numbers of columns ({found})")
    dtype = widest_dtype([spec.dtype for spec in specs.values()], what) if wanted is None else wanted
    if lacking and dtype.kind != "f":
        raise DtypeError(f"{what} is lacking in {_few(lacking)}, and {dtype} has no NaN to fill it with")
    return ArraySpec(ncols, dtype)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
