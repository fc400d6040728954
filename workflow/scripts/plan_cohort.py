import sys

sys.stderr = open(snakemake.log[0], "w", buffering=1)  # before other imports: tracebacks land in the log
from trxlib.cohort import steps

steps.start_logging()
steps.plan_cohort(
    snakemake.input.subjects,
    snakemake.params.groups,
    snakemake.output.plan,
    snakemake.params.archive,
    nb_shards=snakemake.params.nb_shards,
    **snakemake.params.options,
)
