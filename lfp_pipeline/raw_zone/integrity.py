"""The integrity check of raw files: only the bytes that landed may be merged.

Hashing a file before each reading would cost about as much as the reading. But a file's ctime moves
with each change, and no program can set it back. So a record has the ctime of the raw file at the
landing. If the ctime is the same, so are the bytes. If not (the file was changed, or restored from
a copy), the file is hashed.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from lfp_pipeline.errors import RawFileError
from lfp_pipeline.model.delivery import Delivery, Kind

TOUCHED_AT = "ctime_ns"
"""Field of the record: ctime of the raw file, in nanoseconds."""

_HINTS = {
    Kind.PRODUCTS: "Restore it from a copy; or remove it, and land its file again (drop it again, "
    "with the time that it had). Then run `lfp ingest`.",
    Kind.DELETION: "Restore it from a copy; or revert this purge, and purge again.",
}
"""What to do about a damaged raw file, by the kind of its delivery."""


def verify_raw_file(delivery: Delivery, *, full: bool = False) -> None:
    """Raise if the raw file of a delivery does not have the bytes that landed.

    Args:
        full: hash the file even if its ctime is unchanged, because disks lose bytes.

    Raises:
        RawFileError: the raw file is changed or gone, or cannot be read.
    """
    hint = _HINTS[delivery.kind]
    try:
        if not full and _is_untouched(delivery.path):
            return
        with delivery.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        msg = f"{delivery.path} is gone. {hint}"
        raise RawFileError(msg) from None
    except OSError as error:
        msg = f"{delivery.path} cannot be read: {error.strerror or error}. {hint}"
        raise RawFileError(msg) from error
    if found != delivery.sha256:
        msg = (
            f"{delivery.path} is not what landed: its sha256 is {found}, not {delivery.sha256}. "
            f"{hint}"
        )
        raise RawFileError(msg)


def _is_untouched(raw: Path) -> bool:
    touched_at = raw.stat().st_ctime_ns
    # Without a ctime in the record, the file is hashed.
    with suppress(OSError, ValueError, AttributeError):
        record = json.loads(raw.with_suffix(".json").read_bytes())
        return bool(record.get(TOUCHED_AT) == touched_at)
    return False
