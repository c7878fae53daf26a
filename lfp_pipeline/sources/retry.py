"""Retries of downloads, within limits of attempts and time."""

import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
)

from lfp_pipeline.common.backoff import Backoff
from lfp_pipeline.errors import LandingError
from lfp_pipeline.sources.base import DownloadLimits

Result = TypeVar("Result")


def with_retries(attempt: Callable[[], Result], limits: DownloadLimits) -> Result:
    """Return the result of the first attempt that succeeds; pauses between attempts grow.

    A pause is at least as long as the server asks for.

    Raises:
        LandingError: the last attempt failed: permanently, or attempts or time are used up.
    """
    backoff = Backoff(base=1.0, limit=limits.longest_pause_seconds, jitter=1.0)
    retrying = Retrying(
        retry=retry_if_exception(_is_transient),
        stop=stop_after_attempt(limits.attempts) | stop_before_delay(limits.seconds),
        wait=lambda state: max(backoff.delay(state.attempt_number), _retry_after(state)),
        reraise=True,
    )
    started = time.monotonic()
    try:
        return retrying(attempt)
    except LandingError as error:
        tries = retrying.statistics["attempt_number"]
        remaining = limits.seconds - (time.monotonic() - started)
        msg = str(error)
        if error.retry_after is not None and error.retry_after >= remaining:
            msg += (
                f" That is later than this download may take, {limits.seconds:,g} s in all "
                "(setting LFP_DOWNLOAD_TIMEOUT_SECONDS)."
            )
        elif tries == 1:
            raise
        if tries > 1:
            msg += f" ({tries} tries.)"
        raise LandingError(msg, permanent=error.permanent, retry_after=error.retry_after) from error


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, LandingError) and not error.permanent


def _retry_after(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after or 0.0) if isinstance(error, LandingError) else 0.0
