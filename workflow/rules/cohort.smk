if CONFIG["keep_subjects"]:

    rule watch_cohort:
        """Notice that the subjects of a cohort, or its settings, changed. Nothing is run: only the file's time counts."""

        # As watch_subject: whatever is behind the preflight is not looked at while the preflight is due, which it is
        # when a subject leaves the sheet.
        output:
            stamp=touch(f"{RESULTS}/{{cohort}}/.cohort.stamp"),
        params:
            subjects=subjects_of_cohort,
            groups=groups_of_subjects,
            options=MERGE_OPTIONS,
            nb_shards=nb_shards,

    rule plan_cohort:
        """Give each subject its byte ranges in the cohort's archive; headers only."""
        input:
            subjects=subjects_of_cohort,
            stamp=f"{RESULTS}/{{cohort}}/.cohort.stamp",
            grid=grid_of_cohorts,
        output:
            plan=f"{RESULTS}/{{cohort}}/plan.json",
        log:
            "logs/{cohort}/plan_cohort.log",
        conda:
            "../envs/trxlib.yaml"
        resources:
            mem_mb=flat_memory,
            runtime=cohort_minutes,
        params:
            archive=archive_of_cohort,
            groups=groups_of_subjects,
            options=MERGE_OPTIONS,
            nb_shards=nb_shards,
        script:
            "../scripts/plan_cohort.py"

else:

    rule plan_cohort:
        """Give each input its byte ranges in the cohort's archive; no subject gets a file of its own."""
        input:
            files=inputs_of_cohort,
            preflight=f"{RESULTS}/{{cohort}}/preflight.tsv",
            grid=grid_of_cohorts,
        output:
            plan=f"{RESULTS}/{{cohort}}/plan.json",
        log:
            "logs/{cohort}/plan_cohort.log",
        conda:
            "../envs/trxlib.yaml"
        resources:
            mem_mb=flat_memory,
            runtime=cohort_minutes,
        params:
            archive=archive_of_cohort,
            rows=rows_of_cohort,
            sizes=sizes_of_cohort,
            groups=groups_of_subjects,
            nb_shards=nb_shards,
            options={**CONVERT_OPTIONS, **MERGE_OPTIONS},
        script:
            "../scripts/plan_cohort_directly.py"


rule fill_cohort:
    """Copy one share of the subjects into the preallocated archive and say what was written."""
    input:
        # Not the subjects: the plan names them, and shards times subjects would be too many edges.
        plan=f"{RESULTS}/{{cohort}}/plan.json",
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
        archive=archive_of_cohort,
    script:
        "../scripts/fill_cohort.py"


rule seal_cohort:
    """Check that every byte range was filled, close the archive and give it its name."""
    input:
        plan=f"{RESULTS}/{{cohort}}/plan.json",
        receipts=receipts_of_cohort,
        records=records_of_cohort if CONFIG["keep_subjects"] else [],
    output:
        archive=f"{RESULTS}/{{cohort}}/{{cohort}}.trx",
        provenance=f"{RESULTS}/{{cohort}}/provenance.tsv",
        ranges=f"{RESULTS}/{{cohort}}/ranges.tsv",
    log:
        "logs/{cohort}/seal_cohort.log",
    conda:
        "../envs/trxlib.yaml"
    resources:
        mem_mb=flat_memory,
        runtime=cohort_minutes,
    params:
        rows=[] if CONFIG["keep_subjects"] else rows_of_cohort,
    script:
        "../scripts/seal_cohort.py"
