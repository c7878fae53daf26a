"""The real definitions on a real Dagster instance, with a data folder of its own."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lfp_pipeline.definitions import definitions
from lfp_pipeline.engine import Engine
from lfp_pipeline.settings import Settings, load_settings
from lfp_pipeline.warehouse.choice import warehouse_of
from testing.expected_tables import File
from testing.lakes import known_catalog

PARTITION_TAG = "dagster/partition"
RANGE_TAGS = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

PRODUCTS = "FROM products ORDER BY ALL"
NAME_COUNTS = "FROM name_counts ORDER BY ALL"
LEDGER = "SELECT partition_key, status, error FROM deliveries ORDER BY ALL"

HEADER = "sku,name,description\n"
NO_SKU = "name,description\nAnn,x\n"


@dataclass(frozen=True)
class Project:
    """A data folder, a Dagster instance, and the definitions for them."""

    data: Path
    instance: dg.DagsterInstance
    engine: Engine
    repository: dg.RepositoryDefinition
    home: Path
    cursors: dict[str, str | None] = field(default_factory=dict)

    @property
    def inbox(self) -> Path:
        return self.data / "inbox"

    def drop(self, file: File) -> None:
        drop(self.inbox, file.key, file.content, file.microseconds)

    def run(
        self,
        job: str,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, object] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Execute a job as the command line does, which does not check the partition."""
        return self.repository.get_job(job).execute_in_process(
            run_config=config, tags=tags, instance=self.instance, raise_on_error=False
        )

    def ingest(self, *keys: str, source: object = None) -> dg.ExecuteInProcessResult:
        """Run ingest_products for a partition, or for a range of two."""
        tags = dict(zip(RANGE_TAGS, keys, strict=True)) if len(keys) == 2 else {}
        config = {"ops": {"raw_products": {"config": {"source": str(source)}}}} if source else None
        return self.run("ingest_products", tags or {PARTITION_TAG: keys[0]}, config)

    def tick(
        self,
        sensor: str = "file_drop_sensor",
        cursor: str | None = None,
        *,
        started_at: float | None = None,
    ) -> Any:  # noqa: ANN401 (not exported)
        """Evaluate a sensor with the cursor of its last tick, as the UI does to test it.

        The daemon also passes the time at which the sensor was started.
        """
        with dg.SensorEvaluationContext(
            cursor=cursor or self.cursors.get(sensor),
            last_sensor_start_time=started_at,
            # Without a reference, the sensor does not resolve partitions.
            instance_ref=_reference(self.home),
            instance=self.instance,
            repository_def=self.repository,
            resources=self.repository.get_top_level_resources(),
        ) as context:
            tick = self.repository.get_sensor_def(sensor).evaluate_tick(context)
        self.cursors[sensor] = tick.cursor
        return tick

    def do(self, tick: Any) -> list[dg.ExecuteInProcessResult]:  # noqa: ANN401
        """Add the partitions and do the runs that a tick requests, as the daemon does."""
        for request in tick.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(
                request.partitions_def_name, list(request.partition_keys)
            )
        return [
            self.run(
                request.job_name,
                {**request.tags, "dagster/run_key": request.run_key},
                request.run_config,
            )
            for request in tick.run_requests
        ]

    @property
    def products(self) -> list[tuple[Any, ...]]:
        return query(self.data, PRODUCTS)

    @property
    def registered(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions("product_files"))

    def materialized(self, asset: str) -> set[str]:
        """Return the partitions that are materialized."""
        return self.instance.get_materialized_partitions(dg.AssetKey(asset))

    def materialization(self, asset: str, partition: str | None = None) -> dg.AssetMaterialization:
        """Return the latest materialization."""
        which = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(asset), asset_partitions=[partition] if partition else None
        )
        (record,) = self.instance.fetch_materializations(which, limit=1).records
        assert record.asset_materialization
        return record.asset_materialization

    def metadata(self, asset: str, partition: str | None = None) -> dict[str, Any]:
        found = self.materialization(asset, partition).metadata
        return {
            name: value if isinstance(value, dg.TableMetadataValue) else value.value
            for name, value in found.items()
        }

    def checks(self, run_id: str) -> dict[str, bool]:
        """Return whether each check of a run passed."""
        found = [
            entry.dagster_event.asset_check_evaluation_data
            for entry in self.instance.all_logs(run_id)
            if entry.is_dagster_event
            and entry.dagster_event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ]
        assert len({check.check_name for check in found}) == len(found)
        return {check.check_name: check.passed for check in found}

    def error(self, run: dg.ExecuteInProcessResult) -> str:
        """Return the error of the failed step of a run."""
        (failure,) = [event for event in run.all_events if event.is_step_failure]
        error = failure.step_failure_data.error
        return (error.cause or error).message


@cache
def _reference(home: Path) -> Any:  # noqa: ANN401
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        return instance.get_ref()


@contextmanager
def project_in(folder: Path, home: Path, **settings: object) -> Iterator[Project]:
    """Yield a project in an empty folder, with these settings."""
    (folder / "data" / "inbox").mkdir(parents=True)
    with dg.DagsterInstance.ephemeral() as instance:
        yield project_of(folder / "data", instance, home, **settings)


def project_of(data: Path, instance: dg.DagsterInstance, home: Path, **settings: object) -> Project:
    """Return the project of an existing data folder and instance."""
    with pytest.MonkeyPatch.context() as environment, warnings.catch_warnings():
        # definitions.py ignores this at its import, which pytest undoes.
        warnings.filterwarnings("ignore", "Parameter `owners`", dg.BetaWarning)
        defaults = {"data_dir": data, "inbox_stable_seconds": 0, "threads": 2}
        for name, value in (defaults | settings).items():
            if value is not None:
                environment.setenv(f"LFP_{name.upper()}", str(value))
        engine = Engine(load_settings())
        repository = definitions().get_repository_def()
    return Project(data, instance, engine, repository, home)


def query(data: Path, sql: str) -> list[tuple[Any, ...]]:
    """Query the tables of a data folder."""
    settings = Settings(data_dir=data, catalog=known_catalog(data))
    with warehouse_of(settings).read_session() as connection:
        return connection.execute(sql).fetchall()


def drop(inbox: Path, name: str, content: bytes | str, microseconds: int = 1_000_000) -> None:
    """Put a file into the inbox as a careful program does: complete, by a rename."""
    raw = content.encode() if isinstance(content, str) else content
    target = inbox / name
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}")
    unfinished.write_bytes(raw)
    os.utime(unfinished, ns=(microseconds * 1000,) * 2)
    unfinished.replace(target)
