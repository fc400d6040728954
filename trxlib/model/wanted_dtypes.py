"""The number types that dps and dpv are to get, by name: ``{"dps/weight": "float16", "dpv/*": "float32"}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, InputError
from trxlib.model.choice import matching, no_match
from trxlib.model.dtypes import DTYPES, dtype_of_extension, extension_of_dtype

__all__ = ["find_dtypes", "read_dtypes"]

_ELSEWHERE = {"positions": "positions_dtype", "offsets": "offsets_dtype"}


def read_dtypes(dtypes: Mapping[str, npt.DTypeLike] | None) -> dict[str, np.dtype[Any]]:
    """Return names and types, checked.

    Parameters
    ----------
    dtypes : mapping of str to dtype, optional
        Names as for `trxlib.model.choice`, of dps and dpv; types of numpy, or their names in the format.

    Raises
    ------
    InputError
        If something is no name or no type of the format, or stands for another kind of array.
    """
    if dtypes is None:
        return {}
    if not isinstance(dtypes, Mapping):
        raise InputError(f'dtypes is {dtypes!r}, expected a dict such as {{"dps/weight": "float16"}}')
    return {_check_name(name): _check_type(name, value) for name, value in dtypes.items()}


def _check_name(name: Any) -> str:
    if not isinstance(name, str):
        raise InputError(f"dtypes names {name!r}, expected names such as 'dps/weight' or 'dpv/*'")
    if name in _ELSEWHERE:
        raise InputError(f"dtypes names {name}; the type of {name} is given by {_ELSEWHERE[name]}")
    if name.startswith(("groups/", "dpg/")):
        raise InputError(f"dtypes names {name}, expected dps and dpv; groups are uint32, and dpg stay as they are")
    return name


def _check_type(name: str, value: Any) -> np.dtype[Any]:
    try:
        if isinstance(value, str) and value.lstrip(".") in (*DTYPES, "bool"):
            return dtype_of_extension(value)
        if value is not None:  # which numpy takes for float64
            return DTYPES[extension_of_dtype(value)]
    except (TypeError, DtypeError):
        pass
    raise InputError(f"dtypes gives {name} the type {value!r}; the format has {', '.join(DTYPES)}")


def find_dtypes(wanted: Mapping[str, np.dtype[Any]], labels: Iterable[str]) -> dict[str, np.dtype[Any]]:
    """Return which arrays are to get which type.

    Parameters
    ----------
    wanted : mapping of str to dtype
        What `read_dtypes` returned. A name without ``*`` counts before one with it.
    labels : iterable of str
        Of all dps and dpv that there are.

    Returns
    -------
    dict of str to dtype
        By label; arrays that are not named are not there.

    Raises
    ------
    InputError
        If a name matches nothing, or an array has two types by names that count the same.
    """
    labels = sorted(labels)
    unused = [name for name in wanted if not matching([name], labels)]
    if unused:
        raise no_match("dtypes (--dtype)", unused, labels)
    return {label: _find_dtype(wanted, label) for label in sorted(matching(wanted, labels))}


def _find_dtype(wanted: Mapping[str, np.dtype[Any]], label: str) -> np.dtype[Any]:
    if label in wanted:
        return wanted[label]
    found = {name: dtype for name, dtype in wanted.items() if matching([name], [label])}
    if len(set(found.values())) > 1:
        given = " and ".join(f"{dtype.name} ({name})" for name, dtype in found.items())
        raise InputError(f"dtypes gives {label} the types {given}; name {label} itself, too")
    return next(iter(found.values()))
