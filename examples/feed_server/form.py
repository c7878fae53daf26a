"""The form that a product is sent in, and its limits."""

import re
from urllib.parse import parse_qs

from examples.feed_server.shop import Product

CONTENT_TYPE = "application/x-www-form-urlencoded"
MAX_BODY_BYTES = 1 << 20
MAX_CHARACTERS = {"sku": 200, "name": 1_000, "description": 100_000}

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def product_in(body: bytes) -> Product:
    """Return the product in a form, unchecked.

    Raises:
        ValueError: the form cannot be read.
    """
    try:
        fields = parse_qs(body.decode(), errors="strict", max_num_fields=len(Product._fields))
    except ValueError:
        msg = "The form could not be read."
        raise ValueError(msg) from None
    sku, name, description = (fields.get(field, [""])[0] for field in Product._fields)
    # Browsers send every line end of a form as CRLF.
    return Product(sku.strip(), name.strip(), description.replace("\r\n", "\n"))


def check(product: Product) -> None:
    """Check that a shop accepts a product.

    Raises:
        ValueError: the reason why it does not.
    """
    for column, value in zip(Product._fields, product, strict=True):
        if not value and column != "description":
            msg = f"The {column} is missing."
            raise ValueError(msg)
        if len(value) > MAX_CHARACTERS[column]:
            msg = f"The {column} has more than {MAX_CHARACTERS[column]:,} characters."
            raise ValueError(msg)
        if _CONTROL_CHARACTERS.search(value):
            msg = f"The {column} has control characters in it."
            raise ValueError(msg)
