"""Files with values beside a tractogram, found by their names: ``sub-01_weight.txt`` beside ``sub-01.tck``.

An export to TCK writes such files, since a TCK has no place for values. Which section a file belongs to is told by
its rows. What cannot be told is left out, with a warning that says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trxlib.errors import DataLossWarning, HeaderWarning, TrxError, warn
from trxlib.formats.registry import FORMATS
from trxlib.model.names import check_key
from trxlib.model.options import ReadOptions
from trxlib.model.source import Source, SourceInfo

__all__ = ["FoundFile", "files_beside", "find_values"]

#: What an export to TCK writes beside it.
_SUFFIXES = (".txt", ".npy", ".tsf")
#: Behind the key of dpv, where dps of the same key have a .npy, too.
_DPV = "_dpv"


@dataclass(frozen=True)
class FoundFile:
    """A file that fits a tractogram.

    Parameters
    ----------
    path : Path
        Where it is.
    section, key : str
        ``"dps"`` or ``"dpv"``, and the key that its name says.
    """

    path: Path
    section: str
    key: str


class _UnfitError(Exception):
    """Why a file that was found is left out."""


def files_beside(path: str | os.PathLike[str]) -> dict[Path, str]:
    """Return the files whose names say that they belong to a tractogram, and the keys that they name.

    Those of ``sub-01.tck`` are called ``sub-01_<key>.txt``, ``.npy`` or ``.tsf``. Where there is a ``sub-01_AF.tck``,
    too, ``sub-01_AF_fa.tsf`` is one of that.

    Parameters
    ----------
    path : path
        The tractogram; it is not opened.

    Returns
    -------
    dict of Path to str
        In the order of their names.

    Examples
    --------
    >>> from trxlib.formats.found import files_beside
    >>> info, fingerprint = trxlib.export("sub-01.trk", "tracts.tck")
    >>> {path.name: key for path, key in files_beside("tracts.tck").items()}
    {'tracts_fa.tsf': 'fa', 'tracts_weight.txt': 'weight'}
    """
    path = Path(path)
    try:
        names = sorted(item.name for item in path.parent.iterdir())
    except OSError:
        return {}
    # What a file without a known extension holds is known by its content.
    own = _stem(path.name) or path.stem
    longer = [stem for stem in map(_stem, names) if stem is not None and stem.startswith(f"{own}_")]
    found = {}
    for name in names:
        suffix = Path(name).suffix
        key = name.removeprefix(f"{own}_").removesuffix(suffix)
        if suffix not in _SUFFIXES or not name.startswith(f"{own}_") or not key:
            continue
        if not any(name.startswith(f"{stem}_") for stem in longer) and (path.parent / name).is_file():
            found[path.parent / name] = key
    return found


def _stem(name: str) -> str | None:
    """Return a tractogram's name without its extension; None if it is none."""
    bare = Path(name[:-3] if name.lower().endswith(".gz") else name)
    return bare.stem if any(bare.suffix.lower() in row.extensions for row in FORMATS.values()) else None


def find_values(source: Source, options: ReadOptions) -> list[FoundFile]:
    """Return the files beside a tractogram that `options` want attached.

    Parameters
    ----------
    source : Source
        As it is in its file.
    options : ReadOptions
        Files and keys that it names are not looked for.

    Warns
    -----
    HeaderWarning
        With ``companions="auto"``, of each file that is left out, and why.
    DataLossWarning
        Without `companions`, of the files that fit a TCK and are not named.
    """
    info, mode = source.info, options.companions
    if mode == "none" or (mode is None and info.format != "tck"):
        return []
    named = {os.path.realpath(path) for path in (*options.dps.values(), *options.dpv.values())}
    files = {path: key for path, key in files_beside(info.path).items() if os.path.realpath(path) not in named}
    found, unfit = _look_at(files, info, options)
    if mode == "auto":
        for path, reason in unfit.items():
            warn(f"{path} lies beside {info.path} and is left out: {reason}", HeaderWarning)
        return found
    if found:
        warn(
            f"{info.path}: values beside it are left out: {', '.join(str(item.path) for item in found)}; name them "
            "(dps, dpv), or say companions='auto' to attach them, or companions='none'",
            DataLossWarning,
        )
    return []


def _look_at(files: dict[Path, str], info: SourceInfo, options: ReadOptions) -> tuple[list[FoundFile], dict[Path, str]]:
    """Return what fits, and why the others do not."""
    found: list[FoundFile] = []
    unfit: dict[Path, str] = {}
    for path, key in files.items():
        try:
            item = _place(path, key, files, info, options)
        except (_UnfitError, TrxError, OSError) as error:
            unfit[path] = str(error)
            continue
        if item.key not in getattr(options, item.section):
            found.append(item)
    for item in list(found):
        same = [other for other in found if (other.section, other.key) == (item.section, item.key)]
        if len(same) > 1:
            others = ", ".join(other.path.name for other in same if other is not item)
            unfit[item.path] = f"{others} fits {item.section}/{item.key} as well; name the right one"
    return [item for item in found if item.path not in unfit], unfit


def _place(path: Path, key: str, files: dict[Path, str], info: SourceInfo, options: ReadOptions) -> FoundFile:
    """Return what a file holds.

    Raises
    ------
    _UnfitError, TrxError
        If nobody knows, or it is not what its name says.
    """
    if path.suffix == ".tsf":
        section = _place_tsf(path, info, accept=options.accept_timestamp_mismatch)
    else:
        section = _place_rows(path, key, info)
        if section == "dpv" and path.suffix == ".npy":
            key = _without_dpv(path, key, files)
    check_key(key, f"{section} key")
    if key in getattr(info, section):
        raise _UnfitError(f"the tractogram has {section}/{key} already")
    return FoundFile(path, section, key)


def _place_tsf(path: Path, info: SourceInfo, *, accept: bool) -> str:
    from trxlib.formats.input_file import InputFile
    from trxlib.formats.tck.header import TSF_MAGIC, read_tck_header, timestamp_of
    from trxlib.formats.tck.timestamp import check_timestamp

    file = InputFile(path)
    header = read_tck_header(file, TSF_MAGIC)
    # What is only to be warned of is warned of when the file is attached.
    if not accept and header.timestamp is not None and timestamp_of(info.facts.get("timestamp")) is not None:
        check_timestamp(header, info)
    if file.content_nbytes is not None:
        rows, odd = divmod(file.content_nbytes - header.data_start, header.dtype.itemsize)
        expected = info.nb_streamlines + info.nb_vertices
        if odd or rows not in (expected, expected + 1):
            raise _UnfitError(
                f"it has {rows} numbers, and {info.nb_streamlines} streamlines of {info.nb_vertices} vertices have "
                f"{expected}"
            )
    return "dpv"


def _place_rows(path: Path, key: str, info: SourceInfo) -> str:
    """Return the section that a file has the rows of."""
    counts = {"dps": info.nb_streamlines, "dpv": info.nb_vertices}
    # Readers of text, which most conversions do without.
    from trxlib.formats.rows import read_rows
    from trxlib.formats.table.text import count_rows

    rows, columns = read_rows(path).shape if path.suffix == ".npy" else count_rows(path, max(counts.values()))
    sections = [section for section, count in counts.items() if rows == count]
    if rows == 1 and not sections:
        sections = [section for section, count in counts.items() if columns == count]
    if not sections:
        raise _UnfitError(
            f"it has {rows} rows, and there are {info.nb_streamlines} streamlines and {info.nb_vertices} vertices"
        )
    if len(sections) == 1:
        return sections[0]
    if path.suffix == ".txt":
        return "dps"
    if key.endswith(_DPV):
        return "dpv"
    raise _UnfitError("there are as many vertices as streamlines, so that it may hold dps or dpv; name it")


def _without_dpv(path: Path, key: str, files: dict[Path, str]) -> str:
    """Return the key of dpv that had to make way for dps: ``c`` for ``a_c_dpv.npy`` where there is ``a_c.npy``."""
    shorter = list(_shorter(path, key, files))
    if len(shorter) > 1:
        raise _UnfitError(f"it may hold dpv/{shorter[0]} or dpv/{shorter[1]}; name it")
    return shorter[0] if shorter else key


def _shorter(path: Path, key: str, files: dict[Path, str]) -> Iterator[str]:
    name = path.name.removesuffix(path.suffix)
    while key.endswith(_DPV):
        key, name = key.removesuffix(_DPV), name.removesuffix(_DPV)
        if path.with_name(f"{name}.npy") not in files:
            return
        yield key
