"""`lfp prune`: deletes the bytes of old deliveries."""

import click

from lfp_pipeline.cli.operate import dry_run, operate, verbose_option, yes_option
from lfp_pipeline.cli.output import confirm, dry_run_option, examples, json_option
from lfp_pipeline.cli.param_types import Number


@click.command(epilog=examples("lfp prune --dry-run", "lfp prune --older-than 30"))
@click.option(
    "--older-than",
    type=Number(0, 36_500),
    metavar="DAYS",
    default=90,
    show_default=True,
    help="Least number of days since the landing.",
)
@click.option(
    "--include-needed",
    is_flag=True,
    help="Also prune deliveries that a rebuild of the present tables needs.",
)
@yes_option
@dry_run_option
@json_option
@verbose_option
def command(
    *,
    older_than: float,
    include_needed: bool,
    yes: bool,
    is_dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Delete the bytes of old deliveries that the tables no longer need; their records stay."""
    from lfp_pipeline.operations.prune import prune_raw

    options = {"older_than_days": older_than, "include_needed": include_needed}
    if is_dry_run:
        dry_run(prune_raw, options, as_json=as_json)
        return
    if include_needed:
        confirm("Delete bytes that a rebuild needs?", yes=yes)
    operate("prune_raw", "prune", options, as_json=as_json, verbose=verbose)
