import sys

sys.stderr = open(snakemake.log[0], "w", buffering=1)  # before other imports: tracebacks land in the log
from trxlib.cohort import steps

steps.start_logging()
steps.fill_cohort(
    snakemake.input.plan,
    snakemake.params.archive,
    snakemake.output.receipt,
    shard=int(snakemake.wildcards.shard),
    workers=snakemake.threads,
)
