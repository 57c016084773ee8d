"""Making a DataLoader again with another sampler."""

from __future__ import annotations

import inspect
from typing import Any

from torch.utils.data import DataLoader, Sampler

from fulmen.utilities.exceptions import MisconfigurationException

_KINDS = inspect.Parameter
_OWN = frozenset(inspect.signature(DataLoader.__init__).parameters) - {"self"}


def with_sampler(loader: DataLoader[Any], sampler: Sampler[int]) -> DataLoader[Any]:
    """Makes a loader that differs from another in its sampler alone.

    A subclass is made again from its attributes: each argument of its ``__init__`` must be an attribute of the same
    name, or have a default.

    Args:
        loader: The loader to go by; it is left as it is.
        sampler: The sampler of the new one.

    Returns:
        A new loader of the same class.

    Raises:
        MisconfigurationException: If the class takes arguments that the loader does not keep, or no sampler.
    """
    replaced = {"sampler": sampler, "shuffle": False, "batch_sampler": None}
    if loader.batch_size is None and loader.batch_sampler is not None:
        # A custom batch sampler keeps the size of its batches to itself.
        replaced.update(batch_size=getattr(loader.batch_sampler, "batch_size", 1))
        replaced.update(drop_last=getattr(loader.batch_sampler, "drop_last", False))
    if type(loader) is DataLoader:
        return DataLoader(**{**{name: getattr(loader, name) for name in _OWN - replaced.keys()}, **replaced})
    return type(loader)(**_arguments(loader, replaced))


def _arguments(loader: DataLoader[Any], replaced: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    missing = []
    takes_rest = False
    for name, parameter in inspect.signature(type(loader).__init__).parameters.items():
        if parameter.kind in (_KINDS.VAR_KEYWORD, _KINDS.VAR_POSITIONAL):
            takes_rest |= parameter.kind is _KINDS.VAR_KEYWORD
        elif name in replaced:
            arguments[name] = replaced[name]
        elif hasattr(loader, name):
            arguments[name] = getattr(loader, name)
        elif parameter.default is _KINDS.empty and name != "self":
            missing.append(name)
    arguments.pop("self", None)
    if takes_rest:
        rest = _OWN - arguments.keys()
        arguments.update({name: replaced[name] if name in replaced else getattr(loader, name) for name in rest})
    if missing or "sampler" not in arguments:
        kind = type(loader).__name__
        lack = f"keeps no {', '.join(f'`self.{name}`' for name in missing)}" if missing else "takes no `sampler`"
        raise MisconfigurationException(
            f"The sampler of a `{kind}` must be replaced, for which the loader is made again from its attributes.",
            got=f"a `{kind}` that {lack}",
            fix=f"Keep each argument of `{kind}.__init__` as an attribute of the same name and hand `sampler` on to "
            "`DataLoader.__init__`, or pass a loader that does not shuffle.",
        )
    return arguments
