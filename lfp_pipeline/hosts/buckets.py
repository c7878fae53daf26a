"""The buckets of the settings: which there are, how they are created, and what they must do."""

import hashlib
from io import BytesIO
from uuid import uuid4

from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import BucketUnreachableError
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.settings import Settings

_PROBE = b"lfp cluster init"


def missing_buckets(settings: Settings, *, is_quick: bool = False) -> dict[str, Bucket]:
    """Return the buckets that do not exist, by their names.

    Args:
        is_quick: ask once for each, and wait for seconds only.

    Raises:
        BucketUnreachableError: the server does not answer, or refuses the access.
        SettingsError: the package botocore is not installed.
    """
    return {
        name: bucket
        for name, bucket in _buckets_of(settings).items()
        if not bucket.exists(is_quick=is_quick)
    }


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
    digest = hashlib.sha256(_PROBE).hexdigest()
    for in_parts in (False, True):
        name = f"lfp-conditional-put-{uuid4().hex}"  # Another host may do the same now.
        try:
            for is_first in (True, False):
                content, size = BytesIO(_PROBE), len(_PROBE)
                is_put = bucket.put(content, name, size, digest, in_parts=in_parts)
                if is_put and not is_first:
                    uploads = "uploads in parts" if in_parts else "uploads"
                    msg = (
                        f"The server of {settings.raw_place} ignores `If-None-Match: *` on "
                        f"{uploads}, so two hosts could replace each other's files. Use a server "
                        "that honours it."
                    )
                    raise BucketUnreachableError(msg, permanent=True)
        finally:
            bucket.delete(name)


def _buckets_of(settings: Settings) -> dict[str, Bucket]:
    """Return the buckets by name, each as a place without a prefix, with all of its settings."""
    places = {"LFP_LAKE": settings.lake, "LFP_RAW": settings.raw, "LFP_INBOX": settings.inbox}
    settings_of: dict[str, list[str]] = {}
    for setting, place in places.items():
        if place and place.startswith(BUCKET):
            name = place.removeprefix(BUCKET).partition("/")[0]
            settings_of.setdefault(name, []).append(setting)
    return {
        name: Bucket(f"{BUCKET}{name}", " and ".join(names)) for name, names in settings_of.items()
    }
