"""The operator jobs: each runs one operation, or reports what it would do (`dry_run`)."""

from collections.abc import Callable, Sequence
from logging import Logger
from typing import Any

import dagster as dg
import duckdb
from pydantic import Field

from lfp_pipeline.common.progress import announce
from lfp_pipeline.dagster_support.events import show_tables
from lfp_pipeline.dagster_support.failures import log_operation, user_facing_failures
from lfp_pipeline.dagster_support.launchpad import prefilled_config
from lfp_pipeline.dagster_support.partitions import add_partitions
from lfp_pipeline.dagster_support.resources import ProductsDatabase
from lfp_pipeline.dagster_support.runs import files_tag
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, user_message
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.partition_key import file_name
from lfp_pipeline.operations import Report
from lfp_pipeline.operations.dismiss import dismiss_delivery
from lfp_pipeline.operations.export import export_tables
from lfp_pipeline.operations.maintain import maintain_tables
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify

_SHAPE: Any = dg.Shape  # It has no type hints.

_FORMER_KEYS = {
    "ignore_pruned_history": "despite_pruned",
    "include_needed": "even_if_needed",
    "allow_data_loss": "accept_losses",
    "full": "thorough",
}
"""Configuration keys, and their names before version 0.1.0. Both are accepted."""


def _flag(description: str) -> Any:  # noqa: ANN401 (as pydantic's Field)
    return Field(default=False, description=description)


def _days(default: float | None, description: str) -> Any:  # noqa: ANN401
    return Field(default, ge=0, le=36_500, description=description)


class OperationConfig(dg.Config):
    """What all operations have in common."""

    dry_run: bool = _flag(
        "Report what would be done, and change nothing. Without this key, the changes are made."
    )


class RevertConfig(OperationConfig):
    """Delivery to revert or reinstate."""

    delivery_id: str = Field("", description="Id of the delivery, as in the table deliveries.")
    reinstate: bool = _flag("Merge a reverted delivery again.")
    ignore_pruned_history: bool = _flag(
        "Revert even if older deliveries that may have replacement rows are pruned."
    )
    use_present_settings: bool = _flag(
        "Read deliveries with the present settings and program, whatever they were merged with, "
        "and correct their ledger entries."
    )


class DismissConfig(OperationConfig):
    """Delivery that needs no more attention."""

    delivery_id: str = Field("", description="Id of the delivery, as in the table deliveries.")


class PurgeConfig(OperationConfig):
    """Products to delete: set exactly one of skus, partition, older_than_days and everything."""

    skus: list[str] = Field([], description="Products with these skus.")
    partition: str | None = Field(
        "", description="Products whose present row came with this partition."
    )
    older_than_days: float | None = _days(
        None, "Products whose present row was delivered more days ago."
    )
    everything: bool = _flag("All products.")


class PruneConfig(OperationConfig):
    """Minimum age."""

    older_than_days: float = _days(90, "Minimum number of days since the landing.")
    include_needed: bool = _flag(
        "Also prune deliveries that a rebuild of the present tables needs."
    )


class RebuildConfig(OperationConfig):
    """Rebuild options."""

    allow_data_loss: bool = _flag("Rebuild even if merged deliveries cannot be read any more.")
    use_present_settings: bool = _flag(
        "Read all deliveries with the present settings, whatever they were merged with."
    )


class ExportConfig(OperationConfig):
    """Output formats."""

    formats: list[str] = Field(["parquet", "csv"], description="parquet, csv, duckdb: one or more.")


class MaintainConfig(OperationConfig):
    """Whether to change anything."""


class VerifyConfig(OperationConfig):
    """Depth of the check."""

    full: bool = _flag("Also rebuild the database beside and compare (invariant I0).")


def _revert(engine: Engine, *, reinstate: bool, **options: Any) -> Report:  # noqa: ANN401 (keys)
    """Revert a delivery, or merge a reverted delivery again (reinstate)."""
    if not reinstate:
        return revert_delivery(engine, **options)
    del options["ignore_pruned_history"]
    return reinstate_delivery(engine, **options)


def _purge(engine: Engine, *, log: Logger, dry_run: bool, **selected: Any) -> Report:  # noqa: ANN401
    """Delete products by skus, partition or age, or all; newer deliveries bring them back."""
    return purge_products(engine, Selection(**selected), log, dry_run=dry_run)


def _job(
    name: str,
    config: type[OperationConfig],
    operation: Callable[..., Report],
    *,
    changes_tables: bool = False,
    op_name: str = "",
    former_op: str = "",
) -> dg.JobDefinition:
    """Return the job of an operation. The configuration's keys are the operation's arguments.

    If the operation changes tables, the job then refreshes `name_counts` and publishes the tables.
    Without `op_name`, the op is named by the first word of the job's name. Run configurations may
    still name it `former_op`.
    """
    op_name = op_name or name.partition("_")[0]
    description = (operation.__doc__ or "").partition("\n")[0]
    keys = config.to_fields_dict()
    former_keys = {key: former for key, former in _FORMER_KEYS.items() if key in keys}
    schema = _SHAPE(keys, description=config.__doc__, field_aliases=former_keys)
    proposed = dict(config(), dry_run=True)

    @dg.op(name=op_name, description=description, config_schema=schema)
    def operate(
        context: dg.OpExecutionContext,
        engine: dg.ResourceParam[Engine],
        database: dg.ResourceParam[ProductsDatabase],
    ) -> None:
        options = dict(config(**context.op_config))
        dry_run: bool = options["dry_run"]
        with user_facing_failures(context):
            used = Engine(engine.settings, read_only=True) if dry_run else engine
            done = operation(used, log=context.log, **options)
            announce(done)
            log_operation(context, done.summary, done.figures, done.problems, dry_run=dry_run)
            if changes_tables and not dry_run:
                _publish_tables(context, engine, database, done.changed)

    @dg.job(
        name=name,
        description=description,
        config=prefilled_config(op_name, schema, proposed, former_op),
    )
    def job() -> None:
        operate()

    return job


def _publish_tables(
    context: dg.OpExecutionContext,
    engine: Engine,
    database: ProductsDatabase,
    changed: Sequence[Delivery] | None,
) -> None:
    """Show what has changed, and publish the tables.

    If the tables cannot be opened or published, the run succeeds, because the operation is done. A
    failing blocking check fails the run, and nothing is published.
    """
    names = {
        delivery.partition_key: file_name(delivery.partition_key, delivery.source)
        for delivery in changed or ()
    }
    add_partitions(context.instance, names)
    context.instance.add_run_tags(context.run.run_id, files_tag(names.values()))
    shown = None if changed is None else dict.fromkeys(names, "")
    try:
        show_tables(context, engine, database, shown=shown)
    except (LfpError, duckdb.Error, OSError) as error:
        context.log.warning(
            "The operation is done, but its result cannot be shown now: %s", user_message(error)
        )
    engine.publish(context.log, at_once=True)


# Dagster allows no op with the name of a job.
verify_job = _job("verify", VerifyConfig, verify, op_name="check_invariants", former_op="laws")

maintain_job = _job("maintain_tables", MaintainConfig, maintain_tables)

operator_jobs = [
    _job("revert_delivery", RevertConfig, _revert, changes_tables=True),
    _job("dismiss_delivery", DismissConfig, dismiss_delivery, changes_tables=True),
    _job("purge_products", PurgeConfig, _purge, changes_tables=True),
    _job("prune_raw", PruneConfig, prune_raw),
    _job("rebuild_products", RebuildConfig, rebuild_products, changes_tables=True),
    _job("export_tables", ExportConfig, export_tables),
    maintain_job,
    verify_job,
]
