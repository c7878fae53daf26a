"""Files in object stores and on file servers, by fsspec.

All clients are used in the same way: look up the object, open, seek and read it, and check that the
object has not changed. Each client finds credentials in its own environment variables and files, or
in those of fsspec (`FSSPEC_SFTP_PASSWORD`).
"""

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.registry import get_filesystem_class

from lfp_pipeline.common.clock import utc_from_zone
from lfp_pipeline.errors import LandingError
from lfp_pipeline.model.delivery import TextFormat
from lfp_pipeline.sources.base import (
    CHUNK_BYTES,
    DownloadLimits,
    Fetched,
    OnProgress,
    Sink,
    Version,
)
from lfp_pipeline.sources.content_headers import charset_in
from lfp_pipeline.sources.redaction import one_line, public_url
from lfp_pipeline.sources.store_settings import credentials_advice, store_settings
from lfp_pipeline.sources.transfer import Part, Transfer

_OURS = "'lfp-pipeline[{}]'"
PROTOCOLS: Mapping[str, str] = {
    "abfs": _OURS.format("az"),
    "abfss": _OURS.format("az"),
    "az": _OURS.format("az"),
    "ftp": "fsspec",
    "gcs": _OURS.format("gs"),
    "gs": _OURS.format("gs"),
    "hf": "huggingface_hub",
    "oci": "ocifs",
    "oss": "ossfs",
    "s3": _OURS.format("s3"),
    "s3a": _OURS.format("s3"),
    "sftp": "paramiko",
    "smb": "smbprotocol",
    "ssh": "paramiko",
}
"""Supported protocols, with the package to install for each.

Other protocols of fsspec would bypass the network policy: they read files of this machine (`local`,
`git`), use another protocol (`simplecache`, `zip`), or follow a server to any host (`webhdfs`).
"""

_PORTS = {"ftp": 21, "sftp": 22, "ssh": 22, "smb": 445}
_BLOCK_BYTES = 8 * CHUNK_BYTES
"""Bytes of one request; each request costs a round trip."""

_IDENTITY = (
    *("size", "ETag", "etag", "md5Hash", "generation", "VersionId", "version_id", "oid"),
    *("LastModified", "last_modified", "updated", "mtime", "modify"),
)
"""Keys of fsspec's info whose values change with the bytes of an object."""

_PERMANENT = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    TypeError,
    ValueError,
)
_PERMANENT_ERRNOS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG})
# Errors of the clients have no common base class, but similar names.
_NO_CREDENTIALS = re.compile(r"Credential|Auth|Token|Profile")
_PERMANENT_NAMES = re.compile(r"Credential|Auth|Token|Profile|error_perm|BadHostKey")


@dataclass(frozen=True)
class StoredObject:
    """An object in a store, or a file on a server, by its URL (`s3://bucket/key`).

    Raises:
        LandingError: the URL is not valid, or contains a password.
    """

    url: str
    limits: DownloadLimits

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            has_password = parts.password is not None
            is_valid = bool(parts.netloc and parts.path.strip("/"))
        except ValueError:
            has_password = is_valid = False
        if has_password:
            msg = (
                "The URL has a password in it. Set the credentials of object stores in the "
                "environment, or in the files that the store's own client reads."
            )
            raise LandingError(msg, permanent=True)
        if not is_valid:
            msg = "The URL is not valid. Write it as s3://bucket/key or sftp://host/path."
            raise LandingError(msg, permanent=True)

    @property
    def name(self) -> str:
        """The URL without user and query."""
        return public_url(self.url)

    def version(self, known: Version | None) -> Version | None:
        """Return the identifiers of the object that change with its bytes."""
        del known
        with _translating_errors(self.name):
            version = _version(_info(*_opened(self.url, self.limits), self.name))
        return version if version.keys() - {"size"} else None

    def fetch(self, sink: Sink, on_progress: OnProgress) -> Fetched:
        """Download the file; the charset is that of the object's Content-Type."""
        return _ObjectTransfer(self.name, self.limits, sink, on_progress, self.url).run()


@dataclass
class _ObjectTransfer(Transfer):
    """A download from a store, resumed while the store describes the object in the same way."""

    url: str
    version: Version | None = field(default=None, init=False)

    @contextmanager
    def read(self, offset: int) -> Iterator[Part]:
        with _translating_errors(self.name):
            # Each attempt has its own client, because a connection may be broken.
            store, path = _opened(self.url, self.limits)
            self.seconds_left()
            info = _info(store, path, self.name)
            version = _version(info)
            if version != self.version or version.keys() <= {"size"}:
                offset, self.version = 0, version
            size = int(version["size"]) if "size" in version else None
            fetched = Fetched(_delivered_at(store, path), _text_format(info))
            with store.open(path, "rb", block_size=_BLOCK_BYTES) as file:
                file.seek(offset)
                yield Part(offset, size, iter(partial(file.read, CHUNK_BYTES), b""), fetched)
            if _version(_info(store, path, self.name)) != version:
                self.version = None
                msg = f"{self.name} changed while it was being read."
                raise LandingError(msg, permanent=False)


def _opened(url: str, limits: DownloadLimits) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return a client for the store of a URL, and the path of the object in the store."""
    scheme = urlsplit(url).scheme
    try:
        client = get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:  # ValueError: its package has not registered it.
        msg = (
            f"{scheme}:// needs a package that is not installed. Install it with: "
            f"pip install {PROTOCOLS[scheme]}"
        )
        raise LandingError(msg, permanent=True) from error
    settings = client._get_kwargs_from_urls(url)  # noqa: SLF001 (the only way to its host)
    if scheme in _PORTS:
        port = int(settings.get("port") or _PORTS[scheme])
        # The client gets the checked address, so that no name is resolved again.
        settings["host"] = limits.network_policy.addresses(settings["host"], port)[0]
    settings = {**store_settings(scheme, limits.network_policy), **settings}
    store = client(**settings, skip_instance_cache=True)
    return store, client._strip_protocol(url)  # noqa: SLF001


def _info(store: fsspec.AbstractFileSystem, path: str, name: str) -> Mapping[str, Any]:
    """Return the current metadata of an object."""
    store.invalidate_cache()
    info: Mapping[str, Any] = store.info(path)
    if info.get("type") == "directory":
        msg = f"{name} is a folder. Use the URL of one file in the folder."
        raise LandingError(msg, permanent=True)
    return info


def _version(info: Mapping[str, Any]) -> Version:
    return {key: str(info[key]) for key in _IDENTITY if info.get(key) is not None}


def _text_format(info: Mapping[str, Any]) -> TextFormat:
    content_type = info.get("ContentType") or info.get("contentType")
    return TextFormat(charset=charset_in(str(content_type or "")))


@contextmanager
def _translating_errors(name: str) -> Iterator[None]:
    try:
        yield
    except LandingError:
        raise
    except Exception as error:  # Each client has its own errors.
        raise _landing_error(name, error) from error


def _landing_error(name: str, error: Exception) -> LandingError:
    """Return a client's error as a landing error, without credentials."""
    lines = str(error).splitlines()
    reason = one_line(next(filter(str.strip, lines), "")).rstrip(".")
    permanent = (
        isinstance(error, _PERMANENT)
        or getattr(error, "errno", None) in _PERMANENT_ERRNOS
        or any(_PERMANENT_NAMES.search(kind.__name__) for kind in type(error).__mro__)
    )
    advice = credentials_advice(urlsplit(name).scheme)
    match error:
        case FileNotFoundError():
            msg = f"{name} is not there."
        case PermissionError():
            msg = f"{name} may not be read: {reason}. {advice}"
        case _:
            msg = f"{name} could not be read: {type(error).__name__}: {reason}."
            if _NO_CREDENTIALS.search(type(error).__name__):
                msg += f" {advice}"
    return LandingError(msg, permanent=permanent)


def _delivered_at(store: fsspec.AbstractFileSystem, path: str) -> datetime | None:
    try:
        return utc_from_zone(store.modified(path))
    except (RuntimeError, OverflowError):  # NotImplementedError is a RuntimeError.
        return None
