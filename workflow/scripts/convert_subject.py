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
    out_of_volume=snakemake.params.out_of_volume,
    non_finite=snakemake.params.non_finite,
    empty_streamlines=snakemake.params.empty_streamlines,
)
