"""Which arrays of a tractogram are wanted: names such as ``dps/weight``, where ``*`` stands for anything.

What is left out on request is gone before anything else happens to the arrays, so that no rule, no limit of a format
and no warning concerns it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from trxlib.errors import InputError
from trxlib.model.source import Source, SourceInfo

__all__ = ["ArrayChoice", "check_used", "choose", "matching", "no_match", "read_names"]

_MOST_SHOWN = 20


class ArrayChoice(NamedTuple):
    """Names of arrays that are wanted, or of those that are not.

    Parameters
    ----------
    keep : tuple of str, optional
        Only what one of these matches is kept; positions and offsets always are. None: everything.
    leave_out : tuple of str
        What one of these matches is left out.
    """

    keep: tuple[str, ...] | None = None
    leave_out: tuple[str, ...] = ()

    @property
    def leaves_out(self) -> bool:
        """Whether anything may be left out."""
        return self.keep is not None or bool(self.leave_out)

    def left_out(self, labels: Sequence[str]) -> list[str]:
        """Return those of some labels that are left out; what describes a group goes with it.

        Parameters
        ----------
        labels : sequence of str
            As `trxlib.model.names.ArrayName.label` has them, e.g. ``dpg/AF_L/color``.
        """
        named = matching(self.leave_out if self.keep is None else self.keep, labels)
        gone = named if self.keep is None else set(labels) - named
        groups = {label.removeprefix("groups/") for label in gone if label.startswith("groups/")}
        return [label for label in labels if label in gone or (_is_dpg(label) and label.split("/")[1] in groups)]

    def unused(self, labels: Sequence[str]) -> list[str]:
        """Return the names that decide nothing, given what there is."""
        if self.keep is None:
            return [name for name in self.leave_out if not matching([name], labels)]
        gone = set(self.left_out(labels))
        return [name for name in self.keep if not matching([name], labels) - gone]


def read_names(names: Any, what: str) -> tuple[str, ...]:
    """Return names of arrays as a tuple.

    Raises
    ------
    InputError
        If they are no list of texts, or name what every tractogram has.
    """
    if isinstance(names, (str, bytes)):
        raise InputError(f"{what} is {names!r}, expected a list of names; put a single one in brackets")
    if not isinstance(names, Iterable):
        raise InputError(f"{what} is {names!r}, expected a list of names such as 'dps/weight' or 'dpv/*'")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str):
            raise InputError(f"{what} holds {name!r}, expected names such as 'dps/weight' or 'dpv/*'")
        if name in ("positions", "offsets"):
            raise InputError(f"{what} names {name}, without which there is no tractogram; name dps, dpv, groups or dpg")
    return found


def matching(names: Iterable[str], labels: Iterable[str]) -> set[str]:
    """Return the labels that one of the names matches; a ``*`` stands for any characters, also none."""
    exact, patterns = set(), []
    for name in names:
        if "*" in name:
            patterns.append(re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL))
        else:
            exact.add(name)
    return {label for label in labels if label in exact or any(pattern.fullmatch(label) for pattern in patterns)}


def choose(source: Source, choice: ArrayChoice, offered: Sequence[str] | None = None) -> Source:
    """Return a source that has only the arrays that are wanted.

    Parameters
    ----------
    source : Source
        Of any format.
    choice : ArrayChoice
        Names that match nothing are not looked at here, see `check_used`: another input may have such an array.
    offered : sequence of str, optional
        What there is to choose from; by default what `source` has.

    Returns
    -------
    Source
        `source` itself if nothing may be left out. Its ``info.chosen_from`` says what there was.
    """
    if not choice.leaves_out:
        return source
    labels = source.labels()
    found = source.without(choice.left_out(labels))
    found.info = replace(found.info, chosen_from=tuple(labels if offered is None else offered))
    return found


def check_used(choice: ArrayChoice, infos: Iterable[SourceInfo]) -> None:
    """Check that every name has matched something in at least one input.

    Parameters
    ----------
    choice : ArrayChoice
        What was chosen by.
    infos : iterable of SourceInfo
        Of all inputs, after `choose`.

    Raises
    ------
    InputError
        Names those that match nothing, and lists what there is.
    """
    if not choice.leaves_out:
        return
    labels = sorted({label for info in infos for label in info.chosen_from})
    unused = choice.unused(labels)
    what = "leave_out (--leave-out)" if choice.keep is None else "keep (--keep)"
    if not unused:
        return
    if all(_is_dpg(label) for label in matching(unused, labels)) and matching(unused, labels):
        raise InputError(f"{what}: {', '.join(unused)} describes groups that are not kept; keep groups/<name>, too")
    raise no_match(what, unused, labels)


def no_match(what: str, names: Sequence[str], labels: Sequence[str]) -> InputError:
    """Return what to raise where names match none of the arrays that there are."""
    shown = ", ".join(labels[:_MOST_SHOWN]) or "no such arrays"
    more = f" and {len(labels) - _MOST_SHOWN} more" if len(labels) > _MOST_SHOWN else ""
    return InputError(f"{what}: no input has an array {', '.join(names)}; there are {shown}{more}")


def _is_dpg(label: str) -> bool:
    return label.startswith("dpg/")
