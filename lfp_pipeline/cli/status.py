"""Shows how things stand with a data folder: `python -m lfp_pipeline.cli.status`."""

import sys

from lfp_pipeline.common.text import visible
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.operations.status import collect_status
from lfp_pipeline.operations.status_text import render_status
from lfp_pipeline.settings import load_settings


def main() -> int:
    """Print the state; the exit code tells whether it could be had."""
    try:
        engine = Engine(load_settings())
        print(render_status(collect_status(engine)))
    except (LfpError, OSError) as error:
        print(visible(str(error)), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
