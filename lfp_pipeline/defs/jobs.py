"""The jobs that ingest, publish, and show the status."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from lfp_pipeline.common.text import pluralize
from lfp_pipeline.dagster_support.console import SHORT_CONSOLE
from lfp_pipeline.dagster_support.events import show_landed, show_result, show_tables
from lfp_pipeline.dagster_support.failures import (
    run_failure,
    tag_database_busy,
    tag_not_tried,
    user_facing_failures,
)
from lfp_pipeline.dagster_support.partitions import add_partitions
from lfp_pipeline.dagster_support.resources import ProductsDatabase
from lfp_pipeline.dagster_support.results import is_ok, log_result
from lfp_pipeline.dagster_support.runs import FILES_TAG, files_tag
from lfp_pipeline.dagster_support.shown_until import shown_note, unshown
from lfp_pipeline.defs.assets import name_counts, products, raw_products
from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.model.partition_key import file_name, partition_key
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status

ingest_products = dg.define_asset_job(
    "ingest_products",
    # The last asset logs the checks. As steps of their own they would be planned when the run is
    # created, and the check of the run created last would hide later results.
    selection=dg.AssetSelection.assets(raw_products, products, name_counts).without_checks(),
    config=SHORT_CONSOLE,
    description="Ingest chosen files: the partition of the run, a range of partitions, or the file "
    "in ops.raw_products.config.",
)


class InboxConfig(dg.Config):
    """The files to ingest, by partition key, with the versions seen; none: all pending files."""

    files: dict[str, str] = {}  # noqa: RUF012 (a Dagster config field, copied for each instance)


@dg.op(name="ingest")
def ingest_pending(
    context: dg.OpExecutionContext,
    config: InboxConfig,
    engine: dg.ResourceParam[Engine],
    database: dg.ResourceParam[ProductsDatabase],
) -> None:
    """Ingest the pending files of the inbox, several at once.

    Each partition shows as materialized as soon as its file is merged. A bad file stops no other
    file, and fails the run at the end.
    """
    with user_facing_failures(context):
        with engine.raw_zone.index.snapshot():
            listing = engine.pending_inbox(context.log, set(config.files) or None)
            files = list(listing.ready)
            deliveries = engine.pending_deliveries(context.log, offered=files)
        if config.files:
            requests = {
                request.delivery_id for request in engine.backlog.operator_requests(context.log)
            }
            deliveries = [
                delivery
                for delivery in deliveries
                if delivery.partition_key in config.files or delivery.delivery_id in requests
            ]
        still_written = {partition_key(name) for name in listing.still_writing} & set(config.files)
        tag_not_tried(context, still_written)
        if not files and not deliveries:
            inbox = engine.settings.inbox_place
            context.log.info(
                "Nothing to do: every complete file in %s is merged or reverted.", inbox
            )
            if _is_any_unshown(context, engine):
                show_tables(context, engine, database, ())
            engine.publish(context.log)
            return
        landed = pluralize(len(deliveries), "landed delivery")
        context.log.info("Ingesting %s and %s", pluralize(len(files), "inbox file"), landed)
        names = {file.partition_key: file.name for file in files} | {
            delivery.partition_key: file_name(delivery.partition_key, delivery.source)
            for delivery in deliveries
        }
        add_partitions(context.instance, names)
        if FILES_TAG not in context.run.tags:
            context.instance.add_run_tags(context.run.run_id, files_tag(names.values()))
        outcomes: list[IngestResult | LandingFailure] = []
        for outcome in engine.ingest_all(files, deliveries, context.log):
            outcomes.append(outcome)
            _report_result(context, outcome)
        still_written |= {
            outcome.partition_key
            for outcome in outcomes
            if isinstance(outcome, LandingFailure) and outcome.still_written
        }
        tag_not_tried(context, still_written)
        if any(isinstance(outcome, IngestResult) and outcome.busy for outcome in outcomes):
            tag_database_busy(context)
            raise run_failure([outcome for outcome in outcomes if not is_ok(outcome)])
        keys = {outcome.partition_key for outcome in outcomes}
        show_tables(context, engine, database, keys, _shown_last(outcomes))
        engine.publish(context.log)
        if bad := [outcome for outcome in outcomes if not is_ok(outcome)]:
            raise run_failure(bad)


def _is_any_unshown(context: dg.OpExecutionContext, engine: Engine) -> bool:
    note = shown_note(engine.settings, Path(context.instance.root_directory))
    return bool(unshown(note, engine.raw_zone.index, engine.liveness, context.run.run_id))


def _shown_last(outcomes: Sequence[IngestResult | LandingFailure]) -> dict[str, str]:
    """Return the ids of the deliveries that the pages show, by partition, but for failures.

    The ledger need not have a delivery that failed.
    """
    last = {outcome.partition_key: outcome for outcome in outcomes}
    return {
        key: outcome.delivery.delivery_id
        for key, outcome in last.items()
        if isinstance(outcome, IngestResult) and outcome.account.status is not Status.FAILED
    }


def _report_result(context: dg.OpExecutionContext, outcome: IngestResult | LandingFailure) -> None:
    log_result(context.log, outcome)
    if isinstance(outcome, IngestResult):
        show_landed(context, outcome.delivery)
    is_untried = outcome.busy if isinstance(outcome, IngestResult) else outcome.still_written
    if not is_untried:  # Such a file is pending, and may be one of thousands.
        show_result(context, outcome)


@dg.job(config=SHORT_CONSOLE)
def ingest_inbox() -> None:
    """Ingest everything in the inbox that is not merged."""
    ingest_pending()


@dg.op(name="publish")
def publish_now(context: dg.OpExecutionContext, engine: dg.ResourceParam[Engine]) -> None:
    """Publish the tables if they have changed since the last publication."""
    with user_facing_failures(context):
        if engine.published.publish(context.log) is None:
            context.log.info("Nothing to publish: %s is up to date.", engine.published.location)


@dg.job(config=SHORT_CONSOLE)
def publish_tables() -> None:
    """Publish the tables for readers now, regardless of LFP_PUBLISH_TIME_SHARE."""
    publish_now()


@dg.op(name="show_status")
def show_status(context: dg.OpExecutionContext, engine: dg.ResourceParam[Engine]) -> None:
    """Show the status of the data folder in the log and as metadata."""
    text = render_status(collect_status(engine))
    context.log.info("%s", text)
    context.add_output_metadata({"status": dg.MetadataValue.json(text.splitlines())})


@dg.job(config=SHORT_CONSOLE)
def status() -> None:
    """Show pending files, runs, deliveries that need attention, and the tables."""
    show_status()
