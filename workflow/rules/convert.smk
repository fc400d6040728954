localrules:
    make_demo_data,
    pass_preflight,
    refuse_cohort,
    watch_cohort,
    watch_subject,


rule make_demo_data:
    """Unpack the bundles of five people that come with DIPY, those of one as .tck."""
    output:
        trk=expand(
            f"{DEMO}/sub-{{subject}}/{{bundle}}.trk",
            subject=["01", "02", "03", "04"],
            bundle=["AF_L", "CST_R", "CC_ForcepsMajor"],
        ),
        tck=expand(
            f"{DEMO}/sub-{{subject}}/{{bundle}}.tck",
            subject=["05"],
            bundle=["AF_L", "CST_R", "CC_ForcepsMajor"],
        ),
    log:
        "logs/make_demo_data.log",
    conda:
        "../envs/trxlib.yaml"
    resources:
        mem_mb=flat_memory,
        runtime=5,
    script:
        "../scripts/make_demo_data.py"


rule refuse_cohort:
    """Fail for a cohort with mistakes in the sample sheet, while the others go on (--keep-going)."""
    output:
        touch(f"{RESULTS}/{{cohort}}/.refused"),
    log:
        "logs/{cohort}/refuse_cohort.log",
    conda:
        "../envs/trxlib.yaml"
    params:
        mistakes=mistakes_of_cohort,
    script:
        "../scripts/refuse_cohort.py"


rule preflight:
    """Read the header and the first streamlines of every input of a cohort and list all that does not fit."""
    input:
        files=inputs_of_cohort,
        grid=grid_of_cohorts,
    output:
        table=f"{RESULTS}/{{cohort}}/preflight.tsv",
    log:
        "logs/{cohort}/preflight.log",
    conda:
        "../envs/trxlib.yaml"
    resources:
        mem_mb=flat_memory,
        runtime=cohort_minutes,
    params:
        rows=rows_of_cohort,
        sizes=sizes_of_cohort,
        options=PREFLIGHT_OPTIONS,
    script:
        "../scripts/preflight.py"


rule pass_preflight:
    """Let subjects be converted, now that the cohort has passed."""

    # A file between: Snakemake (9.27) looks through all inputs of the job that made a file, once for each job that
    # wants the file. Subjects times inputs would take minutes for ten thousand subjects.
    input:
        f"{RESULTS}/{{cohort}}/preflight.tsv",
    output:
        touch(f"{RESULTS}/{{cohort}}/.preflight.stamp"),


if SINGLE_COHORTS:

    rule watch_subject:
        """Notice that the files or options of a subject changed. Nothing is run: only the file's time counts."""

        # Snakemake (9.27) does not look at the own inputs of jobs behind one that is to be run again, even if the file
        # between them is ancient. A changed subject would go unnoticed whenever its cohort is due for preflight.
        input:
            files=inputs_of_subject,
        output:
            stamp=touch(f"{RESULTS}/{{cohort}}/subjects/.{{subject}}.stamp"),
        wildcard_constraints:
            cohort="|".join(SINGLE_COHORTS),
        params:
            rows=rows_of_subject,
            sizes=sizes_of_subject,
            options=CONVERT_OPTIONS,

    rule convert_subject:
        """Convert all files of a subject (and session) into one .trx, with the bundles as groups."""
        input:
            files=inputs_of_subject,
            stamp=f"{RESULTS}/{{cohort}}/subjects/.{{subject}}.stamp",
            # ancient: a file of another subject that changed is no reason to convert this one again.
            preflight=ancient(f"{RESULTS}/{{cohort}}/.preflight.stamp"),
        output:
            trx=f"{RESULTS}/{{cohort}}/subjects/{{subject}}.trx",
            record=f"{RESULTS}/{{cohort}}/subjects/{{subject}}.json",
        log:
            "logs/{cohort}/convert_subject/{subject}.log",
        benchmark:
            "logs/{cohort}/convert_subject/{subject}.benchmark.tsv"
        wildcard_constraints:
            cohort="|".join(SINGLE_COHORTS),
        # Profiles of clusters put several of these into one submission: group-components.
        group:
            "convert"
        conda:
            "../envs/trxlib.yaml"
        resources:
            mem_mb=flat_memory,
            runtime=convert_minutes,
        params:
            rows=rows_of_subject,
            options=CONVERT_OPTIONS,
        script:
            "../scripts/convert_subject.py"


# A rule for each batch, since the names of its files share no wildcard.
for batch in PROJECT.batches():

    rule:
        name:
            f"watch_{batch.name}"
        input:
            files=batch.paths,
        output:
            stamp=touch(f"{RESULTS}/{batch.cohort}/subjects/.{batch.name}.stamp"),
        localrule: True
        params:
            rows=batch.rows,
            sizes=batch.sizes,
            options=CONVERT_OPTIONS,

    rule:
        name:
            f"convert_{batch.name}"
        input:
            files=batch.paths,
            stamp=f"{RESULTS}/{batch.cohort}/subjects/.{batch.name}.stamp",
            preflight=ancient(f"{RESULTS}/{batch.cohort}/.preflight.stamp"),
        output:
            trx=expand(
                f"{RESULTS}/{batch.cohort}/subjects/{{subject}}.trx",
                subject=batch.rows,
            ),
            record=expand(
                f"{RESULTS}/{batch.cohort}/subjects/{{subject}}.json",
                subject=batch.rows,
            ),
        log:
            f"logs/{batch.cohort}/convert_subjects/{batch.name}.log",
        benchmark:
            f"logs/{batch.cohort}/convert_subjects/{batch.name}.benchmark.tsv"
        group:
            "convert"
        conda:
            "../envs/trxlib.yaml"
        resources:
            mem_mb=flat_memory,
            runtime=batch_minutes(batch),
        params:
            rows=batch.rows,
            options=CONVERT_OPTIONS,
        script:
            "../scripts/convert_subjects.py"
