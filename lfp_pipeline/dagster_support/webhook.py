"""Posts to a webhook: few attempts, within seconds, and no secrets in error texts."""

import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from lfp_pipeline.errors import LfpError

# A tick of a sensor makes up to five posts, and must end within a minute.
_ATTEMPTS = 3
_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 1.0

# At level INFO, httpx logs whole URLs with their secrets.
logging.getLogger("httpx").setLevel(logging.WARNING)


class WebhookError(LfpError):
    """A webhook did not accept a post."""


class _TransientError(WebhookError):
    """A retry may succeed."""


def post(url: str, payload: Mapping[str, object]) -> None:
    """Post a payload as JSON.

    Raises:
        WebhookError: the webhook did not accept the post. The text has only the host, because the
            path of such URLs is secret.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(_TransientError),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential_jitter(max=_LONGEST_PAUSE_SECONDS),
        reraise=True,
    )
    retrying(_post, url, payload)


def _post(url: str, payload: Mapping[str, object]) -> None:
    host = urlsplit(url).hostname
    try:
        # Only the head of the response is read: the body may be endless.
        with httpx.stream("POST", url, json=payload, timeout=_SECONDS) as response:
            status, reason = response.status_code, response.reason_phrase
    except httpx.TransportError as error:
        msg = f"The webhook at {host} cannot be reached: {type(error).__name__}: {error}"
        raise _TransientError(msg) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        msg = f"The webhook at {host} cannot be used: {type(error).__name__}."
        raise WebhookError(msg) from None
    if httpx.codes.is_success(status):
        return
    msg = f"The webhook at {host} answered {status} {reason}."
    transient = httpx.codes.is_server_error(status) or status == httpx.codes.TOO_MANY_REQUESTS
    raise (_TransientError if transient else WebhookError)(msg)
