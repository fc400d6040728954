"""Seal: check that every byte was filled exactly once, write the small entries and the records, rename."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from isal import isal_zlib

from trxlib.errors import StaleError
from trxlib.ops.fill import Range, Receipt, merge_ranges
from trxlib.ops.plan import Plan
from trxlib.storage.partial import Target

__all__ = ["check_receipts", "seal_container"]


def check_receipts(plan: Plan, receipts: Sequence[Receipt]) -> list[Range]:
    """Return the ranges of all receipts, if there is one of this plan for every shard.

    Raises
    ------
    StaleError
        Names the shards without a receipt, and receipts of other plans.
    """
    foreign = [receipt.shard for receipt in receipts if receipt.plan_id != plan.id]
    if foreign:
        raise StaleError(f"the receipts of shards {foreign} belong to another plan; fill those shards again")
    found = {receipt.shard for receipt in receipts}
    missing = sorted(set(range(len(plan.shards))) - found)
    if missing:
        raise StaleError(f"no receipts of shards {missing}; fill them first")
    unique = {receipt.shard: receipt for receipt in receipts}
    return [piece for shard in sorted(unique) for piece in unique[shard].ranges]


def seal_container(plan: Plan, target: Target, ranges: Iterable[Range], *, verify: bool = False) -> None:
    """Complete a container: closing offset, small entries, CRCs, records, final name.

    Parameters
    ----------
    plan : Plan
        What was to be filled.
    target : Target
        The container under construction.
    ranges : iterable of Range
        What was filled, of all jobs.
    verify : bool
        Read an archive's data back and compare the CRCs before it gets its name.

    Raises
    ------
    StaleError
        If bytes were not filled, or filled twice.
    """
    pieces = list(ranges)
    offsets = plan.names["offsets", "offsets"]
    closing = np.array([plan.header.nb_vertices], dtype=offsets.dtype)
    start = plan.header.nb_streamlines * offsets.row_nbytes
    pieces.append(Range(offsets.path, start, closing.nbytes, target.write(offsets.path, start, closing)))
    for path, data in plan.small.items():
        pieces.append(Range(path, 0, len(data), target.write(path, 0, data)))
    target.seal(_combine(plan, pieces), verify=verify)


def _combine(plan: Plan, pieces: list[Range]) -> dict[str, int]:
    """Return the CRC of every entry, after checking that its ranges cover it."""
    crcs = dict.fromkeys(plan.sizes, isal_zlib.crc32(b""))
    covered = dict.fromkeys(plan.sizes, 0)
    for piece in merge_ranges(piece for piece in pieces if piece.nbytes):
        # Joined neighbours leave one range, from 0 to the end; a gap or an overlap leaves more.
        if piece.path not in covered or piece.start != covered[piece.path]:
            raise StaleError(
                f"{piece.path}: bytes were filled from {piece.start} on, expected {covered.get(piece.path, 0)}; "
                "fill the container again"
            )
        crcs[piece.path] = piece.crc
        covered[piece.path] += piece.nbytes
    for path, nbytes in plan.sizes.items():
        if covered[path] != nbytes:
            raise StaleError(f"{path}: {covered[path]} of {nbytes} bytes were filled; fill the container again")
    return crcs
