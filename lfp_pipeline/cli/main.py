"""The command group `lfp`, which loads the module of a subcommand when that is used."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from lfp_pipeline import __version__
from lfp_pipeline.cli.dagster_home import require_project
from lfp_pipeline.cli.output import exit_code_and_message, say

_SECTIONS = {
    "Start": {
        "init": "Create a project in a folder.",
        "demo": "Ingest a sample file of 500,000 products and check the tables.",
        "sample": "Make a sample file and drop it into the inbox.",
        "dev": "Start the Dagster UI, and watch the inbox.",
        "check": "Validate the settings and the sources file.",
    },
    "Every day": {
        "ingest": "Ingest pending files, or a file or URL.",
        "status": "Show what is pending, running, and in need of attention.",
        "deliveries": "List deliveries, with their rows by outcome.",
        "rejects": "Write rejected rows as CSV files, to be fixed.",
    },
    "Look at the tables": {
        "show": "Show a product and where it comes from.",
        "search": "Find products by sku, name or description.",
        "names": "List the most frequent names.",
        "query": "Run SQL on the published tables.",
        "export": "Write the tables as Parquet and CSV files.",
    },
    "Correct": {
        "revert": "Undo a delivery, as if it had never come.",
        "reinstate": "Merge a reverted delivery again.",
        "purge": "Delete products.",
        "dismiss": "Remove a file, or its rejected rows, from what needs attention.",
    },
    "Maintain": {
        "publish": "Publish the tables for readers now.",
        "verify": "Check the invariants of the data.",
        "rebuild": "Rebuild the database from the raw zone.",
        "prune": "Delete the bytes of old deliveries.",
        "maintain": "Keep the storage of the tables dense.",
    },
    "Several hosts": {
        "cluster": "Set up and run hosts that work together.",
        "worker": "Execute runs on this host.",
    },
}
"""The subcommands with their one-line help, by section. Each is the module of its name."""


class _Commands(click.Group):
    """The subcommands, loaded on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all subcommands."""
        return [name for section in _SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand; None: there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"lfp_pipeline.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the name of a subcommand, itself and its arguments, if there is a project."""
        if args[0] not in self.list_commands(ctx):
            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        name, command, remaining = super().resolve_command(ctx, args)
        is_help = {*ctx.help_option_names} & {*remaining}
        if name != "init" and not is_help and not ctx.resilient_parsing:  # That is completion.
            require_project()
        return name, command, remaining

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the help of all subcommands, without loading them."""
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_spacing=4)


@click.group(
    name="lfp",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Data goes to stdout, messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, "
    '3 refused, 5 busy. Completion in bash: eval "$(_LFP_COMPLETE=bash_source lfp)"',
)
@click.version_option(__version__, prog_name="lfp")
def lfp() -> None:
    """Large product files into one exact products table.

    Work in the folder of a project: a clone, or a folder that `lfp init` has made.
    """


def _open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed.

    Else Python has no object for it, and the next file that is opened gets its number.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit with its code."""
    _open_closed_streams()
    if "_LFP_COMPLETE" in os.environ:
        from click.shell_completion import add_completion_class

        from lfp_pipeline.cli.bash_completion import QuotingBashComplete

        add_completion_class(QuotingBashComplete)
    try:
        try:
            lfp(args=arguments, prog_name="lfp")
        finally:
            sys.stdout.flush()  # At its end, Python would print a failure as its own.
    except Exception as error:
        code, message = exit_code_and_message(error)
        if code is None:
            raise
        if message:
            say(message)
        raise SystemExit(code) from None
