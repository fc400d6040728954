localrules:
    plan_cohort,
    seal_cohort,


rule plan_cohort:
    """Give each subject its byte ranges in the cohort's archive; headers only."""
    input:
        subjects=subjects_of_cohort,
    output:
        plan=f"{RESULTS}/{{cohort}}/plan.json",
    log:
        "logs/{cohort}/plan_cohort.log",
    conda:
        "../envs/trxlib.yaml"
    resources:
        mem_mb=flat_memory,
        runtime=30,
    params:
        groups=groups_of_subjects,
        missing_metadata=lookup(within=CONFIG, dpath="missing_metadata"),
        nb_shards=nb_shards,
    script:
        "../scripts/plan_cohort.py"


rule fill_cohort:
    """Copy one share of the subjects into the preallocated archive and say what was written."""
    input:
        plan=f"{RESULTS}/{{cohort}}/plan.json",
        subjects=subjects_of_cohort,
    output:
        receipt=temp(f"{RESULTS}/{{cohort}}/receipts/{{shard}}.json"),
    log:
        "logs/{cohort}/fill_cohort/{shard}.log",
    benchmark:
        "logs/{cohort}/fill_cohort/{shard}.benchmark.tsv"
    conda:
        "../envs/trxlib.yaml"
    threads: 4
    resources:
        mem_mb=flat_memory,
        runtime=fill_minutes,
    params:
        archive=f"{RESULTS}/{{cohort}}/{{cohort}}.trx",
    script:
        "../scripts/fill_cohort.py"


rule seal_cohort:
    """Check that every byte range was filled, close the archive and give it its name."""
    input:
        plan=f"{RESULTS}/{{cohort}}/plan.json",
        receipts=receipts_of_cohort,
        records=records_of_cohort,
    output:
        archive=f"{RESULTS}/{{cohort}}/{{cohort}}.trx",
        provenance=f"{RESULTS}/{{cohort}}/provenance.tsv",
    log:
        "logs/{cohort}/seal_cohort.log",
    conda:
        "../envs/trxlib.yaml"
    resources:
        mem_mb=flat_memory,
        runtime=cohort_minutes,
    script:
        "../scripts/seal_cohort.py"
