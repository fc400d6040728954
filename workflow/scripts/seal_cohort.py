import sys

sys.stderr = open(snakemake.log[0], "w", buffering=1)  # before other imports: tracebacks land in the log
from trxlib.cohort import steps

steps.start_logging()
steps.seal_cohort(
    snakemake.input.plan,
    snakemake.input.receipts,
    snakemake.output.archive,
    snakemake.output.provenance,
    records=snakemake.input.records,
    rows=snakemake.params.rows,
    ranges=snakemake.output.ranges,
    workers=snakemake.threads,
)
