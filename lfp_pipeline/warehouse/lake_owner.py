"""The catalog that owns the place of a lake, by a marker there.

A place belongs to one catalog: the maintenance of a catalog removes all files below its place that
the catalog does not know. A copy of the catalog's database has the id of the original, so that the
marker also names the server and the database.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lfp_pipeline.common.setting_types import BUCKET
from lfp_pipeline.errors import LfpError, OperationRefusedError
from lfp_pipeline.hosts.bucket import Bucket
from lfp_pipeline.warehouse.lake_catalog import CatalogIdentity
from lfp_pipeline.warehouse.lake_notes import (
    SETTING,
    create_note,
    read_note,
    remove_note,
    replace_note,
)

MARKER = "lfp-catalog.json"


def claim(place: str, identity: CatalogIdentity, catalog: str) -> None:
    """Write the marker of a catalog at the place of its files, unless it is there.

    Args:
        catalog: the catalog, for people.

    Raises:
        OperationRefusedError: the place, one above it or one below it belongs to another catalog;
            or the marker cannot be understood.
        BucketUnreachableError: the server of the bucket does not answer, or refuses it.
        OSError: the folder cannot be read or written.
    """
    if read_note(place, MARKER) is None:
        _require_apart(place)
        if create_note(place, MARKER, _content(identity, catalog)):
            try:
                _require_apart(place)  # Another process may have claimed such a place meanwhile.
            except OperationRefusedError:
                remove_note(place, MARKER)
                raise
    require_owner(place, identity, catalog)


def is_claimed(place: str) -> bool:
    """Return whether the marker of a catalog can be read at a place."""
    try:
        return read_note(place, MARKER) is not None
    except (LfpError, OSError):
        return False


def take_over(place: str, identity: CatalogIdentity, catalog: str) -> None:
    """Give a place to a copy of the catalog that owns it, which is then refused; errors as above.

    A place without an owner stays as it is.
    """
    owner = _owner(place)
    if owner is not None:
        if owner[0].catalog_id != identity.catalog_id:
            raise _refusal(place, place, owner[1])
        replace_note(place, MARKER, _content(identity, catalog))


def require_owner(place: str, identity: CatalogIdentity, catalog: str) -> None:
    """Raise an OperationRefusedError unless a catalog owns a place; other errors as above."""
    found = _owner(place)
    if found is None:
        msg = (
            f"{place}/{MARKER} is missing. Mount the folder, or correct LFP_LAKE; if the file was "
            "removed, run `lfp cluster init`, which creates it."
        )
        raise OperationRefusedError(msg)
    owner, owner_catalog = found
    if owner.catalog_id != identity.catalog_id:
        raise _refusal(place, place, owner_catalog)
    if owner != identity:
        msg = (
            f"{place} belongs to the catalog at {owner_catalog}; the database at {catalog} is a "
            "copy of it. With both in use, each would delete files of the other. If the copy is to "
            "replace it, stop all that use it, and run `lfp cluster init --take-over`."
        )
        raise OperationRefusedError(msg)


def _require_apart(place: str) -> None:
    for other in (*_above(place), *_below(place)):
        found = _owner(other)
        if found is not None:
            raise _refusal(place, other, found[1])


def _above(place: str) -> Iterator[str]:
    if not place.startswith(BUCKET):
        yield from map(str, Path(place).absolute().parents)
        return
    for folder in PurePosixPath(place.removeprefix(BUCKET)).parents[:-1]:
        yield f"{BUCKET}{folder}"


def _below(place: str) -> Iterator[str]:
    if not place.startswith(BUCKET):
        folders = (path.parent for path in Path(place).rglob(MARKER))
        yield from (str(folder) for folder in folders if folder != Path(place))
        return
    end = f"/{MARKER}"
    for item in Bucket(place, SETTING).objects():
        if item.name.endswith(end):
            yield f"{place}/{item.name.removesuffix(end)}"


def _owner(place: str) -> tuple[CatalogIdentity, str] | None:
    """Return the owner of a place, also for people; None: the place has none."""
    content = read_note(place, MARKER)
    if content is None:
        return None
    try:
        fields = json.loads(content)
        return CatalogIdentity(**fields["identity"]), str(fields["catalog"])
    except (ValueError, TypeError, KeyError) as error:
        msg = (
            f"{place}/{MARKER} names no catalog ({error}). If no other catalog has its files "
            "there, remove this file, and run `lfp cluster init`."
        )
        raise OperationRefusedError(msg) from None


def _content(identity: CatalogIdentity, catalog: str) -> bytes:
    return json.dumps({"identity": identity._asdict(), "catalog": catalog}).encode()


def _refusal(place: str, other: str, catalog: str) -> OperationRefusedError:
    return OperationRefusedError(
        f"{other} belongs to the catalog at {catalog}, so that {place} cannot be the place of "
        "another one. Set LFP_LAKE to a place apart."
    )
