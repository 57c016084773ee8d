"""Compares a name of the list with what Fulmen has under it."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

from .listing import Entry, ours

_MISSING = object()
# What the list says where Lightning's own signature says nothing.
UNSAID = ["*args", "**kwargs"], ["*args", "**kwds"]
# Defaults that the list cannot show.
HIDDEN = ("...", "Ellipsis")


def problems(entry: Entry) -> Iterator[str]:
    """What is not as the list says; nothing if all is.

    Args:
        entry: The name.
    """
    value = look_up(entry)
    if value is _MISSING:
        yield "missing"
        return
    if "params" in entry.facts:
        if callable(value):
            yield from parameters(value, entry.facts["params"])
        else:
            yield "no callable"
    if "init" in entry.facts:
        if str(getattr(value, "__module__", "")).startswith("torch."):
            return  # torch's own class, whose signature changes with torch
        if isinstance(value, type):
            yield from (f"__init__: {text}" for text in parameters(value, entry.facts["init"]))
        elif not callable(value):
            yield "no class"
        for name, facts in entry.facts["members"].items():
            yield from (f"{name}: {text}" for text in member(value, name, facts))


def look_up(entry: Entry) -> Any:
    """What stands under a name; a marker where nothing does."""
    try:
        return getattr(importlib.import_module(entry.module), entry.name, _MISSING)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("fulmen"):
            raise
        return _MISSING


def member(owner: Any, name: str, facts: list[str] | str) -> Iterator[str]:
    """What is not as the list says of a member.

    Args:
        owner: The class.
        name: The member.
        facts: Its parameters, ``"property"``, or ``"attr"``.
    """
    raw = inspect.getattr_static(owner, name, _MISSING)
    if raw is _MISSING:
        annotated = any(name in vars(base).get("__annotations__", {}) for base in getattr(owner, "__mro__", ()))
        if facts != "attr" or not annotated:
            yield "missing"
    elif facts == "property":
        if not _is_property(raw):
            yield "no property"
    elif facts != "attr":
        if callable(getattr(owner, name)):
            yield from parameters(raw, facts)
        else:
            yield "no method"


def _is_property(raw: Any) -> bool:
    return isinstance(
        raw, (property, functools.cached_property, types.GetSetDescriptorType, types.MemberDescriptorType)
    )


def parameters(function: Any, listed: list[str]) -> Iterator[str]:
    """What is not as the list says of parameters: their names, order and defaults.

    More of ours may follow where they can be left out and are passed by name alone.

    Args:
        function: A function, or a class; also a static or class method as it stands in its class.
        listed: Such as ``["model", "max_depth=1", "*args"]``, without ``self``.
    """
    mine = _parameters(function)
    if listed in UNSAID:
        required = [p.name for p in mine if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if required and isinstance(function, type):
            yield f"needs {', '.join(required)}"
        return
    shown = [_shown(parameter) for parameter in mine]
    extra = [p for p in mine if p.kind is p.KEYWORD_ONLY and _shown(p) not in listed and p.default is not p.empty]
    rest = [text for parameter, text in zip(mine, shown, strict=True) if parameter not in extra]
    if not _same(rest, listed):
        yield f"({', '.join(shown)}) instead of ({', '.join(listed)})"


def _same(mine: list[str], listed: list[str]) -> bool:
    return len(mine) == len(listed) and all(
        one == _with_our_class(other)
        or (other.partition("=")[2] in HIDDEN and one.partition("=")[0] == other.partition("=")[0])
        for one, other in zip(mine, listed, strict=True)
    )


def _with_our_class(listed: str) -> str:
    """A default that is a class of Lightning's becomes the one that Fulmen has under that path."""
    name, found = listed.partition("=")[0], re.fullmatch(r"\w+=<class '(pytorch_lightning\..*)'>", listed)
    if found is None:
        return listed
    module, _, kind = ours(found[1]).rpartition(".")
    return f"{name}={look_up(Entry(module, kind, {}, ''))!r}"


def _parameters(function: Any) -> list[inspect.Parameter]:
    bound = isinstance(function, classmethod)
    if isinstance(function, (staticmethod, classmethod)):
        found = list(inspect.signature(function.__func__).parameters.values())
        return found[1:] if bound else found
    if isinstance(function, type):
        if function.__init__ is object.__init__:  # type: ignore[misc]
            return []
        return list(inspect.signature(function.__init__).parameters.values())[1:]  # type: ignore[misc]
    found = list(inspect.signature(function).parameters.values())
    return found[1:] if found and found[0].name in ("self", "cls") else found


def _shown(parameter: inspect.Parameter) -> str:
    sign = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    if parameter.default is parameter.empty:
        return f"{sign}{parameter.name}"
    return f"{sign}{parameter.name}={parameter.default!r}"
