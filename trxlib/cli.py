"""The command ``trxlib``: what a file holds, convert, merge, validate, groups.

Every command is a thin call of one public function. An error of a file is one message on stderr and status 1, a
mistake in the call status 2; warnings are a line each. What is imported for a command is imported when it runs, so
that ``trxlib --help`` answers at once.
"""

from __future__ import annotations

import json
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trxlib.errors import TrxError, TrxWarning

if TYPE_CHECKING:
    from trxlib.commands.convert import ConvertInput
    from trxlib.model.source import Progress

__all__ = ["app", "main"]

_UNKNOWN_SPACE = {"VOXEL_TO_RASMM": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "DIMENSIONS": [1, 1, 1]}
_LONGEST = 100  # characters of a header value that a line shows

app = typer.Typer(
    name="trxlib",
    help="Read, convert, merge and check TRX tractograms.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Dtype(StrEnum):
    """Number types of positions."""

    float16 = "float16"
    float32 = "float32"
    float64 = "float64"


class Missing(StrEnum):
    """What happens to dps and dpv that only some inputs have."""

    error = "error"
    drop = "drop"
    fill = "fill"


class Outside(StrEnum):
    """What happens to streamlines outside of the grid."""

    keep = "keep"
    drop = "drop"
    fail = "fail"


class NonFinite(StrEnum):
    """What happens to streamlines with NaN or infinite vertices."""

    fail = "fail"
    drop = "drop"


DtypeOption = Annotated[Dtype | None, typer.Option(help="Number type of positions; by default as in the inputs.")]
MissingOption = Annotated[
    Missing, typer.Option(help="dps and dpv that some inputs lack: an error, left out with a warning, or NaN.")
]
CompressOption = Annotated[bool, typer.Option("--compress", help="Deflate; stored archives load without unpacking.")]

ForceOption = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]


def main() -> None:
    """Run the command line."""
    app()


def _show_version(value: bool) -> None:
    if value:
        from trxlib import __version__

        typer.echo(f"trxlib {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Read, convert, merge and check TRX tractograms."""


@app.command()
def info(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Tractograms of any format.")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list with one object per file.")] = False,
) -> None:
    """Show counts, space, arrays, groups and sizes. Of a TRX file only header and offsets are read."""
    facts = []
    with _reporting():
        for file in files:
            facts.append(_describe(file))
            if not as_json:
                typer.echo("\n".join(_info_lines(facts[-1])))
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))


@app.command()
def convert(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Files to convert; group=path puts a file's streamlines in a group. The last one is written: .trx, "
            ".trk, .tck, or a folder.",
        ),
    ],
    group: Annotated[
        list[str] | None, typer.Option(help="Group of an input's streamlines; once for all, or once per input.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Image, TRK, TRX or text that gives affine and dimensions; TCK needs it.")
    ] = None,
    dimensions: Annotated[
        tuple[int, int, int] | None,
        typer.Option(metavar="NX NY NZ", help="Voxels along each axis, for a --reference in text without them."),
    ] = None,
    transform: Annotated[
        Path | None, typer.Option(help="Text or ITK file: 4 x 4 matrix in RAS mm, applied to all vertices.")
    ] = None,
    dps: Annotated[
        list[str] | None, typer.Option(metavar="KEY=FILE", help="A value per streamline, for a single input.")
    ] = None,
    dpv: Annotated[
        list[str] | None, typer.Option(metavar="KEY=FILE", help="A value per vertex, for a single input.")
    ] = None,
    positions_dtype: DtypeOption = None,
    missing: MissingOption = Missing.error,
    out_of_volume: Annotated[Outside, typer.Option(help="Streamlines that leave the grid.")] = Outside.keep,
    nonfinite: Annotated[NonFinite, typer.Option(help="Streamlines with NaN or infinite vertices.")] = NonFinite.fail,
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Leave out streamlines without vertices.")] = False,
    accept_count_mismatch: Annotated[
        bool,
        typer.Option(
            "--accept-count-mismatch",
            help="Take what is there of a TRK that counts otherwise, or of a cut TCK.",
        ),
    ] = False,
    force: ForceOption = False,
    compress: CompressOption = False,
    level: Annotated[int | None, typer.Option(min=0, max=9, help="Of --compress.")] = None,
) -> None:
    """Convert tractograms of any format into one TRX file, or one tractogram into a TRK or TCK.

    For a TRK or TCK a group is the one whose streamlines are written.
    """
    inputs = _inputs_of(paths[:-1], group or [], _pairs(dps, "--dps"), _pairs(dpv, "--dpv"))
    if dimensions is not None and reference is None:
        raise typer.BadParameter("--dimensions belongs to a --reference in text; name that, too")
    options: dict[str, Any] = {
        "reference": reference if dimensions is None else (reference, dimensions),
        "transform": transform,
        "positions_dtype": positions_dtype.value if positions_dtype else None,
        "out_of_volume": out_of_volume.value,
        "nonfinite": nonfinite.value,
        "drop_empty": drop_empty,
        "accept_count_mismatch": accept_count_mismatch,
    }
    if level is not None and not compress:
        raise typer.BadParameter("--level belongs to --compress; give both")
    with _reporting(), _progress("convert") as progress:
        import trxlib
        from trxlib.commands.export import EXPORT_SUFFIXES

        first = inputs[0]
        options |= {"overwrite": force, "progress": progress}
        is_export = Path(paths[-1]).suffix.lower() in EXPORT_SUFFIXES
        if is_export:
            _check_export(paths[-1], {"--compress": compress, "--missing": missing is not Missing.error})
        if is_export and len(inputs) == 1 and first.group:
            options |= {"dps": first.dps, "dpv": first.dpv}
            trxlib.export(first.path, paths[-1], group=first.group, **options)
            return
        method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        trxlib.convert(
            inputs,
            paths[-1],
            missing=missing.value,
            compression=method,
            level=level,
            **options,
        )


@app.command()
def merge(
    paths: Annotated[list[Path], typer.Argument(metavar="INPUT... OUTPUT", help="TRX files; the last is written.")],
    name: Annotated[list[str] | None, typer.Option(help="Group of an input's streamlines; once per input.")] = None,
    missing: MissingOption = Missing.error,
    keep_groups: Annotated[bool, typer.Option(help="Whether groups of the inputs are kept.")] = True,
    positions_dtype: DtypeOption = None,
    check_space: Annotated[bool, typer.Option(help="Whether inputs in another space are refused.")] = True,
    force: ForceOption = False,
    compress: CompressOption = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads; the bytes do not depend on it.")] = 1,
) -> None:
    """Concatenate TRX files into one, straight from file to file."""
    inputs = _all_but_last(paths)
    if name and len(name) != len(inputs):
        raise typer.BadParameter(f"--name is given {len(name)} times for {len(inputs)} inputs; give one for each")
    with _reporting(), _progress("merge") as progress:
        import trxlib

        trxlib.merge(
            inputs,
            paths[-1],
            names=name or None,
            missing=missing.value,
            keep_groups=keep_groups,
            positions_dtype=positions_dtype.value if positions_dtype else None,
            check_space=check_space,
            compression=zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED,
            workers=workers,
            overwrite=force,
            progress=progress,
        )


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="TRX archives or folders.")],
    crc: Annotated[bool, typer.Option(help="Whether every byte is read and compared with its CRC-32.")] = True,
) -> None:
    """Check TRX files against every rule of the format; status 1 if one is broken."""
    found = 0
    with _reporting():
        import trxlib

        for file in files:
            problems = trxlib.find_problems(file, check_crc=crc)
            found += len(problems)
            for problem in problems:
                text = str(problem)
                typer.echo(text if text.startswith(str(file)) else f"{file}: {text}")
            if not problems:
                typer.echo(f"{file}: good")
    if found:
        raise typer.Exit(1)


@app.command()
def groups(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TRX archive or folder.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which groups; by default all.")
    ] = None,
    extract: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write <FOLDER>/<name>.trx of each.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Groups written side by side.")] = 1,
) -> None:
    """List the groups of a TRX file, or write each as a file of its own."""
    with _reporting():
        if extract is not None:
            import trxlib

            for part in trxlib.extract_groups(file, extract, names or None, workers=workers):
                typer.echo(f"{part.path}\t{part.nb_streamlines}")
            return
        counts: dict[str, int] = _describe(file)["groups"]
        missing = [name for name in names or [] if name not in counts]
        if missing:
            from trxlib.errors import GroupNotFoundError

            raise GroupNotFoundError(f"{file}: no group {', '.join(map(repr, missing))}")
        for name in names or sorted(counts):
            typer.echo(f"{name}\t{counts[name]}")


# What the commands share


@contextmanager
def _reporting() -> Iterator[None]:
    """Turn errors of files into a message and status 1, and warnings into lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", TrxWarning)
        warnings.showwarning = _show_warning
        try:
            yield
        except (TrxError, OSError, ImportError) as error:  # the latter names an optional package
            for line in [str(error), *getattr(error, "__notes__", [])]:
                typer.echo(f"error: {line}", err=True)
            raise typer.Exit(1) from None


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(f"warning: {message}", err=True)


@contextmanager
def _progress(what: str) -> Iterator[Progress | None]:
    """Give a callback that moves a bar, on a terminal; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _check_export(output: str, options: dict[str, bool]) -> None:
    """Refuse options that would do nothing."""
    given = [name for name, is_given in options.items() if is_given]
    if given:
        typer.echo(f"error: {output}: {', '.join(given)} has no meaning for TRK and TCK; leave it out", err=True)
        raise typer.Exit(1)


def _all_but_last(paths: Sequence[Any]) -> list[Any]:
    if len(paths) < 2:
        raise typer.BadParameter("give at least one INPUT, and the OUTPUT as the last path")
    return list(paths[:-1])


def _inputs_of(
    paths: Sequence[str], groups: Sequence[str], dps: dict[str, str], dpv: dict[str, str]
) -> list[ConvertInput]:
    from trxlib.commands.convert import ConvertInput

    if not paths:
        raise typer.BadParameter("give at least one INPUT, and the OUTPUT as the last path")
    if (dps or dpv) and len(paths) > 1:
        raise typer.BadParameter(f"--dps and --dpv belong to one input, {len(paths)} are given; convert it alone first")
    if len(groups) not in (0, 1, len(paths)):
        raise typer.BadParameter(
            f"--group is given {len(groups)} times for {len(paths)} inputs; give it once, or for each"
        )
    common = list(groups) * len(paths) if len(groups) == 1 else list(groups) or [""] * len(paths)
    inputs = []
    for text, other in zip(paths, common, strict=True):
        # A file whose name has an equals sign is that file.
        own, sign, path = ("", "", text) if Path(text).exists() else text.partition("=")
        if sign and own and other:
            raise typer.BadParameter(f"{text} names a group, and --group is given as well; use one of the two")
        inputs.append(ConvertInput(path if sign else text, (own if sign else other) or None, dps=dps, dpv=dpv))
    return inputs


def _pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        key, sign, path = text.partition("=")
        if not (key and sign and path):
            raise typer.BadParameter(f"{option} {text!r} is not of the form KEY=FILE")
        pairs[key] = path
    return pairs


# What a file holds


def _describe(path: Path) -> dict[str, Any]:
    """Return what is known of a file from its headers, as JSON values."""
    from trxlib.engine.trx_source import TrxSource
    from trxlib.formats.registry import detect_format, open_input
    from trxlib.model.options import ReadOptions

    kind = detect_format(path)
    # Counts and keys of a TCK, VTK or DPY do not depend on the reference that it needs.
    placed = kind in ("trx", "trk")
    trx = TrxSource.open(path) if kind == "trx" else None
    source = trx or open_input(path, ReadOptions(reference=None if placed else _UNKNOWN_SPACE))
    info = source.info
    facts: dict[str, Any] = {
        "path": str(path),
        "format": kind,
        "bytes": _size_of(path),
        "nb_streamlines": info.nb_streamlines,
        "nb_vertices": info.nb_vertices,
        "dimensions": [int(n) for n in info.space.dimensions] if placed else None,
        "voxel_sizes": [float(size) for size in info.space.voxel_sizes] if placed else None,
        # Adding 0 makes -0 a plain 0.
        "voxel_to_rasmm": (info.space.voxel_to_rasmm + 0.0).tolist() if placed else None,
        "positions_dtype": info.positions_dtype.name,
        "dps": {key: f"{spec.ncols} x {spec.dtype.name}" for key, spec in sorted(info.dps.items())},
        "dpv": {key: f"{spec.ncols} x {spec.dtype.name}" for key, spec in sorted(info.dpv.items())},
        "groups": {},
        "dpg": {},
        "header": dict(info.facts),
    }
    if trx is not None:
        arrays = trx.arrays
        facts["groups"] = {name: len(members) for name, members in sorted(arrays.groups.items())}
        facts["dpg"] = {name: sorted(values) for name, values in sorted(arrays.dpg.items())}
        facts["header"] = dict(arrays.header.extra)
    source.close()
    return facts


def _size_of(path: Path) -> int:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _info_lines(facts: dict[str, Any]) -> list[str]:
    """Return what `info` prints."""
    lines = [f"{facts['path']}: {facts['format']}, {facts['bytes'] / 1e6:.1f} MB"]
    lines += _table("streamlines", [facts["nb_streamlines"]])
    lines += _table("vertices", [f"{facts['nb_vertices']} ({facts['positions_dtype']})"])
    if facts["dimensions"] is None:
        lines += _table("space", ["none of its own; a reference is needed to convert it"])
    else:
        lines += _table("dimensions", [" x ".join(map(str, facts["dimensions"]))])
        lines += _table("voxel sizes", [" x ".join(f"{size:.4g}" for size in facts["voxel_sizes"]) + " mm"])
        matrix = [" ".join(f"{value:10.5g}" for value in row) for row in facts["voxel_to_rasmm"]]
        lines += _table("voxel to RAS", matrix)
    for section in ("dps", "dpv", "groups"):
        lines += _table(section, [f"{key}: {value}" for key, value in facts[section].items()])
    lines += _table("dpg", [f"{group}: {', '.join(keys)}" for group, keys in facts["dpg"].items()])
    lines += _table("header", [_short(f"{key}: {value}") for key, value in facts["header"].items()])
    return lines


def _table(name: str, values: Sequence[object]) -> list[str]:
    """Return a line per value, the first one with the name."""
    return [f"  {'' if number else name:<12} {value}" for number, value in enumerate(values)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
