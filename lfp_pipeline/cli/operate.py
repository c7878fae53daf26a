"""Runs an operation as its Dagster job, or as a dry run without Dagster, and prints its report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial, wraps
from typing import TYPE_CHECKING, Any

import click

from lfp_pipeline.cli.completion import Complete
from lfp_pipeline.cli.messages import message_log
from lfp_pipeline.cli.output import FAILED, dry_run_option, json_option, print_json, say
from lfp_pipeline.cli.param_types import Text
from lfp_pipeline.cli.run_job import run_job

if TYPE_CHECKING:
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.model.delivery import Delivery
    from lfp_pipeline.operations import Report
    from lfp_pipeline.raw_zone.landed import Landed
    from lfp_pipeline.raw_zone.raw_zone import RawZone

verbose_option = click.option("-v", "--verbose", is_flag=True, help="Show all events of the run.")
yes_option = click.option("--yes", is_flag=True, help="Answer yes where the command would ask.")


def engine_of_project(*, read_only: bool = False) -> "Engine":
    """Return the engine of the project that the command works on."""
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.settings import load_settings

    return Engine(load_settings(), read_only=read_only)


@dataclass(frozen=True)
class OperationCall:
    """A call of an operation by a command, with the options that all operations have."""

    is_dry_run: bool
    as_json: bool
    verbose: bool

    @cached_property
    def engine(self) -> "Engine":
        """The engine of the project; a dry run changes nothing by it."""
        return engine_of_project(read_only=self.is_dry_run)

    def find(
        self,
        text: str,
        *,
        latest: bool,
        among: "Callable[[RawZone, Landed], bool]",
        check: "Callable[[RawZone, Delivery], None]",
    ) -> "Delivery":
        """Return the delivery that an argument names (see `find_delivery`).

        Args:
            check: raises an OperationRefusedError if the operation would refuse the delivery's
                present state; then there is no run of it.
        """
        from lfp_pipeline.operations.find_delivery import find_delivery

        zone = self.engine.raw_zone
        found = find_delivery(self.engine, text, latest=latest, among=partial(among, zone))
        check(zone, found)
        return found

    def run(
        self,
        job: str,
        op: str,
        operation: "Callable[..., Report]",
        options: Mapping[str, Any],
        **of_job: object,
    ) -> None:
        """Run the job of an operation, print its report, and exit with the code of its result.

        A dry run calls the operation without Dagster, so no other run has to wait for its run.

        Args:
            options: what the operation and the configuration of the op have in common.
            of_job: what only the configuration of the op has.
        """
        if self.is_dry_run:
            report = operation(self.engine, log=message_log(), dry_run=True, **options)
            print_result(report, None, as_json=self.as_json)
            return
        from lfp_pipeline.operations import Report

        run = run_job(job, {op: {"config": {**options, **of_job}}}, verbose=self.verbose)
        for report in run.all_of(Report):
            shown = report
            if self.as_json and not run.succeeded:  # Such as by a check, after the operation.
                shown = replace(report, problems=report.problems or (run.reason,))
            print_result(shown, run.run_id, as_json=self.as_json)
            if report.problems:
                raise SystemExit(FAILED)
        run.exit_if_failed()


def operation(doing: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of all operations, which it gets as its `call`.

    The first line on stderr says what the command does, before anything slow is imported.

    Args:
        doing: that line, with the names of arguments in braces.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(*, is_dry_run: bool, as_json: bool, verbose: bool, **arguments: Any) -> None:  # noqa: ANN401
            say(doing.format(**arguments) + " (dry run)" * is_dry_run)
            command(**arguments, call=OperationCall(is_dry_run, as_json, verbose))

        return dry_run_option(json_option(verbose_option(run)))

    return decorate


def delivery_argument(complete: Complete) -> Callable[[Any], Any]:
    """Return the argument for a delivery, with its completion."""
    return click.argument("delivery", metavar="FILE|DELIVERY", type=Text(), shell_complete=complete)


def print_result(report: "Report", run_id: str | None, *, as_json: bool) -> None:
    """Print a report on stdout: all of it as JSON, or as text the summary and the problems."""
    if as_json:
        print_json(
            {
                "summary": report.summary,
                "figures": dict(report.figures),
                "problems": list(report.problems),
                "run_id": run_id,
            }
        )
        return
    from lfp_pipeline.common.text import visible

    click.echo(visible(report.summary))
    for problem in report.problems:
        click.echo(f"  {visible(problem)}")
