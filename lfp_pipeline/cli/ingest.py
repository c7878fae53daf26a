"""`lfp ingest`: ingests pending files, or files, folders and URLs that are named."""

import os
from collections.abc import Sequence

import click

from lfp_pipeline.cli.operate import engine_of_project, verbose_option
from lfp_pipeline.cli.output import UsageProblem, dry_run_option, examples, json_option, say
from lfp_pipeline.cli.param_types import Text
from lfp_pipeline.sources.written_location import shown_location


@click.command(
    epilog=examples(
        "lfp ingest",
        "lfp ingest ~/downloads/*.csv.gz",
        "lfp ingest 'https://example.com/export?day=1' --as export.csv --dry-run",
    )
)
@click.argument("targets", metavar="[PATH|URL]...", type=Text(), nargs=-1)
@click.option(
    "--as",
    "name",
    type=Text(),
    metavar="NAME",
    help="Ingest the file or URL as a file of this name.",
)
@dry_run_option
@json_option
@verbose_option
def command(
    targets: Sequence[str], *, name: str | None, is_dry_run: bool, as_json: bool, verbose: bool
) -> None:
    """Ingest everything that is pending, or the files, folders and URLs that are named.

    A file outside the inbox, or a URL, is ingested under its name; of two files of one name, the
    rows of the newer one win. A named source of the sources file is fetched now. Write ${NAME} for
    a secret in a URL, and set that variable in the environment.

    A dry run reads the files completely, and shows the number of rows and the first rows that would
    be inserted, updated and so on. Nothing lands.
    """
    if name is not None and len(targets) != 1:
        msg = "--as names a single file or URL."
        raise UsageProblem(msg)
    say(f"Looking at {', '.join(map(_shown, targets)) or 'the inbox'}")
    from lfp_pipeline.cli.ingest_plan import plan_and_print
    from lfp_pipeline.cli.ingest_results import exit_with, print_outcomes
    from lfp_pipeline.cli.ingest_run import ingest_pending, ingest_targets
    from lfp_pipeline.cli.progress_bar import showing_progress

    engine = engine_of_project(read_only=is_dry_run)
    if is_dry_run:
        plan_and_print(engine, targets, name, as_json=as_json)
        return
    with showing_progress(verbose=verbose) as display:
        if targets:
            outcomes, run = ingest_targets(engine, targets, name, display, verbose=verbose)
        else:
            outcomes, run = ingest_pending(engine, display, verbose=verbose)
    print_outcomes(outcomes, run, as_json=as_json)
    exit_with(outcomes, run)


def _shown(target: str) -> str:
    """Return a target to show: a file or folder as it is, and of a location what is no secret."""
    return target if os.path.exists(target) else shown_location(target)  # noqa: PTH110 (any text)
