"""Small files at the place of a lake, in a folder or a bucket. Each is complete, or absent."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path

from lfp_pipeline.common.atomic_files import folder_lock, remove_file, write_file
from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.hosts.bucket import Bucket

SETTING = "LFP_LAKE"


def read_note(place: str, name: str) -> bytes | None:
    """Return the content of a file; None: there is none.

    Raises:
        BucketUnreachableError: the server of the bucket does not answer, or refuses it.
        OSError: the file in a folder cannot be read.
    """
    if place.startswith(BUCKET):
        return Bucket(place, SETTING).content(name)
    try:
        return Path(place, name).read_bytes()
    except FileNotFoundError:
        return None


def create_note(place: str, name: str, content: bytes) -> bool:
    """Create a file, and the folder; return False if there is such a file. Errors as above."""
    if place.startswith(BUCKET):
        return _put(place, name, content, replace=False)
    folder, path = Path(place), Path(place, name)
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        if path.exists():
            return False
        write_file(path, content)
        return True


def replace_note(place: str, name: str, content: bytes) -> None:
    """Write a file, or replace it. Errors as above."""
    if place.startswith(BUCKET):
        _put(place, name, content, replace=True)
    else:
        write_file(Path(place, name), content)


def remove_note(place: str, name: str) -> None:
    """Remove a file, if it is there. Errors as above."""
    if place.startswith(BUCKET):
        Bucket(place, SETTING).delete(name)
    else:
        remove_file(Path(place, name))


def _put(place: str, name: str, content: bytes, *, replace: bool) -> bool:
    digest = sha256(content).hexdigest()
    return Bucket(place, SETTING).put(BytesIO(content), name, len(content), digest, replace=replace)
