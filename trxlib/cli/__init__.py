"""The command ``trxlib``: what a file holds, convert, merge, validate, groups.

Every command is a thin call of one public function. An error of a file is one message on stderr and status 1, a
mistake in the call status 2; warnings are a line each. A module of commands is imported when one of them is called,
and the library when the command runs, so that ``trxlib --help`` answers at once.
"""

from trxlib.cli.main import main as main

__all__ = ["main"]
