"""How an input is read: all that may change its streamlines on their way, as one value that goes into a plan."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trxlib.errors import FormatError, InputError
from trxlib.model.dtypes import check_float_dtype

__all__ = ["FilterPolicy", "NonFinite", "OutOfVolume", "ReadOptions", "StrPath"]

StrPath = str | os.PathLike[str]
OutOfVolume = Literal["keep", "drop", "fail"]
NonFinite = Literal["fail", "drop"]


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

    Raises
    ------
    InputError
        If one has another value.
    """

    nonfinite: NonFinite = "fail"
    out_of_volume: OutOfVolume = "keep"
    drop_empty: bool = False

    def __post_init__(self) -> None:
        for name, known in (("nonfinite", ("fail", "drop")), ("out_of_volume", ("keep", "drop", "fail"))):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"{name} is {value!r}, expected {' or '.join(map(repr, known))}")

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
        The space of the result, and how to get there.
    positions_dtype : dtype, optional
        float16, float32 or float64; kept as its name.
    dps, dpv : mapping of str to path
        Files whose values are attached under these keys.
    out_of_volume, nonfinite, drop_empty
        See `FilterPolicy`.
    accept_count_mismatch : bool
        Take what is there, with a warning, where the header of a TRK or of a cut TCK counts other streamlines.
    trust_count : bool, optional
        Take the count of a TCK header, by default in large files; a wrong one is a CountError while the file is read.

    Raises
    ------
    InputError
        If `positions_dtype` is no type of positions.

    Examples
    --------
    >>> from trxlib.model.options import ReadOptions
    >>> options = ReadOptions(reference="b0.nii.gz", positions_dtype=np.float16, out_of_volume="drop")
    >>> options.to_json()
    {'reference': 'b0.nii.gz', 'positions_dtype': 'float16', 'out_of_volume': 'drop'}
    """

    reference: Any = None
    transform: Any = None
    positions_dtype: npt.DTypeLike | None = None
    dps: Mapping[str, StrPath] = field(default_factory=dict)
    dpv: Mapping[str, StrPath] = field(default_factory=dict)
    out_of_volume: OutOfVolume = "keep"
    nonfinite: NonFinite = "fail"
    drop_empty: bool = False
    accept_count_mismatch: bool = False
    trust_count: bool | None = None

    def __post_init__(self) -> None:
        if self.positions_dtype is not None:
            # Frozen: this is the one place where a field is set.
            name = check_float_dtype(self.positions_dtype, "positions_dtype").name
            object.__setattr__(self, "positions_dtype", name)
        for section in ("dps", "dpv"):
            object.__setattr__(self, section, dict(getattr(self, section) or {}))

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
        return FilterPolicy(self.nonfinite, self.out_of_volume, self.drop_empty)

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
        # A pair may be the path of an affine, and dimensions.
        reference = self.reference[:1] if isinstance(self.reference, (tuple, list)) else [self.reference]
        given = [*reference, self.transform, *self.dps.values(), *self.dpv.values()]
        return [path for path in given if isinstance(path, (str, os.PathLike))]

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


def _to_json(value: Any, name: str) -> Any:
    """Return a value of JSON: a path becomes text, a pair a list."""
    match value:
        case os.PathLike():
            return os.fspath(value)
        case str() | bool() | int() | float():
            return value
        case np.integer() | np.floating():
            return value.item()
        case Mapping():
            return {str(key): _to_json(item, name) for key, item in value.items()}
        case list() | tuple():
            return [_to_json(item, name) for item in value]
    raise InputError(f"{name} is a {type(value).__name__}, and whoever reads a plan needs a path; write it to a file")
