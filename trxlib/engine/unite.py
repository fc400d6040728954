"""Unite the small things of many inputs: dpg, header keys the format does not know, sidecar files.

One policy for all three: what only one input has, or all that have it agree on, keeps its name; where they differ,
every one is kept under ``<name>_<input>``. Nothing is lost. Which dps and dpv the result has is decided by
`trxlib.engine.columns`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trxlib.errors import ArrayNameError
from trxlib.model.header import canonical_json
from trxlib.model.names import ArrayName, check_writable, make_key
from trxlib.model.source import SourceHeaders

__all__ = ["unite_small"]


@dataclass(frozen=True)
class SmallEntries:
    """What a plan writes whole.

    Parameters
    ----------
    extra : dict
        Header keys outside the format.
    entries : dict of str to bytes
        dpg arrays, then sidecars, each sorted by name.
    """

    extra: dict[str, Any]
    entries: dict[str, bytes]


def unite_small(inputs: Sequence[SourceHeaders], names: Sequence[str]) -> SmallEntries:
    """Unite header keys, dpg and sidecars of all inputs.

    Parameters
    ----------
    inputs : sequence of SourceHeaders
        In the order of the result.
    names : sequence of str
        What each is called in new names.
    """
    named = [(make_key(name), item) for name, item in zip(names, inputs, strict=True)]
    extra = _unite(
        ((name, key, value) for name, item in named for key, value in item.extra.items()),
        lambda key, name: f"{key}_{name}",
        lambda key, value: canonical_json(value, f"header key {key!r}"),
    )
    sidecars = _unite(
        ((name, path, data) for name, item in named for path, data in item.sidecars.items()),
        lambda path, name: f"{path.removesuffix('.json')}_{name}.json",
    )
    for path in sidecars:
        if not path.isascii() and path.encode(errors="replace").decode() != path:
            raise ArrayNameError(f"the sidecar {path!r} has a name that is no UTF-8; rename the file")
    entries = {}
    dpg = _unite(_dpg_items(named), lambda key, name: (key[0], f"{key[1]}_{name}"))
    for (group, key), (ncols, dtype, data) in sorted(dpg.items()):
        array_name = ArrayName("dpg", key, ncols, dtype, group)
        check_writable([array_name])
        entries[array_name.path] = data
    return SmallEntries(extra, {**entries, **dict(sorted(sidecars.items()))})


def _dpg_items(named: Iterable[tuple[str, SourceHeaders]]) -> Iterable[tuple[str, Any, Any]]:
    for name, item in named:
        for group, arrays in item.dpg.items():
            for key, row in arrays.items():
                yield name, (group, key), (row.shape[1], row.dtype, row.tobytes())


def _unite(
    items: Iterable[tuple[str, Any, Any]],
    renamed: Callable[[Any, str], Any],
    stated: Callable[[Any, Any], Any] = lambda _, value: value,
) -> dict[Any, Any]:
    """Apply the policy of this module to (input, key, value) triples; `stated` gives what is compared of a value."""
    values: dict[Any, list[tuple[str, Any]]] = {}
    for name, key, value in items:
        values.setdefault(key, []).append((name, value))
    agreed = {key for key, found in values.items() if _all_equal([value for _, value in found], key, stated)}
    united: dict[Any, Any] = {key: found[0][1] for key, found in values.items() if key in agreed}
    for key, found in values.items():
        if key not in agreed:
            for name, value in found:
                new = renamed(key, name)
                while new in united or new in values:  # somebody chose just that name
                    new = renamed(new, name)
                united[new] = value
    return united


def _all_equal(values: Sequence[Any], key: Any, stated: Callable[[Any, Any], Any]) -> bool:
    others = [value for value in values[1:] if value is not values[0]]
    if not others:
        return True
    first = stated(key, values[0])
    return all(stated(key, value) == first for value in others)
