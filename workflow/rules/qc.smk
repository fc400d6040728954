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
        mem_mb=cohort_memory,
        runtime=cohort_minutes,
    script:
        "../scripts/summarise_cohort.py"


rule draw_cohort:
    """Draw the archive in three views, by direction and by group, and write a page about the cohort."""
    input:
        archive=f"{RESULTS}/{{cohort}}/{{cohort}}.trx",
        provenance=f"{RESULTS}/{{cohort}}/provenance.tsv",
        summary=f"{RESULTS}/{{cohort}}/summary.tsv",
    output:
        picture=report(
            f"{RESULTS}/{{cohort}}/mosaic.png",
            caption="../report/mosaic.rst",
            category="Pictures",
            labels={"cohort": "{cohort}"},
        ),
        page=f"{RESULTS}/{{cohort}}/index.html",
    log:
        "logs/{cohort}/draw_cohort.log",
    conda:
        "../envs/trxlib.yaml"
    resources:
        mem_mb=cohort_memory,
        runtime=30,
    script:
        "../scripts/draw_cohort.py"
