"""Commands that look at files: info, validate, verify, groups."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from trxlib.cli.output import FILE_ERRORS, reporting, say, say_failure
from trxlib.cli.parser import CallError, Parser, add_choice, add_switch, add_workers, check_choice, given_choice
from trxlib.text import shown, shown_json

__all__ = [
    "add_groups",
    "add_info",
    "add_validate",
    "add_verify",
    "run_groups",
    "run_info",
    "run_validate",
    "run_verify",
]

_LONGEST = 100  # characters of a header value that a line shows


def add_info(parser: Parser) -> None:
    """State the arguments of ``trxlib info``."""
    parser.add_argument("files", nargs="+", metavar="FILE...", help="tractograms of any format")
    parser.add_argument("--json", action="store_true", help="a JSON list with one object per file")


@reporting
def run_info(options: Namespace) -> int:
    """Print what each file holds."""
    from trxlib.commands.describe import describe

    facts = []
    for file in options.files:
        facts.append(describe(file))
        if not options.json:
            say("\n".join(_info_lines(facts[-1])))
    if options.json:
        import json

        say(shown_json(json.dumps(facts, indent=1, ensure_ascii=False)))
    return 0


def add_validate(parser: Parser) -> None:
    """State the arguments of ``trxlib validate``."""
    parser.add_argument("files", nargs="+", metavar="FILE...", help="TRX archives or folders; others with --content")
    parser.add_argument("--content", action="store_true", help="look for odd streamlines, values and groups, too")
    add_switch(parser, "crc", default=True, text="read every byte and compare it with its CRC-32")
    parser.add_argument("--json", action="store_true", help="a JSON list with one object per file")


@reporting
def run_validate(options: Namespace) -> int:
    """Print every broken rule of each file, and what is odd in it.

    The status is 0 for good files, 1 if something was found, 2 if a file cannot be read; the others are looked at.
    """
    status, facts = 0, []
    for file in options.files:
        try:
            problems = _problems_of(file, options)
        except FILE_ERRORS as error:
            say_failure(error)
            facts.append({"path": file, "good": False, "error": str(error), "problems": [], "findings": []})
            status = 2
            continue
        status = max(status, 1 if problems else 0)
        facts.append(_facts_of(file, problems))
        for problem in [] if options.json else problems:
            text = str(problem)
            say(shown(text if text.startswith(file) else f"{file}: {text}"))
        if not (problems or options.json):
            say(f"{shown(file)}: good")
    if options.json:
        import json

        say(shown_json(json.dumps(facts, indent=1, ensure_ascii=False)))
    return status


def _facts_of(file: str, problems: Sequence[object]) -> dict[str, Any]:
    """Return what was found in a file as JSON values."""
    broken = [item for item in problems if isinstance(item, Exception)]
    odd = [item.to_dict() for item in problems if hasattr(item, "to_dict")]
    rules = [{"kind": type(item).__name__, "message": str(item)} for item in broken]
    return {"path": file, "good": not problems, "error": None, "problems": rules, "findings": odd}


def _problems_of(file: str, options: Namespace) -> list[object]:
    """Return broken rules of a TRX file; where there are none, and that is asked for, what is odd in any file."""
    from trxlib.commands.validate import find_problems

    problems: list[object] = []
    is_trx = True
    if options.content:
        from trxlib.formats.registry import detect_format

        is_trx = detect_format(file) == "trx"
    if is_trx:
        problems += find_problems(file, check_crc=options.crc)
    if options.content and not problems:
        from trxlib.commands.findings import find_odd

        problems += find_odd(file)
    return problems


def add_verify(parser: Parser) -> None:
    """State the arguments of ``trxlib verify``."""
    parser.add_argument("archive", metavar="ARCHIVE", help="TRX archive")
    text = "table of the workflow (default: provenance.tsv beside the archive, if there is one)"
    parser.add_argument("--provenance", metavar="FILE", help=text)
    parser.add_argument("--json", action="store_true", help="a JSON list with one object per file")
    add_workers(parser, "pieces read side by side")


def run_verify(options: Namespace) -> int:
    """Print which arrays are damaged, and whose; the status is 0 for none, 1 for some, 2 if it cannot be read."""
    return reporting(_verify, status=2)(options)


def _verify(options: Namespace) -> int:
    from trxlib.commands.verify import verify

    found = verify(options.archive, provenance=options.provenance, workers=options.workers)
    if options.json:
        import json

        say(shown_json(json.dumps([found.to_dict()], indent=1, ensure_ascii=False)))
        return 0 if found.is_whole else 1
    for damage in found.damage:
        say(shown(str(damage)))
        for name in damage.inputs:
            say(f"  {shown(name)}")
    if found.is_whole:
        say(f"{shown(options.archive)}: whole, {found.nb_entries} entries, {found.nbytes / 1e6:.1f} MB")
    return 0 if found.is_whole else 1


def add_groups(parser: Parser) -> None:
    """State the arguments of ``trxlib groups``."""
    parser.add_argument("file", metavar="FILE", help="TRX archive or folder")
    parser.add_argument("names", nargs="*", metavar="[NAME...]", help="which groups; by default all")
    parser.add_argument("--extract", metavar="FOLDER", help="write <FOLDER>/<name>.trx of each")
    add_choice(parser)
    add_workers(parser, "groups written side by side")
    parser.check = _check_groups


def _check_groups(options: Namespace) -> None:
    check_choice(options)
    if options.extract is None and (options.keep or options.leave_out):
        raise CallError("--keep and --leave-out belong to --extract; name a folder, too")


@reporting
def run_groups(options: Namespace) -> int:
    """Print the groups of a file and their sizes, or write each as a file."""
    if options.extract is not None:
        from trxlib.commands.extract import extract_groups

        parts = extract_groups(
            options.file, options.extract, options.names or None, workers=options.workers, **given_choice(options)
        )
        for part in parts:
            say(f"{shown(part.path)}\t{part.nb_streamlines}")
        return 0
    from trxlib.commands.describe import describe

    counts: dict[str, int] = describe(options.file)["groups"]
    missing = [name for name in options.names if name not in counts]
    if missing:
        from trxlib.errors import GroupNotFoundError

        raise GroupNotFoundError(f"{options.file}: no group {', '.join(map(repr, missing))}")
    for name in options.names or sorted(counts):
        say(f"{shown(name)}\t{counts[name]}")
    return 0


def _info_lines(facts: dict[str, Any]) -> list[str]:
    """Return what `info` prints."""
    lines = [f"{shown(facts['path'])}: {facts['format']}, {facts['bytes'] / 1e6:.1f} MB"]
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
    return [f"  {'' if number else name:<12} {shown(value)}" for number, value in enumerate(values)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
