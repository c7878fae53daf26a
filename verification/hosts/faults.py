"""The faults, and how each is done to a worker that waits at a step."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from verification.hosts import object_store
from verification.hosts.bench import Bench, Lake
from verification.hosts.object_store import Faults
from verification.hosts.workers import Worker

_STORE_SHARE = 0.1
_SLOW_KILOBITS = 400

_HOLDERS = """
SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""


class Fault(StrEnum):
    """What happens to a worker, or to the servers that it uses."""

    KILL = "process killed"
    HOST = "host killed"
    CUT = "link cut"
    BLIP = "link cut for a moment"
    LOCK = "lock connection cut"
    STOP = "process stopped for a moment"
    SLOW = "link slow"
    POSTGRES = "PostgreSQL restarted"
    REDIS = "Redis lost"
    STORE_500 = "store answers 500"
    STORE_503 = "store answers 503"
    STORE_LOST = "store does it, and answers 500"
    STORE_SLOW = "store slow"
    STORE_TRUNCATED = "store answers by halves"


_STORE_FAULTS: Mapping[Fault, str] = {
    Fault.STORE_500: object_store.ERROR_500,
    Fault.STORE_503: object_store.ERROR_503,
    Fault.STORE_LOST: object_store.LOST,
    Fault.STORE_SLOW: object_store.SLOW,
    Fault.STORE_TRUNCATED: object_store.TRUNCATED,
}

NEEDS_CABLES = frozenset({Fault.CUT, Fault.BLIP, Fault.SLOW})
LOSES_PROCESS = frozenset({Fault.KILL, Fault.HOST})
OTHERS_SUFFER = frozenset({Fault.POSTGRES, *_STORE_FAULTS})
"""Faults that a process on another host may notice, too."""

OTHERS_FIRST = frozenset({Fault.LOCK, Fault.CUT})
"""Faults of a lock holder that another host must outrun: only then does the victim go on."""

MOMENT_SECONDS = 2.0


def cut_lock(bench: Bench, lake: Lake) -> None:
    """Cut the connections that hold the writer lock, and no others."""
    bench.postgres.execute(_HOLDERS, lake.name)


@dataclass(frozen=True)
class Harm:
    """A fault that is being done to a worker; `undo` ends it."""

    bench: Bench
    lake: Lake
    victim: Worker

    def do(self, fault: Fault, seed: int) -> None:
        """Begin the fault; what is over at once is done."""
        if fault in _STORE_FAULTS:
            faults = Faults((_STORE_FAULTS[fault],), _STORE_SHARE, seed)
            self.bench.store.set_faults(faults)
            return
        host, network = self.victim.host, self.bench.network
        actions: Mapping[Fault, Callable[[], None]] = {
            Fault.KILL: self.victim.kill,
            Fault.HOST: host.kill,
            Fault.CUT: lambda: network.cut(host),
            Fault.BLIP: lambda: network.cut(host),
            Fault.SLOW: lambda: network.slow(host, _SLOW_KILOBITS),
            Fault.LOCK: lambda: cut_lock(self.bench, self.lake),
            Fault.STOP: lambda: self.victim.signal(signal.SIGSTOP),
            Fault.POSTGRES: self.bench.postgres.restart,
            Fault.REDIS: self.bench.redis.lose_data,
        }
        actions[fault]()

    def undo(self, fault: Fault) -> None:
        """End the fault."""
        if fault in _STORE_FAULTS:
            self.bench.store.set_faults(Faults())
        elif fault in NEEDS_CABLES:
            self.bench.network.restore(self.victim.host)
        elif fault is Fault.HOST:
            self.victim.host.boot()
        elif fault is Fault.STOP:
            self.victim.signal(signal.SIGCONT)
