"""The hosts that work together: the head, and the workers with their slots for runs."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Literal

from lfp_pipeline.common.setting_names import secret_names
from lfp_pipeline.hosts.liveness import Kind, Liveness, Mark
from lfp_pipeline.settings import Settings

Role = Literal["head", "worker"]

LOST_SHOWN_SECONDS = 3_600
"""A host that is lost for longer is no longer shown: its container has another name by now."""

_OF_ONE_HOST = {"data_dir", "sources_file", "threads", "memory_limit", "worker_runs"}
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
    """Return what the mark of a host says; one of another version may say more, or less."""
    said = {"role": mark.name.partition(" ")[0], **json.loads(mark.text)}
    return Member(**{of.name: said[of.name] for of in fields(Member) if of.name in said})


def mark_name(role: Role, name: str = "") -> str:
    """Return the name of the mark of a host: there is one head, and one worker of each name."""
    return f"{role} {name}".strip()


def members(liveness: Liveness) -> list[tuple[Mark, Member]]:
    """Return the living hosts."""
    return [(mark, member_of(mark)) for mark in liveness.live(Kind.HOST)]


def slots(liveness: Liveness, limit: int) -> int:
    """Return the number of runs that the living workers execute at once, up to a limit."""
    return min(sum(member.slots for _, member in members(liveness)), limit)


def settings_digest(settings: Settings) -> str:
    """Return a short digest of the settings that hosts must have in common; secrets are left out.

    Where the digests of two hosts differ, a file may be read in two ways, or be elsewhere. A place
    that is not set is in the data folder.
    """
    omitted = _OF_ONE_HOST | secret_names(Settings.model_fields)
    places = (settings.raw_place, settings.lake_place, settings.inbox_place)
    text = "\n".join([settings.model_dump_json(exclude=omitted), *places])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
