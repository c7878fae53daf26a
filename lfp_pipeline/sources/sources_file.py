"""The sources file: named sources, and how often each is polled.

    sources:
      - name: shop                      # its partition
        location: https://${SHOP_USER}:${SHOP_PASSWORD}@example.com/products.csv.gz
        interval: 300                   # seconds between polls; without: only on request
      - name: warehouse
        kind: sense                     # GET location/sense reports updates, location/read the file
        location: https://example.com/feed
        interval: 10
      - name: legacy
        location: /mnt/export/products.txt
        encoding: windows-1251          # if the file is not UTF-8; any text codec of Python
        delimiter: tab                  # or one character, in quotes: ";", "|", "^"

`${NAME}` is a variable of the environment, which keeps secrets out of the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ValidationError,
    model_validator,
)
from pydantic_core.core_schema import no_info_after_validator_function, str_schema

from lfp_pipeline.common.plain_yaml import PlainYamlError, read_plain_yaml
from lfp_pipeline.common.text import field_and_reason
from lfp_pipeline.common.text_codecs import codec_name
from lfp_pipeline.errors import SettingsError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.model.partition_key import PURGES, is_partition_key
from lfp_pipeline.sources.written_location import Location, resolve_location

_LONGEST_INTERVAL = 366 * 86_400
_DELIMITER = re.compile(r"[\x01-\x7f]")
_NO_DELIMITER = re.compile(r"[A-Za-z0-9\"' \r\n\\]")


def _partition_key(name: str) -> str:
    if not is_partition_key(name):
        msg = "use letters, digits, `.`, `_` and `-`, as in a file name"
        raise ValueError(msg)
    if name == PURGES:
        msg = f"the partition {PURGES} is reserved for purges; choose another name"
        raise ValueError(msg)
    return name


def _delimiter(value: object) -> str:
    if isinstance(value, str):
        character = "\t" if value.lower() == "tab" else value
        if _DELIMITER.fullmatch(character) and not _NO_DELIMITER.fullmatch(character):
            return character
    msg = (
        'use the word tab, or one ASCII character in quotes (";") that is no letter, digit, quote, '
        "space, line break or backslash"
    )
    raise ValueError(msg)


_LOCATION = GetPydanticSchema(
    lambda *_: no_info_after_validator_function(resolve_location, str_schema())
)


class NamedSource(BaseModel):
    """One entry of the sources file.

    Attributes:
        name: partition of the source.
        location: URL or path, with the values of the environment.
        kind: `file`: the file at the location; `sense`: a server that reports updates at
            `location/sense`, and has its file at `location/read`.
        interval: seconds between polls, at most a year; None: the source is not polled.
        sha256: required digest of the file, in hexadecimal digits; None: any.
        encoding: encoding of the file, by Python's name; None: it is detected.
        delimiter: delimiter of the file, one ASCII character; None: it is detected.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(_partition_key)]
    location: Annotated[Location, _LOCATION]
    kind: Literal["file", "sense"] = "file"
    interval: Annotated[float, Field(ge=1, le=_LONGEST_INTERVAL, allow_inf_nan=False)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = None
    encoding: Annotated[str, AfterValidator(codec_name)] | None = None
    # Validated before the type: YAML reads an unquoted # or | as nothing or as an empty text.
    delimiter: Annotated[str | None, BeforeValidator(_delimiter)] = None

    @property
    def text_format(self) -> TextFormat:
        """Declared encoding and delimiter."""
        return TextFormat(encoding=self.encoding, delimiter=self.delimiter)

    @model_validator(mode="after")
    def _is_a_server(self) -> Self:
        if self.kind == "sense" and not self.location.lower().startswith(("http://", "https://")):
            msg = "location: must be an http or https URL for kind: sense"
            raise ValueError(msg)
        return self


def read_sources(path: Path) -> Mapping[str, NamedSource]:
    """Return the entries of a sources file by name; empty if the file does not exist.

    Raises:
        SettingsError: an entry is wrong. The text says which and what is allowed, and quotes no
            location.
    """
    try:
        content = read_plain_yaml(path)
    except FileNotFoundError:
        return {}
    except PlainYamlError as error:
        msg = f"The sources file {path} cannot be read: {error}."
        raise SettingsError(msg) from None
    if content is None:  # The file has comments only.
        return {}
    entries = content.get("sources") if isinstance(content, dict) else None
    if not isinstance(entries, list) or set(content) != {"sources"}:
        msg = f"The sources file {path} must have one key, `sources:`, with a list of entries."
        raise SettingsError(msg)
    found: dict[str, NamedSource] = {}
    problems = []
    for number, entry in enumerate(entries, 1):
        try:
            source = NamedSource.model_validate(entry)
        except ValidationError as error:
            problems += [f"entry {number}: {_explain(problem)}" for problem in error.errors()]
            continue
        if source.name in found:
            problems.append(f"entry {number}: the name {source.name} is there twice")
        found[source.name] = source
    if problems:
        raise SettingsError(
            f"Wrong entries in the sources file {path}:\n  " + "\n  ".join(problems)
        )
    return found


def _explain(problem: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails is not exported)
    path, reason = field_and_reason(problem)
    if problem["type"] == "extra_forbidden":
        reason = f"no such key; there are {', '.join(NamedSource.model_fields)}"
    return f"{path or 'the entry'}: {reason}"
