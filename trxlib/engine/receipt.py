"""Receipts: what one job read, and which bytes of the container it wrote, with their CRC-32."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from isal import isal_zlib

from trxlib.container.atomic import writing
from trxlib.errors import FormatError
from trxlib.files import read_regular

__all__ = ["Range", "ReadInput", "Receipt", "merge_ranges"]


@dataclass(frozen=True)
class Range:
    """Bytes of one entry that were written, and their CRC-32."""

    path: str
    start: int
    nbytes: int
    crc: int


@dataclass(frozen=True)
class ReadInput:
    """An input as it was when it was read.

    Parameters
    ----------
    stamp : tuple of 2 int
        Size and time of change, as in `trxlib.engine.plan.InputPlan`.
    format : str
        Key of the format table.
    fingerprint : str
        Of its content: ``crc32:<8 hex digits>:<bytes>``.
    record : mapping
        How it was read: see `trxlib.model.source.Source.record`.
    """

    stamp: tuple[int, ...]
    format: str
    fingerprint: str
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    """What one job filled.

    Parameters
    ----------
    plan_id : str
        The plan it belongs to.
    shard : int
        Which part of the plan.
    ranges : tuple of Range
        What was written, neighbours joined.
    inputs : tuple of ReadInput
        What was read, in the order of the plan.
    parts : tuple of tuple of Range
        What was written of each input of the plan's shard, in its order, neighbours joined.
    """

    plan_id: str
    shard: int
    ranges: tuple[Range, ...]
    inputs: tuple[ReadInput, ...] = ()
    parts: tuple[tuple[Range, ...], ...] = ()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the receipt as JSON; the name appears when it is complete."""
        content = {
            "plan": self.plan_id,
            "shard": self.shard,
            "ranges": [[item.path, item.start, item.nbytes, item.crc] for item in self.ranges],
            "inputs": [[item.stamp, item.format, item.fingerprint, item.record] for item in self.inputs],
            "parts": [[[item.path, item.start, item.nbytes, item.crc] for item in part] for part in self.parts],
        }
        with writing(path) as partial:
            partial.write_text(json.dumps(content) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Receipt:
        """Read a receipt.

        Raises
        ------
        FormatError
            If the file is none.
        """
        data = read_regular(path)
        try:
            content = json.loads(data)
            ranges = tuple(Range(*row) for row in content["ranges"])
            inputs = tuple(ReadInput(tuple(stamp), *names) for stamp, *names in content["inputs"])
            parts = tuple(tuple(Range(*row) for row in part) for part in content["parts"])
            return cls(content["plan"], content["shard"], ranges, inputs, parts)
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path}: is no receipt of a fill ({error}); remove it and fill again") from None


def merge_ranges(ranges: Iterable[Range]) -> list[Range]:
    """Sort ranges and join neighbours; the CRC of the whole follows from those of the parts."""
    joined: list[Range] = []
    for piece in sorted(ranges, key=lambda piece: (piece.path, piece.start)):
        last = joined[-1] if joined else None
        if last is not None and last.path == piece.path and last.start + last.nbytes == piece.start:
            crc = isal_zlib.crc32_combine(last.crc, piece.crc, piece.nbytes)
            joined[-1] = Range(last.path, last.start, last.nbytes + piece.nbytes, crc)
        else:
            joined.append(piece)
    return joined
