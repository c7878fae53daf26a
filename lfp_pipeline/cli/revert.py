"""`lfp revert`: undoes a delivery."""

import click

from lfp_pipeline.cli.completion import complete_file
from lfp_pipeline.cli.operate import dry_run, engine_of_project, operate, verbose_option
from lfp_pipeline.cli.output import dry_run_option, examples, json_option
from lfp_pipeline.cli.param_types import Text


@click.command(
    epilog=examples(
        "lfp revert prices.csv --latest --dry-run", "lfp revert prices.csv#20261120T0819"
    )
)
@click.argument("delivery", metavar="FILE|DELIVERY", type=Text(), shell_complete=complete_file)
@click.option("--latest", is_flag=True, help="Of several merged ones of a file, the newest.")
@click.option(
    "--ignore-pruned-history",
    is_flag=True,
    help="Revert even if older deliveries that may have replacement rows are pruned.",
)
@click.option(
    "--use-present-settings",
    is_flag=True,
    help="Read older deliveries with the present settings, whatever they were merged with.",
)
@dry_run_option
@json_option
@verbose_option
def command(
    delivery: str,
    *,
    latest: bool,
    ignore_pruned_history: bool,
    use_present_settings: bool,
    is_dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Undo a delivery, as if it had never come.

    For each of its skus, the next newest row of the other deliveries takes effect. The delivery
    remains reverted until it is reinstated.

    FILE is the name of a file in the inbox. DELIVERY is the id of a delivery, or its beginning.
    """
    from lfp_pipeline.errors import OperationRefusedError
    from lfp_pipeline.operations.find_delivery import find_delivery
    from lfp_pipeline.operations.revert import revert_delivery
    from lfp_pipeline.raw_zone.landed import Landed
    from lfp_pipeline.raw_zone.status_notes import last_recorded_status

    def is_merged(landed: Landed) -> bool:
        return not landed.reverted and landed.noted_status == "merged"

    found = find_delivery(
        engine_of_project(read_only=is_dry_run), delivery, latest=latest, among=is_merged
    )
    if last_recorded_status(found.path) == "reverted":
        msg = f"{found.delivery_id} is reverted already. `lfp reinstate` merges it again."
        raise OperationRefusedError(msg)
    options = {
        "delivery_id": found.delivery_id,
        "ignore_pruned_history": ignore_pruned_history,
        "use_present_settings": use_present_settings,
    }
    if is_dry_run:
        dry_run(revert_delivery, options, as_json=as_json)
    else:
        operate("revert_delivery", "revert", options, as_json=as_json, verbose=verbose)
