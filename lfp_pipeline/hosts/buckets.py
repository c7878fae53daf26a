"""The buckets of the settings: which there are, whether they answer, and how they are created.

Credentials and the server come from the variables AWS_..., as for all programs of S3.
"""

from typing import TYPE_CHECKING, Any

from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import BucketUnreachableError, SettingsError
from lfp_pipeline.settings import Settings

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_SECONDS = 10
_ATTEMPTS = 3
_DEFAULT_REGION = "us-east-1"
_MISSING = {"404", "NoSuchBucket", "NotFound"}
_CREATED_MEANWHILE = {"BucketAlreadyOwnedByYou"}


def buckets_of(settings: Settings) -> dict[str, str]:
    """Return the setting that names each bucket, by the name of the bucket."""
    places = {"LFP_LAKE": settings.lake, "LFP_RAW": settings.raw, "LFP_INBOX": settings.inbox}
    return {
        place.removeprefix(BUCKET).partition("/")[0]: setting
        for setting, place in places.items()
        if place and place.startswith(BUCKET)
    }


def missing_buckets(settings: Settings) -> list[str]:
    """Return the buckets that do not exist.

    Raises:
        BucketUnreachableError: the server does not answer, or refuses the access.
        SettingsError: the package s3fs is not installed.
    """
    return [name for name in buckets_of(settings) if not _exists(settings, name)]


def create_missing_buckets(settings: Settings) -> list[str]:
    """Create the buckets that do not exist, and return their names; errors as above."""
    created = []
    for name in missing_buckets(settings):
        _call(settings, name, "create_bucket", **_location())
        created.append(name)
    return created


def _exists(settings: Settings, name: str) -> bool:
    return _call(settings, name, "head_bucket") is not None


def _call(settings: Settings, name: str, method: str, **arguments: object) -> object | None:
    """Return the answer to a call about a bucket; None: the bucket does not exist."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 (optional)
    except ImportError as error:
        msg = "A bucket needs packages that are missing: pip install 'lfp-pipeline[cluster]'"
        raise SettingsError(msg) from error
    try:
        client = _client()
        answer: object = getattr(client, method)(Bucket=name, **arguments)
    except ClientError as error:
        if _code_of(error) in _MISSING:
            return None
        if _code_of(error) in _CREATED_MEANWHILE:
            return ()
        reason = f"refuses {method}: {_code_of(error)}"
    except BotoCoreError as error:
        reason = f"cannot be reached: {type(error).__name__}"
    else:
        return answer
    msg = (
        f"The bucket {name} ({buckets_of(settings)[name]}) at {_place()} {reason}. Check "
        "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that this host may "
        "reach the server."
    )
    raise BucketUnreachableError(msg)


def _client() -> Any:  # noqa: ANN401 (botocore makes its class)
    from botocore.config import Config  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    config = Config(
        connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": _ATTEMPTS}
    )
    session = get_session()
    region = session.get_config_variable("region") or _DEFAULT_REGION
    return session.create_client("s3", region_name=region, config=config)


def _location() -> dict[str, object]:
    region = _client().meta.region_name
    # The default region refuses its own name here.
    if region == _DEFAULT_REGION:
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}


def _place() -> str:
    return str(_client().meta.endpoint_url)


def _code_of(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
