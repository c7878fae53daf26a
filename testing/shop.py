"""A data folder with deliveries of many kinds, for the commands that read."""

from pathlib import Path

import pytest

from lfp_pipeline.engine import Engine
from testing.command_line import CommandLine
from testing.dagster_project import HEADER, drop
from testing.engine import LOG, engine_at

_FRUIT = "".join(f"fruit-{number},Ann Apple,Green {number}\n" for number in range(1, 21))


def ingest(engine: Engine, *, publish: bool = True) -> None:
    """Ingest the inbox, as `lfp ingest` does."""
    files = engine.pending_inbox(LOG).ready
    list(engine.ingest_all(files, engine.pending_deliveries(LOG, offered=files), LOG))
    if publish:
        engine.publish(LOG, at_once=True)


def _stock(engine: Engine) -> None:
    """Deliver two versions of a file, one with a name that is no partition key, and a bad file."""
    inbox = engine.settings.inbox_dir
    drop(inbox, "fruit.csv", f"{HEADER}{_FRUIT},Nobody,lost\n", 1_000_000)
    drop(inbox, "my shop ä.csv", f"{HEADER}x-1,José Núñez,Crème brûlée\nX-10,Bob,\x1b[31mred\n")
    drop(inbox, "bad.csv", "name,description\nAnn,x\n")
    ingest(engine)
    changed = _FRUIT.replace("Green 1\n", "Red 1\n")
    drop(inbox, "fruit.csv", f"{HEADER}{changed}", 2_000_000)
    ingest(engine)


@pytest.fixture
def shop(lfp: CommandLine) -> CommandLine:
    """Return the command line for a stocked data folder of its own."""
    _stock(lfp.engine)
    return lfp


@pytest.fixture(scope="session")
def stocked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stocked") / "data"
    _stock(engine_at(folder, max_reject_share=0.1))
    return folder


@pytest.fixture
def stocked(lfp: CommandLine, stocked_folder: Path) -> CommandLine:
    """Return the command line for a stocked data folder that tests share, so they only read it."""
    lfp.set(data_dir=stocked_folder)
    return lfp
