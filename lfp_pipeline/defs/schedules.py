"""The schedules; each is off until it is switched on."""

import dagster as dg

from lfp_pipeline.defs.operator_jobs import verify_job

verify_schedule = dg.ScheduleDefinition(
    name="verify_schedule",
    job=verify_job,
    cron_schedule="0 4 * * *",
    description="Checks the tables and the raw zone each night at 04:00 UTC.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
