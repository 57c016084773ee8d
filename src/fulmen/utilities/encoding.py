"""Values on their way into a checkpoint: each part as plain data, as a form, as a pickle, or refused."""

from __future__ import annotations

import io
import operator
from collections import Counter, OrderedDict
from typing import Any

import torch

from fulmen.utilities.codec_classes import class_form
from fulmen.utilities.codec_values import WRITE, Form, by_name, numpy_form
from fulmen.utilities.foreign import FOREIGN
from fulmen.utilities.parsing import AttributeDict
from fulmen.utilities.places import ATTRIBUTES, KEY, MEMBER, Place, render
from fulmen.utilities.rank_zero import warn_once
from fulmen.utilities.unresolved import Unresolved

TAG = "__fulmen__"
MAPPINGS = {dict, OrderedDict, Counter, AttributeDict}
# Exact types: a subclass is stored by the name of its class, which a safe load refuses.
_PLAIN = {
    type(None), bool, int, float, complex, str, bytearray,
    torch.Tensor, torch.nn.Parameter, torch.Size, torch.dtype, torch.device, torch.layout,
}  # fmt: skip
_SIMPLE = {type(None), bool, int, float, str}
_TENSORS = (torch.Tensor, torch.nn.Parameter)
_LONG = 2032  # bits of the longest number that a safe load reads


class Stored(dict[str, Any]):
    """A form: known as one, so that it is not encoded again; in a file it is an ``OrderedDict``."""

    def __reduce__(self) -> Any:
        return OrderedDict, (), None, None, iter(self.items())

    def __deepcopy__(self, memo: Any) -> Stored:
        return self

    __copy__ = copy = lambda self: self  # nobody changes one


class Encoder:
    """One pass over a value: a part that is met twice is encoded once, and one that holds itself is refused.

    Attributes:
        refused: Names and types of what cannot be stored.
        pickled: Names and types of what is stored as a pickle.
    """

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.pickled: list[str] = []
        self._done: dict[int, tuple[Any, Any]] = {}
        self._open: set[int] = set()

    def encode(self, value: Any, path: Place) -> Any:
        """The stored form of a part.

        Args:
            value: The part.
            path: Where it lies; see :func:`render`.

        Returns:
            The form, which is the part itself if that is plain.
        """
        kind = type(value)
        if kind in _PLAIN:
            if kind is int and value.bit_length() > _LONG:
                return Stored({TAG: "int", "value": hex(value)})
            return self._bare(value, path) if kind in _TENSORS and value.__dict__ else value
        if kind is Stored:
            return value
        if kind is Unresolved:
            return Stored(value._stored)
        known = self._done.get(id(value))
        if known is not None:
            return known[1]
        if id(value) in self._open:
            return self._refuse(value, path, "which holds itself")
        self._open.add(id(value))
        try:
            stored = self._form(value, kind, path)
        except RecursionError:
            stored = self._refuse(value, path, "nested too deep")
        finally:
            self._open.discard(id(value))
        self._done[id(value)] = (value, stored)  # with the value, whose id is not to be given to another one
        return stored

    def pairs(self, value: Any, path: Place) -> list[list[Any]]:
        """The keys and values of a mapping, encoded."""
        return [[self.encode(key, (path, KEY)), self.encode(item, (path, key))] for key, item in value.items()]

    def _form(self, value: Any, kind: Any, path: Place) -> Any:
        if kind in MAPPINGS:
            return self._mapping(value, kind, path)
        if kind is list or kind is tuple:
            if _is_simple(value):  # such as the order of a million samples
                return value
            items = [self.encode(item, (path, index)) for index, item in enumerate(value)]
            return value if all(map(operator.is_, items, value)) else kind(items)
        if kind is set:
            items = [self.encode(item, (path, MEMBER)) for item in value]
            return value if all(map(operator.is_, items, value)) else Stored({TAG: "set", "value": items})
        if kind in torch.serialization.get_safe_globals():
            return value
        write = WRITE.get(kind)
        if write is not None:
            form: Form | None = write(self, value, path)
        elif kind.__name__ == "AttributeDict" and kind.__module__.split(".")[0] in FOREIGN:
            form = {"kind": "dict", "of": "AttributeDict", "value": self.pairs(value, path)}
        else:
            form = class_form(self, value, path) or numpy_form(self, value, path) or by_name(self, value, path)
        if form is None:
            return self._pickle(value, path)
        return Stored({TAG: form.pop("kind"), **form})

    def _mapping(self, value: Any, kind: type, path: Place) -> Any:
        if kind is AttributeDict or TAG in value or not all(self._is_plain_key(key, path) for key in value):
            return Stored({TAG: "dict", "of": kind.__name__, "value": self.pairs(value, path)})
        items = {key: self.encode(item, (path, key)) for key, item in value.items()}
        same = all(map(operator.is_, items.values(), value.values()))
        # a module's `state_dict` has versions as an attribute
        extra = vars(value) if kind is OrderedDict else {}
        stored_extra = self.encode(extra, (path, ATTRIBUTES)) if extra else extra
        if same and stored_extra is extra:
            return value
        new: Any = kind(items)
        if stored_extra:
            vars(new).update(stored_extra)
        return new

    def _is_plain_key(self, key: Any, path: Place) -> bool:
        return type(key) is str or self.encode(key, (path, KEY)) is key

    def _bare(self, tensor: torch.Tensor, path: Place) -> torch.Tensor:
        """A tensor without attributes that are no plain data."""
        attributes = vars(tensor)
        encoder = Encoder()
        if all(encoder.encode(item, path) is item for item in attributes.values()):
            return tensor
        warn_once(f"The attributes {sorted(attributes)} of the tensor `{render(path)}` are no data and were not saved.")
        return tensor.detach()

    def _pickle(self, value: Any, path: Place) -> Any:
        buffer = io.BytesIO()
        try:
            torch.save(value, buffer)
        except Exception:  # whatever a foreign `__reduce__` raises
            return self._refuse(value, path)
        text = type_name(type(value))
        self.pickled.append(f"{render(path)} ({text})")
        content = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
        return Stored({TAG: "pickled", "type": text, "value": content})

    def _refuse(self, value: Any, path: Place, why: str = "") -> Stored:
        text = type_name(type(value))
        self.refused.append(f"{render(path)} ({text}{', ' if why else ''}{why})")
        return Stored({TAG: "refused", "type": text})


def _is_simple(values: Any) -> bool:
    kinds = set(map(type, values))
    return kinds <= _SIMPLE and (int not in kinds or all(type(v) is not int or v.bit_length() <= _LONG for v in values))


def type_name(kind: type) -> str:
    """A type's name for messages."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
