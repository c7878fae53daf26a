"""The assets: raw files, products, and the counts of product names."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import dagster as dg
from pydantic import Field

from lfp_pipeline.dagster_support.checks import CHECKS, check_tables
from lfp_pipeline.dagster_support.events import (
    show_landed,
    show_result,
    show_tables_if_possible,
    showing_tables,
    shown_on_pages,
)
from lfp_pipeline.dagster_support.failures import (
    run_failure,
    tag_database_busy,
    tag_not_tried,
    user_facing_failures,
)
from lfp_pipeline.dagster_support.metadata import (
    COUNTS_LINEAGE,
    COUNTS_SCHEMA,
    PRODUCTS_LINEAGE,
    PRODUCTS_SCHEMA,
    delivery_metadata,
    result_metadata,
)
from lfp_pipeline.dagster_support.partitions import (
    add_partitions,
    partition_keys,
    partitions_of_run,
    product_files,
)
from lfp_pipeline.dagster_support.resources import ProductsDatabase
from lfp_pipeline.dagster_support.results import failed_result, is_ok, log_result
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError, LfpError, SettingsError
from lfp_pipeline.ingest.result import IngestResult, LandingFailure
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.operations.read_tables import NO_TABLES
from lfp_pipeline.sources.base import Source
from lfp_pipeline.sources.locations import file_name_of
from lfp_pipeline.sources.written_location import (
    Location,
    WrittenSecretError,
    is_signed,
    resolve_location,
)

GROUP = "products"
OWNERS = ["team:data"]


class RawProductsConfig(dg.Config):
    """The file to ingest. A run with a partition needs nothing here."""

    source: str | None = Field(
        "",
        description="A URL, a link or a path. Empty: the file of that name in the inbox; without "
        "such a file, the source of that name in the sources file. Passwords are refused, because "
        "the history of runs keeps this text: write ${NAME} for a variable of the environment.",
    )
    partition: str | None = Field(
        "",
        description="The name of the file. All versions of a file have the same name. Empty: the "
        "partition of the run; without one, the last part of `source`.",
    )
    named_source: bool = Field(
        default=False, description="Ignore the inbox, and fetch from the sources file."
    )


@dg.asset(
    partitions_def=product_files,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"file"},
    code_version="1",
    metadata={"dagster/storage_kind": "file"},
)
def raw_products(
    context: dg.AssetExecutionContext,
    config: RawProductsConfig,
    engine: dg.ResourceParam[Engine],
    database: dg.ResourceParam[ProductsDatabase],
) -> dg.MaterializeResult:
    """One source file in all its versions, with the original bytes."""
    keys = partition_keys(
        context, config.partition or "", _source_file(engine, config.source or "")
    )
    if config.source and len(keys) > 1:
        msg = "A source feeds one partition, but this run has several."
        raise dg.Failure(msg, allow_retries=False)
    landed, missing = _land(context, engine, keys, config)
    add_partitions(context.instance, [delivery.partition_key for delivery in landed])
    if missing:
        for delivery in landed:
            show_landed(context, delivery)
        tag_not_tried(
            context, [failure.partition_key for failure in missing if failure.still_written]
        )
        for failure in missing:
            log_result(context.log, failure)
            if not failure.still_written:
                show_result(context, failure)
        show_tables_if_possible(context, engine, database, keys)
        raise run_failure(missing)
    for delivery in landed:
        context.add_asset_metadata(
            delivery_metadata(delivery), partition_key=delivery.partition_key
        )
    return dg.MaterializeResult(data_version=_data_version(landed))


@dg.asset(
    deps=[raw_products],
    partitions_def=product_files,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"duckdb", "sql"},
    code_version="1",
    metadata={
        "dagster/table_name": "main.products",
        "dagster/storage_kind": "duckdb",
        "dagster/column_schema": PRODUCTS_SCHEMA,
        "dagster/column_lineage": PRODUCTS_LINEAGE,
    },
)
def products(
    context: dg.AssetExecutionContext,
    engine: dg.ResourceParam[Engine],
    database: dg.ResourceParam[ProductsDatabase],
) -> dg.MaterializeResult:
    """One product per sku: the newest row of all deliveries."""
    keys = partition_keys(context)
    with user_facing_failures(context):
        try:
            ingested = _newest_per_partition(_ingest(context, engine, database, keys))
        except dg.Failure:  # Each file is shown already.
            raise
        except Exception as error:
            for key in keys:
                if newest := engine.raw_zone.newest(key):
                    show_result(context, failed_result(newest, error))
            raise
    for result in ingested:
        metadata = result_metadata(result, result.products)
        context.add_asset_metadata(metadata, partition_key=result.partition_key)
    return dg.MaterializeResult(
        data_version=_data_version([result.delivery for result in ingested])
    )


@dg.asset(
    deps=[products],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"duckdb", "sql"},
    code_version="1",
    metadata={
        "dagster/table_name": "main.name_counts",
        "dagster/storage_kind": "duckdb",
        "dagster/column_schema": COUNTS_SCHEMA,
        "dagster/column_lineage": COUNTS_LINEAGE,
    },
)
def name_counts(
    context: dg.AssetExecutionContext,
    engine: dg.ResourceParam[Engine],
    database: dg.ResourceParam[ProductsDatabase],
) -> Iterator[dg.MaterializeResult]:
    """One row per name that products have, with the number of those products.

    Every merge commits the counts. This asset compares them with a full recount, and repairs manual
    edits. It also evaluates all checks.
    """
    keys = partitions_of_run(context.instance, context.run)
    shown = shown_on_pages(context, keys or ())
    with (
        user_facing_failures(context),
        showing_tables(context, engine, database, keys, shown) as counts,
    ):
        yield dg.MaterializeResult(metadata=counts)
    engine.publish(context.log)


@dg.multi_asset_check(specs=CHECKS, can_subset=True)
def table_checks(
    context: dg.AssetCheckExecutionContext,
    engine: dg.ResourceParam[Engine],
    database: dg.ResourceParam[ProductsDatabase],
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate all checks now. Jobs that change the tables log the same results at their end."""
    with user_facing_failures(context):
        if not engine.warehouse.exists:
            raise LfpError(NO_TABLES)
        with database.get_connection() as connection:
            results = check_tables(connection, engine, context.log)
    for result in results:
        if (result.asset_key, result.check_name) in context.selected_asset_check_keys:
            yield result


def _land(
    context: dg.AssetExecutionContext,
    engine: Engine,
    keys: Sequence[str],
    config: RawProductsConfig,
) -> tuple[list[Delivery], list[LandingFailure]]:
    """Land the newest version of each partition's file.

    The source is the location of the configuration, or the inbox, or the sources file. If no source
    has the file any more, the newest delivery remains.

    Returns:
        The landed deliveries, and the failures.
    """
    landed: list[Delivery] = []
    missing: list[LandingFailure] = []
    try:
        sources = _sources(context, engine, keys, config)
    except (LandingError, SettingsError) as error:
        return [], [LandingFailure.because_of(error, key) for key in keys]
    for key in keys:
        try:
            if key in sources:
                landed.append(engine.land(sources[key], key, context.log))
            else:
                landed.append(_newest(engine, key))
                context.log.info("%s is in no source any more; its newest delivery remains", key)
        except LandingError as error:
            missing.append(LandingFailure.because_of(error, key))
    return landed, missing


def _sources(
    context: dg.AssetExecutionContext,
    engine: Engine,
    keys: Sequence[str],
    config: RawProductsConfig,
) -> Mapping[str, Source]:
    """Return the sources of partitions by key. For inbox files, the sources file is not read."""
    if config.source:
        return {keys[0]: engine.catalog.source_at(_resolved(context, config.source))}
    found = {} if config.named_source else engine.catalog.inbox_sources(keys, context.log)
    missing = [key for key in keys if key not in found]
    return found | engine.catalog.named_sources(missing) if missing else found


def _resolved(context: dg.AssetExecutionContext, location: str) -> Location:
    """Return the location of a run configuration with the values of environment variables.

    Raises:
        LandingError: a variable is missing, or the location contains a password.
    """
    try:
        found = resolve_location(location)
    except ValueError as error:
        msg = f"ops.raw_products.config.source: {error}."
        if isinstance(error, WrittenSecretError):
            msg += (
                " Dagster's history of runs keeps this text for everyone who can read the history: "
                "change the password where it is used."
            )
        raise LandingError(msg, permanent=True) from None
    if is_signed(location):
        context.log.warning(
            "ops.raw_products.config.source is a signed URL: Dagster's history of runs shows the "
            "URL to everyone who can read the history, until the URL expires."
        )
    return found


def _source_file(engine: Engine, location: str) -> str:
    """Return the name of the file at a location; empty if there is none."""
    try:
        return file_name_of(engine.catalog.source_at(resolve_location(location)))
    except (ValueError, LandingError):  # Landing reports what is wrong with the location.
        return ""


def _newest(engine: Engine, key: str) -> Delivery:
    if newest := engine.raw_zone.newest(key):
        return newest
    msg = (
        f"There is no file {key} in the inbox {engine.settings.inbox_place}, and no delivery of "
        "that file. Drop the file there, name it in the sources file "
        f"{engine.settings.sources_path}, or set ops.raw_products.config.source."
    )
    raise LandingError(msg, permanent=True)


def _ingest(
    context: dg.AssetExecutionContext,
    engine: Engine,
    database: ProductsDatabase,
    keys: Sequence[str],
) -> list[IngestResult]:
    """Merge the pending deliveries of partitions; a partition without any yields its newest one.

    Raises:
        dagster.Failure: some deliveries are not merged. The others are, and show as materialized.
    """
    for outcome in engine.ingest_all(
        [], engine.backlog.operator_requests(context.log), context.log
    ):
        log_result(context.log, outcome)  # A failure of these fails ingest_inbox, not this run.
        if is_ok(outcome):
            show_result(context, outcome)
    backlog = engine.backlog.of(keys, context.log)
    outcomes: list[IngestResult | LandingFailure] = []
    for outcome in chain(
        backlog.missing, backlog.done, engine.ingest_all([], backlog.pending, context.log)
    ):
        log_result(context.log, outcome)
        outcomes.append(outcome)
    good = [result for result in outcomes if isinstance(result, IngestResult) and is_ok(result)]
    if any(isinstance(outcome, IngestResult) and outcome.busy for outcome in outcomes):
        tag_database_busy(context)
    if len(good) < len(outcomes):
        bad = [outcome for outcome in outcomes if not is_ok(outcome)]
        for outcome in (*good, *bad):
            show_result(context, outcome)
        show_tables_if_possible(context, engine, database, keys)
        raise run_failure(bad)
    return good


def _newest_per_partition(ingested: Sequence[IngestResult]) -> list[IngestResult]:
    oldest_first = sorted(ingested, key=lambda result: result.delivery.order_key)
    return list({result.partition_key: result for result in oldest_first}.values())


def _data_version(deliveries: Sequence[Delivery]) -> dg.DataVersion:
    """Return the sha256 of a delivery; of several, the sha256 of their digests."""
    digests = [delivery.sha256 for delivery in deliveries]
    if len(digests) == 1:
        return dg.DataVersion(digests[0])
    return dg.DataVersion(hashlib.sha256("\n".join(digests).encode()).hexdigest())
