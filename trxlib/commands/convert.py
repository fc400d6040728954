"""Convert tractograms of any format into one TRX file, some streamlines at a time: memory stays flat."""

from __future__ import annotations

import logging
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.commands.convert_inputs import ConvertedInput, ConvertInput, names_of, own_options, read_inputs
from trxlib.commands.progress import log_progress
from trxlib.container.outputs import check_outputs
from trxlib.engine.columns import MissingPolicy
from trxlib.engine.compression import Compressions, read_compression
from trxlib.engine.plan import InputPlan, Plan
from trxlib.engine.planning import plan_merge
from trxlib.engine.write import write_container
from trxlib.errors import CountError, InputError, MetadataMismatchError
from trxlib.formats.open import open_input, read_headers
from trxlib.formats.reference import check_space_policy, find_grid
from trxlib.formats.registry import detect_format, export_suffix
from trxlib.model.choice import check_used
from trxlib.model.dtypes import check_float_dtype
from trxlib.model.offsets import OffsetsDtype
from trxlib.model.options import (
    CompanionPolicy,
    NonFinite,
    OutOfField,
    OutOfVolume,
    ReadOptions,
    SpacePolicy,
    StrPath,
    VtkSpace,
)
from trxlib.model.source import Progress, Source
from trxlib.spaces.companions import with_companions

__all__ = ["ConvertInput", "ConvertedInput", "convert", "convert_all", "plan_conversion"]

logger = logging.getLogger(__name__)


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
    companions: CompanionPolicy | None = None,
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
    accept_timestamp_mismatch: bool = False,
    vtk_space: VtkSpace | None = None,
    keep: Sequence[str] | None = None,
    leave_out: Sequence[str] | None = None,
    offsets_dtype: OffsetsDtype = "auto",
    dtypes: Mapping[str, npt.DTypeLike] | None = None,
    compression: Compressions = zipfile.ZIP_STORED,
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
        ``.trx`` or ``.zip`` gives an archive; ``.trk``, ``.tck`` (both also ``.gz``), ``.vtk`` or ``.vtp`` those, see
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
    companions : {"auto", "none"}, optional
        Whether values in files beside an input are attached: ``<name>_<key>.txt``, ``.npy`` and ``.tsf``, as
        `trxlib.export` writes them. By default they are not, and a DataLossWarning names those that fit a TCK.
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
    accept_timestamp_mismatch : bool
        Whether a ``.tsf`` that has the time stamp of another TCK is attached all the same, with a warning. Otherwise
        that is an error, as it is in MRtrix.
    vtk_space : {"RAS", "LPS"}, optional
        Where the axes of VTK files lead; by default what a file says of itself, else RAS with a warning.
    keep, leave_out : list of str, optional
        Names of the arrays that are wanted, or of those that are not; one of both. ``dps/weight``, ``dpv/fa``,
        ``groups/AF_L`` and ``dpg/AF_L/color`` are names, and ``*`` stands for anything: ``dpv/*``. What describes a
        group goes with it. Positions, offsets and the groups given with `source` always stay.
    offsets_dtype : {"auto", "uint32", "uint64"}
        Type of the offsets of a TRX: by default uint32, or uint64 where there are more than 2^32 - 1 vertices.
    dtypes : mapping of str to dtype, optional
        Types of dps and dpv of a TRX by name, ``{"dps/weight": "float16", "dpv/*": "float32"}``; a name without ``*``
        counts before one with it. Floats are rounded; what does not fit is an error. By default as in the inputs.
    compression : int, str, or mapping of str to these
        A method of Python's zipfile, or ``"stored"``, ``"deflated"``, ``"bzip2"``, ``"lzma"``; stored by default, which
        every program can map. ``{"dpv": "deflated", "groups": "deflated"}`` compresses the arrays of some sections
        (positions, offsets, dps, dpv, groups, dpg).
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
        If an argument does not fit the output, or an output would replace an input or lie in one; if a name in `keep`
        or `leave_out` matches nothing in any input.
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
    >>> inputs = trxlib.convert("sub-01.tck", "from_tck.trx", reference="b0.nii.gz", companions="none")

    Several files become one, each a group, in the order given:

    >>> inputs = trxlib.convert([("sub-01.trk", "AF_L"), ("sub-02.trx", "CST_R")], "both.trx")
    >>> [(part.group, part.place.first_streamline, part.place.nb_streamlines) for part in inputs]
    [('AF_L', 0, 4), ('CST_R', 4, 4)]

    What is written can be chosen, and how:

    >>> inputs = trxlib.convert("sub-01.trk", "small.trx", leave_out=["dpv/*"], dtypes={"dps/weight": "float16"})
    >>> small = trxlib.load("small.trx")
    >>> small.data_per_streamline["weight"].dtype.name, list(small.data_per_vertex)
    ('float16', [])
    """
    items = read_inputs(source)
    check_space_policy(space, grid)
    common = ReadOptions(
        reference=reference,
        transform=transform,
        transform_format=transform_format,
        transform_inverse=transform_inverse,
        transform_source=transform_source,
        grid=grid,
        positions_dtype=positions_dtype,
        companions=companions,
        out_of_volume=out_of_volume,
        nonfinite=nonfinite,
        drop_empty=drop_empty,
        out_of_field=out_of_field,
        warn_outside=warn_outside,
        max_outside=max_outside,
        accept_count_mismatch=accept_count_mismatch,
        accept_timestamp_mismatch=accept_timestamp_mismatch,
        vtk_space=vtk_space,
        keep=keep,
        leave_out=leave_out or (),
    )
    return convert_all(
        items, output, common, missing=missing, space=space, grid=grid, offsets_dtype=offsets_dtype, dtypes=dtypes,
        compression=compression, level=level, overwrite=overwrite, progress=progress,
    )  # fmt: skip


def convert_all(
    items: Sequence[ConvertInput],
    output: StrPath,
    common: ReadOptions,
    *,
    missing: MissingPolicy = "error",
    space: SpacePolicy = "same",
    grid: Any = None,
    offsets_dtype: OffsetsDtype = "auto",
    dtypes: Mapping[str, npt.DTypeLike] | None = None,
    compression: Compressions = zipfile.ZIP_STORED,
    level: int | None = None,
    overwrite: bool = True,
    progress: Progress | None = None,
) -> list[ConvertedInput]:
    """Do what `convert` does, with what holds for all inputs as one value."""
    options = [own_options(item, common) for item in items]
    if export_suffix(output):
        _check_export(
            items,
            output,
            {
                "missing": missing != "error",
                "compression": compression not in (zipfile.ZIP_STORED, "stored"),
                "level": level is not None,
                "space": space != "same",
                "offsets_dtype": offsets_dtype != "auto",
                "dtypes": dtypes is not None,
            },
        )
        return _export(items, output, options, overwrite, progress)
    inputs = [item.path for item in items] + with_companions(path for how in options for path in how.files())
    check_outputs([output], inputs, overwrite=overwrite)
    planning: dict[str, Any] = {"missing": missing, "offsets_dtype": offsets_dtype, "dtypes": dtypes}
    where = (space, grid)
    read_compression(output, compression, level)  # before anything is read
    writing: dict[str, Any] = {
        "compression": compression,
        "level": level,
        "progress": log_progress(os.fspath(output)) if progress is None else progress,
    }
    try:
        return _convert(items, options, output, where, planning, writing)
    except CountError as error:
        if not any(detect_format(os.fspath(item.path)) == "tck" for item in items):
            raise
        # Rare, and known only at the end of a large file: the data are delimited, so they can be counted.
        logger.warning("%s; counting", error)
        return _convert(items, [how.counted() for how in options], output, where, planning, writing)
    except MetadataMismatchError as error:
        if common.companions == "auto":
            error.add_note("values found beside an input count as its own; companions='none' leaves them out")
        raise


def _convert(
    items: Sequence[ConvertInput],
    options: Sequence[ReadOptions],
    output: StrPath,
    where: tuple[SpacePolicy, Any],
    planning: dict[str, Any],
    writing: dict[str, Any],
) -> list[ConvertedInput]:
    begin = time.perf_counter()
    with ExitStack() as stack:
        sources: list[Source] = []
        for item, how in zip(items, options, strict=True):
            sources.append(stack.enter_context(open_input(item.path, how)))
        check_used(options[0].choice, [source.info for source in sources])
        whole_groups = [[item.group] if item.group else [] for item in items]
        plan = plan_merge(
            sources, names=names_of(items), whole_groups=whole_groups, positions_dtype=_plan_dtype(options),
            grid=find_grid([source.info for source in sources], *where), **planning,
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
    offsets_dtype: OffsetsDtype = "auto",
    dtypes: Mapping[str, npt.DTypeLike] | None = None,
) -> Plan:
    """Plan what `convert` would write, without writing it; whoever has the plan can open the inputs again.

    Parameters
    ----------
    items : sequence of ConvertInput
        At least one; reference and transform must be paths.
    common : ReadOptions, optional
        What holds for all inputs.
    missing, space, grid, offsets_dtype, dtypes
        See `convert`.

    Returns
    -------
    Plan
        `trxlib.formats.open.open_input` opens an input by its ``path`` and ``options``.
    """
    # Who fills cannot plan again: the counts must be right now.
    check_space_policy(space, grid)
    common = replace(common or ReadOptions(), grid=grid)
    if common.companions == "auto":
        raise InputError("a plan names each file that is read: name those with values (dps, dpv), not 'auto'")
    options = [own_options(item, common).counted() for item in items]
    headers = [read_headers(item.path, how) for item, how in zip(items, options, strict=True)]
    check_used(common.choice, [item.info for item in headers])
    return plan_merge(
        headers,
        names=names_of(items),
        whole_groups=[[item.group] if item.group else [] for item in items],
        options=options,
        positions_dtype=_plan_dtype(options),
        missing=missing,
        offsets_dtype=offsets_dtype,
        dtypes=dtypes,
        grid=find_grid([item.info for item in headers], space, grid),
    )


def _plan_dtype(options: Sequence[ReadOptions]) -> np.dtype[Any] | None:
    """Return the type of positions that is asked for, the same for all inputs."""
    wanted = options[0].positions_dtype
    return None if wanted is None else check_float_dtype(wanted, "positions_dtype")


def _check_export(items: Sequence[ConvertInput], output: StrPath, options: Mapping[str, bool]) -> None:
    """Refuse what has no meaning for this format; `options` says which of them are given."""
    if len(items) > 1:
        raise InputError(
            f"{output}: files of this format have no groups, so they take one input, not {len(items)}; convert to .trx"
        )
    if items[0].group:
        raise InputError(
            f"{output}: files of this format have no groups; leave {items[0].group!r} out, or write the streamlines of "
            "that group of a TRX file by trxlib.export(group=)"
        )
    for name, is_given in options.items():
        if is_given:
            raise InputError(f"{output}: {name} has no meaning for this format; leave it out, or convert to .trx")


def _export(
    items: Sequence[ConvertInput],
    output: StrPath,
    options: Sequence[ReadOptions],
    overwrite: bool,
    progress: Progress | None,
) -> list[ConvertedInput]:
    """Write TRK or TCK, which hold one tractogram without groups."""
    from trxlib.commands.export import export_source  # the writers, which a conversion to TRX does without

    info, fingerprint = export_source(items[0].path, output, options[0], overwrite=overwrite, progress=progress)
    name = names_of(items)[0]
    place = InputPlan(name, info.path, None, None, 0, info.nb_streamlines, 0, info.nb_vertices, {})
    return [ConvertedInput(info, "", place, fingerprint)]


def _log(output: StrPath, plan: Plan, begin: float) -> None:
    logger.info(
        "%s: %d inputs, %d streamlines, %d vertices, %.1f MB in %.2f s",
        output, len(plan.inputs), plan.header.nb_streamlines, plan.header.nb_vertices, plan.nbytes / 1e6,
        time.perf_counter() - begin,
    )  # fmt: skip
