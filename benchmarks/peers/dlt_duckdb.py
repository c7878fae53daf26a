"""dlt into DuckDB: Arrow batches, merged on the sku as delete and insert.

Which of the rows of a sku wins within one load is left open by dlt, unless a column says so: the
row number, which is added on the way, with `dedup_sort`. Arrow batches pass without Python objects,
as Parquet. dlt keeps that column, and a schema for staging. Names are counted in SQL afterwards.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import dlt
import duckdb
import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from benchmarks.peers.peer import DuckDBPeer

_DATASET = "shop"
_BLOCK_BYTES = 16 << 20

_COUNT = f"""
CREATE OR REPLACE TABLE {_DATASET}.name_counts AS
SELECT name, count(*) AS no_of_products FROM {_DATASET}.products GROUP BY name
"""


def _batches(csv: Path) -> Iterator[pa.Table]:
    rows = 0
    with arrow_csv.open_csv(
        csv,
        read_options=arrow_csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(("name", "sku", "description"), pa.string())
        ),
    ) as reader:
        for batch in reader:
            numbers = pa.array(np.arange(rows, rows + batch.num_rows))
            rows += batch.num_rows
            yield pa.Table.from_batches([batch]).append_column("row_no", numbers)


class Tool(DuckDBPeer):
    """A dlt pipeline with one resource."""

    title = "dlt + DuckDB, merge"
    schema = _DATASET

    @classmethod
    def versions(cls) -> str:
        return f"dlt {dlt.__version__}, DuckDB {duckdb.__version__}, pyarrow {pa.__version__}"

    def start(self) -> None:
        os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
        self._pipeline = dlt.pipeline(
            "products",
            pipelines_dir=str(self.folder / "pipelines"),
            destination=dlt.destinations.duckdb(str(self.database)),
            dataset_name=_DATASET,
        )

    def load(self, csv_file: Path) -> None:
        resource = dlt.resource(
            _batches(csv_file),
            name="products",
            write_disposition={"disposition": "merge", "strategy": "delete-insert"},
            primary_key="sku",
            columns={"row_no": {"dedup_sort": "desc"}},
        )
        with self.phase("reading"):
            self._pipeline.extract(resource)
        with self.phase("normalizing"):
            self._pipeline.normalize()
        with self.phase("writing"):
            self._pipeline.load(raise_on_failed_jobs=True)
        with self.phase("counting"), duckdb.connect(str(self.database)) as connection:
            connection.execute("SET enable_progress_bar = false")
            connection.execute(_COUNT)
