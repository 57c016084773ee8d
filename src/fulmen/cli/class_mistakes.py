"""What to say of a class that is chosen by its name: there is no such class, or it takes other arguments."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from fulmen.cli.hints import classes_in, known, told, with_article
from fulmen.cli.names import spellings
from fulmen.cli.sources import find
from fulmen.utilities.suggest import closest, did_you_mean

_PROBLEM = re.compile(
    r"Problem with given class_path '(?P<path>[^']+)':\s*(?P<inner>.*?)(?=\n\s*- |\n\s*Given value|\Z)", re.DOTALL
)
_PATHS = re.compile(r"(?:Expected a dot import path string: |class_path['\"]?[:=] ?'|Given value: )(?P<path>[\w.]+)")

_DOTTED = re.compile(r"\w+(?:\.\w+)*")
Say = Callable[[str, "str | None", "str | None"], str]
Place = Callable[[str, Any], str]


def of_class(key: str, hint: Any, body: str, words: list[str], say: Say, place: Place) -> str | None:
    """A message about a setting that names a class.

    Args:
        key: The setting.
        hint: Its type.
        body: What jsonargparse says of it.
        words: The words of the command line.
        say: Puts the parts of a message together.
        place: Says where something was found.

    Returns:
        The message; None where the class is not what is wrong.
    """
    for problem in _PROBLEM.finditer(body):
        if _is_own(problem["path"], hint):
            text = _of_arguments(key, problem["path"], problem["inner"], words, say, place)
            if text is not None:
                return text
    found = find(words, key)
    paths = [match["path"] for match in _PATHS.finditer(body)] + re.findall(r"'(\w+(?:\.\w+)+)'", body)
    if found is not None and found.value is not None and _DOTTED.fullmatch(found.value):
        paths.insert(0, found.value)
    for path in dict.fromkeys(paths):
        text = _of_path(key, hint, path, words, say)
        if text is not None:
            return text
    return None


def _is_own(path: str, hint: Any) -> bool:
    """Whether a path is of a class that was chosen, and not of the base that stands for any."""
    return _imported(path) not in tuple(classes_in(hint)) or not inspect.isabstract(_imported(path))


def _of_arguments(key: str, path: str, inner: str, words: list[str], say: Say, place: Place) -> str | None:
    name = path.rpartition(".")[2]
    cls = _imported(path)
    names = _arguments(cls) if cls is not None else []
    wrong = re.search(r"(?:Option|option|Group '[^']+' does not accept option) '([^']+)'", inner)
    if wrong is not None:
        part = wrong[1]
        found = find(words, key, part)
        return say(
            f"`{name}` has no argument `{part}`.",
            None if found is None else place(part, found),
            did_you_mean(part, names) or f"Its arguments are: {', '.join(names)}.",
        )
    missing = re.search(r"the following arguments are required: (.+)", inner)
    if missing is not None:
        needed = [part.strip() for part in missing[1].split(",")]
        found = find(words, key, name)
        return say(
            f"`{name}` needs {', '.join(f'`{part}`' for part in needed)}.",
            f"`{key}` without {'it' if len(needed) == 1 else 'them'}{'' if found is None else f', in {found.where}'}",
            f"`{' '.join(f'--{key}.{part}=...' for part in needed)}`, or `init_args` in the file.",
        )
    value = re.search(r'Parser key "([^"]+)":\s*(.*)', inner, re.DOTALL)
    if value is not None and cls is not None:
        part = value[1]
        found = find(words, key, part.rpartition(".")[2])
        expected = _hint_of(cls, part)
        given = re.search(r"(?:Got value|Given value): (.*)", value[2])
        return say(
            f"`{part}` of `{name}` must be {told(expected)}."
            if expected is not None
            else f"`{part}` of `{name}`: {value[2]}",
            place(part, found) if found is not None else given[1] if given else None,
            None,
        )
    return None


def _of_path(key: str, hint: Any, path: str, words: list[str], say: Say) -> str | None:
    classes = known(hint)
    bases = " or ".join(dict.fromkeys(with_article(cls.__name__) for cls in classes_in(hint)))
    found = next((found for name in spellings(path) if (found := find(words, key, name)) is not None), None)
    where = (
        f"`{path}`" if found is None else f"`{path}`, {found.where}" if "command" not in found.where else found.where
    )
    if "." not in path:
        if path in classes or path in ("None", "True", "False", "null") or path.isdigit():
            return None
        near = closest(path, classes)
        fix = f"Did you mean `{near}`?" if near else f"Give the path of a class of your own, `package.module.{path}`."
        return say(f"`{key}` takes {bases}, and there is none called `{path}`.", where, fix)
    target = _imported(path)
    if target is not None:
        if isinstance(target, type) and not issubclass(target, tuple(classes_in(hint)) or object):
            return say(f"`{key}` takes {bases}, and `{path}` is no such class.", where, "Give a subclass of it.")
        return None
    place, _, name = path.rpartition(".")
    module, problem = _module(place)
    if module is None:
        return say(f"`{path}` cannot be imported: {problem}.", where, _fix_of_module(place, name, classes))
    near = closest(name, [other for other in dir(module) if not other.startswith("_")])
    fix = f"Did you mean `{place}.{near}`?" if near else f"`python -c 'import {place}; print(dir({place}))'` shows all."
    return say(f"The module `{place}` has no `{name}`.", where, fix)


def _fix_of_module(place: str, name: str, classes: dict[str, type]) -> str:
    near = closest(name, classes)
    if near is not None and (near == name or place.split(".")[0] in ("fulmen", "pytorch_lightning", "lightning")):
        return f"Did you mean `{classes[near].__module__}.{near}`, or `{near}` for short?"
    return f"Run it in the folder that holds `{place.split('.')[0]}`, or install the package."


def _module(place: str) -> tuple[Any, str]:
    try:
        return importlib.import_module(place), ""
    except ImportError as error:
        return None, str(error)


def _imported(path: str) -> Any:
    place, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(place), name, None) if place else None
    except ImportError:
        return None


def _arguments(cls: Any) -> list[str]:
    from fulmen.cli.types import jsonargparse

    parser = jsonargparse.ArgumentParser()
    added: list[str] = parser.add_class_arguments(cls, fail_untyped=False)
    return [name for name in added if "." not in name]


def _hint_of(cls: Any, part: str) -> Any:
    from fulmen.cli.types import jsonargparse

    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(cls, fail_untyped=False)
    return next((getattr(action, "_typehint", None) for action in parser._actions if action.dest == part), None)
