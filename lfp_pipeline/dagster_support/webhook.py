"""Posting to a webhook: a few tries, within seconds, and nothing secret in what is told of it."""

import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from lfp_pipeline.errors import LfpError

# A tick of a sensor posts five times at most, and must end within a minute.
_ATTEMPTS = 3
_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 1.0

# At its level INFO, httpx logs whole URLs, with the secrets in them.
logging.getLogger("httpx").setLevel(logging.WARNING)


class WebhookError(LfpError):
    """A webhook did not take what was posted."""


class _TransientError(WebhookError):
    """It may take it the next time."""


def post(url: str, payload: Mapping[str, object]) -> None:
    """Post a payload as JSON.

    Raises:
        WebhookError: it was not taken; the text names the host only, because the secrets of such
            URLs are in their paths.
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
        # Only the head of the answer is read: its body may have no end.
        with httpx.stream("POST", url, json=payload, timeout=_SECONDS) as answer:
            status, reason = answer.status_code, answer.reason_phrase
    except httpx.TransportError as error:
        msg = f"The webhook at {host} cannot be reached: {type(error).__name__}: {error}"
        raise _TransientError(msg) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        msg = f"The webhook at {host} cannot be asked: {type(error).__name__}."
        raise WebhookError(msg) from None
    if httpx.codes.is_success(status):
        return
    msg = f"The webhook at {host} answered {status} {reason}."
    again = httpx.codes.is_server_error(status) or status == httpx.codes.TOO_MANY_REQUESTS
    raise (_TransientError if again else WebhookError)(msg)
