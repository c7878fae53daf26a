"""Objects in a bucket: conditional writes, listings, and answers that fail or are cut off."""

import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lfp_pipeline.errors import BucketUnreachableError
from lfp_pipeline.hosts import bucket as bucket_module
from lfp_pipeline.hosts import bucket_client
from lfp_pipeline.hosts.bucket import Bucket
from testing.s3_server import Environ, S3Server

LARGE = os.urandom(3 * 2**20)


@pytest.fixture
def bucket(bucket_place: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setattr(bucket_module, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(bucket_client, "ATTEMPTS", 3)
    return Bucket(bucket_place, "LFP_RAW")


def put(bucket: Bucket, name: str, content: bytes, *, replace: bool = False) -> bool:
    digest = hashlib.sha256(content).hexdigest()
    return bucket.put(io.BytesIO(content), name, len(content), digest, replace=replace)


def read(bucket: Bucket, name: str, limit: int | None = None) -> bytes:
    found = bucket.look_up(name)
    assert found is not None
    return b"".join(bucket.read(found, limit))


def some_fail(*faults: str, method: str = "") -> Callable[[Environ], str | None]:
    """Return what gives each second request one of the faults, in turn."""
    count = 0

    def fault(environ: Environ) -> str | None:
        nonlocal count
        if method and environ["REQUEST_METHOD"] != method:
            return None
        count += 1
        return faults[count // 2 % len(faults)] if count % 2 else None

    return fault


@pytest.mark.parametrize("content", [b"", b"x", LARGE])
def test_what_was_put_is_read(bucket: Bucket, content: bytes) -> None:
    assert put(bucket, "a b/ü+%.csv", content)
    found = bucket.look_up("a b/ü+%.csv")
    assert found is not None
    assert (found.size_bytes, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert read(bucket, "a b/ü+%.csv") == content
    assert read(bucket, "a b/ü+%.csv", 5) == content[:5]
    bucket.delete("a b/ü+%.csv")
    bucket.delete("a b/ü+%.csv")
    assert bucket.look_up("a b/ü+%.csv") is None


def test_a_large_file_is_put_in_parts_once(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "_PART_BYTES", 5 * 2**20)
    content = LARGE * 4
    assert put(bucket, "large", content)
    assert read(bucket, "large") == content
    assert not put(bucket, "large", content[::-1])
    assert read(bucket, "large") == content
    assert put(bucket, "large", content[::-1], replace=True)
    assert read(bucket, "large") == content[::-1]


def test_of_simultaneous_writes_one_makes_the_object(bucket: Bucket) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: put(bucket, "a", b"%d" % number), range(8)))
    assert sum(done) == 1
    assert read(bucket, "a") == b"%d" % done.index(True)


def test_a_listing_takes_a_request_for_a_thousand_objects(
    bucket: Bucket, s3_server: S3Server
) -> None:
    names = [f"folder {number % 3}/{number:04}.csv" for number in range(1001)]
    s3_server.fill(bucket.place, names)
    assert [found.name for found in bucket.objects()] == sorted(names)
    assert len(s3_server.requests) == 2
    assert len(list(bucket.objects("folder 1/"))) == 334


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "503", "slow", "lost"])
@pytest.mark.parametrize("content", [b"content", LARGE * 2])
@pytest.mark.parametrize("replace", [False, True])
def test_requests_are_repeated(
    bucket: Bucket,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    content: bytes,
    replace: bool,
) -> None:
    monkeypatch.setattr(bucket_module, "_PART_BYTES", 5 * 2**20)
    s3_server.fault = some_fail(fault)
    done = put(bucket, "a", content, replace=replace)
    assert done or not replace  # A repeated request may find its own object.
    assert read(bucket, "a") == content
    assert [found.name for found in bucket.objects()] == ["a"]


@pytest.mark.parametrize("replace", [False, True])
def test_an_upload_whose_completion_is_answered_by_an_error_is_there(
    bucket: Bucket, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    monkeypatch.setattr(bucket_module, "_PART_BYTES", 5 * 2**20)
    answers = iter(["lost", "404 NoSuchUpload"])

    def fault(environ: Environ) -> str | None:
        is_completion = (
            "uploadId" in environ["QUERY_STRING"] and environ["REQUEST_METHOD"] == "POST"
        )
        return next(answers, None) if is_completion else None

    s3_server.fault = fault
    assert put(bucket, "a", LARGE * 2, replace=replace) is replace
    assert next(answers, None) is None
    assert read(bucket, "a") == LARGE * 2


def test_an_upload_that_the_server_has_removed_is_made_again(
    bucket: Bucket, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "_PART_BYTES", 5 * 2**20)
    removed = iter(["404 NoSuchUpload"])
    s3_server.fault = lambda environ: (
        next(removed, None) if environ["REQUEST_METHOD"] == "PUT" else None
    )
    assert put(bucket, "a", LARGE * 2)
    assert next(removed, None) is None
    assert [method for method, _ in s3_server.requests].count("POST") == 3  # One completion.
    assert read(bucket, "a") == LARGE * 2


def test_an_upload_that_fails_is_aborted_and_its_cause_is_named(
    bucket: Bucket, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "_PART_BYTES", 5 * 2**20)
    s3_server.fault = lambda environ: {"PUT": "403", "DELETE": "404"}.get(environ["REQUEST_METHOD"])
    with pytest.raises(BucketUnreachableError, match="403"):
        put(bucket, "a", LARGE * 2)
    assert [method for method, _ in s3_server.requests] == ["POST", "PUT", "DELETE"]


def test_a_cut_answer_is_continued(bucket: Bucket, s3_server: S3Server) -> None:
    put(bucket, "a", LARGE)
    s3_server.fault = some_fail("truncated", method="GET")
    assert read(bucket, "a") == LARGE


@pytest.mark.parametrize("ignored", [lambda _: True, lambda text: text[:8] != "bytes=0-"])
def test_an_answer_that_is_not_the_requested_range_is_refused(
    bucket: Bucket, s3_server: S3Server, ignored: Callable[[str], bool]
) -> None:
    put(bucket, "a", LARGE)
    cut = some_fail("truncated", method="GET")

    def fault(environ: Environ) -> str | None:
        if ignored(environ.get("HTTP_RANGE", "")):
            environ.pop("HTTP_RANGE", None)
        return cut(environ)

    s3_server.fault = fault
    with pytest.raises(BucketUnreachableError, match="not the requested `Range`"):
        read(bucket, "a")


def test_an_answer_of_another_program_is_no_answer(bucket: Bucket, s3_server: S3Server) -> None:
    put(bucket, "a", LARGE)
    found = bucket.look_up("a")
    assert found is not None
    for fault in ("page", "200"):
        s3_server.fault = lambda _, fault=fault: fault  # type: ignore[misc]
        for work in (
            lambda: list(bucket.objects()),
            lambda: bucket.look_up("a"),
            lambda: list(bucket.read(found)),
            lambda: put(bucket, "b", b"x"),
            lambda: put(bucket, "a", b"x", replace=True),
        ):
            with pytest.raises(BucketUnreachableError) as raised:
                work()
            assert not raised.value.permanent
    s3_server.fault = lambda _: None
    assert read(bucket, "a") == LARGE


def test_answers_that_are_always_cut_end_the_reading(bucket: Bucket, s3_server: S3Server) -> None:
    put(bucket, "a", b"x")
    s3_server.fault = lambda environ: "truncated" if environ["REQUEST_METHOD"] == "GET" else None
    with pytest.raises(BucketUnreachableError, match="a could not be read") as raised:
        read(bucket, "a")
    assert not raised.value.permanent


def test_an_object_that_is_replaced_or_gone_is_noticed(bucket: Bucket) -> None:
    put(bucket, "a", b"first")
    found = bucket.look_up("a")
    assert found is not None
    put(bucket, "a", b"other", replace=True)
    with pytest.raises(FileNotFoundError):
        list(bucket.read(found))
    bucket.delete("a")
    with pytest.raises(FileNotFoundError):
        list(bucket.read(found))


def test_an_error_names_object_and_remedy_without_secrets(
    bucket: Bucket, s3_server: S3Server
) -> None:
    missing = Bucket("s3://no-such-bucket/x", "LFP_INBOX")
    with pytest.raises(
        BucketUnreachableError, match=r"s3://no-such-bucket/x/ .*NoSuchBucket.*LFP_INBOX"
    ):
        list(missing.objects())
    s3_server.fault = lambda _: "403"
    with pytest.raises(BucketUnreachableError, match="AWS_ACCESS_KEY_ID") as raised:
        bucket.look_up("a")
    assert raised.value.permanent
    assert "a-secret" not in str(raised.value)
    assert "a-key" not in str(raised.value)


def test_an_unreachable_server_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(BucketUnreachableError, match=r"127\.0\.0\.1:1.*AWS_ENDPOINT_URL"):
        bucket.look_up("a")
