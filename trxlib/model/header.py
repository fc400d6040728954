"""The header of a TRX file: affine, dimensions and counts, as JSON and as the dict of the reference API.

TRX specification, "Header". Keys that the format does not know are kept, in every operation.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError
from trxlib.model.header_fields import HeaderFields, affine_rows

__all__ = ["Header", "canonical_json", "check_affine", "copy_values", "header_with_counts"]

_IMMUTABLE = (str, int, float, bool)


def check_affine(value: Any, what: str) -> npt.NDArray[np.float64]:
    """Return `value` as a finite float64 array of shape (4, 4) with last row 0 0 0 1.

    Raises
    ------
    HeaderError
        If it is not one; `what` names it in the message.
    """
    return np.array(affine_rows(value, what))


@dataclass(frozen=True, eq=False)
class Header:
    """What ``header.json`` says. Immutable; `with_counts` gives a changed copy.

    Parameters
    ----------
    voxel_to_rasmm : ndarray, float64 of shape (4, 4)
        Voxel indices (integer at the voxel's centre) to RASMM.
    dimensions : tuple of 3 int
        The grid of the reference image.
    nb_streamlines, nb_vertices : int
        Counts.
    extra : mapping
        Keys the format does not know, with their JSON values.

    Examples
    --------
    >>> header = trxlib.Header(np.diag([2.0, 2.0, 2.0, 1.0]), (80, 96, 64), nb_streamlines=2, nb_vertices=5)
    >>> header.dimensions, header.nb_vertices
    ((80, 96, 64), 5)
    >>> header == header.with_counts(3, 5)
    False
    """

    voxel_to_rasmm: npt.NDArray[np.float64]
    dimensions: tuple[int, int, int]
    nb_streamlines: int
    nb_vertices: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Tell whether all fields are equal."""
        return isinstance(other, Header) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def from_json(cls, data: bytes) -> Header:
        """Read the bytes of ``header.json``.

        Parameters
        ----------
        data : bytes
            JSON text in UTF-8.

        Returns
        -------
        Header

        Raises
        ------
        HeaderError
            If they are not JSON, or a field is missing or impossible.

        Examples
        --------
        >>> header = trxlib.validate("cohort.trx")
        >>> trxlib.Header.from_json(header.to_json()) == header
        True
        """
        return cls.from_fields(HeaderFields.from_json(data))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Header:
        """Read a header from a dict with the keys of the format.

        Parameters
        ----------
        content : mapping
            ``VOXEL_TO_RASMM``, ``DIMENSIONS``, ``NB_STREAMLINES``, ``NB_VERTICES``, and any others. Arrays or lists;
            nothing of it is kept.

        Returns
        -------
        Header

        Raises
        ------
        HeaderError
            If a field is missing or impossible.

        Examples
        --------
        >>> trxlib.Header.from_dict(trxlib.load("cohort.trx").header).nb_streamlines
        8
        >>> trxlib.Header.from_dict({"DIMENSIONS": [80, 96, 64]})
        Traceback (most recent call last):
        trxlib.errors.HeaderError: header.json lacks VOXEL_TO_RASMM, NB_STREAMLINES, NB_VERTICES; found DIMENSIONS
        """
        header = cls.from_fields(HeaderFields.from_dict(content))
        return replace(header, extra=copy_values(header.extra))

    @classmethod
    def from_fields(cls, fields: HeaderFields) -> Header:
        """Return the header of fields that have been read and checked.

        Parameters
        ----------
        fields : HeaderFields
            The same fields as plain Python values.

        Returns
        -------
        Header

        Examples
        --------
        >>> from trxlib.model.header_fields import HeaderFields
        >>> fields = HeaderFields.from_dict(trxlib.load("cohort.trx").header)
        >>> trxlib.Header.from_fields(fields).dimensions
        (80, 96, 64)
        """
        return cls(np.array(fields.voxel_to_rasmm), *fields[1:])

    def to_dict(self) -> dict[str, Any]:
        """Return a new dict as the reference API has it: arrays for affine and dimensions.

        Returns
        -------
        dict
            Keys of ``header.json``; it shares nothing with the header.

        Examples
        --------
        >>> list(trxlib.validate("cohort.trx").to_dict())
        ['VOXEL_TO_RASMM', 'DIMENSIONS', 'NB_STREAMLINES', 'NB_VERTICES']
        """
        return {
            "VOXEL_TO_RASMM": np.array(self.voxel_to_rasmm),
            "DIMENSIONS": np.array(self.dimensions, dtype=np.uint16),
            "NB_STREAMLINES": self.nb_streamlines,
            "NB_VERTICES": self.nb_vertices,
            **copy_values(self.extra),
        }

    def to_json(self) -> bytes:
        """Return the bytes of ``header.json``: fixed key order, so that equal headers have equal bytes.

        Returns
        -------
        bytes
            JSON text in UTF-8.

        Raises
        ------
        HeaderError
            If an extra key holds something that is not JSON.

        Examples
        --------
        >>> trxlib.validate("cohort.trx").to_json()[:64]
        b'{"DIMENSIONS": [80, 96, 64], "NB_STREAMLINES": 8, "NB_VERTICES":'
        """
        # + 0.0 turns -0.0 into 0.0: equal affines, equal bytes.
        content = {
            "DIMENSIONS": list(self.dimensions),
            "NB_STREAMLINES": self.nb_streamlines,
            "NB_VERTICES": self.nb_vertices,
            "VOXEL_TO_RASMM": (self.voxel_to_rasmm + 0.0).tolist(),
        }
        try:
            extra = {key: self.extra[key] for key in sorted(self.extra)}
            return json.dumps(_strict({**content, **extra}), allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise HeaderError(f"a header key outside the format cannot be written as JSON: {error}") from None

    def with_counts(self, nb_streamlines: int, nb_vertices: int) -> Header:
        """Return a copy with other counts.

        Parameters
        ----------
        nb_streamlines, nb_vertices : int
            The counts of the copy.

        Returns
        -------
        Header
            Shares the affine and `extra` with this one.

        Examples
        --------
        >>> trxlib.validate("cohort.trx").with_counts(0, 0).nb_streamlines
        0
        """
        return replace(self, nb_streamlines=int(nb_streamlines), nb_vertices=int(nb_vertices))


def header_with_counts(header: Header | Mapping[str, Any], nb_streamlines: int, nb_vertices: int) -> Header:
    """Return a header, or what a dict of the reference API says, with these counts, whatever counts it has.

    Raises
    ------
    HeaderError
        If a field of the dict is missing or impossible.
    """
    if not isinstance(header, Header):
        return Header.from_dict({**header, "NB_STREAMLINES": nb_streamlines, "NB_VERTICES": nb_vertices})
    if (header.nb_streamlines, header.nb_vertices) == (nb_streamlines, nb_vertices):
        return header
    return header.with_counts(nb_streamlines, nb_vertices)


def canonical_json(value: Any, what: str) -> str:
    """Return the JSON text of a value: equal for values that a header states alike, in any order of keys.

    Raises
    ------
    HeaderError
        If it is not JSON; `what` names it in the message.
    """
    try:
        text = json.dumps(_strict(value), allow_nan=False)
        # Sorted as they are written: keys that are numbers become texts.
        return json.dumps(json.loads(text), sort_keys=True) if isinstance(value, dict | list | tuple) else text
    except (TypeError, ValueError, RecursionError) as error:
        raise HeaderError(f"{what} cannot be written as JSON: {error}") from None


def copy_values(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a dict that shares no dict, list or array with `content`; quicker than `copy.deepcopy`."""
    return {key: _copied(value) for key, value in content.items()}


def _copied(value: Any) -> Any:
    if value is None or isinstance(value, _IMMUTABLE):
        return value
    if type(value) is dict:
        return copy_values(value)
    if type(value) is list:
        return [_copied(item) for item in value]
    return copy.deepcopy(value)


def _strict(value: Any) -> Any:
    """Turn numpy values into JSON ones, and NaN and infinities, which JSON has not, into texts."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return value
