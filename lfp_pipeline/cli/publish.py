"""`lfp publish`: publishes the tables for readers."""

import click

from lfp_pipeline.cli.operate import engine_of_project, print_result, verbose_option
from lfp_pipeline.cli.output import json_option, say
from lfp_pipeline.cli.run_job import run_job


@click.command()
@json_option
@verbose_option
def command(*, as_json: bool, verbose: bool) -> None:
    """Publish the tables for readers now, whatever share of the time that takes.

    Example: lfp publish
    """
    say("Publishing the tables")
    from lfp_pipeline.operations import Report

    engine = engine_of_project()
    published = engine.published
    run_id = None
    summary = f"Nothing to publish: {published.location} is up to date."
    if not engine.warehouse.exists:
        summary = "Nothing to publish: there are no tables yet. Run `lfp ingest`."
    elif published.is_stale:
        run = run_job("publish_tables", verbose=verbose)
        run.exit_if_failed()
        run_id = run.run_id
        summary = f"Published the tables: {published.location}"
    figures = {"size_bytes": published.size_bytes, "seconds": round(published.last.seconds, 2)}
    print_result(Report(summary, figures), run_id, as_json=as_json)
