"""What a reading depends on beside the bytes: with the same, the same bytes give the same rows."""

import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

import duckdb

from lfp_pipeline import text_codecs
from lfp_pipeline.landing.delivery import TextFormat
from lfp_pipeline.settings import Settings

_SETTINGS = {
    "column_aliases",
    "fallback_encoding",
    "max_reject_share",
    "max_sku_length",
    "max_name_length",
    "max_description_length",
    "max_unpacked_bytes",
    "max_record_bytes",
    "null_tokens",
    "header_search_lines",
    "require_all_cells",
}


def fingerprint(settings: Settings, text_format: TextFormat) -> str:
    """A digest of all that decides what is read from a file: settings, its source, programs."""
    decisive = settings.model_dump(mode="json", include=_SETTINGS)
    decisive |= {"source": _source_digest(), "duckdb": duckdb.__version__}
    decisive |= asdict(text_format)
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _source_digest() -> str:
    """Of the code that reads, which nobody has to remember to give a new version."""
    sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(text_codecs.__file__)]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
