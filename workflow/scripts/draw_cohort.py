import sys

sys.stderr = open(snakemake.log[0], "w", buffering=1)  # before other imports: tracebacks land in the log
from trxlib.cohort import steps

steps.start_logging()
steps.draw_cohort(
    snakemake.wildcards.cohort,
    snakemake.input.archive,
    snakemake.input.provenance,
    snakemake.input.summary,
    snakemake.output.picture,
    snakemake.output.page,
)
