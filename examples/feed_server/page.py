"""The page on which people find and change products. All input is escaped."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import islice
from urllib.parse import urlencode

from examples.feed_server.form import MAX_CHARACTERS
from examples.feed_server.shop import Product

_SEARCHED_PRODUCTS = 10_000
_PAGE_PRODUCTS = 20
_SHOWN_CHARACTERS = 120

_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
label { display: block; margin-top: 1rem; font-weight: 600 }
input, textarea { font: inherit; width: 100%; box-sizing: border-box; padding: .4rem }
button { font: inherit; margin: 1rem 0; padding: .4rem 1.2rem }
table { width: 100%; border-collapse: collapse; overflow-wrap: anywhere }
caption, th, td { text-align: left; vertical-align: top; padding: .4rem }
tr { border-bottom: 1px solid #888 }
p[role] { padding: .5rem 1rem; border-left: .4rem solid #06c }
p[role=alert] { border-color: #c00 }
"""

_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Listing:
    """A page of the products that a search finds among the first ones of the file.

    Attributes:
        query: text that the sku or name contains, in any case.
        number: of the page, from 1.
        products: on the page.
        more: whether there is a next page.
    """

    query: str
    number: int
    products: list[Product]
    more: bool


def find(products: Iterator[Product], query: str, number: int) -> Listing:
    """Search the first 10,000 products."""
    wanted = query.casefold()
    found = (
        product
        for product in islice(products, _SEARCHED_PRODUCTS)
        if wanted in product.sku.casefold() or wanted in product.name.casefold()
    )
    start = (number - 1) * _PAGE_PRODUCTS
    page = list(islice(found, start, start + _PAGE_PRODUCTS + 1))
    return Listing(query, number, page[:_PAGE_PRODUCTS], len(page) > _PAGE_PRODUCTS)


def find_one(products: Iterator[Product], sku: str) -> Product | None:
    """Return the product with a sku, among the first 10,000."""
    first = islice(products, _SEARCHED_PRODUCTS)
    return next((product for product in first if product.sku == sku), None)


def render(title: str, form: Product, listing: Listing, message: str = "", error: str = "") -> str:
    """Return the page as HTML.

    Args:
        title: the name of the shop.
        form: the product in the form.
        listing: the products to show.
        message: the change that was made.
        error: why a change was not made.
    """
    limit = MAX_CHARACTERS
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<main>
{f'<p role="status">{escape(message)}</p>' if message else ""}
{f'<p role="alert">{escape(error)}</p>' if error else ""}
<h2>Change or add a product</h2>
<form method="post" action="/update">
<label for="sku">Sku</label>
<input id="sku" name="sku" required maxlength="{limit["sku"]}" value="{escape(form.sku)}">
<label for="name">Name</label>
<input id="name" name="name" required maxlength="{limit["name"]}" value="{escape(form.name)}">
<label for="description">Description</label>
<textarea id="description" name="description" rows="4" maxlength="{limit["description"]}">
{escape(form.description)}</textarea>
<button>Save</button>
</form>
<h2>Products</h2>
<form role="search" action="/">
<label for="q">Sku or name contains (among the first {_SEARCHED_PRODUCTS:,} products)</label>
<input id="q" name="q" type="search" value="{escape(listing.query)}">
<button>Search</button>
</form>
<table>
<caption>A sku leads to the form with its product.</caption>
<thead><tr><th scope="col">Sku<th scope="col">Name<th scope="col">Description</tr></thead>
<tbody>
{"".join(map(_row, listing.products)) or '<tr><td colspan="3">None found.</tr>'}
</tbody>
</table>
<nav aria-label="Pages">
{_page_link("Previous", listing, -1) if listing.number > 1 else ""}
Page {listing.number}
{_page_link("Next", listing, 1) if listing.more else ""}
</nav>
</main>
</body>
</html>
"""


def _row(product: Product) -> str:
    shown = product.description[:_SHOWN_CHARACTERS]
    dots = "…" if len(product.description) > len(shown) else ""
    return (
        f'<tr><th scope="row"><a href="{_link(sku=product.sku)}">{escape(product.sku)}</a>'
        f"<td>{escape(product.name)}<td>{escape(shown)}{dots}</tr>\n"
    )


def _page_link(text: str, listing: Listing, step: int) -> str:
    return f'<a href="{_link(q=listing.query, page=listing.number + step)}">{text}</a>'


def _link(**parameters: object) -> str:
    return escape(f"/?{urlencode(parameters, errors='surrogateescape')}")
