"""Commands that write a tractogram: convert, merge."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trxlib.cli.output import FileError, reporting, show_log, show_progress
from trxlib.cli.parser import (
    CallError,
    Parser,
    add_choice,
    add_companions,
    add_compress,
    add_dtype,
    add_force,
    add_missing,
    add_reference,
    add_repeated,
    add_switch,
    add_types,
    add_workers,
    check_choice,
    check_compress,
    check_types,
    given_choice,
    given_compression,
    given_types,
)
from trxlib.cli.spaces import add_limits, add_outside, add_space, add_transform, check_transform, given_transform

if TYPE_CHECKING:
    from trxlib.commands.convert import ConvertInput

__all__ = ["add_convert", "add_merge", "run_convert", "run_merge"]

_NO_INPUT = "give at least one INPUT, and the OUTPUT as the last path"


def add_convert(parser: Parser) -> None:
    """State the arguments of ``trxlib convert``."""
    parser.epilog = "For a TRK or TCK a group is the one whose streamlines are written."
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="INPUT... OUTPUT",
        help="files to convert; group=path puts a file's streamlines in a group. The last one is written: .trx, "
        ".trk, .tck (both also .gz), .vtk, .vtp, or a folder",
    )
    add_repeated(parser, "group", "NAME", "group of an input's streamlines; once for all, or once per input")
    add_reference(parser)
    parser.add_argument(
        "--dimensions",
        nargs=3,
        type=int,
        metavar=("NX", "NY", "NZ"),
        help="voxels along each axis, for a --reference in text without them",
    )
    add_transform(parser)
    add_repeated(parser, "dps", "KEY=FILE", "a value per streamline, for a single input")
    add_repeated(parser, "dpv", "KEY=FILE", "a value per vertex, for a single input")
    add_companions(parser)
    add_dtype(parser)
    add_types(parser)
    add_missing(parser)
    parser.add_argument(
        "--out-of-volume",
        choices=("keep", "drop", "fail"),
        default="keep",
        metavar="keep|drop|fail",
        help="streamlines that leave the grid (default: keep)",
    )
    parser.add_argument(
        "--nonfinite",
        choices=("fail", "drop"),
        default="fail",
        metavar="fail|drop",
        help="streamlines with NaN or infinite vertices (default: fail)",
    )
    parser.add_argument("--drop-empty", action="store_true", help="leave out streamlines without vertices")
    add_outside(parser)
    add_space(parser)
    add_choice(parser)
    parser.add_argument(
        "--accept-count-mismatch",
        action="store_true",
        help="take what is there of a TRK that counts otherwise, or of a cut TCK",
    )
    parser.add_argument(
        "--accept-timestamp-mismatch",
        action="store_true",
        help="attach a .tsf that has the timestamp of another TCK",
    )
    parser.add_argument(
        "--vtk-space", choices=("RAS", "LPS"), metavar="RAS|LPS", help="axes of VTK files, if they do not say"
    )
    add_force(parser)
    add_compress(parser)
    parser.check = _check_convert


def _check_convert(options: Namespace) -> None:
    """Refuse a call whose parts do not fit together, before any file is read."""
    check_transform(options)
    check_choice(options)
    check_types(options)
    check_compress(options)
    options.dps, options.dpv = _pairs(options.dps, "--dps"), _pairs(options.dpv, "--dpv")
    options.inputs = _groups_and_paths(options.paths[:-1], options.group, bool(options.dps or options.dpv))
    if options.dimensions is not None and options.reference is None:
        raise CallError("--dimensions belongs to a --reference in text; name that, too")
    _check_grid(options)


def _check_grid(options: Namespace) -> None:
    if options.grid is not None and options.space != "world":
        raise CallError("--grid belongs to --space world; give both")


@reporting
def run_convert(options: Namespace) -> int:
    """Convert the inputs into the last path."""
    output = options.paths[-1]
    from trxlib.commands.convert import convert
    from trxlib.formats.registry import export_suffix

    reference = options.reference
    keywords: dict[str, Any] = {
        "reference": reference if options.dimensions is None else (reference, tuple(options.dimensions)),
        **given_transform(options),
        "positions_dtype": options.positions_dtype,
        "companions": options.companions,
        "out_of_volume": options.out_of_volume,
        "nonfinite": options.nonfinite,
        "drop_empty": options.drop_empty,
        "out_of_field": options.out_of_field,
        "warn_outside": options.warn_outside,
        "max_outside": options.max_outside,
        "accept_count_mismatch": options.accept_count_mismatch,
        "accept_timestamp_mismatch": options.accept_timestamp_mismatch,
        "vtk_space": options.vtk_space,
        **given_choice(options),
        "overwrite": options.force,
    }
    is_export = bool(export_suffix(output))
    if is_export:
        _check_export(
            output,
            {
                "--compress": options.compress,
                "--compress-sections": options.compress_sections is not None,
                "--dtype": options.dtypes is not None,
                "--offsets-dtype": options.offsets_dtype != "auto",
                "--missing": options.missing != "error",
                "--space": options.space != "same",
            },
        )
    group, path = options.inputs[0]
    with show_log("trxlib.formats.attached"), show_progress("convert") as progress:
        if is_export and len(options.inputs) == 1 and group:
            keywords |= {"dps": options.dps, "dpv": options.dpv}
            from trxlib.commands.export import export

            export(path, output, group=group, progress=progress, **keywords)
            return 0
        convert(
            _convert_inputs(options),
            output,
            missing=options.missing,
            space=options.space,
            grid=options.grid,
            **given_types(options),
            **given_compression(options),
            progress=progress,
            **keywords,
        )
    return 0


def add_merge(parser: Parser) -> None:
    """State the arguments of ``trxlib merge``."""
    parser.add_argument("paths", nargs="+", metavar="INPUT... OUTPUT", help="tractograms; the last is written")
    add_reference(parser)
    add_repeated(parser, "name", "NAME", "group of an input's streamlines; once per input")
    add_missing(parser)
    add_switch(parser, "keep-groups", default=True, text="keep the groups of the inputs")
    add_dtype(parser)
    add_types(parser)
    add_switch(parser, "check-space", default=True, text="refuse inputs in another space")
    add_space(parser)
    add_limits(parser)
    add_choice(parser)
    add_companions(parser)
    add_force(parser)
    add_compress(parser)
    add_workers(parser, "threads; the bytes do not depend on it")
    parser.check = _check_merge


def _check_merge(options: Namespace) -> None:
    check_choice(options)
    check_types(options)
    check_compress(options)
    nb_inputs = len(options.paths) - 1
    if not nb_inputs:
        raise CallError(_NO_INPUT)
    if options.name and len(options.name) != nb_inputs:
        raise CallError(f"--name is given {len(options.name)} times for {nb_inputs} inputs; give one for each")
    _check_grid(options)


@reporting
def run_merge(options: Namespace) -> int:
    """Merge the inputs into the last path."""
    *inputs, output = options.paths
    from trxlib.commands.merge import merge

    with show_log("trxlib.formats.attached"), show_progress("merge") as progress:
        merge(
            inputs,
            output,
            names=options.name or None,
            reference=options.reference,
            companions=options.companions,
            missing=options.missing,
            keep_groups=options.keep_groups,
            positions_dtype=options.positions_dtype,
            check_space=options.check_space,
            space=options.space,
            grid=options.grid,
            warn_outside=options.warn_outside,
            max_outside=options.max_outside,
            **given_choice(options),
            **given_types(options),
            **given_compression(options),
            workers=options.workers,
            overwrite=options.force,
            progress=progress,
        )
    return 0


def _check_export(output: str, options: dict[str, bool]) -> None:
    """Refuse options that would do nothing."""
    given = [name for name, is_given in options.items() if is_given]
    if given:
        raise FileError(f"{output}: {', '.join(given)} has no meaning for this format; leave it out")


def _groups_and_paths(paths: Sequence[str], groups: Sequence[str], has_values: bool) -> list[tuple[str, str]]:
    """Return the group of each input (empty for none) and its path."""
    if not paths:
        raise CallError(_NO_INPUT)
    if has_values and len(paths) > 1:
        raise CallError(f"--dps and --dpv belong to one input, {len(paths)} are given; convert it alone first")
    if len(groups) not in (0, 1, len(paths)):
        raise CallError(f"--group is given {len(groups)} times for {len(paths)} inputs; give it once, or for each")
    common = list(groups) * len(paths) if len(groups) == 1 else list(groups) or [""] * len(paths)
    inputs = []
    for text, other in zip(paths, common, strict=True):
        # A file whose name has an equals sign is that file.
        own, sign, path = ("", "", text) if Path(text).exists() else text.partition("=")
        if sign and own and other:
            raise CallError(f"{text} names a group, and --group is given as well; use one of the two")
        inputs.append((own if sign and own else other, path if sign else text))
    return inputs


def _convert_inputs(options: Namespace) -> list[ConvertInput]:
    from trxlib.commands.convert import ConvertInput

    return [ConvertInput(path, group or None, dps=options.dps, dpv=options.dpv) for group, path in options.inputs]


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, sign, path = text.partition("=")
        if not (key and sign and path):
            raise CallError(f"{option} {text!r} is not of the form KEY=FILE")
        pairs[key] = path
    return pairs
