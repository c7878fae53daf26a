"""Validates the settings and the sources file: `python -m lfp_pipeline.cli.check`."""

import sys

from lfp_pipeline.common.text import visible
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import SettingsError
from lfp_pipeline.settings import load_settings


def main() -> int:
    """Print the problems; return 1 if there are any, else 0."""
    try:
        _, problems = Engine(load_settings()).catalog.feeds()
    except SettingsError as error:
        problems = [str(error)]
    for problem in problems:
        print(visible(problem), file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
