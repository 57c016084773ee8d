"""Modules that ``torch.compile`` was called on, and back."""

from __future__ import annotations

from typing import Any

from torch import nn

from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.model_helpers import base_of, is_overridden

_STEPS = ("training_step", "validation_step", "test_step", "predict_step")


def from_compiled(model: Any) -> Any:
    """The module behind a compiled one, with ``forward`` and the steps that it has compiled in the same way.

    A Trainer takes what ``torch.compile`` returns, so this is for those who want the module itself.

    Args:
        model: What ``torch.compile(module)`` returned.

    Returns:
        The module.

    Raises:
        MisconfiguredValue: If it is something else.
    """
    module = getattr(model, "_orig_mod", None)
    if not isinstance(model, nn.Module) or module is None:
        raise MisconfiguredValue(
            "`from_compiled` takes what `torch.compile` returned.",
            got=type(model).__name__,
            fix="`from_compiled(torch.compile(module))`.",
        )
    if not _is_module(module):
        raise MisconfiguredValue(
            "`from_compiled` takes a compiled `LightningModule`.",
            got=type(module).__name__,
            fix="Compile the LightningModule; another module can be used as `torch.compile` returns it.",
        )
    compiler: Any = vars(model)["dynamo_ctx"]
    names = ["forward", *(name for name in _STEPS if is_overridden(name, module))]
    originals = {f"original_{name}": getattr(module, name) for name in names}
    module._compiler_ctx = {"compiler": "dynamo", "dynamo_ctx": compiler, **originals}
    for name in names:
        setattr(module, name, compiler(getattr(module, name)))
    return module


def to_uncompiled(model: Any) -> Any:
    """The module as it was before it was compiled.

    Args:
        model: What ``torch.compile`` or :func:`from_compiled` returned.

    Returns:
        The module.

    Raises:
        MisconfiguredValue: If it is something else.
    """
    module = getattr(model, "_orig_mod", model)
    if not _is_module(module):
        raise MisconfiguredValue(
            "`to_uncompiled` takes a compiled `LightningModule`.",
            got=type(module).__name__,
            fix="Pass what `torch.compile(module)` or `from_compiled` returned.",
        )
    context = getattr(module, "_compiler_ctx", None)
    if context is None and module is model:
        raise MisconfiguredValue(
            "`to_uncompiled` takes a compiled module, and this one is not.",
            got=type(module).__name__,
            fix="Use the module itself.",
        )
    for name in ("forward", *_STEPS):
        if context is not None and f"original_{name}" in context:
            original = context[f"original_{name}"]
            if getattr(original, "__func__", None) is getattr(type(module), name, None):
                vars(module).pop(name, None)
            else:  # the module had one of its own, beside its class's
                setattr(module, name, original)
    module._compiler_ctx = None
    return module


def _is_module(obj: Any) -> bool:
    base = base_of(obj)
    return base is not None and issubclass(base, nn.Module)
