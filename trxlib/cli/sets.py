"""The command for unions, intersections and differences of tractograms."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace

from trxlib.cli.output import FileError, reporting, say
from trxlib.cli.parser import CallError, Parser, add_force, add_missing, add_reference, add_switch

__all__ = ["add_sets", "run_sets"]

_OPERATIONS = {
    "union": "all streamlines, each of them once",
    "intersection": "those of the first file that all others have, too",
    "difference": "those of the first file that no other has",
}


def add_sets(parser: Parser) -> None:
    """State the arguments of ``trxlib sets``."""
    parser.epilog = "The union of a single file is that file without repeats."
    parser.add_argument(
        "operation",
        choices=tuple(_OPERATIONS),
        metavar="OPERATION",
        help="; ".join(f"{name}: {text}" for name, text in _OPERATIONS.items()),
    )
    parser.add_argument(
        "paths", nargs="+", metavar="INPUT... OUTPUT", help="tractograms of any format; the last is written, a .trx"
    )
    parser.add_argument(
        "--precision",
        type=_millimetres,
        default=0.001,
        metavar="MM",
        help="how far a coordinate may differ in streamlines that are the same; 0: not at all (default: 0.001)",
    )
    add_reference(parser)
    add_missing(parser)
    add_switch(parser, "keep-groups", default=True, text="keep the groups of the inputs")
    add_force(parser)
    parser.check = _check_sets


def _millimetres(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number of mm") from None
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"{text} is no number of mm from 0")
    return number


def _check_sets(options: Namespace) -> None:
    nb_inputs = len(options.paths) - 1
    least = 1 if options.operation == "union" else 2
    if nb_inputs < least:
        raise CallError(f"{options.operation} takes {least} INPUT or more, and the OUTPUT as the last path")
    if options.operation != "union" and options.missing != "error":
        raise CallError(f"--missing belongs to union: of {options.operation} all values come from the first file")


@reporting
def run_sets(options: Namespace) -> int:
    """Write the result, and say how many streamlines of each input it has."""
    from trxlib.commands import sets
    from trxlib.engine.write import is_archive_name

    *inputs, output = options.paths
    if not is_archive_name(output) and "." in output.rpartition("/")[2]:
        raise FileError(f"{output}: the suffix is not .trx; write a .trx, and `trxlib convert` makes the rest of it")
    keywords = {
        "precision": options.precision,
        "keep_groups": options.keep_groups,
        "reference": options.reference,
        "overwrite": options.force,
    }
    if options.operation == "union":
        keywords["missing"] = options.missing
    result = getattr(sets, options.operation)(inputs, output, **keywords)
    for path, nb_read, nb_kept in zip(inputs, result.nb_read, result.nb_kept, strict=True):
        say(f"{path}: {nb_kept} of {nb_read} streamlines")
    return 0
