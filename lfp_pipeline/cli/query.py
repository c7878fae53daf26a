"""`lfp query`: runs SQL on the published tables."""

import csv
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any

import click

from lfp_pipeline.cli.layout import cell_text, print_table
from lfp_pipeline.cli.output import examples, json_text, jsonable, say
from lfp_pipeline.cli.tables import reading_tables

if TYPE_CHECKING:
    from lfp_pipeline.operations.run_query import QueryResult

_SHOWN_ROWS = 100
_COUNTED_ROWS = 100_000


@click.command(
    epilog=examples(
        'lfp query "FROM name_counts ORDER BY no_of_products DESC LIMIT 3"',
        'lfp query "FROM products" --format csv > products.csv',
        "lfp query - < report.sql",
    )
)
@click.argument("sql")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="csv is RFC 4180, with NULL as an empty value; json is a list of objects.",
)
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
def command(sql: str, form: str, *, as_json: bool) -> None:
    """Run SQL, which can only read: the tables products, name_counts, deliveries and others.

    `-` reads the SQL from stdin. A table shows the first 100 rows; csv and json have all, and are
    written as they are found.
    """
    from lfp_pipeline.operations.run_query import run_query

    if sql == "-":
        sql = sys.stdin.read()
    if not sql.strip():
        msg = "Give a statement of SQL."
        raise click.UsageError(msg)
    with reading_tables() as tables:
        result = run_query(tables, sql)
        if as_json or form == "json":
            _write_json(result)
        elif form == "csv":
            _write_csv(result)
        else:
            _print_rows(result)


def _print_rows(result: "QueryResult") -> None:
    from lfp_pipeline.common.text import visible

    rows = result.rows()
    if result.columns == ["explain_key", "explain_value"]:
        click.echo("\n".join(visible(plan) for _, plan in rows))
        return
    print_table(result.columns, list(islice(rows, _SHOWN_ROWS)))
    if more := sum(1 for _ in islice(rows, _COUNTED_ROWS)):
        number = f"More than {_COUNTED_ROWS:,}" if more == _COUNTED_ROWS else f"{more:,}"
        say(f"{number} more rows; --format csv or json writes all.")


def _write_csv(result: "QueryResult") -> None:
    # In a file, values are exact; on a terminal, they must not control it.
    as_text = cell_text if sys.stdout.isatty() else _exact_text
    writer = csv.writer(sys.stdout)
    writer.writerow(map(as_text, result.columns))
    writer.writerows(map(as_text, row) for row in result.rows())


def _exact_text(value: Any) -> Any:  # noqa: ANN401 (any cell of a table)
    if isinstance(value, bool):
        return str(value).lower()
    return jsonable(value) if isinstance(value, bytes | datetime) else value


def _write_json(result: "QueryResult") -> None:
    names = _distinct(result.columns)
    before = "[\n"
    for row in result.rows():
        sys.stdout.write(before + json_text(dict(zip(names, row, strict=True))))
        before = ",\n"
    sys.stdout.write("[]\n" if before == "[\n" else "\n]\n")


def _distinct(columns: Sequence[str]) -> list[str]:
    """Return the names of columns; a repeated one gets a number, as in DuckDB's own tables."""
    names: list[str] = []
    for column in columns:
        alternatives = chain([column], (f"{column}_{number}" for number in count(1)))
        names.append(next(name for name in alternatives if name not in names))
    return names
