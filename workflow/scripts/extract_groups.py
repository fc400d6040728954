import sys

sys.stderr = open(snakemake.log[0], "w", buffering=1)  # before other imports: tracebacks land in the log
from trxlib.cohort import steps

steps.start_logging()
steps.extract_groups(
    snakemake.input.archive,
    snakemake.output.folder,
    snakemake.output.table,
    workers=snakemake.threads,
)
