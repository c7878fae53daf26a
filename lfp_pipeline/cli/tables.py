"""What the commands that read the tables share: the message on their time, and limits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from lfp_pipeline.cli.output import say

if TYPE_CHECKING:
    from lfp_pipeline.operations.read_tables import Tables


@contextmanager
def reading_tables() -> Iterator["Tables"]:
    """Yield the tables of the project; a message says of when they are."""
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.operations.read_tables import open_tables
    from lfp_pipeline.settings import load_settings

    with open_tables(Engine(load_settings())) as tables:
        say(tables.age)
        yield tables


def limit_option(name: str, default: int, what: str) -> Callable[[Any], Any]:
    """Return an option for the largest number of lines."""
    return click.option(
        name,
        "limit",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help=f"Largest number of {what}.",
    )
