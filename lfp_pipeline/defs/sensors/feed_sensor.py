"""The sensor that polls the feeds of the sources file, and requests runs for their updates."""

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import dagster as dg

from lfp_pipeline.common.backoff import is_backing_off
from lfp_pipeline.common.text import visible
from lfp_pipeline.dagster_support.partitions import product_files
from lfp_pipeline.dagster_support.runs import (
    MAX_RETRIES_TAG,
    SENSOR_TAG,
    fail_dead_runs,
    run_key_after,
    started_runs,
)
from lfp_pipeline.defs.jobs import ingest_products
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError, SettingsError
from lfp_pipeline.sources.feeds import Feed

_LOG = logging.getLogger(__name__)

NAME = "feed_sensor"
FEED_TAG = "lfp/feed"

_SIDE_BY_SIDE = 64
_WAIT_SECONDS = 3.0


def build_feed_sensor(interval_seconds: int) -> dg.SensorDefinition:
    """Return the sensor, with its minimum interval."""
    polling = _Polling()

    @dg.sensor(
        name=NAME,
        job=ingest_products,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Polls the sources that have an interval, and ingests their updates.",
    )
    def feed_sensor(
        context: dg.SensorEvaluationContext, engine: dg.ResourceParam[Engine]
    ) -> dg.SensorResult:
        fail_dead_runs(engine, context.instance, context.log)
        try:
            feeds, problems = engine.catalog.feeds()
        except SettingsError as error:  # Shown as a skip reason, without a traceback per tick.
            return dg.SensorResult(skip_reason=visible(str(error)))
        polling.poll([feed for feed in feeds if feed.is_due])
        requests = list(_requests(feeds, engine, context.instance))
        summary = visible(" ".join([_summary(feeds, len(requests)), *problems]))
        if not requests:
            return dg.SensorResult(skip_reason=summary)
        context.log.info(summary)
        keys = [feed.key for feed in feeds]
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=[product_files.build_add_request(keys)],
        )

    return feed_sensor


class _Polling:
    """Polls feeds in parallel; a slow poll continues in the background of the next ticks."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="feed")
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    def poll(self, feeds: Sequence[Feed]) -> None:
        with self._lock:
            due = [feed for feed in feeds if feed.key not in self._under_way]
            self._under_way.update(feed.key for feed in due)
        wait([self._pool.submit(self._poll, feed) for feed in due], timeout=_WAIT_SECONDS)

    def _poll(self, feed: Feed) -> None:
        try:
            feed.poll()
        except LandingError as error:
            _LOG.warning("%s could not be polled: %s", feed.key, error)
        except Exception:  # noqa: BLE001 (a future would hide it)
            _LOG.exception("%s could not be polled", feed.key)
        finally:
            with self._lock:
                self._under_way.discard(feed.key)


def _requests(
    feeds: Sequence[Feed], engine: Engine, instance: dg.DagsterInstance
) -> Iterator[dg.RunRequest]:
    """Yield a run for each feed with an update that has not landed, or a pending delivery."""
    reversing = engine.backlog.partitions_being_reversed()
    for feed in feeds:
        if feed.key in reversing or not (
            feed.memory.has_update or engine.backlog.has_pending(feed.key)
        ):
            continue
        runs = started_runs(instance, FEED_TAG, feed.key)
        if _is_backing_off(feed, runs):
            continue
        yield dg.RunRequest(
            run_key=run_key_after(feed.key, runs),
            job_name=ingest_products.name,
            partition_key=feed.key,
            run_config={"ops": {"raw_products": {"config": {"named_source": True}}}},
            # This sensor makes the next attempt, whatever the failure.
            tags={SENSOR_TAG: NAME, FEED_TAG: feed.key, MAX_RETRIES_TAG: "0"},
        )


def _is_backing_off(feed: Feed, runs: Sequence[dg.RunRecord]) -> bool:
    """Return whether a feed is being read, or backing off after failed runs."""
    if any(not record.dagster_run.is_finished for record in runs):
        return True
    failures = 0
    for record in runs:
        if record.dagster_run.is_success:
            break
        failures += 1
    return failures > 0 and is_backing_off(runs[0].end_time or 0.0, feed.pause_after(failures))


def _summary(feeds: Sequence[Feed], requested: int) -> str:
    if not feeds:
        return "No source in the sources file has an interval: there is nothing to poll."
    updates = sum(feed.memory.has_update for feed in feeds)
    text = f"{len(feeds)} feeds, {updates} with updates to merge, {requested} to run."
    for feed in feeds:
        if error := feed.memory.polls.error:
            text += f" {feed.key}: {error}"
    return text
