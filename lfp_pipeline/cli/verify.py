"""`lfp verify`: checks the invariants of the data."""

import click

from lfp_pipeline.cli.operate import dry_run, operate, verbose_option
from lfp_pipeline.cli.output import dry_run_option, examples, json_option


@click.command(epilog=examples("lfp verify", "lfp verify --full"))
@click.option("--full", is_flag=True, help="Also rebuild the database beside, and compare.")
@dry_run_option
@json_option
@verbose_option
def command(*, full: bool, is_dry_run: bool, as_json: bool, verbose: bool) -> None:
    """Check the tables, every raw file against its checksum, and the published copy.

    Nothing is repaired. Each problem is a line that says what to do; the exit code is then 1.
    """
    from lfp_pipeline.operations.verify import verify

    if is_dry_run:
        dry_run(verify, {"full": full}, as_json=as_json)
    else:
        operate("verify", "check_invariants", {"full": full}, as_json=as_json, verbose=verbose)
