"""`lfp check`: validates the settings and the sources file."""

import sys

import click


@click.command()
def command() -> None:
    """Validate the settings and the sources file; print nothing if all is well.

    Example: lfp check
    """
    from lfp_pipeline.cli.output import FAILED, say

    if problems := problems_of_settings():
        say("\n".join(problems))
        sys.exit(FAILED)


def problems_of_settings() -> list[str]:
    """Return what is wrong in the settings and the sources file, as text for people."""
    from lfp_pipeline.common.text import visible
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.errors import SettingsError
    from lfp_pipeline.settings import load_settings

    try:
        _, problems = Engine(load_settings()).catalog.feeds()
    except SettingsError as error:
        problems = [str(error)]
    return [visible(problem) for problem in problems]


if __name__ == "__main__":
    command()
