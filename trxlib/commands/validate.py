"""Check TRX files against every rule of the format."""

from __future__ import annotations

import os

from trxlib.container.reader import check_crcs, open_container
from trxlib.errors import FormatError
from trxlib.model.header import Header
from trxlib.model.rules import iter_problems

__all__ = ["find_problems", "validate"]


def validate(path: str | os.PathLike[str], *, check_crc: bool = True) -> Header:
    """Check a TRX archive or folder.

    Parameters
    ----------
    path : path
        Not changed.
    check_crc : bool
        Whether every byte of an archive is read and compared with the CRC-32 it states.

    Returns
    -------
    Header
        Of the good file.

    Raises
    ------
    FormatError
        The first rule that is broken: file, array, what was found and what was expected. `find_problems` lists all
        that can be found.
    InputNotFoundError
        If there is no such file.

    Examples
    --------
    >>> trxlib.validate("cohort.trx").nb_streamlines
    8
    >>> trxlib.validate("sub-01.trk")
    Traceback (most recent call last):
    trxlib.errors.ArchiveError: sub-01.trk is no TRX file: it is a TRK file; only TRX files are taken here, ...
    """
    container = open_container(path, mode="r")
    try:
        for problem in iter_problems(container.arrays):
            problem.args = (f"{path}: {problem}",)
            raise problem
    finally:
        container.close()
    if check_crc:
        check_crcs(path)
    return container.arrays.header


def find_problems(path: str | os.PathLike[str], *, check_crc: bool = True) -> list[FormatError]:
    """Return every broken rule of a TRX file that can be found; a file that cannot be opened has one.

    Parameters
    ----------
    path : path
        TRX archive or folder; not changed.
    check_crc : bool
        Whether every byte of an archive is read.

    Returns
    -------
    list of FormatError
        Empty for a good file.

    Raises
    ------
    InputNotFoundError
        If there is no such file.

    Examples
    --------
    >>> trxlib.find_problems("cohort.trx")
    []
    >>> from pathlib import Path
    >>> damaged = bytearray(Path("cohort.trx").read_bytes())
    >>> damaged[damaged.find(b"positions.3.float32") + 40] ^= 1
    >>> size = Path("damaged.trx").write_bytes(damaged)
    >>> [type(problem).__name__ for problem in trxlib.find_problems("damaged.trx")]
    ['ArchiveError']
    """
    try:
        container = open_container(path, mode="r")
    except FormatError as error:
        return [error]
    try:
        problems = list(iter_problems(container.arrays))
    finally:
        container.close()
    if check_crc:
        try:
            check_crcs(path)
        except FormatError as error:
            problems.append(error)
    return problems
