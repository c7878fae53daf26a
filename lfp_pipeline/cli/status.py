"""Prints the status of the data folder: `python -m lfp_pipeline.cli.status`."""

import sys

from lfp_pipeline.common.text import visible
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
from lfp_pipeline.settings import load_settings


def main() -> int:
    """Print the status; return 1 after an error, else 0."""
    try:
        engine = Engine(load_settings())
        print(render_status(collect_status(engine)))
    except (LfpError, OSError) as error:
        print(visible(str(error)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
