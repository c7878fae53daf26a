"""`lfp search`: finds products by sku, name or description."""

import click

from lfp_pipeline.cli.layout import print_table
from lfp_pipeline.cli.output import FAILED, examples, json_option, print_json, say
from lfp_pipeline.cli.tables import limit_option, reading_tables


@click.command(epilog=examples('lfp search "green apple" --limit 5'))
@click.argument("text")
@limit_option("--limit", 20, "products")
@json_option
def command(text: str, limit: int, *, as_json: bool) -> None:
    """Find the products whose sku, name or description contains TEXT, the best matches first.

    Case and accents do not matter. The exit code is 1 if no product is found.
    """
    from lfp_pipeline.operations.look_up import search_products

    with reading_tables() as tables:
        found = search_products(tables, text, limit + 1)
    if as_json:
        print_json(found[:limit])
    elif found:
        columns = ("sku", "name", "description")
        rows = [[product[column] for column in columns] for product in found[:limit]]
        print_table(columns, rows, whole=("sku",))
    if len(found) > limit:
        say(f"There are more; --limit {10 * limit} shows up to {10 * limit:,}.")
    if not found:
        say(f"No product has {text!r} in its sku, name or description.")
        raise SystemExit(FAILED)
