"""Tests of the bench, run by `test_bench.py` in a network namespace of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from testing.processes import until
from verification.hosts import object_store
from verification.hosts.bench import BUCKET, Bench, bench
from verification.hosts.network import Host
from verification.hosts.object_store import Faults

SERVE = """
import socket, sys
listener = socket.create_server((sys.argv[1], 7000))
while True:
    connection, _ = listener.accept()
    while received := connection.recv(65536):
        connection.sendall(received)
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Bench]:
    """Return a bench; its hosts are on loopback where the environment asks for that."""
    with TemporaryDirectory(prefix="lfp-hosts-") as folder:
        Path(folder).chmod(0o755)
        has_cables = "BENCH_ON_LOOPBACK" not in os.environ
        with bench(Path(folder), has_cables=has_cables) as made:
            yield made


@pytest.fixture
def cables(made: Bench) -> Iterator[Bench]:
    if not made.network.has_cables:
        pytest.skip("Hosts on loopback have no cables")
    yield made
    made.restore()


def output_of(host: Host, code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    process = host.start(command, {}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return process.communicate(timeout=30)[0].strip()


def echo(host: Host, size: int = 1) -> float:
    """Send bytes to a host and get them back; return the seconds that this took."""
    started = time.monotonic()
    with socket.create_connection((host.address, 7000), 2) as connection:
        connection.sendall(bytes(size))
        remaining = size
        while remaining:
            remaining -= len(connection.recv(65536))
    return time.monotonic() - started


def is_reachable(host: Host) -> bool:
    try:
        echo(host)
    except OSError:
        return False
    return True


def test_a_host_has_a_name_and_processes_of_its_own(cables: Bench):
    host = cables.workers[0]
    assert output_of(host, "import socket; print(socket.gethostname())") == "worker1"
    assert int(output_of(host, "import os; print(os.getpid())")) < 1000
    processes = output_of(
        host, "import os; print(sum(name.isdigit() for name in os.listdir('/proc')))"
    )
    assert int(processes) == 2


def test_a_cut_cable_loses_packets_and_a_restored_one_does_not(cables: Bench):
    host = cables.workers[0]
    host.start([sys.executable, "-c", SERVE, host.address], {})
    until(lambda: is_reachable(host))
    with socket.create_connection((host.address, 7000), 2) as connection:
        cables.network.cut(host)
        connection.sendall(b"x")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert not is_reachable(host)
        cables.network.restore(host)
        connection.settimeout(30)
        assert connection.recv(1) == b"x"
    assert is_reachable(host)
    host.kill()
    host.boot()


def test_a_slow_cable_is_slow_until_it_is_restored(cables: Bench):
    host = cables.workers[0]
    host.start([sys.executable, "-c", SERVE, host.address], {})
    until(lambda: is_reachable(host))
    cables.network.slow(host, 800)
    assert echo(host, 200_000) > 1
    cables.network.restore(host)
    assert echo(host, 200_000) < 1
    host.kill()
    host.boot()


def test_a_killed_host_has_no_processes_and_can_be_used_again(made: Bench):
    host = made.workers[1]
    code = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    process = host.start([sys.executable, "-c", code], {})
    until(lambda: host.memory_bytes() > 5_000_000)
    host.kill()
    assert process.wait(10) == -signal.SIGKILL
    host.boot()
    assert output_of(host, "print('up')") == "up"
    assert host.memory_bytes() < 5_000_000


def test_a_process_can_be_stopped_and_killed(made: Bench):
    host = made.workers[1]
    process = host.start(
        [sys.executable, "-uc", "while True: print(input())"],
        {},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=1,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write("1\n")
    assert process.stdout.readline() == "1\n"
    host.signal(process, signal.SIGSTOP)
    process.stdin.write("2\n")
    time.sleep(0.2)
    os.set_blocking(process.stdout.fileno(), False)
    assert process.stdout.readline() == ""
    os.set_blocking(process.stdout.fileno(), True)
    host.signal(process, signal.SIGCONT)
    assert process.stdout.readline() == "2\n"
    host.signal(process, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    host.signal(process, signal.SIGKILL)


def test_the_clock_of_a_host_is_ahead_and_its_timers_are_right(made: Bench):
    host = made.workers[2]
    host.clock = 600
    code = "from time import *; t = monotonic(); sleep(0.1); print(time(), monotonic() - t)"
    now, slept = map(float, output_of(host, code).split())
    host.clock = 0
    assert now == pytest.approx(time.time() + 600, abs=5)
    assert slept == pytest.approx(0.1, abs=1)


def test_postgres_keeps_its_data_and_redis_can_lose_them(made: Bench):
    lake = made.new_lake()
    made.postgres.execute("CREATE TABLE kept (number int)", lake.name)
    made.postgres.restart()
    assert made.postgres.execute("SELECT * FROM kept", lake.name) == []
    environment = made.environment(made.head, lake)
    for code, expected in [
        ("print(redis.set('a', 'b'))", "True"),
        ("print(redis.get('a'))", "b'b'"),
    ]:
        assert redis(made, environment["LFP_BROKER"], code) == expected
    made.redis.restart()
    assert redis(made, environment["LFP_BROKER"], "print(redis.get('a'))") == "b'b'"
    made.redis.lose_data()
    assert redis(made, environment["LFP_BROKER"], "print(redis.get('a'))") == "None"


def redis(made: Bench, url: str, code: str) -> str:
    connect = "import sys; from redis import Redis; redis = Redis.from_url(sys.argv[1]); "
    return output_of(made.head, connect + code, url)


def test_the_servers_want_a_password(made: Bench):
    lake = made.new_lake()
    connect = "import psycopg, sys; psycopg.connect(sys.argv[1])"
    assert "no password supplied" in output_of(made.head, connect, lake.url)
    assert "AuthenticationError" in redis(made, f"redis://{made.redis.address}", "redis.get('a')")


def put(made: Bench, key: str, **options: str) -> str:
    """Put an object; return the code of the error, if there is one."""
    try:
        made.s3().put_object(Bucket=BUCKET, Key=key, Body=b"1234", **options)
    except ClientError as error:
        return str(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return ""


def test_of_many_conditional_puts_at_once_one_succeeds(made: Bench):
    code = """
import boto3, sys
from concurrent.futures import ThreadPoolExecutor
client = boto3.client("s3")
def put(number):
    try:
        client.put_object(Bucket="lfp", Key=f"once/{number // 8}", Body=b"x", IfNoneMatch="*")
    except client.exceptions.ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return 200
with ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(put, range(80)))
print(answers.count(200), answers.count(412))
"""
    environment = made.environment(made.head, made.new_lake())
    process = made.head.start([sys.executable, "-c", code], environment, stdout=subprocess.PIPE)
    assert process.communicate(timeout=60)[0] == "10 70\n"


def test_an_upload_in_parts_does_not_replace_an_object_either(made: Bench):
    client = made.s3()
    for expected in ("", "412"):
        upload = client.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
        where = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload}
        part = client.upload_part(**where, PartNumber=1, Body=b"x")
        parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
        code = ""
        try:
            client.complete_multipart_upload(**where, MultipartUpload=parts, IfNoneMatch="*")
        except ClientError as error:
            code = str(error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert code == expected


def test_objects_are_listed_in_pages(made: Bench):
    for number in range(5):
        put(made, f"pages/{number}")
    where = {"Bucket": BUCKET, "Prefix": "pages/", "MaxKeys": 2}
    first = made.s3().list_objects_v2(**where)
    assert first["IsTruncated"]
    rest = made.s3().list_objects_v2(**where, ContinuationToken=first["NextContinuationToken"])
    names = [found["Key"] for page in (first, rest) for found in page["Contents"]]
    assert names == [f"pages/{number}" for number in range(4)]


@pytest.mark.parametrize(
    ("kind", "code", "exists"),
    [("500", "500", False), ("503", "503", False), (object_store.LOST, "500", True)],
)
def test_the_store_answers_with_errors(made: Bench, kind: str, code: str, exists: bool):
    client = made.s3(attempts=1)
    made.store.set_faults(Faults((kind,), 1.0))
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket=BUCKET, Key=f"faults/{kind}", Body=b"x")
    assert str(raised.value.response["ResponseMetadata"]["HTTPStatusCode"]) == code
    made.store.set_faults(Faults())
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"faults/{kind}")
    assert bool(listed["KeyCount"]) == exists


def test_the_store_is_slow_or_answers_by_halves(made: Bench):
    put(made, "halves")
    made.store.set_faults(Faults((object_store.TRUNCATED,), 1.0))
    with pytest.raises(BotoCoreError):
        made.s3().get_object(Bucket=BUCKET, Key="halves")["Body"].read()
    made.store.set_faults(Faults((object_store.SLOW,), 1.0))
    started = time.monotonic()
    assert not put(made, "slow")
    assert time.monotonic() - started > 1
    made.store.set_faults(Faults())


def test_a_share_of_the_requests_has_a_fault_the_same_for_the_same_seed(made: Bench):
    def failures() -> list[bool]:
        made.store.set_faults(Faults(("500",), 0.5, seed=4))
        client = made.s3(attempts=1)
        failed = []
        for _ in range(20):
            try:
                client.head_bucket(Bucket=BUCKET)
            except ClientError:
                failed.append(True)
            else:
                failed.append(False)
        made.store.set_faults(Faults())
        return failed

    first = failures()
    assert 3 < sum(first) < 17
    assert failures() == first
