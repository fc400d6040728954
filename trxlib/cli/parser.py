"""The parser of a command, and the options that several commands have: each is spelled once, here.

Made of argparse, which every Python has and which starts in a few milliseconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

__all__ = [
    "CallError",
    "Parser",
    "add_choice",
    "add_compress",
    "add_dtype",
    "add_force",
    "add_missing",
    "add_repeated",
    "add_switch",
    "add_types",
    "add_workers",
    "at_least",
    "check_choice",
    "check_compress",
    "check_types",
    "given_choice",
    "given_compression",
    "given_types",
]

#: Stands before an argument that is no option; no argument of a process can hold it.
_PLAIN = "\0"


class CallError(Exception):
    """A mistake in the call that a parser alone cannot see."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Options in a column of their own, with a text that is not squeezed."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)


class Parser(argparse.ArgumentParser):
    """The parser of a command.

    Parameters
    ----------
    prog : str
        How the command is called, e.g. ``"trxlib info"``.
    summary : str
        What it does, in a line.
    usage : str, optional
        The first line of the help. By default `prog`, the arguments, and that there are options.
    epilog : str, optional
        What stands below the list of options.
    """

    def __init__(self, prog: str, summary: str, usage: str | None = None, epilog: str | None = None) -> None:
        # Half an option's name is not taken for it: it would mean another one as soon as there are two.
        super().__init__(
            prog,
            usage,
            summary,
            epilog,
            formatter_class=_Formatter,
            allow_abbrev=False,
            add_help=False,
        )
        self._positionals.title = "arguments"
        self.add_argument("-h", "--help", action="help", help="show this help")
        #: Called with the options: raises CallError for a mistake that lies in several of them.
        self.check: Callable[[argparse.Namespace], None] | None = None

    def parse(self, args: Sequence[str]) -> argparse.Namespace:
        """Return the options of a call; files and options may stand in any order."""
        options = self._parse_all(list(args))
        if self.check is not None:
            try:
                self.check(options)
            except CallError as error:
                self.error(str(error))
        return options

    def _parse_all(self, args: list[str]) -> argparse.Namespace:
        if "--" not in args:
            return self.parse_intermixed_args(args)
        # argparse takes two looks, and the second one takes what stands behind "--" for options again.
        at = args.index("--")
        options = self.parse_intermixed_args([*args[:at], *(_PLAIN + text for text in args[at + 1 :])])
        for action in self._get_positional_actions():
            value = getattr(options, action.dest)
            is_list = isinstance(value, list)
            plain = [text.removeprefix(_PLAIN) for text in value] if is_list else value.removeprefix(_PLAIN)
            setattr(options, action.dest, plain)
        return options

    def format_usage(self) -> str:
        """Return the line that says how to call the command: its arguments, and that there are options."""
        if self.usage is not None:
            return super().format_usage()
        arguments = [str(action.metavar) for action in self._get_positional_actions()]
        return f"usage: {' '.join([self.prog, '[OPTIONS]', *arguments])}\n"

    def format_help(self) -> str:
        """Return the text of ``--help``."""
        own = self.usage
        self.usage = self.format_usage().removeprefix("usage: ").rstrip("\n").replace("%", "%%")
        try:
            return super().format_help()
        finally:
            self.usage = own

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the call, and end with status 2."""
        self.exit(2, f"{self.format_usage()}error: {message}\n{self.prog} --help lists all options\n")


def at_least(least: int) -> Callable[[str], int]:
    """Return a reader of whole numbers that refuses smaller ones."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        return number

    return read


def add_switch(parser: Parser, name: str, *, default: bool, text: str) -> None:
    """Add ``--name`` and ``--no-name``."""
    said = f"{text} (default: {'yes' if default else 'no'})"
    parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=default, help=said)


def add_force(parser: Parser) -> None:
    """Add ``--force``."""
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")


def add_choice(parser: Parser) -> None:
    """Add ``--keep`` and ``--leave-out``."""
    names = "dps/weight, dpv/fa, groups/AF_L or dpg/AF_L/color; * stands for anything; may be repeated"
    add_repeated(parser, "keep", "NAME", f"keep only these arrays: {names}")
    add_repeated(parser, "leave-out", "NAME", "leave these arrays out, named as for --keep")


def check_choice(options: argparse.Namespace) -> None:
    """Refuse both at once."""
    if options.keep and options.leave_out:
        raise CallError("--keep and --leave-out are both given; name what is wanted, or what is not")


def given_choice(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is given of both as keywords of the library."""
    return {"keep": options.keep or None, "leave_out": options.leave_out or None}


def add_compress(parser: Parser) -> None:
    """Add ``--compress``, ``--compress-sections`` and ``--level``."""
    text = "deflate; only stored archives load without unpacking"
    parser.add_argument("--compress", action="store_true", help=text)
    parser.add_argument(
        "--compress-sections",
        metavar="SECTION,...",
        help="deflate only the arrays of these: positions, offsets, dpv, dps, groups, dpg",
    )
    parser.add_argument("--level", type=int, choices=range(10), metavar="0..9", help="of --compress")


def check_compress(options: argparse.Namespace) -> None:
    """Refuse a level without a compression, and two compressions."""
    if options.compress and options.compress_sections is not None:
        raise CallError("--compress deflates everything, and --compress-sections some of it; give one of the two")
    if options.level is not None and not (options.compress or options.compress_sections):
        raise CallError("--level belongs to --compress or --compress-sections; give one of them, too")


def given_compression(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is given of these as keywords of the library."""
    method: Any = "deflated" if options.compress else "stored"
    if options.compress_sections is not None:
        method = dict.fromkeys(options.compress_sections.split(","), "deflated")
    return {"compression": method, "level": options.level}


def add_types(parser: Parser) -> None:
    """Add ``--dtype`` and ``--offsets-dtype``."""
    add_repeated(parser, "dtype", "NAME=TYPE", "number type of dps/NAME or dpv/NAME, * stands for anything")
    parser.add_argument(
        "--offsets-dtype",
        choices=("auto", "uint32", "uint64"),
        default="auto",
        metavar="auto|uint32|uint64",
        help="number type of the offsets (default: auto, uint32 as far as it goes)",
    )


def check_types(options: argparse.Namespace) -> None:
    """Read ``--dtype``."""
    pairs = {}
    for text in options.dtype:
        name, sign, dtype = text.partition("=")
        if not (name and sign and dtype):
            raise CallError(f"--dtype {text!r} is not of the form NAME=TYPE, as in dps/weight=float16")
        pairs[name] = dtype
    options.dtypes = pairs or None


def given_types(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is given of these as keywords of the library."""
    return {"dtypes": options.dtypes, "offsets_dtype": options.offsets_dtype}


def add_dtype(parser: Parser) -> None:
    """Add ``--positions-dtype``."""
    parser.add_argument(
        "--positions-dtype",
        choices=("float16", "float32", "float64"),
        metavar="TYPE",
        help="number type of positions, float16, float32 or float64; by default as in the inputs",
    )


def add_missing(parser: Parser) -> None:
    """Add ``--missing``."""
    parser.add_argument(
        "--missing",
        choices=("error", "drop", "fill"),
        default="error",
        metavar="error|drop|fill",
        help="dps and dpv that some inputs lack: an error (default), left out with a warning, or NaN",
    )


def add_reference(parser: Parser) -> None:
    """Add ``--reference``."""
    text = "image, TRK, TRX or text that gives affine and dimensions; TCK needs it"
    parser.add_argument("--reference", metavar="FILE", help=text)


def add_companions(parser: Parser) -> None:
    """Add ``--companions``."""
    parser.add_argument(
        "--companions",
        choices=("auto", "none"),
        default="auto",
        metavar="auto|none",
        help="attach values in files beside an input, NAME_KEY.txt, .npy and .tsf, and say which (default: auto)",
    )


def add_workers(parser: Parser, text: str) -> None:
    """Add ``--workers``."""
    parser.add_argument("--workers", type=at_least(1), default=1, metavar="N", help=f"{text} (default: 1)")


def add_repeated(parser: Parser, name: str, metavar: str, text: str, **options: Any) -> None:
    """Add an option that may be given more than once; its values are a list."""
    parser.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=text, **options)
