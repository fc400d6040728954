import sys

sys.stderr = open(snakemake.log[0], "w", buffering=1)  # before other imports: tracebacks land in the log
from trxlib import steps

steps.start_logging()
steps.convert_subject(
    snakemake.params.rows,
    snakemake.output.trx,
    snakemake.output.record,
    bundles=snakemake.params.bundles,
    positions_dtype=snakemake.params.positions_dtype,
    missing_metadata=snakemake.params.missing_metadata,
    out_of_volume=snakemake.params.out_of_volume,
    nonfinite=snakemake.params.nonfinite,
    empty_streamlines=snakemake.params.empty_streamlines,
)
