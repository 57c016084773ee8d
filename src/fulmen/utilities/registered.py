"""The names that a checkpoint may hold, and what each stands for: found without importing and without running code."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar, overload

import torch

from fulmen.utilities.exceptions import MisconfiguredType, MisconfiguredValue

T = TypeVar("T")

NOTHING = object()
_TYPE_DICT: Any = type.__dict__["__dict__"]
_TYPE_MRO: Any = type.__dict__["__mro__"]
_MODULE_DICT: Any = vars(ModuleType)["__dict__"]
_own: dict[str, Any] = {}
_own_names: dict[int, str] = {}

# Called with data alone, each of these computes something and does nothing else.
_BUILTINS = (
    bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, range, slice,
    abs, len, max, min, round, sum,
)  # fmt: skip
_TORCH = "abs celu cos erf exp log relu selu sigmoid sin softmax sqrt square tanh"
_FUNCTIONAL = (
    "binary_cross_entropy binary_cross_entropy_with_logits celu cosine_similarity cross_entropy dropout elu gelu glu "
    "hardsigmoid hardswish hardtanh hinge_embedding_loss huber_loss kl_div l1_loss leaky_relu log_softmax logsigmoid "
    "margin_ranking_loss mish mse_loss nll_loss normalize one_hot pad poisson_nll_loss relu relu6 selu sigmoid silu "
    "smooth_l1_loss softmax softmin softplus softsign tanh tanhshrink"
)
_NUMPY = "bool_ float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 complex64 complex128"


@overload
def register(obj: T) -> T: ...
@overload
def register(obj: None = None, *, name: str | None = None) -> Callable[[T], T]: ...
@overload
def register(obj: T, *, name: str | None = None) -> T: ...
def register(obj: Any = None, *, name: str | None = None) -> Any:
    """Lets checkpoints hold a class or a function by its name.

    A registered class may be a hyper-parameter, and a registered function too, or the one that a
    ``functools.partial`` calls. Whoever uses what was loaded may then call it with data that the file holds: register
    what does no harm whatever it is called with.

    Args:
        obj: The class or function.
        name: What checkpoints call it; its module and name where there is none.

    Returns:
        The same object; used as a decorator with `name` alone, the decorator.

    Raises:
        MisconfiguredType: If it cannot be called.
        MisconfiguredValue: If something else has this name.

    Example:
        >>> @register
        ... def warmup(step, steps=100):
        ...     return min(1.0, step / steps)
    """
    if obj is None:
        return functools.partial(register, name=name)
    if not callable(obj) or (name is None and not hasattr(obj, "__qualname__")):
        raise MisconfiguredType(
            "`register` takes a class or a function.",
            got=obj,
            fix="Data needs no registration; give a callable object a name: `register(obj, name='...')`.",
        )
    chosen = name if name is not None else f"{obj.__module__}:{obj.__qualname__}"
    before = _own.get(chosen, obj)
    if before is not obj and _origin(before) != _origin(obj):
        raise MisconfiguredValue(
            "A name in checkpoints stands for one class or function.",
            got=f"{chosen!r} for {obj!r}, and before for {before!r}",
            fix="Choose another name: `register(obj, name='...')`.",
        )
    _own[chosen] = obj  # a cell that runs again, or a module that is reloaded, brings the newer one
    _own_names[id(obj)] = chosen
    return obj


def _origin(obj: Any) -> Any:
    return getattr(obj, "__module__", None), getattr(obj, "__qualname__", id(obj))


@functools.cache
def _common() -> tuple[dict[str, Any], dict[int, str]]:
    from torch import nn, optim
    from torch.nn import functional

    found: dict[str, Any] = {f"builtins:{value.__name__}": value for value in _BUILTINS}
    found.update((f"torch:{name}", getattr(torch, name)) for name in _TORCH.split())
    found.update((f"torch.nn.functional:{name}", getattr(functional, name)) for name in _FUNCTIONAL.split())
    for place, home, base in (
        (nn, "torch.nn.modules.", nn.Module),
        (optim, "torch.optim.", optim.Optimizer),
        (optim.lr_scheduler, "torch.optim.lr_scheduler", optim.lr_scheduler.LRScheduler),
    ):
        for name, value in vars(place).items():
            inside = isinstance(value, type) and issubclass(value, base) and value.__module__.startswith(home)
            if inside and not name.startswith("_"):
                found[f"{place.__name__}:{name}"] = value
    if "numpy" in sys.modules:
        found.update((f"numpy:{name}", getattr(sys.modules["numpy"], name)) for name in _NUMPY.split())
    return found, {id(value): name for name, value in found.items()}


def registered_name(obj: Any) -> str | None:
    """The name under which a class or function is registered, or was from the start, if it is."""
    return _own_names.get(id(obj)) or _common()[1].get(id(obj))


def registered(name: str) -> Any:
    """What is registered under a name; ``NOTHING`` if nothing is."""
    return _own[name] if name in _own else _common()[0].get(name, NOTHING)


def bases(cls: type) -> tuple[type, ...]:
    """A class and its bases, whatever its metaclass says."""
    found: tuple[type, ...] = _TYPE_MRO.__get__(cls)
    return found


def own(cls: type) -> Any:
    """What a class itself defines, whatever its metaclass says."""
    return _TYPE_DICT.__get__(cls)


def static(cls: type, name: str) -> Any:
    """A class's attribute as it was written down, found without descriptors; ``NOTHING`` if there is none."""
    return next((own(base)[name] for base in bases(cls) if name in own(base)), NOTHING)


def is_class(obj: Any) -> bool:
    """Whether an object is a class, without asking it."""
    return type in bases(type(obj))


def imported(name: str) -> type | None:
    """A class by ``module:name``, if its module is imported by now; nothing is imported and no code runs.

    Args:
        name: The module, a colon, and the class, inside of which classes it may lie.

    Returns:
        The class; None if it is not there.
    """
    place, _, path = name.partition(":")
    module = sys.modules.get(place)
    if not path or ModuleType not in bases(type(module)):
        return None
    first, *inner = path.split(".")
    found = _MODULE_DICT.__get__(module).get(first)
    for part in inner:
        found = own(found).get(part) if is_class(found) else None
    return found if is_class(found) else None


def class_named(name: str) -> type | None:
    """The class that is registered under a name, or already imported; None if there is none."""
    found = registered(name)
    return found if is_class(found) else imported(name)


def name_of(cls: type) -> str | None:
    """The name by which a class can be found again; None if there is none, as for a class made in a function."""
    known = registered_name(cls)
    if known is not None:
        return known
    name = f"{cls.__module__}:{cls.__qualname__}"
    return name if class_named(name) is cls else None


def import_named(name: str) -> Any:
    """What a name stands for, imported if need be: for files that the user trusts."""
    found = registered(name)
    if found is NOTHING:
        place, _, path = name.partition(":")
        found = functools.reduce(getattr, path.split("."), importlib.import_module(place))
    return found
