"""Hyper-parameters: the arguments of ``__init__``, found where they were given, and a dictionary to keep them in."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import inspect
import pickle
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from types import FrameType
from typing import Any

from torch import nn

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_warn


class AttributeDict(dict[str, Any]):
    """A dictionary whose keys are attributes too.

    Example:
        >>> hparams = AttributeDict(lr=0.1)
        >>> hparams.layers = 2
        >>> hparams
        "layers": 2
        "lr":     0.1
    """

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{key}'") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __delattr__(self, key: str) -> None:
        try:
            del self[key]
        except KeyError:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{key}'") from None

    def __repr__(self) -> str:
        width = max((len(str(key)) for key in self), default=0) + 3
        return "\n".join(f"{f'{chr(34)}{key}{chr(34)}:':<{width}} {self[key]}" for key in sorted(self, key=str))


def is_picklable(obj: object) -> bool:
    """Whether an object can be pickled."""
    try:
        pickle.dumps(obj)
        return True
    except (pickle.PickleError, AttributeError, RuntimeError, TypeError):
        return False


def clean_namespace(hparams: MutableMapping[str, Any]) -> None:
    """Removes, with a warning, what cannot be pickled.

    Args:
        hparams: Hyper-parameters by name; changed in place.
    """
    for name in [name for name, value in hparams.items() if not is_picklable(value)]:
        rank_zero_warn(
            f"The hyper-parameter `{name}` was removed because it cannot be pickled. To say so yourself: "
            f"`self.save_hyperparameters(ignore=['{name}'])`."
        )
        del hparams[name]


def str_to_bool(val: str) -> bool:
    """Reads a yes or no, as command lines and environment variables spell it.

    Args:
        val: ``y``, ``yes``, ``t``, ``true``, ``on``, ``1`` or their opposites, in any case.

    Returns:
        The answer.

    Raises:
        ValueError: If it is neither.
    """
    if val.lower() in ("y", "yes", "t", "true", "on", "1"):
        return True
    if val.lower() in ("n", "no", "f", "false", "off", "0"):
        return False
    raise ValueError(f"{val!r} is neither yes nor no.\nWhat to do: Write `true` or `false`.")


def parse_class_init_keys(cls: type) -> tuple[str, str | None, str | None]:
    """What a class's ``__init__`` calls its instance, its ``*args`` and its ``**kwargs``.

    Args:
        cls: The class.

    Returns:
        The three names; None for one that is not there.
    """
    parameters = list(inspect.signature(cls.__init__).parameters.values())  # type: ignore[misc]
    rest = {parameter.kind: parameter.name for parameter in parameters[1:]}
    return (
        parameters[0].name,
        rest.get(inspect.Parameter.VAR_POSITIONAL),
        rest.get(inspect.Parameter.VAR_KEYWORD),
    )


def get_init_args(frame: FrameType) -> dict[str, Any]:
    """The arguments of the ``__init__`` that a frame runs.

    Args:
        frame: A frame of an ``__init__``.

    Returns:
        The arguments by name, as they are in the frame by now, those of ``**kwargs`` among them; empty where the
        frame runs something else.
    """
    _, arguments = _instance_and_arguments(frame)
    return arguments


def collect_init_args(
    frame: FrameType, path_args: list[dict[str, Any]], inside: bool = False, classes: tuple[type, ...] = ()
) -> list[dict[str, Any]]:
    """The arguments of every ``__init__`` that is making one object, from a frame outwards to its subclasses'.

    Args:
        frame: Where to start; frames of other functions in between are passed over.
        path_args: What was collected before; the result starts with it.
        inside: Not needed any more, as the frames of other objects are told apart by the object itself.
        classes: The object must be an instance of one of these, if any are given.

    Returns:
        One dictionary for each ``__init__``, the innermost first.
    """
    owner: Any = None
    found = []
    for instance, arguments in _init_frames(frame):
        if owner is None and (not classes or isinstance(instance, classes)):
            owner = instance
        if owner is not None and instance is owner:
            found.append(arguments)
    return [*path_args, *found]


def save_hyperparameters(
    obj: Any,
    *args: Any,
    ignore: Iterable[str] | str | None = None,
    frame: FrameType | None = None,
    given_hparams: Mapping[str, Any] | None = None,
) -> None:
    """Saves arguments of ``__init__`` as an object's hyper-parameters.

    See :meth:`fulmen.core.hparams.HyperparametersMixin.save_hyperparameters`, which calls it.

    Args:
        obj: The object, with the methods of ``HyperparametersMixin``.
        *args: Names of arguments, or one object that holds the hyper-parameters; all arguments where there are none.
        ignore: Names to leave out.
        frame: The frame of ``__init__``, where it is not the caller's.
        given_hparams: The arguments, where they are known and need not be looked for.
    """
    if len(args) == 1 and not isinstance(args[0], str) and not args[0]:
        return
    if given_hparams is not None:
        arguments = dict(given_hparams)
    else:
        arguments = _arguments_of(obj, frame or _caller(inspect.currentframe()))
    ignored = {ignore} if isinstance(ignore, str) else set(ignore or ())
    arguments = {name: value for name, value in arguments.items() if name not in ignored}
    from fulmen.utilities.given import given_for  # a Trainer alone has no use for it

    given = given_for(obj)
    if given is not None:
        arguments = given.stored(arguments)
    hparams, obj._hparams_name = _choose(obj, args, arguments)
    if given is not None and obj._hparams_name == "kwargs":
        obj._hparams_marks, obj._hparams_left = given.marks(), given.nameless(hparams)
    if ignored:
        hparams = copy.copy(hparams)  # the names go from what is kept, not from the object that was handed over
    obj._set_hparams(hparams)
    obj.remove_ignored_hparams(ignored)
    for name, value in obj._hparams.items():
        if isinstance(value, nn.Module):
            rank_zero_warn(
                f"The hyper-parameter `{name}` is an `nn.Module`: a checkpoint holds its weights anyway, and a safe "
                f"load does not read the object. Leave it out: `self.save_hyperparameters(ignore=['{name}'])`."
            )
    obj._keep_initial_hparams()


def _choose(obj: Any, args: tuple[Any, ...], arguments: dict[str, Any]) -> tuple[Any, str | None]:
    """The hyper-parameters that a call asks for, and the argument that holds them (``"kwargs"``: each is its own)."""
    if not args:
        return arguments, "kwargs" if arguments else None
    holders = [arg for arg in args if not isinstance(arg, str)]
    names = [arg for arg in args if isinstance(arg, str)]
    if len(holders) == 1:
        holder = holders[0]
        if names:
            rank_zero_warn(
                f"`save_hyperparameters` got an object and names: it saves the object alone, without {names}. "
                "Call it once for the object and once for the names."
            )
        return holder, next((name for name, value in arguments.items() if _same(value, holder)), None)
    if holders:
        rank_zero_warn(
            f"`save_hyperparameters` got {len(holders)} objects and saves none of them. Call it once for each."
        )
    for name in names:
        if name not in arguments:
            from fulmen.utilities.suggest import did_you_mean

            raise MisconfigurationException(
                "`save_hyperparameters` takes names of arguments of `__init__`, of those that are not ignored.",
                got=f"{name!r}, where `{type(obj).__name__}.__init__` has {sorted(arguments)}",
                fix=did_you_mean(name, arguments) or "Name one of those, or nothing at all to save every argument.",
            )
    return {name: arguments[name] for name in names}, "kwargs"


def _same(value: Any, holder: Any) -> bool:
    """Whether an argument is the object that was handed over, or what it was copied from."""
    comparable = (Mapping, argparse.Namespace)
    if value is holder or not (isinstance(value, comparable) and isinstance(holder, comparable)):
        return value is holder
    try:
        return bool(value == holder)
    except (RuntimeError, ValueError):  # tensors and arrays do not compare to one truth
        return False


def _arguments_of(obj: Any, frame: FrameType | None) -> dict[str, Any]:
    """The arguments that `obj` was made with: a subclass's value stands before that of its base."""
    if dataclasses.is_dataclass(obj):
        return {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj) if field.init}
    arguments: dict[str, Any] = {}
    for instance, found in _init_frames(frame):
        if instance is obj:
            arguments.update(found)
    return arguments


def _init_frames(frame: FrameType | None) -> Iterator[tuple[Any, dict[str, Any]]]:
    while frame is not None:
        if frame.f_code.co_name == "__init__" and frame.f_code.co_argcount:
            yield _instance_and_arguments(frame)
        frame = frame.f_back


def is_being_made(obj: object, frame: FrameType | None) -> bool:
    """Whether a frame, or one further out, runs an ``__init__`` of an object.

    Args:
        obj: The object.
        frame: Where to start.
    """
    return any(instance is obj for instance, _ in _init_frames(frame))


def _instance_and_arguments(frame: FrameType) -> tuple[Any, dict[str, Any]]:
    if frame.f_code.co_name != "__init__":
        return None, {}
    names, _, rest, values = inspect.getargvalues(frame)
    if not names:
        return None, {}
    arguments = {name: values[name] for name in names[1:] if name in values}
    arguments.update(values.get(rest, {}) if rest else {})
    return values.get(names[0]), arguments


def _caller(frame: FrameType | None) -> FrameType | None:
    return frame.f_back if frame is not None else None


def lightning_hasattr(model: Any, attribute: str) -> bool:
    """Whether the model, its hyper-parameters, or the data module of its run has an attribute."""
    return bool(_holders(model, attribute))


def lightning_getattr(model: Any, attribute: str) -> Any:
    """An attribute of the model, its hyper-parameters, or the data module of its run: the last of them that has it.

    Args:
        model: The module.
        attribute: The name.

    Returns:
        The value.

    Raises:
        AttributeError: If none has it.
    """
    holder = _some_holder(model, attribute)[-1]
    return holder[attribute] if isinstance(holder, Mapping) else getattr(holder, attribute)


def lightning_setattr(model: Any, attribute: str, value: Any) -> None:
    """Sets an attribute on all of the model, its hyper-parameters and the data module of its run that have it.

    Args:
        model: The module.
        attribute: The name.
        value: The new value.

    Raises:
        AttributeError: If none has it.
    """
    for holder in _some_holder(model, attribute):
        if isinstance(holder, MutableMapping):
            holder[attribute] = value
        else:
            setattr(holder, attribute, value)


def _some_holder(model: Any, attribute: str) -> list[Any]:
    holders = _holders(model, attribute)
    if not holders:
        raise AttributeError(
            f"`{attribute}` is no attribute of the model, and not among its hyper-parameters or its data module's.\n"
            f"What to do: Write `self.{attribute} = ...` in `__init__`, or `self.save_hyperparameters()` where it is "
            "an argument."
        )
    return holders


def _holders(model: Any, attribute: str) -> list[Any]:
    owners = [model, getattr(getattr(model, "_trainer", None), "datamodule", None)]
    holders = []
    for owner in owners:
        if owner is None:
            continue
        if hasattr(owner, attribute):
            holders.append(owner)
        hparams = getattr(owner, "hparams", None)
        if isinstance(hparams, Mapping) and attribute in hparams:
            holders.append(hparams)
    return holders
