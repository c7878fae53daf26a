"""One tool loads some files, one after the other; its answer is checked after each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.answers import Answer, answer_in_csv
from benchmarks.measure import Meter, warm
from benchmarks.peers import installed


@dataclass(frozen=True)
class Task:
    """A file to load, and the expected answer afterwards."""

    name: str
    csv: Path
    right: Answer


def compare(peer: str, tasks: Sequence[Task], meter: Meter, folder: Path) -> None:
    """Load files with a tool.

    Timed is what lies between a CSV file in the page cache and committed products and counts. Not
    timed are imports and the start of sessions and servers, which is in the peers' favour.
    """
    store = folder / "store"
    store.mkdir(mode=0o755)
    products_csv, counts_csv = folder / "products.csv", folder / "counts.csv"
    with installed(peer)(store) as tool:
        for task in tasks:
            warm(task.csv)
            tool.phases.clear()
            with meter.timed(task.name) as step:
                tool.load(task.csv)
            step.phases = dict(tool.phases)
            step.disk_bytes = tool.stored_bytes()
            tool.dump(products_csv, counts_csv)
            step.wrong = task.right.differences(answer_in_csv(products_csv, counts_csv))
