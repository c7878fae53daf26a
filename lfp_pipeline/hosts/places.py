"""The folders of the settings that all hosts must reach."""

from collections.abc import Iterator

from lfp_pipeline.settings import Settings

_NOT_SHARED = (
    "{setting} is not set, so {what} in {folder}. Unless all hosts have that folder in common, set "
    "it to a bucket (s3://bucket/prefix) or to a folder that they have in common."
)


def unshared_folders(settings: Settings) -> Iterator[str]:
    """Yield a warning for each folder that other hosts may not reach. Settings name shared ones."""
    for setting, place, what, folder in (
        ("LFP_LAKE", settings.lake, "the tables are", settings.lake_place),
        ("LFP_RAW", settings.raw, "the deliveries are", settings.raw_place),
        ("LFP_INBOX", settings.inbox, "files are dropped", settings.inbox_place),
    ):
        if place is None:
            yield _NOT_SHARED.format(setting=setting, what=what, folder=folder)
