"""What is done by the clock, once somebody switches it on."""

import dagster as dg

from lfp_pipeline.defs.operator_jobs import verify_job

verify_schedule = dg.ScheduleDefinition(
    name="verify_schedule",
    job=verify_job,
    cron_schedule="0 4 * * *",
    description="Looks each night at four, UTC, whether all is as it should be.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
