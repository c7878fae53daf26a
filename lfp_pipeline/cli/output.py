"""What commands print: data on stdout as text or JSON, messages on stderr, and exit codes."""

import errno
import json
import math
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import click

FAILED = 1
REFUSED = 3
BUSY = 5

_MESSAGE_LINES = 3
_NOT_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_INTERRUPTED = ("Query interrupted", "INTERRUPT Error: Interrupted!")
"""What DuckDB makes of Ctrl-C; its first error is a bare RuntimeError."""


class UsageProblem(click.ClickException):
    """Wrong arguments, with a message of one line instead of the usage of the command."""

    exit_code = 2

    def format_message(self) -> str:
        """Return the message, with escapes for what would control the terminal."""
        from lfp_pipeline.common.text import visible

        return visible(self.message)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
dry_run_option = click.option(
    "--dry-run", "is_dry_run", is_flag=True, help="Show what would be done, and change nothing."
)


def examples(*commands: str) -> str:
    """Return commands as the end of a help page."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


def say(message: str) -> None:
    """Print a message for people, on stderr, with escapes for what would control the terminal.

    A message that cannot be printed, since nobody reads stderr any more, changes no result.
    """
    from lfp_pipeline.common.text import visible

    with suppress(OSError):
        click.echo(visible(message), err=True)


def show_cursor() -> None:
    """Show the cursor of a terminal, which a progress bar hides until its end."""
    with suppress(OSError):
        click.echo("\x1b[?25h", file=sys.__stderr__, nl=False)


def confirm(question: str, *, yes: bool) -> None:
    """Ask whether to go on, unless `yes`; without a terminal, there is nobody to ask.

    Raises:
        SystemExit: the answer is no, or there is none.
        UsageProblem: there is no terminal.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        msg = f"{question} There is no terminal to confirm this: add --yes."
        raise UsageProblem(msg)
    agreed = False
    with suppress(click.Abort):  # Ctrl-C, or the end of the input.
        agreed = click.confirm(question, err=True)
    if not agreed:
        say("Nothing was changed.")
        raise SystemExit(FAILED)


def print_json(value: object) -> None:
    """Print a value as JSON on stdout; times are in UTC."""
    click.echo(json_text(value, indent=2))


def json_text(value: object, indent: int | None = None) -> str:
    """Return a value as JSON, with escapes for unprintable characters.

    JSON has no infinite number and no NaN: these become null.
    """
    try:
        text = json.dumps(
            value, default=jsonable, ensure_ascii=False, indent=indent, allow_nan=False
        )
    except (TypeError, ValueError):
        text = json.dumps(_finite(value), default=jsonable, ensure_ascii=False, indent=indent)
    return _UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], text)


# Control characters that JSON allows, those that reorder text, and halves of characters.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def jsonable(value: Any) -> Any:  # noqa: ANN401 (any cell of a table)
    """Return a value that JSON does not have as a text or number."""
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z" if value.tzinfo is None else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def _finite(value: Any) -> Any:  # noqa: ANN401 (likewise)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def exit_code_and_message(error: Exception) -> tuple[int | None, str]:
    """Return the exit code for an error, and its message of at most three lines.

    The code is None for an error that is a fault of the program: its traceback is wanted.
    """
    from lfp_pipeline.errors import (
        BrokerUnreachableError,
        BucketUnreachableError,
        DeliveryRefusedError,
        LfpError,
        OperationRefusedError,
        WarehouseBusyError,
        hint_for,
        user_message,
    )

    if str(error) in _INTERRUPTED:
        return FAILED, "Aborted!"  # As click says it.
    if isinstance(error, BrokenPipeError):  # As by `head`, which has read enough.
        return FAILED, ""
    if isinstance(error, OSError) and error.filename is None and error.errno in _NOT_WRITTEN:
        return FAILED, f"The output cannot be written: {error.strerror}."
    if not isinstance(error, LfpError | OSError) and not hint_for(error):
        return None, ""
    code = FAILED
    if isinstance(error, WarehouseBusyError | BrokerUnreachableError | BucketUnreachableError):
        code = BUSY
    elif isinstance(error, OperationRefusedError | DeliveryRefusedError):
        code = REFUSED
    return code, first_lines(user_message(error))


def first_lines(message: str, limit: int = _MESSAGE_LINES) -> str:
    """Return the first lines of a message; the log of the run has the rest.

    The line of a SQL statement and the pointer below it, at the end of a message of DuckDB, stay
    beyond the limit: a cause without its place is of no use in a long statement.
    """
    lines = message.split("\n")
    end = len(lines) - 2 * bool(re.fullmatch(r" *\^+ *", lines[-1]))
    if end > limit:
        lines[limit - 1 : end] = [f"... and {end - limit + 1} more lines."]
    return "\n".join(lines)
