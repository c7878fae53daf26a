"""The hosts that work together: the head, and the workers with their slots for runs."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Literal

from lfp_pipeline.common.setting_names import secret_names
from lfp_pipeline.hosts.liveness import Kind, Liveness, Mark
from lfp_pipeline.settings import Settings

Role = Literal["head", "worker"]

_OF_ONE_HOST = {"data_dir", "sources_file", "threads", "memory_limit"}
"""Settings that may differ between hosts."""


@dataclass(frozen=True)
class Member:
    """What a head or a worker says of itself.

    Attributes:
        slots: number of runs that it executes at once.
        settings: digest of the settings that all hosts have in common.
    """

    role: Role
    slots: int = 0
    version: str = ""
    settings: str = ""

    @property
    def text(self) -> str:
        """The text of its mark."""
        return json.dumps(asdict(self))


def member_of(mark: Mark) -> Member:
    """Return what the mark of a host says."""
    return Member(**json.loads(mark.text))


def mark_name(role: Role, name: str = "") -> str:
    """Return the name of the mark of a host: there is one head, and one worker of each name."""
    return f"{role} {name}".strip()


def members(liveness: Liveness) -> list[tuple[Mark, Member]]:
    """Return the living hosts."""
    found = []
    for mark in liveness.live(Kind.HOST):
        with suppress(ValueError, TypeError):  # Of another version.
            found.append((mark, member_of(mark)))
    return found


def slots(liveness: Liveness, limit: int) -> int:
    """Return the number of runs that the living workers execute at once, up to a limit."""
    return min(sum(member.slots for _, member in members(liveness)), limit)


def settings_digest(settings: Settings) -> str:
    """Return a short digest of the settings that hosts must have in common; secrets are left out.

    Where the digests of two hosts differ, a file may be read in two ways.
    """
    omitted = _OF_ONE_HOST | secret_names(Settings.model_fields)
    text = settings.model_dump_json(exclude=omitted)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
