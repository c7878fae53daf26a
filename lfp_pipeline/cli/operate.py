"""Runs an operation as its Dagster job, or as a dry run without Dagster, and prints its report."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from lfp_pipeline.cli.messages import message_log
from lfp_pipeline.cli.output import FAILED, print_json, print_report
from lfp_pipeline.cli.run_job import run_job

if TYPE_CHECKING:
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.operations import Report

verbose_option = click.option("-v", "--verbose", is_flag=True, help="Show all events of the run.")
yes_option = click.option("--yes", is_flag=True, help="Answer yes where the command would ask.")


def engine_of_project(*, read_only: bool = False) -> "Engine":
    """Return the engine of the project that the command works on."""
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.settings import load_settings

    return Engine(load_settings(), read_only=read_only)


def dry_run(
    operation: "Callable[..., Report]", options: Mapping[str, Any], *, as_json: bool
) -> None:
    """Print the report of a dry run. No run is made, so no other run has to wait for Dagster."""
    engine = engine_of_project(read_only=True)
    report = operation(engine, log=message_log(), dry_run=True, **options)
    print_result(report, None, as_json=as_json)


def operate(job: str, op: str, options: Mapping[str, Any], *, as_json: bool, verbose: bool) -> None:
    """Run the job of an operation, print its report, and exit with the code of its result."""
    from lfp_pipeline.operations import Report

    run = run_job(job, {op: {"config": dict(options)}}, verbose=verbose)
    for report in run.all_of(Report):
        print_result(report, run.run_id, as_json=as_json)
        if report.problems:
            raise SystemExit(FAILED)
    run.exit_if_failed()


def print_result(report: "Report", run_id: str | None, *, as_json: bool) -> None:
    """Print a report as text or JSON."""
    if as_json:
        print_json(
            {
                "summary": report.summary,
                "figures": dict(report.figures),
                "problems": list(report.problems),
                "run_id": run_id,
            }
        )
    else:
        print_report(report.summary, report.figures, report.problems)
