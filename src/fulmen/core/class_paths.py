"""Objects made of settings that name their class: ``{"class_path": ..., "init_args": {...}}``.

Files may hold such settings. Unless the user trusts the file, a class or function is used only where it is the user's
own choice: registered, or imported already and of the package that the loaded class belongs to, or of a name in the
module that defines it. Nothing is imported to find it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn, TypeVar, get_args

from fulmen.utilities.exceptions import MisconfiguredType, MisconfiguredValue
from fulmen.utilities.given import CLASS_PATH, INSTANTIATOR, MARK, MARKS, Given, is_made, making
from fulmen.utilities.imports import require
from fulmen.utilities.registered import NOTHING, is_class, registered_name

ModuleType = TypeVar("ModuleType")

_BASES = ("fulmen.core.module", "fulmen.core.datamodule")  # from which nothing can be made
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_ROOT = re.compile(r"(?<![\w.])[^\W\d]\w*(?=\.)")
_LOUD = ("antigravity", "this", "idlelib", "turtledemo")  # these do something when they are imported


def instantiate_class(args: Any | tuple[Any, ...], init: dict[str, Any]) -> Any:
    """Makes an object of settings.

    Args:
        args: What goes before the settings' own arguments, as the parameters of an optimizer; one or a tuple of them.
        init: The settings: ``{"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}``.

    Returns:
        The object.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> type(instantiate_class([weight], {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}})).__name__
        'SGD'
    """
    place, _, name = init["class_path"].rpartition(".")
    found = getattr(importlib.import_module(place), name)
    return found(*(args if isinstance(args, tuple) else (args,)), **init.get("init_args", {}))


def instantiate_module(class_type: type[ModuleType], config: dict[str, Any]) -> ModuleType:
    """Makes a module of its settings; classes that they name are imported, so the settings must be trusted.

    Args:
        class_type: The class, or a base of the one that the settings name under ``"_class_path"``.
        config: The settings by argument.

    Returns:
        The module.
    """
    settings = {INSTANTIATOR: MARK, **config}
    cls = chosen_class(class_type, dict(settings), trusted=True)
    arguments = {name: value for name, value in config.items() if name not in (CLASS_PATH, INSTANTIATOR)}
    with made_of(cls, settings):
        made: ModuleType = cls(**_parsed(cls, arguments, set(arguments), trusted=True))
    return made


def settings_of(hparams: Any, kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """A copy of hyper-parameters that a command line has marked, without those that the user gave; None of others."""
    if not isinstance(hparams, dict) or hparams.get(INSTANTIATOR) not in MARKS:
        return None
    return {name: value for name, value in hparams.items() if name not in kwargs}


@contextmanager
def made_of(cls: Any, settings: Mapping[str, Any] | None) -> Iterator[None]:
    """An object of a class that is made inside the block keeps these settings as its hyper-parameters.

    Args:
        cls: The class.
        settings: The settings; None where there are none to keep.
    """
    if settings is None:
        yield
        return
    path = None if CLASS_PATH not in settings else f"{cls.__module__}.{cls.__qualname__}"
    with making(Given(cls, settings, path)):
        yield


def chosen_class(cls: Any, hparams: Any, trusted: bool) -> Any:
    """The class that hyper-parameters name, where the command line chose it.

    Args:
        cls: The class that is asked for.
        hparams: The hyper-parameters; the name is taken out of them.
        trusted: Whether its module may be imported.

    Returns:
        The class: a subclass of `cls`, or `cls` itself where that is the narrower one.

    Raises:
        MisconfiguredValue: If the name is none of a subclass, or not imported.
    """
    name = hparams.pop(CLASS_PATH, None) if isinstance(hparams, dict) and INSTANTIATOR in hparams else None
    if not isinstance(name, str):
        return cls
    found = _find(name, trusted)
    if is_class(found) and issubclass(found, cls):
        return found
    if cls.__module__ not in _BASES:
        return cls  # the user named one to be made
    place = name.rpartition(".")[0]
    raise MisconfiguredValue(
        f"The checkpoint is one of `{name}`, which is {'no subclass' if is_class(found) else 'not imported'}.",
        got=f"{cls.__name__}.load_from_checkpoint(...)",
        fix=f"`from {place} import {name.rpartition('.')[2]}`, and call it on that class.",
    )


def realized(cls: Any, hparams: Any, kwargs: Mapping[str, Any], trusted: bool) -> Any:
    """Hyper-parameters with objects in place of the settings that name their classes.

    Args:
        cls: The class that takes them.
        hparams: The hyper-parameters as a checkpoint holds them.
        kwargs: Those that the user gave, which are taken as they are.
        trusted: Whether classes may be imported, and made whatever they are.

    Returns:
        The hyper-parameters; the same object where there are no such settings.

    Raises:
        MisconfiguredType: If a class may not be used, or does not fit.
    """
    if not isinstance(hparams, dict) or hparams.get(INSTANTIATOR) not in MARKS:
        return hparams
    made = type(hparams)((name, value) for name, value in hparams.items() if name != INSTANTIATOR)
    parameters = inspect.signature(cls.__init__).parameters
    names = {
        name
        for name, value in made.items()
        if name not in kwargs and name in parameters and (is_made(value) or _names_object(value, parameters[name]))
    }
    if not names:
        return made
    if not trusted:
        for name in sorted(names):
            check_names(cls, name, made[name])
    made.update(_parsed(cls, made, names, trusted))
    return made


def check_names(cls: type, argument: str, value: Any) -> None:
    """Refuses settings that name what is not the user's own choice.

    Args:
        cls: The class that takes them.
        argument: The name of its argument.
        value: The settings.

    Raises:
        MisconfiguredType: If there is such a name.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "class_path" and _find(str(item), False) is NOTHING:
                _refuse(cls, argument, str(item), "is not imported")
            check_names(cls, argument, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_names(cls, argument, item)
    elif isinstance(value, str) and "class_path" in value:
        _refuse(cls, argument, value, "is a text that would be read as settings")
    elif isinstance(value, str) and _DOTTED.fullmatch(value):
        found = _find(value, False)
        if found is not NOTHING and callable(found) and not _is_own(cls, found):
            _refuse(cls, argument, value, "is neither registered nor of your own package")


def _refuse(cls: type, argument: str, name: str, why: str) -> NoReturn:
    raise MisconfiguredType(
        f"`{cls.__name__}.__init__` takes `{argument}`, for which the checkpoint names `{name}`; that {why}.",
        got=f"{argument}: {name}",
        fix=f"Pass it along: `{cls.__name__}.load_from_checkpoint(path, {argument}=...)`; import it in the module of "
        f"`{cls.__name__}`, or register it with `fulmen.checkpoint.register`; or, if you trust the file, "
        "`weights_only=False`.",
    )


def _is_own(cls: type, found: Any) -> bool:
    home = sys.modules.get(cls.__module__)
    same = str(getattr(found, "__module__", None)).split(".")[0] == cls.__module__.split(".")[0]
    return registered_name(found) is not None or same or any(value is found for value in vars(home).values())


def _find(path: str, may_import: bool) -> Any:
    """What a dotted name stands for, looked up without running code; ``NOTHING`` if it is not there."""
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        place = ".".join(parts[:length])
        if may_import or (parts[0] in sys.stdlib_module_names and parts[0] not in _LOUD):
            try:
                importlib.import_module(place)
            except ImportError:
                continue
        if place in sys.modules:
            found: Any = sys.modules[place]
            if may_import:  # a package may make its names when they are asked for
                getattr(found, parts[length], None)
            for part in parts[length:]:
                found = (
                    vars(found).get(part, NOTHING) if found is not NOTHING and hasattr(found, "__dict__") else NOTHING
                )
            return found
    return NOTHING


def _names_object(value: Any, parameter: inspect.Parameter) -> bool:
    """Whether a text stands for a function or a class: it looks like one's path, and the argument takes no text."""
    if not (isinstance(value, str) and _DOTTED.fullmatch(value)):
        return False
    hint = parameter.annotation
    if isinstance(hint, str):
        return "str" not in hint and ("Callable" in hint or "type[" in hint.lower())
    return str not in (hint, *get_args(hint)) and ("Callable" in str(hint) or "type[" in str(hint).lower())


def _parsed(cls: type, hparams: Mapping[str, Any], names: set[str], trusted: bool) -> dict[str, Any]:
    """The values of some arguments, made of their settings according to the annotations of ``__init__``."""
    if not names:
        return {}
    jsonargparse = require("jsonargparse", "cli", f"`{cls.__name__}`, which a command line has made,")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    skip = {name for name in parameters if name != "self" and name not in names}
    settings = {name: hparams[name] for name in names}
    try:
        parser.add_class_arguments(cls, "made", skip=skip, instantiate=False, fail_untyped=False)
        with nullcontext() if trusted else nothing_new(settings):
            config = parser.parse_object({"made": settings})
        instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
        made = instantiate(config)["made"]
    except Exception as error:  # jsonargparse raises several kinds, and classes that are made raise their own
        raise MisconfiguredType(
            f"The settings in the checkpoint do not fit `{cls.__name__}.__init__`.",
            got=str(error),
            fix=f"Pass the argument along: `{cls.__name__}.load_from_checkpoint(path, name=value)`.",
        ) from error
    return {name: made[name] for name in names}


class _Refusing(importlib.abc.MetaPathFinder):
    def __init__(self, roots: set[str]) -> None:
        self.roots = roots

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.split(".")[0] in self.roots:
            raise ImportError(f"`{fullname}` is not imported, and a file that is not trusted does not import it")


@contextmanager
def nothing_new(values: Any) -> Iterator[None]:
    """Lets nothing be imported inside the block that these values name and that is not imported already.

    Args:
        values: A nest of plain data.
    """
    finder = _Refusing(set(_roots(values)) - {"torch"})
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _roots(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _ROOT.findall(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _roots(key)
            yield from _roots(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _roots(item)
