"""`lfp dismiss`: a file, or its rejected rows, need no more attention."""

import click

from lfp_pipeline.cli.completion import complete_file
from lfp_pipeline.cli.operate import dry_run, engine_of_project, operate, verbose_option
from lfp_pipeline.cli.output import dry_run_option, examples, json_option
from lfp_pipeline.cli.param_types import Text


@click.command(
    epilog=examples("lfp dismiss broken.csv", "lfp dismiss broken.csv#20261120T0819 --dry-run")
)
@click.argument("delivery", metavar="FILE|DELIVERY", type=Text(), shell_complete=complete_file)
@click.option(
    "--latest",
    is_flag=True,
    help="Of several deliveries of a file, the newest; one that is not merged comes first.",
)
@dry_run_option
@json_option
@verbose_option
def command(delivery: str, *, latest: bool, is_dry_run: bool, as_json: bool, verbose: bool) -> None:
    """Remove a refused or failed file, or rejected rows, from what needs attention.

    No run tries the refused or failed delivery again, and a rebuild leaves it out; `lfp reinstate`
    tries it. Of a merged file, the rejected rows are dismissed, and its other rows stay. Another
    version of the file is ingested as usual.

    FILE is the name of a file in the inbox. DELIVERY is the id of a delivery, or its beginning.
    """
    from lfp_pipeline.operations.dismiss import dismiss_delivery
    from lfp_pipeline.operations.find_delivery import find_delivery
    from lfp_pipeline.raw_zone.landed import Landed

    def is_open(landed: Landed) -> bool:
        return not landed.reverted and landed.noted_status != "merged"

    found = find_delivery(
        engine_of_project(read_only=is_dry_run), delivery, latest=latest, among=is_open
    )
    options = {"delivery_id": found.delivery_id}
    if is_dry_run:
        dry_run(dismiss_delivery, options, as_json=as_json)
    else:
        operate("dismiss_delivery", "dismiss", options, as_json=as_json, verbose=verbose)
