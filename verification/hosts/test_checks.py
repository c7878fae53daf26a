"""The checks detect what must not be: lost and doubled rows, foreign deliveries, wrong counts."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from testing.expected_tables import File, count_names, expected_products, expected_rejects
from verification.hosts.checks import ViolationError, check
from verification.hosts.files import Files

Tables = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def files() -> list[File]:
    return Files(Random(1), skus=30, rows=40).draw(4)


def tables_of(files: list[File]) -> Tables:
    """Return exact tables; the ledger counts each winner as inserted."""
    products = expected_products(files)
    return {
        "products": products,
        "name_counts": count_names(products),
        "ledger": [_entry(file) for file in files],
        "rejected_rows": [(*reject, "no sku") for reject in expected_rejects(files)],
    }


def _entry(file: File) -> tuple[Any, ...]:
    read, accepted = len(file.records), len(file.accepted)
    superseded = accepted - len(file.winners)
    counts = (len(file.winners), 0, 0, superseded, 0, read - accepted)
    return (file.delivery_id, file.key, "", 0, file.delivered_at, "merged", read, *counts)


def test_exact_tables_have_no_violation(files: list[File]):
    check(tables_of(files), files, complete=True)
    check(tables_of(files[:2]), files, complete=False)


def lose_a_row(tables: Tables) -> None:
    del tables["products"][3]


def double_a_row(tables: Tables) -> None:
    tables["products"].insert(3, tables["products"][3])


def double_a_sku(tables: Tables) -> None:
    """As two writers do that insert the same new sku of two deliveries."""
    row = tables["products"][3]
    tables["products"].insert(3, (*row[:3], "another delivery", *row[4:]))


def change_a_row_number(tables: Tables) -> None:
    row = tables["products"][3]
    tables["products"][3] = (*row[:-1], row[-1] + 1)


def miscount_a_name(tables: Tables) -> None:
    name, number = tables["name_counts"][0]
    tables["name_counts"][0] = (name, number + 1)


def lose_a_reject(tables: Tables) -> None:
    del tables["rejected_rows"][0]


def miscount_a_delivery(tables: Tables) -> None:
    entry = tables["ledger"][0]
    tables["ledger"][0] = (*entry[:6], entry[6] + 1, *entry[7:])


def double_a_delivery(tables: Tables) -> None:
    tables["ledger"].insert(0, tables["ledger"][0])


@pytest.mark.parametrize(
    "damage",
    [
        lose_a_row,
        double_a_row,
        double_a_sku,
        change_a_row_number,
        miscount_a_name,
        lose_a_reject,
        miscount_a_delivery,
        double_a_delivery,
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_damaged_tables_are_detected(
    files: list[File], damage: Callable[[Tables], None], complete: bool
):
    tables = tables_of(files)
    damage(tables)
    with pytest.raises(ViolationError):
        check(tables, files, complete=complete)


def test_a_lost_delivery_is_detected_once_all_must_be_there(files: list[File]):
    with pytest.raises(ViolationError, match=r"deliveries: 1 missing"):
        check(tables_of(files[1:]), files, complete=True)


def test_rows_without_their_delivery_are_detected(files: list[File]):
    tables = tables_of(files)
    del tables["ledger"][0]
    with pytest.raises(ViolationError, match="too much"):
        check(tables, files, complete=False)


def test_a_delivery_of_nobody_is_detected(files: list[File]):
    with pytest.raises(ViolationError, match=r"deliveries: 1 too much"):
        check(tables_of(files), files[1:], complete=False)
