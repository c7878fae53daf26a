"""The manifests for Kubernetes, made of the settings: a head, and what it needs to start runs.

A secret is named only. Its values are LFP_CATALOG, and the credentials of the buckets.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from lfp_pipeline.common.plain_yaml import read_plain_yaml
from lfp_pipeline.common.project_folder import TEMPLATES
from lfp_pipeline.common.setting_names import ENV_PREFIX, secret_names
from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.common.text import preview, size_in_bytes
from lfp_pipeline.errors import OperationRefusedError, SettingsError
from lfp_pipeline.settings import Settings
from lfp_pipeline.sources.sources_file import read_sources
from lfp_pipeline.sources.written_location import shows_signature

_NEED_A_BUCKET = ("lake", "raw", "inbox")
_NOT_IN_A_POD = {"data_dir", "sources_file", "threads", "worker_runs"}
_NAME = re.compile(r"@(\w+)@")

_OTHER_MEMORY = 2**30
"""Memory of a run beside DuckDB's: Python, Dagster, and files that are recoded."""

_OTHER_DISK = 2
"""Limits of the other two folders of a run together, in GiB."""


def manifests(
    settings: Settings, image: str, namespace: str, secret: str, cpus: int, disk: int
) -> str:
    """Return the manifests as YAML.

    Args:
        image: the container image, with its tag.
        secret: the name of a Secret that has LFP_CATALOG and the credentials, by variable.
        cpus: the processors of a run, which are DuckDB's threads.
        disk: limit of the scratch folder of a run, in GiB.

    Raises:
        OperationRefusedError: a place is a folder, which pods do not have in common.
        SettingsError: an entry of the sources file is wrong, or has a secret.
    """
    if folders := [name for name in _NEED_A_BUCKET if not _is_bucket(getattr(settings, name))]:
        names = ", ".join(f"{ENV_PREFIX}{name.upper()}" for name in folders)
        msg = f"Pods have no folder in common. Set to a bucket (s3://bucket/prefix): {names}."
        raise OperationRefusedError(msg)
    memory = size_in_bytes(settings.memory_limit) * settings.parallel_files + _OTHER_MEMORY
    values: dict[str, Any] = {
        "image": image,
        "namespace": namespace,
        "secret": secret,
        "cpus": str(cpus),
        "memory": f"{-(-memory // 2**20)}Mi",
        "disk": f"{disk}Gi",
        "all_disk": f"{disk + _OTHER_DISK}Gi",
        "max_workers": settings.max_workers,
        "others": max(settings.max_workers - 1, 1),
    }
    instance = _parsed("dagster-cluster.yaml") | _filled_in(
        _parsed("kubernetes-dagster.yaml"), values
    )
    values["dagster_yaml"] = yaml.safe_dump(instance, sort_keys=False)
    values["settings"] = _variables(settings) | {f"{ENV_PREFIX}THREADS": str(cpus)}
    values["sources"] = _sources(settings)
    values["configuration"] = _digest(values)
    documents = _filled_in(_parsed("kubernetes.yaml"), values)
    return str(yaml.dump_all(documents, Dumper=_WithoutAliases, sort_keys=False))


def _variables(settings: Settings) -> dict[str, str]:
    """Return the variables of the settings that are no secrets, and differ from their defaults."""
    omitted = _NOT_IN_A_POD | secret_names(Settings.model_fields)
    changed = settings.model_dump(mode="json", exclude_defaults=True, exclude=omitted)
    return {
        "LFP_DATA_DIR": "/project/data",
        "LFP_SOURCES_FILE": "/project/sources.yaml",
        "DAGSTER_HOME": "/dagster",
        **{f"{ENV_PREFIX}{name.upper()}": _as_text(value) for name, value in changed.items()},
    }


def _sources(settings: Settings) -> str:
    """Return the sources file without its comments; empty if there is none."""
    sources = read_sources(settings.sources_path)
    if signed := [name for name, source in sources.items() if shows_signature(source.location)]:
        msg = (
            f"{settings.sources_path}: the locations of {preview(signed)} have signatures, which "
            "the manifests would show. Write ${NAME} in their place, and put NAME into the Secret."
        )
        raise SettingsError(msg)
    if not sources:
        return ""
    return str(yaml.safe_dump(read_plain_yaml(settings.sources_path), sort_keys=False))


def _digest(values: Mapping[str, Any]) -> str:
    """Return a digest of the values: pods that have another one are made again."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _as_text(value: object) -> str:
    """Return a value of a setting as its variable."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _is_bucket(place: str | None) -> bool:
    return place is not None and place.startswith(BUCKET)


def _parsed(template: str) -> Any:  # noqa: ANN401 (likewise)
    return yaml.safe_load((TEMPLATES / template).read_text())


def _filled_in(node: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 (any part of YAML)
    """Return a part of a template with the values in place of their names."""
    if isinstance(node, dict):
        return {key: _filled_in(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled_in(value, values) for value in node]
    if isinstance(node, str) and (name := _NAME.fullmatch(node)):
        return values[name[1]]
    return node


class _WithoutAliases(yaml.SafeDumper):
    """Writes each part in full, and a text of several lines as it is."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """Return True."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_WithoutAliases.add_representer(str, _represent_text)
