"""A data folder with deliveries of many kinds, for the commands that read."""

from lfp_pipeline.engine import Engine
from testing.command_line import CommandLine
from testing.dagster_project import HEADER, drop
from testing.engine import LOG

FRUIT = "".join(f"fruit-{number},Ann Apple,Green {number}\n" for number in range(1, 21))


def ingest(engine: Engine, *, publish: bool = True) -> None:
    """Ingest the inbox, as `lfp ingest` does."""
    files = engine.pending_inbox(LOG).ready
    list(engine.ingest_all(files, engine.pending_deliveries(LOG, offered=files), LOG))
    if publish:
        engine.publish(LOG, at_once=True)


def stock(lfp: CommandLine) -> None:
    """Deliver two versions of a file, one with a name that is no partition key, and bad files."""
    inbox = lfp.data / "inbox"
    drop(inbox, "fruit.csv", f"{HEADER}{FRUIT},Nobody,lost\n", 1_000_000)
    drop(inbox, "my shop ä.csv", f"{HEADER}x-1,José Núñez,Crème brûlée\nX-10,Bob,\x1b[31mred\n")
    drop(inbox, "bad.csv", "name,description\nAnn,x\n")
    ingest(lfp.engine)
    changed = FRUIT.replace("Green 1\n", "Red 1\n")
    drop(inbox, "fruit.csv", f"{HEADER}{changed}", 2_000_000)
    ingest(lfp.engine)
