"""All settings, typed and validated, from the environment (`LFP_...`) or one TOML file."""

import os
from collections.abc import Mapping
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any, Literal

import pydantic_settings
from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from lfp_pipeline.common.project_folder import project_root
from lfp_pipeline.common.setting_names import (
    ENV_PREFIX,
    NEEDS_CATALOG,
    explain,
    unknown_variables,
)
from lfp_pipeline.common.setting_types import (
    BUCKET,
    BrokerUrl,
    CatalogUrl,
    Encoding,
    File,
    Folder,
    Hosts,
    Memory,
    Patterns,
    Place,
    SecretUrl,
    Tokens,
)
from lfp_pipeline.common.settings_file import SettingsFile, settings_file
from lfp_pipeline.errors import SettingsError


class Settings(BaseSettings):
    """The settings of one process; the description of each field is its documentation.

    `load_settings()` reads the environment and the settings file. `Settings(data_dir=folder)` sets
    some fields directly, and reads the others. Settings do not change.

    The former name of a field is an alias for one release, in the environment and in the file. If
    both names are set, the new name wins.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_prefix_target="all",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    data_dir: Folder = Field(
        default_factory=lambda: project_root() / "data",
        description="Holds inbox/, raw/, rejects/, work/, feeds/, published/, exports/ and "
        "products.duckdb.",
    )

    sources_file: File | None = Field(
        None,
        description="File that names sources. Unset: sources.yaml in the project, if it exists.",
    )

    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 2,
        ge=1,
        le=1024,
        description="DuckDB threads of one run.",
    )
    memory_limit: Memory = Field(
        "1500MB", description="DuckDB memory of one run, at least 64MB; DuckDB spills beyond."
    )
    parallel_files: int = Field(
        2, ge=1, le=64, description="Files, or batches of small files, that one run reads at once."
    )
    batch_bytes: int = Field(
        8 * 2**20, ge=0, description="Total size of small files that are merged together."
    )
    batch_files: int = Field(100, ge=1, le=1000, description="Limit of files merged together.")

    column_aliases: Mapping[Literal["name", "sku", "description"], list[str]] = Field(
        default_factory=dict,
        description='Other header names of a column, as JSON: {"sku": ["article no"]}.',
    )
    fallback_encoding: Encoding | None = Field(
        None,
        description="Encoding of files that are not UTF-8, such as windows-1252 or shift_jis. "
        "Unset: such rows are rejected.",
    )
    max_reject_share: float = Field(
        0.10, ge=0, le=1, description="A delivery with a larger share of rejects is refused whole."
    )
    max_sku_length: int = Field(200, ge=1, description="Longest sku, in characters.")
    max_name_length: int = Field(1_000, ge=1, description="Longest name, in characters.")
    max_description_length: int = Field(
        100_000, ge=1, description="Longest description, in characters."
    )
    null_tokens: Tokens = Field(
        default_factory=tuple,
        description=r"Values that count as empty, separated by commas: \N,NULL.",
    )
    header_search_lines: int = Field(
        20, ge=1, le=1000, description="Lines of a file in which the header is searched."
    )
    require_all_cells: bool = Field(
        False,
        description="Reject rows with fewer cells than the header, even if many rows omit empty "
        "cells at their ends.",
    )
    max_record_bytes: int = Field(
        2_000_000, ge=100, le=100_000_000, description="Longest record of a file, in bytes."
    )
    max_unpacked_bytes: int = Field(
        100 * 2**30, ge=1, description="Largest size of a file once decompressed."
    )
    max_archive_seconds: float = Field(
        3600, gt=0, description="Longest time for reading the members of one zip, in seconds."
    )

    download_attempts: int = Field(5, ge=1, le=100, description="Attempts per download.")
    download_timeout_seconds: float = Field(
        6 * 3600, gt=0, description="Longest time for one download, all attempts together."
    )
    max_download_bytes: int = Field(50 * 2**30, ge=1, description="Largest download.")
    allowed_hosts: Hosts = Field(
        default_factory=tuple,
        description="Hosts that are not public and that downloads may reach: names, addresses and "
        "networks, separated by commas.",
    )

    writer_wait_seconds: float = Field(
        3600, ge=0, description="Longest wait for another run that is writing."
    )
    other_process_wait_seconds: float = Field(
        20,
        ge=0,
        description="Longest wait for another process that has the database open.",
        validation_alias=AliasChoices("other_process_wait_seconds", "foreign_wait_seconds"),
    )

    publish_time_share: float = Field(
        0.1,
        ge=0,
        le=1,
        validation_alias=AliasChoices("publish_time_share", "publish_share"),
        description="Maximum share of time spent publishing; 0 disables it.",
    )

    inbox_stable_seconds: float | None = Field(
        None,
        ge=0,
        description="A file counts as complete after so many seconds without a change. Unset: once "
        "no program has it open for writing; after 2 s where the kernel does not say.",
        validation_alias=AliasChoices("inbox_stable_seconds", "inbox_quiet_seconds"),
    )
    ignored_files: Patterns = Field(
        default_factory=tuple,
        description="Further patterns of inbox files to ignore, separated by commas: "
        "*-old.csv, drafts/, shop/*.txt.",
    )
    sensor_interval_seconds: int = Field(
        4, ge=1, description="Pause between two ticks of a sensor."
    )
    sensor_watch_seconds: float = Field(
        4.7,
        ge=0,
        le=50,
        description="Time for which a tick of the inbox's sensor waits for files, if none is due. "
        "The daemon begins ticks every five seconds.",
    )
    sensor_max_attempts: int = Field(
        3, ge=1, description="Limit of runs for one version of a file."
    )
    sensor_batch_bytes: int = Field(
        64 * 2**20,
        ge=0,
        description="Larger files share no run with smaller ones, which would wait for them.",
    )
    sensor_batch_files: int = Field(500, ge=1, description="Limit of files that share a run.")

    freshness_hours: float = Field(
        168, gt=0, description="Time without a delivery after which the assets show as stale."
    )

    webhook_url: SecretUrl | None = Field(
        None, description="URL to which failed runs are posted as JSON."
    )

    catalog: CatalogUrl | None = Field(
        None,
        description="URL of a PostgreSQL database. Set: several hosts work together; the tables "
        "are a DuckLake with its catalog there. Its password: in the URL, or in PGPASSWORD.",
    )
    lake: Place | None = Field(
        None, description="Folder or s3://bucket/prefix of the lake. Unset: lake/ in data_dir."
    )
    lake_retention_hours: float = Field(
        24,
        ge=1,
        le=87_600,
        description="Age up to which `lfp maintain` keeps snapshots of the lake.",
    )
    raw: Place | None = Field(
        None, description="Folder or s3://bucket/prefix of deliveries. Unset: raw/ in data_dir."
    )
    inbox: Place | None = Field(
        None, description="Folder or s3://bucket/prefix for files. Unset: inbox/ in data_dir."
    )
    broker: BrokerUrl | None = Field(
        None, description="URL of the Redis server through which the workers get their runs."
    )
    max_workers: int = Field(8, ge=1, le=10_000, description="Limit of runs at once, on all hosts.")
    worker_runs: int = Field(2, ge=1, le=1_000, description="Limit of runs at once on one worker.")

    @field_validator("lake", "broker", "raw", "inbox")
    @classmethod
    def _require_catalog(cls, value: object, info: ValidationInfo) -> object:
        is_for_hosts = info.field_name in {"lake", "broker"} or str(value).startswith(BUCKET)
        if value is not None and is_for_hosts and info.data.get("catalog", "invalid") is None:
            raise PydanticCustomError(NEEDS_CATALOG, "only with LFP_CATALOG, which is not set")
        return value

    @property
    def ui_command(self) -> str:
        """The command that starts the UI and the sensors."""
        return "lfp dev" if self.catalog is None else "lfp cluster head"

    @property
    def inbox_place(self) -> str:
        """The folder or the prefix in a bucket into which files are dropped."""
        return self.inbox or str(self.data_dir / "inbox")

    @property
    def inbox_dir(self) -> Path:
        """The folder into which files are dropped, if the inbox is not in a bucket."""
        return self._folder(self.inbox, "inbox")

    @property
    def raw_place(self) -> str:
        """The folder or the prefix in a bucket that holds the bytes of deliveries."""
        return self.raw or str(self.data_dir / "raw")

    @property
    def raw_dir(self) -> Path:
        """The folder of the raw zone, if that is not in a bucket."""
        return self._folder(self.raw, "raw")

    @property
    def lake_place(self) -> str:
        """The folder or the prefix in a bucket that holds the files of the DuckLake."""
        return self.lake or str(self.data_dir / "lake")

    def _folder(self, place: str | None, name: str) -> Path:
        return Path(place) if place and not place.startswith(BUCKET) else self.data_dir / name

    @property
    def work_dir(self) -> Path:
        """Short-lived files: unpacked input, and what DuckDB spills."""
        return self.data_dir / "work"

    @property
    def rejects_dir(self) -> Path:
        """Rejected rows as files, for people to fix."""
        return self.data_dir / "rejects"

    @property
    def exports_dir(self) -> Path:
        """The tables as files, for other programs."""
        return self.data_dir / "exports"

    @property
    def run_marks_dir(self) -> Path:
        """One mark file per run, locked while the process of the run lives."""
        return self.work_dir / "runs"

    @property
    def sources_path(self) -> Path:
        """The sources file, which may not exist."""
        return self.sources_file or project_root() / "sources.yaml"

    @property
    def feeds_dir(self) -> Path:
        """The state of the feeds between polls."""
        return self.data_dir / "feeds"

    @property
    def database_path(self) -> Path:
        """The database."""
        return self.data_dir / "products.duckdb"

    @property
    def published_path(self) -> Path:
        """The published copy of the database."""
        return self.data_dir / "published" / self.database_path.name

    @property
    def duckdb_config(self) -> dict[str, Any]:
        """DuckDB's settings for a connection that uses all resources of a run."""
        return {
            "threads": self.threads,
            "memory_limit": self.memory_limit,
            "temp_directory": str(self.work_dir / "spill"),
        }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the first of which wins: arguments, environment, file."""
        del dotenv_settings, file_secret_settings
        file = SettingsFile(settings_cls, toml_file=settings_file(os.environ))
        return init_settings, env_settings, file


def load_settings() -> Settings:
    """Return the settings of this process, from the environment and the settings file.

    Raises:
        SettingsError: settings are wrong; the text lists each with its value and the allowed ones.
    """
    fields = Settings.model_fields
    problems = unknown_variables(os.environ, fields)
    try:
        settings = Settings()
    except ValidationError as error:
        problems += explain(error, fields)
    except FileNotFoundError as error:  # A variable names the settings file.
        problems.append(str(error))
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{settings_file(os.environ)} is not TOML: {error}")
    except pydantic_settings.SettingsError:  # Its text has neither value nor reason.
        name = f"{ENV_PREFIX}COLUMN_ALIASES"
        value = os.environ.get(name)
        problems.append(f'{name} = {value!r}: JSON such as {{"sku": ["article no"]}}')
    if problems:
        raise SettingsError("Wrong settings:\n  " + "\n  ".join(problems))
    return settings
