"""The partitions of the assets in Dagster: one per source file, which covers all its versions."""

from collections.abc import Iterable

import dagster as dg

product_files = dg.DynamicPartitionsDefinition(name="product_files")
"""The partitions of files, and one of all purges."""


def add_partitions(instance: dg.DagsterInstance, keys: Iterable[str]) -> None:
    """Add partitions to Dagster, so that runs and users can select them."""
    instance.add_dynamic_partitions(product_files.name or "", list(keys))
