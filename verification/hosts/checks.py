"""Compares the tables of a lake with those that its deliveries must give."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from testing.engine import TABLES
from testing.expected_tables import (
    File,
    assert_tables_match,
    count_names,
    differences,
    expected_products,
    expected_rejects,
)
from verification.hosts.bench import Bench, Lake
from verification.hosts.plain_reader import connect

Tables = Mapping[str, list[tuple[Any, ...]]]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (UTC without a zone)
_LONGEST = timedelta(hours=2)

NO_TABLES: Tables = {name: [] for name in TABLES}

_EXISTING = "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'lake'"


class ViolationError(Exception):
    """An invariant does not hold, or a process failed."""


def require_done(problem: str | None, what: str) -> None:
    """Raise a ViolationError if a job that must succeed had a problem."""
    if problem:
        msg = f"{what}: {problem}"
        raise ViolationError(msg)


def read_tables(bench: Bench, lake: Lake) -> Tables:
    """Return the sorted rows of all tables of one snapshot, as a plain reader sees them."""
    with connect(bench.environment(bench.reader, lake)) as connection:
        connection.begin()
        existing = {name for (name,) in connection.execute(_EXISTING).fetchall()}
        if "products" not in existing:
            return NO_TABLES
        return {name: sorted(connection.execute(sql).fetchall()) for name, sql in TABLES.items()}


def as_delivered(found: Tables, files: list[File]) -> list[File]:
    """Return files with the times that they got when they landed.

    Raises:
        ViolationError: a file has not landed, or not at the time of the drop.
    """
    times = {row[1]: row[4] for row in found["ledger"]}
    if missing := sorted({file.key for file in files} - times.keys()):
        msg = f"{len(missing)} files are in no delivery, such as {missing[0]}"
        raise ViolationError(msg)
    now = datetime.now(UTC).replace(tzinfo=None)
    for key, time in times.items():
        if not now - _LONGEST < time < now:
            msg = f"{key} was delivered at {time}, and it is {now}"
            raise ViolationError(msg)
    return [
        replace(file, microseconds=(times[file.key] - _EPOCH) // timedelta(microseconds=1))
        for file in files
    ]


def check(found: Tables, files: Iterable[File], *, complete: bool) -> None:
    """Check that each delivery is in the tables whole or not at all, and no other one.

    Args:
        complete: whether each delivery must be there.

    Raises:
        ViolationError: this is not so.
    """
    known = {file.delivery_id: file for file in files}
    if not complete:  # A delivery that failed may have an entry that says so.
        found = {**found, "ledger": [row for row in found["ledger"] if row[5] != "failed"]}
    merged = {row[0] for row in found["ledger"]}
    expected = {id_: file for id_, file in known.items() if complete or id_ in merged}
    problems = list(_problems(found, expected))
    if not problems:
        try:
            assert_tables_match(expected.values(), found)
        except AssertionError as error:
            problems.append(f"{error!r} of the tables, see testing/expected_tables.py")
    if problems:
        raise ViolationError("\n".join(problems))


def _problems(found: Tables, expected: Mapping[str, File]) -> Iterator[str]:
    products = expected_products(expected.values())
    rejects = [row[:2] for row in found["rejected_rows"]]
    deliveries = [row[:1] for row in found["ledger"]]
    yield from differences("products", found["products"], products)
    yield from differences("name_counts", found["name_counts"], count_names(products))
    yield from differences("rejected rows", rejects, expected_rejects(expected.values()))
    yield from differences("deliveries", deliveries, [(id_,) for id_ in expected])
