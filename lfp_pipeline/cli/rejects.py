"""`lfp rejects`: writes rejected rows as CSV files, to be fixed."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lfp_pipeline.cli.completion import complete_file
from lfp_pipeline.cli.layout import fit
from lfp_pipeline.cli.output import examples, json_option, print_json, say
from lfp_pipeline.cli.param_types import Text

if TYPE_CHECKING:
    from lfp_pipeline.operations.export_rejects import RejectsFile
    from lfp_pipeline.settings import Settings

_ADVICE = """
Fix {columns} in a spreadsheet or an editor; the other columns say what was wrong, and are not \
read. Delete the rows that you do not fix: they would be rejected again, and a file with more than \
{share:.0%} rejects is refused. Save the file as CSV, and drop it into {inbox} under the same \
name. Once it is merged, these rows leave the list.

A dropped file is newer than all earlier deliveries. If a newer file has changed the same skus \
since, do not drop the file. Ingest it with the time of the delivery that it corrects: \
touch -d {time}Z FILE; lfp ingest FILE
"""
_FORMULAS = """
{values} began with one of = + - @. An apostrophe stands before each, so that no spreadsheet reads \
it as a formula. Delete the apostrophe where it must not remain.
"""


@click.command(epilog=examples("lfp rejects", "lfp rejects fruit.csv"))
@click.argument(
    "which", metavar="[FILE|DELIVERY]", type=Text(), required=False, shell_complete=complete_file
)
@json_option
def command(which: str | None, *, as_json: bool) -> None:
    """Write rejected rows as CSV files, with their reasons, to be fixed.

    Without an argument, those are written that need attention. They need no more once the corrected
    CSV is merged under its name, once a newer version of the file has come, or after `lfp dismiss`.
    With FILE, those of its newest version are written; with DELIVERY (the id of a version, or its
    unique beginning), those of that version.

    Of a file that was refused, the rejected rows are evidence only: fix the file itself.
    """
    import logging

    from lfp_pipeline.engine import Engine
    from lfp_pipeline.operations.export_rejects import export_rejects
    from lfp_pipeline.operations.find_delivery import find_delivery, find_partition
    from lfp_pipeline.settings import load_settings

    engine = Engine(load_settings())
    key = find_partition(engine, which) if which else None
    id_ = find_delivery(engine, which).delivery_id if which and key is None else None
    log = logging.getLogger(__name__)
    exported = export_rejects(engine, log, partition_key=key, delivery_id=id_)
    if as_json:
        print_json([_data(file) for file in exported])
    elif exported:
        _print(exported, engine.settings)
    else:
        say("No rejected rows to fix. `lfp status` shows what else needs attention.")


def _data(file: "RejectsFile") -> dict[str, Any]:
    return {
        "path": str(file.path),
        "delivery_id": file.delivery_id,
        "partition_key": file.partition_key,
        "rows": file.rows,
        "is_refused": file.refused,
        "is_kept": file.kept,
        "escaped_values": file.escaped,
    }


def _print(exported: Sequence["RejectsFile"], settings: "Settings") -> None:
    from lfp_pipeline.common.setting_types import BUCKET
    from lfp_pipeline.common.text import lfp_command, pluralize, printable
    from lfp_pipeline.model.delivery import labels, parse_stamp
    from lfp_pipeline.model.partition_key import typed_name
    from lfp_pipeline.model.table_spec import PRODUCT_COLUMNS

    typed = labels(
        {file.delivery_id: typed_name(file.partition_key, file.source) for file in exported}
    )
    for file in exported:
        notes = [pluralize(file.rows, "rejected row") + "."]
        if file.kept:
            notes.append("Kept, because it was edited. Move it away to have it written again.")
        if file.refused:
            notes.append(
                "The whole file was refused, so its good rows are not merged either: fix the file "
                "itself."
            )
        click.echo(printable(os.path.relpath(file.path)))
        if file.needs_attention:
            notes.append("To take them off the list without a correction:")
        click.echo(fit(f"    {' '.join(notes)}", indent=0))
        if file.needs_attention:
            click.echo(f"        {lfp_command('dismiss', typed[file.delivery_id])}")
    inbox = settings.inbox_place
    advice = _ADVICE.format(
        columns=", ".join(PRODUCT_COLUMNS),
        share=settings.max_reject_share,
        inbox=inbox if inbox.startswith(BUCKET) else os.path.relpath(inbox),
        time=parse_stamp(exported[0].delivery_id.split("#")[1]).isoformat(timespec="microseconds"),
    )
    if escaped := sum(file.escaped for file in exported):
        advice += _FORMULAS.format(values=pluralize(escaped, "value"))
    click.echo(fit(advice, indent=0))
