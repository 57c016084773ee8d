"""Where a setting was written: the file and its line, the word of the command line, or the variable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_SUFFIXES = (".yaml", ".yml", ".json")


class Found(NamedTuple):
    """A place where a setting was written.

    Args:
        where: The place, as ``"run.yaml, line 3"``.
        value: What is written there, where it is known.
    """

    where: str
    value: str | None


def words_of(parser: Any) -> list[str]:
    """The words of the command line that a parser, or the one above it, was given."""
    while parser is not None:
        words = getattr(parser, "args", None)
        if words:
            return list(words)
        parser = getattr(parser, "parent_parser", None)
    return []


def options(words: Sequence[str]) -> Iterator[tuple[str, str | None, str]]:
    """The options among words: name, value and how it was written."""
    for at, word in enumerate(words):
        if not word.startswith("-") or word in ("-", "--"):
            continue
        name, equals, value = word.partition("=")
        following = words[at + 1] if at + 1 < len(words) and not words[at + 1].startswith("-") else None
        written = word if equals or following is None else f"{word} {following}"
        yield name.lstrip("-").rstrip("+"), value if equals else following, written


def find(words: Sequence[str], key: str, part: str | None = None) -> Found | None:
    """Where a setting was written last.

    Args:
        words: The words of the command line.
        key: The setting, as ``"model.width"``.
        part: A key or a value inside of it, such as the name of an argument of the class that it names.

    Returns:
        The place; None if it is not found.
    """
    names = [key] if part is None else [f"{key}.{part}", f"{key}.init_args.{part}", key]
    for name, value, written in reversed(list(options(words))):
        if name in names and not _is_file(value) and (name != key or part is None or part in str(value)):
            return Found(f"`{written}` on the command line", value)
    for path, prefix in reversed(list(_files(words))):
        found = _in_file(path, key, part, prefix)
        if found is not None:
            return found
    return None


def files(words: Sequence[str]) -> list[str]:
    """The files that the words name, in their order."""
    return [path for path, _ in _files(words)]


def _is_file(value: str | None) -> bool:
    return value is not None and value.endswith(_SUFFIXES) and os.path.isfile(value)


def _files(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Files among the values, each with the setting that it holds: an empty one for all of them."""
    for name, value, _ in options(words):
        if name in ("c", "config") and value is not None and os.path.isfile(value):
            yield value, ""
        elif _is_file(value):
            yield str(value), name


def _in_file(path: str, key: str, part: str | None, prefix: str) -> Found | None:
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            root = yaml.compose(file, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    if prefix and key != prefix and not key.startswith(f"{prefix}."):
        return None
    steps = key.removeprefix(prefix).strip(".").split(".") if key != prefix else []
    found = _walk(root, steps)
    if found is None:  # a file for all subcommands has a part for each
        found = next((inner for _, node in _pairs(root) if (inner := _walk(node, steps)) is not None), None)
    if found is None:
        return None
    name, node = found
    if part is not None:
        found = _inside(node, part)
        if found is None:
            return None
        name, node = found
    value = str(node.value) if isinstance(node, yaml.ScalarNode) else None
    mark = (name or node).start_mark
    return Found(f"{path}, line {mark.line + 1}", value)


def _walk(node: Any, steps: Sequence[str]) -> tuple[Any, Any] | None:
    """The node at some steps, and the key by which it is there."""
    name = None
    steps = list(steps)
    while steps:
        pairs = _pairs(node)
        for length in range(len(steps), 0, -1):  # a key may hold several steps: `model.width: 3`
            wanted = ".".join(steps[:length])
            match = next(((key, value) for key, value in pairs if key.value.rstrip("+") == wanted), None)
            if match is not None:
                name, node = match
                steps = steps[length:]
                break
        else:
            return None
    return name, node


def _pairs(node: Any) -> list[tuple[Any, Any]]:
    value = getattr(node, "value", None)
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return [(key, item) for key, item in value if isinstance(key.value, str)]
    return []


def _inside(node: Any, part: str) -> tuple[Any, Any] | None:
    """The first key or value of a name at or below a node."""
    if getattr(node, "value", None) == part:
        return None, node
    for key, value in _pairs(node):
        if key.value == part:
            return key, value
        found = _inside(value, part)
        if found is not None:
            return found if found[0] is not None else (key, value) if value.value == part else found
    value = getattr(node, "value", None)
    if isinstance(value, list) and not _pairs(node):
        for item in value:
            found = _inside(item, part)
            if found is not None:
                return found
    return None
