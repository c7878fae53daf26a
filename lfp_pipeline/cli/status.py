"""`lfp status`: shows what is pending, running, and in need of attention."""

import click


@click.command()
def command() -> None:
    """Show what is pending, running or waiting, what needs attention, and the tables.

    Example: lfp status
    """
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.operations.status import collect_status
    from lfp_pipeline.operations.status_text import render_status
    from lfp_pipeline.settings import load_settings

    click.echo(render_status(collect_status(Engine(load_settings()))))
