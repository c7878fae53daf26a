"""The operator's jobs: each does one operation, or tells what it would do (`dry_run`)."""

from typing import Any

import dagster as dg
import duckdb
from pydantic import Field

from lfp_pipeline.common.text import visible
from lfp_pipeline.dagster_support.checks import as_evaluation
from lfp_pipeline.dagster_support.failures import SHOWN_FAILURES, user_facing_failures
from lfp_pipeline.dagster_support.metadata import Metadata
from lfp_pipeline.dagster_support.resources import ProductsDatabase
from lfp_pipeline.defs.assets import refresh_name_counts
from lfp_pipeline.defs.jobs import SHORT_CONSOLE
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, user_message
from lfp_pipeline.operations.export import export_tables
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.report import Report
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify

_MOST_DAYS = 36_500

_DRY_RUN = Field(False, description="Only tell what it would do.")


class RevertConfig(dg.Config):
    """Which delivery."""

    delivery_id: str = Field("", description="As in the table deliveries.")
    reinstate: bool = Field(False, description="Put it in again that was taken out.")
    despite_pruned: bool = Field(
        False, description="Also where older deliveries, which may have next winners, are pruned."
    )
    use_present_settings: bool = Field(
        False,
        description="Read what was read with other settings, or by another version of the "
        "program, with those of now, and correct its account.",
    )
    dry_run: bool = _DRY_RUN


class PurgeConfig(dg.Config):
    """Which products: exactly one of skus, partition, older_than_days and everything."""

    skus: list[str] = Field([], description="These.")
    partition: str | None = Field(None, description="Whose present rows came with this partition.")
    older_than_days: float | None = Field(
        None, ge=0, le=_MOST_DAYS, description="Whose present rows were delivered longer ago."
    )
    everything: bool = Field(False, description="All.")
    dry_run: bool = _DRY_RUN


class PruneConfig(dg.Config):
    """How old."""

    older_than_days: float = Field(90, ge=0, le=_MOST_DAYS, description="What landed longer ago.")
    even_if_needed: bool = Field(
        False, description="Also what a rebuild of the present tables needs."
    )
    dry_run: bool = _DRY_RUN


class RebuildConfig(dg.Config):
    """How."""

    accept_losses: bool = Field(
        False, description="Also where deliveries that were in cannot be read any more."
    )
    use_present_settings: bool = Field(
        False, description="Read all deliveries with the settings of now."
    )
    dry_run: bool = _DRY_RUN


class ExportConfig(dg.Config):
    """As what."""

    formats: list[str] = Field(["parquet", "csv"], description="Of parquet and csv.")
    dry_run: bool = _DRY_RUN


class VerifyConfig(dg.Config):
    """How far."""

    thorough: bool = Field(
        False, description="Also make the database anew beside it, and compare: law 0."
    )
    dry_run: bool = _DRY_RUN


@dg.op(name="revert")
def revert_one(
    context: dg.OpExecutionContext,
    config: RevertConfig,
    engine: dg.ResourceParam[Engine],
    database: ProductsDatabase,
) -> None:
    """Take a delivery out as if it had never come, or put it in again."""
    with user_facing_failures(context):
        if config.reinstate:
            report = reinstate_delivery(
                engine,
                config.delivery_id,
                context.log,
                dry_run=config.dry_run,
                use_present_settings=config.use_present_settings,
            )
        else:
            report = revert_delivery(
                engine,
                config.delivery_id,
                context.log,
                dry_run=config.dry_run,
                despite_pruned=config.despite_pruned,
                use_present_settings=config.use_present_settings,
            )
        _report_result(context, report)
        if not config.dry_run:
            _report_tables(context, engine, database)


@dg.op(name="purge")
def purge_some(
    context: dg.OpExecutionContext,
    config: PurgeConfig,
    engine: dg.ResourceParam[Engine],
    database: ProductsDatabase,
) -> None:
    """Delete products by a delivery of its own."""
    with user_facing_failures(context):
        selection = Selection(
            config.skus, config.partition, config.older_than_days, config.everything
        )
        _report_result(
            context, purge_products(engine, selection, context.log, dry_run=config.dry_run)
        )
        if not config.dry_run:
            _report_tables(context, engine, database)


@dg.op(name="prune")
def prune_old(
    context: dg.OpExecutionContext, config: PruneConfig, engine: dg.ResourceParam[Engine]
) -> None:
    """Remove the bytes of old deliveries that the tables no longer need."""
    with user_facing_failures(context):
        report = prune_raw(
            engine,
            config.older_than_days,
            context.log,
            dry_run=config.dry_run,
            even_if_needed=config.even_if_needed,
        )
        _report_result(context, report)


@dg.op(name="rebuild")
def rebuild_all(
    context: dg.OpExecutionContext,
    config: RebuildConfig,
    engine: dg.ResourceParam[Engine],
    database: ProductsDatabase,
) -> None:
    """Make the database anew from the raw zone."""
    with user_facing_failures(context):
        report = rebuild_products(
            engine,
            context.log,
            dry_run=config.dry_run,
            accept_losses=config.accept_losses,
            use_present_settings=config.use_present_settings,
        )
        _report_result(context, report)
        if not config.dry_run:
            _report_tables(context, engine, database)


@dg.op(name="export")
def export_all(
    context: dg.OpExecutionContext, config: ExportConfig, engine: dg.ResourceParam[Engine]
) -> None:
    """Write products and name_counts as files for other programs."""
    with user_facing_failures(context):
        report = export_tables(engine, context.log, formats=config.formats, dry_run=config.dry_run)
        _report_result(context, report)


@dg.op(name="laws")
def verify_all(
    context: dg.OpExecutionContext, config: VerifyConfig, engine: dg.ResourceParam[Engine]
) -> None:
    """Look whether all laws hold in the live data; fail if not."""
    with user_facing_failures(context):
        report = verify(engine, context.log, thorough=config.thorough, dry_run=config.dry_run)
        if report.problems:
            raise _failure(report)
        _report_result(context, report)


def _failure(report: Report) -> dg.Failure:
    lines = list(map(visible, [report.summary, *report.problems[:SHOWN_FAILURES]]))
    if (left := len(report.problems) - SHOWN_FAILURES) > 0:
        lines.append(f"And {left:,} more; all_problems has all.")
    return dg.Failure(
        description="\n".join(lines),
        metadata=_metadata(report),
        allow_retries=False,
    )


def _report_result(context: dg.OpExecutionContext, report: Report) -> None:
    context.log.info(visible(report.summary))
    for problem in report.problems:
        context.log.warning(visible(problem))
    context.add_output_metadata(_metadata(report))


def _metadata(report: Report) -> Metadata:
    metadata: dict[str, Any] = {"summary": visible(report.summary), **report.figures}
    if report.problems:
        records = [dg.TableRecord({"problem": visible(problem)}) for problem in report.problems]
        metadata["all_problems"] = dg.MetadataValue.table(records)
    return metadata


def _report_tables(
    context: dg.OpExecutionContext, engine: Engine, database: ProductsDatabase
) -> None:
    """See that the counts are right, show them where the asset is, and publish the tables.

    What was to be done is done by then, whether it can be shown or not.
    """
    try:
        with database.get_connection() as connection:
            metadata, checks = refresh_name_counts(connection, context.log)
    except (LfpError, duckdb.Error, OSError) as error:
        context.log.warning("That is done, and cannot be shown now: %s", user_message(error))
    else:
        context.log_event(dg.AssetMaterialization("name_counts", metadata=metadata))
        for check in checks:
            context.log_event(as_evaluation(check))  # type: ignore[arg-type] # taken, if untold
    engine.publish(context.log, at_once=True)


@dg.job(name="revert_delivery", config=SHORT_CONSOLE)
def revert_delivery_job() -> None:
    """Take a delivery out as if it had never come, or put it in again (reinstate)."""
    revert_one()


@dg.job(name="purge_products", config=SHORT_CONSOLE)
def purge_products_job() -> None:
    """Delete products by skus, partition, age, or all; a newer delivery brings them again."""
    purge_some()


@dg.job(name="prune_raw", config=SHORT_CONSOLE)
def prune_raw_job() -> None:
    """Remove the bytes of old deliveries that a rebuild of the present tables does not need."""
    prune_old()


@dg.job(name="rebuild_products", config=SHORT_CONSOLE)
def rebuild_products_job() -> None:
    """Make the database anew from the raw zone, beside the old one, and swap them."""
    rebuild_all()


@dg.job(name="export_tables", config=SHORT_CONSOLE)
def export_tables_job() -> None:
    """Write products and name_counts as Parquet and CSV, all of one state."""
    export_all()


@dg.job(name="verify", config=SHORT_CONSOLE)
def verify_job() -> None:
    """Ask all laws of the live data, and of every raw file whether it is what landed."""
    verify_all()


operator_jobs = [
    revert_delivery_job,
    purge_products_job,
    prune_raw_job,
    rebuild_products_job,
    export_tables_job,
    verify_job,
]
