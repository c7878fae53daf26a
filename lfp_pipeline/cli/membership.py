"""The mark of this host among the hosts that work together, for as long as its command runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from lfp_pipeline import __version__
from lfp_pipeline.cli.output import BUSY, say

if TYPE_CHECKING:
    from lfp_pipeline.hosts.liveness import Liveness, Mark
    from lfp_pipeline.hosts.members import Role
    from lfp_pipeline.settings import Settings

_LOOK_SECONDS = 1.0


def require_servers(settings: "Settings", *, broker: bool = True) -> None:
    """Refuse to start where a server of the settings cannot be used; warn of folders on one host.

    Args:
        broker: whether the Redis server is needed; on Kubernetes it is not.

    Raises:
        SettingsError: a setting, a package, the tables or a bucket is missing.
        CatalogUnreachableError: the database does not answer.
        BrokerUnreachableError: the Redis server does not answer.
        BucketUnreachableError: the object store does not answer.
    """
    from lfp_pipeline.errors import SettingsError
    from lfp_pipeline.hosts.broker import broker_client
    from lfp_pipeline.hosts.buckets import missing_buckets
    from lfp_pipeline.hosts.liveness import Kind, liveness_of
    from lfp_pipeline.hosts.places import unshared_folders

    if settings.catalog is None:
        msg = "LFP_CATALOG is not set. On one host, `lfp dev` does all work."
        raise SettingsError(msg)
    liveness_of(settings).live(Kind.HOST)
    if broker:
        with broker_client(settings):
            pass
    if missing := missing_buckets(settings):
        msg = f"The bucket {next(iter(missing))} is missing. Create it: lfp cluster init"
        raise SettingsError(msg)
    for warning in unshared_folders(settings):
        say(warning)


@contextmanager
def member(settings: "Settings", role: "Role", name: str = "", slots: int = 0) -> Iterator[Event]:
    """Hold the mark of this host for the block; the event is set if others declare it dead.

    Raises:
        SystemExit: a living process has the mark.
    """
    from lfp_pipeline.hosts.liveness import Kind, MarkTakenError, liveness_of
    from lfp_pipeline.hosts.members import Member, mark_name, settings_digest

    liveness, mark = liveness_of(settings), mark_name(role, name)
    text = Member(role, slots, __version__, settings_digest(settings)).text
    other = None
    while True:
        for _ in liveness.claim_dead(Kind.HOST, lambda dead: dead.name == mark):
            say(f"The former {mark} is dead; this process takes its place.")
        try:
            with liveness.hold(Kind.HOST, mark, text) as lost:
                yield lost
                return
        except MarkTakenError:
            other = _wait_for(liveness, mark, other)


def _wait_for(liveness: "Liveness", name: str, before: "Mark | None") -> "Mark | None":
    """Wait until the holder of a mark is dead; exit once it shows that it lives."""
    from lfp_pipeline.hosts.liveness import Kind

    other = next((mark for mark in liveness.live(Kind.HOST) if mark.name == name), None)
    if other and before and other.seconds < before.seconds:
        say(f"Another {name} runs on the host {other.host}. All hosts: lfp cluster status")
        raise SystemExit(BUSY)
    if other and not before:
        say(
            f"A {name} was seen on the host {other.host} {other.seconds:.0f} s ago; waiting for it."
        )
    time.sleep(_LOOK_SECONDS)
    return other
