"""`lfp demo`: ingests a realistic zipped file, and checks the tables against its facts."""

import click

from lfp_pipeline.cli.operate import engine_of_project
from lfp_pipeline.cli.output import FAILED, UsageProblem, examples, say
from lfp_pipeline.cli.sample import rows_option, seed_option


@click.command(epilog=examples("lfp demo", "lfp demo --rows 2000"))
@rows_option(minimum=1)
@seed_option
def command(*, rows: int, seed: int) -> None:
    """Make a zipped sample file in the inbox, ingest the file, and check the tables.

    Other files of the inbox are left alone. If the file is ingested already, only the tables are
    shown.
    """
    from lfp_pipeline.common.setting_types import BUCKET
    from lfp_pipeline.settings import load_settings

    if load_settings().inbox_place.startswith(BUCKET):
        msg = "The inbox is in a bucket: put a file there that `lfp sample --out FILE` makes."
        raise UsageProblem(msg)
    say(f"Making a sample of {rows:,} products")
    from lfp_pipeline.cli.demo_tables import print_tables
    from lfp_pipeline.cli.ingest_results import exit_with
    from lfp_pipeline.cli.ingest_run import ingest_targets
    from lfp_pipeline.cli.progress_bar import showing_progress
    from lfp_pipeline.cli.sample_file import existing_sample

    engine = engine_of_project()
    sample, facts = existing_sample(engine.settings, rows, seed)
    with showing_progress(verbose=False) as display:
        outcomes, run = ingest_targets(engine, [str(sample)], None, display, verbose=False)
    exit_with(outcomes, run)
    if not print_tables(engine, outcomes, facts):
        raise SystemExit(FAILED)
