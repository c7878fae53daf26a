"""What can be done to a data folder, drawn at random: how it is done, and what is true then."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from lfp_pipeline.common.clock import utc_now
from lfp_pipeline.common.duckdb_tools import logs_of
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.ingest.ingest import ingest
from lfp_pipeline.ingest.result import IngestResult
from lfp_pipeline.model.partition_key import PURGES
from lfp_pipeline.operations.prune import prune_raw
from lfp_pipeline.operations.purge import Selection, purge_products
from lfp_pipeline.operations.rebuild import rebuild_products
from lfp_pipeline.operations.revert import reinstate_delivery, revert_delivery
from lfp_pipeline.operations.verify import verify
from testing.engine import LOG, land, tables
from testing.project import drop
from verification.histories.inbox import drawn_names, lay
from verification.histories.rules import Rules, Version, read
from verification.histories.truth import (
    FORGONE,
    MERGED,
    REFUSED,
    Deletion,
    Truth,
)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (as in the tables)
_INSTANT = timedelta(microseconds=1)

_KEYS = ["a.csv", "a", "a-b.csv", "b.csv"]
_SKUS = [*(f"s{number}" for number in range(8)), "S1", " s2 ", "ß", "a,b", 'q"u', "two\nlines", ""]
_NAMES = ["Ann", "Bob", "ann", "Ann ", "Zoë", "Annabelle", ""]
_DESCRIPTIONS = ["", "x", " x", 'a "b", c', "two\nlines"]
_YEARS = [1969, 1970, 2015, 2022, 2200]
_CUTS = [1999, 2020]
"""Years between the others: what is older is purged."""


class Deed:
    """Something that is done to a data folder.

    It is drawn from what is there, done, and told of in the truth.
    """

    @property
    def steps(self) -> int:
        """About how many steps it has, to die in the midst of them."""
        return 75

    def prepare(self, engine: Engine, truth: Truth) -> None:
        """What is done before, and never breaks off."""

    def do(self, engine: Engine, truth: Truth) -> None:
        """Do it, and look at what is told of it; this is true before."""
        raise NotImplementedError

    def error(self, truth: Truth) -> type[LfpError] | None:
        """How it must fail."""
        del truth
        return None

    def tell(self, truth: Truth, engine: Engine) -> None:
        """Make true what must be true then, whether it has failed as it must or not."""
        raise NotImplementedError


_STEPS_OF_WAYS = {
    "together": (50, 25),
    "at once": (70, 20),
    "by the inbox": (80, 25),
    "one by one": (0, 73),
    "not": (0, 6),
}


@dataclass(frozen=True)
class Deliver(Deed):
    """Files arrive, and are taken in, together or otherwise."""

    files: Sequence[Version]
    way: str

    @property
    def steps(self) -> int:
        at_first, of_each = _STEPS_OF_WAYS[self.way]
        return at_first + of_each * len(self.files)

    def prepare(self, engine: Engine, truth: Truth) -> None:
        del truth
        for file in self.files if self.way == "by the inbox" else ():
            drop(engine.settings.inbox_dir, file.key, file.content, file.stated_microseconds)

    def do(self, engine: Engine, truth: Truth) -> None:
        by_inbox = self.way == "by the inbox"
        landed = [] if by_inbox else [land(engine, file) for file in self.files]
        if by_inbox:
            done = take_in_all(engine)
        elif self.way == "together":
            done = ingest(landed, engine.settings, engine.warehouse, LOG)
        elif self.way == "one by one":
            done = [engine.ingest(one, LOG) for one in landed]
        elif self.way == "at once":
            done = [
                one for one in engine.ingest_all([], landed, LOG) if isinstance(one, IngestResult)
            ]
        else:
            return
        true, after = truth.copy(), truth.copy()
        self._tell_landed(true)
        self.tell(after, engine)
        if self.way in {"at once", "by the inbox"}:
            for one in done:
                id_ = one.delivery.delivery_id
                assert one.account.status in {true.wanted(id_), after.ledger[id_]}, one.account
            return
        accounts = [one.account for one in done]
        if self.way == "together":
            of = {account.delivery_id: account for account in accounts}
            accounts = [of[file.delivery_id] for file in self._in_order]
            true.takes_out = False
        for file, account in zip(self._in_order, accounts, strict=True):
            id_ = file.delivery_id
            wanted = true.wanted(id_)
            assert account.status == wanted, (account, wanted)
            if wanted == MERGED and true.ledger.get(id_) != MERGED:
                found = (
                    account.rows_inserted,
                    account.rows_updated,
                    account.rows_unchanged,
                    account.rows_stale,
                )
                assert found == true.fates(file), (id_, found, true.fates(file))
            true.take_in([id_])

    def tell(self, truth: Truth, engine: Engine) -> None:
        for file in self.files if self.way == "by the inbox" else ():
            (engine.settings.inbox_dir / file.key).unlink(missing_ok=True)
        self._tell_landed(truth)
        ids = truth.pending_deliveries if self.way == "by the inbox" else []
        ids += [file.delivery_id for file in self.files]
        if self.way == "one by one":
            for id_ in ids:
                truth.take_in([id_])
        elif self.way != "not":
            truth.take_in(ids)

    def _tell_landed(self, truth: Truth) -> None:
        for file in self.files:
            truth.land(file)

    @property
    def _in_order(self) -> list[Version]:
        if self.way == "together":
            return sorted(self.files, key=lambda one: (one.delivered_at, one.delivery_id))
        return list(self.files)


@dataclass(frozen=True)
class Revert(Deed):
    delivery_id: str
    despite_pruned: bool
    dry_run: bool
    use_present_settings: bool

    def do(self, engine: Engine, truth: Truth) -> None:
        done = revert_delivery(
            engine,
            self.delivery_id,
            LOG,
            dry_run=self.dry_run,
            despite_pruned=self.despite_pruned,
            use_present_settings=self.use_present_settings,
        )
        if not self.dry_run:
            assert done.figures["products_before"] == len(truth.products)

    def error(self, truth: Truth) -> type[LfpError] | None:
        if truth.would_lose(self.delivery_id) and not self.despite_pruned:
            return OperationRefusedError
        use_present = self.use_present_settings
        reversal = truth.reversal(self.delivery_id, use_present=use_present)
        return OperationRefusedError if reversal.is_refused else None

    def tell(self, truth: Truth, engine: Engine) -> None:
        del engine
        if self.dry_run or self.error(truth):
            return
        truth.reverted.add(self.delivery_id)
        truth.permitted.discard(self.delivery_id)
        if self.use_present_settings:
            truth.permitted.add(self.delivery_id)
        truth.take_in([self.delivery_id])


@dataclass(frozen=True)
class Reinstate(Deed):
    delivery_id: str
    dry_run: bool
    use_present_settings: bool

    def do(self, engine: Engine, truth: Truth) -> None:
        del truth
        reinstate_delivery(
            engine,
            self.delivery_id,
            LOG,
            dry_run=self.dry_run,
            use_present_settings=self.use_present_settings,
        )

    def error(self, truth: Truth) -> type[LfpError] | None:
        if self.delivery_id not in truth.reverted or self.delivery_id in truth.pruned:
            return OperationRefusedError
        if self.delivery_id not in truth.files or truth.ledger.get(self.delivery_id) == MERGED:
            return None  # Nothing is read.
        rules = truth.rules if self.use_present_settings else truth.rules_of(self.delivery_id)
        is_refused = read(truth.files[self.delivery_id], rules).is_refused
        return OperationRefusedError if is_refused else None

    def tell(self, truth: Truth, engine: Engine) -> None:
        del engine
        if self.dry_run or self.error(truth):
            return
        truth.reverted.discard(self.delivery_id)
        if self.use_present_settings:
            truth.read_as.pop(self.delivery_id, None)
        truth.expect(self.delivery_id)
        truth.take_in([self.delivery_id])


@dataclass(frozen=True)
class Purge(Deed):
    selection: Selection
    dry_run: bool

    def do(self, engine: Engine, truth: Truth) -> None:
        doomed, products = self._doomed(truth), truth.products
        started = utc_now()
        done = purge_products(engine, self.selection, LOG, dry_run=self.dry_run)
        ended = utc_now()
        present = [products[sku] for sku in doomed if sku in products]
        assert done.figures["skus"] == len(doomed)
        assert done.figures["products_deleted"] == len(present)
        if self.dry_run or not doomed:
            assert "delivery_id" not in done.figures
            return
        deletion = _read_deletion(engine.raw_zone.find(str(done.figures["delivery_id"])).path)
        assert deletion.skus == doomed
        newest = max((row[4] for row in present), default=_EPOCH) + _INSTANT
        others = len(truth.deletions) * _INSTANT  # Each has a moment of its own.
        assert max(started, newest) <= deletion.delivered_at <= max(ended, newest) + others

    def error(self, truth: Truth) -> type[LfpError] | None:
        known = {id_.split("#")[0] for id_ in truth.ledger}
        is_unknown = self.selection.partition and self.selection.partition not in known
        doomed, products = self._doomed(truth), truth.products
        ahead = [sku for sku in doomed if sku in products and products[sku][4] > utc_now()]
        is_mixed = 0 < len(ahead) < len(doomed)
        return OperationRefusedError if is_unknown or is_mixed else None

    def tell(self, truth: Truth, engine: Engine) -> None:
        for raw in sorted((engine.settings.raw_dir / PURGES).glob("[!.]*.json")):
            deletion = _read_deletion(raw.with_suffix(".raw"))
            if deletion.delivery_id not in truth.deletions:
                assert deletion.skus == self._doomed(truth)
                assert not self.dry_run
                truth.deletions[deletion.delivery_id] = deletion
                truth.take_in([deletion.delivery_id])

    def _doomed(self, truth: Truth) -> set[str]:
        selection, rows = self.selection, truth.products
        if selection.skus:
            return {sku.strip() for sku in selection.skus}
        if selection.partition:
            return {s for s, row in rows.items() if row[3].split("#")[0] == selection.partition}
        if selection.older_than_days is not None:
            before = utc_now() - timedelta(days=selection.older_than_days)
            return {sku for sku, row in rows.items() if row[4] < before}
        return set(rows)


@dataclass(frozen=True)
class Prune(Deed):
    dry_run: bool

    @property
    def steps(self) -> int:
        return 30

    def do(self, engine: Engine, truth: Truth) -> None:
        del truth
        prune_raw(engine, 0, LOG, dry_run=self.dry_run)

    def tell(self, truth: Truth, engine: Engine) -> None:
        del engine
        if not self.dry_run:
            needed = {row[3] for row in truth.products.values()}
            settled = {id_ for id_ in truth.files if truth.is_settled(id_)}
            truth.pruned |= settled - needed


@dataclass(frozen=True)
class Rebuild(Deed):
    dry_run: bool
    use_present_settings: bool

    @property
    def steps(self) -> int:
        return 210

    def prepare(self, engine: Engine, truth: Truth) -> None:
        """Without a database, nobody can tell whether what is pruned was needed: it refuses."""
        if truth.pruned:
            with engine.warehouse.session("testing", LOG):
                pass

    def do(self, engine: Engine, truth: Truth) -> None:
        path, id_ = engine.warehouse.path, engine.warehouse.cached_id()
        is_same = truth.ledger and not truth.pending_deliveries and not self.use_present_settings
        # What was refused is tried again.
        is_same = is_same and all(
            truth.wanted(id_) == REFUSED
            for id_, status in truth.ledger.items()
            if status == REFUSED and truth.can_follow(id_)
        )
        before = tables(engine) if is_same else None
        done = rebuild_products(
            engine, LOG, dry_run=self.dry_run, use_present_settings=self.use_present_settings
        )
        if self.dry_run:
            assert done.figures["deliveries"] == sum(map(truth.can_follow, truth.ids))
            return
        assert id_ in {None, engine.warehouse.cached_id()}
        assert truth.due or not logs_of(path)  # What is due is taken out after the swap.
        assert not list(path.parent.glob(".rebuild*"))
        if before is not None:
            assert "exactly as they were" in done.summary, done.summary
            assert {row[0] for row in before["ledger"]} <= {r[0] for r in tables(engine)["ledger"]}

    def error(self, truth: Truth) -> type[LfpError] | None:
        """On request, all is read by the rules of now: more rejects would be a loss."""
        if self.dry_run or not self.use_present_settings:
            return None
        for file in truth.merged_files:
            id_ = file.delivery_id
            if truth.can_follow(id_) and id_ not in truth.reverted:
                then, now = read(file, truth.read_as[id_]), read(file, truth.rules)
                if now.is_refused or len(now.rejects) > len(then.rejects):
                    return OperationRefusedError
        return None

    def tell(self, truth: Truth, engine: Engine) -> None:
        del engine
        if self.dry_run or self.error(truth):
            return
        if self.use_present_settings:
            for file in truth.merged_files:
                if truth.can_follow(file.delivery_id) and file.delivery_id not in truth.reverted:
                    truth.read_as[file.delivery_id] = truth.rules
        truth.take_in(truth.ids)


@dataclass(frozen=True)
class ChangeSettings(Deed):
    """Files are read by other rules from here on."""

    rules: Rules

    def do(self, engine: Engine, truth: Truth) -> None:
        """Nothing is done to the data."""

    def tell(self, truth: Truth, engine: Engine) -> None:
        truth.rules = self.rules
        engine.settings = engine.settings.model_copy(update=self.rules.settings)


@dataclass(frozen=True)
class Clutter(Deed):
    """Links, sockets, side files and the like lie in the inbox from here on."""

    names: frozenset[str]

    def do(self, engine: Engine, truth: Truth) -> None:
        """Nothing is done to the data."""

    def tell(self, truth: Truth, engine: Engine) -> None:
        truth.odd_names = self.names
        lay(engine.settings.inbox_dir, self.names)


@dataclass(frozen=True)
class CatchUp(Deed):
    """An ordinary run, maybe after something is lost."""

    lost: str

    @property
    def steps(self) -> int:
        return 150

    def prepare(self, engine: Engine, truth: Truth) -> None:
        path = engine.warehouse.path
        if self.lost == "the database":
            for one in (path, *logs_of(path), path.with_name(f"{path.name}.id")):
                one.unlink(missing_ok=True)
            truth.lose_database()
        elif self.lost == "the id":
            engine.warehouse.forget_id()

    def do(self, engine: Engine, truth: Truth) -> None:
        del truth
        take_in_all(engine)

    def tell(self, truth: Truth, engine: Engine) -> None:
        del engine
        truth.take_in(truth.pending_deliveries)


@dataclass(frozen=True)
class Verify(Deed):
    """The tables are asked for all laws, and the raw zone for all notes."""

    thorough: bool

    def do(self, engine: Engine, truth: Truth) -> None:
        if truth.come_again or (self.thorough and truth.pending_deliveries):
            return  # Notes are wanting, or the tables are behind the raw zone, until the next run.
        done = verify(engine, LOG, thorough=self.thorough)
        assert not done.problems, done.problems

    def tell(self, truth: Truth, engine: Engine) -> None:
        """Nothing is changed."""


def take_in_all(engine: Engine) -> list[IngestResult]:
    """What ingest_inbox does."""
    files = engine.pending_inbox(LOG).ready
    found = []
    for done in engine.ingest_all(files, engine.pending_deliveries(LOG, offered=files), LOG):
        assert isinstance(done, IngestResult), done
        assert done.account.status != FORGONE, done.account
        found.append(done)
    return found


def _read_deletion(raw: Path) -> Deletion:
    moment, _, digest = raw.stem.partition("-")
    with raw.open(newline="", encoding="utf-8") as file:
        (header,), *rows = csv.reader(file)
    assert header == "sku"
    assert len(set(map(tuple, rows))) == len(rows)
    at = datetime.strptime(moment, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    return Deletion(
        f"{raw.parent.name}#{moment}#{digest}",
        at.replace(tzinfo=None),
        frozenset(sku for (sku,) in rows),
    )


# Drawn at random


def drawn_deed(random: Random, truth: Truth) -> Deed:
    """Something that can be done."""
    draws: dict[Callable[[Random, Truth], Deed], int] = {
        _new: 30,
        _old_bytes: 16,
        _unfinished: 10,
        _complete: 12 if _cut_off(truth) else 0,
        _revert: 18 if truth.ids else 0,
        _reinstate: 12 if truth.reverted else 0,
        _purge: 10,
        _rebuild: 3,
        _prune: 5,
        _catch_up: 5,
        _verify: 3,
        _change_settings: 14,
        _clutter: 4,
    }
    (draw,) = random.choices(list(draws), list(draws.values()))
    return draw(random, truth)


def _new(random: Random, truth: Truth) -> Deed:
    files = [_file(random, truth) for _ in range(random.choice([1, 1, 1, 2, 3, 6]))]
    return _delivered(random, files, truth)


def _placed(files: Sequence[Version], truth: Truth) -> Sequence[Version]:
    """Files as they land one after the other."""
    placed: list[Version] = []
    for file in files:
        as_stated = replace(file, microseconds=file.stated_microseconds, stated=None)
        placed.append(truth.placed(as_stated, placed))
    return placed


def _old_bytes(random: Random, truth: Truth) -> Deed:
    """The same again; or the same at another time; or others at the same time."""
    if not truth.files:
        return _new(random, truth)
    files = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        some = sorted(truth.files) if random.random() < 0.5 else []
        out = [id_ for id_ in sorted(truth.pruned | truth.reverted) if id_ in truth.files]
        file = truth.files[random.choice(some or out or sorted(truth.files))]
        other = _file(random, truth)
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
    return _delivered(random, files, truth)


def _unfinished(random: Random, truth: Truth) -> Deed:
    """A version of which only the begin has come; and what comes of it then, maybe."""
    whole = _file(random, truth)
    newest = [truth.age(id_) for id_, file in truth.files.items() if file.key == whole.key]
    if newest and random.random() < 0.7:
        at = (max(newest)[0] - _EPOCH) // _INSTANT + 1
        whole = replace(whole, microseconds=at)
    files = [_begin_of(random, whole)]
    while random.random() < 0.3:
        files.append(_more_of(random, files[-1], truth))
    return _delivered(random, files, truth)


def _complete(random: Random, truth: Truth) -> Deed:
    """More of a version of which only the begin has come."""
    newest = {truth.files[id_].key: id_ for id_ in truth.ids if id_ in truth.files}
    cut_off = _cut_off(truth)
    last = [file for file in cut_off if file.delivery_id in newest.values()]
    file = random.choice(last if last and random.random() < 0.8 else cut_off)
    return _delivered(random, [_more_of(random, file, truth)], truth)


def _cut_off(truth: Truth) -> list[Version]:
    return [
        truth.files[id_]
        for id_ in truth.ids
        if id_ in truth.files and truth.files[id_].size is not None
    ]


def _begin_of(random: Random, file: Version, least: int = 1) -> Version:
    """A begin of a version; where its last record cannot be told of, all of it."""
    header, most = len(file.texts[0]), sum(map(len, file.texts))
    begins = random.random() < 0.15 or header >= most
    low, high = (least, header) if begins else (max(least, header), most)
    for _ in range(20 if low <= high else 0):
        begin = replace(file, size=random.randint(low, high))
        if begin.is_plain:
            return begin
    return replace(file, size=None)


def _more_of(random: Random, file: Version, truth: Truth) -> Version:
    """The next version of one of which only the begin has come: mostly all of it."""
    at = file.stated_microseconds
    moment = random.choice([*[at + 1] * 5, at + 10**6, at, _microseconds(random, truth)])
    more = replace(file, microseconds=moment, stated=None)
    what = random.choice(["all", "all", "all", "all", "a part", "with others", "with bad ones"])
    if what == "a part" and file.size is not None:
        return _begin_of(random, more, file.size + 1)
    # As wide as good ones: rows of another width may be a habit, or change what is one.
    bad = (("", "Ann", "x"),) * (len(file.rows) + 2)
    others = {"with others": (_row(random),), "with bad ones": bad}
    return replace(more, size=None, rows=(*file.rows, *others.get(what, ())))


def _delivered(random: Random, files: Sequence[Version], truth: Truth) -> Deed:
    placed = _placed(files, truth)
    ways = ["together", "together", "one by one", "at once", "not"]
    # The inbox has one version of a file at a time; a future time would become that of the landing.
    keys, now = {file.key for file in placed}, utc_now()
    if len(keys) == len(placed) and all(file.delivered_at < now for file in placed):
        ways += ["by the inbox"] * 2
    return Deliver(placed, random.choice(ways))


def _file(random: Random, truth: Truth) -> Version:
    rows = tuple(_row(random) for _ in range(random.choice([0, 1, 2, 4, 8, 12])))
    if random.random() < 0.15:  # As some programs write them: without empty cells at the end.
        full, *short = [(sku, "Ann", "x") for sku in random.sample(_SKUS[:8], 4)]
        rows = (full, *rows, *(row[:2] for row in short))
    two_names = random.random() < 0.3
    at = _microseconds(random, truth)
    return Version(random.choice(_KEYS), at, rows, has_two_names=two_names)


def _row(random: Random) -> tuple[str, ...]:
    if random.random() < 0.05:
        return random.choice([("s1",), ("s1", "Ann", "x", "more")])
    return random.choice(_SKUS), random.choice(_NAMES), random.choice(_DESCRIPTIONS)


def _microseconds(random: Random, truth: Truth) -> int:
    """A time, often one that something else has, or the next."""
    if truth.ids and random.random() < 0.4:
        at, _ = truth.age(random.choice(truth.ids))
        return (at - _EPOCH) // _INSTANT + random.choice([-1, 0, 1])
    year = datetime(random.choice(_YEARS), 1, 1)  # noqa: DTZ001
    return (year - _EPOCH) // _INSTANT + random.randrange(3)


def _revert(random: Random, truth: Truth) -> Deed:
    dry_run = random.random() < 0.1
    which = truth.ids
    if random.random() < 0.7:  # Rather what changes something.
        held = {row[3] for row in truth.products.values()}
        held |= {id_ for _, id_ in truth.last_deletions.values()}
        which = [id_ for id_ in which if id_ in held] or which
    use_present = random.random() < 0.3
    return Revert(random.choice(which), random.random() < 0.7, dry_run, use_present)


def _reinstate(random: Random, truth: Truth) -> Deed:
    reverted = [id_ for id_ in truth.ids if id_ in truth.reverted]
    which = reverted if random.random() < 0.9 else truth.ids
    return Reinstate(random.choice(which), random.random() < 0.1, random.random() < 0.3)


def _purge(random: Random, truth: Truth) -> Deed:
    del truth
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


def _rebuild(random: Random, truth: Truth) -> Deed:
    del truth
    return Rebuild(random.random() < 0.1, random.random() < 0.4)


def _change_settings(random: Random, truth: Truth) -> Deed:
    """One setting is another one."""
    change: dict[str, object] = random.choice(
        [
            {"name_alias": random.choice([None, "label", "title", "label", "title"])},
            {"max_name_length": random.choice([1_000, 5])},
            {"null_tokens": random.choice([(), ("x",), ("Bob",)])},
            {"max_reject_share": random.choice([0.5, 0.2, 1])},
            {"require_all_cells": random.random() < 0.5},
        ]
    )
    return ChangeSettings(replace(truth.rules, **change))  # type: ignore[arg-type]


def _clutter(random: Random, truth: Truth) -> Deed:
    del truth
    return Clutter(drawn_names(random))


def _prune(random: Random, truth: Truth) -> Deed:
    del truth
    return Prune(random.random() < 0.1)


def _catch_up(random: Random, truth: Truth) -> Deed:
    del truth
    return CatchUp(random.choice(["nothing", "the database", "the id"]))


def _verify(random: Random, truth: Truth) -> Deed:
    del truth
    return Verify(random.random() < 0.3)
