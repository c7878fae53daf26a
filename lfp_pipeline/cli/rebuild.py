"""`lfp rebuild`: rebuilds the database from the raw zone."""

import click

from lfp_pipeline.cli.operate import OperationCall, operation, yes_option
from lfp_pipeline.cli.output import confirm, examples


@click.command(epilog=examples("lfp rebuild --dry-run", "lfp rebuild"))
@click.option(
    "--allow-data-loss",
    is_flag=True,
    help="Rebuild even if merged deliveries cannot be read any more.",
)
@click.option(
    "--use-present-settings",
    is_flag=True,
    help="Read all deliveries with the present settings, whatever they were merged with.",
)
@yes_option
@operation("Rebuilding the database")
def command(
    *, allow_data_loss: bool, use_present_settings: bool, yes: bool, call: OperationCall
) -> None:
    """Rebuild the database from the raw zone, beside the old one, and swap them.

    Other runs go on meanwhile. The tables are the same afterwards.
    """
    from lfp_pipeline.operations.rebuild import rebuild_products

    if allow_data_loss and not call.is_dry_run:
        confirm("Rebuild without the deliveries that cannot be read any more?", yes=yes)
    options = {"allow_data_loss": allow_data_loss, "use_present_settings": use_present_settings}
    call.run("rebuild_products", "rebuild", rebuild_products, options)
