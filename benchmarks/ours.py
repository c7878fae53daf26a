"""What lfp_pipeline is asked to do while it is measured.

All calls into the project are in the first part: a change of its interface is followed there.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from lfp_pipeline.engine import Engine
from lfp_pipeline.ingested import Ingested
from lfp_pipeline.landing.delivery import Delivery
from lfp_pipeline.sensors.file_drop import build_file_drop_sensor
from lfp_pipeline.settings import Settings
from lfp_pipeline.warehouse.account import Account, Status

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
    """What became of one file.

    Attributes:
        account: its rows by fate.
        seconds_reading: until the merge began. A direct load writes the rows meanwhile.
    """

    account: Account
    seconds_reading: float

    def phases(self, seconds: float) -> dict[str, float]:
        """Where the seconds from the landed file to the commit went."""
        return {"reading": self.seconds_reading, "merging": seconds - self.seconds_reading}


class Project:
    """The project with one data folder."""

    def __init__(self, data: Path) -> None:
        self.engine = Engine(Settings(data_dir=data))
        self.cursor: str | None = None

    @property
    def database(self) -> Path:
        """The file with the tables."""
        return self.engine.settings.database_path

    @property
    def inbox(self) -> Path:
        """Where files are dropped."""
        return self.engine.settings.inbox_dir

    @property
    def quiet_seconds(self) -> float:
        """How long a file must have been left alone before it is taken."""
        return self.engine.settings.inbox_quiet_seconds

    @property
    def published(self) -> Path:
        """The file that readers open."""
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
        """How many deliveries came to an end."""
        return sum(1 for _ in self.engine.settings.raw_dir.glob("*/*.outcome"))

    def land(self, file: Path) -> Delivery:
        """Bring a file into the raw zone."""
        return self.engine.land(self.engine.source_at(str(file)), "sample.csv", _LOG)

    def ingest(self, delivery: Delivery) -> Done:
        """Read and merge a landed file."""
        return _done(self.engine.ingest(delivery, _LOG))

    def ingest_inbox(self) -> list[Done]:
        """Take in all that is pending in the inbox."""
        pending = self.engine.pending_inbox(_LOG).ready
        outcomes = self.engine.ingest_all(pending, [], _LOG)
        return [_done(one) for one in outcomes if isinstance(one, Ingested)]


def _done(ingested: Ingested) -> Done:
    if ingested.account.status is not Status.MERGED:
        msg = f"not merged: {ingested.account.error}"
        raise RuntimeError(msg)
    return Done(ingested.account, ingested.reading.seconds if ingested.reading else 0.0)


@cache
def source_fingerprint() -> str:
    """A digest of the project's source: what was prepared with another one is made anew."""
    digest = hashlib.sha256(duckdb.__version__.encode())
    for file in sorted(Path(lfp_pipeline.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


# The works


def first_and_again(sample: Sample, right: Answer, meter: Meter, folder: Path) -> None:
    """A landed file into an empty warehouse; then a newer delivery of the same."""
    project = Project(folder)
    _ingest(project, sample, meter, "first")
    _compare(project.database, meter.steps[-1], right)
    os.utime(sample.path)
    _ingest(project, sample, meter, "again")
    _compare(project.database, meter.steps[-1], right)


def rewritten(sample: Sample, right: Answer, meter: Meter, folder: Path) -> None:
    """A landed file that repeats what is there, but for one new row: other bytes, to be read."""
    project = Project(folder)
    project.ingest(project.land(sample.path))
    longer = folder / "longer.csv"
    shutil.copy(sample.path, longer)
    with longer.open("ab") as file:
        file.write(b"One More Name,one-more-sku,\r\n")
    os.sync()
    _ingest(project, replace(sample, path=longer), meter, "again")
    grown = Answer(right.rows + 1, right.skus + 1, right.names + 1)
    _compare(project.database, meter.steps[-1], grown)


def one_file(sample: Sample, right: Answer, meter: Meter, folder: Path) -> None:
    """A landed file, packed or dirty, into an empty warehouse."""
    project = Project(folder)
    done = _ingest(project, sample, meter, "first")
    step = meter.steps[-1]
    _compare(project.database, step, right)
    if done.account.rows_rejected != sample.rejects:
        step.wrong = f"{done.account.rows_rejected:,} rejects instead of {sample.rejects:,}"


def published(sample: Sample, right: Answer, meter: Meter, folder: Path) -> None:
    """A landed file into an empty warehouse, and its tables published for readers."""
    project = Project(folder)
    _ingest(project, sample, meter, "ingest")
    with meter.timed("publish") as step:
        project.publish()
    step.disk_bytes = stored_bytes(project.published)
    _compare(project.published, step, right)


def prepare_big(sample: Sample, data: Path, meter: Meter, folder: Path) -> None:
    """A data folder that holds one large file already, without its raw zone."""
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
    """A landed small file onto a warehouse that holds a large one, and its tables published."""
    for file in big.iterdir():
        shutil.copy(file, folder)
    os.utime(delta.path)  # Or it might be older than the large one.
    os.sync()  # Or the disk would still be writing the copy.
    project = Project(folder)
    warm(project.database)
    done = _ingest(project, delta, meter, "delta")
    fates = (done.account.rows_updated, done.account.rows_inserted)
    right = (delta.skus - delta.new, delta.new)
    step = meter.steps[-1]
    with _tables(project.database) as connection:
        taken = connection.execute(_TAKEN, {"path": str(delta.path)}).fetchall()[0][0]
        miscounted = connection.execute(_RECOUNT).fetchall()[0][0]
    told = []
    if fates != right:
        told.append(f"(updated, inserted) = {fates} instead of {right}")
    if taken != delta.skus:
        told.append(f"{taken:,} rows taken instead of {delta.skus:,}")
    if miscounted:
        told.append(f"{miscounted:,} wrong counts")
    step.wrong = ", ".join(told)
    with meter.timed("publish"):
        project.publish()


def inbox(files: Sequence[Path], right: Answer, meter: Meter, folder: Path) -> None:
    """Files in the inbox, as far as two at once, from the listing to the last commit."""
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
    publish_share: float = 0.1,
) -> None:
    """The same with `dagster job execute -j ingest_inbox`, from the command to its end."""
    own, data = folder / "instance", folder / "data"
    shutil.copytree(instance, own)
    project = Project(data)
    _drop(project, files)
    with meter.timed("job") as step:
        settings = {"LFP_DATA_DIR": str(data), "LFP_PUBLISH_SHARE": str(publish_share)}
        execute_job(own, "lfp_pipeline.definitions", "ingest_inbox", settings)
    step.disk_bytes = stored_bytes(project.database)
    _compare(project.database, step, right)


def inbox_burst(
    instance: Path, files: Sequence[Path], right: Answer, meter: Meter, folder: Path
) -> None:
    """Files dropped at once into the inbox that `make dev` watches, until the last is in."""
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
    """What it costs to look after a data folder with nothing new, and with one small file more."""
    own = folder / "instance"
    shutil.copytree(instance, own)
    project = Project(data)
    settings = {"LFP_DATA_DIR": str(data)}
    tune_garbage_collection()  # As the code server does, which evaluates the sensors.
    project.tick()  # Whatever is kept from one tick to the next is there now.
    with meter.timed("tick"):
        project.tick()
    for job in ("status", "ingest_inbox"):
        with meter.timed(job):
            execute_job(own, "lfp_pipeline.definitions", job, settings)
    file = one_more(project.inbox)
    time.sleep(project.quiet_seconds + 1)
    with meter.timed("ingest_inbox, one file more") as step:
        execute_job(own, "lfp_pipeline.definitions", "ingest_inbox", settings)
    step.wrong = "" if not project.engine.pending_inbox(_LOG).ready else f"{file} is not in"


def one_version_more(data: Path, meter: Meter, folder: Path) -> None:
    """A new version of a file that had many, from its landing until it is known to be in."""
    project = Project(data)
    engine = project.engine
    source = engine.source_at(str(one_more(folder)))
    engine.backlog([FEED], _LOG)
    with meter.timed("land, ingest, look") as step:
        engine.raw_zone.land(source, FEED, _LOG, polled=True)
        for delivery in engine.backlog([FEED], _LOG).unfinished:
            project.ingest(delivery)
        left = engine.is_unended(FEED)
    step.wrong = "it is not in" if left else ""


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
    time.sleep(project.quiet_seconds + 1)  # Before that, they count as still being written.


def _compare(database: Path, step: Step, right: Answer) -> None:
    with _tables(database) as connection:
        answer = answer_in(connection, "tables.products", "tables.name_counts")
    step.wrong = right.differences(answer)


def _tables(database: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"ATTACH '{database}' AS tables (READ_ONLY)")
    return connection
