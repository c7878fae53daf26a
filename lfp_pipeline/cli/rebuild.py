"""`lfp rebuild`: rebuilds the database from the raw zone."""

import click

from lfp_pipeline.cli.operate import dry_run, operate, verbose_option, yes_option
from lfp_pipeline.cli.output import confirm, dry_run_option, examples, json_option


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
@dry_run_option
@json_option
@verbose_option
def command(
    *,
    allow_data_loss: bool,
    use_present_settings: bool,
    yes: bool,
    is_dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Rebuild the database from the raw zone, beside the old one, and swap them.

    Other runs go on meanwhile. The tables are the same afterwards.
    """
    from lfp_pipeline.operations.rebuild import rebuild_products

    if is_dry_run:
        dry_run(rebuild_products, {}, as_json=as_json)
        return
    if allow_data_loss:
        confirm("Rebuild without the deliveries that cannot be read any more?", yes=yes)
    options = {"allow_data_loss": allow_data_loss, "use_present_settings": use_present_settings}
    operate("rebuild_products", "rebuild", options, as_json=as_json, verbose=verbose)
