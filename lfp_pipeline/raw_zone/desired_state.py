"""The desired state of a delivery, in markers beside its bytes.

    .reverted   the delivery is reverted; the content says whether older deliveries may be read with
                the present settings for replacements, or why a dismissed delivery was not merged
    .pruned     the bytes are not kept; the content says whether the tables needed them
    .rejects    its rejected rows need no more attention; the content is a digest of these rows, and
                the marker counts only for them; this changes no table

To change a delivery's desired state, write its marker first, then reconcile under the writer lock.
The last lock holder therefore sees the latest marker. If a process dies in between, marker and
status note disagree, and the next run reconciles them.
"""

from dataclasses import dataclass
from datetime import datetime

from lfp_pipeline.model.delivery import Delivery, RawName
from lfp_pipeline.model.delivery_state import DeliveryState
from lfp_pipeline.model.ledger_entry import Status
from lfp_pipeline.raw_zone.byte_store import ByteStore
from lfp_pipeline.raw_zone.sidecars import PRUNED, REJECTS_DISMISSED, REVERTED, Sidecars

_NOT_NEEDED = b"not needed\n"
_PRESENT_SETTINGS = b"present settings\n"
_DISMISSED = "dismissed\n"


@dataclass(frozen=True)
class DesiredStates:
    """The desired states of all deliveries of a raw zone."""

    sidecars: Sidecars
    store: ByteStore

    def state_of(self, delivery: Delivery, recorded: Status | None) -> DeliveryState:
        """Return the state of a delivery in a database that has recorded this status for it."""
        name = delivery.raw_name
        return DeliveryState(self.status(name), recorded, bytes_kept=not self.is_pruned(name))

    def status(self, name: RawName) -> Status:
        """Return the desired status of a delivery: `MERGED` or `REVERTED`."""
        return Status.REVERTED if self.is_reverted(name) else Status.MERGED

    def is_reverted(self, name: RawName) -> bool:
        """Return whether people have reverted a delivery."""
        return self.sidecars.exists(name, REVERTED)

    def reverted_at(self, name: RawName) -> datetime | None:
        """Return the time of the marker, in UTC without a zone; None: it is not reverted."""
        marker = self.sidecars.read(name, REVERTED)
        return marker.written_at if marker else None

    def may_use_present_settings(self, name: RawName) -> bool:
        """Return whether the present settings may be used to find replacements for a delivery."""
        marker = self.sidecars.read(name, REVERTED)
        return marker is not None and marker.content == _PRESENT_SETTINGS

    def mark_reverted(self, name: RawName, *, use_present_settings: bool = False) -> None:
        """Set the desired state of a delivery to reverted."""
        content = _PRESENT_SETTINGS if use_present_settings else b""
        self.sidecars.write(name, REVERTED, content)

    def mark_dismissed(self, name: RawName, why: str) -> None:
        """Set the desired state of a delivery that was not merged to reverted, and record why."""
        self.sidecars.write(name, REVERTED, f"{_DISMISSED}{why}".encode())

    def reason_of_dismissed(self, name: RawName) -> str | None:
        """Return why a dismissed delivery was not merged; None: the delivery is not dismissed."""
        marker = self.sidecars.read(name, REVERTED)
        if marker is None or not marker.text.startswith(_DISMISSED):
            return None
        return marker.text.removeprefix(_DISMISSED)

    def clear_reverted(self, name: RawName) -> None:
        """Set the desired state of a delivery to merged."""
        self.sidecars.remove(name, REVERTED)

    def dismiss_rejects(self, name: RawName, digest: str) -> None:
        """Record that the rejected rows with this digest need no more attention."""
        self.sidecars.write(name, REJECTS_DISMISSED, digest.encode())

    def dismissed_rejects(self, name: RawName) -> str | None:
        """Return the digest of the rejected rows that were dismissed; None: none were."""
        marker = self.sidecars.read(name, REJECTS_DISMISSED)
        return marker.text if marker else None

    def clear_dismissed_rejects(self, name: RawName) -> None:
        """Take back the dismissal of the rejected rows of a delivery."""
        self.sidecars.remove(name, REJECTS_DISMISSED)

    def is_pruned(self, name: RawName) -> bool:
        """Return whether the bytes of a delivery are pruned."""
        return self.sidecars.exists(name, PRUNED)

    def pruned_while_needed(self, name: RawName) -> bool:
        """Return whether a delivery was pruned although the tables needed it, or may have."""
        marker = self.sidecars.read(name, PRUNED)
        return marker is not None and marker.content != _NOT_NEEDED

    def prune(self, name: RawName, *, needed: bool) -> None:
        """Remove the bytes of a delivery. Its record stays."""
        with self.sidecars.changing(name.key):
            self.sidecars.write(name, PRUNED, b"" if needed else _NOT_NEEDED)
        # Here the marker is kept, whatever happens. A landing may have cleared it, though.
        with self.sidecars.changing(name.key):
            if self.is_pruned(name):
                self.store.remove(name)

    def clear_pruned(self, name: RawName) -> None:
        """Remove the marker of a pruned delivery whose bytes have landed again."""
        self.sidecars.remove(name, PRUNED)

    def should_land_again(self, name: RawName, size_bytes: int, dropped_ns: int) -> bool:
        """Return whether a delivery has lost its bytes, and a file of its version restores them.

        A file restores pruned bytes only if it was dropped, moved or touched (its ctime says when)
        after the pruning.
        """
        # Before the marker, because pruning writes the marker before it removes the bytes.
        is_complete = self.store.size(name) == size_bytes
        pruned = self.sidecars.read(name, PRUNED)
        return not is_complete if pruned is None else dropped_ns >= pruned.changed_ns
