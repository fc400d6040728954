"""The configuration of the workflow with its sample sheet: checked, and asked what the rules want to know.

Knows nothing of Snakemake.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema

from trxlib.cohort.sheet import Mistake, Sample, find_mistakes, raise_mistakes, unknown_words
from trxlib.container.outputs import Folders

__all__ = ["Batch", "Project", "load_project"]

_MANY = 2000  # subjects; a dry run takes 5 to 10 ms for each job
_SMALL_BYTES = 64_000_000  # of a batch of small subjects: converted in a second
_SMALL_BATCH = 20


@dataclass(frozen=True)
class Batch:
    """Some subjects of a cohort that are converted by one job.

    Parameters
    ----------
    name : str
        Unique in the workflow.
    cohort : str
    rows : mapping of str to list of dict
        Entity, its rows as `Sample.to_params` gives them.
    paths : list of str
        Every file that they name, each once.
    nb_bytes : int
        Size of their tractograms.
    sizes : str
        Of all files, see `Project.sizes`.
    """

    name: str
    cohort: str
    rows: Mapping[str, list[dict[str, Any]]]
    paths: list[str]
    nb_bytes: int
    sizes: str


@dataclass(frozen=True)
class Project:
    """A checked configuration with its checked sample sheet.

    Parameters
    ----------
    config : mapping
        Every key of the schema, defaults filled in.
    cohorts : mapping of str to mapping of str to list of Sample
        Cohort, entity, rows; all in the order of the sheet.
    refused : mapping of str to list of str
        Cohorts with mistakes in their rows, and what is wrong; they are not among `cohorts`.
    nb_subjects : int
        Entities in the whole sheet, those of refused cohorts included.
    made : tuple of str
        Folders whose files are made by the workflow itself.
    """

    config: Mapping[str, Any]
    cohorts: Mapping[str, Mapping[str, list[Sample]]]
    refused: Mapping[str, list[str]] = field(default_factory=dict)
    nb_subjects: int = 0
    made: tuple[str, ...] = ()

    def entities(self, cohort: str) -> list[str]:
        """Return the names of what is converted as one, in the order of the sheet."""
        return list(self.cohorts[cohort])

    def subject_groups(self, cohort: str) -> dict[str, list[str]]:
        """Return the groups that hold all of an entity's streamlines: its subject, and its session if it has one."""
        if not self.config["groups"]["subjects"]:
            return {entity: [] for entity in self.cohorts[cohort]}
        return {
            entity: list(dict.fromkeys([samples[0].subject, entity]))
            for entity, samples in self.cohorts[cohort].items()
        }

    def samples(self, cohort: str, entity: str | None = None) -> list[Sample]:
        """Return the rows of a cohort, or of one of its entities."""
        if entity is not None:
            return self.cohorts[cohort][entity]
        return [sample for samples in self.cohorts[cohort].values() for sample in samples]

    def paths(self, cohort: str, entity: str | None = None) -> list[str]:
        """Return every file that these rows name, each once."""
        return list(dict.fromkeys(path for sample in self.samples(cohort, entity) for path in sample.paths))

    def nb_bytes(self, cohort: str, entity: str | None = None) -> int:
        """Return the size of the tractograms; files that do not exist yet count nothing."""
        return sum(_size(sample.tractogram) for sample in self.samples(cohort, entity))

    def sizes(self, paths: Iterable[str]) -> str:
        """Return a text that changes with the size of any of these files: ``<bytes in all>:<8 hex digits>``.

        A file that is replaced by one with an older time is not noticed by its time.
        """
        sizes = [0 if self.made and path.startswith(self.made) else _size(path) for path in paths]
        return f"{sum(sizes)}:{zlib.crc32(repr(sizes).encode()):08x}"

    def subjects_per_job(self, cohort: str) -> int:
        """How many subjects one job converts; by default one, and some where they are small or jobs thousands.

        Decided by the whole sheet and by the files of this cohort: those of others may change while a job waits.
        """
        wanted = self.config["subjects_per_job"]
        if wanted != "auto":
            return int(wanted)
        few = 1 if self.nb_subjects <= _MANY else math.ceil(2 * self.nb_subjects / _MANY)
        # All or nothing, so that a file that grows while the workflow runs hardly ever divides the rest anew; and 16
        # jobs at least, for as many cores.
        small = min(_SMALL_BATCH, self.nb_subjects // 16)
        is_small = small * self.nb_bytes(cohort) <= _SMALL_BYTES * len(self.cohorts[cohort])
        return max(few, small) if is_small else few

    def single_cohorts(self) -> list[str]:
        """Return the cohorts whose subjects have a job each."""
        return [cohort for cohort in self.cohorts if self.subjects_per_job(cohort) == 1]

    def batches(self) -> list[Batch]:
        """Divide each of the other cohorts, in the order of the sheet, into what one job converts."""
        found = []
        for cohort in self.cohorts:
            size, entities = self.subjects_per_job(cohort), self.entities(cohort)
            if size > 1:
                starts = range(0, len(entities), size)
                found += [self._batch(cohort, start // size, entities[start : start + size]) for start in starts]
        return found

    def _batch(self, cohort: str, number: int, entities: list[str]) -> Batch:
        paths = list(dict.fromkeys(path for entity in entities for path in self.paths(cohort, entity)))
        return Batch(
            name=f"batch_{cohort}_{number}",
            cohort=cohort,
            rows={entity: [sample.to_params() for sample in self.samples(cohort, entity)] for entity in entities},
            paths=paths,
            nb_bytes=sum(self.nb_bytes(cohort, entity) for entity in entities),
            sizes=self.sizes(paths),
        )

    def nb_shards(self, cohort: str) -> int:
        """Return into how many jobs the merge of a cohort is divided: by the size of its inputs."""
        shards = math.ceil(self.nb_bytes(cohort) / (float(self.config["shard_gb"]) * 1e9))
        return max(1, min(shards, len(self.cohorts[cohort])))


def load_project(
    config: Mapping[str, Any],
    config_schema: Mapping[str, Any],
    samples_schema: Mapping[str, Any],
    *,
    made: Iterable[str] = (),
    keep_going: bool = False,
) -> Project:
    """Check a configuration and the sample sheet it names.

    Parameters
    ----------
    config : mapping
        As read from config.yaml; not modified.
    config_schema, samples_schema : mapping
        JSON schemas.
    made : iterable of str
        Folders whose files are made by the workflow itself, so that they may be missing now.
    keep_going : bool
        Whether mistakes that concern single cohorts put only those aside, as long as there are others.

    Returns
    -------
    Project

    Raises
    ------
    InputError
        Lists every mistake of both.
    """
    made = tuple(made)
    full, mistakes = _config_mistakes(config, config_schema)
    mistakes += _results_mistakes(full.get("results"))
    mistakes += _grid_mistakes(full)
    samples: list[Sample] = []
    if isinstance(full.get("samples"), str):
        samples, more = find_mistakes(Path(full["samples"]), samples_schema, made)
        mistakes += more
        mistakes += _mistaken_results(samples, full.get("results"))
    refused: dict[str, list[str]] = {}
    for mistake in mistakes:
        refused.setdefault(mistake.cohort, []).append(mistake.text)
    nb_subjects = len({(sample.cohort, sample.entity) for sample in samples})
    samples = [sample for sample in samples if sample.cohort not in refused]
    if not keep_going or "" in refused or not samples:
        raise_mistakes(mistakes, "configuration or sample sheet")
    cohorts: dict[str, dict[str, list[Sample]]] = {}
    for sample in samples:
        cohorts.setdefault(sample.cohort, {}).setdefault(sample.entity, []).append(sample)
    return Project(full, cohorts, refused, nb_subjects, made)


def _results_mistakes(results: Any) -> list[Mistake]:
    """Say why nothing can be written to the folder of results, if that can be seen."""
    if not isinstance(results, str):
        return []
    folder = Path(results).absolute()
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
    except OSError as error:
        return [Mistake(f"configuration, results: {results[:80]!r}... cannot be made ({error.strerror}); shorten it")]
    if not folder.is_dir():
        return [Mistake(f"configuration, results: {results!r} cannot be made, {folder} is a file; name a folder")]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [Mistake(f"configuration, results: {folder} may not be written to; name another folder")]
    return []


def _grid_mistakes(config: Mapping[str, Any]) -> list[Mistake]:
    """Say what is wrong with the grid that archives are to get."""
    grid = config.get("grid")
    if not isinstance(grid, str):
        return []
    if config.get("space") != "world":
        return [Mistake("configuration, grid: belongs to `space: world`; with `same` the archive has its inputs' grid")]
    try:
        is_there = Path(grid).exists()
    except OSError:
        is_there = False
    if not is_there:
        return [Mistake(f"configuration, grid: {grid!r} does not exist; paths are relative to the working directory")]
    return []


def _mistaken_results(samples: Iterable[Sample], results: Any) -> list[Mistake]:
    """Find inputs that lie where the results of their own cohort go, by whatever name: a run would replace them."""
    if not isinstance(results, str):
        return []
    mistakes: dict[tuple[str, str], Mistake] = {}
    folders: dict[str, Folders] = {}
    for sample in samples:
        if sample.cohort not in folders:
            folders[sample.cohort] = Folders([Path(results, sample.cohort)])
        for path in sample.paths:
            folder = folders[sample.cohort].around(path)
            if folder is not None and (sample.cohort, path) not in mistakes:
                text = (
                    f"sample sheet, line {sample.line}: {path!r} lies in {folder}, where the results of its own cohort "
                    "go and would replace it; move it away, or name another folder as 'results'"
                )
                mistakes[sample.cohort, path] = Mistake(text, sample.cohort)
    return list(mistakes.values())


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _config_mistakes(config: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[dict[str, Any], list[Mistake]]:
    full = _with_defaults(config, schema)
    errors = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(full), key=lambda error: list(map(str, error.path))
    )
    return full, [Mistake(_describe_config_error(error)) for error in errors]


def _with_defaults(value: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    full = dict(value)
    for key, rule in schema.get("properties", {}).items():
        if "default" in rule:
            full.setdefault(key, rule["default"])
        if rule.get("type") == "boolean" and full.get(key) in ("true", "false"):
            full[key] = full[key] == "true"  # as YAML says, and as --config keeps it, a text
        if "properties" in rule and isinstance(full.get(key), Mapping):
            full[key] = _with_defaults(full[key], rule)
    return full


def _describe_config_error(error: Any) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    where = f"configuration, {key}" if key else "configuration"
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = [name for name in error.instance if name not in known]
        return f"{where}: unknown {unknown_words('key', unknown, known)}"
    if error.validator == "enum":
        return f"{where}: {error.instance!r} is none of {', '.join(map(str, error.validator_value))}"
    if error.validator == "type":
        return f"{where}: {error.instance!r} is not of type {error.validator_value}"
    if error.validator == "anyOf":
        choices = [_describe_choice(choice) for choice in error.validator_value]
        return f"{where}: {error.instance!r} is neither {' nor '.join(choices)}"
    return f"{where}: {error.message}"


def _describe_choice(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return repr(schema["const"])
    what = "a whole number" if schema.get("type") == "integer" else f"of type {schema.get('type')}"
    return f"{what} from {schema['minimum']} on" if "minimum" in schema else what
