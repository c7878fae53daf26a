"""The partitions of the assets in Dagster: one per source file, which covers all its versions."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import dagster as dg

from lfp_pipeline.dagster_support.runs import (
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_TAG,
    files_tag,
)
from lfp_pipeline.model.partition_key import is_partition_key, key_hint, partition_key

product_files = dg.DynamicPartitionsDefinition(name="product_files")
"""The partitions of files, and one of all purges."""


def add_partitions(instance: dg.DagsterInstance, keys: Iterable[str]) -> None:
    """Add partitions to Dagster, so that runs and users can select them."""
    instance.add_dynamic_partitions(product_files.name or "", list(keys))


def partition_keys(
    context: dg.AssetExecutionContext, partition: str = "", source_file: str = ""
) -> Sequence[str]:
    """Return the partitions of a run.

    Args:
        partition: the name of a file in the configuration; empty: there is none.
        source_file: the name of the file at the source in the configuration, if nothing else names
            a partition.

    Raises:
        dagster.Failure: the run names no partition, two different ones, or an invalid one.
    """
    _take_partition(context, partition, source_file)
    keys: Sequence[str] = []
    if context.has_partition_key_range:
        keys = context.partition_keys
        if not keys:
            msg = "The range is empty: partitions are in the order in which they were added."
            raise dg.Failure(msg, allow_retries=False)
    elif context.has_partition_key:
        keys = [context.partition_key]
    if not keys:
        msg = (
            "This run names no partition. Pick one in the UI, set "
            "ops.raw_products.config.partition to the name of a file, or give a tag: "
            '--tags \'{"dagster/partition": "FILE"}\'. For all new files, run `lfp ingest`.'
        )
        raise dg.Failure(msg, allow_retries=False)
    if wrong := [key for key in keys if not is_partition_key(key)]:
        msg = f"{wrong[0]!r} is no partition key.{key_hint(wrong[0])}"
        raise dg.Failure(msg, allow_retries=False)
    return keys


def _take_partition(context: dg.AssetExecutionContext, partition: str, source_file: str) -> None:
    """Make the run one of the partition in its configuration, as if it had been started so.

    Steps of this process read the partition from the run's tags in memory, others from the stored
    ones.
    """
    name = partition or source_file
    tags: Any = context.run.tags
    if not name or RANGE_TAG in tags or (PARTITION_TAG in tags and not partition):
        return
    key = name if is_partition_key(name) else partition_key(name)
    if tags.setdefault(PARTITION_TAG, key) != key:
        msg = (
            f"The configuration names the partition {key}, and the run is one of "
            f"{tags[PARTITION_TAG]}. Name one of them."
        )
        raise dg.Failure(msg, allow_retries=False)
    context.instance.add_run_tags(context.run.run_id, {PARTITION_TAG: key, **files_tag([name])})


def partitions_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Sequence[str] | None:
    """Return the partitions of a run; None: it has none, or an end of its range was deleted."""
    if RANGE_TAG not in run.tags:
        key = run.tags.get(PARTITION_TAG)
        return None if key is None else [key]
    keys = list(instance.get_dynamic_partitions(product_files.name or ""))
    with suppress(ValueError):
        first, last = (keys.index(run.tags[tag]) for tag in (RANGE_TAG, RANGE_END_TAG))
        return keys[first : last + 1]
    return None
