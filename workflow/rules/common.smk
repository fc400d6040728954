# Tables, checks, wildcard constraints and input functions. No rules; what deserves a test is in trxlib/cohort/project.py.
import sys

import yaml
from trxlib.errors import InputError
from trxlib.cohort.project import load_project
from trxlib.cohort.logs import find_warnings

DEMO = "resources/demo"


def read_schema(name):
    with open(workflow.source_path(f"../schemas/{name}.schema.yaml")) as stream:
        return yaml.safe_load(stream)


# A cohort with mistakes in its rows stops all, or, with --keep-going, fails alone. A job that was submitted reads
# the sheet again: whatever happened to other cohorts by then is no matter of its own.
KEEP_GOING = (
    bool({"-k", "--keep-going"} & set(sys.argv)) or not workflow.is_main_process
)

try:
    PROJECT = load_project(
        config,
        read_schema("config"),
        read_schema("samples"),
        made=[f"{DEMO}/"],
        keep_going=KEEP_GOING,
    )
except InputError as error:
    raise WorkflowError(str(error)) from None

CONFIG = PROJECT.config
RESULTS = CONFIG["results"].rstrip("/")
COHORTS = list(PROJECT.cohorts)
SINGLE_COHORTS = [name.replace("+", r"\+") for name in PROJECT.single_cohorts()]
# How tractograms are read; what the archive of a cohort is made of; and both, for those who need it.
READ_OPTIONS = {
    "positions_dtype": CONFIG["positions_dtype"],
    "out_of_volume": CONFIG["out_of_volume"],
    "nonfinite": CONFIG["nonfinite"],
    "empty_streamlines": CONFIG["empty_streamlines"],
    "out_of_field": CONFIG["out_of_field"],
    "warn_outside": CONFIG["warn_outside"],
    "max_outside": CONFIG["max_outside"],
    "vtk_space": CONFIG["vtk_space"],
}
MERGE_OPTIONS = {
    "missing_metadata": CONFIG["missing_metadata"],
    "space": CONFIG["space"],
    "grid": CONFIG["grid"],
}
PREFLIGHT_OPTIONS = {**READ_OPTIONS, **MERGE_OPTIONS}
CONVERT_OPTIONS = {
    **READ_OPTIONS,
    "bundles": CONFIG["groups"]["bundles"],
    "missing_metadata": CONFIG["missing_metadata"],
    "space": CONFIG["space"],
}


wildcard_constraints:
    cohort=r"[A-Za-z0-9][A-Za-z0-9_+-]*",
    subject=r"sub-[A-Za-z0-9_+-]+",
    shard=r"\d+",


def archive(cohort):
    return f"{RESULTS}/{cohort}/{cohort}.trx"


def subjects_of(cohort):
    folder = f"{RESULTS}/{cohort}/subjects"
    return [f"{folder}/{name}.trx" for name in PROJECT.entities(cohort)]


def per_cohort(name):
    return [f"{RESULTS}/{cohort}/{name}" for cohort in COHORTS]


def all_refused():
    return [f"{RESULTS}/{cohort}/.refused" for cohort in PROJECT.refused]


def all_archives():
    """The archive of each cohort, and what it is filled from."""
    paths = all_refused() + [archive(cohort) for cohort in COHORTS]
    if CONFIG["keep_subjects"]:
        # Asked for by themselves: one that was lost is made again, although no later job is due.
        for cohort in COHORTS:
            paths += subjects_of(cohort)
    return paths


def all_results():
    names = ["provenance.tsv", "summary.tsv", "mosaic.png", "index.html"]
    names += ["groups"] * CONFIG["extract_groups"]
    return all_archives() + [path for name in names for path in per_cohort(name)]


def say_warnings():
    """Repeat what the jobs of these results warned of: their logs are hardly read where all went well."""
    if not workflow.is_main_process:
        return
    for cohort in COHORTS:
        found = find_warnings(f"logs/{cohort}")
        for text in found[:10]:
            logger.warning(f"{cohort}: {text}")
        if len(found) > 10:
            logger.warning(f"{cohort}: {len(found) - 10} more in logs/{cohort}/")


# Input functions


def inputs_of_cohort(wildcards):
    return PROJECT.paths(wildcards.cohort)


def inputs_of_subject(wildcards):
    return PROJECT.paths(wildcards.cohort, wildcards.subject)


def grid_of_cohorts(wildcards):
    return [CONFIG["grid"]] if CONFIG["grid"] else []


def subjects_of_cohort(wildcards):
    return subjects_of(wildcards.cohort)


def records_of_cohort(wildcards):
    folder = f"{RESULTS}/{wildcards.cohort}/subjects"
    return [f"{folder}/{name}.json" for name in PROJECT.entities(wildcards.cohort)]


def receipts_of_cohort(wildcards):
    folder = f"{RESULTS}/{wildcards.cohort}/receipts"
    return [f"{folder}/{i}.json" for i in range(PROJECT.nb_shards(wildcards.cohort))]


# Parameters


def archive_of_cohort(wildcards):
    return archive(wildcards.cohort)


def rows_of_cohort(wildcards):
    return [sample.to_params() for sample in PROJECT.samples(wildcards.cohort)]


def sizes_of_cohort(wildcards):
    return PROJECT.sizes(PROJECT.paths(wildcards.cohort))


def sizes_of_subject(wildcards):
    return PROJECT.sizes(PROJECT.paths(wildcards.cohort, wildcards.subject))


def mistakes_of_cohort(wildcards):
    return PROJECT.refused[wildcards.cohort]


def rows_of_subject(wildcards):
    rows = PROJECT.samples(wildcards.cohort, wildcards.subject)
    return [sample.to_params() for sample in rows]


def groups_of_subjects(wildcards):
    return PROJECT.subject_groups(wildcards.cohort)


def nb_shards(wildcards):
    return PROJECT.nb_shards(wildcards.cohort)


# Resources: a second attempt gets twice as much. Memory is flat where streamlines are copied; what measures and draws
# an archive keeps up to 24 bytes per streamline, about 25 MB per GB.


def convert_minutes(wildcards, attempt):
    gigabytes = PROJECT.nb_bytes(wildcards.cohort, wildcards.subject) / 1e9
    return round((5 + 2 * gigabytes) * attempt)


def batch_minutes(batch):
    return lambda wildcards, attempt: round((5 + 2 * batch.nb_bytes / 1e9) * attempt)


def fill_minutes(wildcards, attempt):
    gigabytes = PROJECT.nb_bytes(wildcards.cohort) / nb_shards(wildcards) / 1e9
    return round((10 + 0.5 * gigabytes) * attempt)


def cohort_minutes(wildcards, attempt):
    return round((10 + PROJECT.nb_bytes(wildcards.cohort) / 1e9) * attempt)


def flat_memory(wildcards, attempt):
    return 750 * attempt


def cohort_memory(wildcards, attempt):
    gigabytes = PROJECT.nb_bytes(wildcards.cohort) / 1e9
    return round((750 + 25 * gigabytes) * attempt)
