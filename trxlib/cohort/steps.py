"""What the scripts of the workflow call: one function per rule, paths in, files out, from the module that owns it."""

from __future__ import annotations

from trxlib.cohort.archive import fill_cohort, plan_cohort, plan_cohort_directly, seal_cohort
from trxlib.cohort.demo import make_demo_data
from trxlib.cohort.logs import start_logging
from trxlib.cohort.preflight import preflight, refuse_cohort
from trxlib.cohort.results import draw_cohort, extract_groups, summarise_cohort
from trxlib.cohort.subjects import convert_subject, convert_subjects

__all__ = [
    "convert_subject",
    "convert_subjects",
    "draw_cohort",
    "extract_groups",
    "fill_cohort",
    "make_demo_data",
    "plan_cohort",
    "plan_cohort_directly",
    "preflight",
    "refuse_cohort",
    "seal_cohort",
    "start_logging",
    "summarise_cohort",
]
