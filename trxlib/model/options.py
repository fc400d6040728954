"""How an input is read: all that may change its streamlines on their way, as one value that goes into a plan."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError, InputError
from trxlib.model.choice import ArrayChoice, read_names
from trxlib.model.dtypes import check_float_dtype

__all__ = [
    "CompanionPolicy",
    "FilterPolicy",
    "NonFinite",
    "OutOfField",
    "OutOfVolume",
    "ReadOptions",
    "SpacePolicy",
    "StrPath",
    "VtkSpace",
]

StrPath = str | os.PathLike[str]
OutOfVolume = Literal["keep", "drop", "fail"]
NonFinite = Literal["fail", "drop"]
OutOfField = Literal["fail", "drop"]
SpacePolicy = Literal["same", "world"]
CompanionPolicy = Literal["auto", "none"]
VtkSpace = Literal["RAS", "LPS"]


@dataclass(frozen=True)
class FilterPolicy:
    """What becomes of streamlines that are odd.

    Parameters
    ----------
    nonfinite : {"fail", "drop"}
        Those with a NaN or infinite vertex.
    out_of_volume : {"keep", "drop", "fail"}
        Those with a vertex outside the grid; those kept are counted and logged.
    drop_empty : bool
        Whether those without vertices are left out.
    out_of_field : {"fail", "drop"}
        Those with a vertex where a deformation field of the transform has no value: nobody knows where it goes.
    warn_outside, max_outside : float
        Shares of a file's vertices, 0 to 1. More of them outside the grid of the result are a SpaceWarning, and an
        error: then reference, transform or unit are probably wrong.

    Raises
    ------
    InputError
        If one has another value.
    """

    nonfinite: NonFinite = "fail"
    out_of_volume: OutOfVolume = "keep"
    drop_empty: bool = False
    out_of_field: OutOfField = "fail"
    warn_outside: float = 0.05
    max_outside: float = 0.5

    def __post_init__(self) -> None:
        for name, known in (
            ("nonfinite", ("fail", "drop")),
            ("out_of_volume", ("keep", "drop", "fail")),
            ("out_of_field", ("fail", "drop")),
        ):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"{name} is {value!r}, expected {' or '.join(map(repr, known))}")
        for name in ("warn_outside", "max_outside"):
            share = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise InputError(f"{name} is {share!r}, expected a share of vertices, from 0 to 1")

    @property
    def drops(self) -> bool:
        """Whether anything may be left out."""
        return self.drop_empty or "drop" in (self.nonfinite, self.out_of_volume)

    def __str__(self) -> str:
        return f"nonfinite={self.nonfinite}, out_of_volume={self.out_of_volume}, drop_empty={self.drop_empty}"


@dataclass(frozen=True)
class ReadOptions:
    """How one tractogram is read; see `trxlib.convert` for what the values mean.

    Parameters
    ----------
    reference, transform : optional
        The space of the result, and how to get there: one transform, or several that points pass one after the other.
    transform_format, transform_inverse, transform_source : optional
        What the files of `transform` do not say of themselves: one value for all, or a list with one for each. See
        `trxlib.spaces.transforms`.
    grid : optional
        The grid that vertices are judged by, where the result gets another than that of `reference` or of the file:
        see ``space="world"`` of `trxlib.convert`.
    positions_dtype : dtype, optional
        float16, float32 or float64; kept as its name.
    dps, dpv : mapping of str to path
        Files whose values are attached under these keys.
    keep, leave_out : sequence of str, optional
        Names of the arrays that are wanted, or of those that are not, such as ``dps/weight``, ``dpv/*`` or
        ``groups/AF_L``; one of both may be given. What describes a group (dpg) goes with it.
    companions : {"auto", "none"}, optional
        Whether files beside the tractogram whose names say that they hold its values are attached, too. By default
        they are not, and those that fit a TCK are warned of.
    out_of_volume, nonfinite, drop_empty, out_of_field, warn_outside, max_outside
        See `FilterPolicy`.
    accept_count_mismatch : bool
        Take what is there, with a warning, where the header of a TRK or of a cut TCK counts other streamlines.
    accept_timestamp_mismatch : bool
        Take a ``.tsf`` that has the time stamp of another TCK, with a warning.
    trust_count : bool, optional
        Take the count of a TCK header, by default in large files; a wrong one is a CountError while the file is read.
    vtk_space : {"RAS", "LPS"}, optional
        Where the axes of a VTK file lead; by default what it says of itself, else RAS with a warning.

    Raises
    ------
    InputError
        If `positions_dtype` is no type of positions, `companions` or `vtk_space` has another value, or `keep` and
        `leave_out` are both given or are no lists of names.

    Examples
    --------
    >>> from trxlib.model.options import ReadOptions
    >>> options = ReadOptions(reference="b0.nii.gz", positions_dtype=np.float16, out_of_volume="drop")
    >>> options.to_json()
    {'reference': 'b0.nii.gz', 'positions_dtype': 'float16', 'out_of_volume': 'drop'}
    """

    reference: Any = None
    transform: Any = None
    transform_format: str | Sequence[str | None] | None = None
    transform_inverse: bool | Sequence[bool] = False
    transform_source: Any = None
    grid: Any = None
    positions_dtype: npt.DTypeLike | None = None
    dps: Mapping[str, StrPath] = field(default_factory=dict)
    dpv: Mapping[str, StrPath] = field(default_factory=dict)
    keep: Sequence[str] | None = None
    leave_out: Sequence[str] | None = ()
    companions: CompanionPolicy | None = None
    out_of_volume: OutOfVolume = "keep"
    nonfinite: NonFinite = "fail"
    drop_empty: bool = False
    out_of_field: OutOfField = "fail"
    warn_outside: float = 0.05
    max_outside: float = 0.5
    accept_count_mismatch: bool = False
    accept_timestamp_mismatch: bool = False
    trust_count: bool | None = None
    vtk_space: VtkSpace | None = None

    def __post_init__(self) -> None:
        if self.positions_dtype is not None:
            # Frozen: this is the one place where a field is set.
            name = check_float_dtype(self.positions_dtype, "positions_dtype").name
            object.__setattr__(self, "positions_dtype", name)
        if self.companions not in (None, "auto", "none"):
            raise InputError(f"companions is {self.companions!r}, expected 'auto' or 'none'")
        if self.vtk_space not in (None, "RAS", "LPS"):
            raise InputError(f"vtk_space is {self.vtk_space!r}, expected 'RAS' or 'LPS'")
        for section in ("dps", "dpv"):
            object.__setattr__(self, section, dict(getattr(self, section) or {}))
        if self.leave_out is None:
            object.__setattr__(self, "leave_out", ())
        for name in ("keep", "leave_out"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, read_names(getattr(self, name), name))
        if self.keep is not None and self.leave_out:
            raise InputError("keep and leave_out are both given; name what is wanted, or what is not")

    @property
    def choice(self) -> ArrayChoice:
        """Which arrays are wanted.

        Examples
        --------
        >>> ReadOptions(leave_out=["dpv/*"]).choice.left_out(["dps/weight", "dpv/fa"])
        ['dpv/fa']
        """
        return ArrayChoice(None if self.keep is None else tuple(self.keep), tuple(self.leave_out or ()))

    @property
    def policy(self) -> FilterPolicy:
        """What becomes of odd streamlines.

        Raises
        ------
        InputError
            If one of the rules has a value that is not known.

        Examples
        --------
        >>> print(ReadOptions(drop_empty=True).policy)
        nonfinite=fail, out_of_volume=keep, drop_empty=True
        """
        return FilterPolicy(
            self.nonfinite,
            self.out_of_volume,
            self.drop_empty,
            self.out_of_field,
            self.warn_outside,
            self.max_outside,
        )

    def counted(self) -> ReadOptions:
        """Return the same, with the streamlines of a TCK counted instead of its header trusted.

        Returns
        -------
        ReadOptions

        Examples
        --------
        >>> ReadOptions().counted().trust_count
        False
        """
        return replace(self, trust_count=False)

    def files(self) -> list[StrPath]:
        """Return every file that is read beside the tractogram.

        Returns
        -------
        list of path
            As they were given; a reference or transform that is no path is left out.

        Examples
        --------
        >>> ReadOptions(reference="b0.nii.gz", transform=np.eye(4), dps={"weight": "sub-01.txt"}).files()
        ['b0.nii.gz', 'sub-01.txt']
        """
        moved = self.transforms()
        spaces = [self.reference, self.grid, *(item.get(key) for item in moved for key in ("source", "reference"))]
        # A pair may be the path of an affine, and dimensions.
        spaces = [space[0] if isinstance(space, (tuple, list)) and space else space for space in spaces]
        given = [*spaces, *(item.get("path") for item in moved), *self.dps.values(), *self.dpv.values()]
        return [path for path in given if isinstance(path, (str, os.PathLike))]

    def transforms(self) -> list[dict[str, Any]]:
        """Return the transforms in their order, as `trxlib.spaces.transforms.read_transforms` takes them.

        Returns
        -------
        list of dict
            With the keys of `trxlib.spaces.transforms.TransformSpec`, as far as something is said of them.

        Raises
        ------
        InputError
            If formats, directions or sources are given for another number of transforms.

        Examples
        --------
        >>> ReadOptions(transform=["a.mat", "b.nii.gz"], transform_inverse=[True, False]).transforms()
        [{'inverse': True, 'path': 'a.mat'}, {'path': 'b.nii.gz'}]
        """
        given = self.transform if _is_list_of_transforms(self.transform) else [self.transform]
        given = [item for item in given if item is not None]
        if not given:
            for name in ("transform_format", "transform_inverse", "transform_source"):
                value = getattr(self, name)
                if not (value is None or value is False or (isinstance(value, (list, tuple)) and not len(value))):
                    raise InputError(f"{name} is given without a transform; name its file, or leave it out")
            return []
        columns = {
            "format": _for_each(self.transform_format, len(given), "transform_format"),
            "inverse": _for_each(self.transform_inverse, len(given), "transform_inverse"),
            "source": _for_each(self.transform_source, len(given), "transform_source"),
        }
        found = []
        for number, item in enumerate(given):
            named = dict(item) if isinstance(item, Mapping) else {_kind_of(item): item}
            said = {key: values[number] for key, values in columns.items() if not _says_nothing(values[number])}
            found.append({**said, **named})
        for here, after in pairwise(found):
            # Where a matrix of FLIRT leads to in the middle of a chain, the transform that follows says. One source
            # for all says nothing of that.
            source = after.get("source")
            if here.get("format") == "fsl" and source is not None and source is not here.get("source"):
                here.setdefault("reference", source)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the defaults as JSON values.

        Returns
        -------
        dict
            Names of options to text, numbers, lists or dicts.

        Raises
        ------
        InputError
            If reference or transform is an object of this process, not a path.

        Examples
        --------
        >>> ReadOptions(drop_empty=True).to_json()
        {'drop_empty': True}
        """
        found: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            default = {} if item.name in ("dps", "dpv") else item.default
            # Arrays and images are no defaults, and cannot be compared with them.
            if type(value) is not type(default) or value != default:
                found[item.name] = _to_json(value, item.name)
        return found

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ReadOptions:
        """Return the options of a plan.

        Parameters
        ----------
        content : mapping
            What `to_json` returned.

        Returns
        -------
        ReadOptions

        Raises
        ------
        FormatError
            If there are others than this version knows.

        Examples
        --------
        >>> ReadOptions.from_json({"drop_empty": True}) == ReadOptions(drop_empty=True)
        True
        """
        unknown = sorted(set(content) - {item.name for item in fields(cls)})
        if unknown:
            raise FormatError(f"the options {', '.join(unknown)} are not known")
        return cls(**content)


def _is_list_of_transforms(value: Any) -> bool:
    """Tell several transforms from one matrix, whose rows are lists of numbers."""
    if not isinstance(value, (list, tuple)):
        return False
    return not value or not all(isinstance(row, (list, tuple, np.ndarray)) and _are_numbers(row) for row in value)


def _are_numbers(row: Any) -> bool:
    return all(isinstance(item, (int, float, np.number)) for item in row)


def _kind_of(transform: Any) -> str:
    return "path" if isinstance(transform, (str, os.PathLike)) else "matrix"


def _says_nothing(value: Any) -> bool:
    """Tell a value that stands for none; images and arrays cannot be compared with these."""
    return value is None or value is False or (isinstance(value, str) and not value)


def _for_each(value: Any, count: int, name: str) -> list[Any]:
    """Return one value for each transform: a single one holds for all."""
    # A source may be a pair, of affine and dimensions.
    if not isinstance(value, list if name == "transform_source" else (list, tuple)):
        return [value] * count
    if len(value) not in (1, count):
        raise InputError(
            f"{name} is given {len(value)} times for {count} transforms; give it once for all, or once for each"
        )
    return list(value) * count if len(value) == 1 else list(value)


def _to_json(value: Any, name: str) -> Any:
    """Return a value of JSON: a path becomes text, a pair a list."""
    match value:
        case os.PathLike():
            return os.fspath(value)
        case None | str() | bool() | int() | float():
            return value
        case np.integer() | np.floating():
            return value.item()
        case Mapping():
            return {str(key): _to_json(item, name) for key, item in value.items()}
        case list() | tuple():
            return [_to_json(item, name) for item in value]
    raise InputError(f"{name} is a {type(value).__name__}, and whoever reads a plan needs a path; write it to a file")
