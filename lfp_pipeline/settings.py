"""Every setting, typed and checked, from the environment (`LFP_...`) or one TOML file."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any, Literal, get_args

import pydantic_settings
from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from lfp_pipeline.common.setting_types import (
    Encoding,
    File,
    Folder,
    Hosts,
    Memory,
    Patterns,
    SecretUrl,
    Tokens,
)
from lfp_pipeline.errors import SettingsError

ENV_PREFIX = "LFP_"
SETTINGS_FILE_VARIABLE = "LFP_SETTINGS_FILE"


def project_root() -> Path:
    """The folder that holds `pyproject.toml`, or the current one for an installed package."""
    beside_package = Path(__file__).resolve().parents[1]
    return beside_package if (beside_package / "pyproject.toml").exists() else Path.cwd()


class Settings(BaseSettings):
    """The settings of one process. Each field's description is its documentation.

    Some fields have the name of an earlier release as an alias, in the environment and in the file.
    It works for one release more; where both names are set, the new one counts.
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
        None, description="Names sources. Unset: sources.yaml beside this file, if it is there."
    )

    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 2,
        ge=1,
        le=1024,
        description="DuckDB threads of one run.",
    )
    memory_limit: Memory = Field(
        "1500MB", description="DuckDB memory of one run, at least 64MB; beyond it, it spills."
    )
    parallel_files: int = Field(
        2, ge=1, le=64, description="Files, or batches of small ones, read at once within one run."
    )
    batch_bytes: int = Field(
        8 * 2**20, ge=0, description="Files up to this size in all are merged together."
    )
    batch_files: int = Field(100, ge=1, le=1000, description="Most files that are merged together.")

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
        description=r"Values that stand for an empty one, with commas between: \N,NULL.",
    )
    header_search_lines: int = Field(
        20, ge=1, le=1000, description="The header is looked for in so many lines of a file."
    )
    require_all_cells: bool = Field(
        False,
        description="Reject rows with fewer cells than the header, even where many rows leave out "
        "empty cells at their ends.",
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

    download_attempts: int = Field(5, ge=1, le=100, description="Tries of one download.")
    download_timeout_seconds: float = Field(
        6 * 3600, gt=0, description="Longest time for one download, all tries together."
    )
    max_download_bytes: int = Field(50 * 2**30, ge=1, description="Largest download.")
    allowed_hosts: Hosts = Field(
        default_factory=tuple,
        description="Hosts that downloads may reach though they are not public: names, addresses "
        "and networks, with commas between.",
    )

    writer_wait_seconds: float = Field(
        3600, ge=0, description="Longest wait for another run that is writing."
    )
    other_process_wait_seconds: float = Field(
        20,
        ge=0,
        description="Longest wait for another program that has the database open.",
        validation_alias=AliasChoices("other_process_wait_seconds", "foreign_wait_seconds"),
    )

    publish_time_share: float = Field(
        0.1,
        ge=0,
        le=1,
        validation_alias=AliasChoices("publish_time_share", "publish_share"),
        description="At most about this share of the time goes into publishing; 0: nothing is.",
    )

    inbox_stable_seconds: float = Field(
        2,
        ge=0,
        description="A file that changed more recently than this is still being written.",
        validation_alias=AliasChoices("inbox_stable_seconds", "inbox_quiet_seconds"),
    )
    ignored_files: Patterns = Field(
        default_factory=tuple,
        description="More patterns of inbox files that are ignored, with commas between: "
        "*-old.csv, drafts/, shop/*.txt.",
    )
    sensor_interval_seconds: int = Field(
        4, ge=1, description="Pause between looks at the inbox, and at which feeds are due."
    )
    sensor_max_attempts: int = Field(3, ge=1, description="Runs for one version of a file.")
    sensor_batch_bytes: int = Field(
        64 * 2**20, ge=0, description="Files up to this size in all share a run."
    )
    sensor_batch_files: int = Field(500, ge=1, description="Most files that share a run.")

    freshness_hours: float = Field(
        168, gt=0, description="Without a delivery for longer, the assets show as stale."
    )

    webhook_url: SecretUrl | None = Field(
        None, description="Failed runs are posted there as JSON. Unset: they are not."
    )

    @property
    def inbox_dir(self) -> Path:
        """Where files are dropped."""
        return self.data_dir / "inbox"

    @property
    def raw_dir(self) -> Path:
        """The raw zone: every delivery, exactly as it came."""
        return self.data_dir / "raw"

    @property
    def work_dir(self) -> Path:
        """Short-lived files: unpacked input and DuckDB's spill."""
        return self.data_dir / "work"

    @property
    def rejects_dir(self) -> Path:
        """Rejected rows, for people to mend."""
        return self.data_dir / "rejects"

    @property
    def exports_dir(self) -> Path:
        """The tables as files, for other programs."""
        return self.data_dir / "exports"

    @property
    def run_marks_dir(self) -> Path:
        """A mark for each run, held while its process lives."""
        return self.work_dir / "runs"

    @property
    def sources_path(self) -> Path:
        """The sources file, which may not be there."""
        return self.sources_file or project_root() / "sources.yaml"

    @property
    def feeds_dir(self) -> Path:
        """What is known of the feeds between polls."""
        return self.data_dir / "feeds"

    @property
    def database_path(self) -> Path:
        """The warehouse."""
        return self.data_dir / "products.duckdb"

    @property
    def published_path(self) -> Path:
        """The copy of the warehouse for readers."""
        return self.data_dir / "published" / self.database_path.name

    @property
    def duckdb_config(self) -> dict[str, Any]:
        """DuckDB's settings for a connection that has a run's resources to itself."""
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
        """The environment wins over the file."""
        del dotenv_settings, file_secret_settings
        file = TomlConfigSettingsSource(settings_cls, toml_file=_settings_file(os.environ))
        return init_settings, env_settings, file


def _settings_file(environ: Mapping[str, str]) -> Path:
    named = environ.get(SETTINGS_FILE_VARIABLE)
    if named and not Path(named).is_file():
        msg = f"{SETTINGS_FILE_VARIABLE}={named}: there is no such file."
        raise SettingsError(msg)
    return Path(named) if named else project_root() / "lfp.toml"


def load_settings() -> Settings:
    """Read and check all settings.

    Raises:
        SettingsError: names each wrong setting, its value and what is allowed.
    """
    problems = _unknown_variables(os.environ)
    try:
        settings = Settings()
    except ValidationError as error:
        problems += [_explain(problem) for problem in error.errors()]
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{_settings_file(os.environ)} is not TOML: {error}")
    except pydantic_settings.SettingsError:  # It names neither the value nor what is wrong.
        problems += _broken_json(os.environ)
    if problems:
        raise SettingsError("Wrong settings:\n  " + "\n  ".join(problems))
    return settings


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = [ENV_PREFIX + field.upper() for field in Settings.model_fields]
    known.append(SETTINGS_FILE_VARIABLE)
    accepted = {*known, *(ENV_PREFIX + name.upper() for name in _former_names())}
    unknown = [name for name in environ if name.startswith(ENV_PREFIX) and name not in accepted]
    return [f"{name} is not a setting{_did_you_mean(name, known)}" for name in sorted(unknown)]


def _former_names() -> set[str]:
    aliases = [field.validation_alias for field in Settings.model_fields.values()]
    choices = [alias.choices for alias in aliases if isinstance(alias, AliasChoices)]
    return {str(name) for names in choices for name in names} - Settings.model_fields.keys()


def _explain(problem: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails is not exported)
    field = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        bare = field.lower().removeprefix(ENV_PREFIX.lower())
        return f"{field} is not a setting{_did_you_mean(bare, list(Settings.model_fields))}"
    where = ".".join([ENV_PREFIX + field.upper(), *map(str, problem["loc"][1:])])
    reason = problem["msg"].removeprefix("Value error, ")
    value = "(a secret)" if field in _secrets() else repr(problem["input"])
    return f"{where} = {value}: {reason}"


def _secrets() -> set[str]:
    fields = Settings.model_fields.items()
    return {name for name, field in fields if SecretUrl in get_args(field.annotation)}


def _broken_json(environ: Mapping[str, str]) -> list[str]:
    name = f"{ENV_PREFIX}COLUMN_ALIASES"
    return [f'{name} = {environ.get(name)!r}: JSON such as {{"sku": ["article no"]}}']


def _did_you_mean(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else "."
