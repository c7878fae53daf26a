"""`lfp show`: shows a product, its origin, and its earlier rows."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lfp_pipeline.cli.layout import cell_text, fit, print_table
from lfp_pipeline.cli.output import FAILED, examples, json_option, print_json, say

if TYPE_CHECKING:
    from lfp_pipeline.operations.product_history import History


@click.command(epilog=examples("lfp show fruit-1"))
@click.argument("sku")
@click.option(
    "--earlier",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Largest number of older deliveries to read for earlier rows.",
)
@json_option
def command(sku: str, earlier: int, *, as_json: bool) -> None:
    """Show the product with this SKU, the file that it comes from, and its earlier rows.

    Older deliveries are read again for the earlier rows, the newest first. The exit code is 1 if
    there is no such product now.
    """
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.model.delivery import label_of
    from lfp_pipeline.operations.look_up import last_deletion, near_skus, product_with
    from lfp_pipeline.operations.product_history import earlier_rows
    from lfp_pipeline.operations.read_tables import open_tables
    from lfp_pipeline.settings import load_settings

    engine = Engine(load_settings())
    with open_tables(engine) as tables:
        say(tables.age)
        product, deletion = product_with(tables, sku), last_deletion(tables, sku)
        newest = product or deletion
        if newest is None:
            near = ", ".join(near_skus(tables, sku))
            say(f"There is no product {sku}." + (f" Most like it: {near}." if near else ""))
            if as_json:
                print_json(None)
            raise SystemExit(FAILED)
        history = earlier_rows(engine, tables, sku, newest, earlier, say)
    present = _present(product) if product else _deleted(newest)
    if as_json:
        print_json({"sku": sku} | present | _earlier(history))
    else:
        label = label_of(newest["delivery_id"], newest.get("source") or "")
        ids = {"delivery_id": label} if product else {"deleted_by": label}
        click.echo("\n".join(_lines({"sku": sku} | present | ids)))
        _print_earlier(history)
    for id_, reason in history.unknown.items():
        say(f"{label_of(id_)} may have an earlier row, too: {reason}.")
    if history.unread:
        say(f"{history.unread:,} older deliveries were not read; --earlier sets their number.")
    if product is None:
        raise SystemExit(FAILED)


def _present(product: Mapping[str, Any]) -> dict[str, Any]:
    """Return a product with its origin."""
    from lfp_pipeline.model.partition_key import file_name

    return {
        "name": product["name"],
        "description": product["description"],
        "file": file_name(product["delivery_id"].partition("#")[0], product["source"] or ""),
        "row_number": product["row_number"],
        "delivery_id": product["delivery_id"],
        "delivered_at": product["delivered_at"],
        "merged_at": product["merged_at"],
    }


def _deleted(deletion: Mapping[str, Any]) -> dict[str, Any]:
    return {"deleted_by": deletion["delivery_id"], "deleted_at": deletion["delivered_at"]}


def _earlier(history: "History") -> dict[str, Any]:
    """Return the earlier rows as data."""
    unknown = [{"delivery_id": id_, "reason": why} for id_, why in history.unknown.items()]
    return {
        "earlier": [asdict(row) for row in history.rows],
        "unknown": unknown,
        "unread": history.unread,
    }


def _lines(values: Mapping[str, object]) -> list[str]:
    width = max(map(len, values))
    return [
        fit(f"{name.replace('_', ' '):<{width}}  {cell_text(value)}")
        for name, value in values.items()
    ]


def _print_earlier(history: "History") -> None:
    if not history.rows:
        return
    click.echo("\nEarlier")
    rows = [
        (
            row.delivered_at,
            row.file,
            row.row_number,
            "deleted" if row.row_number is None else row.name,
            row.description,
        )
        for row in history.rows
    ]
    print_table(("delivered", "file", "row", "name", "description"), rows, names=["file"])
    if not all(row.as_then for row in history.rows):
        say("Some of these were read with the present settings, since those of then are unknown.")
