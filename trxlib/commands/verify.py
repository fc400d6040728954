"""Read an archive again: which arrays are damaged, and of which subjects and source files."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isal import isal_zlib

from trxlib.container.entries import Member
from trxlib.container.verify import crcs_of_ranges, reread
from trxlib.errors import FormatError, InputError
from trxlib.files import read_regular

__all__ = ["Damage", "Verified", "verify"]

_RANGE_COLUMNS = ("first_streamline", "streamlines", "entry", "first_byte", "bytes", "crc")


@dataclass(frozen=True)
class Damage:
    """An entry of an archive that does not hold what the archive states.

    Parameters
    ----------
    array : str
        The entry: ``positions.3.float32``, ``header.json``.
    message : str
        What was found and what was expected.
    inputs : tuple of str
        Subject and source file of each line of the provenance that may be concerned.
    is_narrowed : bool
        Whether `inputs` are those alone whose bytes are damaged. Else they are all, since nothing was kept that
        tells one from the other.
    note : str
        What follows from it.
    """

    array: str
    message: str
    inputs: tuple[str, ...] = ()
    is_narrowed: bool = False
    note: str = ""

    def __str__(self) -> str:
        """Return the damage in a line."""
        return f"{self.message}{self.note and '; ' + self.note}"


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Parameters
    ----------
    path : str
        The archive.
    nb_entries : int
        Entries that were read.
    nbytes : int
        Their bytes, unpacked.
    damage : tuple of Damage
        In the order of the file; empty for a whole archive.
    """

    path: str
    nb_entries: int
    nbytes: int
    damage: tuple[Damage, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every entry holds what the archive states."""
        return not self.damage

    def to_dict(self) -> dict[str, Any]:
        """Return all as JSON values."""
        return {**asdict(self), "is_whole": self.is_whole}


@dataclass(frozen=True)
class _Range:
    """Bytes that an input filled, and its streamlines."""

    first: int
    count: int
    start: int
    nbytes: int
    crc: int


def verify(
    path: str | os.PathLike[str], *, provenance: str | os.PathLike[str] | None = None, workers: int = 1
) -> Verified:
    """Read every byte of an archive again and name all arrays that are damaged, and by the provenance, whose.

    Of a cohort's archive the workflow keeps the CRC-32 of each input's bytes in ``ranges.tsv`` beside
    ``provenance.tsv``. With it the subjects and source files are named whose bytes are damaged; without it all that
    the provenance holds. Memory stays flat.

    Parameters
    ----------
    path : path
        A TRX archive; not changed.
    provenance : path, optional
        Table of the workflow; by default ``provenance.tsv`` beside the archive, if it is there.
    workers : int
        Threads.

    Returns
    -------
    Verified
        `damage` is empty for a whole archive.

    Raises
    ------
    ArchiveError
        If the directory of the archive cannot be read, so that nothing can be said of its arrays.
    InputError
        If it is a folder, which states no CRC.
    InputNotFoundError
        If a file is not there.
    FormatError
        If a table is not one of the workflow.

    Examples
    --------
    >>> trxlib.verify("cohort.trx").is_whole
    True
    >>> from pathlib import Path
    >>> content = bytearray(Path("cohort.trx").read_bytes())
    >>> content[content.find(b"positions.3.float32") + 40] ^= 1
    >>> size = Path("rotten.trx").write_bytes(content)
    >>> [damage.array for damage in trxlib.verify("rotten.trx").damage]
    ['positions.3.float32']
    """
    if workers < 1:
        raise InputError(f"workers is {workers}, expected at least 1")
    beside = Path(path).with_name("provenance.tsv")
    table = Path(provenance) if provenance is not None else beside if beside.exists() else None
    lines = [] if table is None else _read(table, ("subject", "source", "first_streamline", "last_streamline"))
    found = reread(path, workers)
    ranges: dict[str, list[_Range]] = {}
    if found.damaged and table is not None and table.with_name("ranges.tsv").exists():
        ranges = _read_ranges(table.with_name("ranges.tsv"))
    damage = [
        _locate(path, member, message, lines, ranges.get(member.path, []), workers) for member, message in found.damaged
    ]
    return Verified(os.fspath(path), len(found.members), sum(item.nbytes for item in found.members), tuple(damage))


def _locate(
    path: str | os.PathLike[str],
    member: Member,
    message: str,
    lines: list[dict[str, str]],
    ranges: list[_Range],
    workers: int,
) -> Damage:
    """Return the damage of an entry, with the inputs whose bytes it concerns."""
    if not member.path.startswith(("positions", "offsets", "dps/", "dpv/", "groups/")):
        return Damage(member.path, message, note="it belongs to no single input")
    everybody = tuple(_input_of(line) for line in lines)
    if not (ranges and member.is_stored and ranges[-1].start + ranges[-1].nbytes <= member.nbytes):
        note = "which input is concerned is not known: any of those that have rows in it" if everybody else ""
        return Damage(member.path, message, everybody, note=note)
    crcs = crcs_of_ranges(path, member, [(item.start, item.nbytes) for item in ranges], workers)
    bad = [item for item, crc in zip(ranges, crcs, strict=True) if crc != item.crc]
    if bad and not _fits(member, ranges):
        note = "ranges.tsv does not fit the archive; any input that has rows in it may be concerned"
        return Damage(member.path, message, everybody, note=note)
    if not bad:
        whole = sum(item.nbytes for item in ranges) == member.nbytes
        note = "the data are those that were written: the CRC that the archive states is damaged"
        return Damage(
            member.path, message, (), whole, note if whole else "the damage is behind the bytes of all inputs"
        )
    names = tuple(dict.fromkeys(_input_of(line) for item in bad for line in lines if _overlaps(line, item)))
    return Damage(member.path, message, names, True, f"damaged are the bytes of {', '.join(names)}")


def _fits(member: Member, ranges: list[_Range]) -> bool:
    """Tell whether ranges that cover an entry, but for a closing offset, are those that its CRC was made of."""
    crc, done = 0, 0
    for item in ranges:
        crc, done = isal_zlib.crc32_combine(crc, item.crc, item.nbytes), done + item.nbytes
    return (crc == member.crc) if done == member.nbytes else member.path.startswith("offsets")


def _overlaps(line: dict[str, str], item: _Range) -> bool:
    if line["first_streamline"] == "n/a":
        return False
    return int(line["first_streamline"]) < item.first + item.count and item.first <= int(line["last_streamline"])


def _input_of(line: dict[str, str]) -> str:
    session = line.get("session", "n/a")
    return f"{line['subject']}{'' if session == 'n/a' else '_' + session} ({line['source']})"


def _read_ranges(path: Path) -> dict[str, list[_Range]]:
    found: dict[str, list[_Range]] = {}
    try:
        for line in _read(path, _RANGE_COLUMNS):
            first, count = int(line["first_streamline"]), int(line["streamlines"])
            item = _Range(first, count, int(line["first_byte"]), int(line["bytes"]), int(line["crc"], 16))
            found.setdefault(line["entry"], []).append(item)
    except ValueError as error:
        raise FormatError(f"{path}: is no table of ranges ({error}); remove it, or run seal_cohort again") from None
    return {entry: sorted(items, key=lambda item: item.start) for entry, items in found.items()}


def _read(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a table with tabs that has some columns."""
    try:
        text = read_regular(path).decode("utf-8")
        columns, *rows = (line.split("\t") for line in text.removesuffix("\n").split("\n"))
        lines = [dict(zip(columns, row, strict=True)) for row in rows]
    except ValueError as error:
        raise FormatError(f"{path}: is no table of the workflow ({error})") from None
    missing = [name for name in needed if name not in columns]
    if missing:
        raise FormatError(f"{path}: has no column {', '.join(missing)}, so it is no table of the workflow")
    return lines
