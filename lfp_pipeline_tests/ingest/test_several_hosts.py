"""Several hosts that share a catalog, and the raw zone and the inbox in buckets, ingest as one."""

import io
import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfp_pipeline.cli.ingest_targets import find_targets
from lfp_pipeline.defs.sensors.inbox_watch import InboxWatch
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import BucketUnreachableError, OperationRefusedError
from lfp_pipeline.hosts import bucket as bucket_module
from lfp_pipeline.hosts import notes
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.hosts.postgres import connect
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.model.partition_key import partition_key
from lfp_pipeline.operations.find_delivery import find_partition
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify
from lfp_pipeline.raw_zone.catalog_sidecars import create_raw_tables
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.feed_state import FeedStateStore
from lfp_pipeline.warehouse.duckdb_file import Warehouse
from lfp_pipeline.warehouse.lake_setup import create_lake_tables
from testing.engine import LOG, TABLES, engine_at, tables
from testing.s3_server import S3Server

FILES = {
    "a.csv": b"name,sku,description\nLamp,s1,x\nSofa,s2,y\n",
    "shop 1/b.csv": b"name,sku,description\nDesk,s2,z\nBed,s3,\n",
    "shop 2/b.csv": b"name,sku,description\nLamp,s3,z\n",
}


class Cluster:
    """Hosts with data folders of their own, and for all one lake, or one database in a file."""

    def __init__(self, folder: Path, catalog: SecretStr, place: str, *, has_lake: bool) -> None:
        from lfp_pipeline.hosts import heartbeats  # noqa: PLC0415 (needs psycopg)

        with connect(catalog, "test") as connection:
            for create in (
                create_raw_tables,
                heartbeats.create_tables,
                notes.create_tables,
            ):
                create(connection)
        self.folder, self.catalog, self.place = folder, catalog, place
        self.has_lake = has_lake
        self.inbox = Bucket(f"{place}/inbox", "LFP_INBOX")
        (folder / "warehouse").mkdir()
        if has_lake:
            with connect(catalog, "test") as connection:
                create_lake_tables(self.settings("head"), connection)

    def settings(self, host: str) -> Settings:
        return Settings(
            data_dir=self.folder / host,
            catalog=self.catalog,
            lake=f"{self.place}/lake",
            raw=f"{self.place}/raw",
            inbox=f"{self.place}/inbox",
            max_reject_share=1,
        )

    def engine(self, host: str) -> Engine:
        settings, shared = self.settings(host), Settings(data_dir=self.folder / "warehouse")
        settings.data_dir.mkdir(exist_ok=True)
        if self.has_lake:
            return Engine(settings)
        if not settings.database_path.is_symlink():  # Workspaces may open what it points to.
            settings.database_path.symlink_to(shared.database_path)
        return Engine(settings, Warehouse.of(shared))

    def drop(self, name: str, content: bytes) -> None:
        self.inbox.put(io.BytesIO(content), name, len(content), "0" * 64, replace=True)


@pytest.fixture(params=["file", pytest.param("lake", marks=pytest.mark.slow)])
def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, catalog_url: SecretStr, bucket_place: str
) -> Cluster:
    if request.param == "lake":
        pytest.importorskip("duckdb_extension_ducklake")
    return Cluster(tmp_path, catalog_url, bucket_place, has_lake=request.param == "lake")


def ingest(engine: Engine) -> list[Status]:
    files = engine.pending_inbox(LOG).ready
    deliveries = engine.pending_deliveries(LOG, offered=files)
    return [result.account.status for result in engine.ingest_all(files, deliveries, LOG)]  # type: ignore[union-attr]


def test_hosts_ingest_a_bucket_as_one_machine_ingests_a_folder(
    cluster: Cluster, tmp_path: Path
) -> None:
    alone = engine_at(tmp_path / "alone")
    for name, content in FILES.items():
        cluster.drop(name, content)
        (alone.settings.inbox_dir / name).parent.mkdir(exist_ok=True)
        (alone.settings.inbox_dir / name).write_bytes(content)
    first, second = cluster.engine("first"), cluster.engine("second")
    assert ingest(first) == [Status.MERGED] * 3
    assert ingest(second) == []
    assert ingest(alone) == [Status.MERGED] * 3
    without_times = slice(0, 3)
    products = sorted(row[without_times] for row in tables(first)["products"])
    assert products == sorted(row[without_times] for row in tables(alone)["products"])
    assert verify(second, LOG, full=True).problems == ()


def test_two_hosts_that_ingest_at_once_make_one_delivery_of_each_file(cluster: Cluster) -> None:
    for number in range(6):
        cluster.drop(f"{number}.csv", f"name,sku,description\nLamp,s{number},x\n".encode())
    engines = [cluster.engine(host) for host in ("first", "second", "third")]
    threads = [threading.Thread(target=ingest, args=[engine]) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        assert len(engine.raw_zone.all_deliveries()) == 6
        assert engine.raw_zone.index.differences() == []
        assert ingest(engine) == []
    objects = [found.name for found in Bucket(f"{cluster.place}/raw", "LFP_RAW").objects()]
    assert sum(name.endswith(".raw") for name in objects) == len(objects) / 2 == 6
    assert verify(engines[0], LOG, full=True).problems == ()


def test_what_an_operator_does_on_one_host_holds_on_the_others(cluster: Cluster) -> None:
    first, second = cluster.engine("first"), cluster.engine("second")
    cluster.drop("a.csv", FILES["a.csv"])
    ingest(first)
    cluster.drop("b.csv", b"name,sku,description\nDesk,s2,z\nBed,s3,\n")
    ingest(second)
    (a,), (b,) = first.raw_zone.deliveries("a.csv"), first.raw_zone.deliveries("b.csv")
    before = tables(first)
    revert_delivery(second, b.delivery_id, LOG)
    assert first.raw_zone.desired.is_reverted(b.raw_name)
    assert ingest(first) == []
    assert [row[:2] for row in tables(first)["products"]] == [("s1", "Lamp"), ("s2", "Sofa")]
    reinstate_delivery(first, b.delivery_id, LOG)
    assert tables(second) == before
    prune_raw(first, 0, LOG, include_needed=True)
    assert not second.raw_zone.keeps(a.delivery_id)
    cluster.drop("a.csv", FILES["a.csv"])
    cluster.drop("b.csv", b"name,sku,description\nDesk,s2,z\nBed,s3,\n")
    ingest(second)
    rebuild_products(second, LOG, allow_data_loss=True)
    assert [row[:3] for row in tables(first)["products"]] == [row[:3] for row in before["products"]]
    assert verify(first, LOG, full=True).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_with_a_server_that_has_faults_each_file_is_merged_exactly_once(
    cluster: Cluster, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(bucket_module, "_PAUSE_SECONDS", 0.01)
    for number in range(20):
        cluster.drop(f"{number}.csv", f"name,sku,description\nLamp,s{number},x\n".encode())
    chance = random.Random(seed)
    faults = ("500", "503", "slow", "truncated", "lost")
    s3_server.fault = lambda _: chance.choice(faults) if chance.random() < 0.3 else None
    engines = [cluster.engine(host) for host in ("first", "second")]
    for attempt in range(40):
        with suppress(BucketUnreachableError):  # The inbox could not be listed.
            if not ingest(engines[attempt % 2]):
                break
    s3_server.fault = lambda _: None
    assert ingest(engines[0]) == ingest(engines[1]) == []
    assert len(tables(engines[0])["products"]) == 20
    assert len(engines[1].raw_zone.all_deliveries()) == 20
    assert verify(engines[0], LOG, full=True).problems == ()


def test_the_database_follows_a_marker_whose_process_died(cluster: Cluster) -> None:
    first, second = cluster.engine("first"), cluster.engine("second")
    cluster.drop("a.csv", FILES["a.csv"])
    ingest(first)
    (delivery,) = first.raw_zone.deliveries("a.csv")
    first.raw_zone.desired.mark_reverted(delivery.raw_name)  # Then its host was lost.
    assert second.backlog.has_pending("a.csv")
    assert ingest(second) == [Status.REVERTED]
    assert tables(second)["products"] == []
    assert not first.backlog.has_pending("a.csv")


def test_hosts_agree_on_the_state_of_a_feed(cluster: Cluster) -> None:
    def store(host: str) -> FeedStateStore:
        settings = cluster.settings(host)
        return FeedStateStore(settings.feeds_dir, "shop", settings.catalog)

    head, worker = store("head"), store("worker")
    head.save_poll(head.polls.started(1.0, "place").finished(updated=True))
    assert worker.has_update
    assert worker.polls == head.polls
    worker.save_read(worker.polls.updates)
    assert not head.has_update
    assert not (cluster.folder / "head").exists()


def test_a_file_in_the_bucket_is_named_as_in_a_folder(cluster: Cluster) -> None:
    engine = cluster.engine("first")
    for name, content in FILES.items():
        cluster.drop(name, content)

    def names(*texts: str) -> list[str]:
        return [target.name for target in find_targets(engine, texts, None, LOG)]

    place = f"{cluster.place}/inbox"
    assert names("a.csv", f"{place}/a.csv") == ["a.csv"]
    assert names("shop 1", f"{place}/shop 2/") == ["shop 1/b.csv", "shop 2/b.csv"]
    with pytest.raises(OperationRefusedError, match=r"no file no\.csv"):
        names("no.csv")
    ingest(engine)
    key = engine.raw_zone.deliveries(partition_key("shop 1/b.csv"))[0].partition_key
    assert find_partition(engine, "shop 1/b.csv") == key
    assert find_partition(engine, f"{place}/shop 1/b.csv") == key


def test_the_sensor_sees_an_object_that_appears(cluster: Cluster) -> None:
    watch = InboxWatch(cluster.engine("first").catalog)
    assert watch.listing.ready == ()
    dropping = threading.Timer(0.3, cluster.drop, ["a.csv", FILES["a.csv"]])
    dropping.start()
    assert watch.wait(time.monotonic() + 20, lambda: False)
    assert [file.name for file in watch.listing.ready] == ["a.csv"]
    dropping.join()


def test_all_tables_are_compared(cluster: Cluster) -> None:
    """Guard the tests above: a table that is not compared proves nothing."""
    assert TABLES.keys() == {"products", "name_counts", "ledger", "rejected_rows"}
    assert cluster.settings("any").raw_place.startswith("s3://")
