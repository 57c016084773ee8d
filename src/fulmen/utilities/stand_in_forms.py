"""Stand-ins in what was read, as forms: plain data that says what each was, of which a decoder makes what it can."""

from __future__ import annotations

import argparse
import enum
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import torch

from fulmen.utilities.codec_values import Form
from fulmen.utilities.encoding import TAG, Stored
from fulmen.utilities.foreign import MARK
from fulmen.utilities.registered import NOTHING, bases, class_named, own, registered, registered_name, static
from fulmen.utilities.stand_ins import StandIn

_FACTORIES = ("numpy.core.multiarray", "numpy._core.multiarray")


def form_all(found: Any) -> Any:
    """A checkpoint that was read, with a form in place of each stand-in.

    Args:
        found: What was read; changed in place.

    Returns:
        The same. Callbacks, whose classes are keys in files before 1.5, are called by the names of these.
    """
    states = found.get("callbacks") if isinstance(found, dict) else None
    if isinstance(states, dict):
        found["callbacks"] = {key.__qualname__ if _is_class(key) else key: state for key, state in states.items()}
    return _Forms().value(found)


class _Forms:
    """One pass over what was read."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, Any]] = {}

    def value(self, value: Any) -> Any:
        """A value with a form in place of each stand-in; dictionaries and lists are changed in place."""
        kind = type(value)
        if id(value) in self._done:
            return self._done[id(value)][1]
        if kind in (dict, OrderedDict, Counter):
            return self._mapping(value)
        if kind is list:
            self._done[id(value)] = (value, value)
            value[:] = [self.value(item) for item in value]
            return value
        if kind is tuple:
            return tuple(self.value(item) for item in value)
        if kind is argparse.Namespace:
            return Stored({TAG: "namespace", "value": self.value(vars(value))})
        if _is_class(value):
            return Stored({TAG: "name", "name": registered_as(value.__module__, value.__qualname__)})
        if isinstance(value, StandIn):
            return self._instance(value)
        return value

    def _mapping(self, value: Any) -> Any:
        self._done[id(value)] = (value, value)
        mark = vars(value).get(MARK, "") if type(value) is OrderedDict else ""
        if mark.startswith("stand-in "):
            vars(value).pop(MARK)
            if mark.rpartition(":")[2] == "AttributeDict":
                vars(value)[MARK] = "AttributeDict"
        for key, item in list(dict.items(value)):
            value[key] = self.value(item)
        if any(_stands(key) for key in value):
            pairs = [[self.value(key), item] for key, item in value.items()]
            made = Stored({TAG: "dict", "of": "dict", "value": pairs})
            self._done[id(value)] = (value, made)
            return made
        return value

    def _instance(self, value: StandIn) -> Any:
        filled = getattr(value, "filled", None)
        if filled is not None:
            of = type(value).__qualname__
            self._done[id(value)] = (value, filled)
            made = self.value(filled)
            return Stored({TAG: "dict", "of": of, "value": list(made.items())}) if of == "AttributeDict" else made
        left = Stored({TAG: "left", "type": _name(type(value))})
        self._done[id(value)] = (value, left)
        name = _name(type(value)).replace(":", ".")
        make = _MAKE.get(name)
        form = make(self, value) if make is not None else self._known(value)
        if form is not None:
            self._done[id(value)] = (value, form)
            return form
        content = {"args": value.args, "kwargs": value.kwargs, "state": value.state}
        left["value"] = self.value({key: item for key, item in content.items() if item})
        return left

    def _known(self, value: StandIn) -> Any:
        """The form of a member of an enum or of a data class that is there."""
        name = _name(type(value))
        found = class_named(name)
        if found is None or value.kwargs:
            return None
        if enum.Enum in bases(found) and len(value.args) == 1 and type(value.args[0]) in (int, str, float, bool):
            members = own(found)["_member_map_"]
            member = next((key for key, one in members.items() if _value_of(one) == value.args[0]), None)
            return None if member is None else Stored({TAG: "Enum", "class": name, "member": member})
        is_data = isinstance(static(found, "__dataclass_fields__"), dict) and static(found, "__setstate__") is NOTHING
        if is_data and not value.args and isinstance(value.state, dict):
            return Stored({TAG: "dataclass", "class": name, "fields": self.value(dict(value.state)), "unset": []})
        return None


def is_data(name: str) -> bool:
    """Whether plain data is made of what a file names, or something that is registered.

    Args:
        name: The module and the name in it, with dots.
    """
    if name in _MAKE or name.startswith(("numpy.", "omegaconf.", "typing.")):
        return True
    module, _, inner = name.rpartition(".")
    found = registered(registered_as(module, inner))
    return found is not NOTHING and not (isinstance(found, type) and issubclass(found, torch.nn.Module))


def _value_of(member: Any) -> Any:
    """The value of an enum's member, without a property of its class."""
    return object.__getattribute__(member, "__dict__").get("_value_", NOTHING)


def _is_class(value: Any) -> bool:
    return type(value) is type and StandIn in bases(value)


def _stands(value: Any) -> bool:
    return isinstance(value, StandIn) or _is_class(value)


def registered_as(module: str, inner: str) -> str:
    """The name under which a class or function is registered that a pickle names by the module that defines it."""
    found = vars(sys.modules[module]).get(inner) if module in sys.modules else None
    return (registered_name(found) if callable(found) else None) or f"{module}:{inner}"


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _layout(dtype: Any) -> str | None:
    """What numpy calls a dtype, of what it was pickled with."""
    if not isinstance(dtype, StandIn) or not dtype.args or not isinstance(dtype.state, tuple):
        return None
    kind, order = dtype.args[0], dtype.state[1]
    return f"{order}{kind}" if isinstance(kind, str) and order in ("<", ">", "|", "=") else None


def _array(dtype: Any, shape: Any, content: Any, scalar: bool) -> Form | None:
    layout = _layout(dtype)
    content = content.encode("latin-1") if isinstance(content, str) else content
    if layout is None or not isinstance(content, (bytes, bytearray)):
        return None
    value = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0)
    return Stored({TAG: "array", "dtype": layout, "shape": shape, "value": value, "scalar": scalar})


def _numpy_scalar(formed: _Forms, value: StandIn) -> Form | None:
    return _array(value.args[0], (), value.args[1], scalar=True) if len(value.args) == 2 else None


def _numpy_array(formed: _Forms, value: StandIn) -> Form | None:
    state = value.state
    if not isinstance(state, tuple) or len(state) != 5 or state[3]:  # by columns: nobody's hyper-parameter
        return None
    return _array(state[2], state[1], state[4], scalar=False)


def _numpy_dtype(formed: _Forms, value: StandIn) -> Form | None:
    layout = _layout(value)
    return None if layout is None else Stored({TAG: "dtype", "dtype": layout})


def _partial(formed: _Forms, value: StandIn) -> Form | None:
    state = value.state
    if not isinstance(state, tuple) or len(state) != 4 or not _is_class(state[0]):
        return None
    args, keywords = formed.value(state[1]), formed.value(state[2] or {})
    name = registered_as(state[0].__module__, state[0].__qualname__)
    return Stored({TAG: "partial", "name": name, "args": args, "keywords": keywords})


def _config(formed: _Forms, value: StandIn) -> Any:
    """The plain data of an OmegaConf object, which has its content and that of its nodes among its attributes."""
    state = value.state
    if not isinstance(state, dict):
        return None
    if "_val" in state:
        return formed.value(state["_val"])
    content = state.get("_content")
    if isinstance(content, dict):
        return {key: formed.value(item) for key, item in content.items()}
    return [formed.value(item) for item in content] if isinstance(content, list) else None


_NODES = ("Any", "String", "Integer", "Float", "Boolean", "Bytes", "Path", "Enum")
_MAKE: dict[str, Callable[[_Forms, StandIn], Any]] = {
    **{f"{home}.scalar": _numpy_scalar for home in _FACTORIES},
    **{f"{home}._reconstruct": _numpy_array for home in _FACTORIES},
    "numpy.dtype": _numpy_dtype,
    "functools.partial": _partial,
    "omegaconf.dictconfig.DictConfig": _config,
    "omegaconf.listconfig.ListConfig": _config,
    **{f"omegaconf.nodes.{kind}Node": _config for kind in _NODES},
}
