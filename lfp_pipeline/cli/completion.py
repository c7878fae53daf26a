"""Completes the names of delivered files in the shell."""

import json
import os
from contextlib import suppress
from pathlib import Path

import click


def complete_file(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of delivered files that begin with a text; after any error, none."""
    del context, parameter
    with suppress(Exception):
        from lfp_pipeline.settings import load_settings

        return sorted(
            name for name in _names(load_settings().raw_dir) if name.startswith(incomplete)
        )
    return []


def _names(raw: Path) -> list[str]:
    from lfp_pipeline.model.partition_key import is_derived

    keys = [entry.name for entry in os.scandir(raw)]
    return [_name_of(raw / key) if is_derived(key) else key for key in keys]


def _name_of(folder: Path) -> str:
    """Return the name of a file whose partition key does not show it, from a record if possible."""
    from lfp_pipeline.model.partition_key import file_name

    for record in folder.glob("[!.]*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return file_name(folder.name, json.loads(record.read_bytes())["source"])
    return folder.name
