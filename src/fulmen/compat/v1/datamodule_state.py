"""``LightningDataModule`` of 1.5: transforms and dimensions, and what of it was called already."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fulmen.compat.v1.hints import hint

_CALLS = ("prepare_data", "setup", "teardown")
_STAGES = ("fit", "validate", "test", "predict")
ATTRIBUTES = ("train_transforms", "val_transforms", "test_transforms", "dims")
CALLED = ("has_prepared_data", *(f"has_{name}_{stage}" for name in ("setup", "teardown") for stage in _STAGES))


class Attribute:
    """An attribute that is None until somebody sets it."""

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else None


class Called:
    """Whether a method was called.

    Args:
        name: The name of the attribute.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        hint(f"`LightningDataModule.{self.name}`", "an attribute of your own, set in `prepare_data` or `setup`.")
        return self.name in instance.__dict__.get("_former_calls", ())


def size(self: Any, dim: int | None = None) -> Any:
    """The dimensions of a sample, or one of them.

    Args:
        self: The data module.
        dim: Which one; None for all.
    """
    hint("`LightningDataModule.size`", "`self.dims`, an attribute of your own.")
    return self.dims if dim is None else self.dims[dim]


def add_state(words: type) -> type:
    """Decorates the class of words for data modules: adds the names of 1.5.

    Args:
        words: The class.
    """
    for name in ATTRIBUTES:
        setattr(words, name, Attribute())
    for name in CALLED:
        setattr(words, name, Called(name))
    words.size = size  # type: ignore[attr-defined]
    return words


def begin(datamodule: Any, transforms: dict[str, Any]) -> None:
    """What ``__init__`` does of it.

    Args:
        datamodule: The data module.
        transforms: What it was given, by the names of the attributes.
    """
    given = {name: value for name, value in transforms.items() if value is not None}
    if given:
        hint("`LightningDataModule(train_transforms=..., dims=...)`", "attributes of your own, set in `__init__`.")
        datamodule.__dict__.update(given)
    for base in type(datamodule).__mro__:
        if not base.__module__.startswith("fulmen."):
            for name in _CALLS:
                method = vars(base).get(name)
                if callable(method) and not hasattr(method, "_tracked"):
                    setattr(base, name, _tracked(name, method))


def _tracked(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that takes note of its calls, as those of data modules did in 1.5."""

    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        known = self.__dict__.setdefault("_former_calls", [])
        if name == "prepare_data":
            known.append("has_prepared_data")
        else:
            stage = kwargs.get("stage", args[0] if args else None)
            stages = _STAGES if stage is None else (str(getattr(stage, "value", stage)),)
            known += [word for one in stages if (word := f"has_{name}_{one}") not in known]
        return method(self, *args, **kwargs)

    called._tracked = True  # type: ignore[attr-defined]
    return called
