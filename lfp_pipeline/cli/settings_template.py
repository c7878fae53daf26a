"""The settings file of a new project: every setting as a comment, with its default."""

import json
import os
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from lfp_pipeline.common.project_folder import PROJECT_FILE
from lfp_pipeline.common.setting_names import ENV_PREFIX
from lfp_pipeline.settings import Settings

GROUPS = {
    "data_dir": "Folders and resources",
    "column_aliases": "Reading files",
    "download_attempts": "Downloads",
    "writer_wait_seconds": "Writing and publishing",
    "inbox_": "Inbox and sensors",
    "freshness_hours": "Monitoring",
    "catalog": "Several hosts",
}
"""The heading that stands before the first setting whose name begins so."""

_HEAD = f"""\
# Settings of this lfp_pipeline project. This file, {PROJECT_FILE}, marks its folder.
#
# Each line `# name = value` is a default: remove the `# ` to change it. An environment variable
# wins ({ENV_PREFIX}THREADS=4), and `lfp check` validates all of them.
"""

_WRITTEN_DEFAULTS = {"data_dir": "data"}

_EXAMPLES = {
    "sources_file": "sources.yaml",
    "fallback_encoding": "windows-1252",
    "inbox_stable_seconds": 5,
    "webhook_url": "https://chat.example.com/hooks/lfp",
    "catalog": "postgresql://lfp@db.example.com/lfp",
    "lake": "s3://my-bucket/lake",
    "raw": "s3://my-bucket/raw",
    "inbox": "s3://my-bucket/inbox",
    "broker": "redis://redis.example.com:6379/0",
}
"""For each setting that has no default."""


def settings_template() -> str:
    """Return the text of the file."""
    return "\n".join([_HEAD, *_lines()]) + "\n"


def _lines() -> Iterator[str]:
    groups = dict(GROUPS)
    for name, field in Settings.model_fields.items():
        if start := next((start for start in groups if name.startswith(start)), None):
            yield f"# ---- {groups.pop(start)}\n"
        allowed = allowed_values(field)
        yield f"# {field.description}" + (f" Allowed: {allowed}." if allowed else "")
        if name == "threads":
            yield f"# Default: the number of cores, which is {os.cpu_count()} here."
        yield _example(name, field) + "\n"


def _example(name: str, field: FieldInfo) -> str:
    value = _WRITTEN_DEFAULTS.get(name, field.get_default(call_default_factory=True))
    if value is None:
        return f"# Not set. For example:\n#   {name} = {json.dumps(_EXAMPLES[name])}"
    return f"# {name} = {json.dumps(value)}"  # JSON of these values is TOML.


def allowed_values(field: FieldInfo) -> str:
    """Return the limits of a number: `1 to 64`, `at least 0`; empty if there are none."""
    limits = {
        key: value
        for bound in field.metadata
        for key in ("ge", "gt", "le")
        if (value := getattr(bound, key, None)) is not None
    }
    low, above, high = limits.get("ge"), limits.get("gt"), limits.get("le")
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"at least {low}"
    return f"more than {above}" if above is not None else ""
