"""Plain YAML: small, flat, each key once. Reading takes bounded time, whatever a file contains."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1_000_000
_MAX_NODES = 100_000
_MAX_CHARACTERS = 10_000
_MAX_DEPTH = 10

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # The C loader is ten times as fast.


class PlainYamlError(Exception):
    """A file is not plain YAML. The message gives the line without quoting the line."""


def read_plain_yaml(path: Path) -> Any:  # noqa: ANN401 (any YAML value)
    """Return the content of a file; None for an empty file.

    Raises:
        FileNotFoundError: the file does not exist.
        PlainYamlError: the file cannot be read, or is not plain YAML.
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
        if error.problem_mark:  # At the end of the file, the mark is one line too far.
            msg = f"line {min(error.problem_mark.line + 1, len(content.splitlines()))}: {msg}"
        raise PlainYamlError(msg) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        msg = "it is not YAML in UTF-8"
        raise PlainYamlError(msg) from None
    finally:
        loader.dispose()


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # Reading a pipe may never end.
            msg = "it is not a file"
            raise PlainYamlError(msg)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PlainYamlError(error.strerror or "error") from None
    if len(content) > MAX_BYTES:
        msg = f"it is larger than {MAX_BYTES:,} bytes"
        raise PlainYamlError(msg)
    return content


class _Loader(_Base):  # type: ignore[misc]
    """A loader that gives the line of a value out of range, such as a number of 5,000 digits."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError):
            msg = "a number, a date or a key that cannot be read; put texts in quotes"
            raise _at(node, msg) from None


def _check_events(events: Iterator[yaml.Event]) -> None:
    """Refuse deep nesting, long values, and too many values once references are expanded."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    nodes = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, nodes))
            if len(opened) > _MAX_DEPTH:
                raise _at(event, f"nested deeper than {_MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = nodes - before
            continue
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise _at(event, "a reference to the value that contains it")
            nodes += sizes.get(str(event.anchor), 0)
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > _MAX_CHARACTERS:
            raise _at(event, f"a value of more than {_MAX_CHARACTERS:,} characters")
        nodes += 1
        if nodes > _MAX_NODES:
            raise _at(event, f"more than {_MAX_NODES:,} values once references are expanded")


def _check_keys(root: yaml.Node) -> None:
    """Refuse a duplicate key, of which YAML would silently keep the last value."""
    remaining, seen = [root], {id(root)}
    while remaining:
        node = remaining.pop()
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
        remaining += [part for part in parts if id(part) not in seen]
        seen.update(map(id, parts))


def _at(source: Any, problem: str) -> yaml.MarkedYAMLError:  # noqa: ANN401 (a node or an event)
    return yaml.MarkedYAMLError(problem=problem, problem_mark=source.start_mark)
