"""What was measured, kept as JSON: every round of every step, the newest run of each."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.measure import Step

Key = tuple[str, str, int, str]


@dataclass
class Record:
    """All rounds of one step of one case.

    Attributes:
        group: floor, work or peers.
        name: of the case.
        rows: of the file, or of the table that a small file goes onto.
        step: such as `first` and `again`.
        run: when the run began, so that one can tell what was measured together.
        version: of what was measured.
        floor: names of floor cases whose seconds, added up, are the least it could take.
        error: why it could not be measured.
        rounds: each round's measurement.
    """

    group: str
    name: str
    rows: int
    step: str
    run: str
    version: str = ""
    floor: tuple[str, ...] = ()
    error: str = ""
    rounds: list[Step] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """What it is a record of."""
        return self.group, self.name, self.rows, self.step

    def median(self, value: Callable[[Step], float]) -> float:
        """The median of the rounds."""
        return statistics.median(map(value, self.rounds))

    @property
    def seconds(self) -> float:
        """The median of the rounds."""
        return self.median(lambda step: step.seconds)

    @property
    def reason(self) -> str:
        """The last line of the error."""
        return (self.error.strip().splitlines() or [""])[-1]

    @property
    def peak_bytes(self) -> int:
        """The most of any round."""
        return max(step.peak_bytes for step in self.rounds)

    @property
    def wrong(self) -> str | None:
        """What was wrong in any round; empty: all were right; None: nobody looked."""
        told = [step.wrong for step in self.rounds if step.wrong is not None]
        return max(told) if told else None

    def phases(self) -> dict[str, float]:
        """The medians of the phases, and of what is in none of them."""
        found = {
            name: statistics.median(step.phases[name] for step in self.rounds)
            for name in self.rounds[0].phases
        }
        return found | {"the rest": max(0.0, self.seconds - sum(found.values()))}


class Results:
    """All records of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.machine: dict[str, str] = {}
        self.records: dict[Key, Record] = {}
        if path.exists():
            stored = json.loads(path.read_text())
            self.machine = stored["machine"]
            for one in stored["records"]:
                rounds = [Step(**step) for step in one.pop("rounds")]
                record = Record(**one | {"floor": tuple(one["floor"])}, rounds=rounds)
                self.records[record.key] = record

    def add(self, record: Record, steps: Iterable[Step]) -> None:
        """Add a round's steps to the records of their case, in the place of older runs."""
        for step in steps:
            key = (record.group, record.name, record.rows, step.name)
            known = self.records.get(key)
            if known is None or known.run != record.run:
                fields = asdict(record) | {"step": step.name, "rounds": []}
                self.records[key] = known = Record(**fields)
            known.rounds.append(step)

    def fail(self, record: Record) -> None:
        """Note that a case could not be measured, in the place of what is known of it."""
        for key in [key for key in self.records if key[:3] == record.key[:3]]:
            del self.records[key]
        self.records[record.key] = record

    def forget_failures(self, groups: Sequence[str]) -> None:
        """Forget what could not be measured of some groups: it is tried again."""
        for one in [one for group in groups for one in self.of(group, measured=False)]:
            del self.records[one.key]

    def save(self) -> None:
        """Write the file."""
        stored = {
            "machine": self.machine,
            "records": [asdict(record) for record in self.records.values()],
        }
        unfinished = self.path.with_suffix(".part")
        unfinished.write_text(json.dumps(stored, indent=1) + "\n")
        unfinished.replace(self.path)

    def of(self, group: str, *, measured: bool = True) -> list[Record]:
        """The records of a group, small files first; those that were measured, or the others."""
        found = [one for one in self.records.values() if one.group == group]
        return sorted(
            (one for one in found if bool(one.rounds) is measured), key=lambda one: one.rows
        )

    def floor_seconds(self, names: Sequence[str]) -> float | None:
        """The sum of some floor cases; None: one of them was not measured."""
        seconds = {one.name: one.seconds for one in self.of("floor")}
        known = [seconds[name] for name in names if name in seconds]
        return sum(known) if known and len(known) == len(names) else None
