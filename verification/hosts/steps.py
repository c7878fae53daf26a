"""The steps of a merge into a lake, beside those that it shares with a database file."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import Any
from unittest.mock import patch

from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.raw_zone.catalog_sidecars import CatalogSidecars
from lfp_pipeline.warehouse import merge
from lfp_pipeline.warehouse.catalog_lock import CatalogLock
from lfp_pipeline.warehouse.lake_hold import Hold
from verification.crash.steps import Step, Steps


class LakeStep(StrEnum):
    """Steps that only a lake has."""

    ADMIT = "writer admitted"
    """The catalog gets the token of the connection that may commit."""
    PUT = "object put"
    """The bytes of a delivery are written, unless they are there."""
    SIDECAR = "sidecar written"
    """A record or a status note."""
    MATCH = "rows matched"
    """All rows of a batch are compared with the products, under the lock, before the merge."""


def step_of(name: str) -> Step | LakeStep:
    """Return the step of a name."""
    return LakeStep(name) if name in set(LakeStep) else Step(name)


class LakeSteps(Steps):
    """Counts the steps of this process on a lake."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        held = CatalogLock.held

        @contextmanager
        def locked(*arguments: Any) -> Iterator[Hold]:  # noqa: ANN401
            with ExitStack() as held_until_the_end:
                with self.taking(Step.LOCK):
                    hold = held_until_the_end.enter_context(held(*arguments))
                yield hold

        with ExitStack() as patches:
            patches.enter_context(super().watched())
            patches.enter_context(patch.object(CatalogLock, "held", locked))
            for owner, name, step in (
                (Bucket, "put", LakeStep.PUT),
                (CatalogSidecars, "write", LakeStep.SIDECAR),
                (merge, "match", LakeStep.MATCH),
                (Hold, "_admit_last", LakeStep.ADMIT),
            ):
                wrapped = self._wrapped(step, getattr(owner, name))
                patches.enter_context(patch.object(owner, name, wrapped))
            yield
