"""YAML of people: small, flat, each key once; read in a bounded time whatever is in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1_000_000
_MOST_NODES = 100_000
_MOST_CHARACTERS = 10_000
_DEEPEST = 10

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # The one in C is ten times as fast.


class PlainYamlError(Exception):
    """A file is not such YAML. The text says where, and does not quote what stands there."""


def read_plain_yaml(path: Path) -> Any:  # noqa: ANN401 (whatever YAML knows)
    """Return what a file says; None for an empty one.

    Raises:
        FileNotFoundError: there is no file.
        PlainYamlError: it cannot be read, or is not such YAML.
    """
    content = _content(path)
    loader = _Loader(content)
    try:
        _check_events(yaml.parse(content, Loader=_Base))
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        msg = error.problem or "not YAML"
        if error.problem_mark:  # Of what is missing at the end, it is the line after the last.
            msg = f"line {min(error.problem_mark.line + 1, len(content.splitlines()))}: {msg}"
        raise PlainYamlError(msg) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        msg = "it is not YAML in UTF-8"
        raise PlainYamlError(msg) from None
    finally:
        loader.dispose()


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # To read a pipe may take for ever.
            msg = "it is not a file"
            raise PlainYamlError(msg)
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PlainYamlError(error.strerror or "error") from None
    if len(content) > MOST_BYTES:
        msg = f"it is larger than {MOST_BYTES:,} bytes"
        raise PlainYamlError(msg)
    return content


class _Loader(_Base):  # type: ignore[misc]
    """Tells where a value is that its type does not take, such as a number of 5,000 digits."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError):
            msg = "a number, a date or a key that cannot be read; put texts in quotes"
            raise _at(node, msg) from None


def _check_events(events: Iterator[yaml.Event]) -> None:
    """Refuse what would nest too deep, or become too much by its references.

    Raises:
        yaml.MarkedYAMLError: where.
    """
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    nodes = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, nodes))
            if len(opened) > _DEEPEST:
                raise _at(event, f"nested deeper than {_DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = nodes - before
            continue
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise _at(event, "a reference to what it is in")
            nodes += sizes.get(str(event.anchor), 0)
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > _MOST_CHARACTERS:
            raise _at(event, f"a value of more than {_MOST_CHARACTERS:,} characters")
        nodes += 1
        if nodes > _MOST_NODES:
            raise _at(
                event, f"more than {_MOST_NODES:,} values, references counted as what they are"
            )


def _check_keys(root: yaml.Node) -> None:
    """Refuse a key that is there twice: YAML would take the last one without a word.

    Raises:
        yaml.MarkedYAMLError: where.
    """
    left, seen = [root], {id(root)}
    while left:
        node = left.pop()
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    raise _at(key, f"the key {key.value[:40]!r} is there twice")
                keys.add(str(key.value) if isinstance(key, yaml.ScalarNode) else "")
                parts += [key, value]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        left += [part for part in parts if id(part) not in seen]
        seen.update(map(id, parts))


def _at(where: Any, problem: str) -> yaml.MarkedYAMLError:  # noqa: ANN401 (a node or an event)
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)
