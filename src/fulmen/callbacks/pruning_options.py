"""What `ModelPruning` accepts: the method, how much, and of which parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.utils import prune

from fulmen.callbacks.pruning_masks import Part
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.suggest import did_you_mean

_METHODS: dict[str, type[prune.BasePruningMethod]] = {
    "ln_structured": prune.LnStructured,
    "l1_unstructured": prune.L1Unstructured,
    "random_structured": prune.RandomStructured,
    "random_unstructured": prune.RandomUnstructured,
}


@dataclass
class Method:
    """How to prune.

    Attributes:
        name: What reports call it.
        kind: The class of the method.
        together: Whether parameters compete with each other.
        options: Arguments of the class besides the amount.
    """

    name: str
    kind: type[prune.BasePruningMethod]
    together: bool
    options: dict[str, Any]

    @property
    def by_channels(self) -> bool:
        """Whether whole channels are pruned."""
        return kind_of(self.kind) == "structured"

    def prune(self, parts: Sequence[Part], amount: int | float) -> None:
        """Prunes parameters."""
        options = self.options
        takes = inspect.signature(self.kind).parameters.values()
        if any(parameter.name == "amount" or parameter.kind is parameter.VAR_KEYWORD for parameter in takes):
            options = {**options, "amount": amount}
        if self.together:
            prune.global_unstructured(parts, pruning_method=self.kind, **options)
            return
        for layer, name in parts:
            self.kind.apply(layer, name, **options)


def kind_of(method: type[prune.BasePruningMethod]) -> str:
    """What a method prunes: single elements (``"unstructured"``) or whole channels (``"structured"``)."""
    return str(getattr(method, "PRUNING_TYPE", "unstructured"))


def find_method(wanted: Callable[..., Any] | str, together: bool, dim: int | None, norm: int | None) -> Method:
    """The method that was asked for.

    Raises:
        MisconfigurationException: If there is none of that name, or it lacks an argument.
    """
    if isinstance(wanted, str):
        name = wanted.lower()
        if name not in _METHODS:
            raise MisconfigurationException(
                "`pruning_fn` is the name of a method of `torch.nn.utils.prune`, or a class of that kind.",
                got=wanted,
                fix=f"Pass one of {', '.join(map(repr, _METHODS))}. {did_you_mean(wanted, list(_METHODS))}".rstrip(),
            )
        kind = _METHODS[name]
    elif isinstance(wanted, type) and issubclass(wanted, prune.BasePruningMethod):
        name, kind = wanted.__name__, wanted
    else:
        raise MisconfigurationException(
            "`pruning_fn` is the name of a method of `torch.nn.utils.prune`, or a class of that kind.",
            got=wanted,
            fix=f"Pass one of {', '.join(map(repr, _METHODS))}, or a class derived from `BasePruningMethod`: the class "
            "itself, not an object of it, and no function.",
        )
    options = _options(kind, name, dim, norm)
    if together:
        if kind_of(kind) != "unstructured":
            raise MisconfigurationException(
                "Only single elements of several parameters can compete with each other, not whole channels.",
                got=f"{name}, which is {kind_of(kind)}, with use_global_unstructured=True",
                fix="Pass `use_global_unstructured=False`.",
            )
        return Method(kind.__name__, kind, True, options)
    return Method(name, kind, False, options)


def _options(kind: type[prune.BasePruningMethod], name: str, dim: int | None, norm: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for owner, option, value, argument, example in (
        ((prune.LnStructured, prune.RandomStructured), "dim", dim, "pruning_dim", "0"),
        ((prune.LnStructured,), "n", norm, "pruning_norm", "2"),
    ):
        if issubclass(kind, owner):
            if value is None:
                raise MisconfigurationException(
                    f"`{name}` needs `{argument}`.", got="None", fix=f"Pass `{argument}={example}`."
                )
            options[option] = value
    return options


def check_flags(amount: Any, verbose: Any) -> None:
    """Checks how much to prune, and how much to say of it.

    Raises:
        MisconfigurationException: Naming the argument.
    """
    number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    if not callable(amount) and not (number and amount >= 0 and (isinstance(amount, int) or amount <= 1)):
        raise MisconfigurationException(
            "`amount` is a part of what is left, a number of elements, or a function that gives one for an epoch.",
            got=amount,
            fix="Pass a float from 0 to 1, an int from 0 up, or a function: `amount=lambda epoch: 0.1`.",
        )
    if verbose not in (0, 1, 2):
        raise MisconfigurationException(
            "`verbose` is 0, 1 or 2.",
            got=verbose,
            fix="Pass 1 for a line each time, 2 for one for each parameter, too.",
        )


def check_alone(averaging: list[str]) -> None:
    """Checks that no callback averages the weights.

    Args:
        averaging: The names of those that do.

    Raises:
        MisconfigurationException: If there are any.
    """
    if averaging:
        raise MisconfigurationException(
            "`ModelPruning` and averages of weights do not go together: an average of weights from before and after "
            "they are pruned has no zeros.",
            got=f"ModelPruning with {', '.join(averaging)}",
            fix="Leave one of them out; or prune in a first `fit` with `make_pruning_permanent=False`, which leaves "
            "the masks in the model, and average in a second one without `ModelPruning`.",
        )


def find_parts(module: nn.Module, wanted: Any, names: Sequence[str]) -> Sequence[Part]:
    """The parameters to prune; see ``ModelPruning.sanitize_parameters_to_prune``."""
    if not wanted:
        found = [
            (layer, name) for name in names for layer in module.modules() if layer is not module and _has(layer, name)
        ]
        if not found:
            raise MisconfigurationException(
                "`ModelPruning` prunes parameters of layers, and found none.",
                got=f"`{type(module).__name__}` without parameters called {', '.join(names)}",
                fix="Name them: `parameters_to_prune=[(model.layer, 'weight')]`, or `parameter_names=['kernel']`.",
            )
        return found
    pairs = isinstance(wanted, (list, tuple)) and all(
        isinstance(part, (list, tuple))
        and len(part) == 2
        and isinstance(part[0], nn.Module)
        and isinstance(part[1], str)
        for part in wanted
    )
    if not pairs:
        raise MisconfigurationException(
            "`parameters_to_prune` are pairs of a layer and the name of its parameter.",
            got=wanted,
            fix="Pass `parameters_to_prune=[(model.layer, 'weight')]`.",
        )
    layers = {id(layer) for layer in module.modules()}
    strange = [f"{type(layer).__name__}.{name}" for layer, name in wanted if id(layer) not in layers]
    lacking = [f"{type(layer).__name__}.{name}" for layer, name in wanted if not _has(layer, name)]
    if strange or lacking:
        raise MisconfigurationException(
            "`parameters_to_prune` are of the module that is trained.",
            got=f"layers that are not in `{type(module).__name__}`: {strange}; without such a parameter: {lacking}",
            fix="Take the layers of the model that goes to `fit`, and name parameters that they have.",
        )
    return [(layer, name) for layer, name in wanted]


def _has(layer: nn.Module, name: str) -> bool:
    return layer._parameters.get(name) is not None or layer._parameters.get(f"{name}_orig") is not None
