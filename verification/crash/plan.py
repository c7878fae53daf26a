"""The plan of a campaign: a function of the seed, and of how often a job takes each step."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from testing.expected_tables import File
from verification.crash.drops import Drops
from verification.crash.steps import Kill, Step
from verification.crash.worker import INGEST, OPERATIONS, PRUNE, SENSE, Conditions, Job

ROUNDS_OF_A_FOLDER = 12
"""Rounds in one data folder: checks take longer as its history grows."""

CONDITIONS = (
    Conditions("batches", batch_files=100),
    Conditions("loaded directly", loads_directly=True),
    Conditions("loaded as deltas", loads_deltas=True),
    Conditions("one by one, with checkpoints", checkpoints=True),
    Conditions("large files", large=True),
)
"""In turn, folder by folder."""

SENSOR_EVERY = 40
_SENSOR_ROUND = 4

_OPERATOR_EVERY = 2
"""In each other round of a folder, an operator's work is the victim: each work once."""

_RANDOM_TIME_EVERY = 3
_DIVIDED_SHARE = 0.7
_BYSTANDER_KILLED_SHARE = 0.5
_RERUN_KILLED_SHARE = 0.2


@dataclass(frozen=True)
class Typical:
    """What an undisturbed job does: how often it takes each step, and in what time.

    Attributes:
        first: steps in an empty folder.
        later: steps in a folder with a database.
        seconds: duration of a later job, with the start of its process.
    """

    first: Counter[Step]
    later: Counter[Step]
    seconds: float


@dataclass(frozen=True)
class Round:
    """Files that are dropped, jobs that start together, and maybe a rerun that is killed, too."""

    number: int
    drops: Sequence[File]
    jobs: Sequence[Job]
    killed_rerun: Job | None


@dataclass(frozen=True)
class Plan:
    """The rounds of a seed.

    A seed repeats the kill points, the files and their distribution among jobs. What a process does
    at a random time, and how processes overlap, depends on the machine.
    """

    seed: int
    typical: Callable[[str, Conditions], Typical]
    """Returns what a job of some work does under some conditions."""

    def rounds_of(self, folder: int) -> Iterator[Round]:
        """Yield the rounds of the folder with that number; rounds are numbered across folders."""
        random = Random(f"{self.seed} {folder}")
        drops, conditions = Drops(random), conditions_of(folder)
        operations = _operations(random)
        for position in range(ROUNDS_OF_A_FOLDER):
            number = folder * ROUNDS_OF_A_FOLDER + position
            processes = random.choice([2, 2, 3])
            large = conditions.large and (position == 0 or random.random() < 0.2)
            dropped = drops.next(processes + random.randrange(2), large=large)
            keys = [file.key for file in dropped]
            divided = random.random() < _DIVIDED_SHARE
            shares = [tuple(keys[i::processes] if divided else ()) for i in range(processes)]
            if position % _OPERATOR_EVERY:
                victim = self._operator(random, operations[position // _OPERATOR_EVERY], folder)
            else:
                work = SENSE if number % SENSOR_EVERY == _SENSOR_ROUND else INGEST
                victim = self._victim(random, work, number, shares[0])
            others = [self._bystander(random, conditions, share) for share in shares[1:]]
            killed_rerun = None
            if random.random() < _RERUN_KILLED_SHARE:
                killed_rerun = self._at_random(random, conditions, ())
            yield Round(number, dropped, [victim, *others], killed_rerun)

    def _victim(self, random: Random, work: str, number: int, share: tuple[str, ...]) -> Job:
        """Return the job to kill: in most rounds at the next step in turn, at any occurrence."""
        conditions = conditions_of(number // ROUNDS_OF_A_FOLDER)
        typical = self.typical(work, conditions)
        if work == SENSE:
            if random.random() < 0.7:
                return Job(work, share, kill=_kill(random, Step.SUBMIT, typical.first))
            return Job(work, share, killed_after=random.uniform(0, typical.seconds))
        victims_before = number // _OPERATOR_EVERY
        if victims_before % _RANDOM_TIME_EVERY == 0:
            return Job(work, share, killed_after=random.uniform(0, typical.seconds))
        counts = typical.later if number % ROUNDS_OF_A_FOLDER else typical.first
        steps = [step for step in Step if counts[step]]
        turn = victims_before - victims_before // _RANDOM_TIME_EVERY - 1
        return Job(work, share, kill=_kill(random, steps[turn % len(steps)], counts))

    def _operator(self, random: Random, work: str, folder: int) -> Job:
        """Return the operator's job to kill: in most folders at a step, another in each folder."""
        typical = self.typical(work, conditions_of(folder))
        turn, rest = divmod(folder + 1, _RANDOM_TIME_EVERY)
        if not rest:
            return Job(work, killed_after=random.uniform(0, typical.seconds))
        # The steps that only operators' works have come first. Works take steps in different turns.
        steps = [step for step in reversed(Step) if typical.later[step]]
        turn = folder - turn + 3 * OPERATIONS.index(work)
        return Job(work, kill=_kill(random, steps[turn % len(steps)], typical.later))

    def _bystander(self, random: Random, conditions: Conditions, share: tuple[str, ...]) -> Job:
        """Return a job beside the victim, which may be killed, too."""
        if random.random() < _BYSTANDER_KILLED_SHARE:
            return self._at_random(random, conditions, share)
        return Job(INGEST, share)

    def _at_random(self, random: Random, conditions: Conditions, share: tuple[str, ...]) -> Job:
        typical = self.typical(INGEST, conditions)
        if random.randrange(_RANDOM_TIME_EVERY) == 0:
            return Job(INGEST, share, killed_after=random.uniform(0, typical.seconds))
        step = random.choice([step for step in Step if typical.later[step]])
        return Job(INGEST, share, kill=_kill(random, step, typical.later))


def _operations(random: Random) -> list[str]:
    """Draw the order of operators' works in a folder.

    Pruning comes late: pruned deliveries may keep others from being reverted.
    """
    others = [work for work in OPERATIONS if work != PRUNE]
    order = random.sample(others, len(others))
    order.insert(random.choice([len(order) - 1, len(order)]), PRUNE)
    return order


def conditions_of(folder: int) -> Conditions:
    """Return the conditions in the folder with that number."""
    return CONDITIONS[folder % len(CONDITIONS)]


def _kill(random: Random, step: Step, counts: Counter[Step]) -> Kill:
    return Kill(step, random.randint(1, counts[step]), after=bool(random.randrange(2)))
