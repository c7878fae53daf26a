"""`lfp status`: shows what is pending, running, and in need of attention."""

import shutil
import signal
import sys
from threading import Event

import click

from lfp_pipeline.cli.layout import fit
from lfp_pipeline.cli.output import FAILED, examples, json_option, print_json
from lfp_pipeline.cli.param_types import Number

_CLEAR_SCREEN = "\x1b[H\x1b[2J"


@click.command(
    epilog=examples(
        "lfp status",
        "lfp status --watch 5",
        "lfp status --json | jq -e '.needs_attention == []'",
    )
)
@click.option(
    "--watch",
    "interval",
    type=Number(0.1, 86_400),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Show the status again every so many seconds (2), until Ctrl-C.",
)
@json_option
def command(interval: float | None, as_json: bool) -> None:
    """Show what is pending, running or waiting, what needs attention, and the tables.

    Nothing waits, and no writer is blocked: the tables are those of the published copy.

    The exit code is 1 if there are problems: something is broken, or cannot be read. Refused and
    failed files are no problems; the last example tests for them (jq then exits with 1).
    """
    if interval is None:
        sys.exit(FAILED if _show(as_json=as_json) else 0)
    if as_json:
        msg = "--watch prints text; leave out --json, or repeat `lfp status --json`."
        raise click.UsageError(msg)
    ended = Event()
    # An exception in the middle of a query would become an error of DuckDB.
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    _show(as_json=False, again=True)
    while not ended.wait(interval):
        _show(as_json=False, again=True)


def _show(*, as_json: bool, again: bool = False) -> bool:
    """Print the status; return whether there are problems."""
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.operations.status import collect_status
    from lfp_pipeline.operations.status_data import status_data
    from lfp_pipeline.operations.status_text import render_status
    from lfp_pipeline.settings import load_settings

    state = collect_status(Engine(load_settings()))
    if as_json:
        print_json(status_data(state))
    elif again and sys.stdout.isatty():
        height = shutil.get_terminal_size().lines
        lines = fit(render_status(state)).splitlines()
        cut = [*lines[: height - 2], f"... {len(lines) - height + 2} more lines"]
        click.echo(_CLEAR_SCREEN + "\n".join(lines if len(lines) < height else cut))
    else:
        click.echo(fit(render_status(state)) + "\n" * again)
    return bool(state.problems)
