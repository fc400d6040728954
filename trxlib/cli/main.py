"""Which commands there are, and the way from a line typed to one of them.

A new command is a row of `COMMANDS` and two functions in the module that it names: ``add_<name>(parser)`` states its
arguments, ``run_<name>(options)`` runs it and returns its status. Only the parser of the command that is called is
made.
"""

from __future__ import annotations

import importlib
import os
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from trxlib.cli.output import say, say_error
from trxlib.cli.parser import Parser
from trxlib.commands.interrupts import ending_cleanly

__all__ = ["COMMANDS", "Command", "main", "make_parser"]

_ABOUT = "Read, convert, merge and check TRX tractograms."


class Command(NamedTuple):
    """A row of the table of commands.

    Parameters
    ----------
    module : str
        The module of `trxlib.cli` that has the command's two functions.
    summary : str
        What it does, in a line.
    """

    module: str
    summary: str


#: Name -> row, in the order of the help.
COMMANDS: dict[str, Command] = {
    "info": Command("look", "Show counts, space, arrays, groups and sizes."),
    "convert": Command("write", "Convert tractograms of any format into one TRX file, or one into a TRK, TCK or VTK."),
    "merge": Command("write", "Concatenate TRX files into one, straight from file to file."),
    "sets": Command("sets", "Write the union, intersection or difference of tractograms."),
    "validate": Command("look", "Check TRX files against every rule of the format."),
    "verify": Command("look", "Read an archive again, and name arrays, subjects and files whose data are damaged."),
    "groups": Command("look", "List the groups of a TRX file, or write each as a file of its own."),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    args : sequence of str, optional
        What is typed behind ``trxlib``; by default what this process was called with.

    Returns
    -------
    int
        The status: 0, or 1 for an error of a file, 2 for a mistake in the call, 128 and the number of a signal that
        ended it.
    """
    args = list(sys.argv[1:] if args is None else args)
    with ending_cleanly():
        return _run(args)


def _run(args: list[str]) -> int:
    try:
        if args and args[0] in COMMANDS:
            options = make_parser(args[0]).parse(args[1:])
            status: int = _function("run", args[0])(options)
            sys.stdout.flush()
            return status
        return _run_root(args)
    except SystemExit as end:  # argparse ends so
        return int(end.code or 0)
    except BrokenPipeError:  # somebody reads only the first lines
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        say_error("error: interrupted")
        return 130


def make_parser(name: str) -> Parser:
    """Return the parser of a command, with all of its arguments."""
    add = _function("add", name)
    parser = Parser(f"trxlib {name}", COMMANDS[name].summary)
    add(parser)
    return parser


def _function(verb: str, name: str) -> Callable[..., Any]:
    module = importlib.import_module(f"trxlib.cli.{COMMANDS[name].module}")
    return getattr(module, f"{verb}_{name}")  # type: ignore[no-any-return]


def _run_root(args: list[str]) -> int:
    """Answer a call that names no command."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{row.summary}" for name, row in COMMANDS.items()]
    ending = "\n".join(["commands:", *lines, "", "trxlib COMMAND --help lists the options of a command."])
    root = Parser("trxlib", _ABOUT, usage="trxlib COMMAND ...", epilog=ending)
    root.add_argument("--version", action="store_true", help="show the version")
    root.add_argument("command", nargs="?", help=SUPPRESS)
    options = root.parse_args(args[:1])
    if options.version:
        from trxlib import __version__

        say(f"trxlib {__version__}")
        return 0
    if options.command is not None:
        root.error(f"there is no command {options.command!r}; there are {', '.join(COMMANDS)}")
    say_error(root.format_help().rstrip("\n"))
    return 2
