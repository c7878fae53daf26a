"""A raw zone with records, markers and notes in rows, and its bytes in a folder or a bucket."""

import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.errors import CatalogUnreachableError, LandingError, SettingsError
from lfp_pipeline.hosts.catalog import Catalog
from lfp_pipeline.hosts.postgres import connect
from lfp_pipeline.model.delivery import Delivery, RawName
from lfp_pipeline.raw_zone import folder_sidecars
from lfp_pipeline.raw_zone.catalog_sidecars import CatalogSidecars, create_raw_tables
from lfp_pipeline.raw_zone.index_database import memory_index
from lfp_pipeline.raw_zone.pending import pending_deliveries
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG
from testing.postgres import PostgresServer
from testing.processes import finish, start

NAME = RawName("a.csv", "20261127T000000.000000Z-0123456789abcdef")


@pytest.fixture
def url(catalog_url: SecretStr) -> SecretStr:
    with connect(catalog_url, "test") as connection:
        create_raw_tables(connection)
    return catalog_url


@pytest.fixture
def sidecars(url: SecretStr) -> CatalogSidecars:
    return CatalogSidecars(Catalog(url, "test"))


def settings_at(folder: Path, url: SecretStr, raw: str | None = None) -> Settings:
    return Settings(data_dir=folder, catalog=url, raw=raw)


@pytest.fixture(params=["folder", "bucket"])
def settings(request: pytest.FixtureRequest, url: SecretStr, tmp_path: Path) -> Settings:
    raw = None
    if request.param == "bucket":
        raw = request.getfixturevalue("bucket_place")
    return settings_at(tmp_path / "data", url, raw)


@pytest.fixture
def zone(settings: Settings) -> RawZone:
    return RawZone.of(settings)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.csv"
    file.write_text("name,sku,description\nLamp,s1,x\n")
    return file


def land(zone: RawZone, file: Path, key: str = "a.csv") -> Delivery:
    return zone.land(LocalFile(file), key, LOG)


def fresh(sidecars: CatalogSidecars) -> set[tuple[object, ...]]:
    """Return the rows of a new index."""
    with closing(memory_index()) as index:
        sidecars.refresh(index, None)
        return rows_of(index)


def rows_of(index: sqlite3.Connection) -> set[tuple[object, ...]]:
    return set(index.execute("SELECT * FROM deliveries").fetchall())


def test_sidecars_are_written_read_and_removed(sidecars: CatalogSidecars) -> None:
    assert sidecars.read(NAME, "json") is None
    for content in (b"", b"\0\xff", b"new"):
        before = sidecars.now()
        sidecars.write(NAME, "json", content)
        found = sidecars.read(NAME, "json")
        assert found is not None
        assert found.content == content
        assert before <= found.written_at <= sidecars.now()
        assert sidecars.exists(NAME, "json")
    assert not sidecars.exists(NAME, "pruned")
    assert list(sidecars.recorded("a.csv")) == [NAME.stem]
    assert sidecars.partitions() == ["a.csv"]
    sidecars.remove(NAME, "json")
    sidecars.remove(NAME, "json")
    assert sidecars.read(NAME, "json") is None
    assert not sidecars.exists(NAME, "json")
    assert sidecars.partitions() == list(sidecars.recorded("a.csv")) == []


def test_without_the_table_the_command_that_creates_it_is_named(catalog_url: SecretStr) -> None:
    with pytest.raises(SettingsError, match="lfp cluster init"):
        CatalogSidecars(Catalog(catalog_url, "test")).partitions()


def test_a_block_commits_at_its_end_and_excludes_others(
    url: SecretStr, sidecars: CatalogSidecars
) -> None:
    other = CatalogSidecars(Catalog(url, "other"))
    entered = threading.Event()

    def change() -> None:
        with other.changing("a.csv"):
            entered.set()
            assert other.exists(NAME, "json")  # It waited for the commit.

    thread = threading.Thread(target=change)
    with sidecars.changing("a.csv"):
        sidecars.write(NAME, "json", b"{}")
        thread.start()
        assert not entered.wait(0.3)
        assert sidecars.exists(NAME, "json")
        with other.changing("b.csv"):
            assert not other.exists(NAME, "json")
    thread.join()
    assert entered.is_set()
    with suppress(ZeroDivisionError), sidecars.changing("a.csv"):
        sidecars.remove(NAME, "json")
        raise ZeroDivisionError
    assert other.exists(NAME, "json")


def test_an_index_sees_changes_in_whatever_order_they_are_committed(
    url: SecretStr, sidecars: CatalogSidecars, zone: RawZone, file: Path
) -> None:
    kept = memory_index()
    deliveries = [land(zone, file, f"{number}.csv") for number in range(6)]
    sidecars.refresh(kept, None)
    connections = [connect(url, "test") for _ in deliveries]
    for connection in connections:  # They begin in order...
        connection.execute("BEGIN; SELECT pg_current_xact_id()")
    for number in (3, 0, 5, 1, 4, 2):  # ... and end in another one.
        name = deliveries[number].raw_name
        connections[number].execute(
            "INSERT INTO lfp.sidecars VALUES (%s, %s, 'reverted', '', now(), pg_current_xact_id())",
            name,
        )
        sidecars.refresh(kept, None)
        connections[number].execute("ROLLBACK" if number == 1 else "COMMIT")
        connections[number].close()
        sidecars.refresh(kept, None)
        assert rows_of(kept) == fresh(sidecars)
    reverted = kept.execute("SELECT key FROM deliveries WHERE reverted ORDER BY key").fetchall()
    assert reverted == [(f"{number}.csv",) for number in (0, 2, 3, 4, 5)]


def test_an_unchanged_index_is_not_written(sidecars: CatalogSidecars, zone: RawZone, file: Path):
    land(zone, file)
    index = memory_index()
    sidecars.refresh(index, None)
    before = index.execute("SELECT generation FROM contents").fetchall()
    sidecars.refresh(index, None)
    assert index.execute("SELECT generation FROM contents").fetchall() == before


def test_an_index_of_another_table_is_made_again(
    url: SecretStr, sidecars: CatalogSidecars, zone: RawZone, file: Path
) -> None:
    land(zone, file)
    index = memory_index()
    sidecars.refresh(index, None)
    assert rows_of(index)
    with connect(url, "test") as connection:
        connection.execute("DROP TABLE lfp.sidecars")
        create_raw_tables(connection)
    sidecars.refresh(index, None)
    assert rows_of(index) == set()


def test_an_index_of_a_copied_database_is_made_again(
    url: SecretStr, zone: RawZone, file: Path, postgres: PostgresServer
) -> None:
    """Both go on from the same snapshot, with transactions of the same numbers."""
    name = url.get_secret_value().rpartition("/")[2]
    with connect(SecretStr(postgres.url()), "test") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
    copy = CatalogSidecars(Catalog(SecretStr(postgres.create_database(name)), "test"))
    land(zone, file)
    index = memory_index()
    CatalogSidecars(Catalog(url, "test")).refresh(index, None)
    assert rows_of(index)
    copy.refresh(index, None)
    assert rows_of(index) == set()


def test_rows_of_transactions_yet_to_come_are_changed_now(
    url: SecretStr, sidecars: CatalogSidecars, zone: RawZone, file: Path
) -> None:
    land(zone, file)
    with connect(url, "test") as connection:
        # As `pg_restore` does, which creates triggers after the rows.
        connection.execute("ALTER TABLE lfp.sidecars DISABLE TRIGGER ALL")
        connection.execute("UPDATE lfp.sidecars SET changed_in = '9999999999'")
        connection.execute("ALTER TABLE lfp.sidecars ENABLE TRIGGER ALL")
        create_raw_tables(connection)  # As after a restore into another server.
        ahead = "SELECT count(*) FROM lfp.sidecars WHERE changed_in > pg_current_xact_id()"
        assert connection.execute(ahead).fetchall() == [(0,)]
    assert len(fresh(sidecars)) == 1


def test_rows_that_are_changed_by_hand_count_in_all_indexes(
    url: SecretStr, sidecars: CatalogSidecars, zone: RawZone, file: Path
) -> None:
    first, second = (land(zone, file, key) for key in ("1.csv", "2.csv"))
    index = memory_index()
    sidecars.refresh(index, None)
    for statement in (
        "DELETE FROM lfp.sidecars WHERE partition_key = '1.csv'",
        "UPDATE lfp.sidecars SET content = '{', changed_in = '3' WHERE partition_key = '2.csv'",
        """
        INSERT INTO lfp.sidecars SELECT '3.csv', stem, suffix, content, now(), '3'
        FROM lfp.sidecars WHERE partition_key = '2.csv'
        """,
        "DELETE FROM lfp.sidecars",
    ):
        with connect(url, "test") as connection:
            connection.execute(statement)
        sidecars.refresh(index, None)
        assert rows_of(index) == fresh(sidecars)
        assert not sidecars.exists(first.raw_name, "json")
    assert sidecars.partitions() == []
    assert not sidecars.exists(second.raw_name, "json")
    assert land(zone, file, "1.csv").delivery_id == first.delivery_id
    assert sidecars.partitions() == ["1.csv"]


def test_the_raw_zone_works_as_in_files(zone: RawZone, settings: Settings, file: Path) -> None:
    first = land(zone, file)
    assert land(zone, file) == first
    assert zone.deliveries("a.csv") == zone.all_deliveries() == [first]
    assert zone.survey() == ([first], [])
    assert zone.find(first.delivery_id) == zone.newest("a.csv") == first
    with zone.verified(first) as path:
        assert path.read_bytes() == file.read_bytes()
    file.write_text("name,sku,description\nSofa,s2,x\n")
    second = land(zone, file)
    assert pending_deliveries(zone, "db", LOG) == [first, second]
    zone.notes.write(first.raw_name, "merged", "db")
    zone.desired.mark_reverted(second.raw_name)
    zone.notes.write(second.raw_name, "reverted", "db")
    assert pending_deliveries(zone, "db", LOG) == []
    zone.desired.clear_reverted(second.raw_name)
    assert pending_deliveries(RawZone.of(settings), "db", LOG) == [second]
    zone.desired.prune(first.raw_name, needed=True)
    assert not zone.keeps(first.delivery_id)
    assert zone.desired.pruned_while_needed(first.raw_name)
    assert zone.store.size(first.raw_name) is None
    assert zone.index.differences() == []


def test_all_is_read_at_once_as_it_is_now(zone: RawZone, file: Path) -> None:
    deliveries = [land(zone, file, f"{number}.csv") for number in range(3)]
    first, second, third = (delivery.raw_name for delivery in deliveries)
    zone.notes.write(first, "merged", "db")
    zone.desired.mark_reverted(second)
    zone.desired.mark_reverted(third)
    zone.desired.clear_reverted(third)
    zone.desired.prune(third, needed=False)
    now = zone.as_of_now()
    zone.desired.clear_reverted(second)  # Comes too late.
    assert now.survey() == zone.survey() == (deliveries, [])
    assert now.notes.status_in(first, "db") == "merged"
    states = [now.desired.state_of(delivery, None) for delivery in deliveries]
    assert [(state.desired, state.bytes_kept) for state in states] == [
        ("merged", True),
        ("reverted", True),
        ("merged", False),
    ]
    names = [delivery.raw_name for delivery in deliveries]
    assert now.store.missing(names) == [third]
    assert now.as_of_now().all_deliveries() == deliveries
    assert now.has_duplicate(deliveries[0]) is False
    now.notes.delete(first)
    assert zone.notes.last_status(first) is None


def test_bytes_that_land_again_after_pruning_are_restored(zone: RawZone, file: Path) -> None:
    delivery = land(zone, file)
    zone.notes.write(delivery.raw_name, "merged", "db")
    zone.desired.prune(delivery.raw_name, needed=False)
    again = land(zone, file)
    assert again == replace(delivery, landed_at=again.landed_at)
    assert zone.keeps(delivery.delivery_id)
    assert pending_deliveries(zone, "db", LOG) == [again]
    with zone.verified(delivery, full=True) as path:
        assert path.read_bytes() == file.read_bytes()


def test_times_are_those_of_the_server(
    zone: RawZone, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = timedelta(hours=1)
    monkeypatch.setattr(folder_sidecars, "utc_now", lambda: utc_now() + hour)
    delivery = land(zone, file)
    zone.desired.mark_reverted(delivery.raw_name)
    reverted_at = zone.desired.reverted_at(delivery.raw_name)
    assert reverted_at is not None
    for moment in (delivery.landed_at, reverted_at, zone.now()):
        assert abs(moment - utc_now()) < hour / 2


def test_a_restarted_server_is_connected_again(
    postgres: PostgresServer, zone: RawZone, file: Path
) -> None:
    delivery = land(zone, file)
    assert pending_deliveries(zone, "db", LOG) == [delivery]
    postgres.stop()
    try:
        with pytest.raises(CatalogUnreachableError):
            zone.desired.is_reverted(delivery.raw_name)
        with pytest.raises(LandingError, match="catalog") as raised:
            land(zone, file)
        assert not raised.value.permanent
    finally:
        postgres.start()
    zone.desired.mark_reverted(delivery.raw_name)
    assert zone.index.deliveries("a.csv")[0].reverted
    assert land(zone, file) == delivery


def test_a_landing_whose_connection_is_cut_records_nothing(
    url: SecretStr, zone: RawZone, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = zone.store.commit

    def cut(*arguments: object) -> None:
        commit(*arguments)  # type: ignore[arg-type]
        with connect(url, "test") as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'lfp raw zone' AND datname = current_database()"
            )

    with monkeypatch.context() as patch:
        patch.setattr(zone.store, "commit", cut)
        with pytest.raises(LandingError):
            land(zone, file)
    assert zone.all_deliveries() == []
    delivery = land(zone, file)
    with zone.verified(delivery, full=True):
        assert zone.all_deliveries() == [delivery]


def test_a_landing_may_take_longer_than_transactions_may_be_idle(
    url: SecretStr, zone: RawZone, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(url, "test") as connection:
        ((name,),) = connection.execute("SELECT current_database()").fetchall()
        connection.execute(
            f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '200ms'"
        )
    commit = zone.store.commit

    def slowly(*arguments: object) -> None:
        time.sleep(0.6)
        commit(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(zone.store, "commit", slowly)
        delivery = land(zone, file)
    assert zone.all_deliveries() == [delivery]


def test_creating_the_tables_again_does_not_wait_for_an_upload(
    url: SecretStr, sidecars: CatalogSidecars
) -> None:
    name = RawName("a.csv", "20261127T000000.000000Z-0123456789abcdef")
    with sidecars.changing(name.key):
        sidecars.write(name, "json", b"{}")
        with connect(url, "test") as connection:
            connection.execute("SET lock_timeout = '2s'")
            create_raw_tables(connection)


def test_a_reader_writes_no_index(zone: RawZone, settings: Settings, file: Path) -> None:
    delivery = land(zone, file)
    zone.index.path.unlink(missing_ok=True)
    for reader in (
        RawZone.of(settings, read_only=True),
        RawZone.of(settings, read_only=True).as_of_now(),
    ):
        assert reader.index.dated_ahead() == []
        assert reader.index.deliveries("a.csv")[0].stem == delivery.raw_name.stem
        assert not zone.index.path.exists()


LAND = """
import random, sys
from pathlib import Path
from lfp_pipeline.errors import LfpError
from lfp_pipeline.raw_zone.raw_zone import RawZone
from lfp_pipeline.settings import load_settings
from lfp_pipeline.sources.local_file import LocalFile
from testing.engine import LOG

zone, chance, files = RawZone.of(load_settings()), random.Random(int(sys.argv[1])), sys.argv[2:]
for _ in range(30):
    file = Path(chance.choice(files))
    delivery = zone.land(LocalFile(file), file.name, LOG)
    action = chance.choice(["revert", "clear", "note", "forget", "prune", "index", "read"])
    name = delivery.raw_name
    match action:
        case "revert":
            zone.desired.mark_reverted(name)
        case "clear":
            zone.desired.clear_reverted(name)
        case "note":
            zone.notes.write(name, chance.choice(["merged", "refused", "reverted"]), "db")
        case "forget":
            zone.notes.delete(name)
        case "prune":
            zone.desired.prune(name, needed=chance.random() < 0.5)
        case "index":
            zone.index.deliveries(file.name)
        case "read":
            try:
                with zone.verified(delivery) as path:
                    assert path.read_bytes() == file.read_bytes()
            except LfpError:
                pass  # Another process has pruned it.
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_changes_by_several_processes_leave_one_truth(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    files = []
    for number in range(4):
        files.append(tmp_path / f"{number}.csv")
        files[-1].write_text(f"name,sku,description\n{number},s1,x\n")
    monkeypatch.setenv("LFP_CATALOG", settings.catalog.get_secret_value())  # type: ignore[union-attr]
    if settings.raw:
        monkeypatch.setenv("LFP_RAW", settings.raw)
    hosts = [tmp_path / "data", tmp_path / "data", tmp_path / "other"]
    processes = []
    for number, folder in enumerate(hosts):
        monkeypatch.setenv("LFP_DATA_DIR", str(folder if settings.raw else hosts[0]))
        processes.append(start(LAND, str(seed * 10 + number), *map(str, files)))
    finish(processes)
    zone = RawZone.of(settings)
    deliveries, problems = zone.survey()
    assert problems == []
    assert [delivery.partition_key for delivery in deliveries] == [file.name for file in files]
    assert zone.index.differences() == []
    other = RawZone.of(settings.model_copy(update={"data_dir": tmp_path / "third"}))
    assert [landed._asdict() for file in files for landed in zone.index.deliveries(file.name)] == [
        landed._asdict() for file in files for landed in other.index.deliveries(file.name)
    ]
    for delivery in deliveries:
        if zone.desired.is_pruned(delivery.raw_name):
            assert zone.store.size(delivery.raw_name) is None
        else:
            with zone.verified(delivery, full=True):
                pass
