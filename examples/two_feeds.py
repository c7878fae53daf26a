"""Two shops, a change in one of them, and its effect in the tables.

The program starts two feed servers whose products overlap, and `dagster dev` with a `sources.yaml`
that names them. Once both feeds are merged, it changes a product on the page of one shop, waits
until the tables show the change, and ends all that it has started.
"""

import argparse
import csv
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.processes import Dagster, dagster_dev, feed_server

_MATERIALS = ("Oak", "Brass", "Linen", "Copper", "Walnut", "Glass", "Wool")
_THINGS = ("Table", "Lamp", "Chair", "Bowl", "Shelf")

_LEDGER = """
SELECT partition_key, status, rows_read, rows_inserted, rows_updated, rows_unchanged
FROM deliveries ORDER BY merged_at
"""


def product(number: int) -> tuple[str, str, str]:
    """Return sku, name and description of a product; there are 35 names."""
    material, thing = _MATERIALS[number % 7], _THINGS[number % 5]
    name = f"{material} {thing}"
    return f"p-{number:06}", name, f"{name}, number {number},\nmade with care"


def write_products(path: Path, numbers: range) -> None:
    """Write a product file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sku", "name", "description"))
        writer.writerows(map(product, numbers))


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(prog="python -m examples.two_feeds", description=__doc__)
    parser.add_argument("--rows", type=int, default=300, help="products of each shop")
    parser.add_argument("--folder", type=Path, help="a new folder, kept; default: a temporary one")
    parser.add_argument("--stay", action="store_true", help="keep everything running until Ctrl-C")
    given = parser.parse_args()
    if given.rows < 2:  # noqa: PLR2004 (or the shops do not overlap)
        parser.error("--rows must be at least 2")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM."))
    try:
        with ExitStack() as stack:
            folder = given.folder or Path(stack.enter_context(TemporaryDirectory()))
            if given.folder:
                folder.mkdir(parents=True)
            _run(folder.resolve(), given.rows, stay=given.stay)
    except FileExistsError:
        parser.error(f"{given.folder} is there already; name a new folder")
    except KeyboardInterrupt:
        _print("\nEnded.")
    except RuntimeError as error:
        sys.exit(str(error))


def _run(folder: Path, rows: int, *, stay: bool) -> None:
    shops = {"shop-a": range(rows), "shop-b": range(rows // 2, rows // 2 + rows)}
    for name, numbers in shops.items():
        write_products(folder / name / "products.csv", numbers)
    with ExitStack() as stack:
        _print(f"1. Two shops of {rows:,} products each; {rows - rows // 2:,} are in both.")
        feeds = [stack.enter_context(feed_server(folder / name, name)) for name in shops]
        for feed in feeds:
            _print(f"   {feed.name}: {feed.url}")

        _print("2. Dagster ingests them.")
        urls = {feed.name: feed.url for feed in feeds}
        dagster = stack.enter_context(dagster_dev(folder, urls))
        _print(f"   {dagster.url}")
        total = rows + rows // 2
        seconds = dagster.until(lambda: _products(dagster, after_notes=1) == total)
        _print(f"   {total:,} products are merged, {seconds:.1f} s after Dagster was started.")
        _show_ledger(dagster)

        shop = feeds[0]
        sku, old_name, description = product(rows - 1)
        new_name = "Golden Teapot"
        _print(f"3. {shop.name} changes {sku}: {old_name} becomes {new_name}.")
        counts_before = _counts(dagster, old_name, new_name)
        notes = dagster.notes()
        shop.change(sku, new_name, description)
        _print("   The change was sent on the page of the shop.")
        seconds = dagster.until(
            lambda: dagster.notes() > notes and _name_of(dagster, sku) == new_name
        )
        _print(f"   The tables show it {seconds:.1f} s later.")
        _show_ledger(dagster)
        counts_after = _counts(dagster, old_name, new_name)
        _print(f"   {'name_counts':<20} {'before':>8} {'after':>8}")
        for name in (old_name, new_name):
            _print(f"   {name:<20} {counts_before[name]:>8,} {counts_after[name]:>8,}")
        if stay:
            _print("Everything runs until Ctrl-C. Change products on the pages of the shops.")
            shop.process.wait()


def _products(dagster: Dagster, after_notes: int) -> int:
    """Return the number of products, once there are more status notes than that; before, 0."""
    rows = dagster.ask("SELECT count(*) FROM products") if dagster.notes() > after_notes else []
    return rows[0][0] if rows else 0


def _name_of(dagster: Dagster, sku: str) -> str | None:
    rows = dagster.ask("SELECT name FROM products WHERE sku = ?", sku)
    return rows[0][0] if rows else None


def _counts(dagster: Dagster, *names: str) -> dict[str, int]:
    sql = "SELECT name, no_of_products FROM name_counts WHERE list_contains(?, name)"
    return dict.fromkeys(names, 0) | dict(dagster.ask(sql, list(names)))


def _show_ledger(dagster: Dagster) -> None:
    _print(f"   {'deliveries':<20} {'read':>8} {'inserted':>8} {'updated':>8} {'unchanged':>9}")
    for shop, status, *counts in dagster.ask(_LEDGER):
        read, inserted, updated, unchanged = counts
        label = f"{shop} {status}"
        _print(f"   {label:<20} {read:>8,} {inserted:>8,} {updated:>8,} {unchanged:>9,}")


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
