"""Writes rejected rows as files into data/rejects: `python -m lfp_pipeline.cli.rejects`."""

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
    """Export the rejected rows; return 1 after an error, else 0."""
    parser = argparse.ArgumentParser(prog="python -m lfp_pipeline.cli.rejects", description=__doc__)
    parser.add_argument("--partition", help="only rows of this partition")
    parser.add_argument("--delivery", help="only rows of this delivery")
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
    _print_result(exported, engine.settings)
    return 0


def _print_result(exported: Sequence[RejectsFile], settings: Settings) -> None:
    if not exported:
        print("No rejected rows. Files that were refused whole: `make status`, Needs attention.")
        return
    for file in exported:
        rows = pluralize(file.rows, "rejected row")
        print(f"{os.path.relpath(file.path)}: {rows} of {file.partition_key}")
        if file.kept:
            print("    Kept, because it was edited. Move it away to have it written again.")
        if file.refused:
            print(
                "    The whole file was refused, so its good rows are not merged either: fix the "
                "file itself."
            )
    wanted = ", ".join(PRODUCT_COLUMNS)
    print(
        f"\nFix {wanted} in a spreadsheet or an editor; the other columns say what was wrong, and "
        "are not\nread. Delete the rows that you do not fix: they would be rejected again, and a "
        f"file with more than\n{settings.max_reject_share:.0%} rejects is refused. Save the file "
        f"as CSV, and drop it into {os.path.relpath(settings.inbox_dir)}.\nA dropped file is newer "
        "than all earlier deliveries. If a newer file has changed the same skus since,\ngive the "
        "dropped file the time of the old one: touch -r."
    )
    if escaped := sum(file.escaped for file in exported):
        print(
            f"\n{escaped:,} values begin with one of = + - @. An apostrophe stands before them, so "
            "that no\nspreadsheet reads them as formulas. Delete it where it must not remain."
        )


if __name__ == "__main__":
    sys.exit(main())
