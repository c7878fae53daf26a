"""The options that decide how a file is read, and the conditions that the ledger records.

The same bytes, read under the same conditions, give the same rows. The ledger keeps the conditions
of each merged delivery, as text and as a digest, so that a delivery can be read again as before;
where that is impossible, each difference has a name.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

import duckdb
from pydantic import TypeAdapter, ValidationError

from lfp_pipeline.common import text_codecs
from lfp_pipeline.common.setting_names import ENV_PREFIX
from lfp_pipeline.errors import SettingsError
from lfp_pipeline.model import table_spec
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.reading.columns import Aliases
from lfp_pipeline.settings import Settings

_READER = "reader"

_NOT_RECORDED = (
    "the settings of its reading were not recorded, and these settings, its text format or the "
    "program have changed since"
)


@dataclass(frozen=True)
class ReadOptions:
    """The settings that decide how a file is read, under their names in `Settings`.

    Attributes:
        max_archive_seconds: limits the time only. It decides no row, so it is not compared and
            not recorded.
    """

    column_aliases: Aliases
    fallback_encoding: str | None
    max_reject_share: float
    max_sku_length: int
    max_name_length: int
    max_description_length: int
    max_unpacked_bytes: int
    max_record_bytes: int
    null_tokens: Sequence[str]
    header_search_lines: int
    require_all_cells: bool
    max_archive_seconds: float = field(compare=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the options that settings contain."""
        return cls(**{option.name: getattr(settings, option.name) for option in fields(cls)})

    @property
    def recorded(self) -> dict[str, Any]:
        """The options that decide the rows, by name, as JSON has them."""
        # By its type: `1` and `1.0` are the same share.
        values: dict[str, Any] = _as_json().dump_python(self, mode="json")
        return {name: values[name] for name in _RECORDED}


@cache
def _as_json() -> TypeAdapter[ReadOptions]:
    return TypeAdapter(ReadOptions)


_RECORDED = tuple(option.name for option in fields(ReadOptions) if option.compare)


@dataclass(frozen=True)
class Conditions:
    """Everything beside the bytes that decides the rows of a file.

    Attributes:
        settings: the recorded options, by name, as JSON has them.
        text_format: what is known about the text format of the file, by name.
        programs: versions of the programs that read, by name.
    """

    settings: Mapping[str, Any]
    text_format: Mapping[str, Any]
    programs: Mapping[str, Any]

    @classmethod
    def of(cls, options: ReadOptions, text_format: TextFormat) -> Self:
        """Return the conditions of a reading by this process."""
        return cls(
            options.recorded,
            asdict(text_format),
            {"duckdb": duckdb.__version__, _READER: _source_digest()},
        )

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the conditions that a ledger row records.

        Raises:
            SettingsError: the text does not describe conditions.
        """
        try:
            found = cls(**json.loads(text))
            TextFormat(**found.text_format)
            if not isinstance(found.settings, dict) or not isinstance(found.programs, dict):
                raise TypeError("settings and programs by name")  # noqa: TRY301, EM101
        except (ValueError, TypeError) as error:
            msg = f"The recorded settings {text[:200]!r} are invalid: {error}"
            raise SettingsError(msg) from error
        return found

    @property
    def text(self) -> str:
        """The conditions as JSON; equal conditions have equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """The fingerprint: the first 16 hex digits of the sha256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def restored(self, settings: Settings) -> Settings:
        """Return settings with the recorded values; an option that was not recorded is default.

        Raises:
            SettingsError: a recorded value is no longer allowed.
        """
        values: dict[str, Any] = {}
        for name in _RECORDED:
            setting = Settings.model_fields[name]
            default = setting.get_default(call_default_factory=True)
            value = self.settings.get(name, default)
            allowed: Any = Annotated[setting.annotation, setting]
            try:
                values[name] = TypeAdapter(allowed).validate_python(value)
            except ValidationError as error:
                why = error.errors()[0]["msg"]
                msg = f"{ENV_PREFIX}{name.upper()} was {_shown(value)}, which is not allowed: {why}"
                raise SettingsError(msg) from error
        return settings.model_copy(update=values)

    def differences(self, now: "Conditions") -> list[str]:
        """Return every difference between these conditions and those of now, for people."""
        return [
            *(
                f"{ENV_PREFIX}{name.upper()} {change}"
                for name, change in _changes(self.settings, now.settings)
            ),
            *(
                f"the {name} of its source {change}"
                for name, change in _changes(self.text_format, now.text_format)
            ),
            *(
                "the code that reads has changed" if name == _READER else f"{name} {change}"
                for name, change in _changes(self.programs, now.programs)
            ),
        ]


@dataclass(frozen=True)
class Rereading:
    """How to read a delivery again that was read before.

    Attributes:
        settings: to use: the recorded ones, if they can be restored.
        differences: reasons why other rows may result; empty: the same rows result.
        only_programs: whether only the programs differ, so that the results are comparable.
        kept: restored settings that have other values now, each with both values.
    """

    settings: Settings
    differences: Sequence[str] = ()
    only_programs: bool = False
    kept: tuple[str, ...] = ()


def reread(
    digest: str | None, recorded: str | None, text_format: TextFormat | None, settings: Settings
) -> Rereading:
    """Return how to read a delivery as it was read before.

    The ledger has the fingerprint `digest` and the `recorded` conditions as text; a row of an
    earlier schema has none. Without a text format of the delivery, the recorded one counts.
    """
    options = ReadOptions.of(settings)
    if recorded is None:
        alike = Conditions.of(options, text_format or TextFormat()).digest == digest
        return Rereading(settings, [] if alike else [_NOT_RECORDED])
    try:
        then = Conditions.from_text(recorded)
        restored = then.restored(settings)
    except SettingsError as error:
        return Rereading(settings, [str(error)])
    if then.digest != digest:
        return Rereading(settings, ["its ledger row was edited"])
    known_format = text_format or TextFormat(**then.text_format)
    now = Conditions.of(options, known_format)
    same = Conditions.of(ReadOptions.of(restored), known_format)
    if now == then:
        return Rereading(settings)
    if same == then:
        return Rereading(restored, kept=tuple(then.differences(now)))
    only_programs = replace(same, programs=then.programs) == then
    return Rereading(restored, then.differences(now), only_programs)


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, f"was {_shown(then.get(name))}, and is {_shown(now.get(name))} now")
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if value is not None else "unset"


@cache
def _source_digest() -> str:
    """Return a digest of the code that reads, which replaces a version number kept by hand."""
    others = [Path(str(module.__file__)) for module in (text_codecs, table_spec)]
    sources = [*sorted(Path(__file__).parent.rglob("*.py")), *others]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
