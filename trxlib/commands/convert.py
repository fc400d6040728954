"""Convert tractograms of any format into one TRX file, some streamlines at a time: memory stays flat."""

from __future__ import annotations

import logging
import os
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.commands.export import EXPORT_SUFFIXES, export_source
from trxlib.commands.progress import log_progress
from trxlib.container.outputs import check_outputs
from trxlib.engine.columns import MissingPolicy
from trxlib.engine.plan import InputPlan, Plan
from trxlib.engine.planning import plan_merge
from trxlib.engine.write import write_container
from trxlib.errors import CountError, InputError
from trxlib.formats.open import open_input, read_headers
from trxlib.formats.reference import check_space_policy, find_grid
from trxlib.formats.registry import detect_format
from trxlib.model.dtypes import check_float_dtype
from trxlib.model.options import NonFinite, OutOfField, OutOfVolume, ReadOptions, SpacePolicy, StrPath, VtkSpace
from trxlib.model.source import Findings, Progress, Source, SourceInfo
from trxlib.spaces.companions import with_companions

__all__ = ["ConvertInput", "ConvertedInput", "convert", "convert_all", "plan_conversion"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConvertInput:
    """One file to convert, with what is particular to it.

    Parameters
    ----------
    path : path
        The tractogram.
    group : str, optional
        A group that all its streamlines belong to, e.g. the bundle's name.
    reference : optional
        See `convert`; overrides the common one.
    transform, transform_format, transform_inverse, transform_source : optional
        See `convert`; override the common ones, all together.
    dps, dpv : mapping of str to path
        Files with a row per streamline or vertex, by the key they get.

    Examples
    --------
    >>> np.savetxt("sub-01_length.txt", [2.0, 1.0, 3.0, 0.0])
    >>> tracts = trxlib.ConvertInput("sub-01.tck", reference="b0.nii.gz", dps={"length": "sub-01_length.txt"})
    >>> inputs = trxlib.convert(tracts, "with_length.trx")
    >>> trxlib.load("with_length.trx").data_per_streamline["length"].ravel().tolist()
    [2.0, 1.0, 3.0, 0.0]
    """

    path: StrPath
    group: str | None = None
    reference: Any = None
    transform: Any = None
    transform_format: str | Sequence[str | None] | None = None
    transform_inverse: bool | Sequence[bool] = False
    transform_source: Any = None
    dps: Mapping[str, StrPath] = field(default_factory=dict)
    dpv: Mapping[str, StrPath] = field(default_factory=dict)


@dataclass(frozen=True)
class ConvertedInput:
    """Where one input's streamlines are in the result.

    Parameters
    ----------
    info : SourceInfo
        What its headers said.
    group : str
        The group of all its streamlines; empty for none.
    place : InputPlan
        Its first streamline and vertex, and their numbers.
    fingerprint : str
        Of its content: ``crc32:<8 hex digits>:<bytes>``.
    findings : Findings, optional
        How many of its vertices were looked at, and how many lie outside the grid of the result.
    record : mapping
        How it was read: see `trxlib.model.source.Source.record`.
    """

    info: SourceInfo
    group: str
    place: InputPlan
    fingerprint: str
    findings: Findings | None = None
    record: Mapping[str, Any] = field(default_factory=dict)


def convert(
    source: StrPath | ConvertInput | Sequence[StrPath | tuple[StrPath, str] | ConvertInput],
    output: StrPath,
    *,
    reference: Any = None,
    transform: Any = None,
    transform_format: str | Sequence[str | None] | None = None,
    transform_inverse: bool | Sequence[bool] = False,
    transform_source: Any = None,
    positions_dtype: npt.DTypeLike | None = None,
    missing: MissingPolicy = "error",
    out_of_volume: OutOfVolume = "keep",
    nonfinite: NonFinite = "fail",
    drop_empty: bool = False,
    out_of_field: OutOfField = "fail",
    warn_outside: float = 0.05,
    max_outside: float = 0.5,
    space: SpacePolicy = "same",
    grid: Any = None,
    accept_count_mismatch: bool = False,
    vtk_space: VtkSpace | None = None,
    compression: int = zipfile.ZIP_STORED,
    level: int | None = None,
    overwrite: bool = True,
    progress: Progress | None = None,
) -> list[ConvertedInput]:
    """Convert one or more tractograms into one TRX file, or one tractogram into a TRK, TCK or VTK.

    Parameters
    ----------
    source : path, ConvertInput, or list of path, (path, group) or ConvertInput
        ``.trk``, ``.tck`` (also ``.gz``), ``.trx``, ``.vtk``, ``.vtp``, ``.fib`` or ``.dpy``; the content decides, not
        the name.
    output : path
        ``.trx`` or ``.zip`` gives an archive; ``.trk``, ``.tck``, ``.vtk`` or ``.vtp`` those, see
        `trxlib.export`; any other name a folder.
    reference : optional
        Where affine and dimensions are from: a path (NIfTI, MGH, MRtrix or NRRD image, TRK, TRX, text), a nibabel
        image or header, a dict with ``VOXEL_TO_RASMM`` and ``DIMENSIONS``, or ``(affine, dimensions)``. Formats
        without a space, such as TCK, need it.
    transform : path, array, or list of these, optional
        Applied to all vertices, several in the order written. A 4 x 4 matrix, RASMM to RASMM in mm, or a file of ITK
        and ANTs (linear, displacement field, composite), FSL FLIRT, MRtrix (linear, deformation field), FreeSurfer
        (LTA), or four rows of four numbers. Points go the other way than images: docs/transforms.md says for each
        program which file to name.
    transform_format : {"ras", "itk", "fsl", "mrtrix", "lta"}, or a list with one for each, optional
        Whose file it is; by default what its content says. A matrix in text that does not say is an error.
    transform_inverse : bool, or a list with one for each
        Go the other way. Fields cannot be inverted: name the file of the other way.
    transform_source : optional
        The image that the transform leads from, as `reference`; FLIRT needs it. `reference` is where it leads to.
    positions_dtype : dtype, optional
        float16, float32 or float64; by default as in the inputs. A TCK holds float32 or float64, a TRK float32 only.
    missing : {"error", "drop", "fill"}
        dps and dpv keys that some inputs lack: an error, left out with a warning, or filled with NaN, which is an
        error for integers and bool.
    out_of_volume : {"keep", "drop", "fail"}
        Streamlines that leave the grid of the reference: kept and counted in the log, left out, or an error.
    nonfinite : {"fail", "drop"}
        Streamlines with NaN or infinite vertices: an error that names them, or left out.
    drop_empty : bool
        Whether streamlines without vertices are left out, with their dps rows.
    out_of_field : {"fail", "drop"}
        Streamlines with a vertex where a field of the transform has no value: an error, or left out.
    warn_outside, max_outside : float
        Share of a file's vertices outside the grid of the result, 0 to 1, above which it is a SpaceWarning, and a
        SpaceMismatchError that says what is probably wrong.
    space : {"same", "world"}
        Whether all inputs must have one grid, or only lie in one world space. Then the result gets `grid`.
    grid : optional
        The grid of the result with ``space="world"``, as `reference`; by default the smallest that holds those of all
        inputs, at the finest voxel size.
    accept_count_mismatch : bool
        Whether a TRK whose header counts other streamlines than it holds is read all the same, with a warning, and a
        TCK that was cut: it lacks its end marker, and streamlines that its header counts. Otherwise that is an error.
    vtk_space : {"RAS", "LPS"}, optional
        Where the axes of VTK files lead; by default what a file says of itself, else RAS with a warning.
    compression : int
        A method of Python's zipfile; stored by default, which every program can map.
    level : int, optional
        Of the compression.
    overwrite : bool
        Whether files that exist may be replaced. Inputs are never.
    progress : callable, optional
        Called with vertex bytes done and in all; by default a line in the log every few seconds.

    Returns
    -------
    list of ConvertedInput
        One for each input, in their order.

    Raises
    ------
    InputError
        If an argument does not fit the output, or an output would replace an input or lie in one.
    InputNotFoundError, UnsupportedFormatError, FormatError
        Name the file, and the byte and record where it breaks its format.
    SpaceMismatchError, MetadataMismatchError
        List every input that does not fit.

    Warns
    -----
    HeaderWarning
        If a header leaves something open or is odd, and a value is assumed.
    DataLossWarning
        Names what is left out.

    Examples
    --------
    A TRK knows its space; its scalars become dpv, its properties dps. A TCK needs the image that it was made from:

    >>> (converted,) = trxlib.convert("sub-01.trk", "from_trk.trx")
    >>> converted.info.nb_streamlines, sorted(converted.info.dps), sorted(converted.info.dpv)
    (4, ['weight'], ['fa'])
    >>> inputs = trxlib.convert("sub-01.tck", "from_tck.trx", reference="b0.nii.gz")

    Several files become one, each a group, in the order given:

    >>> inputs = trxlib.convert([("sub-01.trk", "AF_L"), ("sub-02.trx", "CST_R")], "both.trx")
    >>> [(part.group, part.place.first_streamline, part.place.nb_streamlines) for part in inputs]
    [('AF_L', 0, 4), ('CST_R', 4, 4)]
    """
    items = _normalise(source)
    check_space_policy(space, grid)
    common = ReadOptions(
        reference=reference,
        transform=transform,
        transform_format=transform_format,
        transform_inverse=transform_inverse,
        transform_source=transform_source,
        grid=grid,
        positions_dtype=positions_dtype,
        out_of_volume=out_of_volume,
        nonfinite=nonfinite,
        drop_empty=drop_empty,
        out_of_field=out_of_field,
        warn_outside=warn_outside,
        max_outside=max_outside,
        accept_count_mismatch=accept_count_mismatch,
        vtk_space=vtk_space,
    )
    return convert_all(
        items, output, common, missing=missing, space=space, grid=grid, compression=compression, level=level,
        overwrite=overwrite, progress=progress,
    )  # fmt: skip


def convert_all(
    items: Sequence[ConvertInput],
    output: StrPath,
    common: ReadOptions,
    *,
    missing: MissingPolicy = "error",
    space: SpacePolicy = "same",
    grid: Any = None,
    compression: int = zipfile.ZIP_STORED,
    level: int | None = None,
    overwrite: bool = True,
    progress: Progress | None = None,
) -> list[ConvertedInput]:
    """Do what `convert` does, with what holds for all inputs as one value."""
    options = [_own_options(item, common) for item in items]
    if Path(output).suffix.lower() in EXPORT_SUFFIXES:
        _check_export(items, output, missing, compression, level, space)
        return _export(items, output, options, overwrite, progress)
    inputs = [item.path for item in items] + with_companions(path for how in options for path in how.files())
    check_outputs([output], inputs, overwrite=overwrite)
    planning: dict[str, Any] = {"missing": missing, "space": space, "grid": grid}
    writing: dict[str, Any] = {
        "compression": compression,
        "level": level,
        "progress": log_progress(os.fspath(output)) if progress is None else progress,
    }
    try:
        return _convert(items, options, output, planning, writing)
    except CountError as error:
        if not any(detect_format(os.fspath(item.path)) == "tck" for item in items):
            raise
        # Rare, and known only at the end of a large file: the data are delimited, so they can be counted.
        logger.warning("%s; counting", error)
        return _convert(items, [how.counted() for how in options], output, planning, writing)


def _convert(
    items: Sequence[ConvertInput],
    options: Sequence[ReadOptions],
    output: StrPath,
    planning: dict[str, Any],
    writing: dict[str, Any],
) -> list[ConvertedInput]:
    begin = time.perf_counter()
    with ExitStack() as stack:
        sources: list[Source] = []
        for item, how in zip(items, options, strict=True):
            sources.append(stack.enter_context(open_input(item.path, how)))
        whole_groups = [[item.group] if item.group else [] for item in items]
        plan = plan_merge(
            sources, names=_names(items), whole_groups=whole_groups, missing=planning["missing"],
            positions_dtype=_plan_dtype(options),
            grid=find_grid([source.info for source in sources], planning["space"], planning["grid"]),
        )  # fmt: skip
        write_container(plan, sources, output, **writing)
        _log(output, plan, begin)
        return [
            ConvertedInput(opened.info, item.group or "", place, opened.fingerprint(), opened.findings, opened.record())
            for item, opened, place in zip(items, sources, plan.inputs, strict=True)
        ]


def plan_conversion(
    items: Sequence[ConvertInput],
    common: ReadOptions | None = None,
    *,
    missing: MissingPolicy = "error",
    space: SpacePolicy = "same",
    grid: Any = None,
) -> Plan:
    """Plan what `convert` would write, without writing it; whoever has the plan can open the inputs again.

    Parameters
    ----------
    items : sequence of ConvertInput
        At least one; reference and transform must be paths.
    common : ReadOptions, optional
        What holds for all inputs.
    missing, space, grid
        See `convert`.

    Returns
    -------
    Plan
        `trxlib.formats.open.open_input` opens an input by its ``path`` and ``options``.
    """
    # Who fills cannot plan again: the counts must be right now.
    check_space_policy(space, grid)
    common = replace(common or ReadOptions(), grid=grid)
    options = [_own_options(item, common).counted() for item in items]
    headers = [read_headers(item.path, how) for item, how in zip(items, options, strict=True)]
    return plan_merge(
        headers,
        names=_names(items),
        whole_groups=[[item.group] if item.group else [] for item in items],
        options=options,
        positions_dtype=_plan_dtype(options),
        missing=missing,
        grid=find_grid([item.info for item in headers], space, grid),
    )


def _plan_dtype(options: Sequence[ReadOptions]) -> np.dtype[Any] | None:
    """Return the type of positions that is asked for, the same for all inputs."""
    wanted = options[0].positions_dtype
    return None if wanted is None else check_float_dtype(wanted, "positions_dtype")


def _normalise(source: Any) -> list[ConvertInput]:
    """Turn every form that `convert` accepts into a list of ConvertInput."""
    if isinstance(source, (str, os.PathLike, ConvertInput)):
        source = [source]
    if not isinstance(source, Iterable):
        raise InputError(f"{source!r} is no input; expected a path, (path, group), a ConvertInput, or a list of them")
    items = []
    for entry in source:
        if isinstance(entry, ConvertInput):
            items.append(entry)
        elif isinstance(entry, (str, os.PathLike)):
            items.append(ConvertInput(entry))
        elif isinstance(entry, (tuple, list)) and len(entry) == 2:
            items.append(ConvertInput(entry[0], entry[1]))
        else:
            raise InputError(f"{entry!r} is no input; expected a path, (path, group), or a ConvertInput")
    if not items:
        raise InputError("nothing to convert: give at least one input")
    return items


def _own_options(item: ConvertInput, common: ReadOptions) -> ReadOptions:
    """Return how one file is opened: what is particular to it comes before what is common."""
    names = ("transform", "transform_format", "transform_inverse", "transform_source")
    own = {name: getattr(item, name) for name in names} if item.transform is not None else {}
    return replace(
        common,
        reference=item.reference if item.reference is not None else common.reference,
        dps=item.dps,
        dpv=item.dpv,
        **own,
    )


def _check_export(
    items: Sequence[ConvertInput], output: StrPath, missing: str, compression: int, level: int | None, space: str
) -> None:
    """Refuse what has no meaning for TRK and TCK."""
    if len(items) > 1:
        raise InputError(
            f"{output}: TRK and TCK have no groups, so they take one input, not {len(items)}; convert to .trx"
        )
    if items[0].group:
        raise InputError(
            f"{output}: TRK and TCK have no groups; leave {items[0].group!r} out, or write the streamlines of that "
            "group of a TRX file by trxlib.export(group=)"
        )
    for name, given in (
        ("missing", missing != "error"),
        ("compression", compression != zipfile.ZIP_STORED),
        ("level", level is not None),
        ("space", space != "same"),
    ):
        if given:
            raise InputError(f"{output}: {name} has no meaning for TRK and TCK; leave it out, or convert to .trx")


def _export(
    items: Sequence[ConvertInput],
    output: StrPath,
    options: Sequence[ReadOptions],
    overwrite: bool,
    progress: Progress | None,
) -> list[ConvertedInput]:
    """Write TRK or TCK, which hold one tractogram without groups."""
    info, fingerprint = export_source(items[0].path, output, options[0], overwrite=overwrite, progress=progress)
    name = _names(items)[0]
    place = InputPlan(name, info.path, None, None, 0, info.nb_streamlines, 0, info.nb_vertices, {})
    return [ConvertedInput(info, "", place, fingerprint)]


def _names(items: Sequence[ConvertInput]) -> list[str]:
    """Name each input by its file, numbered where names repeat."""
    stems = [Path(item.path).name.split(".")[0] or "input" for item in items]
    return [stem if stems.count(stem) == 1 else f"{stem}_{n + 1}" for n, stem in enumerate(stems)]


def _log(output: StrPath, plan: Plan, begin: float) -> None:
    logger.info(
        "%s: %d inputs, %d streamlines, %d vertices, %.1f MB in %.2f s",
        output, len(plan.inputs), plan.header.nb_streamlines, plan.header.nb_vertices, plan.nbytes / 1e6,
        time.perf_counter() - begin,
    )  # fmt: skip
