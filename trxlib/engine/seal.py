"""Seal: check that every byte was filled exactly once, write the small entries and the records, rename."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from isal import isal_zlib

from trxlib.container.partial import PartialArchive, Target
from trxlib.engine.plan import Plan
from trxlib.engine.receipt import Range, Receipt, merge_ranges
from trxlib.errors import StaleError

__all__ = ["check_receipts", "combine_crcs", "find_damage", "find_unfit", "is_sealed", "seal_container"]


def check_receipts(plan: Plan, receipts: Sequence[Receipt]) -> list[Range]:
    """Return the ranges of all receipts, if there is one of this plan for every shard.

    Raises
    ------
    StaleError
        Names the shards without a receipt, receipts of other plans, and those of inputs that are not the planned.
    """
    problems = find_unfit(plan, receipts)
    if problems:
        raise StaleError("; ".join(problems.values()) + "; fill those shards again")
    unique = {receipt.shard: receipt for receipt in receipts}
    return [piece for shard in sorted(unique) for piece in unique[shard].ranges]


def find_unfit(plan: Plan, receipts: Iterable[Receipt]) -> dict[int, str]:
    """Return what is wrong with the receipts of a plan's shards; empty if all are there and good.

    Parameters
    ----------
    plan : Plan
    receipts : iterable of Receipt
        In any order; those of shards that the plan does not have are foreign.

    Returns
    -------
    dict of int to str
        Shard and message.
    """
    problems = {shard: f"there is no receipt of shard {shard}" for shard in range(len(plan.shards))}
    for receipt in receipts:
        problems.pop(receipt.shard, None)
        if receipt.plan_id != plan.id or receipt.shard not in range(len(plan.shards)):
            problems[receipt.shard] = (
                f"the receipt of shard {receipt.shard} belongs to another plan ({receipt.plan_id}, not {plan.id})"
            )
            continue
        low, high = plan.shards[receipt.shard]
        planned = [tuple(item.stamp) for item in plan.inputs[low:high] if item.stamp is not None]
        if [tuple(read.stamp) for read in receipt.inputs] != planned:
            problems[receipt.shard] = f"the receipt of shard {receipt.shard} is of other inputs than those planned"
    return problems


def find_damage(plan: Plan, target: PartialArchive, receipts: Iterable[Receipt]) -> dict[int, list[str]]:
    """Read a filled archive back and compare it with the receipts.

    Returns
    -------
    dict of int to list of str
        For each shard whose bytes are not those that were written, the entries with its damaged ranges.
    """
    damage: dict[int, list[str]] = {}
    for receipt in receipts:
        for piece in receipt.ranges:
            if target.read_crc(piece.path, piece.start, piece.nbytes) != piece.crc:
                damage.setdefault(receipt.shard, []).append(piece.path)
    return damage


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
    target.seal(combine_crcs(plan, pieces), verify=verify)


def is_sealed(plan: Plan, ranges: Iterable[Range], path: str | os.PathLike[str]) -> bool:
    """Tell whether an archive is the result of a plan: its directory holds the place and CRC of every entry."""
    offsets = plan.names["offsets", "offsets"]
    closing = np.array([plan.header.nb_vertices], dtype=offsets.dtype)
    pieces = [*ranges, _range_of(offsets.path, plan.header.nb_streamlines * offsets.row_nbytes, closing.tobytes())]
    pieces += [_range_of(entry, 0, data) for entry, data in plan.small.items()]
    directory = plan.layout.directory(combine_crcs(plan, pieces))
    try:
        with Path(path).open("rb") as file:
            file.seek(plan.layout.directory_start)
            return file.read() == directory
    except OSError:
        return False


def _range_of(path: str, start: int, data: bytes) -> Range:
    return Range(path, start, len(data), isal_zlib.crc32(data))


def combine_crcs(plan: Plan, pieces: Iterable[Range]) -> dict[str, int]:
    """Return the CRC of every entry, after checking that its ranges cover it."""
    crcs = dict.fromkeys(plan.sizes, isal_zlib.crc32(b""))
    covered = dict.fromkeys(plan.sizes, 0)
    for piece in merge_ranges([piece for piece in pieces if piece.nbytes]):
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
