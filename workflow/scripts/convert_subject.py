import sys

sys.stderr = open(snakemake.log[0], "w", buffering=1)  # before other imports: tracebacks land in the log
from trxlib.cohort import steps

steps.start_logging()
steps.convert_subject(
    snakemake.params.rows,
    snakemake.output.trx,
    snakemake.output.record,
    **snakemake.params.options,
)
