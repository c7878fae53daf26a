"""`lfp reinstate`: merges a reverted delivery again."""

import click

from lfp_pipeline.cli.completion import complete_file
from lfp_pipeline.cli.operate import dry_run, engine_of_project, operate, verbose_option
from lfp_pipeline.cli.output import dry_run_option, examples, json_option
from lfp_pipeline.cli.param_types import Text


@click.command(
    epilog=examples("lfp reinstate prices.csv", "lfp reinstate prices.csv#20261120T0819 --dry-run")
)
@click.argument("delivery", metavar="FILE|DELIVERY", type=Text(), shell_complete=complete_file)
@click.option("--latest", is_flag=True, help="Of several reverted ones of a file, the newest.")
@click.option(
    "--use-present-settings",
    is_flag=True,
    help="Read the delivery with the present settings, whatever it was merged with.",
)
@dry_run_option
@json_option
@verbose_option
def command(
    delivery: str,
    *,
    latest: bool,
    use_present_settings: bool,
    is_dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Merge a reverted delivery again, as if it had just arrived.

    FILE is the name of a file in the inbox, with one reverted delivery. DELIVERY is the id of a
    delivery, or its beginning.
    """
    from lfp_pipeline.operations.find_delivery import find_delivery
    from lfp_pipeline.operations.revert import reinstate_delivery

    found = find_delivery(
        engine_of_project(read_only=is_dry_run),
        delivery,
        latest=latest,
        among=lambda landed: landed.reverted,
    )
    options = {"delivery_id": found.delivery_id, "use_present_settings": use_present_settings}
    if is_dry_run:
        dry_run(reinstate_delivery, options, as_json=as_json)
    else:
        options |= {"reinstate": True}
        operate("revert_delivery", "revert", options, as_json=as_json, verbose=verbose)
