"""Two feeds and the real `dagster dev`: changes in a shop reach the tables."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest

from examples.processes import Dagster, dagster_dev, feed_server
from examples.two_feeds import product, write_products
from testing.processes import PROJECT

pytestmark = pytest.mark.slow

Product = tuple[str, str, str]

PRODUCTS = "SELECT sku, name, description FROM products ORDER BY ALL"
COUNTS = "FROM name_counts ORDER BY ALL"


def are_merged(dagster: Dagster, deliveries: int, products: Iterable[Product]) -> bool:
    """Whether so many deliveries are merged, and the tables hold exactly these products."""
    expected = sorted(products)
    counts = sorted(Counter(name for _, name, _ in expected).items())
    return (
        dagster.notes() >= deliveries
        and dagster.ask(PRODUCTS) == expected
        and dagster.ask(COUNTS) == counts
    )


def test_a_feed_that_is_killed_during_a_read_and_restarted_loses_nothing(tmp_path: Path) -> None:
    a, b = tmp_path / "shop-a", tmp_path / "shop-b"
    write_products(a / "products.csv", range(40))
    write_products(b / "products.csv", range(20, 60))
    products = {number: product(number) for number in range(60)}
    with feed_server(a, "shop-a") as shop_a, feed_server(b, "shop-b", "--slow", 300) as slow:
        urls = {"shop-a": shop_a.url, "shop-b": slow.url}
        with dagster_dev(tmp_path / "dagster", urls, interval=1) as dagster:
            dagster.until(lambda: "GET /read" in slow.log.read_text())
            slow.process.kill()
            slow.process.wait()
            with feed_server(b, "shop-b", "--port", httpx.URL(slow.url).port) as shop_b:
                dagster.until(lambda: are_merged(dagster, 2, products.values()))

                for shop, number in ((shop_a, 5), (shop_b, 30), (shop_b, 99)):
                    products[number] = (f"p-{number:06}", f"New <{number}>", "changed")
                    shop.change(*products[number])
                dagster.until(lambda: are_merged(dagster, 4, products.values()))


def test_the_demonstration_shows_the_change_and_leaves_nothing_running() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "examples.two_feeds", "--rows", "40"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "60 products are merged" in output
    assert re.search(r"Golden Teapot +0 +1\n", output)
    urls = re.findall(r"http://127\.0\.0\.1:\d+$", output, re.MULTILINE)
    assert len(urls) == 3
    for url in urls:
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
