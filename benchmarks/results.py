"""Results, kept as JSON: every round of every step, of the newest run of each case."""

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
        rows: of the file, or of the table that a small file goes onto.
        step: such as `first` and `again`.
        run: when the run began; records with the same time were measured together.
        floor: names of floor cases whose seconds, added up, are the least it could take.
        error: why it could not be measured.
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
        """The case and step of the record."""
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
        """The peak of any round."""
        return max(step.peak_bytes for step in self.rounds)

    @property
    def wrong(self) -> str | None:
        """What was wrong in any round; empty: nothing; None: no answer was checked."""
        found = [step.wrong for step in self.rounds if step.wrong is not None]
        return max(found) if found else None

    def phases(self) -> dict[str, float]:
        """Return the medians of the phases, and of the rest."""
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
            for values in stored["records"]:
                rounds = [Step(**step) for step in values.pop("rounds")]
                record = Record(**values | {"floor": tuple(values["floor"])}, rounds=rounds)
                self.records[record.key] = record

    def add(self, record: Record, steps: Iterable[Step]) -> None:
        """Add a round's steps to the records of their case, and drop those of older runs."""
        for step in steps:
            key = (record.group, record.name, record.rows, step.name)
            known = self.records.get(key)
            if known is None or known.run != record.run:
                fields = asdict(record) | {"step": step.name, "rounds": []}
                self.records[key] = known = Record(**fields)
            known.rounds.append(step)

    def fail(self, record: Record) -> None:
        """Record that a case could not be measured, and drop its earlier records."""
        for key in [key for key in self.records if key[:3] == record.key[:3]]:
            del self.records[key]
        self.records[record.key] = record

    def forget_failures(self, groups: Sequence[str]) -> None:
        """Drop the failed records of some groups, which are measured again."""
        for record in [r for group in groups for r in self.of(group, measured=False)]:
            del self.records[record.key]

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
        """Return the measured or the failed records of a group, small files first."""
        found = [record for record in self.records.values() if record.group == group]
        return sorted(
            (record for record in found if bool(record.rounds) is measured),
            key=lambda record: record.rows,
        )

    def floor_seconds(self, names: Sequence[str]) -> float | None:
        """Return the sum of some floor cases; None: one of them was not measured."""
        seconds = {record.name: record.seconds for record in self.of("floor")}
        known = [seconds[name] for name in names if name in seconds]
        return sum(known) if known and len(known) == len(names) else None
