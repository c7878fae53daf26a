"""What commands print: data on stdout as text or JSON, messages on stderr, and exit codes."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import click

FAILED = 1
REFUSED = 3
BUSY = 5

_MESSAGE_LINES = 3


class UsageProblem(click.ClickException):
    """Wrong arguments, with a message of one line instead of the usage of the command."""

    exit_code = 2


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
dry_run_option = click.option(
    "--dry-run", "is_dry_run", is_flag=True, help="Show what would be done, and change nothing."
)


def examples(*commands: str) -> str:
    """Return commands as the end of a help page."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


def say(message: str) -> None:
    """Print a message for people, on stderr."""
    click.echo(message, err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask whether to go on, unless `yes`; without a terminal, there is nobody to ask.

    Raises:
        click.Abort: the answer is no.
        UsageProblem: there is no terminal.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        msg = f"{question} There is no terminal to confirm this: add --yes."
        raise UsageProblem(msg)
    click.confirm(question, abort=True, err=True)


def print_json(value: object) -> None:
    """Print a value as JSON on stdout; times are in UTC."""
    click.echo(json.dumps(value, default=_jsonable, ensure_ascii=False, indent=2))


def _jsonable(value: Any) -> Any:  # noqa: ANN401 (any cell of a table)
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z" if value.tzinfo is None else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as aligned columns on stdout; numbers are aligned to the right."""
    from lfp_pipeline.common.text import printable

    def text(value: object) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{value:,}"
        return "" if value is None else printable(str(value))

    cells = [[text(value) for value in row] for row in rows]
    widths = [
        max(len(line[number]) for line in [list(columns), *cells]) for number in range(len(columns))
    ]
    numeric = [
        bool(rows) and all(isinstance(row[number], int | None) for row in rows)
        for number in range(len(columns))
    ]
    for line in [list(columns), *cells]:
        aligned = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        click.echo("  ".join(aligned).rstrip())


def print_report(summary: str, figures: Mapping[str, object], problems: Sequence[str]) -> None:
    """Print the report of an operation as text on stdout."""
    click.echo(summary)
    for name, value in figures.items():
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        click.echo(f"  {name.replace('_', ' ')}: {shown}")
    for problem in problems:
        click.echo(f"  {problem}")


def exit_code_and_message(error: Exception) -> tuple[int | None, str]:
    """Return the exit code for an error, and its message of at most three lines.

    The code is None for an error that is a fault of the program: its traceback is wanted.
    """
    from lfp_pipeline.errors import (
        DeliveryRefusedError,
        LfpError,
        OperationRefusedError,
        WarehouseBusyError,
        hint_for,
        user_message,
    )

    if not isinstance(error, LfpError | OSError) and not hint_for(error):
        return None, ""
    code = FAILED
    if isinstance(error, WarehouseBusyError):
        code = BUSY
    elif isinstance(error, OperationRefusedError | DeliveryRefusedError):
        code = REFUSED
    return code, first_lines(user_message(error))


def first_lines(message: str, limit: int = _MESSAGE_LINES) -> str:
    """Return the first lines of a message; the log of the run has the rest."""
    lines = message.splitlines()
    if len(lines) <= limit:
        return message
    remaining = len(lines) - limit + 1
    return "\n".join([*lines[: limit - 1], f"... and {remaining} more lines."])
