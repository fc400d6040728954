"""Unite the small things of many inputs: dpg, header keys the format does not know, sidecar files.

One policy for all three: what only one input has, or all that have it agree on, keeps its name; where they differ,
every one is kept under ``<name>_<input>``. Nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trxlib.dtypes import little_endian
from trxlib.names import ArrayName, make_key
from trxlib.ops.bundle import BundleSource
from trxlib.rules import check_writable
from trxlib.source import Source

__all__ = ["SmallEntries", "unite_small"]


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


def unite_small(sources: Sequence[Source], names: Sequence[str], *, keep_groups: bool) -> SmallEntries:
    """Unite header keys, dpg and sidecars of `sources`.

    Parameters
    ----------
    sources : sequence of Source
        Of inputs that are no TRX files only the header facts are taken, under the name of the format (``TRK``).
    names : sequence of str
        What each is called in new names.
    keep_groups : bool
        Whether dpg are kept.
    """
    bundles = [
        (make_key(name), source)
        for name, source in zip(names, sources, strict=True)
        if isinstance(source, BundleSource)
    ]
    extra = _unite(_extra_items(sources, names), lambda key, name: f"{key}_{name}")
    sidecars = _unite(
        ((name, path, data) for name, source in bundles for path, data in source.arrays.sidecars.items()),
        lambda path, name: f"{path.removesuffix('.json')}_{name}.json",
    )
    dpg = _unite(_dpg_items(bundles), lambda key, name: (key[0], f"{key[1]}_{name}")) if keep_groups else {}
    entries = {}
    for (group, key), (ncols, dtype, data) in sorted(dpg.items()):
        array_name = ArrayName("dpg", key, ncols, dtype, group)
        check_writable(array_name)
        entries[array_name.path] = data
    return SmallEntries(extra, {**entries, **dict(sorted(sidecars.items()))})


def _extra_items(sources: Sequence[Source], names: Sequence[str]) -> Iterable[tuple[str, Any, Any]]:
    for name, source in zip(map(make_key, names), sources, strict=True):
        if isinstance(source, BundleSource):
            yield from ((name, key, value) for key, value in source.arrays.header.extra.items())
        elif source.info.facts:
            yield name, source.info.format.upper(), dict(source.info.facts)


def _dpg_items(bundles: Sequence[tuple[str, BundleSource]]) -> Iterable[tuple[str, Any, Any]]:
    for name, source in bundles:
        for group, arrays in source.arrays.dpg.items():
            for key, array in arrays.items():
                row = little_endian(array).reshape(1, -1)
                yield name, (group, key), (row.shape[1], row.dtype, row.tobytes())


def _unite(items: Iterable[tuple[str, Any, Any]], renamed: Callable[[Any, str], Any]) -> dict[Any, Any]:
    """Apply the policy of this module to (input, key, value) triples."""
    values: dict[Any, list[tuple[str, Any]]] = {}
    for name, key, value in items:
        values.setdefault(key, []).append((name, value))
    united: dict[Any, Any] = {key: found[0][1] for key, found in values.items() if _all_equal(found)}
    for key, found in values.items():
        if not _all_equal(found):
            for name, value in found:
                new = renamed(key, name)
                while new in united or new in values:  # somebody chose just that name
                    new = renamed(new, name)
                united[new] = value
    return united


def _all_equal(found: Sequence[tuple[str, Any]]) -> bool:
    first = found[0][1]
    # repr: values may be lists or NaN, which is not equal to itself.
    return all(value is first or repr(value) == repr(first) for _, value in found[1:])
