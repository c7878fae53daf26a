"""The tables after a demonstration, compared with what is known of its file."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from lfp_pipeline.cli.ingest_run import Outcome
from lfp_pipeline.cli.output import say
from lfp_pipeline.common.text import printable
from lfp_pipeline.engine import Engine
from lfp_pipeline.ingest.result import IngestResult

_TOTALS = """
SELECT (SELECT count(*) FROM deliveries), (SELECT count(*) FROM products),
    (SELECT count(*) FROM name_counts)
"""

_TOP_NAMES = (
    "SELECT name, no_of_products FROM name_counts ORDER BY no_of_products DESC, name LIMIT 5"
)


def print_tables(engine: Engine, outcomes: Sequence[Outcome], facts: Mapping[str, Any]) -> bool:
    """Print the sizes of the tables and the top names; return whether they are as expected."""
    (result,) = outcomes
    assert isinstance(result, IngestResult)  # noqa: S101 (a failure has ended the command)
    rows = result.account.rows
    with engine.warehouse.read_session() as connection:
        deliveries, products, names = connection.execute(_TOTALS).fetchall()[0]
        top_names = connection.execute(_TOP_NAMES).fetchall()
    click.echo(f"{rows.read:>12,} rows read: {rows}")
    click.echo(f"{products:>12,} products\n{names:>12,} names; the most frequent:")
    for name, count in top_names:
        click.echo(f"{count:>16,} {printable(name)}")
    expected = facts["rows"], facts["skus"], facts["names"]
    if deliveries > 1:
        say("\nThe tables also hold other deliveries, so their sizes are not checked.")
    elif (rows.read, products, names) != expected:
        say(f"\nWRONG: the generator made (rows, skus, names) = {expected}.")
        return False
    else:
        say("\nRows, products and names are exactly those that the generator made.")
    lfp = _program()
    say(f"Next: {lfp} dev (the Dagster UI), {lfp} status, {lfp} query 'FROM products LIMIT 5'")
    return True


def _program() -> str:
    """Return how this program was called, if the search path does not have it."""
    called = sys.argv[0]
    if shutil.which("lfp") or os.path.basename(called) != "lfp":  # noqa: PTH119 (a text)
        return "lfp"
    return os.path.relpath(called)
