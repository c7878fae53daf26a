"""`lfp sample`: makes a sample file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lfp_pipeline.cli.output import examples, json_option, say

ROWS = 500_000
SEED = 7

seed_option = click.option(
    "--seed",
    type=click.IntRange(0),
    default=SEED,
    show_default=True,
    help="Another seed is a new delivery of the same products.",
)


def rows_option(minimum: int) -> Callable[[Any], Any]:
    """Return the option for the number of rows of a sample."""
    rows = click.IntRange(minimum)
    return click.option(
        "--rows", type=rows, default=ROWS, show_default=True, help="Rows of the file."
    )


@click.command(epilog=examples("lfp sample", "lfp sample --rows 2000 --out ~/sample.csv"))
@rows_option(minimum=0)
@seed_option
@click.option("--out", type=click.Path(path_type=Path), help="The file; without it, in the inbox.")
@click.option(
    "--facts",
    "--truth",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write what a reader must find in the file, as JSON.",
)
@json_option
def command(*, rows: int, seed: int, out: Path | None, facts: Path | None, as_json: bool) -> None:
    """Make a realistic product file, zipped, and drop it into the inbox.

    The ending of --out decides how the file is packed: .zip, .gz, or not.
    """
    from lfp_pipeline.cli.output import UsageProblem, print_json
    from lfp_pipeline.cli.sample_file import make_sample, sample_in
    from lfp_pipeline.common.setting_types import BUCKET
    from lfp_pipeline.settings import load_settings

    settings = load_settings()
    if out is None and settings.inbox_place.startswith(BUCKET):
        msg = "The inbox is in a bucket: add --out FILE, and put that file there."
        raise UsageProblem(msg)
    path = out or sample_in(settings.inbox_dir, rows, seed)
    made = make_sample(path, rows, seed, facts)
    if as_json:
        print_json({"path": path, **made})
        return
    click.echo(path)
    say(f"{made['rows']:,} rows, {made['skus']:,} skus, {made['names']:,} names")
