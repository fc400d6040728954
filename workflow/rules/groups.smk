rule extract_groups:
    """Copy each group of the archive into a .trx of its own."""
    input:
        archive=f"{RESULTS}/{{cohort}}/{{cohort}}.trx",
    output:
        # A folder: which groups there are is known only after .trx inputs have been read.
        folder=directory(f"{RESULTS}/{{cohort}}/groups"),
        table=f"{RESULTS}/{{cohort}}/groups.tsv",
    log:
        "logs/{cohort}/extract_groups.log",
    benchmark:
        "logs/{cohort}/extract_groups.benchmark.tsv"
    conda:
        "../envs/trxlib.yaml"
    threads: 4
    resources:
        mem_mb=cohort_memory,
        runtime=cohort_minutes,
    script:
        "../scripts/extract_groups.py"
