"""Writes rejected rows into data/rejects: `python -m lfp_pipeline.cli.rejects`."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import duckdb

from lfp_pipeline.common.text import pluralize, visible
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError
from lfp_pipeline.model.table_spec import PRODUCT_COLUMNS
from lfp_pipeline.operations.export_rejects import RejectsFile, export_rejects
from lfp_pipeline.settings import Settings, load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the command line says; the exit code tells whether that was possible."""
    parser = argparse.ArgumentParser(prog="python -m lfp_pipeline.cli.rejects", description=__doc__)
    parser.add_argument("--partition", help="of this partition only")
    parser.add_argument("--delivery", help="of this delivery, which need not be the newest")
    options = parser.parse_args(arguments)
    try:
        engine = Engine(load_settings())
        exported = export_rejects(
            engine,
            logging.getLogger(__name__),
            partition_key=options.partition or None,
            delivery_id=options.delivery or None,
        )
    except (LfpError, OSError, duckdb.Error) as error:
        print(visible(str(error)), file=sys.stderr)
        return 1
    _tell(exported, engine.settings)
    return 0


def _tell(exported: Sequence[RejectsFile], settings: Settings) -> None:
    if not exported:
        print("No rejected rows. Files that were refused whole: `make status`, Needs attention.")
        return
    for one in exported:
        rows = pluralize(one.rows, "rejected row")
        print(f"{os.path.relpath(one.path)}: {rows} of {one.partition_key}")
        if one.kept:
            print(
                "    Left as it is: somebody has changed it. Take it away to have it written anew."
            )
        if one.refused:
            print(
                "    The whole file was refused, so its good rows are not in either: mend the file "
                "itself."
            )
    wanted = ", ".join(PRODUCT_COLUMNS)
    print(
        f"\nMend them in a spreadsheet or an editor: {wanted}. The other columns tell what was "
        "wrong, and are\nnot read. Take away the rows that you leave as they are: they would be "
        f"rejected again, and more than\n{settings.max_reject_share:.0%} of rejects refuse a file. "
        f"Save it as CSV, and drop it into {os.path.relpath(settings.inbox_dir)}. What you drop "
        "is newer than all that came\nbefore; should newer files have brought a sku since, give it "
        "the old file's time: touch -r."
    )
    if escaped := sum(one.escaped for one in exported):
        print(
            f"\n{escaped:,} values begin with one of = + - @, and got an apostrophe before it, so "
            "that no\nspreadsheet takes them for a formula. Take it away where it is not to stay."
        )


if __name__ == "__main__":
    sys.exit(main())
