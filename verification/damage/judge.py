"""Reads damaged files, and checks what was read."""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from lfp_pipeline.errors import DeliveryRefusedError
from lfp_pipeline.reading.options import ReadOptions
from lfp_pipeline.reading.reader import Reading
from lfp_pipeline.reading.workspace import WorkspaceLimits, open_workspace
from lfp_pipeline.settings import Settings
from testing.reader import delivery_at, read_into
from verification.damage.catalogue import ROWS, Catalogue
from verification.damage.damages import Damaged

SHIFTED = "values are in the wrong columns"

_WINNERS = "SELECT sku, name, description FROM winners"


def find_wrong(
    folder: Path, files: Iterable[tuple[Catalogue, Damaged]]
) -> Iterator[tuple[Catalogue, Damaged, str]]:
    """Read damaged files in one workspace; yield those that are read wrongly, and what is wrong."""
    settings = Settings(data_dir=folder, threads=1, max_reject_share=1)
    options = ReadOptions.of(settings)
    with open_workspace([folder], settings.work_dir, WorkspaceLimits(1, "1GB")) as workspace:
        connection = workspace.connection
        for number, (catalogue, damaged) in enumerate(files):
            path = folder / "damaged.csv"
            path.write_bytes(damaged.text.encode())
            with workspace.folder_for(number) as scratch:
                try:
                    read = read_into(connection, scratch, delivery_at(path), options)
                except DeliveryRefusedError as error:
                    if not damaged.header:
                        yield catalogue, damaged, f"refused: {error}"
                    continue
            products = {row[0]: row for row in connection.execute(_WINNERS).fetchall()}
            if why := _why_wrong(catalogue, damaged, read, products):
                yield catalogue, damaged, why


def _why_wrong(
    catalogue: Catalogue, damaged: Damaged, read: Reading, products: dict[str, tuple[str, str, str]]
) -> str:
    accepted = len(products) + read.rows_superseded
    if read.rows_read != accepted + read.rows_rejected:
        return f"{read.rows_read} rows read are not {accepted} and {read.rows_rejected} rejects"
    if damaged.header:
        return _why_wrong_below_a_damaged_header(catalogue, read, products)
    return _wrong_product(catalogue, damaged, products) or _wrong_count(damaged, read, products)


def _wrong_product(
    catalogue: Catalogue, damaged: Damaged, products: dict[str, tuple[str, str, str]]
) -> str:
    expected = {product[0]: product for product in map(catalogue.product_of, range(ROWS))}
    for number, (sku, product) in enumerate(expected.items()):
        if number not in damaged.touched and products.get(sku) != product:
            return f"an undamaged row: {products.get(sku)} instead of {product}"
    allowed = {*expected.values(), damaged.literal}
    return _strange_product(products, allowed)


def _strange_product(
    products: dict[str, tuple[str, str, str]], allowed: AbstractSet[tuple[str, str, str] | None]
) -> str:
    strange = [product for product in products.values() if product not in allowed]
    return f"a product that is in no file: {strange[0]}" if strange else ""


def _wrong_count(damaged: Damaged, read: Reading, products: dict[str, tuple[str, str, str]]) -> str:
    is_lost = len(products) < ROWS
    if is_lost and not read.rows_rejected:
        return "a row is lost without a reject"
    if not damaged.touched and read.rows_rejected:
        return f"{read.rows_rejected} rejects, though no row is damaged"
    skipped = read.skipped
    found = skipped.blank, skipped.repeated_headers, skipped.above_header
    if found != (damaged.blank, damaged.headers, damaged.above):
        return f"skipped lines: {found}"
    return ""


def _why_wrong_below_a_damaged_header(
    catalogue: Catalogue, read: Reading, products: dict[str, tuple[str, str, str]]
) -> str:
    """Return what is wrong, unless a note says that values may be in the wrong columns."""
    if any(SHIFTED in note for note in read.notes):
        return ""
    return _strange_product(products, {*map(catalogue.product_of, range(ROWS))})
