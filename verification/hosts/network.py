"""Hosts as namespaces on a bridge, or on loopback where namespaces are not permitted.

A host has an address, a name, process ids and a clock offset of its own, and a cable that can be
cut, slowed and restored. The bench runs in a network namespace of its own, too, which is the
switch. The kernel removes a namespace with its last process, and the processes of a host end with
the bench: so nothing is left behind, however the bench ends.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import tree
from testing.processes import PROJECT
from verification.hosts.processes import children, proportional_memory_bytes

BENCH_ADDRESS = "10.77.0.254"
LOOPBACK = "127.0.0.1"

_SUBNET = "10.77.0"
_BRIDGE = "br0"
_BURST_BYTES = 16 * 1024
_QUEUE_MILLISECONDS = 500

# The first process of a host adopts and reaps others. It ends with the bench, which has the other
# end of its standard input; then the kernel ends all processes of the host.
_INIT = 'hostname "$0" && echo up && while read -r _; do :; done'

_CLOCK = Path(__file__).with_name("clock.c")


@dataclass
class Host:
    """A machine of the bench.

    Attributes:
        name: its host name.
        address: its IP address.
        clock: seconds by which the clock of the processes that are started from now on is ahead.
        clock_library: moves their clocks.
    """

    name: str
    address: str
    clock_library: Path
    clock: int = 0
    _started: list[subprocess.Popen[str]] = field(default_factory=list, init=False)

    def boot(self) -> None:
        """Make a new or killed host usable."""

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        **options: Any,  # noqa: ANN401
    ) -> subprocess.Popen[str]:
        """Start a process on the host, with options of `Popen`."""
        process = subprocess.Popen(
            command,
            text=True,
            cwd=PROJECT,
            env={**os.environ, **environment, **self._clock_environment()},
            start_new_session=True,  # A Ctrl-C for the bench is none for its hosts.
            **options,
        )
        self._started = [other for other in self._started if other.poll() is None] + [process]
        return process

    def signal(self, process: subprocess.Popen[str], number: int) -> None:
        """Send a signal to a process that was started here, if it has not ended."""
        process.send_signal(number)

    def memory_bytes(self) -> int:
        """Return the memory of the processes of the host; shared pages count in part."""
        raise NotImplementedError

    def kill(self) -> None:
        """End all processes of the host at once, as a power cut does."""
        self._end_all()
        for process in self._started:
            process.wait()
            for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
                with suppress(BrokenPipeError):
                    stream.close()

    def _end_all(self) -> None:
        raise NotImplementedError

    def _clock_environment(self) -> Mapping[str, str]:
        if not self.clock:
            return {}
        return {"LD_PRELOAD": str(self.clock_library), "BENCH_CLOCK_SECONDS": str(self.clock)}


class LoopbackHost(Host):
    """A host that is only a set of processes of this machine."""

    def memory_bytes(self) -> int:
        pids = (pid for process in self._started for pid in tree(process.pid))
        return sum(map(proportional_memory_bytes, pids))

    def _end_all(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@dataclass
class NamespaceHost(Host):
    """A host in namespaces of its own, with a cable to the bridge."""

    _first: subprocess.Popen[str] | None = None
    _pid: int = 0

    def boot(self) -> None:
        unshare = "unshare --net --uts --pid --mount-proc --fork --kill-child bash -c"
        command = [*unshare.split(), _INIT, self.name]
        self._first = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._first.stdout is not None
        assert self._first.stdout.readline() == "up\n"
        (self._pid,) = children(self._first.pid)
        run(f"ip link add {self.name} type veth peer name eth0 netns {self._pid}")
        run(f"ip link set {self.name} master {_BRIDGE} up")
        self.run(f"ip addr add {self.address}/24 dev eth0")
        self.run("ip link set lo up")
        self.run("ip link set eth0 up")

    def run(self, command: str) -> None:
        """Run a command in the host's network."""
        run(f"nsenter --target {self._pid} --net -- {command}")

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        **options: Any,  # noqa: ANN401
    ) -> subprocess.Popen[str]:
        enter = f"nsenter --target {self._pid} --net --uts --pid --mount --"
        # A process enters a mount namespace at its root.
        place = f"env --chdir={PROJECT}"
        return super().start([*enter.split(), *place.split(), *command], environment, **options)

    def signal(self, process: subprocess.Popen[str], number: int) -> None:
        # `nsenter` waits for its child, which is the process, and stops while that is stopped.
        for pid in children(process.pid) if process.poll() is None else ():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                os.kill(process.pid, signal.SIGCONT)

    def memory_bytes(self) -> int:
        return sum(map(proportional_memory_bytes, self._pids()))

    def _pids(self) -> Iterator[int]:
        inside = Path(f"/proc/{self._pid}/ns/pid").stat()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.path.samestat((process / "ns/pid").stat(), inside):
                    yield int(process.name)

    def _end_all(self) -> None:
        if self._first is not None:
            self._first.kill()  # With `--kill-child`, the kernel kills the first process, too.
            self._first.communicate()
            self._first = None
            # The kernel removes a cable with its host, but some time later.
            subprocess.run(["ip", "link", "del", self.name], check=False, capture_output=True)


@dataclass
class Network:
    """The hosts by name, and their cables, if they have any."""

    has_cables: bool
    clock_library: Path
    hosts: dict[str, Host] = field(default_factory=dict)

    def add(self, name: str) -> Host:
        """Make a host."""
        host: Host
        if self.has_cables:
            address = f"{_SUBNET}.{len(self.hosts) + 1}"
            host = NamespaceHost(name, address, self.clock_library)
        else:
            host = LoopbackHost(name, LOOPBACK, self.clock_library)
        host.boot()
        self.hosts[name] = host
        return host

    def cut(self, host: Host) -> None:
        """Unplug a cable: what the host sends, and what is sent to it, is lost."""
        run(f"ip link set {host.name} down")

    def slow(self, host: Host, kilobits: int) -> None:
        """Limit both directions of a cable to so many kilobits a second."""
        limit = f"rate {kilobits}kbit burst {_BURST_BYTES} latency {_QUEUE_MILLISECONDS}ms"
        assert isinstance(host, NamespaceHost)
        run(f"tc qdisc replace dev {host.name} root tbf {limit}")
        host.run(f"tc qdisc replace dev eth0 root tbf {limit}")

    def restore(self, host: Host) -> None:
        """Plug in a cable again, at full speed."""
        assert isinstance(host, NamespaceHost)
        run(f"ip link set {host.name} up")
        run(f"tc qdisc replace dev {host.name} root noqueue")
        host.run("tc qdisc replace dev eth0 root noqueue")


@contextmanager
def network(folder: Path, *, has_cables: bool) -> Iterator[Network]:
    """Yield a network without hosts; remove its hosts after the block.

    Args:
        folder: for the library that moves clocks.
        has_cables: whether this process runs in a network namespace for the bench alone.
    """
    library = folder / "clock.so"
    run(f"cc -O1 -shared -fPIC -o {library} {_CLOCK}")
    hosts = Network(has_cables, library)
    if has_cables:
        run(f"ip link add {_BRIDGE} type bridge")
        run(f"ip addr add {BENCH_ADDRESS}/24 dev {_BRIDGE}")
        run(f"ip link set {_BRIDGE} up")
        run("ip link set lo up")
    try:
        yield hosts
    finally:
        for host in hosts.hosts.values():
            host.kill()


def missing_permission() -> str | None:
    """Return why there can be no namespaces here; None: there can."""
    for program in ("unshare", "nsenter", "ip", "tc"):
        if shutil.which(program) is None:
            return f"the program {program} is missing"
    command = "unshare --net --uts --pid --fork --mount-proc true"
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else None


def run(command: str) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{command} failed: {done.stderr.strip()}"
        raise RuntimeError(msg)
