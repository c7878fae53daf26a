"""Whether a raw file is still what landed: nothing else may be merged in its name.

Hashing it before each reading would cost about as much as the reading. But the kernel notes when a
file was last touched, and nobody can put that back. So the record of a delivery tells that time of
its raw file, as it was when it landed; where it is the same, the bytes are. Where it is not (the
file was changed, or put back from a copy), they are hashed.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from lfp_pipeline.errors import RawFileError
from lfp_pipeline.model.delivery import Delivery, Kind

TOUCHED_AT = "ctime_ns"
"""In the record: when the raw file was last touched, as the kernel tells it."""

_HINTS = {
    Kind.PRODUCTS: "Put it back from a copy; or remove it, and land its file again (drop it anew, "
    "with the time that it had). Then run ingest_inbox.",
    Kind.DELETION: "Put it back from a copy; or revert this purge, and purge again.",
}
"""How the way out is told, by what a delivery holds."""


def verify_raw_file(delivery: Delivery, *, thorough: bool = False) -> None:
    """See that the raw file of a delivery is what landed.

    Args:
        delivery: in the raw zone.
        thorough: hash it, even if nobody has touched it. Disks do lose bytes.

    Raises:
        RawFileError: it is not, it is gone, or it cannot be read.
    """
    remedy = _HINTS[delivery.kind]
    try:
        if not thorough and _is_untouched(delivery.path):
            return
        with delivery.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        msg = f"{delivery.path} is gone. {remedy}"
        raise RawFileError(msg) from None
    except OSError as error:
        msg = f"{delivery.path} cannot be read: {error.strerror or error}. {remedy}"
        raise RawFileError(msg) from error
    if found != delivery.sha256:
        msg = (
            f"{delivery.path} is not what landed: its sha256 is {found}, not {delivery.sha256}. "
            f"{remedy}"
        )
        raise RawFileError(msg)


def _is_untouched(raw: Path) -> bool:
    touched_at = raw.stat().st_ctime_ns
    # Without a record that tells it, the file is hashed.
    with suppress(OSError, ValueError, AttributeError):
        record = json.loads(raw.with_suffix(".json").read_bytes())
        return bool(record.get(TOUCHED_AT) == touched_at)
    return False
