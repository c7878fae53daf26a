"""The works of lfp_pipeline that are measured.

All calls into the project are in the first part: a change of its interface is followed there.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import dagster as dg
import duckdb

import lfp_pipeline
from benchmarks.aged_folder import FEED, one_more
from benchmarks.answers import Answer, answer_in
from benchmarks.dagster_command import dagster_dev, execute_job
from benchmarks.measure import Meter, Step, stored_bytes, warm
from benchmarks.samples import Sample
from lfp_pipeline.definitions import tune_garbage_collection
from lfp_pipeline.defs.sensors.inbox_sensor import build_file_drop_sensor
from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.delivery import Delivery
from lfp_pipeline.model.ledger_entry import LedgerEntry, Status
from lfp_pipeline.settings import Settings

_LOG = logging.getLogger("benchmarks")

_LOOK_SECONDS = 0.5

_RECOUNT = """
SELECT count(*) FROM (
    (SELECT name, no_of_products FROM tables.name_counts
        EXCEPT SELECT name, count(*) FROM tables.products GROUP BY name)
    UNION ALL
    (SELECT name, count(*) FROM tables.products GROUP BY name
        EXCEPT SELECT name, no_of_products FROM tables.name_counts)
)
"""

_TAKEN = """
SELECT count(*) FROM tables.products AS products
JOIN read_csv($path, header = true, all_varchar = true) AS delta USING (sku)
WHERE products.name = delta.name AND products.description = delta.description
"""


@dataclass(frozen=True)
class Done:
    """The result of one file.

    Attributes:
        account: its rows by fate.
        seconds_reading: until the merge began. A direct load writes the rows meanwhile.
    """

    account: LedgerEntry
    seconds_reading: float

    def phases(self, seconds: float) -> dict[str, float]:
        """Return the seconds from the landed file to the commit, by phase."""
        return {"reading": self.seconds_reading, "merging": seconds - self.seconds_reading}


class Project:
    """The project with one data folder."""

    def __init__(self, data: Path) -> None:
        self.engine = Engine(Settings(data_dir=data))
        self.cursor: str | None = None

    @property
    def database(self) -> Path:
        """The database."""
        return self.engine.settings.database_path

    @property
    def inbox(self) -> Path:
        """The folder in which files are dropped."""
        return self.engine.settings.inbox_dir

    @property
    def stable_seconds(self) -> float:
        """Seconds for which a file must be unchanged before it is ingested."""
        return self.engine.catalog.complete_after_seconds

    @property
    def published(self) -> Path:
        """The published copy."""
        return self.engine.settings.published_path

    def publish(self) -> None:
        """Publish the tables as they are."""
        self.engine.published.publish(_LOG)

    def tick(self) -> None:
        """Evaluate the sensor that watches the inbox."""
        sensor = build_file_drop_sensor(self.engine.settings.sensor_interval_seconds)
        with dg.build_sensor_context(
            dg.DagsterInstance.ephemeral(), self.cursor, resources={"engine": self.engine}
        ) as context:
            self.cursor = sensor.evaluate_tick(context).cursor

    def files_ended(self) -> int:
        """Return the number of status notes."""
        return sum(1 for _ in self.engine.settings.raw_dir.glob("*/*.outcome"))

    def land(self, file: Path) -> Delivery:
        """Copy a file into the raw zone."""
        return self.engine.land(self.engine.catalog.source_at(str(file)), "sample.csv", _LOG)

    def ingest(self, delivery: Delivery) -> Done:
        """Read and merge a landed file."""
        return _done(self.engine.ingest(delivery, _LOG))

    def ingest_inbox(self) -> list[Done]:
        """Ingest all that is pending in the inbox."""
        pending = self.engine.pending_inbox(_LOG).ready
        outcomes = self.engine.ingest_all(pending, [], _LOG)
        return [_done(result) for result in outcomes if isinstance(result, IngestResult)]


def _done(ingested: IngestResult) -> Done:
    if ingested.account.status is not Status.MERGED:
        msg = f"not merged: {ingested.account.error}"
        raise RuntimeError(msg)
    return Done(ingested.account, ingested.reading.seconds if ingested.reading else 0.0)


@cache
def source_fingerprint() -> str:
    """Return a digest of the project's source; folders prepared with another one are not used."""
    digest = hashlib.sha256(duckdb.__version__.encode())
    for file in sorted(Path(lfp_pipeline.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


# Works


def first_and_again(sample: Sample, right: Answer, meter: Meter, folder: Path) -> None:
    """Merge a landed file into an empty warehouse; then a newer delivery of the same bytes."""
    project = Project(folder)
    _ingest(project, sample, meter, "first")
    _compare(project.database, meter.steps[-1], right)
    os.utime(sample.path)
    _ingest(project, sample, meter, "again")
    _compare(project.database, meter.steps[-1], right)


def next_day(base: Sample, file: Sample, right: Answer, meter: Meter, folder: Path) -> None:
    """Merge a landed file that mostly repeats the file of the day before, which is merged."""
    project = Project(folder)
    project.ingest(project.land(base.path))
    os.utime(file.path)  # So that it is newer.
    os.sync()
    _ingest(project, file, meter, "next day")
    _compare(project.database, meter.steps[-1], right)


def one_file(sample: Sample, right: Answer, meter: Meter, folder: Path) -> None:
    """Merge a landed file, packed or dirty, into an empty warehouse."""
    project = Project(folder)
    done = _ingest(project, sample, meter, "first")
    step = meter.steps[-1]
    _compare(project.database, step, right)
    if done.account.rows.rejected != sample.rejects:
        step.wrong = f"{done.account.rows.rejected:,} rejects instead of {sample.rejects:,}"


def published(sample: Sample, right: Answer, meter: Meter, folder: Path) -> None:
    """Merge a landed file into an empty warehouse, and publish the tables."""
    project = Project(folder)
    _ingest(project, sample, meter, "ingest")
    with meter.timed("publish") as step:
        project.publish()
    step.disk_bytes = stored_bytes(project.published)
    _compare(project.published, step, right)


def prepare_big(sample: Sample, data: Path, meter: Meter, folder: Path) -> None:
    """Prepare a data folder with one large merged file, without its raw zone."""
    project = Project(folder)
    with meter.timed("prepare"):
        project.ingest(project.land(sample.path))
    unfinished = data.with_name(f"unfinished-{data.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for file in project.database.parent.glob(f"{project.database.name}*"):
        shutil.copy(file, unfinished)
    unfinished.replace(data)


def delta_onto_big(delta: Sample, big: Path, meter: Meter, folder: Path) -> None:
    """Merge a landed small file into a warehouse with a large one, and publish the tables."""
    for file in big.iterdir():
        shutil.copy(file, folder)
    os.utime(delta.path)  # So that the file is newer than the large one.
    os.sync()  # So that the disk does not still write the copy.
    project = Project(folder)
    warm(project.database)
    done = _ingest(project, delta, meter, "delta")
    counts = (done.account.rows.updated, done.account.rows.inserted)
    right = (delta.skus - delta.new, delta.new)
    step = meter.steps[-1]
    with _tables(project.database) as connection:
        taken = connection.execute(_TAKEN, {"path": str(delta.path)}).fetchall()[0][0]
        miscounted = connection.execute(_RECOUNT).fetchall()[0][0]
    wrong = []
    if counts != right:
        wrong.append(f"(updated, inserted) = {counts} instead of {right}")
    if taken != delta.skus:
        wrong.append(f"{taken:,} rows taken instead of {delta.skus:,}")
    if miscounted:
        wrong.append(f"{miscounted:,} wrong counts")
    step.wrong = ", ".join(wrong)
    with meter.timed("publish"):
        project.publish()


def inbox(files: Sequence[Path], right: Answer, meter: Meter, folder: Path) -> None:
    """Ingest files in the inbox, up to two at once, from the listing to the last commit."""
    project = Project(folder)
    _drop(project, files)
    with meter.timed("inbox") as step:
        done = project.ingest_inbox()
    step.notes["files"] = len(done)
    step.disk_bytes = stored_bytes(project.database)
    _compare(project.database, step, right)


def inbox_job(
    instance: Path,
    files: Sequence[Path],
    right: Answer,
    meter: Meter,
    folder: Path,
    publish_time_share: float = 0.1,
) -> None:
    """Ingest the inbox with `dagster job execute -j ingest_inbox`, from its start to its end."""
    own, data = folder / "instance", folder / "data"
    shutil.copytree(instance, own)
    project = Project(data)
    _drop(project, files)
    with meter.timed("job") as step:
        settings = {"LFP_DATA_DIR": str(data), "LFP_PUBLISH_TIME_SHARE": str(publish_time_share)}
        execute_job(own, "lfp_pipeline.definitions", "ingest_inbox", settings)
    step.disk_bytes = stored_bytes(project.database)
    _compare(project.database, step, right)


def inbox_burst(
    instance: Path, files: Sequence[Path], right: Answer, meter: Meter, folder: Path
) -> None:
    """Drop files together into the inbox that `make dev` watches, until the last is merged."""
    own, data, outside = folder / "instance", folder / "data", folder / "outside"
    shutil.copytree(instance, own)
    project = Project(data)
    project.inbox.mkdir(parents=True)
    outside.mkdir()
    for file in files:
        shutil.copy2(file, outside)
    os.sync()
    with dagster_dev(own, {"LFP_DATA_DIR": str(data)}):
        with meter.timed("burst") as step:
            for file in outside.iterdir():
                file.rename(project.inbox / file.name)
            while project.files_ended() < len(files):
                time.sleep(_LOOK_SECONDS)
        _compare(project.database, step, right)


def housekeeping(instance: Path, data: Path, meter: Meter, folder: Path) -> None:
    """Measure ticks and runs in a data folder with nothing new, and with one more small file."""
    own = folder / "instance"
    shutil.copytree(instance, own)
    project = Project(data)
    settings = {"LFP_DATA_DIR": str(data)}
    tune_garbage_collection()  # As in the code server, which evaluates the sensors.
    project.tick()  # The first tick fills caches.
    with meter.timed("tick"):
        project.tick()
    for job in ("status", "ingest_inbox"):
        with meter.timed(job):
            execute_job(own, "lfp_pipeline.definitions", job, settings)
    file = one_more(project.inbox)
    time.sleep(project.stable_seconds + 1)
    with meter.timed("ingest_inbox, one file more") as step:
        execute_job(own, "lfp_pipeline.definitions", "ingest_inbox", settings)
    step.wrong = "" if not project.engine.pending_inbox(_LOG).ready else f"{file} is not in"


def one_version_more(data: Path, meter: Meter, folder: Path) -> None:
    """Land and merge a new version of a file that had many, and check that it is merged."""
    project = Project(data)
    engine = project.engine
    source = engine.catalog.source_at(str(one_more(folder)))
    engine.backlog.of([FEED], _LOG)
    with meter.timed("land, ingest, look") as step:
        engine.raw_zone.land(source, FEED, _LOG, polled=True)
        for delivery in engine.backlog.of([FEED], _LOG).pending:
            project.ingest(delivery)
        is_pending = engine.backlog.has_pending(FEED)
    step.wrong = "the version is not merged" if is_pending else ""


def _ingest(project: Project, sample: Sample, meter: Meter, name: str) -> Done:
    warm(sample.path)
    landing = Meter()
    with landing.timed("landing"):
        delivery = project.land(sample.path)
    with meter.timed(name) as step:
        done = project.ingest(delivery)
    step.phases = done.phases(step.seconds)
    step.notes["landing"] = landing.steps[0].seconds
    step.disk_bytes = stored_bytes(project.database)
    return done


def _drop(project: Project, files: Sequence[Path]) -> None:
    project.inbox.mkdir(parents=True)
    for file in files:
        shutil.copy2(file, project.inbox)
    os.sync()
    time.sleep(project.stable_seconds + 1)  # Before that, the files count as still being written.


def _compare(database: Path, step: Step, right: Answer) -> None:
    with _tables(database) as connection:
        answer = answer_in(connection, "tables.products", "tables.name_counts")
        ((miscounted,),) = connection.execute(_RECOUNT).fetchall()
    step.wrong = right.differences(answer) + f" {miscounted:,} wrong counts" * bool(miscounted)


def _tables(database: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"ATTACH '{database}' AS tables (READ_ONLY)")
    return connection
