"""The time stamp by which MRtrix knows that a TSF belongs to a TCK: made of the tracks, written and compared."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from isal import isal_zlib

from trxlib.container.crc import crc_of_bytes
from trxlib.errors import HeaderWarning, MetadataMismatchError, warn
from trxlib.formats.tck.header import TckHeader, timestamp_of
from trxlib.model.source import SourceInfo

__all__ = ["Timestamp", "check_timestamp"]

Array = npt.NDArray[Any]
#: CRC-32 and number of bytes of vertices, then of lengths.
_Look = tuple[int, int, int, int]
_SECONDS = 10**9
_FRACTIONS = 10**10


class Timestamp:
    """The time stamp of tracks under construction.

    MRtrix writes the time at which tracks were made, and refuses a TSF that has another one. The time would give other
    bytes in each run, so that a number of the same form is made of the streamlines: their vertices and lengths.

    Examples
    --------
    >>> from trxlib.formats.tck.timestamp import Timestamp
    >>> stamp = Timestamp()
    >>> stamp.add(stamp.look(np.ones((5, 3), np.float32), np.array([2, 3])))
    >>> str(stamp)
    '1989656021.2617593503'
    """

    def __init__(self) -> None:
        self._vertices = self._lengths = 0

    @staticmethod
    def look(vertices: Array, lengths: Array) -> _Look:
        """Look at the streamlines of a chunk; safe in any thread and order.

        Parameters
        ----------
        vertices : ndarray of shape (v, 3)
            As they are written.
        lengths : ndarray of shape (n,)
            Of the streamlines.
        """
        counts = lengths.astype("<i8")
        return crc_of_bytes(vertices), vertices.nbytes, crc_of_bytes(counts), counts.nbytes

    def add(self, found: _Look) -> None:
        """Add what `look` found of the next streamlines."""
        self._vertices = isal_zlib.crc32_combine(self._vertices, found[0], found[1])
        self._lengths = isal_zlib.crc32_combine(self._lengths, found[2], found[3])

    def __str__(self) -> str:
        """Return ten digits, a point and ten digits, as MRtrix does: always as many, so that they can be replaced."""
        fractions, seconds = divmod(self._vertices << 32 | self._lengths, _SECONDS)
        return f"{_SECONDS + seconds}.{fractions % _FRACTIONS:010d}"


def check_timestamp(scalars: TckHeader, tracks: SourceInfo, *, accept: bool = False) -> None:
    """Check that a TSF has the time stamp of the TCK that it lies beside, as MRtrix does.

    Only a TCK has one: what a TRX has kept of an earlier file need not be true of its streamlines any more.

    Parameters
    ----------
    scalars : TckHeader
        Of the TSF.
    tracks : SourceInfo
        Of the tractogram, as it is in its file.
    accept : bool
        Warn instead.

    Raises
    ------
    MetadataMismatchError
        If they differ.

    Warns
    -----
    HeaderWarning
        If one of them is missing, so that there is nothing to compare, or if they differ and that is accepted.
    """
    if tracks.format != "tck":
        return
    own, other = timestamp_of(tracks.facts.get("timestamp")), scalars.timestamp
    if own is None or other is None:
        lacking = " and ".join(path for path, stamp in ((scalars.path, other), (tracks.path, own)) if stamp is None)
        warn(
            f"{lacking}: no timestamp in the header, so that only the lengths of streamlines tell whether "
            f"{scalars.path} belongs to {tracks.path}",
            HeaderWarning,
        )
    elif own != other:
        text = f"{scalars.path} has the timestamp {other!r}, {tracks.path} has {own!r}"
        if not accept:
            raise MetadataMismatchError(
                f"{text}: the values were made of other tracks; name the .tsf of these tracks, or accept it if you "
                "know better (--accept-timestamp-mismatch, accept_timestamp_mismatch=True)"
            )
        warn(f"{text}: the values were made of other tracks, and are accepted", HeaderWarning)
