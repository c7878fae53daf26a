"""Client settings that keep the clients of object stores within the network policy.

By default, these clients use the proxies of the environment, and get credentials from the metadata
service of the cloud, which has an address that is not public.
"""

import os
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

import fsspec

from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.network_policy import NetworkPolicy

_METADATA_ADDRESS = IPv4Address("169.254.169.254")
"""Metadata service of AWS, Google and Azure."""

_S3 = frozenset({"s3", "s3a"})
_GOOGLE = frozenset({"gs", "gcs"})
_AZURE = frozenset({"az", "abfs", "abfss"})
_WITHOUT_PROXIES = frozenset({"ftp", "sftp", "ssh", "smb"}) | _S3

_VARIABLES = {
    **dict.fromkeys(_S3, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"),
    **dict.fromkeys(_GOOGLE, "GOOGLE_APPLICATION_CREDENTIALS"),
    **dict.fromkeys(
        _AZURE,
        "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or "
        "AZURE_STORAGE_CONNECTION_STRING, or AZURE_TENANT_ID, AZURE_CLIENT_ID and "
        "AZURE_CLIENT_SECRET",
    ),
}
_AZURE_SECRETS = (
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
)


def store_settings(scheme: str, policy: NetworkPolicy) -> Mapping[str, Any]:
    """Return the settings of a client beside those in the URL.

    Raises:
        LandingError: the client would use a proxy of the environment, and no setting prevents that.
    """
    if scheme not in _WITHOUT_PROXIES:
        _check_proxies(scheme)
    asks_cloud = policy.allows(_METADATA_ADDRESS)
    if scheme in _S3:
        return {"session": _aws_session(asks_cloud=asks_cloud)}
    if scheme in _GOOGLE and not asks_cloud and "token" not in _configured(_GOOGLE):
        return {"token": "google_default" if _has_google_credentials() else "anon"}
    if scheme in _AZURE and not asks_cloud and not _has_azure_credentials():
        return {"anon": True}  # Account keys, tokens and clients that are set take precedence.
    return {}


def credentials_advice(scheme: str) -> str:
    """Return a sentence that names the environment variables for the credentials of a store."""
    variables = _VARIABLES.get(scheme)
    if variables is None:
        return "Check the credentials that the store's client finds in its environment."
    return (
        f"Check the credentials that the store's client finds in its environment: {variables}. For "
        f"the role of this machine, name {_METADATA_ADDRESS} in the setting LFP_ALLOWED_HOSTS."
    )


def _check_proxies(scheme: str) -> None:
    if getproxies().keys() & {"http", "https", "all"} and not proxy_bypass("example.com"):
        msg = (
            f"{scheme}:// would go through a proxy of the environment, which is not allowed. Unset "
            "HTTPS_PROXY, HTTP_PROXY and ALL_PROXY for the runs, or set NO_PROXY=*."
        )
        raise LandingError(msg, permanent=True)


def _aws_session(*, asks_cloud: bool) -> Any:  # noqa: ANN401 (a class of aiobotocore)
    from aiobotocore.config import AioConfig  # noqa: PLC0415 (only where s3fs is installed)
    from aiobotocore.session import AioSession  # noqa: PLC0415

    session = AioSession(profile=_configured(_S3).get("profile"))
    session.set_default_client_config(AioConfig(proxies={}))
    if not asks_cloud:
        session.set_config_variable("metadata_service_num_attempts", 0)
    return session


def _has_google_credentials() -> bool:
    folder = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
    by_gcloud = Path(folder) / "application_default_credentials.json"
    return bool(os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")) or by_gcloud.is_file()


def _has_azure_credentials() -> bool:
    names = os.environ.keys()
    return {"AZURE_TENANT_ID", "AZURE_CLIENT_ID"} <= names and bool(names & set(_AZURE_SECRETS))


def _configured(schemes: Iterable[str]) -> Mapping[str, Any]:
    """Return the settings of a store in `FSSPEC_...` variables and the files of fsspec."""
    return {
        name: value
        for scheme in sorted(schemes)
        for name, value in fsspec.config.conf.get(scheme, {}).items()
    }
