"""Questions about models: what their class overrides, and what torchvision has of them."""

from __future__ import annotations

from typing import Any

from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.imports import require

# What users subclass, by module and name: this lies below all of them, and imports none.
_BASES = (
    ("fulmen.core.module", "LightningModule"),
    ("fulmen.core.datamodule", "LightningDataModule"),
    ("fulmen.callbacks.callback", "Callback"),
)


def base_of(instance: object) -> type | None:
    """The class of Fulmen that an object's class extends: a module's, data module's or callback's."""
    return next((cls for cls in type(instance).__mro__ if (cls.__module__, cls.__qualname__) in _BASES), None)


def is_overridden(method_name: str, instance: object | None = None, parent: type[object] | None = None) -> bool:
    """Whether an object has a method of its own.

    Args:
        method_name: The name of the method.
        instance: The object.
        parent: The class whose method does not count; None for the one of ``LightningModule``,
            ``LightningDataModule`` and ``Callback`` that the object belongs to.

    Returns:
        False also where there is no object, or either of the two has no such method.

    Raises:
        MisconfiguredValue: If the object belongs to none of them.
    """
    if instance is None:
        return False
    if parent is None:
        parent = base_of(instance)
        if parent is None:
            raise MisconfiguredValue(
                "`is_overridden` compares with a parent, and knows that of modules, data modules and callbacks alone.",
                got=type(instance).__name__,
                fix="Pass `parent=` the class whose method does not count.",
            )
    own, theirs = getattr(instance, method_name, None), getattr(parent, method_name, None)
    if own is None or theirs is None:
        return False
    return getattr(own, "__func__", own) is not getattr(theirs, "__func__", theirs)


def get_torchvision_model(model_name: str, **kwargs: Any) -> Any:
    """A model of torchvision's, by its name.

    Args:
        model_name: Such as ``"resnet18"``.
        **kwargs: For the model.
    """
    return require("torchvision.models", "vision", "`get_torchvision_model`").get_model(model_name, **kwargs)
