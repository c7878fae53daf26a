"""An outage of the object store is no loss of bytes: operations end, and advise nothing harmful."""

import shutil
from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import BucketUnreachableError, OperationRefusedError
from lfp_pipeline.hosts import bucket as bucket_module
from lfp_pipeline.hosts import bucket_client
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.verify import verify
from testing.engine import LOG, engine_at, land, tables
from testing.expected_tables import File
from testing.lakes import create_catalog
from testing.postgres import PostgresServer
from testing.s3_server import S3Server

FILES = [
    File(f"{number}.csv", number * 1_000_000, ((f"s{number}", "Ann", "x"),)) for number in range(4)
]


@pytest.fixture
def engine(
    postgres: PostgresServer, bucket_place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Engine:
    """An engine with merged deliveries in a bucket, and no copies of them, as on another host."""
    monkeypatch.setattr(bucket_module, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(bucket_client, "ATTEMPTS", 2)
    engine = engine_at(tmp_path / "data", catalog=postgres.create_database(), raw=bucket_place)
    create_catalog(engine.settings)
    for file in FILES[:3]:
        assert engine.ingest(land(engine, file), LOG).account.status is Status.MERGED
    return engine


@pytest.mark.slow
def test_operations_end_while_the_server_does_not_answer(
    engine: Engine, s3_server: S3Server, bucket_place: str
) -> None:
    before = tables(engine)
    pending = land(engine, FILES[3])
    shutil.rmtree(engine.raw_zone.root)
    s3_server.fault = lambda environ: "503" if environ["REQUEST_METHOD"] == "HEAD" else None
    for operation in (verify, rebuild_products):
        s3_server.requests.clear()
        with pytest.raises(BucketUnreachableError, match="503"):
            operation(engine, LOG)
        assert len(s3_server.requests) <= 2 * bucket_client.ATTEMPTS
    (result,) = engine.ingest_all([], [pending], LOG)
    assert "503" in str(result)
    assert tables(engine)["products"] == before["products"]
    s3_server.fault = lambda _: None
    assert verify(engine, LOG).problems == ()
    rebuild_products(engine, LOG)
    # What is really lost is still reported as lost.
    lost = engine.raw_zone.deliveries("1.csv")[0]
    Bucket(bucket_place, "LFP_RAW").delete(f"1.csv/{lost.raw_name.stem}.raw")
    shutil.rmtree(engine.raw_zone.root)
    (problem,) = verify(engine, LOG).problems
    assert "1.csv" in problem
    assert "is gone" in problem
    assert rebuild_products(engine, LOG, dry_run=True).problems == (
        f"{bucket_place}/1.csv/{lost.raw_name.stem}.raw is gone.",
    )
    with pytest.raises(OperationRefusedError, match="allow-data-loss"):
        rebuild_products(engine, LOG)
