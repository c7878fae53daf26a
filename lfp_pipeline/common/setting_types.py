"""Types of settings: each validates a value; the error names the allowed values."""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, GetPydanticSchema, SecretStr
from pydantic_core.core_schema import (
    no_info_after_validator_function,
    str_schema,
    to_string_ser_schema,
)
from pydantic_settings import NoDecode

from lfp_pipeline.common.ignored_names import checked_pattern
from lfp_pipeline.common.text import is_size, size_in_bytes
from lfp_pipeline.common.text_codecs import codec_name

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_HOST_NAME = re.compile(r"(?!.*\.\d*$)[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_NOT_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|[\s\x00-\x1f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

BUCKET = "s3://"
"""The beginning of a place in a bucket."""

_LEAST_MEMORY_BYTES = 64_000_000

_NOT_FOR_DUCKDB = frozenset("?\\")
"""In the path of a database, DuckDB reads `?` as the start of options, and `\\` as `/`."""


def _memory(value: str) -> str:
    if not is_size(value):
        msg = "a size such as 2GB, 512MB or 1.5GiB"
        raise ValueError(msg)
    if size_in_bytes(value) < _LEAST_MEMORY_BYTES:
        msg = "at least 64MB"
        raise ValueError(msg)
    return value


def _folder(value: Path) -> Path:
    try:
        folder = value.expanduser().resolve()
    except RuntimeError as error:  # A `~user` that does not exist.
        raise ValueError(str(error)) from error
    if not next(path for path in (folder, *folder.parents) if path.exists()).is_dir():
        msg = "a folder, but a file is in its place"
        raise ValueError(msg)
    if found := _NOT_FOR_DUCKDB & set(str(folder)):
        msg = f"a path without {' and '.join(sorted(found))}, which mean something else to DuckDB"
        raise ValueError(msg)
    return folder


def _file(value: Path) -> Path:
    path = value.expanduser().resolve()
    if not path.is_file():
        msg = "a file, but none is there"
        raise ValueError(msg)
    return path


def _web_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = "an http or https URL"
        raise ValueError(msg)
    return value


def _is_encoded(url: str, authority: str) -> bool:
    """Return whether no password of a URL can be taken for another part of it."""
    return url.count("@") == authority.count("@") <= 1 and not _NOT_ENCODED.search(url)


def _server_url(*schemes: str) -> Callable[[SecretStr], SecretStr]:
    """Return a validator; no message of it shows a part of the URL, which may have a password.

    A password that is not percent-encoded may end the user's part early, so that the rest of it is
    taken for the host or the database, which messages show. Such a URL is refused.
    """

    def checked(value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        try:
            parts = urlsplit(url)
            is_valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:  # A wrong port; its message would show the URL.
            is_valid = False
        if not is_valid or not _is_encoded(url, parts.netloc):
            msg = (
                f"a URL such as {schemes[0]}://user@host/name; special characters of a password "
                "are percent-encoded (@ is %40, / is %2F, % is %25)"
            )
            raise ValueError(msg)
        if "sslpassword" in parts.query:
            msg = "a URL without sslpassword, which DuckDB shows: use a key without a password"
            raise ValueError(msg)
        return value

    return checked


def _place(value: str) -> str:
    if value.startswith(BUCKET):
        bucket, _, prefix = value.removeprefix(BUCKET).strip("/").partition("/")
        if not _BUCKET_NAME.fullmatch(bucket) or set(prefix) & set("?#\\"):
            msg = "a URL such as s3://bucket/prefix"
            raise ValueError(msg)
        return f"{BUCKET}{bucket}/{prefix}".rstrip("/")
    if _SCHEME.match(value):
        msg = "a folder, or a URL such as s3://bucket/prefix"
        raise ValueError(msg)
    return str(_folder(Path(value)))


def parse_allowed_host(entry: str) -> Network | str:
    """Return the network of an entry of `allowed_hosts` (an address is one), or its host name."""
    try:
        return ip_network(entry.strip("[]"))
    except ValueError as error:
        name = canonical_host(entry)
        if _HOST_NAME.fullmatch(name):
            return name
        msg = "a host name (xn--... if it is international), an address, or a network (10.0.0.0/8)"
        raise ValueError(msg) from error


def canonical_host(host: str) -> str:
    """Return a host name in the spelling that is compared."""
    return host.lower().removesuffix(".")


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


CatalogUrl = Annotated[SecretStr, AfterValidator(_server_url("postgresql", "postgres"))]
BrokerUrl = Annotated[SecretStr, AfterValidator(_server_url("redis", "rediss"))]
Encoding = Annotated[str, AfterValidator(codec_name)]
File = Annotated[Path, AfterValidator(_file)]
Folder = Annotated[Path, AfterValidator(_folder)]
Host = Annotated[
    Network | str,
    GetPydanticSchema(
        lambda *_: no_info_after_validator_function(
            parse_allowed_host, str_schema(), serialization=to_string_ser_schema()
        )
    ),
    BeforeValidator(lambda entry: str(entry) if isinstance(entry, Network) else entry),
]
Hosts = Annotated[tuple[Host, ...], NoDecode, BeforeValidator(_listed)]
Memory = Annotated[str, AfterValidator(_memory)]
Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(checked_pattern)], ...], NoDecode, BeforeValidator(_listed)
]
Place = Annotated[str, AfterValidator(_place)]
"""A folder, or a prefix in a bucket: `s3://bucket/prefix` without a slash at its end."""
SecretUrl = Annotated[SecretStr, AfterValidator(_web_url)]
Tokens = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[^\r\n]+$")], ...], NoDecode, BeforeValidator(_listed)
]
