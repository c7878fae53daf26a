"""Large product files into one exact `products` table: a Dagster project on DuckDB.

Without Dagster, this merges what is in the inbox and prints a result for each file:

    import logging

    from lfp_pipeline import Engine, load_settings

    log = logging.getLogger("ingest")
    engine = Engine(load_settings())
    files = engine.pending_inbox(log).ready
    for result in engine.ingest_all(files, [], log):
        print(result)

The tables are then in `settings.database_path`. `lfp_pipeline.definitions` is Dagster's entry.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lfp_pipeline.engine import Engine
    from lfp_pipeline.errors import (
        AnotherHeaderError,
        BrokerUnreachableError,
        BucketUnreachableError,
        CatalogUnreachableError,
        DeliveryRefusedError,
        LandingError,
        LfpError,
        NoHeaderError,
        OperationRefusedError,
        RawFileError,
        ReaderCrashedError,
        ReadingTimeoutError,
        RebuildIncompleteError,
        RequestNotSentError,
        SettingsError,
        StillWrittenError,
        TooManyRejectsError,
        UnreadableError,
        WarehouseBusyError,
        WarehouseCorruptError,
        WarehouseInconsistentError,
    )
    from lfp_pipeline.ingest.result import IngestResult
    from lfp_pipeline.settings import Settings, load_settings

__version__ = "0.1.0"

__all__ = [
    "AnotherHeaderError",
    "BrokerUnreachableError",
    "BucketUnreachableError",
    "CatalogUnreachableError",
    "DeliveryRefusedError",
    "Engine",
    "IngestResult",
    "LandingError",
    "LfpError",
    "NoHeaderError",
    "OperationRefusedError",
    "RawFileError",
    "ReaderCrashedError",
    "ReadingTimeoutError",
    "RebuildIncompleteError",
    "RequestNotSentError",
    "Settings",
    "SettingsError",
    "StillWrittenError",
    "TooManyRejectsError",
    "UnreadableError",
    "WarehouseBusyError",
    "WarehouseCorruptError",
    "WarehouseInconsistentError",
    "__version__",
    "load_settings",
]

_MODULES = {
    "Engine": "engine",
    "IngestResult": "ingest.result",
    "Settings": "settings",
    "load_settings": "settings",
}


def __getattr__(name: str) -> object:
    """Import an exported name when it is first used: importing a submodule must stay fast."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
