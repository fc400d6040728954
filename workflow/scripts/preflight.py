import sys

sys.stderr = open(snakemake.log[0], "w", buffering=1)  # before other imports: tracebacks land in the log
from trxlib.cohort import steps

steps.start_logging()
steps.preflight(snakemake.params.rows, snakemake.output.table, **snakemake.params.options)
