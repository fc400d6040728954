"""What a TrxFile shows, as nibabel's classes and dicts, and the plain arrays that it stands for.

Users assign to these attributes and write into them, so the arrays are checked anew whenever they are needed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import DtypeError, InputError, OffsetsError, ShapeError
from trxlib.model.arrays import TrxArrays
from trxlib.model.dtypes import cast_integers, little_endian
from trxlib.model.header import Header, header_with_counts
from trxlib.model.offsets import gather_rows, is_contiguous, offsets_dtype, offsets_of, resolve_indices
from trxlib.model.select import Runs, Selection, runs_of
from trxlib.trxfile.late_groups import LateGroups, Tables
from trxlib.trxfile.preallocated import Preallocated

__all__ = ["Views", "check_sequence", "check_table", "make_sequence"]

Array = npt.NDArray[Any]
_LOCK = threading.Lock()


def make_sequence(data: Array, starts: Array, lengths: Array) -> Any:
    """Return an ArraySequence over arrays as they are; nothing is copied."""
    # Here, since nibabel takes longer to import than a file of 100 MB to load and save.
    from nibabel.streamlines.array_sequence import ArraySequence

    sequence = ArraySequence()
    sequence._data, sequence._offsets, sequence._lengths = data, starts, lengths
    return sequence


def check_sequence(value: Any) -> Any:
    """Return what is to be the streamlines of a file, if it is an ArraySequence.

    Raises
    ------
    InputError
        If it is something else.
    """
    if not all(hasattr(value, name) for name in ("_data", "_offsets", "_lengths")):
        raise InputError(
            f"streamlines is a {type(value).__name__}, expected a nibabel ArraySequence; ArraySequence(list_of_arrays) "
            "makes one"
        )
    return value


def check_table(value: Any, what: str) -> Any:
    """Return what is to be an attribute of a file, if it is a dict.

    Raises
    ------
    InputError
        If it is something else.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{what} is a {type(value).__name__}, expected a dict; {{}} for none")
    return value


@dataclass
class Views:
    """The attributes of a TrxFile, except its header.

    Parameters
    ----------
    streamlines : ArraySequence
        Vertices in RASMM, mm.
    data_per_vertex : dict of str to ArraySequence
        Share the offsets of `streamlines`.
    data_per_streamline : dict of str to ndarray
        Shape (nb_streamlines, k).
    groups : dict of str to ndarray
        Streamline indices.
    data_per_group : dict of str to dict of str to ndarray
        Shape (1, k).
    sidecars : dict of str to bytes
        JSON files beside the header.
    preallocated : Preallocated, optional
        The preallocated arrays behind `streamlines`, if they are preallocated.
    """

    streamlines: Any
    data_per_vertex: dict[str, Any] = field(default_factory=dict)
    data_per_streamline: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)
    data_per_group: dict[str, dict[str, Any]] = field(default_factory=dict)
    sidecars: dict[str, bytes] = field(default_factory=dict)
    preallocated: Preallocated | None = None
    late: LateGroups | None = None

    @classmethod
    def of_arrays(cls, arrays: TrxArrays, runs: Runs | None = None, late: LateGroups | None = None) -> Views:
        """Return views of plain arrays, which are shared; their dicts are not."""
        starts, lengths = runs_of(arrays) if runs is None else runs
        return cls(
            make_sequence(arrays.positions, starts, lengths),
            {key: make_sequence(array, starts, lengths) for key, array in arrays.dpv.items()},
            dict(arrays.dps),
            dict(arrays.groups),
            {group: dict(values) for group, values in arrays.dpg.items()},
            dict(arrays.sidecars),
            late=late,
        )

    def make_groups(self) -> None:
        """Put the groups of a selection into their dicts, once."""
        late = self.late
        if late is not None:
            groups, dpg = late.make()
            with _LOCK:  # two threads that look first must see the same
                if self.late is not None:
                    self.groups, self.data_per_group = dict(groups), {name: dict(row) for name, row in dpg.items()}
                    self.late = None

    def pick(self, header: Header | Mapping[str, Any], indices: Any) -> tuple[Selection, LateGroups] | None:
        """Return selected streamlines without their groups, and what makes those; only their own rows are looked at.

        None where all rows have to be looked at: something was preallocated, or assigned in another form.
        """
        shown = self.streamlines
        count, starts, lengths = len(shown._lengths), shown._offsets, shown._lengths
        if self.preallocated is not None or not self._is_plain():
            return None
        rows = resolve_indices(indices, count)
        kept = (starts[rows], lengths[rows])
        positions = _positions(shown._data)
        if len(rows):
            _runs_inside(*kept, len(positions), "streamlines")
        offsets = offsets_of(kept[1])
        arrays = TrxArrays(
            header=header_with_counts(header, len(rows), int(offsets[-1])),
            positions=positions,
            offsets=offsets,
            dps={key: values[rows] for key, values in self.data_per_streamline.items()},
            dpv={key: values._data for key, values in self.data_per_vertex.items()},
            sidecars=dict(self.sidecars),
        )
        return Selection(arrays, kept), LateGroups(self._tables, rows, count)

    def _is_plain(self) -> bool:
        """Tell whether everything lies as the format has it."""
        shown, count = self.streamlines, len(self.streamlines._lengths)
        starts, lengths = shown._offsets, shown._lengths
        if not (_is_plain(shown._data) and isinstance(starts, np.ndarray) and isinstance(lengths, np.ndarray)):
            return False
        return (
            len(starts) == count
            and starts.dtype.kind in "iu"
            and lengths.dtype.kind in "iu"
            and all(_is_plain(rows) and len(rows) == count for rows in self.data_per_streamline.values())
            and all(
                getattr(values, "_offsets", None) is starts
                and values._lengths is lengths
                and _is_plain(values._data)
                and len(values._data) == len(shown._data)
                for values in self.data_per_vertex.values()
            )
        )

    def _tables(self) -> Tables:
        """Return groups and dpg as plain arrays."""
        self.make_groups()
        groups = {group: _members(members, group) for group, members in self.groups.items()}
        dpg = {
            group: {
                key: _row(value, f"dpg/{group}/{key}")
                for key, value in check_table(values, f"data_per_group[{group!r}]").items()
            }
            for group, values in self.data_per_group.items()
        }
        return groups, dpg

    @classmethod
    def of_preallocated(cls, preallocated: Preallocated, other: TrxArrays | None = None) -> Views:
        """Return views of preallocated arrays; groups, dpg and sidecars are those of `other`."""
        views = cls(
            make_sequence(preallocated.positions, preallocated.starts, preallocated.lengths),
            {
                key: make_sequence(array, preallocated.starts, preallocated.lengths)
                for key, array in preallocated.dpv.items()
            },
            dict(preallocated.dps),
            preallocated=preallocated,
        )
        if other is not None:
            views.groups = dict(other.groups)
            views.data_per_group = {group: dict(values) for group, values in other.dpg.items()}
            views.sidecars = dict(other.sidecars)
        return views

    def copy(self) -> Views:
        """Return views of the same arrays, with dicts of their own, and nothing preallocated."""
        self.make_groups()
        return replace(
            self,
            data_per_vertex=dict(self.data_per_vertex),
            data_per_streamline=dict(self.data_per_streamline),
            groups=dict(self.groups),
            data_per_group={group: dict(values) for group, values in self.data_per_group.items()},
            sidecars=dict(self.sidecars),
            preallocated=None,
        )

    def own_preallocated(self) -> Preallocated | None:
        """Return the preallocated arrays as far as they are those that are shown; None if the streamlines are others.

        Keys to which somebody has assigned are left out.
        """
        own, shown = self.preallocated, self.streamlines
        if own is None or shown._data is not own.positions or not _lies_in(shown, own):
            return None
        dps = {key: array for key, array in own.dps.items() if self.data_per_streamline.get(key) is array}
        dpv = {
            key: array
            for key, array in own.dpv.items()
            if getattr(self.data_per_vertex.get(key), "_data", None) is array
            and _lies_in(self.data_per_vertex[key], own)
        }
        return own if len(dps) == len(own.dps) and len(dpv) == len(own.dpv) else replace(own, dps=dps, dpv=dpv)

    def capacity(self) -> tuple[int, int] | None:
        """Return for how many streamlines and vertices there is room; None if nothing is preallocated."""
        own = self.preallocated
        return own.capacity if own is not None and self._is_as_full(own) else None

    def _is_as_full(self, preallocated: Preallocated) -> bool:
        """Tell whether what is shown is as full as the preallocated arrays.

        nibabel puts other arrays in their place: in ``streamlines += 1`` for instance.
        """
        lengths = self.streamlines._lengths
        return lengths is preallocated.lengths or np.array_equal(lengths, preallocated.lengths)

    def filled(self) -> tuple[int, int]:
        """Return how many streamlines and vertices there are, without what is preallocated and not filled yet.

        Lengths that somebody wrote by hand into preallocated arrays count too.
        """
        lengths = np.asarray(self.streamlines._lengths)
        if self.preallocated is None or not self._is_as_full(self.preallocated):
            return len(lengths), int(lengths.sum(dtype=np.int64)) if len(lengths) else 0
        by_hand = np.flatnonzero(lengths[self.preallocated.nb_streamlines :])
        if not len(by_hand):
            return self.preallocated.nb_streamlines, self.preallocated.nb_vertices
        count = self.preallocated.nb_streamlines + int(by_hand[-1]) + 1
        return count, int(lengths[:count].sum(dtype=np.int64))

    def selection(self, header: Header | Mapping[str, Any]) -> Selection:
        """Return what is shown as plain arrays, and where the streamlines lie if not one behind the other.

        Parameters
        ----------
        header : Header or dict
            Its counts are not looked at.

        Raises
        ------
        FormatError
            If something assigned has another shape or type than the format allows; names it.
        """
        count = self.filled()[0]
        positions = _positions(self.streamlines._data)
        starts, lengths = _runs_of_sequence(self.streamlines, count, len(positions), "streamlines")
        nb_vertices = int(lengths.sum(dtype=np.int64))
        contiguous = is_contiguous(starts, lengths, nb_vertices)
        runs = None if contiguous else (starts, lengths)
        dpv, same = self._vertex_data(starts, lengths, len(positions))
        if not same and runs is not None:
            # One of them lies elsewhere: bring all into one order.
            positions = gather_rows(positions, starts, lengths)
            runs = None
        if runs is None:
            positions = _front(positions, nb_vertices)
            dpv = {key: _front(array, nb_vertices) for key, array in dpv.items()}
        groups, dpg = self._tables()
        arrays = TrxArrays(
            header=header_with_counts(header, count, nb_vertices),
            positions=positions,
            offsets=_offsets(starts, lengths, nb_vertices, contiguous),
            dps={key: self._rows(values, count, f"dps/{key}") for key, values in self.data_per_streamline.items()},
            dpv=dpv,
            groups=dict(groups),
            dpg={group: dict(values) for group, values in dpg.items()},
            sidecars=dict(self.sidecars),
        )
        return Selection(arrays, runs)

    def _rows(self, values: Any, count: int, what: str) -> Array:
        array = _columns(values, what)
        if len(array) not in (count, len(self.streamlines._lengths)):
            raise ShapeError(f"{what} has {len(array)} rows, expected {count}, one for each streamline")
        return _front(array, count)

    def _vertex_data(self, starts: Array, lengths: Array, nb_rows: int) -> tuple[dict[str, Array], bool]:
        """Return the dpv arrays, and whether they lie as the streamlines do; if one does not, all are gathered."""
        arrays: dict[str, Array] = {}
        apart: dict[str, Runs] = {}
        for key, values in self.data_per_vertex.items():
            what = f"dpv/{key}"
            if hasattr(values, "_lengths"):
                arrays[key] = _columns(values._data, what)
                runs = _runs_of_sequence(values, len(lengths), len(arrays[key]), what)
            else:
                arrays[key] = _columns(values, what)
                runs = (starts, lengths)
                if len(arrays[key]) != nb_rows:
                    raise ShapeError(f"{what} has {len(arrays[key])} rows, expected {nb_rows}, one for each vertex")
            if not np.array_equal(runs[1], lengths):
                raise ShapeError(f"{what} has other numbers of rows in its streamlines than the positions")
            if runs[0] is not starts and not np.array_equal(runs[0], starts):
                apart[key] = runs
        if not apart:
            return arrays, True
        return {key: gather_rows(array, *apart.get(key, (starts, lengths))) for key, array in arrays.items()}, False


def _lies_in(sequence: Any, preallocated: Preallocated) -> bool:
    return sequence._offsets is preallocated.starts and sequence._lengths is preallocated.lengths


def _front(array: Array, count: int) -> Array:
    return array if len(array) == count else array[:count]


def _positions(data: Any) -> Array:
    array = np.asarray(data)
    if array.size == 0:  # nibabel's empty sequence has one dimension
        return np.zeros((0, 3), array.dtype if array.dtype.kind == "f" and array.ndim == 2 else "<f4")
    if array.ndim != 2 or array.shape[1] != 3:
        raise ShapeError(f"positions has shape {array.shape}, expected (vertices, 3)")
    if array.dtype.kind != "f":
        raise DtypeError(f"positions holds {array.dtype}, expected float16, float32 or float64")
    return little_endian(array)


def _runs_of_sequence(sequence: Any, count: int, nb_rows: int, what: str) -> Runs:
    """Return starts and lengths of a sequence, checked to lie inside its data."""
    starts, lengths = np.asarray(sequence._offsets), np.asarray(sequence._lengths)
    if len(lengths) < count or len(starts) < len(lengths):
        raise ShapeError(f"{what} has {len(lengths)} streamlines, expected {count}")
    starts, lengths = starts[:count], lengths[:count]
    if not count:
        return starts, lengths
    _runs_inside(starts, lengths, nb_rows, what)
    return starts, lengths


def _is_plain(array: Any) -> bool:
    """Tell whether an array has rows and columns, little-endian."""
    return isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.byteorder != ">"


def _runs_inside(starts: Array, lengths: Array, nb_rows: int, what: str) -> None:
    if starts.dtype.kind not in "iu" or lengths.dtype.kind not in "iu":
        raise DtypeError(f"{what} has offsets of {starts.dtype} and lengths of {lengths.dtype}, expected integers")
    inside = all(int(array.min()) >= 0 and int(array.max()) <= nb_rows for array in (starts, lengths))
    if not inside or int(np.add(starts, lengths, dtype=np.int64, casting="unsafe").max()) > nb_rows:
        raise OffsetsError(f"{what} has offsets outside of its {nb_rows} rows")


def _offsets(starts: Array, lengths: Array, nb_vertices: int, contiguous: bool) -> Array:
    """Return n + 1 offsets, in the unsigned type that `starts` has, or a fitting one."""
    small = offsets_dtype(nb_vertices)
    dtype = starts.dtype if starts.dtype.kind == "u" and starts.dtype.itemsize >= small.itemsize else small
    offsets = np.empty(len(lengths) + 1, dtype=dtype)
    offsets[-1] = nb_vertices
    if contiguous:
        offsets[:-1] = starts
    else:
        offsets[0] = 0
        np.cumsum(lengths, out=offsets[1:], dtype=dtype)
    return offsets


def _array(values: Any, what: str) -> Array:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ShapeError(f"{what} is no array ({error}); give an array, or in dpv an ArraySequence") from None


def _columns(values: Any, what: str) -> Array:
    array = _array(values, what)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2:
        raise ShapeError(f"{what} has {array.ndim} dimensions, expected 2")
    return little_endian(array, what)


def _members(members: Any, group: str) -> Array:
    array = _array(members, f"groups/{group}")
    if array.size == 0:
        return np.zeros(0, dtype="<u4")
    return cast_integers(array.reshape(-1), "<u4", f"groups/{group}")


def _row(value: Any, what: str) -> Array:
    array = little_endian(_array(value, what), what)
    if array.ndim > 2 or (array.ndim == 2 and array.shape[0] != 1):
        raise ShapeError(f"{what} has shape {array.shape}, expected one row")
    return array.reshape(1, -1)
