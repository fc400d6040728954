rule summarise_cohort:
    """Count streamlines and vertices and measure lengths and volumes, per subject and group."""
    input:
        archive=f"{RESULTS}/{{cohort}}/{{cohort}}.trx",
        provenance=f"{RESULTS}/{{cohort}}/provenance.tsv",
    output:
        table=report(
            f"{RESULTS}/{{cohort}}/summary.tsv",
            caption="../report/summary.rst",
            category="Summary",
            labels={"cohort": "{cohort}"},
        ),
    log:
        "logs/{cohort}/summarise_cohort.log",
    benchmark:
        "logs/{cohort}/summarise_cohort.benchmark.tsv"
    conda:
        "../envs/trxlib.yaml"
    resources:
        mem_mb=flat_memory,
        runtime=cohort_minutes,
    script:
        "../scripts/summarise_cohort.py"
