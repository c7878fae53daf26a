"""Chooses the kind of storage of an engine."""

from lfp_pipeline.engine import Engine
from verification.histories.lake_storage import LakeStorage
from verification.histories.storage import FileStorage, Storage


def storage_of(engine: Engine) -> Storage:
    """Return the kind of storage of an engine."""
    return FileStorage() if engine.settings.catalog is None else LakeStorage()
