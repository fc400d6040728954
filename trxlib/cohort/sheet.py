"""The sample sheet: read, checked, all mistakes told at once, each with its line and column.

Knows nothing of Snakemake. Headers of tractograms are not read here (`trxlib.cohort.preflight` does), so that a dry run
over thousands of subjects stays quick.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema

from trxlib.errors import ArrayNameError, InputError, TrxError
from trxlib.files import check_regular, open_regular
from trxlib.kinds import is_partial_name, kind_of, missing, refusal
from trxlib.model.names import check_key

__all__ = ["Mistake", "Row", "Sample", "find_mistakes", "raise_mistakes", "unknown_words"]

#: A row as scripts get it, see `Sample.to_params`.
Row = Mapping[str, Any]
#: Formats that do not store the grid of their image.
_POINTER_BYTES = 1024  # pointers of git-annex, Git LFS and DVC are shorter
_NEEDS_REFERENCE = (".tck", ".tck.gz", ".vtk", ".vtp", ".fib", ".dpy")
_COMPANIONS = ("dps_", "dpv_")
_EMPTY = ("", "n/a")
_MAX_SHEET = 256 << 20  # bytes; a hundred thousand rows with long paths have some tens of millions
#: Bytes of a name that becomes that of files: their systems allow 255, and ours add to it.
_MAX_NAME = 200
_YES, _NO = ("yes", "true", "1"), ("", "no", "false", "0")
_PATH_COLUMNS = ("tractogram", "reference")
#: Columns that may hold several values, separated by semicolons; the first two are paths.
_LISTS = ("transform", "transform_source", "transform_format", "transform_inverse")
_TRANSFORM_FORMATS = ("ras", "itk", "fsl", "mrtrix", "lta")


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and where.

    Parameters
    ----------
    text : str
        One line for the user.
    cohort : str
        The only cohort that it concerns; empty where it may concern all.
    """

    text: str
    cohort: str = ""


@dataclass(frozen=True)
class Sample:
    """One row of the sample sheet.

    Parameters
    ----------
    line : int
        Line in the sheet, the header being line 1.
    cohort : str
    subject, session : str
        With their prefixes, ``sub-01`` and ``ses-1``; session may be empty.
    bundle : str
        May be empty.
    tractogram, reference : str
        Paths as in the sheet; the second may be empty.
    transform : tuple of str
        Paths of transforms, in the order in which points pass them.
    transform_format, transform_inverse, transform_source : tuple
        What is said of them: nothing, one value for all, or one for each. A format may be empty.
    dps, dpv : mapping of str to str
        Companion files by key.
    """

    line: int
    cohort: str
    subject: str
    tractogram: str
    session: str = ""
    bundle: str = ""
    reference: str = ""
    transform: tuple[str, ...] = ()
    transform_format: tuple[str, ...] = ()
    transform_inverse: tuple[bool, ...] = ()
    transform_source: tuple[str, ...] = ()
    dps: Mapping[str, str] = field(default_factory=dict)
    dpv: Mapping[str, str] = field(default_factory=dict)

    @property
    def entity(self) -> str:
        """What is converted as one: ``sub-01`` or ``sub-01_ses-1``."""
        return f"{self.subject}_{self.session}" if self.session else self.subject

    @property
    def paths(self) -> list[str]:
        """Every file that the row names."""
        moved = [*self.transform, *self.transform_source]
        named = [self.tractogram, self.reference, *moved, *self.dps.values(), *self.dpv.values()]
        return [path for path in named if path]

    def to_params(self) -> dict[str, Any]:
        """Return the row as plain values, without its line: moving a row does not change a job."""
        return {
            "subject": self.subject,
            "session": self.session,
            "bundle": self.bundle,
            "tractogram": self.tractogram,
            "reference": self.reference,
            "transform": list(self.transform),
            "transform_format": list(self.transform_format),
            "transform_inverse": list(self.transform_inverse),
            "transform_source": list(self.transform_source),
            "dps": dict(self.dps),
            "dpv": dict(self.dpv),
        }


def raise_mistakes(mistakes: list[Mistake], what: str) -> None:
    """Raise one InputError that lists all `mistakes`, if there are any; `what` has them."""
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise InputError("\n".join([f"{count} in the {what}:", *(f"  {mistake.text}" for mistake in mistakes)]))


def unknown_words(noun: str, unknown: list[Any], known: Iterable[str]) -> str:
    """Name unknown words, each with the known one that was probably meant."""
    known = list(known)
    texts = []
    for name in unknown:
        close = difflib.get_close_matches(str(name), known, 1)
        texts.append(f"{name!r} (did you mean {close[0]!r}?)" if close else f"{name!r}")
    plural = "s" if len(unknown) > 1 else ""
    return f"{noun}{plural} {', '.join(texts)}; known are {', '.join(known)}"


def find_mistakes(path: Path, schema: Mapping[str, Any], made: tuple[str, ...]) -> tuple[list[Sample], list[Mistake]]:
    """Return the rows of a sheet and all its mistakes.

    Parameters
    ----------
    path : Path
        A table with tabs, its first line naming the columns.
    schema : mapping
        JSON schema of a row.
    made : tuple of str
        Folders whose files are made by the workflow itself, so that they may be missing now.

    Returns
    -------
    list of Sample
        In the order of the sheet.
    list of Mistake
        Each with its line and column.
    """
    check_regular(path)
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_SHEET + 1)
        if len(data) > _MAX_SHEET:
            text = f"{path}: has more than {_MAX_SHEET} bytes, and is no sample sheet; name one as 'samples'"
            return [], [Mistake(text)]
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except (TrxError, UnicodeDecodeError) as error:
        reason, remedy = "not UTF-8 text", "save it as such"
        if isinstance(error, TrxError):
            reason, remedy = str(error).removeprefix(f"{path}: "), "check the key 'samples' of the configuration"
        text = f"{path}: the sample sheet cannot be read ({reason}); {remedy}"
        return [], [Mistake(text)]
    # QUOTE_NONE: a single quotation mark would swallow the lines that follow.
    lines = [
        (number, [_unquoted(cell) for cell in cells])
        for number, cells in enumerate(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE), start=1)
        if any(cell.strip() for cell in cells) and not cells[0].startswith("#")
    ]
    if not lines:
        return [], [Mistake(f"{path}: the sample sheet is empty; its first line names the columns")]
    columns = [cell.strip() for cell in lines[0][1]]
    mistakes = _column_mistakes(path, columns, schema)
    if mistakes:
        return [], [Mistake(text) for text in mistakes]
    if len(lines) == 1:
        return [], [Mistake(f"{path}: the sample sheet has no rows below its line of column names")]
    return _row_mistakes(path, columns, lines[1:], schema, made)


def _unquoted(cell: str) -> str:
    """Return a cell without the quotation marks that R and spreadsheets put around texts."""
    text = cell.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1] else text


def _column_mistakes(path: Path, columns: list[str], schema: Mapping[str, Any]) -> list[str]:
    where = f"{path}, line 1"
    if len(columns) == 1 and ("," in columns[0] or ";" in columns[0]):
        return [f"{where}: one column {columns[0]!r}; columns are separated by tabs, not commas or semicolons"]
    known = [*schema["properties"], "dps_<name>", "dpv_<name>"]
    mistakes = [f"{where}: column {name!r} is missing" for name in schema["required"] if name not in columns]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    mistakes += [f"{where}: column {name!r} stands there {columns.count(name)} times" for name in twice]
    unknown = [name for name in columns if name not in known and not name.startswith(_COMPANIONS)]
    if unknown:
        mistakes.append(f"{where}: unknown {unknown_words('column', unknown, known)}")
    for name in columns:
        if name.startswith(_COMPANIONS):
            try:
                check_key(name[4:], f"column {name!r}: {name[:3]} key")
            except ArrayNameError as error:
                mistakes.append(f"{where}, {error}")
    return mistakes


def _row_mistakes(
    path: Path,
    columns: list[str],
    lines: list[tuple[int, list[str]]],
    schema: Mapping[str, Any],
    made: tuple[str, ...],
) -> tuple[list[Sample], list[Mistake]]:
    samples: list[Sample] = []
    mistakes: list[Mistake] = []
    validator = jsonschema.Draft202012Validator(schema)
    checked: dict[str, str] = {}  # a reference image is named by many rows and looked at once
    for line, cells in lines:
        where = f"{path}, line {line}"
        if len(cells) > len(columns):
            mistakes.append(Mistake(f"{where}: {len(cells)} cells, but there are {len(columns)} columns"))
            continue
        values = {name: cell.strip() for name, cell in zip(columns, cells, strict=False)}
        values = {name: value for name, value in values.items() if value not in _EMPTY}
        found = _cell_mistakes(values, validator)
        for column, value in values.items():
            if column in _PATH_COLUMNS or column.startswith(_COMPANIONS):
                if value not in checked:
                    checked[value] = _path_mistake(value, made)
                if checked[value]:
                    found.append((column, checked[value]))
        lists = {name: _split(values[name]) for name in _LISTS if name in values}
        for column in ("transform", "transform_source"):
            for value in filter(None, lists.get(column, [])):
                if value not in checked:
                    checked[value] = _path_mistake(value, made)
                if checked[value]:
                    found.append((column, checked[value]))
        found += _transform_mistakes(lists, has_reference="reference" in values)
        tractogram = values.get("tractogram", "")
        if tractogram.lower().endswith(_NEEDS_REFERENCE) and "reference" not in values:
            text = f"{tractogram!r} stores no affine, so it needs a reference image; name one in the column 'reference'"
            found.append(("reference", text))
        cohort = "" if "cohort" in dict(found) else values.get("cohort", "")
        mistakes += [Mistake(f"{where}, column {column}: {text}", cohort) for column, text in found]
        if {"cohort", "subject", "tractogram"} <= values.keys():
            samples.append(_sample(line, values))
    return samples, mistakes + _clashes(path, samples)


def _cell_mistakes(values: Mapping[str, str], validator: Any) -> list[tuple[str, str]]:
    schema = validator.schema
    found = []
    for error in validator.iter_errors(values):
        if error.validator == "required":
            found += [(name, "the cell is empty") for name in schema["required"] if name not in values]
        elif error.validator == "pattern":
            column = str(error.path[0])
            found.append(
                (column, f"{error.instance!r} is not a fit name; {schema['properties'][column]['description']}")
            )
    for column in ("cohort", "subject", "session", "bundle"):
        value = values.get(column, "")
        if column == "bundle" and value and column not in dict(found):
            try:
                check_key(value, "group")
            except ArrayNameError as error:
                found.append((column, str(error)))
        elif len(value.encode(errors="surrogateescape")) > _MAX_NAME:
            found.append((column, f"{value[:40]!r}... is longer than {_MAX_NAME} bytes; shorten it"))
    return list(dict.fromkeys(found))


def _split(cell: str) -> list[str]:
    """Return the values of a cell that may hold several."""
    return [value.strip() for value in cell.split(";")] if cell else []


def _transform_mistakes(lists: Mapping[str, list[str]], *, has_reference: bool) -> list[tuple[str, str]]:
    """Say what is wrong with the transforms of a row, apart from their files: numbers, formats, directions."""
    count = len(lists.get("transform", []))
    found = []
    if "" in lists.get("transform", []):
        found.append(("transform", "one of the paths between the semicolons is empty; name it, or take a ';' away"))
    for column in ("transform_format", "transform_inverse", "transform_source"):
        values = lists.get(column, [])
        if values and not count:
            found.append((column, "the row has no transform that this could be said of; name its file"))
        elif len(values) not in (0, 1, count):
            given = f"{len(values)} values for {count} transform{'s' if count > 1 else ''}"
            found.append((column, f"{given}; give one for all, or one for each, separated by ';'"))
    for value in lists.get("transform_format", []):
        if value and value not in _TRANSFORM_FORMATS:
            text = unknown_words("format", [value], _TRANSFORM_FORMATS)
            found.append(("transform_format", f"unknown {text}, or nothing: by its content"))
    for value in lists.get("transform_inverse", []):
        if value.lower() not in (*_YES, *_NO):
            found.append(("transform_inverse", f"{value!r} is neither yes nor no"))
    # Of lists that are too short or too long, nobody knows what belongs together.
    return found or _flirt_mistakes(lists, count, has_reference)


def _flirt_mistakes(lists: Mapping[str, list[str]], count: int, has_reference: bool) -> list[tuple[str, str]]:
    """Say which images are missing that matrices of FLIRT mean nothing without: where they lead from, and to."""
    formats, sources = (_for_each(lists.get(name, []), count) for name in ("transform_format", "transform_source"))
    found = []
    for number in [number for number in range(count) if formats[number] == "fsl"]:
        which = f"{lists['transform'][number]!r} is a matrix of FLIRT, which means nothing without the image that it"
        if not sources[number]:
            found.append(("transform_source", f"{which} leads from (-in); name it"))
        if number == count - 1 and not has_reference:
            found.append(("reference", f"{which} leads to (-ref); name it"))
        elif number < count - 1 and (not sources[number + 1] or len(lists["transform_source"]) == 1):
            text = f"{which} leads to (-ref); name that as the source of the transform that follows"
            found.append(("transform_source", text))
    return found


def _for_each(values: list[str], count: int) -> list[str]:
    """Return one value for each transform: a single one holds for all."""
    return values if len(values) == count else (values or [""]) * count


def _path_mistake(path: str, made: tuple[str, ...]) -> str:
    """Say what is wrong with a file, or return nothing."""
    if path.startswith(made) if made else False:
        return ""
    target = Path(path)
    try:
        is_there = target.exists()
    except OSError as error:
        return f"{path[:80]!r}... cannot be looked up ({error.strerror}); shorten the path"
    if not is_there:
        if target.is_symlink():
            return str(missing(path, ""))
        return f"{path!r} does not exist; paths are relative to the working directory, here {Path.cwd()}"
    if target.is_dir():
        inside = (target / "header.json").exists()
        return "" if inside else f"{path!r} is a folder without header.json, so it is no TRX folder"
    if not os.access(target, os.R_OK):
        return f"{path!r} may not be read; check its permissions"
    # A sheet of thousands of files is read in a moment, so only what is short is looked into; the check before the jobs
    # opens all.
    size = target.stat().st_size
    if not size:
        return f"{path!r} is empty (0 bytes)"
    is_absent = size <= _POINTER_BYTES and kind_of(path).use == "absent"
    return str(refusal(path, "tractogram")) if is_absent or is_partial_name(target.name) else ""


def _sample(line: int, values: Mapping[str, str]) -> Sample:
    session = values.get("session", "")
    return Sample(
        line=line,
        cohort=values["cohort"],
        subject="sub-" + values["subject"].removeprefix("sub-"),
        session="ses-" + session.removeprefix("ses-") if session else "",
        bundle=values.get("bundle", ""),
        tractogram=values["tractogram"],
        reference=values.get("reference", ""),
        transform=tuple(_split(values.get("transform", ""))),
        transform_format=tuple(_split(values.get("transform_format", ""))),
        transform_inverse=tuple(text.lower() in _YES for text in _split(values.get("transform_inverse", ""))),
        transform_source=tuple(_split(values.get("transform_source", ""))),
        dps={name[4:]: value for name, value in values.items() if name.startswith("dps_")},
        dpv={name[4:]: value for name, value in values.items() if name.startswith("dpv_")},
    )


def _clashes(path: Path, samples: list[Sample]) -> list[Mistake]:
    """Find rows that are the same subject and bundle, and names that would be one file or one group."""
    mistakes: list[Mistake] = []
    rows: dict[tuple[str, str, str], Sample] = {}
    entities: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        where = f"{path}, line {sample.line}"
        first = entities.setdefault((sample.cohort, sample.entity), sample)
        if (first.subject, first.session) != (sample.subject, sample.session):
            text = (
                f"{where}, column subject: {sample.entity!r} is also the name of line {first.line} "
                f"(subject {first.subject}, session {first.session or 'none'}); rename one"
            )
            mistakes.append(Mistake(text, sample.cohort))
            continue
        first = rows.setdefault((sample.cohort, sample.entity, sample.bundle), sample)
        if first is not sample:
            what = f"bundle {sample.bundle!r}" if sample.bundle else "a file without bundle"
            text = (
                f"{where}, column bundle: {sample.entity} has {what} in line {first.line} already; "
                "remove one row, or give each its own bundle"
            )
            mistakes.append(Mistake(text, sample.cohort))
    mistakes += _case_clashes(path, samples)
    names = {(sample.cohort, name) for sample in samples for name in (sample.subject, sample.entity)}
    for sample in samples:
        if (sample.cohort, sample.bundle) in names:
            where = f"{path}, line {sample.line}, column bundle"
            mistakes.append(Mistake(f"{where}: {sample.bundle!r} is a subject's group too; rename it", sample.cohort))
    return mistakes


def _case_clashes(path: Path, samples: list[Sample]) -> list[Mistake]:
    """Find names that differ only in case: on many disks their files would be one, and most are slips."""
    mistakes = []
    seen: dict[tuple[str, ...], tuple[str, int]] = {}
    for sample in samples:
        for column, scope in (("cohort", ()), ("subject", (sample.cohort,)), ("bundle", (sample.cohort,))):
            name = getattr(sample, column)
            first, line = seen.setdefault((column, *scope, name.casefold()), (name, sample.line))
            if first != name:
                where = f"{path}, line {sample.line}, column {column}"
                text = f"{where}: {name!r} and {first!r} of line {line} differ only in case; write them alike"
                mistakes.append(Mistake(text, sample.cohort))
    return mistakes
