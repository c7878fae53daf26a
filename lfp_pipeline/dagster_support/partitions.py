"""The partitions: one per source file, which covers all its versions."""

import dagster as dg

product_files = dg.DynamicPartitionsDefinition(name="product_files")
