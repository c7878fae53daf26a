"""The buckets of the settings: which there are, and how they are created."""

from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.settings import Settings


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


def _buckets_of(settings: Settings) -> dict[str, Bucket]:
    places = {"LFP_LAKE": settings.lake, "LFP_RAW": settings.raw, "LFP_INBOX": settings.inbox}
    return {
        place.removeprefix(BUCKET).partition("/")[0]: Bucket(place, setting)
        for setting, place in places.items()
        if place and place.startswith(BUCKET)
    }
