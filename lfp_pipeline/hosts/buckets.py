"""The buckets of the settings: which there are, how they are created, and what they must do."""

import hashlib
from io import BytesIO

from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import BucketUnreachableError
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.settings import Settings

_PROBE, _PROBE_NAME = b"lfp cluster init", "lfp-conditional-put"


def missing_buckets(settings: Settings) -> dict[str, Bucket]:
    """Return the buckets that do not exist, by their names.

    Raises:
        BucketUnreachableError: the server does not answer, or refuses the access.
        SettingsError: the package s3fs is not installed.
    """
    return {name: bucket for name, bucket in _buckets_of(settings).items() if not bucket.exists()}


def create_missing_buckets(settings: Settings) -> list[str]:
    """Create the buckets that do not exist, and return their names; errors as above."""
    missing = missing_buckets(settings)
    for bucket in missing.values():
        bucket.create()
    return list(missing)


def require_conditional_puts(settings: Settings) -> None:
    """Verify that no upload of a delivery can replace another one.

    Raises:
        BucketUnreachableError: the server ignores the condition `If-None-Match: *`.
    """
    if not settings.raw_place.startswith(BUCKET):
        return
    bucket = Bucket(settings.raw_place, "LFP_RAW")
    content, digest = BytesIO(_PROBE), hashlib.sha256(_PROBE).hexdigest()
    try:
        bucket.put(content, _PROBE_NAME, len(_PROBE), digest)
        if bucket.put(content, _PROBE_NAME, len(_PROBE), digest):
            msg = (
                f"The server of {settings.raw_place} ignores `If-None-Match: *` on uploads, so two "
                "hosts could replace each other's files. Use a server that honours it."
            )
            raise BucketUnreachableError(msg, permanent=True)
    finally:
        bucket.delete(_PROBE_NAME)


def _buckets_of(settings: Settings) -> dict[str, Bucket]:
    places = {"LFP_LAKE": settings.lake, "LFP_RAW": settings.raw, "LFP_INBOX": settings.inbox}
    return {
        place.removeprefix(BUCKET).partition("/")[0]: Bucket(place, setting)
        for setting, place in places.items()
        if place and place.startswith(BUCKET)
    }
