"""Options about space, the same for all commands that have them: transforms, grids, vertices outside."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from typing import Any

from trxlib.cli.parser import CallError, Parser, add_repeated

__all__ = ["add_limits", "add_outside", "add_space", "add_transform", "check_transform", "given_transform"]

_FORMATS = ("ras", "itk", "fsl", "mrtrix", "lta")


def add_transform(parser: Parser) -> None:
    """Add ``--transform`` and what belongs to it; each may be given once for all transforms, or once for each."""
    text = "applied to all vertices; several in their order; docs/transforms.md says which file of each program"
    add_repeated(parser, "transform", "FILE", text)
    add_repeated(
        parser,
        "transform-format",
        "|".join(_FORMATS),
        "whose file the transform is, where its content does not tell",
        choices=_FORMATS,
    )
    add_repeated(
        parser, "transform-inverse", "yes|no", "go the other way", nargs="?", const="yes", choices=("yes", "no")
    )
    add_repeated(parser, "transform-source", "FILE", "image that the transform leads from; a matrix of FLIRT needs it")


def check_transform(options: Namespace) -> None:
    """Refuse what belongs to a transform without one, or to another number of transforms, before any file is read."""
    count = len(options.transform)
    for name in ("format", "inverse", "source"):
        given = len(getattr(options, f"transform_{name}"))
        if given and not count:
            raise CallError(f"--transform-{name} belongs to --transform; give both")
        if given not in (0, 1, count):
            raise CallError(
                f"--transform-{name} is given {given} times for {count} transforms; give it once for all, or once for "
                "each, in their order"
            )


def given_transform(options: Namespace) -> dict[str, Any]:
    """Return the keywords of what `add_transform` has read."""
    return {
        "transform": options.transform or None,
        "transform_format": options.transform_format or None,
        "transform_inverse": [text == "yes" for text in options.transform_inverse] or False,
        "transform_source": options.transform_source or None,
    }


def add_outside(parser: Parser) -> None:
    """Add the limits of what may lie outside of a grid or of a field."""
    parser.add_argument(
        "--out-of-field",
        choices=("fail", "drop"),
        default="fail",
        metavar="fail|drop",
        help="streamlines that leave the field of a transform (default: fail)",
    )
    add_limits(parser)


def add_limits(parser: Parser) -> None:
    """Add the shares of vertices outside the grid that are a warning and an error."""
    for name, default, what in (("warn-outside", 0.05, "a warning"), ("max-outside", 0.5, "an error")):
        parser.add_argument(
            f"--{name}",
            type=_share,
            default=default,
            metavar="SHARE",
            help=f"{what} if more of the vertices lie outside the grid, 0 to 1 (default: {default})",
        )


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 <= share <= 1:
        raise ArgumentTypeError(f"{text} is no share, from 0 to 1")
    return share


def add_space(parser: Parser) -> None:
    """Add ``--space`` and ``--grid``."""
    parser.add_argument(
        "--space",
        choices=("same", "world"),
        default="same",
        metavar="same|world",
        help="whether inputs must have one grid (default), or only lie in one world space",
    )
    parser.add_argument("--grid", metavar="FILE", help="grid of the result, for --space world; by default one for all")
