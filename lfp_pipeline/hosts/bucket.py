"""Objects in an S3 bucket, below a prefix."""

import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import md5
from typing import Any, BinaryIO, NamedTuple

from lfp_pipeline.common.clock import utc_from_zone
from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import BucketUnreachableError
from lfp_pipeline.hosts import bucket_client
from lfp_pipeline.hosts.bucket_client import (
    DEFAULT_REGION,
    client,
    client_error,
    code_of,
    reason,
)

CHUNK_BYTES = 1 << 20

_PAUSE_SECONDS = 0.5
_PART_BYTES = 16 * 2**20
_MAX_PARTS = 9_000

_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_CREATED_MEANWHILE = "BucketAlreadyOwnedByYou"
_UNMET = frozenset({"412", "PreconditionFailed"})
_NO_UPLOAD = "NoSuchUpload"
_CONFLICT = frozenset({"409", "ConditionalRequestConflict", "OperationAborted", _NO_UPLOAD})
_DENIED = frozenset(
    {"401", "403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
)
_CREDENTIALS = (
    "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and what that key may do."
)
_SHA256 = "sha256"


class BucketObject(NamedTuple):
    """An object of a bucket, as the server describes it.

    Attributes:
        name: its key below the prefix.
        modified: when it was put there, by the server's clock, in UTC without a zone.
        etag: differs for other bytes.
        sha256: the digest that `put` has added; None: none, or the object was only listed.
    """

    name: str
    size_bytes: int
    modified: datetime
    etag: str
    sha256: str | None = None


class Bucket:
    """The objects of a bucket below a prefix.

    Each method raises a BucketUnreachableError if the server does not answer, or refuses it.
    """

    def __init__(self, place: str, setting: str) -> None:
        """Use `s3://bucket/prefix`, the value of a setting such as `LFP_RAW`."""
        self.place = place
        self._setting = setting
        self._bucket, _, prefix = place.removeprefix(BUCKET).partition("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def url(self, name: str) -> str:
        """Return the URL of an object, for messages."""
        return f"{BUCKET}{self._bucket}/{self._prefix}{name}"

    def exists(self, *, is_quick: bool = False) -> bool:
        """Return whether the server has the bucket.

        Args:
            is_quick: ask once, and wait for seconds only.
        """
        with self._translating("reached"):
            try:
                client(is_quick=is_quick).head_bucket(Bucket=self._bucket)
            except client_error() as error:
                if code_of(error) in _ABSENT:
                    return False
                raise
            return True

    def create(self) -> None:
        """Create the bucket, unless another process has just done so."""
        region = client().meta.region_name
        # The default region refuses its own name here.
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with self._translating("created"):
            try:
                client().create_bucket(
                    Bucket=self._bucket, **({} if region == DEFAULT_REGION else where)
                )
            except client_error() as error:
                if code_of(error) != _CREATED_MEANWHILE:
                    raise

    def objects(self, below: str = "") -> Iterator[BucketObject]:
        """Yield the objects whose names begin with a text, in the order of their names.

        The server lists a thousand objects a request.
        """
        with self._translating("listed", below):
            pages = (
                client().get_paginator("list_objects_v2").paginate(**self._named(below, "Prefix"))
            )
            for page in pages:
                _ = page["Name"]  # Another program may answer, such as a proxy, with no listing.
                for found in page.get("Contents", ()):
                    name = found["Key"].removeprefix(self._prefix)
                    modified = utc_from_zone(found["LastModified"])
                    yield BucketObject(name, found["Size"], modified, found["ETag"])

    def look_up(self, name: str) -> BucketObject | None:
        """Return what the server says about an object; None: there is none."""
        with self._translating("read", name):
            try:
                found = client().head_object(**self._named(name))
            except client_error() as error:
                if code_of(error) in _ABSENT:
                    return None
                raise
            modified, digest = utc_from_zone(found["LastModified"]), found["Metadata"].get(_SHA256)
            return BucketObject(name, found["ContentLength"], modified, found["ETag"], digest)

    def content(self, name: str) -> bytes | None:
        """Return the bytes of a small object, by one request; None: there is none."""
        with self._translating("read", name):
            try:
                answer = client().get_object(**self._named(name))
            except client_error() as error:
                if code_of(error) in _ABSENT:
                    return None
                raise
            with answer["Body"] as body:
                return bytes(body.read())

    def read(self, found: BucketObject, limit: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object, from its beginning up to a limit.

        An interrupted answer is continued where it ended.

        Raises:
            FileNotFoundError: the object is gone, or was replaced.
        """
        offset, failures = 0, 0
        size = found.size_bytes if limit is None else min(limit, found.size_bytes)
        while offset < size:
            begun, failure = offset, self._unreadable(found, "the server's answer ends too early")
            try:
                for chunk in self._answer(found, offset, size):
                    offset += len(chunk)
                    yield chunk
            except BucketUnreachableError as error:
                failure = error
            if offset < size:
                failures = 1 if offset > begun else failures + 1
                if failure.permanent or failures == bucket_client.ATTEMPTS:
                    raise failure
                time.sleep(_PAUSE_SECONDS * 2**failures)
        if offset > size:
            raise self._unreadable(found, "the server's answer has too many bytes")

    def _unreadable(self, found: BucketObject, why: str) -> BucketUnreachableError:
        return BucketUnreachableError(f"{self.url(found.name)} could not be read: {why}.")

    def _answer(self, found: BucketObject, offset: int, size: int) -> Iterator[bytes]:
        """Yield the bytes of one answer, which may end too early."""
        with self._translating("read", found.name):
            try:
                answer = client().get_object(
                    **self._named(found.name),
                    IfMatch=found.etag,
                    Range=f"bytes={offset}-{size - 1}",
                )
            except client_error() as error:
                if code_of(error) in _ABSENT | _UNMET:
                    raise FileNotFoundError(self.url(found.name)) from None
                raise
            with answer["Body"] as body:
                part = answer.get("ContentRange", "")
                begins = part.startswith(f"bytes {offset}-")
                if not (begins and part.endswith(f"/{found.size_bytes}")):
                    why = "the answer is not the requested `Range`. Check the server, and any proxy"
                    raise self._unreadable(found, why)
                yield from iter(lambda: body.read(CHUNK_BYTES), b"")

    def put(
        self,
        file: BinaryIO,
        name: str,
        size: int,
        sha256: str,
        *,
        replace: bool = False,
        in_parts: bool = False,
    ) -> bool:
        """Put the bytes of a file into the bucket; return False if there is such an object.

        Args:
            replace: replace such an object, which else stays as it is.
            in_parts: upload the bytes as those of a large file.
        """
        once = {} if replace else {"IfNoneMatch": "*"}
        place = {**self._named(name), "Metadata": {_SHA256: sha256}}
        for attempt in range(bucket_client.ATTEMPTS):
            file.seek(0)
            with self._translating("written", name):
                try:
                    if in_parts or size > _PART_BYTES:
                        done = self._put_parts(file, size, name, sha256, once)
                    else:
                        body = file.read()
                        options = {**place, **once, "Body": body, "ContentMD5": _md5(body)}
                        done = client().put_object(**options)
                    _ = done["ETag"]  # Another program may answer, and store nothing.
                except client_error() as error:
                    code = code_of(error)
                    # The upload may have succeeded, and the answer was lost.
                    if code == _NO_UPLOAD and (found := self.look_up(name)):
                        if not replace:
                            return False
                        if found.sha256 == sha256:
                            return True
                    if code in _CONFLICT and attempt < bucket_client.ATTEMPTS - 1:
                        time.sleep(_PAUSE_SECONDS)
                        continue
                    if code in _UNMET:
                        return False
                    raise
            return True
        raise AssertionError  # The last attempt ends in one of these ways.

    def _put_parts(
        self, file: BinaryIO, size: int, name: str, sha256: str, once: dict[str, str]
    ) -> Any:  # noqa: ANN401
        """Put a large file in parts, which the server shows as an object once all are there."""
        server, place = client(), self._named(name)
        upload = server.create_multipart_upload(**place, Metadata={_SHA256: sha256})
        place["UploadId"] = upload["UploadId"]
        parts: list[dict[str, object]] = []
        part_bytes = max(_PART_BYTES, size // _MAX_PARTS + 1)
        try:
            for number, body in enumerate(iter(lambda: file.read(part_bytes), b""), 1):
                options = {"PartNumber": number, "Body": body, "ContentMD5": _md5(body)}
                parts.append(
                    {"PartNumber": number, "ETag": server.upload_part(**place, **options)["ETag"]}
                )
            return server.complete_multipart_upload(
                **place, **once, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            with suppress(Exception):  # It would hide the cause.
                server.abort_multipart_upload(**place)
            raise

    def delete(self, name: str) -> None:
        """Delete an object, if there is one."""
        with self._translating("deleted", name):
            client().delete_object(**self._named(name))

    def _named(self, name: str, argument: str = "Key") -> dict[str, Any]:
        return {"Bucket": self._bucket, argument: f"{self._prefix}{name}"}

    @contextmanager
    def _translating(self, done: str, name: str = "") -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

        try:
            yield
        except (BotoCoreError, ClientError, ResponseParserError, KeyError) as error:
            hint, permanent = self._hint(error)
            msg = f"{self.url(name)} could not be {done}: {reason(error)}. {hint}"
            raise BucketUnreachableError(
                msg, permanent=permanent
            ) from None  # Its cause may show a signature.

    def _hint(self, error: Exception) -> tuple[str, bool]:
        """Return what to do about an error, and whether it stays until that is done."""
        code = code_of(error)
        if code == "NoSuchBucket":
            return f"Create the bucket, or correct the setting {self._setting}.", True
        if code in _DENIED or "Credentials" in type(error).__name__:
            return _CREDENTIALS, True
        if code:
            return "Check the server, and try again.", False
        return (
            "Check that the server runs, that this host may reach it, and AWS_ENDPOINT_URL.",
            False,
        )


def _md5(body: bytes) -> str:
    return b64encode(md5(body, usedforsecurity=False).digest()).decode()
