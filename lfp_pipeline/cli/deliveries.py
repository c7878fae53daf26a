"""`lfp deliveries`: lists deliveries, with their rows by outcome."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import click

from lfp_pipeline.cli.completion import complete_file
from lfp_pipeline.cli.layout import fit, print_table
from lfp_pipeline.cli.output import examples, json_option, print_json, say
from lfp_pipeline.cli.param_types import Text
from lfp_pipeline.cli.tables import limit_option

_STATUSES = ("merged", "refused", "failed", "reverted", "pending")
_SHOWN_ERRORS = 3


@click.command(
    epilog=examples(
        "lfp deliveries", "lfp deliveries fruit.csv", "lfp deliveries --status refused --json"
    )
)
@click.argument("file", type=Text(), required=False, shell_complete=complete_file)
@click.option("--status", type=click.Choice(_STATUSES), help="Only deliveries with this status.")
@limit_option("--limit", 20, "deliveries")
@json_option
def command(file: str | None, status: str | None, limit: int, *, as_json: bool) -> None:
    """List the deliveries, or those of FILE: pending ones, then those that ended last.

    Deliveries that have ended since the tables were published show without their rows. The other
    commands accept an id of this list, or the unique beginning of one.
    """
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.errors import LfpError, user_message
    from lfp_pipeline.operations.find_delivery import require_partition
    from lfp_pipeline.operations.list_deliveries import list_deliveries
    from lfp_pipeline.operations.read_tables import open_tables
    from lfp_pipeline.settings import load_settings

    engine = Engine(load_settings())
    key = require_partition(engine, file) if file else None
    with ExitStack() as stack:
        tables = None
        try:
            tables = stack.enter_context(open_tables(engine))
            say(tables.age)
        except LfpError as error:
            say(f"Rows are unknown. {user_message(error)}")
        found = list_deliveries(engine, tables, key, status, limit + 1)
    if as_json:
        print_json(found[:limit])
    elif found:
        _print(found[:limit])
    else:
        say("There are none.")
    if len(found) > limit:
        say(f"There are more; --limit sets the number that is shown ({limit}).")


def _print(found: Sequence[Mapping[str, Any]]) -> None:
    """Print deliveries, with the outcomes of their rows, and the first errors."""
    from lfp_pipeline.common.text import short_name, visible
    from lfp_pipeline.model.delivery import labels
    from lfp_pipeline.model.ledger_entry import FATES

    names = labels({delivery["delivery_id"]: delivery["file"] for delivery in found})
    lines = [
        [
            names[delivery["delivery_id"]],
            delivery["status"],
            delivery["merged_at"] and f"{delivery['merged_at']:%Y-%m-%d %H:%M}",
            delivery["seconds"],
            rows.get("read"),
            ", ".join(f"{rows[fate]:,} {fate}" for fate in FATES if rows.get(fate)),
        ]
        for delivery in found
        for rows in [delivery["rows"] or {}]
    ]
    columns = ("delivery", "status", "merged", "seconds", "rows", "of these")
    print_table(columns, lines, whole=("delivery", "of these"))
    for delivery in [delivery for delivery in found if delivery["error"]][:_SHOWN_ERRORS]:
        click.echo()
        name = short_name(names[delivery["delivery_id"]])
        click.echo(fit(f"{name}: {visible(delivery['error'])}"))
