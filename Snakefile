# From the tractograms of several subjects to one .trx archive per cohort.
#
# results/<cohort>/preflight.tsv              what the header of each input says
# results/<cohort>/subjects/<subject>.trx     one file per subject and session, bundles as groups; .json: its inputs
# results/<cohort>/plan.json                  which input owns which bytes of the archive
# results/<cohort>/<cohort>.trx               the archive: every streamline of every subject
# results/<cohort>/provenance.tsv             where every streamline came from
# results/<cohort>/groups/<group>.trx         each group of the archive; groups.tsv lists them
# results/<cohort>/summary.tsv                counts, lengths and volumes per subject and group
# results/<cohort>/index.html, mosaic.png      the cohort to look at
# logs/<cohort>/<rule>...log                  what each job said

from snakemake.utils import min_version

min_version("9.9")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/convert.smk"
include: "workflow/rules/cohort.smk"
include: "workflow/rules/groups.smk"
include: "workflow/rules/qc.smk"


rule all:
    """Everything."""
    default_target: True
    input:
        all_results(),


onsuccess:
    say_warnings()


# One target per stage: `snakemake --cores 8 checks` stops after the headers are checked, and so on.


rule checks:
    """Headers of all inputs, checked."""
    input:
        all_refused(),
        per_cohort("preflight.tsv"),


rule archives:
    """The archive of each cohort, and where its streamlines came from."""
    input:
        all_archives(),
        per_cohort("provenance.tsv"),


rule summaries:
    """The table of counts, lengths and volumes of each cohort."""
    input:
        all_refused(),
        per_cohort("summary.tsv"),
