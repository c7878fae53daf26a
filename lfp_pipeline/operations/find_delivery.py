"""Finds a delivery by what people know: a file name, or the beginning of an id."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lfp_pipeline.common.text import pluralize, preview
from lfp_pipeline.engine import Engine
from lfp_pipeline.errors import LandingError, OperationRefusedError
from lfp_pipeline.model.delivery import Delivery, labels
from lfp_pipeline.model.partition_key import is_partition_key, partition_key, typed_name
from lfp_pipeline.raw_zone.landed import Landed
from lfp_pipeline.raw_zone.raw_index import RawIndex

_SHOWN = 5

_VERSION = re.compile(r"(?P<name>.+?)#(?P<stem>[0-9]{4}[0-9TZ.]*(#[0-9a-f]*)?)")


def find_delivery(
    engine: Engine,
    text: str,
    *,
    latest: bool = False,
    among: Callable[[Landed], bool] = lambda _: True,
) -> Delivery:
    """Return the delivery that a text names.

    Args:
        text: a delivery id or the unique beginning of one, the name of a file in the inbox, its
            path, or a partition key.
        latest: of several deliveries of the file, return the newest.
        among: of several deliveries, consider only these, if there are any. It is not called for
            only one.

    Raises:
        OperationRefusedError: there is no such delivery, or several; the text lists them.
    """
    if not text:  # Else all ids would begin with it.
        msg = "The name of the delivery is empty. `lfp deliveries` lists all deliveries."
        raise OperationRefusedError(msg)
    index = engine.raw_zone.index
    key = find_partition(engine, text)
    if key is not None:
        found = index.deliveries(key)
    else:
        found = deliveries_beginning_with(index, text)
        latest = latest and len({landed.key for landed in found}) == 1
    if len(found) > 1:
        found = list(filter(among, found)) or found
    ids = [landed.delivery_id for landed in found]
    if not ids:
        msg = f"No delivery matches {text!r}. `lfp deliveries` lists all deliveries."
        raise OperationRefusedError(msg)
    if len(ids) > 1 and not latest:
        newest_first = {id_: _typed_name(engine, id_) for id_ in ids[: -_SHOWN - 1 : -1]}
        names = preview(list(labels(newest_first).values()), len(ids), _SHOWN)
        msg = (
            f"{text!r} matches {pluralize(len(ids), 'delivery')}: {names}.\n"
            "Give one of these; for the newest delivery of a file, its name and --latest."
        )
        raise OperationRefusedError(msg)
    return engine.raw_zone.find(ids[-1])


def _typed_name(engine: Engine, delivery_id: str) -> str:
    """Return the name of the file of a delivery for a command; its key, if no record says more."""
    with suppress(LandingError):
        found = engine.raw_zone.find(delivery_id)
        return typed_name(found.partition_key, found.source)
    return delivery_id.partition("#")[0]


def find_partition(engine: Engine, text: str) -> str | None:
    """Return the partition of a file name, a path in the inbox or a partition key.

    None: no delivery has landed for it.
    """
    names = [text]
    inbox = engine.settings.inbox_dir.resolve()
    path = Path(text).resolve()
    if path.is_relative_to(inbox) and path != inbox:
        names.append(str(path.relative_to(inbox)))
    names.append(text.removeprefix(f"{engine.settings.inbox_place}/"))
    keys = [*filter(is_partition_key, names), *map(partition_key, names)]
    return next((key for key in keys if engine.raw_zone.index.deliveries(key)), None)


def require_partition(engine: Engine, text: str) -> str:
    """Return the partition that a text names; raise OperationRefusedError if nothing landed."""
    key = find_partition(engine, text)
    if key is None:
        msg = f"No delivery of {text} has landed. `lfp deliveries` lists all deliveries."
        raise OperationRefusedError(msg)
    return key


def deliveries_beginning_with(index: RawIndex, text: str) -> list[Landed]:
    """Return all deliveries whose ids begin with a text, in the order of their names.

    The text may also be a file name with the beginning of a time: `my file.csv#20261127T160302`.
    """
    keys = index.partitions_beginning_with(text)
    if version := _VERSION.fullmatch(text):
        name = version["name"]
        keys = [name if is_partition_key(name) else partition_key(name)]
        text = f"{keys[0]}#{version['stem']}"
    landed = (one for key in keys for one in index.deliveries(key))
    return [one for one in landed if one.delivery_id.startswith(text)]
