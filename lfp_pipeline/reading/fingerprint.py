"""What a reading depends on beside the bytes: with the same, the same bytes give the same rows."""

import hashlib
import json

import duckdb

from lfp_pipeline.settings import Settings

_VERSION = 1
"""To be raised whenever the code reads anything in another way than before."""

_SETTINGS = {
    "column_aliases",
    "fallback_encoding",
    "max_reject_share",
    "max_sku_length",
    "max_name_length",
    "max_description_length",
    "max_unpacked_bytes",
}


def fingerprint(settings: Settings) -> str:
    """A digest of the settings and programs that decide what is read from a file."""
    told = settings.model_dump(mode="json", include=_SETTINGS)
    told |= {"reading": _VERSION, "duckdb": duckdb.__version__}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
