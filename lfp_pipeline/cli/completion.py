"""Completes the names of delivered files in the shell."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lfp_pipeline.raw_zone.landed import Landed
    from lfp_pipeline.raw_zone.raw_zone import RawZone
    from lfp_pipeline.settings import Settings

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def complete_files(keys_in: "Callable[[Settings], Iterable[str]]") -> Complete:
    """Return what completes the names of the files with these partition keys.

    After any error, there are none: a shell has no place for a message.
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        del context, parameter
        with suppress(Exception):
            from lfp_pipeline.raw_zone.raw_zone import RawZone
            from lfp_pipeline.settings import load_settings

            settings = load_settings()
            zone = RawZone.of(settings)
            names = (_name_of(zone, key) for key in keys_in(settings))
            return sorted(name for name in names if name.startswith(incomplete))
        return []

    return complete


def complete_among(among: "Callable[[RawZone, Landed], bool]") -> Complete:
    """Return what completes the names of the files that have a delivery of a kind."""

    def keys_in(settings: "Settings") -> Iterator[str]:
        from lfp_pipeline.raw_zone.raw_zone import RawZone

        zone = RawZone.of(settings)
        with zone.index.snapshot():
            for key in zone.index.partitions_beginning_with(""):
                if any(among(zone, landed) for landed in zone.index.deliveries(key)):
                    yield key

    return complete_files(keys_in)


def _name_of(zone: "RawZone", key: str) -> str:
    """Return the name of a file; if its key does not show it, from a record if possible.

    A name that is not printable stays a key, which can be typed.
    """
    from lfp_pipeline.errors import LandingError
    from lfp_pipeline.model.delivery import RawName
    from lfp_pipeline.model.partition_key import is_derived, typed_name

    for stem in zone.records.stems(key) if is_derived(key) else ():
        with suppress(LandingError):
            return typed_name(key, zone.records.read(RawName(key, stem)).source)
    return key


complete_file = complete_among(lambda *_: True)
