"""What a reading depends on beside the bytes: with the same, the same bytes give the same rows."""

import hashlib
import json
from functools import cache
from pathlib import Path

import duckdb

from lfp_pipeline.settings import Settings

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
    told |= {"source": _source_digest(), "duckdb": duckdb.__version__}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _source_digest() -> str:
    """Of the code in this folder, which nobody has to remember to give a new version."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
