"""TrxArrays: header and arrays of a TRX file, as plain as they are, and the walks over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.model.header import Header
from trxlib.model.names import ArrayName
from trxlib.model.space import Space

__all__ = ["TrxArrays"]

Array = npt.NDArray[Any]


@dataclass
class TrxArrays:
    """Header and arrays of one TRX file. Nothing is copied or checked here (`trxlib.model.rules` checks).

    Parameters
    ----------
    header : Header
        Affine, dimensions, counts.
    positions : ndarray, float of shape (nb_vertices, 3)
        RASMM, mm, origin at the voxel's centre.
    offsets : ndarray, uint32 or uint64 of shape (nb_streamlines + 1,)
        First 0, last nb_vertices.
    dps, dpv : dict of str to ndarray
        Shapes (nb_streamlines, k) and (nb_vertices, k).
    groups : dict of str to ndarray
        Streamline indices, uint32 of shape (members,).
    dpg : dict of str to dict of str to ndarray
        Group, key, array of shape (1, k).
    sidecars : dict of str to bytes
        JSON files beside the header, kept as they are.

    Examples
    --------
    Two streamlines, of 3 and 2 vertices:

    >>> arrays = trxlib.TrxArrays(
    ...     trxlib.Header(np.eye(4), (80, 96, 64), nb_streamlines=2, nb_vertices=5),
    ...     positions=np.zeros((5, 3), dtype=np.float32),
    ...     offsets=np.array([0, 3, 5], dtype=np.uint32),
    ...     dps={"weight": np.ones((2, 1), dtype=np.float32)},
    ... )
    >>> np.diff(arrays.offsets).tolist()
    [3, 2]
    """

    header: Header
    positions: Array
    offsets: Array
    dps: dict[str, Array] = field(default_factory=dict)
    dpv: dict[str, Array] = field(default_factory=dict)
    groups: dict[str, Array] = field(default_factory=dict)
    dpg: dict[str, dict[str, Array]] = field(default_factory=dict)
    sidecars: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def empty(cls, header: Header) -> TrxArrays:
        """Return arrays without streamlines.

        Parameters
        ----------
        header : Header
            Its space is taken, and the keys it has besides.

        Returns
        -------
        TrxArrays
            Positions of shape (0, 3), float32; offsets are a single 0.

        Examples
        --------
        >>> trxlib.TrxArrays.empty(trxlib.validate("cohort.trx")).positions.shape
        (0, 3)
        """
        return cls(header.with_counts(0, 0), np.zeros((0, 3), "<f4"), np.zeros(1, "<u4"))

    @classmethod
    def of_entries(
        cls, header: Header, arrays: Mapping[ArrayName, Array], sidecars: dict[str, bytes] | None = None
    ) -> TrxArrays:
        """Return arrays that stand under the names of their entries, by section; without copies or checks.

        Parameters
        ----------
        header : Header
            Of the result.
        arrays : mapping of ArrayName to ndarray
            Shared with the result.
        sidecars : dict of str to bytes, optional
            JSON files beside the header.

        Returns
        -------
        TrxArrays
            What is not given has no rows.

        Examples
        --------
        >>> from trxlib.model.paths import parse_name
        >>> header = trxlib.validate("cohort.trx")
        >>> weight = parse_name("dps/weight.float32")
        >>> sorted(trxlib.TrxArrays.of_entries(header, {weight: np.ones((8, 1), "<f4")}).dps)
        ['weight']
        """
        dpg: dict[str, dict[str, Array]] = {}
        sections: dict[str, dict[str, Array]] = {"dps": {}, "dpv": {}, "groups": {}}
        large: dict[str, Array] = {}
        for name, array in arrays.items():
            if name.group:
                dpg.setdefault(name.group, {})[name.name] = array
            else:
                sections.get(name.section, large)[name.name] = array
        positions, offsets = large.get("positions", np.zeros((0, 3), "<f4")), large.get("offsets", np.zeros(1, "<u4"))
        return cls(header, positions, offsets, **sections, dpg=dpg, sidecars=sidecars or {})

    def by_label(self) -> dict[str, Array]:
        """Return every array under its `ArrayName.label`, e.g. ``dps/weight``.

        Returns
        -------
        dict of str to ndarray
            Nothing is copied.

        Examples
        --------
        >>> sorted(trxlib.TrxArrays.empty(trxlib.validate("cohort.trx")).by_label())
        ['offsets', 'positions']
        """
        found = {"positions": self.positions, "offsets": self.offsets}
        for section, arrays in (("dpv", self.dpv), ("dps", self.dps), ("groups", self.groups)):
            found.update((f"{section}/{name}", array) for name, array in arrays.items())
        for group, arrays in self.dpg.items():
            found.update((f"dpg/{group}/{name}", array) for name, array in arrays.items())
        return found

    def with_arrays(self, by_label: Mapping[str, Array]) -> TrxArrays:
        """Return the same keys with other arrays.

        Parameters
        ----------
        by_label : mapping of str to ndarray
            As `by_label` gives these; shared with the result.

        Returns
        -------
        TrxArrays

        Examples
        --------
        >>> empty = trxlib.TrxArrays.empty(trxlib.validate("cohort.trx"))
        >>> wide = empty.with_arrays({label: array.astype("f8") for label, array in empty.by_label().items()})
        >>> wide.positions.dtype.name
        'float64'
        """
        return replace(
            self,
            positions=by_label["positions"],
            offsets=by_label["offsets"],
            dpv={name: by_label[f"dpv/{name}"] for name in self.dpv},
            dps={name: by_label[f"dps/{name}"] for name in self.dps},
            groups={name: by_label[f"groups/{name}"] for name in self.groups},
            dpg={
                group: {name: by_label[f"dpg/{group}/{name}"] for name in arrays} for group, arrays in self.dpg.items()
            },
        )

    def without(self, labels: Iterable[str]) -> TrxArrays:
        """Return the arrays but for some.

        Parameters
        ----------
        labels : iterable of str
            As `by_label` has them; positions and offsets stay.

        Returns
        -------
        TrxArrays
            The others are shared. A group without anything in dpg is not in `dpg`.

        Examples
        --------
        >>> made = trxlib.TrxArrays.empty(trxlib.validate("cohort.trx"))
        >>> made.dps["weight"] = np.zeros((0, 1), dtype=np.float32)
        >>> sorted(made.without(["dps/weight"]).by_label())
        ['offsets', 'positions']
        """
        gone = set(labels)

        def kept(arrays: Mapping[str, Array], folder: str) -> dict[str, Array]:
            return {name: array for name, array in arrays.items() if f"{folder}/{name}" not in gone}

        dpg = {group: kept(arrays, f"dpg/{group}") for group, arrays in self.dpg.items()}
        return replace(
            self,
            dps=kept(self.dps, "dps"),
            dpv=kept(self.dpv, "dpv"),
            groups=kept(self.groups, "groups"),
            dpg={group: arrays for group, arrays in dpg.items() if arrays},
        )

    @property
    def space(self) -> Space:
        """Affine and dimensions of the header; the affine is shared.

        Examples
        --------
        >>> trxlib.TrxArrays.empty(trxlib.validate("cohort.trx")).space.voxel_sizes.tolist()
        [2.0, 2.0, 2.0]
        """
        return Space(self.header.voxel_to_rasmm, self.header.dimensions)

    def iter_arrays(self) -> Iterator[tuple[ArrayName, Array]]:
        """Yield every array with its name, in the order in which entries stand in an archive.

        The order is positions, offsets, dpv, dps, groups, dpg; names sorted.

        Yields
        ------
        ArrayName
            Section, name, columns and type.
        ndarray
            The array itself, not a copy.

        Examples
        --------
        >>> arrays = trxlib.TrxArrays.empty(trxlib.validate("cohort.trx"))
        >>> [(name.section, array.shape) for name, array in arrays.iter_arrays()]
        [('positions', (0, 3)), ('offsets', (1,))]
        """
        yield _named("positions", "positions", self.positions), self.positions
        yield _named("offsets", "offsets", self.offsets), self.offsets
        for section, arrays in (("dpv", self.dpv), ("dps", self.dps), ("groups", self.groups)):
            for name in sorted(arrays):
                yield _named(section, name, arrays[name]), arrays[name]
        for group in sorted(self.dpg):
            for name in sorted(self.dpg[group]):
                array = self.dpg[group][name]
                yield _named("dpg", name, array, group), array


def _named(section: str, name: str, array: Array, group: str = "") -> ArrayName:
    ncols = array.shape[1] if array.ndim == 2 else 1
    return ArrayName(section, name, ncols, array.dtype, group)
