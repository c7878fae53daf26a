"""What is done, round by round: a function of the seed and of how often a job takes each step."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from testing.expected_tables import File
from verification.crash.history import Drops
from verification.crash.steps import Death, Step
from verification.crash.worker import INGEST, OPERATIONS, PRUNE, SENSE, Conditions, Job

ROUNDS_OF_A_FOLDER = 10
"""Then a new folder begins: the history has grown, and the checks take longer."""

CONDITIONS = (
    Conditions("batches", batch_files=100),
    Conditions("loaded directly", loads_directly=True),
    Conditions("one by one, with checkpoints", checkpoints=True),
    Conditions("large files", large=True),
)
"""In turn, folder by folder."""

SENSOR_EVERY = 40
_SENSOR_ROUND = 4

_OPERATOR_EVERY = 2
"""In each other round of a folder, an operator's work is the victim, each of them once."""

_MOMENT_EVERY = 3
_SHARES_ARE_DIVIDED = 0.7
_BYSTANDER_DIES = 0.5
_RERUN_DIES = 0.2


@dataclass(frozen=True)
class Typical:
    """What an undisturbed job does: how often it takes each step, and in what time.

    Attributes:
        first: in an empty folder.
        later: in one that has a database.
        seconds: of a later one, its process's start included.
    """

    first: Counter[Step]
    later: Counter[Step]
    seconds: float


@dataclass(frozen=True)
class Round:
    """Files that are dropped, jobs that begin at once then, and a rerun that dies, too, maybe."""

    number: int
    drops: Sequence[File]
    jobs: Sequence[Job]
    dying_rerun: Job | None


@dataclass(frozen=True)
class Plan:
    """The rounds of a seed.

    The deaths of a seed are the same again, as are the files and who works on which. When a moment
    comes, and how processes overlap, is up to the machine.

    Attributes:
        seed: of everything.
        typical: what a job of some work does under some conditions.
    """

    seed: int
    typical: Callable[[str, Conditions], Typical]

    def rounds_of(self, folder: int) -> Iterator[Round]:
        """The rounds of the folder of that number; they have the numbers from ten times it."""
        random = Random(f"{self.seed} {folder}")
        drops, conditions = Drops(random), conditions_of(folder)
        operations = _operations(random)
        for place in range(ROUNDS_OF_A_FOLDER):
            number = folder * ROUNDS_OF_A_FOLDER + place
            processes = random.choice([2, 2, 3])
            large = conditions.large and (place == 0 or random.random() < 0.2)
            dropped = drops.next(processes + random.randrange(2), large=large)
            keys = [file.key for file in dropped]
            divided = random.random() < _SHARES_ARE_DIVIDED
            shares = [tuple(keys[one::processes] if divided else ()) for one in range(processes)]
            if place % _OPERATOR_EVERY:
                victim = self._operator(random, operations[place // _OPERATOR_EVERY], folder)
            else:
                work = SENSE if number % SENSOR_EVERY == _SENSOR_ROUND else INGEST
                victim = self._victim(random, work, number, shares[0])
            others = [self._bystander(random, conditions, share) for share in shares[1:]]
            dying_rerun = None
            if random.random() < _RERUN_DIES:
                dying_rerun = self._at_random(random, conditions, ())
            yield Round(number, dropped, [victim, *others], dying_rerun)

    def _victim(self, random: Random, work: str, number: int, share: tuple[str, ...]) -> Job:
        """Whose turn it is to die: in most rounds at the step whose turn it is, early or late."""
        conditions = conditions_of(number // ROUNDS_OF_A_FOLDER)
        typical = self.typical(work, conditions)
        if work == SENSE:
            if random.random() < 0.7:
                return Job(work, share, death=_death(random, Step.SUBMIT, typical.first))
            return Job(work, share, killed_after=random.uniform(0, typical.seconds))
        victims_before = number // _OPERATOR_EVERY
        if victims_before % _MOMENT_EVERY == 0:
            return Job(work, share, killed_after=random.uniform(0, typical.seconds))
        counts = typical.later if number % ROUNDS_OF_A_FOLDER else typical.first
        steps = [step for step in Step if counts[step]]
        turn = victims_before - victims_before // _MOMENT_EVERY - 1
        return Job(work, share, death=_death(random, steps[turn % len(steps)], counts))

    def _operator(self, random: Random, work: str, folder: int) -> Job:
        """Whose turn it is to die: in most folders at a step, another one in each folder."""
        typical = self.typical(work, conditions_of(folder))
        turn, moment = divmod(folder + 1, _MOMENT_EVERY)
        if not moment:
            return Job(work, killed_after=random.uniform(0, typical.seconds))
        # The steps that only operators' works have come first; works do not go hand in hand.
        steps = [step for step in reversed(Step) if typical.later[step]]
        turn = folder - turn + 3 * OPERATIONS.index(work)
        return Job(work, death=_death(random, steps[turn % len(steps)], typical.later))

    def _bystander(self, random: Random, conditions: Conditions, share: tuple[str, ...]) -> Job:
        """Who may die, too, and otherwise ends well."""
        if random.random() < _BYSTANDER_DIES:
            return self._at_random(random, conditions, share)
        return Job(INGEST, share)

    def _at_random(self, random: Random, conditions: Conditions, share: tuple[str, ...]) -> Job:
        typical = self.typical(INGEST, conditions)
        if random.randrange(_MOMENT_EVERY) == 0:
            return Job(INGEST, share, killed_after=random.uniform(0, typical.seconds))
        step = random.choice([step for step in Step if typical.later[step]])
        return Job(INGEST, share, death=_death(random, step, typical.later))


def _operations(random: Random) -> list[str]:
    """In which order operators' works have their turns in a folder.

    What is pruned may keep others from being reverted; so that comes late.
    """
    others = [work for work in OPERATIONS if work != PRUNE]
    order = random.sample(others, len(others))
    order.insert(random.choice([len(order) - 1, len(order)]), PRUNE)
    return order


def conditions_of(folder: int) -> Conditions:
    """The conditions in the folder of that number."""
    return CONDITIONS[folder % len(CONDITIONS)]


def _death(random: Random, step: Step, counts: Counter[Step]) -> Death:
    return Death(step, random.randint(1, counts[step]), after=bool(random.randrange(2)))
