"""`lfp purge`: deletes products."""

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lfp_pipeline.cli.completion import complete_file
from lfp_pipeline.cli.operate import OperationCall, operation, yes_option
from lfp_pipeline.cli.output import UsageProblem, confirm, examples
from lfp_pipeline.cli.param_types import Number, Text

if TYPE_CHECKING:
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.operations import Report


@click.command(
    epilog=examples(
        "lfp purge sku-1 sku-2 --dry-run",
        "lfp purge --skus-from obsolete.txt",
        "lfp purge --file prices.csv",
    )
)
@click.argument("skus", metavar="[SKU]...", nargs=-1)
@click.option("--skus-from", type=Text(), metavar="FILE", help="A sku on each line; - is stdin.")
@click.option(
    "--file",
    type=Text(),
    metavar="FILE",
    shell_complete=complete_file,
    help="Products whose present row came with this file.",
)
@click.option(
    "--older-than",
    type=Number(0, 36_500),
    metavar="DAYS",
    help="Products whose present row was delivered longer ago.",
)
@click.option("--all", "everything", is_flag=True, help="All products.")
@yes_option
@operation("Purging products")
def command(
    skus: Sequence[str],
    *,
    skus_from: str | None,
    file: str | None,
    older_than: float | None,
    everything: bool,
    yes: bool,
    call: OperationCall,
) -> None:
    """Delete products: by skus, by file, by age, or all.

    A purge is a delivery of its own, so a rebuild deletes the products again. A newer delivery
    brings them back. `lfp revert purges --latest` undoes the last purge.
    """
    from lfp_pipeline.operations.find_delivery import require_partition

    listed = [*skus, *(_lines(skus_from) if skus_from else ())]
    ways = (bool(skus or skus_from), file is not None, older_than is not None, everything)
    if sum(ways) != 1:
        msg = "Give exactly one of: SKUs (also by --skus-from), --file, --older-than, --all."
        raise UsageProblem(msg)
    if skus_from and not listed:
        msg = "The file of --skus-from has no sku."
        raise UsageProblem(msg)
    if not call.is_dry_run and (everything or (not listed and sys.stdin.isatty())):
        confirm("Delete all products that this selects? (--dry-run counts them)", yes=yes)
    options = {
        "skus": listed,
        "partition": require_partition(call.engine, file) if file else None,
        "older_than_days": older_than,
        "everything": everything,
    }
    call.run("purge_products", "purge", _purge, options)


def _lines(path: str) -> list[str]:
    from lfp_pipeline.errors import OperationRefusedError

    try:
        with click.open_file(path, encoding="utf-8-sig") as file:
            return [line.strip() for line in file if line.strip()]
    except UnicodeError as error:
        msg = f"The file of --skus-from is no text in UTF-8: {error}."
        raise UsageProblem(msg) from None
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise OperationRefusedError(msg) from None


def _purge(
    engine: "Engine",
    *,
    log: logging.Logger,
    dry_run: bool,
    **selected: Any,  # noqa: ANN401 (the attributes of a selection)
) -> "Report":
    from lfp_pipeline.operations.purge import Selection, purge_products

    return purge_products(engine, Selection(**selected), log, dry_run=dry_run)
