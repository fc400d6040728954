"""load, save, concatenate and zip_from_folder: the functions of the TRX reference API."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trxlib.container.mapping import Mode
from trxlib.container.outputs import check_outputs
from trxlib.container.reader import open_container
from trxlib.engine.planning import plan_merge
from trxlib.engine.write import is_archive_name, write_container
from trxlib.errors import DataLossWarning, FormatError, HeaderWarning, InputError, UnsupportedFormatError, warn
from trxlib.model.offsets import OffsetsDtype
from trxlib.model.offsets import offsets_dtype as find_offsets_dtype
from trxlib.model.select import Selection
from trxlib.model.source import Progress
from trxlib.trxfile import append
from trxlib.trxfile.joined import Joined, pin_source
from trxlib.trxfile.trxfile import TrxFile

__all__ = ["concatenate", "load", "load_from_directory", "load_from_zip", "save", "zip_from_folder"]


def load(input_obj: str | os.PathLike[str], check_dpg: bool = True, *, mode: Mode = "c") -> TrxFile:
    """Open a TRX archive or folder. Arrays are mapped; only the header and the offsets are read.

    Parameters
    ----------
    input_obj : path
        ``.trx`` archive of any zip program, or folder. A compressed one is unpacked under ``TRX_TMPDIR``.
    check_dpg : bool
        Refuse a file with data_per_group of a group that is not there.
    mode : {"c", "r", "r+"}
        "c": what is written into the arrays stays in memory. "r": the arrays are read-only. "r+": it is written into
        the file; an archive is read once when it is opened, to find damage, and its CRCs are brought up to date by
        `close`, and when the last array that was handed out is gone. New keys, groups and values of the header are
        written by `close`, which writes the whole file anew for them; without `close` they are lost.

    Returns
    -------
    TrxFile
        Positions in RASMM, mm, with the origin at the voxel's centre, in the type that the file has.

    Notes
    -----
    The file may be replaced or removed while it is open, as `save` does. It must not be shortened in place by
    another program: no system keeps bytes that are mapped and gone.

    Raises
    ------
    FormatError
        If a rule of the format is broken; names file, array, what was found and what was expected.
    InputNotFoundError
        If there is no such file or folder.
    TypeError
        If `check_dpg` is anything but a bool, such as a mode.

    Examples
    --------
    >>> trx = trxlib.load("cohort.trx")
    >>> len(trx), sorted(trx.groups), list(trx.data_per_streamline), list(trx.data_per_vertex)
    (8, ['AF_L', 'CST_R'], ['weight'], ['fa'])

    Changes stay in memory, unless they are asked for in the file:

    >>> with trxlib.load("cohort.trx", mode="r+") as trx:
    ...     trx.data_per_streamline["weight"][:] = 1
    >>> trxlib.load("cohort.trx").data_per_streamline["weight"].sum().item()
    8.0
    """
    _check_path(input_obj, "input_obj")
    if not isinstance(check_dpg, (bool, np.bool_)):
        raise TypeError(f"check_dpg is {check_dpg!r}, expected True or False; the mode is named: load(path, mode='r+')")
    container = open_container(input_obj, mode)
    container.origins = (str(Path(input_obj).absolute()),)
    orphans = sorted(set(container.arrays.dpg) - set(container.arrays.groups))
    if check_dpg and orphans:
        container.close()
        raise FormatError(
            f"{input_obj}: dpg describes groups that are not there: {', '.join(orphans)}; add groups/{orphans[0]}, or "
            "load with check_dpg=False"
        )
    return TrxFile._of_container(container)


def load_from_zip(filename: str | os.PathLike[str]) -> TrxFile:
    """Open a TRX archive, see `load`; a compressed one as well.

    Parameters
    ----------
    filename : path
        The archive. data_per_group of a group that is not there is no error here.

    Returns
    -------
    TrxFile

    Raises
    ------
    UnsupportedFormatError
        If it is a folder.
    FormatError, InputNotFoundError
        See `load`.

    Examples
    --------
    >>> len(trxlib.load_from_zip("cohort.trx"))
    8
    """
    _check_path(filename, "filename")
    if Path(filename).is_dir():
        raise UnsupportedFormatError(f"{filename}: is a folder, expected an archive; use load_from_directory")
    return load(filename, check_dpg=False)


def load_from_directory(directory: str | os.PathLike[str]) -> TrxFile:
    """Open a TRX folder, see `load`.

    Parameters
    ----------
    directory : path
        The folder with ``header.json``. data_per_group of a group that is not there is no error here.

    Returns
    -------
    TrxFile

    Raises
    ------
    UnsupportedFormatError
        If it is a file.
    FormatError, InputNotFoundError
        See `load`.

    Examples
    --------
    >>> trxlib.save(trxlib.load("cohort.trx"), "cohort_folder")
    >>> len(trxlib.load_from_directory("cohort_folder"))
    8
    """
    _check_path(directory, "directory")
    if Path(directory).is_file():
        raise UnsupportedFormatError(f"{directory}: is a file, expected a folder; use load_from_zip")
    return load(directory, check_dpg=False)


def save(
    trx: TrxFile,
    filename: str | os.PathLike[str],
    compression_standard: Any = zipfile.ZIP_STORED,
    *,
    level: int | None = None,
    offsets_dtype: OffsetsDtype = "auto",
    workers: int = 1,
    verify: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a TrxFile, in one pass, straight to its place. The name appears when the file is complete.

    Parameters
    ----------
    trx : TrxFile
        Not modified; of a preallocated one what is filled is written.
    filename : path
        ``.trx`` or ``.zip`` gives an archive, no suffix a folder. An older file or TRX folder of that name is
        replaced, also the one that `trx` is mapped from. It may not lie in a folder that `trx` is mapped from.
    compression_standard : int, str, or mapping of str to these
        A method of Python's zipfile, or one for each section, see `trxlib.convert`. Only stored archives can be mapped.
    level : int, optional
        Of the compression, as for Python's zipfile; not to be given for stored archives.
    offsets_dtype : {"auto", "uint32", "uint64"}
        By default uint32, or uint64 where there are more than 2^32 - 1 vertices.
    workers : int
        Threads; the bytes do not depend on it.
    verify : bool
        Whether the data are read back before the file gets its name.
    progress : callable, optional
        Called with vertex bytes done and in all.

    Raises
    ------
    UnsupportedFormatError
        If `filename` has another suffix.
    InputNotFoundError
        If the folder that is to hold `filename` does not exist.
    ClosedError
        If `trx` was closed.
    InputError
        If `filename` lies in a TRX folder that `trx` is mapped from, or is a folder that holds a file of it; if the
        compression, the level or the type of the offsets cannot be.
    FormatError
        If something in `trx` cannot be written; what stood there before is still there. ArchiveError, if the offsets, a
        group or dpg is damaged in the file it was loaded from, and nobody has changed it since.

    Warns
    -----
    DataLossWarning
        Names data_per_group of groups that are not there, which is left out.

    Examples
    --------
    >>> trx = trxlib.load("cohort.trx")
    >>> trxlib.save(trx.get_group("AF_L"), "AF_L.trx")
    >>> len(trxlib.load("AF_L.trx"))
    3

    A folder, and an archive that takes less space and has to be unpacked where it is loaded:

    >>> import zipfile
    >>> trxlib.save(trx, "cohort_folder")
    >>> trxlib.save(trx, "small.trx", zipfile.ZIP_DEFLATED)
    """
    _check_trx(trx, "trx")
    _check_path(filename, "filename")
    # Mapped data stay readable when their file is replaced, but one file more in a TRX folder breaks it.
    check_outputs([filename], _origins_of(trx), may_replace_inputs=True)
    options: dict[str, Any] = {"level": level, "workers": workers, "verify": verify, "progress": progress}
    joined = trx._content.joined
    if joined is not None:
        joined.write(
            filename,
            trx._content.stated,
            compression=compression_standard,
            offsets_dtype=find_offsets_dtype(joined.plan.header.nb_vertices, offsets_dtype),
            **options,
        )
        return
    source = trx._content.source()
    plan = plan_merge([source], names=["this TrxFile"], offsets_dtype=offsets_dtype)
    write_container(plan, [source], filename, compression=compression_standard, **options)


def zip_from_folder(
    directory: str | os.PathLike[str],
    filename: str | os.PathLike[str],
    compression_standard: Any = zipfile.ZIP_STORED,
    *,
    level: int | None = None,
) -> None:
    """Write a TRX folder as an archive: the bytes that `save` would give for it.

    Parameters
    ----------
    directory : path
        A TRX folder; a relative path and a trailing slash are fine.
    filename : path
        The archive.
    compression_standard : int
        A method of Python's zipfile.
    level : int, optional
        Of the compression.

    Raises
    ------
    InputError
        If `filename` would replace the folder or lie in it.
    UnsupportedFormatError
        If `filename` has another suffix than ``.trx`` and ``.zip``, or `directory` is a file.
    FormatError, InputNotFoundError
        See `load`.

    Examples
    --------
    >>> trxlib.save(trxlib.load("cohort.trx"), "cohort_folder")
    >>> trxlib.zip_from_folder("cohort_folder", "zipped.trx")
    >>> trxlib.validate("zipped.trx").nb_streamlines
    8
    """
    _check_path(directory, "directory")
    _check_path(filename, "filename")
    if not is_archive_name(filename):
        raise UnsupportedFormatError(f"{filename}: expected the suffix .trx or .zip")
    check_outputs([filename], [directory])
    with load_from_directory(directory) as trx:
        save(trx, filename, compression_standard, level=level)


def concatenate(
    trx_list: Sequence[TrxFile],
    delete_dpv: bool = False,
    delete_dps: bool = False,
    delete_groups: bool = False,
    check_space_attributes: bool = True,
    preallocation: bool = False,
) -> TrxFile:
    """Join the streamlines of several files, in their order.

    The inputs are kept as they are now, whatever happens to them later: what their files hold, and nobody has changed,
    stays there if it is large, and anything else is copied. The result is put together when it is looked at, or
    saved. Groups of one name are united. dpg, unknown header keys and sidecars on which the inputs differ are all kept,
    as ``<key>_<number of the input>``.

    Parameters
    ----------
    trx_list : sequence of TrxFile
        Not modified.
    delete_dpv, delete_dps : bool
        Leave out the keys that not all inputs have, with a warning; else that is an error.
    delete_groups : bool
        Leave out all groups and their dpg.
    check_space_attributes : bool
        Refuse inputs in another space; else the result has the affine and dimensions of the first, and all positions
        stay as they are.
    preallocation : bool
        The first is a preallocated file, into which the others are written and which is returned; needs
        `delete_groups`.

    Returns
    -------
    TrxFile

    Raises
    ------
    SpaceMismatchError, MetadataMismatchError
        List every input that does not fit.
    CapacityError
        If the preallocated file is too small; it is unchanged then.

    Warns
    -----
    DataLossWarning
        Names the keys and groups that are left out.
    HeaderWarning
        If there is nothing to join.

    Examples
    --------
    >>> subjects = [trxlib.load("sub-01.trx"), trxlib.load("sub-02.trx")]
    >>> joined = trxlib.concatenate(subjects)
    >>> joined.data_per_streamline["weight"].ravel().tolist()
    [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]

    Into a file that has room for them:

    >>> room = trxlib.TrxFile(nb_vertices=20, nb_streamlines=8, init_as=subjects[0])
    >>> len(trxlib.concatenate([room, *subjects], delete_groups=True, preallocation=True))
    8
    """
    if isinstance(trx_list, TrxFile):
        raise TypeError("trx_list is one TrxFile, expected a list of them")
    trx_list = list(trx_list)
    for number, trx in enumerate(trx_list):
        _check_trx(trx, f"trx_list[{number}]")
    if preallocation and not delete_groups:
        raise InputError("a preallocated file has no room for groups; give delete_groups=True")
    if not trx_list:
        warn("nothing to concatenate: the result is an empty TrxFile", HeaderWarning)
        return TrxFile()
    selections = [trx._content.selection() for trx in trx_list]
    if delete_groups:
        _warn_of_groups(selections)
    for section, wanted in (("dpv", delete_dpv), ("dps", delete_dps)):
        if wanted:
            selections = _shared_only(selections, section)
    if preallocation:
        append.fill_preallocated(trx_list[0]._content, selections, check_space_attributes)
        return trx_list[0]
    pinned = [pin_source(kept, trx._content.container) for kept, trx in zip(selections, trx_list, strict=True)]
    sources = [item.source for item in pinned]
    plan = plan_merge(sources, keep_groups=not delete_groups, check_space=check_space_attributes)
    return TrxFile._of_joined(Joined(plan, pinned))


def _origins_of(trx: TrxFile) -> list[str]:
    """Return the files and folders that a TrxFile was loaded or concatenated from."""
    joined, container = trx._content.joined, trx._content.container
    if joined is not None:
        return list(joined.origins)
    return list(container.origins) if container is not None else []


def _check_trx(thing: Any, what: str) -> None:
    if not isinstance(thing, TrxFile):
        raise TypeError(f"{what} is a {type(thing).__name__}, expected a TrxFile; load() opens a file")


def _check_path(path: Any, what: str) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{what} is a {type(path).__name__}, expected a path")
    text = os.fspath(path)
    if not text or "\0" in text:  # an empty one would be the working directory
        raise InputError(f"{what} is {text!r}, expected a path")


def _warn_of_groups(selections: Sequence[Selection]) -> None:
    names = sorted({str(name) for arrays, _ in selections for name in arrays.groups})
    if names:
        warn(
            f"left out on request: {len(names)} groups with their dpg: {', '.join(names)}",
            DataLossWarning,
        )


def _shared_only(selections: Sequence[Selection], section: str) -> list[Selection]:
    """Leave out the dps or dpv keys that some of the inputs lack; those without streamlines lack nothing."""
    tables = [getattr(arrays, section).keys() for arrays, _ in selections]
    filled = [table for table, (arrays, _) in zip(tables, selections, strict=True) if arrays.header.nb_streamlines]
    every = {key for table in tables for key in table}
    shared = set.intersection(every, *map(set, filled))
    dropped = sorted(every - shared, key=str)
    if not dropped:
        return list(selections)
    warn(
        f"left out, since not all inputs have them: {', '.join(f'{section}/{key}' for key in dropped)}",
        DataLossWarning,
    )
    kept = []
    for arrays, runs in selections:
        fewer = replace(arrays)
        setattr(fewer, section, {key: array for key, array in getattr(arrays, section).items() if key in shared})
        kept.append(Selection(fewer, runs))
    return kept
