"""Draws what is done next in a history, from what is there."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.operations.purge import Selection
from testing.raw_folder import EPOCH
from verification.histories.actions import Action, CatchUp, ChangeSettings, Clutter, Deliver, Verify
from verification.histories.expected_state import ExpectedState
from verification.histories.lake_actions import LookBack, Maintain
from verification.histories.odd_entries import draw_names
from verification.histories.operator_actions import Prune, Purge, Rebuild, Reinstate, Revert
from verification.histories.rules import Version
from verification.histories.storage import Storage

_MICROSECOND = timedelta(microseconds=1)

_KEYS = ["a.csv", "a", "a-b.csv", "b.csv"]
_SKUS = [*(f"s{number}" for number in range(8)), "S1", " s2 ", "ß", "a,b", 'q"u', "two\nlines", ""]
_NAMES = ["Ann", "Bob", "ann", "Ann ", "Zoë", "Annabelle", ""]
_DESCRIPTIONS = ["", "x", " x", 'a "b", c', "two\nlines"]
_YEARS = [1969, 1970, 2015, 2022, 2200]
_CUTS = [1999, 2020]
"""Years between the others: a purge deletes what is older."""


def draw_action(random: Random, state: ExpectedState, storage: Storage) -> Action:
    """Draw an action that is possible in a state, and in this kind of storage."""
    draws: list[tuple[int, Callable[[], Action]]] = [
        (30, lambda: _new(random, state)),
        (16, lambda: _redelivery(random, state)),
        (10, lambda: _unfinished(random, state)),
        (12 if _cut_off(state) else 0, lambda: _completion(random, state)),
        (18 if state.ids else 0, lambda: _revert(random, state)),
        (12 if state.reverted else 0, lambda: _reinstate(random, state)),
        (10, lambda: _purge(random)),
        (3, lambda: Rebuild(random.random() < 0.1, random.random() < 0.4)),
        (5, lambda: Prune(random.random() < 0.1)),
        (5, lambda: CatchUp(random.choice(storage.losses))),
        (3, lambda: Verify(random.random() < 0.3)),
        (14, lambda: _change_settings(random, state)),
        (4, lambda: Clutter(draw_names(random))),
    ]
    if storage.has_snapshots:
        draws.append((6, lambda: _maintain(random)))
        draws.append((4 if state.snapshots else 0, lambda: _look_back(random, state)))
    ((_, draw),) = random.choices(draws, [weight for weight, _ in draws])
    return draw()


def _new(random: Random, state: ExpectedState) -> Action:
    files = [_file(random, state) for _ in range(random.choice([1, 1, 1, 2, 3, 6]))]
    return _deliver(random, files, state)


def _as_landed(files: Sequence[Version], state: ExpectedState) -> Sequence[Version]:
    """Return files with the times that they get when they land one after the other."""
    landed: list[Version] = []
    for file in files:
        as_stated = replace(file, microseconds=file.stated_microseconds, stated=None)
        landed.append(state.as_landed(as_stated, landed))
    return landed


def _redelivery(random: Random, state: ExpectedState) -> Action:
    """Deliver the same bytes again, the same at another time, or others at the same time."""
    if not state.files:
        return _new(random, state)
    files = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        some = sorted(state.files) if random.random() < 0.5 else []
        out = [id_ for id_ in sorted(state.pruned | state.reverted) if id_ in state.files]
        file = state.files[random.choice(some or out or sorted(state.files))]
        other = _file(random, state)
        files.append(
            random.choice(
                [
                    file,
                    replace(file, microseconds=other.microseconds, stated=None),
                    replace(file, microseconds=file.microseconds + 1, stated=None),
                    replace(other, key=file.key, microseconds=file.microseconds),
                ]
            )
        )
    return _deliver(random, files, state)


def _unfinished(random: Random, state: ExpectedState) -> Action:
    """Deliver an unfinished upload, and maybe the versions after it."""
    whole = _file(random, state)
    newest = [state.order(id_) for id_, file in state.files.items() if file.key == whole.key]
    if newest and random.random() < 0.7:
        at = (max(newest)[0] - EPOCH) // _MICROSECOND + 1
        whole = replace(whole, microseconds=at)
    files = [_cut(random, whole)]
    while random.random() < 0.3:
        files.append(_next_version(random, files[-1], state))
    return _deliver(random, files, state)


def _completion(random: Random, state: ExpectedState) -> Action:
    """Deliver the next version after an unfinished upload."""
    newest = {state.files[id_].key: id_ for id_ in state.ids if id_ in state.files}
    cut_off = _cut_off(state)
    last = [file for file in cut_off if file.delivery_id in newest.values()]
    file = random.choice(last if last and random.random() < 0.8 else cut_off)
    return _deliver(random, [_next_version(random, file, state)], state)


def _cut_off(state: ExpectedState) -> list[Version]:
    return [
        state.files[id_]
        for id_ in state.ids
        if id_ in state.files and state.files[id_].size is not None
    ]


def _cut(random: Random, file: Version, at_least: int = 1) -> Version:
    """Cut a version off; return it whole where the oracle cannot read its last record."""
    header, size = len(file.texts[0]), sum(map(len, file.texts))
    begins = random.random() < 0.15 or header >= size
    low, high = (at_least, header) if begins else (max(at_least, header), size)
    for _ in range(20 if low <= high else 0):
        begin = replace(file, size=random.randint(low, high))
        if begin.is_plain:
            return begin
    return replace(file, size=None)


def _next_version(random: Random, file: Version, state: ExpectedState) -> Version:
    """Return the next version after an unfinished upload: in most cases, the whole of it."""
    at = file.stated_microseconds
    stated = random.choice([*[at + 1] * 5, at + 10**6, at, _microseconds(random, state)])
    more = replace(file, microseconds=stated, stated=None)
    what = random.choice(["all", "all", "all", "all", "a part", "with others", "with bad ones"])
    if what == "a part" and file.size is not None:
        return _cut(random, more, file.size + 1)
    # As wide as good rows: rows of another width may be a habit, or change one.
    bad = (("", "Ann", "x"),) * (len(file.rows) + 2)
    others = {"with others": (_row(random),), "with bad ones": bad}
    return replace(more, size=None, rows=(*file.rows, *others.get(what, ())))


def _deliver(random: Random, files: Sequence[Version], state: ExpectedState) -> Action:
    landed = _as_landed(files, state)
    ways = ["together", "together", "one by one", "at once", "not"]
    # The inbox has one version of a file at a time; a future time is replaced by that of landing.
    keys, now = {file.key for file in landed}, utc_now()
    if len(keys) == len(landed) and all(file.delivered_at < now for file in landed):
        ways += ["by the inbox"] * 2
    return Deliver(landed, random.choice(ways))


def _file(random: Random, state: ExpectedState) -> Version:
    rows = tuple(_row(random) for _ in range(random.choice([0, 1, 2, 4, 8, 12])))
    if random.random() < 0.15:  # Without empty cells at the end, as some programs write them.
        full, *short = [(sku, "Ann", "x") for sku in random.sample(_SKUS[:8], 4)]
        rows = (full, *rows, *(row[:2] for row in short))
    two_names = random.random() < 0.3
    at = _microseconds(random, state)
    return Version(random.choice(_KEYS), at, rows, has_two_names=two_names)


def _row(random: Random) -> tuple[str, ...]:
    if random.random() < 0.05:
        return random.choice([("s1",), ("s1", "Ann", "x", "more")])
    return random.choice(_SKUS), random.choice(_NAMES), random.choice(_DESCRIPTIONS)


def _microseconds(random: Random, state: ExpectedState) -> int:
    """Draw a time, often that of another delivery, or one next to it."""
    if state.ids and random.random() < 0.4:
        at, _ = state.order(random.choice(state.ids))
        return (at - EPOCH) // _MICROSECOND + random.choice([-1, 0, 1])
    year = datetime(random.choice(_YEARS), 1, 1)  # noqa: DTZ001
    return (year - EPOCH) // _MICROSECOND + random.randrange(3)


def _revert(random: Random, state: ExpectedState) -> Action:
    dry_run = random.random() < 0.1
    which = state.ids
    if random.random() < 0.7:  # Preferably one whose reversal changes the tables.
        in_effect = {row[3] for row in state.products.values()}
        in_effect |= {id_ for _, id_ in state.last_deletions.values()}
        which = [id_ for id_ in which if id_ in in_effect] or which
    use_present = random.random() < 0.3
    return Revert(random.choice(which), random.random() < 0.7, dry_run, use_present)


def _reinstate(random: Random, state: ExpectedState) -> Action:
    reverted = [id_ for id_ in state.ids if id_ in state.reverted]
    which = reverted if random.random() < 0.9 else state.ids
    return Reinstate(random.choice(which), random.random() < 0.1, random.random() < 0.3)


def _purge(random: Random) -> Action:
    known = [sku for sku in _SKUS if sku]
    days = (utc_now() - datetime(random.choice(_CUTS), 1, 1)) / timedelta(days=1)  # noqa: DTZ001
    selection = random.choice(
        [
            Selection(skus=random.choices(known, k=random.randint(1, 6))),
            Selection(skus=random.choices(known, k=random.randint(1, 6))),
            Selection(skus=[random.choice(known)]),
            Selection(partition=random.choice(_KEYS)),
            Selection(older_than_days=days),
            Selection(everything=True),
        ]
    )
    return Purge(selection, random.random() < 0.1)


def _maintain(random: Random) -> Action:
    return Maintain(random.choice([0, 0, 24]), random.random() < 0.1)


def _look_back(random: Random, state: ExpectedState) -> Action:
    return LookBack(random.choice(sorted(state.snapshots)))


def _change_settings(random: Random, state: ExpectedState) -> Action:
    """Change one setting."""
    change: dict[str, object] = random.choice(
        [
            {"name_alias": random.choice([None, "label", "title", "label", "title"])},
            {"max_name_length": random.choice([1_000, 5])},
            {"null_tokens": random.choice([(), ("x",), ("Bob",)])},
            {"max_reject_share": random.choice([0.5, 0.2, 1])},
            {"require_all_cells": random.random() < 0.5},
        ]
    )
    return ChangeSettings(replace(state.rules, **change))  # type: ignore[arg-type]
