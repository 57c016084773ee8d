"""Parameters that several places of a module share."""

from __future__ import annotations

from functools import reduce

from torch import nn


def find_shared_parameters(module: nn.Module) -> list[list[str]]:
    """The names of parameters that lie in several places.

    Args:
        module: The module.

    Returns:
        For each shared parameter all of its names.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        >>> net[1].weight = net[0].weight
        >>> find_shared_parameters(net)
        [['0.weight', '1.weight']]
    """
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return [found for found in names.values() if len(found) > 1]


def set_shared_parameters(module: nn.Module, shared_params: list[list[str]]) -> nn.Module:
    """Shares parameters anew, where a conversion has made each place's own.

    Args:
        module: The module; changed in place.
        shared_params: What :func:`find_shared_parameters` returned. The first place's parameter goes to the others.

    Returns:
        The module.

    Raises:
        AttributeError: If the first place is not there.
    """
    for first, *others in shared_params:
        parameter = reduce(getattr, first.split("."), module)
        for name in others:
            owner, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(owner), attribute, parameter)
    return module
