"""The schedules: the lake is maintained each night; checks wait until theirs is switched on."""

import dagster as dg

from lfp_pipeline.defs.operator_jobs import maintain_job, verify_job

verify_schedule = dg.ScheduleDefinition(
    name="verify_schedule",
    job=verify_job,
    cron_schedule="0 4 * * *",
    description="Checks the tables and the raw zone each night at 04:00 UTC.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)

maintain_schedule = dg.ScheduleDefinition(
    name="maintain_schedule",
    job=maintain_job,
    cron_schedule="0 3 * * *",
    description="Writes small files of the lake again as large ones, each night at 03:00 UTC.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
