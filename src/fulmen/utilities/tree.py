"""Walking nested collections: batches, outputs, loaders."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def _is_namedtuple(data: object) -> bool:
    return isinstance(data, tuple) and hasattr(data, "_fields")


def apply_to_collection(
    data: Any, dtype: type | tuple[type, ...], function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Applies a function to every leaf of a type, and rebuilds the collection around the results.

    Mappings, named tuples, tuples, lists and dataclass instances are walked; everything else that is not of `dtype`
    is kept as it is.

    Args:
        data: A leaf or a nest of them.
        dtype: The type, or types, of leaf that `function` is for.
        function: Called as ``function(leaf, *args, **kwargs)``.
        *args: Handed on to `function`.
        **kwargs: Handed on to `function`.

    Returns:
        The same shape with the results in place of the leaves.
    """
    if isinstance(data, dtype):
        return function(data, *args, **kwargs)
    if isinstance(data, Mapping):
        items = {key: apply_to_collection(value, dtype, function, *args, **kwargs) for key, value in data.items()}
        if type(data) is dict:
            return items
        try:
            twin = data.copy()  # type: ignore[attr-defined]
            twin.update(items)
            return twin
        except (AttributeError, TypeError):
            return items
    if _is_namedtuple(data):
        return type(data)(*(apply_to_collection(value, dtype, function, *args, **kwargs) for value in data))
    if isinstance(data, (list, tuple)):
        return type(data)([apply_to_collection(value, dtype, function, *args, **kwargs) for value in data])
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        rebuilt = copy.copy(data)  # not `replace`, which would run `__post_init__` again
        for field in dataclasses.fields(data):
            if hasattr(data, field.name):
                value = apply_to_collection(getattr(data, field.name), dtype, function, *args, **kwargs)
                object.__setattr__(rebuilt, field.name, value)
        return rebuilt
    return data


def leaves(data: Any) -> Iterator[Any]:
    """Every leaf of a nest of mappings, sequences and dataclasses, in order."""
    if isinstance(data, Mapping):
        for value in data.values():
            yield from leaves(value)
    elif isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        for value in data:
            yield from leaves(value)
    elif dataclasses.is_dataclass(data) and not isinstance(data, type):
        for field in dataclasses.fields(data):
            yield from leaves(getattr(data, field.name))
    else:
        yield data


def move_data_to_device(batch: Any, device: torch.device | str | int) -> Any:
    """Moves every tensor of a batch, and everything else that has a method ``to(device)``.

    Copies from the host to a device do not block: they are ordered before the work that uses them.

    Args:
        batch: A tensor, an object with ``.to``, or a nest of them.
        device: Where to.

    Returns:
        The batch on the device.
    """
    target = torch.device(device)

    def move(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.to(target, non_blocking=target.type not in ("cpu", "mps"))
        moved = leaf.to(target)
        return leaf if moved is None else moved

    return apply_to_collection(batch, _Movable, move)


class _MovableMeta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) or (
            callable(getattr(instance, "to", None)) and not isinstance(instance, type)
        )


class _Movable(metaclass=_MovableMeta):
    """Anything with a method ``to``."""


def batch_size_of(batch: Any) -> int | None:
    """The length of the first tensor in a batch, which is the batch size by convention.

    Args:
        batch: A tensor or a nest of them.

    Returns:
        The length of dimension 0 of the first tensor that has one, 1 for a batch of scalars, None where the batch
        holds no tensor.
    """
    scalar = None
    for leaf in leaves(batch):
        if isinstance(leaf, Tensor):
            if leaf.ndim > 0:
                return leaf.shape[0]
            scalar = 1
    return scalar
