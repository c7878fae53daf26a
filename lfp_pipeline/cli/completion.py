"""Completes the names of delivered files in the shell."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lfp_pipeline.raw_zone.landed import Landed

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def complete_among(among: "Callable[[Landed], bool]") -> Complete:
    """Return what completes the names of the files that have a delivery of a kind.

    After any error, there are none: a shell has no place for a message.
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        del context, parameter
        with suppress(Exception):
            from lfp_pipeline.settings import load_settings

            names = _names(load_settings().raw_dir, among)
            return sorted(name for name in names if name.startswith(incomplete))
        return []

    return complete


def _names(raw: Path, among: "Callable[[Landed], bool]") -> Iterator[str]:
    from lfp_pipeline.model.partition_key import is_derived
    from lfp_pipeline.raw_zone.raw_index import RawIndex

    index = RawIndex(raw)
    with index.snapshot():
        for key in index.partitions_beginning_with(""):
            if any(map(among, index.deliveries(key))):
                yield _name_of(raw / key) if is_derived(key) else key


def _name_of(folder: Path) -> str:
    """Return the name of a file whose partition key does not show it, from a record if possible.

    A name that is not printable stays a key, which can be typed.
    """
    from lfp_pipeline.model.partition_key import typed_name

    for record in folder.glob("[!.]*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return typed_name(folder.name, json.loads(record.read_bytes())["source"])
    return folder.name


complete_file = complete_among(lambda _: True)
